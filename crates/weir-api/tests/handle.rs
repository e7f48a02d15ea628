//! The whole API over a fresh store: signed requests in, answers out.

use http::{HeaderMap, HeaderValue, Request};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use weir_api::Api;
use weir_api::sigv4::{SignedRequest, Signer};
use weir_core::{AccountId, Clock as _, Digest, SystemClock, SystemSecrets};
use weir_protocol::{Body, Face, RequestBody};
use weir_registry::identity::IssuedKey;
use weir_registry::sealed::MasterKey;
use weir_registry::upstream::NoDiscovery;
use weir_registry::{Parts, Registry, Settings};
use weir_store::Store;

const HOST: &str = "127.0.0.1:8090";

struct Server {
    api: Api,
    registry: Registry,
    key: IssuedKey,
    service: &'static str,
    face: Face,
    _data: TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    #[track_caller]
    fn check_error(&self, status: u16, name: &str, part: &str) {
        assert_eq!(
            self.headers.get("x-amzn-errortype").map(HeaderValue::as_bytes),
            Some(name.as_bytes()),
            "{}",
            self.text
        );
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.text.contains(part), "{}", self.text);
    }
}

impl Server {
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open_folder(data.path(), &SystemClock).await.expect("a fresh store");
        let registry = Registry::new(Parts {
            store,
            formats: Vec::new(),
            settings: Settings::default(),
            clock: Arc::new(SystemClock),
            secrets: Arc::new(SystemSecrets),
            master_key: MasterKey::from_bytes([7; 32]),
            discover: Arc::new(NoDiscovery),
        });
        let account = AccountId::parse("account", "000000000000").expect("an account");
        let key = registry.bootstrap_administrator(&account).await.expect("an administrator");
        let api = Api::new(registry.clone(), Arc::new(SystemClock), Arc::new(SystemSecrets));
        let face = Face { scheme: "http", authority: HOST.into(), prefix: String::new() };
        Self { api, registry, key, service: "codeartifact", face, _data: data }
    }

    /// Signs as for `signed_target` and sends to `target`, with `sent` as the body.
    async fn send_changed(
        &self,
        method: &str,
        signed_target: &str,
        target: &str,
        body: &str,
        sent: &str,
    ) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static(HOST));
        let (path, query) = signed_target.split_once('?').unwrap_or((signed_target, ""));
        let signer = Signer {
            access_key: &self.key.access_key_id,
            secret: &self.key.secret_access_key,
            region: "eu-test-1",
            service: self.service,
        };
        let request = SignedRequest { method, path, query, host: None, headers: &headers };
        let digest = Digest::of(body.as_bytes());
        for (name, value) in signer.headers(&request, SystemClock.now(), digest) {
            headers.insert(name, HeaderValue::from_str(&value).expect("a value"));
        }
        self.send_raw(method, target, headers, sent).await
    }

    async fn send_raw(&self, method: &str, target: &str, headers: HeaderMap, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(target).body(()).expect("a request");
        *request.headers_mut() = headers;
        let (parts, ()) = request.into_parts();
        let response = self.api.handle(&parts, RequestBody::full(body.to_owned()), &self.face).await;
        let (head, body) = response.into_parts();
        let text = match body {
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
            Body::Empty => String::new(),
            Body::File(_) | Body::Parts { .. } | Body::Stream { .. } => panic!("no answer here is streamed"),
        };
        assert_eq!(head.headers["x-amzn-requestid"].len(), 36);
        Answer { status: head.status.as_u16(), headers: head.headers, text }
    }

    async fn send(&self, method: &str, target: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send_changed(method, target, target, &body, &body).await
    }

    async fn ok(&self, method: &str, target: &str, body: Value) -> Value {
        let answer = self.send(method, target, body).await;
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text);
        answer.json()
    }
}

