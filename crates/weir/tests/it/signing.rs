//! Who signed, and what may they? Broken signatures and AWS's names for them, STS, keys and tokens that end,
//! and the policies of users.

use crate::aws_session::AwsSession;
use serde_json::{Value, json};
use weir_core::{Clock as _, SystemClock};
use weir_testkit::output::{clean_command, run};
use weir_testkit::sign::{sign, sign_at};
use weir_testkit::{Answer, Credentials, NpmPackage, Weir};

/// The SHA-256 of no bytes.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PATH: &str = "/v1/repository?domain=local&repository=main";

async fn start() -> Weir {
    Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/").start().await
}

/// Sends with headers as they are.
async fn send(weir: &Weir, method: &str, path: &str, headers: &[(String, String)], body: &str) -> Answer {
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    weir.send(method, path, &headers, body.as_bytes()).await
}

#[track_caller]
fn refused(answer: &Answer, name: &str) {
    let text = answer.text();
    assert_eq!(answer.header("x-amzn-errortype"), name, "{text}");
    assert_eq!(answer.status, 403, "{text}");
    assert!(answer.json()["message"].as_str().is_some_and(|message| !message.is_empty()), "{text}");
    assert!(!answer.header("x-amzn-requestid").is_empty());
}

#[tokio::test]
async fn a_request_that_was_not_signed_like_this_is_refused_by_name() {
    let weir = start().await;
    let key = weir.credentials();
    let url = format!("{}{PATH}", weir.url());
    let signed = sign("GET", &url, &[], b"", &key);
    send(&weir, "GET", PATH, &signed, "").await.assert_status(200);

    refused(&send(&weir, "GET", PATH, &[], "").await, "MissingAuthenticationTokenException");

    let wrong = Credentials { secret_access_key: "wrong".repeat(8), ..key.clone() };
    refused(&weir.api_as(&wrong, "GET", PATH, "").await, "InvalidSignatureException");
    let unknown = Credentials { access_key_id: "AKIAAAAAAAAAAAAAAAAA".to_owned(), ..key.clone() };
    refused(&weir.api_as(&unknown, "GET", PATH, "").await, "UnrecognizedClientException");

    // Another method, path, query or body than was signed.
    refused(&send(&weir, "DELETE", PATH, &signed, "").await, "InvalidSignatureException");
    let other = PATH.replace("repository=main", "repository=npm-store");
    refused(&send(&weir, "GET", &other, &signed, "").await, "InvalidSignatureException");
    let more = format!("{PATH}&domain-owner=000000000000");
    refused(&send(&weir, "GET", &more, &signed, "").await, "InvalidSignatureException");
    let create = "/v1/repository?domain=local&repository=other";
    let signed_body = sign("POST", &format!("{}{create}", weir.url()), &[], b"{}", &key);
    let body = r#"{"description":"x"}"#;
    refused(&send(&weir, "POST", create, &signed_body, body).await, "InvalidSignatureException");
    refused(&send(&weir, "GET", PATH, &signed, "{}").await, "InvalidSignatureException");

    // A body that is not the one of the signed digest.
    let digest = [("x-amz-content-sha256", EMPTY)];
    let mut headers = sign("POST", &format!("{}{create}", weir.url()), &digest, b"", &key);
    headers.extend(digest.map(|(name, value)| (name.to_owned(), value.to_owned())));
    refused(&send(&weir, "POST", create, &headers, body).await, "InvalidSignatureException");
    let absent = weir.api("GET", create, "").await;
    assert_eq!(absent.status, 404, "nothing was made");
}

#[tokio::test]
async fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let weir = start().await;
    let key = weir.credentials();
    let url = format!("{}{PATH}", weir.url());
    let now = SystemClock.now();
    let at = |seconds: i64| {
        let apart = std::time::Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { now - apart } else { now + apart };
        sign_at(time, "GET", &url, &[], b"", &key)
    };
    for seconds in [-840, 840] {
        send(&weir, "GET", PATH, &at(seconds), "").await.assert_status(200);
    }
    for seconds in [-960, 960, -86_400] {
        let answer = send(&weir, "GET", PATH, &at(seconds), "").await;
        refused(&answer, "InvalidSignatureException");
    }
}

