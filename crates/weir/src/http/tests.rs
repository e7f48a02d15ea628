//! Requests that meet the server without a listener.

use super::*;
use http_body_util::{BodyExt as _, Full};
use weir_core::{AccountId, DomainName};
use weir_registry::DomainRef;
use weir_registry::token::NewToken;

const PACKAGE: &str = "/npm/d/local-000000000000/main/left-pad";

struct Server {
    http: Http,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Server {
    async fn start(flags: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, _) = crate::app::started(folder.path(), flags).await;
        Self { http, _folder: folder }
    }

    async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:8090");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(Full::new(Bytes::new())).unwrap()).await
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Answer {
        let peer = Peer { remote: [10, 0, 0, 1].into(), local: ([127, 0, 0, 1], 8090).into(), secure: false };
        let (head, body) = self.http.answer(peer, request).await.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        assert!(head.headers.contains_key("x-amzn-requestid"));
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }

    #[track_caller]
    fn assert(answer: &Answer, status: u16, text: &str) {
        assert!(answer.status == status && answer.text.contains(text), "{} {}", answer.status, answer.text);
    }

    async fn token(&self) -> String {
        let account = AccountId::parse("account", "000000000000").unwrap();
        let key = self.http.registry.bootstrap_administrator(&account).await.unwrap();
        let (_, principal) = self.http.registry.signing_key(&key.access_key_id).await.unwrap().unwrap();
        let domain = DomainRef { name: DomainName::parse("domain", "local").unwrap(), owner: None };
        let new = NewToken { domain, user: None, description: String::new(), scope: None, lifetime_s: None };
        let token = self.http.registry.create_token(&Caller::Principal(principal), new).await.unwrap();
        format!("Bearer {}", token.token)
    }
}

#[tokio::test]
async fn without_a_token_every_repository_answers_with_a_challenge() {
    let server = Server::start(&[]).await;
    for place in ["local-000000000000/main", "local-000000000000/absent", "absent-999999999999/main"] {
        let answer = server.send("GET", &format!("/npm/d/{place}/left-pad"), &[]).await;
        Server::assert(&answer, 401, "no token was sent");
        let (domain, repository) = place.split_once('/').unwrap();
        let realm = format!("Basic realm=\"{}/{repository}\"", domain.rsplit_once('-').unwrap().0);
        assert_eq!(answer.headers["www-authenticate"], realm);
    }
    let malformed = server.send("GET", PACKAGE, &[("authorization", "Digest x=y")]).await;
    Server::assert(&malformed, 401, "neither Bearer");
    assert!(malformed.text.contains("weir login npm"), "{}", malformed.text);
}

#[tokio::test]
async fn what_is_nowhere_says_what_there_is() {
    let server = Server::start(&[]).await;
    Server::assert(
        &server.send("GET", "/maven/d/local-000000000000/main/x", &[]).await,
        404,
        "maven is not built",
    );
    Server::assert(
        &server.send("GET", "/rpm/d/local-000000000000/main/x", &[]).await,
        404,
        "not a package format",
    );
    Server::assert(
        &server.send("GET", "/npm/main/left-pad", &[]).await,
        404,
        "/FORMAT/d/DOMAIN-OWNER/REPOSITORY/",
    );
    Server::assert(&server.send("GET", "/%2f%2f..%2fetc/passwd", &[]).await, 400, "path");
    Server::assert(&server.send("GET", "/healthz", &[]).await, 200, "ok");
    Server::assert(&server.send("GET", "/readyz", &[]).await, 200, "ready");
}

#[tokio::test]
async fn a_client_of_http_1_0_needs_no_host() {
    let server = Server::start(&[]).await;
    for (version, path, status, text) in [
        (Version::HTTP_10, "/readyz", 200, "ready"),
        (Version::HTTP_10, PACKAGE, 401, "no token"),
        (Version::HTTP_11, "/readyz", 400, "Host"),
    ] {
        let request = Request::builder().uri(path).version(version).body(Full::new(Bytes::new())).unwrap();
        Server::assert(&server.answer(request).await, status, text);
    }
}