#[tokio::test]
async fn domains_and_repositories_are_made_shown_and_deleted() {
    let server = Server::start().await;
    let made = server
        .ok("POST", "/v1/domain?domain=web", json!({ "tags": [{ "key": "team", "value": "web" }] }))
        .await;
    assert_eq!(made["domain"]["owner"], "000000000000");
    assert!(made["domain"]["createdTime"].as_f64().is_some_and(|time| time > 1.7e9), "{made}");
    let arn = made["domain"]["arn"].as_str().expect("an ARN");
    let tags =
        server.ok("POST", &format!("/v1/tags?resourceArn={}", arn.replace(':', "%3A")), Value::Null).await;
    assert_eq!(tags, json!({ "tags": [{ "key": "team", "value": "web" }] }));

    server.ok("POST", "/v1/repository?domain=web&repository=store", Value::Null).await;
    let upstreams = json!({ "description": "text", "upstreams": [{ "repositoryName": "store" }] });
    server.ok("POST", "/v1/repository?domain=web&repository=main", upstreams).await;
    let main = server
        .ok("GET", "/v1/repository?domain=web&domain-owner=000000000000&repository=main", Value::Null)
        .await;
    assert_eq!(main["repository"]["upstreams"], json!([{ "repositoryName": "store" }]));
    assert_eq!(main["repository"]["externalConnections"], json!([]));
    let listed = server.ok("POST", "/v1/domain/repositories?domain=web&max-results=1", Value::Null).await;
    assert_eq!(listed["repositories"][0]["name"], "main");
    let next = listed["nextToken"].as_str().expect("another page");
    let listed = server
        .ok("POST", &format!("/v1/domain/repositories?domain=web&next-token={next}"), Value::Null)
        .await;
    assert_eq!(listed["repositories"][0]["name"], "store");
    assert_eq!(listed.get("nextToken"), None);

    let endpoint =
        server.ok("GET", "/v1/repository/endpoint?domain=web&repository=main&format=npm", Value::Null).await;
    assert_eq!(endpoint["repositoryEndpoint"], "http://127.0.0.1:8090/npm/d/web-000000000000/main/");
    let token = server.ok("POST", "/v1/authorization-token?domain=web&duration=900", Value::Null).await;
    assert!(token["authorizationToken"].as_str().is_some_and(|token| token.starts_with("weir_")), "{token}");
    assert!(token["expiration"].is_number(), "{token}");

    server.send("DELETE", "/v1/domain?domain=web", Value::Null).await.check_error(
        409,
        "ConflictException",
        "web",
    );
    for repository in ["main", "store"] {
        server.ok("DELETE", &format!("/v1/repository?domain=web&repository={repository}"), Value::Null).await;
    }
    assert_eq!(
        server.ok("DELETE", "/v1/domain?domain=web", Value::Null).await["domain"]["status"],
        "Deleted"
    );
    assert_eq!(server.ok("DELETE", "/v1/domain?domain=web", Value::Null).await, json!({}));
}

#[tokio::test]
async fn wrong_inputs_and_unknown_operations_are_named() {
    let server = Server::start().await;
    let send = async |method, target| server.send(method, target, Value::Null).await;
    send("GET", "/v1/domain").await.check_error(400, "ValidationException", "domain: is missing");
    send("GET", "/v1/domain?domain=none").await.check_error(
        404,
        "ResourceNotFoundException",
        "\"resourceType\":\"domain\"",
    );
    send("POST", "/v1/authorization-token?domain=none&duration=60").await.check_error(
        400,
        "ValidationException",
        "duration",
    );
    send("POST", "/v1/package-groups?domain=none").await.check_error(
        404,
        "UnknownOperationException",
        "ListPackageGroups",
    );
    send("GET", "/v1/nothing").await.check_error(404, "UnknownOperationException", "GET /v1/nothing");
    send("PUT", "/weir/v1/nothing").await.check_error(
        404,
        "UnknownOperationException",
        "PUT /weir/v1/nothing",
    );
    let wrong = server.send("POST", "/v1/domain?domain=web", json!({ "tags": "none" })).await;
    wrong.check_error(400, "ValidationException", "CANNOT_PARSE");
    let publish =
        "/v1/package/version/publish?domain=web&repository=main&format=npm&package=a&version=1&asset=a";
    send("POST", publish).await.check_error(400, "ValidationException", "npm");
}

#[tokio::test]
async fn only_what_was_signed_by_a_known_key_is_done() {
    let mut server = Server::start().await;
    let target = "/v1/domain?domain=web";
    let changed = server.send_changed("POST", target, "/v1/domain?domain=other", "", "").await;
    changed.check_error(403, "InvalidSignatureException", "not the one");
    let changed = server.send_changed("POST", target, target, "{}", "{ }").await;
    changed.check_error(403, "InvalidSignatureException", "body");
    let unsigned = server.send_raw("POST", target, HeaderMap::new(), "").await;
    unsigned.check_error(403, "MissingAuthenticationTokenException", "weir key create");
    let large = "x".repeat((1 << 20) + 1);
    let large = server.send_changed("POST", target, target, &large, &large).await;
    large.check_error(413, "RequestEntityTooLargeException", "1048576");
    server.service = "s3";
    server.send("POST", target, Value::Null).await.check_error(403, "InvalidSignatureException", "'s3'");
    server.service = "codeartifact";
    server.key.access_key_id = "AKIAUNKNOWN".into();
    server.send("POST", target, Value::Null).await.check_error(
        403,
        "UnrecognizedClientException",
        "AKIAUNKNOWN",
    );
}