#[tokio::test]
async fn what_must_be_signed_must_be_named() {
    let weir = start().await;
    let url = format!("{}{PATH}", weir.url());
    let signed = sign("GET", &url, &[], b"", &weir.credentials());
    let change = |from: &str, to: &str| -> Vec<(String, String)> {
        let value = |name: &str, value: &str| {
            if name == "authorization" { value.replace(from, to) } else { value.to_owned() }
        };
        signed.iter().map(|(name, text)| (name.clone(), value(name, text))).collect()
    };
    for (from, to) in [
        ("SignedHeaders=host;", "SignedHeaders="),
        ("aws4_request", "aws3_request"),
        ("Signature=", "Signatur="),
        ("Signature=", "Signature=zz"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("SignedHeaders=host;x-amz-date, ", ""),
    ] {
        refused(&send(&weir, "GET", PATH, &change(from, to), "").await, "IncompleteSignature");
    }
    let without_date: Vec<_> = signed.iter().filter(|(name, _)| name != "x-amz-date").cloned().collect();
    refused(&send(&weir, "GET", PATH, &without_date, "").await, "IncompleteSignature");
    // An x-amz header that was added on the way.
    let mut added = signed.clone();
    added.push(("x-amz-extra".to_owned(), "1".to_owned()));
    refused(&send(&weir, "GET", PATH, &added, "").await, "IncompleteSignature");
    // A signature for another service.
    let other = change("/codeartifact/", "/s3/");
    let answer = send(&weir, "GET", PATH, &other, "").await;
    refused(&answer, "InvalidSignatureException");
    // A Region of any name, in the scope and in the key.
    let elsewhere = Credentials { region: "mars-north-1".to_owned(), ..weir.credentials() };
    weir.api_as(&elsewhere, "GET", PATH, "").await.assert_status(200);
}

#[tokio::test]
async fn a_presigned_request_is_good_until_it_expires() {
    let weir = start().await;
    let Some(python) = weir.python() else { return };
    let script = r#"
import datetime, sys
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
import boto3, botocore.auth

def presigned(seconds, ago):
    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return datetime.datetime.utcnow() - datetime.timedelta(seconds=ago)
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.now(tz) - datetime.timedelta(seconds=ago)
    if hasattr(botocore.auth, "get_current_datetime"):
        botocore.auth.get_current_datetime = lambda remove_tzinfo=True: (
            datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=ago))
    request = AWSRequest(method="GET", url=sys.argv[1])
    SigV4QueryAuth(boto3.Session().get_credentials(), "codeartifact", "us-east-1", expires=seconds).add_auth(request)
    return request.url

print(presigned(3600, 0))
print(presigned(60, 120))
print(presigned(3600, 1800))
print(presigned(3600, 0).replace("repository=main", "repository=npm-store"))
"#;
    let url = format!("{}{PATH}", weir.url());
    let output = python.run(script, &[&url]).await;
    let urls: Vec<&str> = output.assert_ok().stdout.lines().collect();
    let get = async |url: &str| weir_testkit::http::send("GET", url, &[], Vec::new()).await;
    get(urls[0]).await.assert_status(200);
    refused(&get(urls[1]).await, "InvalidSignatureException");
    get(urls[2]).await.assert_status(200);
    refused(&get(urls[3]).await, "InvalidSignatureException");
}

#[tokio::test]
async fn sts_tells_whose_key_it_is() {
    let weir = start().await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let identity = aws.run("sts get-caller-identity").await.assert_ok().json();
    assert_eq!(identity["Account"], "000000000000");
    assert_eq!(identity["Arn"], "arn:aws:iam::000000000000:user/administrator");
    assert!(identity["UserId"].as_str().is_some_and(|id| id.starts_with("AIDA")), "{identity}");
    let wrong = [("AWS_ACCESS_KEY_ID", "AKIAAAAAAAAAAAAAAAAA"), ("AWS_SECRET_ACCESS_KEY", "x")];
    let Some(other) = AwsSession::start_as(&weir, &wrong) else { return };
    other.run("sts get-caller-identity").await.assert_fails().assert_says("(InvalidClientTokenId)");
    other.fails("list-domains", "UnrecognizedClientException").await;
    aws.run("sts get-session-token").await.assert_fails().assert_says("(InvalidAction)");
}

