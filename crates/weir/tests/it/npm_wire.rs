//! npm's protocol on the wire: headers, conditional requests and encodings, and who is let in how.

use crate::npm_world::World;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::time::Duration;
use weir_testkit::raw::exchange;
use weir_testkit::{Answer, NpmPackage};

const ABBREVIATED: (&str, &str) = ("accept", "application/vnd.npm.install-v1+json");
const GZIP: (&str, &str) = ("accept-encoding", "gzip, br");

/// A package whose document is worth compressing.
fn left_pad() -> Vec<NpmPackage> {
    (0..20).map(|minor| NpmPackage::new("left-pad", &format!("1.{minor}.0")).bin("pad", "cli.js")).collect()
}

#[tokio::test]
async fn an_index_is_revalidated_by_a_tag_for_each_representation() {
    let world = World::start().await;
    world.upstream.publish_all(&left_pad());
    let forms = [vec![], vec![GZIP], vec![ABBREVIATED], vec![ABBREVIATED, GZIP]];
    let mut tags = Vec::new();
    for form in &forms {
        let answer = world.get("left-pad", form).await;
        answer.assert_status(200);
        let encoding = if form.contains(&GZIP) { "gzip" } else { "" };
        assert_eq!(answer.header("content-encoding"), encoding, "{form:?}");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        let vary = answer.header("vary").to_ascii_lowercase();
        assert!(vary.contains("accept,") && vary.contains("accept-encoding"), "{vary}");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{form:?}");
        assert_eq!(answer.json()["versions"].as_object().map(serde_json::Map::len), Some(20));
        let tag = answer.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag} is strong");
        tags.push(tag);

        let head = world.send("HEAD", "left-pad", form, "").await;
        assert_eq!((head.status, head.body.len()), (answer.status, 0));
        for name in ["etag", "content-length", "content-type", "content-encoding"] {
            assert_eq!(head.header(name), answer.header(name), "{name} of {form:?}");
        }
    }
    let mut different = tags.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 4, "{tags:?}");
    for (form, tag) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 2)] {
        for condition in [tags[tag].clone(), format!("\"x\", W/{}", tags[tag]), "*".to_owned()] {
            let headers = [&forms[form][..], &[("if-none-match", condition.as_str())]].concat();
            let answer = world.get("left-pad", &headers).await;
            answer.assert_status(304);
            assert_eq!(answer.body.len(), 0);
            assert_eq!(answer.header("cache-control"), "private, no-cache");
            assert!(!answer.header("etag").is_empty() && !answer.header("vary").is_empty());
        }
    }
    let condition = [("if-none-match", tags[0].as_str())];
    let body = json!({ "restrictions": { "publish": "ALLOW", "upstream": "ALLOW" } }).to_string();
    let path = "/v1/package?domain=local&repository=main&format=npm&package=left-pad";
    world.weir.api("POST", path, &body).await.assert_status(200);
    world.publish(&NpmPackage::new("left-pad", "2.0.0")).await.assert_status(201);
    world.get("left-pad", &condition).await.assert_status(200);
}