#[tokio::test]
async fn a_foreign_authority_is_misdirected_and_a_virtual_host_is_not() {
    let server = Server::start(&[]).await;
    let virtual_host = "http://local-000000000000.d.codeartifact.us-east-1.amazonaws.com/npm/main/left-pad";
    Server::assert(&server.send("GET", virtual_host, &[]).await, 401, "no token");
    Server::assert(
        &server.send("GET", "http://other.example.test/npm/main/x", &[]).await,
        421,
        "other.example.test",
    );
    Server::assert(&server.send("GET", "http://127.0.0.1:8090/readyz", &[]).await, 200, "ready");
    Server::assert(&server.send("GET", "http://weir.example.test:443/readyz", &[]).await, 200, "ready");
    Server::assert(
        &server.send("CONNECT", "other.example.test:443", &[]).await,
        405,
        "forwards no connections",
    );
}

#[tokio::test]
async fn a_prefix_is_taken_off_for_public_url_and_trusted_proxies() {
    let public = Server::start(&[("public-url", "https://weir.example.test/a/b")]).await;
    let answer = public.send("GET", &format!("/a/b{PACKAGE}"), &[]).await;
    Server::assert(&answer, 401, "no token");
    Server::assert(&public.send("GET", PACKAGE, &[]).await, 401, "no token");
    let proxied = Server::start(&[("trusted-proxies", "10.0.0.0/8")]).await;
    let prefix = [("x-forwarded-prefix", "/c")];
    Server::assert(&proxied.send("GET", "/c/readyz", &prefix).await, 200, "ready");
    let strange = Server::start(&[]).await;
    Server::assert(&strange.send("GET", "/c/readyz", &prefix).await, 404, "nothing is at");
}

#[tokio::test]
async fn failures_are_slowed_down_and_a_valid_token_never_is() {
    let server = Server::start(&[("failed-auth-limit", "3")]).await;
    let wrong = [("authorization", "Bearer weir_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")];
    for _ in 0..3 {
        Server::assert(&server.send("GET", PACKAGE, &wrong).await, 401, "unknown");
    }
    let slowed = server.send("GET", PACKAGE, &wrong).await;
    Server::assert(&slowed, 429, "too many failed");
    assert!(slowed.headers.contains_key("retry-after"));
    Server::assert(&server.send("GET", PACKAGE, &[]).await, 401, "no token");
    let token = server.token().await;
    let whoami =
        server.send("GET", "/npm/d/local-000000000000/main/-/whoami", &[("authorization", &token)]).await;
    Server::assert(&whoami, 200, "administrator");
    let key = "AWS4-HMAC-SHA256 Credential=AKIAX/20261121/us-east-1/codeartifact/aws4_request, SignedHeaders=host, \
               Signature=00";
    let signed = server.send("GET", "/v1/domain?domain=local", &[("authorization", key)]).await;
    Server::assert(&signed, 429, "too many failed");
    assert_eq!(signed.headers["x-amzn-errortype"], "ThrottlingException");
}

#[tokio::test]
async fn metrics_want_a_token_unless_they_are_public() {
    let server = Server::start(&[]).await;
    Server::assert(&server.send("GET", "/metrics", &[]).await, 401, "weir token create");
    let token = server.token().await;
    let answer = server.send("GET", "/metrics", &[("authorization", &token)]).await;
    Server::assert(&answer, 200, "weir_http_requests_total");
    assert!(answer.text.ends_with("# EOF\n"));
    let public = Server::start(&[("metrics-public", "true")]).await;
    Server::assert(&public.send("GET", "/metrics", &[]).await, 200, "weir_index_hits_total");
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_before_it_is_read() {
    let server = Server::start(&[("max-publish-bytes", "1000")]).await;
    let token = server.token().await;
    let headers = [("authorization", token.as_str()), ("content-length", "1001")];
    Server::assert(&server.send("PUT", PACKAGE, &headers).await, 413, "max-publish-bytes");
}