/// Makes a user with this policy and a key for it.
async fn user(weir: &Weir, name: &str, policy: &str) -> Credentials {
    weir.cli(&["user", "create", name, "--policy", policy]).await.assert_ok();
    let key = weir.cli(&["key", "create", "--user", name, "--json"]).await;
    key_of(&key.assert_ok().json())
}

fn key_of(key: &Value) -> Credentials {
    let text = |name: &str| key[name].as_str().unwrap_or_else(|| panic!("no {name} in {key}")).to_owned();
    Credentials {
        access_key_id: text("accessKeyId"),
        secret_access_key: text("secretAccessKey"),
        session_token: None,
        region: "us-east-1".to_owned(),
    }
}

/// A 12-hour token of somebody.
async fn token_of(weir: &Weir, key: &Credentials) -> String {
    let answer = weir.api_as(key, "POST", "/v1/authorization-token?domain=local", "").await;
    answer.assert_status(200).json()["authorizationToken"].as_str().expect("a token").to_owned()
}

async fn npm(weir: &Weir, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let path = format!("/npm/d/local-000000000000/main/{path}");
    weir.send(method, &path, &[("authorization", &bearer)], body.as_bytes()).await
}

#[tokio::test]
async fn a_deleted_key_token_or_user_is_refused_at_the_next_request() {
    let weir = start().await;
    let key = user(&weir, "alice", "publish").await;
    let second = weir.cli(&["key", "create", "--user", "alice", "--json"]).await;
    let second = key_of(&second.assert_ok().json());
    weir.api_as(&key, "GET", PATH, "").await.assert_status(200);
    let keys = weir.cli(&["key", "list", "--user", "alice", "--json"]).await.assert_ok().json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2));
    weir.cli(&["key", "delete", &key.access_key_id]).await.assert_ok();
    refused(&weir.api_as(&key, "GET", PATH, "").await, "UnrecognizedClientException");
    weir.api_as(&second, "GET", PATH, "").await.assert_status(200);

    let of_key = token_of(&weir, &second).await;
    let made = weir.cli(&["token", "create", "--user", "alice", "--description", "robot", "--json"]).await;
    let made = made.assert_ok().json();
    let robot = made["token"].as_str().expect("a token").to_owned();
    npm(&weir, &robot, "GET", "-/ping", "").await.assert_status(200);
    let listed = weir.cli(&["token", "list", "--json"]).await;
    listed.assert_ok().assert_says("robot");
    assert!(!listed.says(&robot), "a token is told once:\n{listed}");
    weir.cli(&["token", "delete", made["id"].as_str().expect("an id")]).await.assert_ok();
    let gone = npm(&weir, &robot, "GET", "-/ping", "").await;
    assert_eq!(gone.assert_status(401).header("www-authenticate"), "Basic realm=\"local/main\"");
    npm(&weir, &of_key, "GET", "-/ping", "").await.assert_status(200);

    weir.cli(&["user", "list"]).await.assert_ok().assert_says("alice");
    weir.cli(&["user", "delete", "alice"]).await.assert_ok();
    refused(&weir.api_as(&second, "GET", PATH, "").await, "UnrecognizedClientException");
    npm(&weir, &of_key, "GET", "-/ping", "").await.assert_status(401);
    let users = weir.cli(&["user", "list", "--json"]).await.assert_ok().json();
    assert_eq!(users["users"].as_array().map(Vec::len), Some(1));
    // The last one who may manage users stays.
    weir.cli(&["user", "delete", "administrator"]).await.assert_fails();
}