#[tokio::test]
async fn a_proxy_may_change_host_and_prefix() {
    let mut server = Server::start().await;
    server.face = Face { scheme: "https", authority: HOST.into(), prefix: "/pkg".into() };
    let signed = "/pkg/v1/domain?domain=web";
    // The proxy passes the prefix on, then takes it off.
    for target in [signed, "/v1/domain?domain=web"] {
        let answer = server.send_changed("GET", signed, target, "", "").await;
        answer.check_error(404, "ResourceNotFoundException", "web");
    }
    let repository = "/v1/domain?domain=other";
    server.send_changed("GET", signed, repository, "", "").await.check_error(
        403,
        "InvalidSignatureException",
        "",
    );
}

#[tokio::test]
async fn the_caller_learns_who_it_is() {
    let mut server = Server::start().await;
    server.service = "sts";
    let form = "Action=GetCallerIdentity&Version=2011-06-15";
    let answer = server.send_changed("POST", "/", "/", form, form).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("<Account>000000000000</Account>"), "{}", answer.text);
    assert!(answer.text.contains("<Arn>arn:aws:iam::000000000000:user/"), "{}", answer.text);
    let answer =
        server.send_changed("POST", "/", "/", "Action=GetSessionToken", "Action=GetSessionToken").await;
    assert!(answer.text.contains("<Code>InvalidAction</Code>"), "{}", answer.text);
    server.key.secret_access_key.push('x');
    let answer = server.send_changed("POST", "/", "/", form, form).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("<Code>SignatureDoesNotMatch</Code>"), "{}", answer.text);
}

#[tokio::test]
async fn users_keys_and_tokens_are_managed() {
    let mut server = Server::start().await;
    server.ok("POST", "/v1/domain?domain=web", Value::Null).await;
    let user = server.ok("POST", "/weir/v1/users", json!({ "name": "robot", "policy": "read" })).await;
    assert_eq!(user["user"]["arn"], "arn:aws:iam::000000000000:user/robot");
    assert!(user["user"]["policy"].is_object(), "{user}");
    server.ok("POST", "/v1/repository?domain=web&repository=main", Value::Null).await;
    let scope = json!({ "repositories": ["main"], "readOnly": true });
    let token = json!({ "domain": "web", "user": "robot", "scope": scope, "lifetimeSeconds": 3600 });
    let token = server.ok("POST", "/weir/v1/tokens", token).await;
    let listed = server.ok("GET", "/weir/v1/tokens", Value::Null).await;
    assert_eq!(listed["tokens"][0]["user"], "robot");
    assert_eq!(listed["tokens"][0]["scope"]["readOnly"], true);
    let id = token["id"].as_str().expect("an identifier");
    server.ok("DELETE", &format!("/weir/v1/tokens/{id}"), Value::Null).await;

    let administrator = server.key.clone();
    let key = server.ok("POST", "/weir/v1/keys", json!({ "user": "robot" })).await;
    let text = |name: &str| key[name].as_str().expect("text").to_owned();
    server.key = IssuedKey { access_key_id: text("accessKeyId"), secret_access_key: text("secretAccessKey") };
    server.send("POST", "/v1/domain?domain=mine", Value::Null).await.check_error(
        403,
        "AccessDeniedException",
        "",
    );
    let status = server.ok("GET", "/weir/v1/status", Value::Null).await;
    assert_eq!(status["caller"], "arn:aws:iam::000000000000:user/robot");
    assert_eq!(status["store"], "ok");
    let robot = std::mem::replace(&mut server.key, administrator);
    server.ok("DELETE", "/weir/v1/users/robot", Value::Null).await;
    server.key = robot;
    server.send("GET", "/v1/domain?domain=web", Value::Null).await.check_error(
        403,
        "UnrecognizedClientException",
        "",
    );
    server.registry.store().close().await;
}