#[tokio::test]
async fn an_encoding_or_form_that_is_not_wanted_is_not_sent() {
    let world = World::start().await;
    world.upstream.publish_all(&left_pad());
    for refused in ["identity", "gzip;q=0", "br", "deflate, zstd", "gzip; q=0, *;q=0.1", ""] {
        let answer = world.get("left-pad", &[("accept-encoding", refused)]).await;
        assert_eq!(answer.header("content-encoding"), "", "{refused}");
    }
    for (accept, kind) in [
        ("application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*", ABBREVIATED.1),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("application/json, application/vnd.npm.install-v1+json;q=0.5", "application/json"),
        ("text/html", "application/json"),
    ] {
        let answer = world.get("left-pad", &[("accept", accept)]).await;
        assert_eq!(answer.assert_status(200).header("content-type"), kind, "{accept}");
    }
    // Berry sends no Accept at all.
    assert_eq!(world.get("left-pad", &[]).await.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_tarball_may_be_kept_for_ever_and_is_never_run() {
    let world = World::start().await;
    let public = NpmPackage::new("left-pad", "1.3.0").published("2024-01-02T03:04:05.678Z");
    world.upstream.publish(&public);
    let own = NpmPackage::new("widget", "1.0.0").scope("acme");
    world.publish(&own).await.assert_status(201);
    for package in [&public, &own] {
        let path = package.tarball_path();
        for round in ["first", "again"] {
            let answer = world.get(&path, &[]).await;
            answer.assert_status(200);
            assert_eq!(answer.header("cache-control"), "private, max-age=31536000, immutable", "{round}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{round}");
            assert!(answer.header("content-disposition").starts_with("attachment"), "{round}");
            assert_eq!(answer.header("accept-ranges"), "bytes", "{round}");
            assert_eq!(answer.header("content-length"), package.tarball().len().to_string(), "{round}");
            assert!(!answer.header("last-modified").is_empty(), "{round}: {:?}", answer.headers);
        }
        let answer = world.get(&path, &[]).await;
        let (tag, date) = (answer.header("etag"), answer.header("last-modified"));
        assert!(tag.starts_with('"'), "{:?}", answer.headers);
        world.get(&path, &[("if-none-match", tag)]).await.assert_status(304);
        world.get(&path, &[("if-modified-since", date)]).await.assert_status(304);
        let range = ("range", "bytes=0-0");
        world.get(&path, &[range, ("if-range", tag)]).await.assert_status(206);
        world.get(&path, &[range, ("if-range", "\"other\"")]).await.assert_status(200);
        world.get(&path, &[range, ("if-none-match", tag)]).await.assert_status(304);
    }
    let answer = world.get(&public.tarball_path(), &[]).await;
    assert_eq!(answer.header("last-modified"), "Tue, 02 Jan 2024 03:04:05 GMT");
}

#[tokio::test]
async fn whoever_brings_no_usable_token_is_challenged_whatever_was_asked() {
    let world =
        World::start_with(|builder| builder.flag("--failed-auth-limit", "0").flag("--log-level", "debug"))
            .await;
    world.upstream.publish_all(&left_pad());
    world.weir.api("POST", "/v1/domain?domain=elsewhere", "").await.assert_status(200);
    let create = async |arguments: &[&str]| {
        let made = world.weir.cli(&[&["token", "create", "--json"], arguments].concat()).await;
        let made = made.assert_ok().json();
        let text = |name: &str| made[name].as_str().expect("a token has both").to_owned();
        (text("id"), text("token"))
    };
    let (_, expired) = create(&["--expires", "1s"]).await;
    let (id, revoked) = create(&[]).await;
    world.weir.cli(&["token", "delete", &id]).await.assert_ok();
    let foreign = world.weir.token("elsewhere").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;

    let unknown = "weir_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let credentials: Vec<(&str, Option<String>)> = vec![
        ("no token", None),
        ("", Some("Bearer ".to_owned())),
        ("", Some("Bearer two words".to_owned())),
        ("", Some("Basic !!!".to_owned())),
        ("", Some(format!("Basic {}", STANDARD.encode("aws:")))),
        ("", Some("Digest x=y".to_owned())),
        ("unknown", Some(format!("Bearer {unknown}"))),
        ("malformed", Some("Bearer npm_abcdef".to_owned())),
        ("expired", Some(format!("Bearer {expired}"))),
        ("", Some(format!("Bearer {revoked}"))),
        ("another domain", Some(format!("Bearer {foreign}"))),
    ];
    let requests = [
        ("GET", "local-000000000000/main/left-pad", "local/main"),
        ("GET", "local-000000000000/main/absent", "local/main"),
        ("GET", "local-000000000000/main/left-pad/-/left-pad-1.0.0.tgz", "local/main"),
        ("GET", "local-000000000000/nowhere/left-pad", "local/nowhere"),
        ("GET", "nowhere-000000000000/main/left-pad", "nowhere/main"),
        ("HEAD", "local-000000000000/main/left-pad", "local/main"),
        ("PUT", "local-000000000000/main/left-pad", "local/main"),
        ("DELETE", "local-000000000000/main/left-pad/-rev/1", "local/main"),
        ("GET", "local-000000000000/main/-/ping", "local/main"),
        ("GET", "local-000000000000/main/-/whoami", "local/main"),
        ("GET", "local-000000000000/main/-/v1/search?text=a", "local/main"),
        ("POST", "local-000000000000/main/-/npm/v1/security/advisories/bulk", "local/main"),
        ("DELETE", "local-000000000000/main/-/user/token/weir_x", "local/main"),
    ];
    for (said, credential) in &credentials {
        let headers: Vec<_> = credential.iter().map(|value| ("authorization", value.as_str())).collect();
        let mut texts = Vec::new();
        for (method, path, realm) in requests {
            let answer = world.weir.send(method, &format!("/npm/d/{path}"), &headers, b"{}").await;
            assert_eq!(answer.status, 401, "{method} {path} with {credential:?}: {}", answer.text());
            let challenge = format!("Basic realm=\"{realm}\"");
            assert_eq!(answer.header("www-authenticate"), challenge, "{method} {path} with {credential:?}");
            if method == "HEAD" {
                continue;
            }
            let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(said) && error.contains("weir login npm"), "{credential:?}: {error}");
            texts.push(error.replace(realm, "").replace(&realm.replace('/', " --repository "), ""));
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 1, "what does not exist is refused in the same words: {texts:?}");
    }
    world.get("left-pad", &[]).await.assert_status(200);
    let log = world.weir.log();
    for token in [&expired, &revoked, &foreign, &world.token] {
        assert!(!log.contains(token.as_str()), "the log tells a token");
    }
}