#[tokio::test]
async fn a_policy_says_what_a_user_may() {
    let weir = start().await;
    let (reader, publisher) = (user(&weir, "rita", "read").await, user(&weir, "paul", "publish").await);
    let package = NpmPackage::new("ours", "1.0.0");
    let document = package.publish_document("http://publisher.example.test").to_string();

    let reads = token_of(&weir, &reader).await;
    let denied = npm(&weir, &reads, "PUT", "ours", &document).await;
    let text = denied.assert_status(403).json()["error"].to_string();
    assert!(text.contains("PublishPackageVersion") && text.contains("rita"), "{text}");
    let publishes = token_of(&weir, &publisher).await;
    npm(&weir, &publishes, "PUT", "ours", &document).await.assert_status(201);
    npm(&weir, &reads, "GET", "ours", "").await.assert_status(200);
    npm(&weir, &reads, "GET", &package.tarball_path(), "").await.assert_status(200);

    // The control API: neither may administer, and the refusal names the action.
    for key in [&reader, &publisher] {
        for (method, path) in [
            ("POST", "/v1/repository?domain=local&repository=new"),
            ("DELETE", "/v1/repository?domain=local&repository=main"),
            ("POST", "/v1/domain?domain=new"),
            ("DELETE", "/v1/package?domain=local&repository=main&format=npm&package=ours"),
        ] {
            let answer = weir.api_as(key, method, path, "").await;
            refused(&answer, "AccessDeniedException");
            assert!(answer.text().contains("codeartifact:"), "{}", answer.text());
        }
        weir.api_as(key, "GET", PATH, "").await.assert_status(200);
        weir.api_as(key, "GET", "/weir/v1/users", "").await.assert_status(403);
    }
    // A token may be narrower than its user.
    let scoped =
        weir.cli(&["token", "create", "--user", "paul", "--read-only", "--repository", "main"]).await;
    let scoped = scoped.assert_ok().stdout.trim().to_owned();
    let next = NpmPackage::new("ours", "1.1.0").publish_document("http://publisher.example.test").to_string();
    npm(&weir, &scoped, "PUT", "ours", &next).await.assert_status(403);
    npm(&weir, &scoped, "GET", "ours", "").await.assert_status(200);
    let elsewhere = weir.get("/npm/d/local-000000000000/npm-store/ours", &scoped).await;
    elsewhere.assert_status(403);

    // A document: everything but publishing one scope; an explicit deny wins.
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Action": ["codeartifact:*", "sts:GetServiceBearerToken"], "Resource": "*" },
            { "Effect": "Deny", "Action": "codeartifact:PublishPackageVersion",
              "Resource": "arn:aws:codeartifact:*:*:package/local/main/npm/core/*" },
        ],
    });
    let file = weir.data().join("policy.json");
    fs_err::write(&file, policy.to_string()).expect("the folder is ours");
    let careful = user(&weir, "cara", &file.display().to_string()).await;
    let token = token_of(&weir, &careful).await;
    let core = NpmPackage::new("engine", "1.0.0").scope("core");
    let free = NpmPackage::new("engine", "1.0.0").scope("free");
    for (package, status) in [(core, 403), (free, 201)] {
        let document = package.publish_document("http://publisher.example.test").to_string();
        let path = package.full_name().replace('/', "%2f");
        npm(&weir, &token, "PUT", &path, &document).await.assert_status(status);
    }
    weir.cli(&["user", "create", "eve", "--policy", "nonsense"]).await.assert_fails().assert_says("nonsense");
}

