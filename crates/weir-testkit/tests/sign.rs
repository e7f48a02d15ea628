//! The signer against botocore's own.

use weir_testkit::{Credentials, Python, sign};

const BOTOCORE: &str = r#"
import sys, json, datetime
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
import botocore.auth as auth
moment = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
for name in ("get_current_datetime",):
    if hasattr(auth, name): setattr(auth, name, lambda remove_tzinfo=True: moment.replace(tzinfo=None))
method, url, body = sys.argv[1:4]
request = AWSRequest(method=method, url=url, data=body.encode(), headers={"content-type": "application/json"})
SigV4Auth(Credentials("AKIA", "secret", "session"), "codeartifact", "eu-test-1").add_auth(request)
print(json.dumps({k.lower(): v for k, v in request.headers.items()}))
"#;

#[tokio::test]
async fn it_signs_as_botocore_does() {
    let Some(python) = Python::find(Vec::new()) else { return };
    let key = Credentials {
        access_key_id: "AKIA".into(),
        secret_access_key: "secret".into(),
        session_token: Some("session".into()),
        region: "eu-test-1".into(),
    };
    let now = "2024-01-02T03:04:05Z".parse().unwrap();
    let base = "http://127.0.0.1:8090/v1";
    let cases = [
        ("POST", format!("{base}/domain?domain=acme"), r#"{"a":1}"#),
        ("GET", format!("{base}/package/version/asset?asset=a%20b%2Fc.bin&version=1.0%20rc%2B1&a"), ""),
        ("GET", format!("{base}/a%20b/%40x?z=1&a=2&a=1"), ""),
    ];
    for (method, url, body) in cases {
        let theirs = python.run(BOTOCORE, &[method, &url, body]).await.assert_ok().json();
        let headers = [("content-type", "application/json")];
        for (name, value) in sign::sign_at(now, method, &url, &headers, body.as_bytes(), &key) {
            assert_eq!(theirs[&name], value, "{method} {url} {name}: {theirs}");
        }
    }
}