#[tokio::test]
async fn a_token_is_taken_in_every_way_a_client_sends_it() {
    let world = World::start().await;
    world.upstream.publish_all(&left_pad());
    let token = &world.token;
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
    let values = [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("BEARER  {token}"),
        token.clone(),
        basic("aws"),
        basic("token"),
        basic("__token__"),
        basic(""),
        basic("aws").replace("Basic", "basic"),
    ];
    let path = "/npm/d/local-000000000000/main/left-pad";
    for value in values {
        let answer = world.weir.send("GET", path, &[("authorization", &value)], b"").await;
        assert_eq!(answer.status, 200, "{value}: {}", answer.text());
    }
    world.weir.send("GET", path, &[("x-nuget-apikey", token)], b"").await.assert_status(200);
}

#[tokio::test]
async fn tokens_of_a_deleted_user_die() {
    let world = World::start().await;
    world.upstream.publish_all(&left_pad());
    world.weir.cli(&["user", "create", "robot", "--policy", "read"]).await.assert_ok();
    let token =
        world.weir.cli(&["token", "create", "--user", "robot"]).await.assert_ok().stdout.trim().to_owned();
    let path = "/npm/d/local-000000000000/main/left-pad";
    world.weir.get(path, &token).await.assert_status(200);
    let whoami = world.weir.get("/npm/d/local-000000000000/main/-/whoami", &token).await;
    assert_eq!(whoami.json()["username"], "robot");
    world.weir.cli(&["user", "delete", "robot"]).await.assert_ok();
    world.weir.get(path, &token).await.assert_status(401);
    world.weir.cli(&["user", "create", "robot", "--policy", "admin"]).await.assert_ok();
    world.weir.get(path, &token).await.assert_status(401);
}