#[tokio::test]
async fn what_may_not_be_known_looks_absent() {
    let weir = start().await;
    let key = weir.credentials();
    // Another account's domain of the same name, and one that is not there, are told apart by nobody.
    let stranger = "domain=local&domain-owner=999999999999";
    for (method, path) in [
        ("GET", format!("/v1/domain?{stranger}")),
        ("GET", format!("/v1/repository?{stranger}&repository=main")),
        ("POST", format!("/v1/packages?{stranger}&repository=main")),
        ("POST", format!("/v1/authorization-token?{stranger}")),
        ("GET", format!("/v1/repository/endpoint?{stranger}&repository=main&format=npm")),
    ] {
        let answer = weir.api_as(&key, method, &path, "").await;
        answer.assert_status(404);
        assert_eq!(answer.header("x-amzn-errortype"), "ResourceNotFoundException", "{path}");
        let expected = "Domain not found. Domain 'local' owned by account '999999999999' does not exist";
        assert_eq!(answer.json()["message"], expected, "{path}");
    }
    let token = weir.token("local").await;
    weir.get("/npm/d/local-999999999999/main/-/ping", &token).await.assert_status(401);
    let nobody = weir.send("GET", "/npm/d/absent-000000000000/none/left-pad", &[], b"").await;
    assert_eq!(nobody.assert_status(401).header("www-authenticate"), "Basic realm=\"absent/none\"");
}

#[tokio::test]
async fn a_stranger_of_another_account_sees_nothing_but_its_own() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("data");
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/").data(&data);
    builder.clone().start().await.stop().await;
    let mut create = clean_command(env!("CARGO_BIN_EXE_weir"), folder.path());
    create.args(["key", "create", "--offline", "--json", "--account", "111111111111", "--data"]).arg(&data);
    let stranger = key_of(&run(create).await.assert_ok().json());
    let weir = builder.start().await;

    let identity = weir.api_as(&stranger, "POST", "/v1/domains", "").await;
    assert_eq!(identity.assert_status(200).json()["domains"], json!([]));
    let of = "domain-owner=000000000000&repository=main&format=npm&package=x";
    for (method, call) in [
        ("GET", "domain?"),
        ("GET", "repository?"),
        ("PUT", "repository?"),
        ("DELETE", "repository?"),
        ("POST", "repository?"),
        ("POST", "domain/repositories?"),
        ("GET", "repository/endpoint?"),
        ("POST", "authorization-token?"),
        ("POST", "packages?"),
        ("GET", "package?"),
        ("DELETE", "package?"),
        ("POST", "package/versions?"),
        ("GET", "package/version?version=1&"),
    ] {
        let ask = async |domain: &str| {
            let path = format!("/v1/{call}domain={domain}&{of}");
            let answer = weir.api_as(&stranger, method, &path, "").await;
            answer.assert_status(404);
            answer.text().replace(&format!("'{domain}'"), "it").replace(&format!("\"{domain}\""), "it")
        };
        assert_eq!(ask("local").await, ask("absent").await, "{method} {call}: what is there looks absent");
    }
    let publish = async |domain: &str| {
        let digest = [("x-amz-content-sha256", EMPTY)];
        let coordinate = "repository=main&format=generic&namespace=n&package=x&version=1&asset=a";
        let path =
            format!("/v1/package/version/publish?domain={domain}&domain-owner=000000000000&{coordinate}");
        let mut headers = sign("POST", &format!("{}{path}", weir.url()), &digest, b"", &stranger);
        headers.push(("x-amz-content-sha256".to_owned(), EMPTY.to_owned()));
        let answer = send(&weir, "POST", &path, &headers, "").await;
        answer.assert_status(404).text().replace(domain, "it")
    };
    assert_eq!(publish("local").await, publish("absent").await);
    let arn = "arn:aws:codeartifact:us-east-1:000000000000:domain/local";
    weir.api_as(&stranger, "POST", &format!("/v1/tags?resourceArn={arn}"), "").await.assert_status(404);
    // Deleting what may not be known is deleting what is not there, and does nothing.
    weir.api_as(&stranger, "DELETE", &format!("/v1/domain?domain=local&{of}"), "").await.assert_status(200);
    weir.api("GET", PATH, "").await.assert_status(200);

    // Names are unique in an account: a domain of the same name is another domain with tokens of its own.
    weir.api_as(&stranger, "POST", "/v1/domain?domain=local", "").await.assert_status(200);
    let token = token_of(&weir, &stranger).await;
    npm(&weir, &token, "GET", "-/ping", "").await.assert_status(401);
    let users = weir.api_as(&stranger, "GET", "/weir/v1/users", "").await.json();
    assert_eq!(users["users"].as_array().map(Vec::len), Some(1), "{users}");
}