#[tokio::test]
async fn a_scoped_token_does_no_more_than_its_scope() {
    let world = World::start().await;
    world.upstream.publish_all(&left_pad());
    world.repository("other", &["npm-store"]).await;
    let make = async |arguments: &[&str]| {
        let made = world.weir.cli(&[&["token", "create"], arguments].concat()).await;
        made.assert_ok().stdout.trim().to_owned()
    };
    let file = "left-pad/-/left-pad-1.0.0.tgz";
    let read = async |token: &str, repository: &str| {
        let mut statuses = Vec::new();
        for path in ["left-pad", file, "-/whoami", "absent"] {
            let path = format!("/npm/d/local-000000000000/{repository}/{path}");
            statuses.push(world.weir.get(&path, token).await.status.as_u16());
        }
        statuses
    };
    let put = async |token: &str, package: NpmPackage| -> Answer {
        let bearer = format!("Bearer {token}");
        let document = package.publish_document("http://publisher.example.test").to_string();
        let path = format!("/npm/d/local-000000000000/main/{}", package.full_name());
        world.weir.send("PUT", &path, &[("authorization", &bearer)], document.as_bytes()).await
    };
    let may = [200, 200, 200, 404];

    let one = make(&["--repository", "main"]).await;
    assert_eq!(read(&one, "main").await, may);
    let elsewhere = read(&one, "other").await;
    assert!(elsewhere.iter().all(|status| *status == 403), "{elsewhere:?}");
    put(&one, NpmPackage::new("by-one", "1.0.0")).await.assert_status(201);

    let generic = make(&["--format", "generic"]).await;
    let elsewhere = read(&generic, "main").await;
    assert!(elsewhere.iter().all(|status| *status == 403), "{elsewhere:?}");
    assert_eq!(read(&make(&["--format", "npm"]).await, "main").await, may);

    let reading = make(&["--read-only"]).await;
    assert_eq!(read(&reading, "main").await, may);
    let refused = put(&reading, NpmPackage::new("by-reader", "1.0.0")).await;
    refused.assert_status(403);
    let bearer = format!("Bearer {reading}");
    let rev =
        world.get("by-one?write=true", &[]).await.json()["_rev"].as_str().unwrap_or_default().to_owned();
    let (all, one) = (format!("by-one/-rev/{rev}"), r#"{"name":"by-one","versions":{}}"#);
    for (method, path, body) in [
        ("PUT", "-/package/by-one/dist-tags/stable", "\"1.0.0\""),
        ("DELETE", "-/package/by-one/dist-tags/latest", ""),
        ("DELETE", &all, ""),
        ("PUT", &all, one),
        ("PUT", "by-one", r#"{"name":"by-one","versions":{"1.0.0":{"deprecated":"no"}}}"#),
    ] {
        let path = format!("/npm/d/local-000000000000/main/{path}");
        let answer = world.weir.send(method, &path, &[("authorization", &bearer)], body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    assert_eq!(world.document("by-one").await["dist-tags"], json!({ "latest": "1.0.0" }));
    // Logging in with it gives nothing better.
    let login = json!({ "name": "administrator", "password": reading }).to_string();
    let path = "/npm/d/local-000000000000/main/-/user/org.couchdb.user:administrator";
    let token = world.weir.send("PUT", path, &[], login.as_bytes()).await.json()["token"].clone();
    let token = token.as_str().expect("a token comes back");
    put(token, NpmPackage::new("by-login", "1.0.0")).await.assert_status(403);
}

#[tokio::test]
async fn guesses_are_slowed_down_and_tokens_that_work_are_not() {
    let world = World::start_with(|builder| builder.flag("--failed-auth-limit", "5")).await;
    world.upstream.publish_all(&left_pad());
    let path = "/npm/d/local-000000000000/main/left-pad";
    let mut last = None;
    for guess in 0..8 {
        last = Some(world.weir.get(path, &format!("weir_guess{guess}")).await);
    }
    let last = last.expect("eight were sent");
    last.assert_status(429);
    assert!(!last.header("retry-after").is_empty());
    assert!(last.json()["error"].as_str().is_some_and(|error| error.contains("failed-auth-limit")));
    world.weir.get(path, &world.token).await.assert_status(200);
    // Clients that begin without credentials and wait for the challenge are no guessers.
    world.weir.send("GET", path, &[], b"").await.assert_status(401);
}

#[tokio::test]
async fn no_log_line_holds_a_token() {
    let world = World::start_with(|builder| builder.flag("--log-level", "trace")).await;
    world.upstream.publish_all(&left_pad());
    let (token, secret) = (&world.token, world.weir.credentials().secret_access_key);
    world.get("left-pad", &[]).await.assert_status(200);
    world.get(&format!("left-pad?token={token}"), &[]).await;
    world.get(&format!("@x/{token}"), &[]).await;
    world.get(&format!("left-pad/{token}"), &[]).await;
    world.get(&format!("-/unknown/{token}"), &[]).await;
    world.get("left-pad", &[("x-nuget-apikey", token), ("cookie", token)]).await;
    let login = json!({ "name": "administrator", "password": secret }).to_string();
    let made = world.send("PUT", "-/user/org.couchdb.user:administrator", &[], login).await;
    let second = made.assert_status(201).json()["token"].as_str().expect("a token").to_owned();
    world.send("DELETE", &format!("-/user/token/{second}"), &[], "").await.assert_status(200);
    world.get("left-pad", &[("authorization", &format!("Bearer {second}"))]).await;
    let request = format!("GET /npm/d/local-000000000000/main/{token} HTTP/1.0\r\n\r\n");
    exchange(world.weir.authority(), request.as_bytes(), Duration::from_secs(2)).await;
    world.send("DELETE", &format!("-/user/token/{token}"), &[], "").await.assert_status(200);
    world.get("left-pad", &[]).await.assert_status(401);
    let log = world.weir.log();
    assert!(log.contains("(redacted)"), "{log}");
    for hidden in [token, &second, &secret] {
        let line = log.lines().find(|line| line.contains(hidden.as_str()));
        assert_eq!(line, None);
    }
}

#[tokio::test]
async fn odd_requests_are_refused_politely() {
    let world = World::start().await;
    for (method, path, status) in [
        ("GET", "", 200),
        ("GET", "-/ping", 200),
        ("GET", "-/ping?write=true", 200),
        ("HEAD", "-/ping", 200),
        ("POST", "left-pad", 404),
        ("PATCH", "left-pad", 404),
        ("GET", "@acme", 400),
        ("GET", ".hidden", 400),
        ("GET", "..", 400),
        ("GET", "a%00b", 400),
        ("GET", "a%zz", 400),
        ("GET", "node_modules", 400),
        ("GET", "-/nothing", 404),
        ("GET", "left-pad/-/../../x", 400),
        ("PUT", "widget", 400),
        ("POST", "-/npm/v1/security/advisories/bulk", 400),
    ] {
        let answer = world.send(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path:?}: {}", answer.text());
        if status >= 400 && method != "HEAD" {
            let text = answer.text();
            let named =
                serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|json| json["error"].is_string());
            assert!(named || !text.is_empty(), "{method} {path:?}: {text}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path:?}");
        }
    }
}
