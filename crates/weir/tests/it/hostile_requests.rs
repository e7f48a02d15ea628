//! Requests that no honest client sends: each is refused with a reason in the client's own format, and leaves
//! nothing behind.

use crate::npm_world::World;
use crate::stored;
use flate2::Compression;
use flate2::write::GzEncoder;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::{Duration, Instant};
use weir_testkit::package::noise;
use weir_testkit::raw::{self, RawAnswer};
use weir_testkit::{Answer, Credentials, NpmPackage};

/// Where npm finds `main`, without the address of the server.
const MAIN: &str = "/npm/d/local-000000000000/main";
const PATIENCE: Duration = Duration::from_secs(10);

/// One request on a connection of its own that is closed after it; the token goes with it.
async fn send(world: &World, head: &str, body: &[u8]) -> RawAnswer {
    send_on(world, &format!("{head}Connection: close\r\n"), body).await
}

async fn send_on(world: &World, head: &str, body: &[u8]) -> RawAnswer {
    let (line, headers) = head.split_once("\r\n").expect("a head has a request line");
    let host = if headers.contains("Host:") {
        String::new()
    } else {
        format!("Host: {}\r\n", world.weir.authority())
    };
    let head = format!("{line}\r\n{host}Authorization: Bearer {}\r\n{headers}\r\n", world.token);
    raw::exchange(world.weir.authority(), &[head.as_bytes(), body].concat(), PATIENCE).await
}

/// The reason in npm's format; panics when there is none, or when it could harm a terminal.
#[track_caller]
fn reason(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not npm's format: {body}"));
    let reason = json["error"].as_str().unwrap_or_else(|| panic!("no reason: {body}")).to_owned();
    assert!(!reason.is_empty() && reason.len() < 1000, "{} bytes of reason: {reason}", reason.len());
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
    reason
}

#[track_caller]
fn refused(answer: &Answer, statuses: &[u16], words: &[&str]) {
    assert!(statuses.contains(&answer.status.as_u16()), "{}: {}", answer.status, answer.text());
    let reason = reason(&answer.text());
    for word in words {
        assert!(reason.contains(word), "{word:?} is not in: {reason}");
    }
}

#[track_caller]
fn refused_raw(answer: &RawAnswer, statuses: &[u16], words: &[&str]) {
    let text = answer.text();
    assert!(answer.status().is_some_and(|status| statuses.contains(&status)), "{text}");
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let reason = reason(body);
    for word in words {
        assert!(reason.contains(word), "{word:?} is not in: {reason}");
    }
}

fn document(package: &NpmPackage) -> String {
    package.publish_document("http://publisher.example.test").to_string()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

fn chunked(data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in data.chunks(1000) {
        body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        body.extend([chunk, b"\r\n"].concat());
    }
    body.extend(b"0\r\n\r\n");
    body
}

#[tokio::test]
async fn names_that_break_the_pattern_are_refused_at_every_door() {
    let world = World::start().await;
    let (long, longer) = ("a".repeat(256), "a".repeat(10_000));
    let names = [
        "..",
        ".",
        ".hidden",
        "_private",
        "node_modules",
        "favicon.ico",
        "a b",
        "a:b",
        "é",
        "<script>",
        "\"><img src=x>",
        "a\\b",
        "..\\b",
        "../b",
        "@/b",
        "@acme/",
        "@acme/.b",
        "@../b",
        "@acme/a/b",
        "%2e%2e",
        "a%00b",
        "a\0b",
        "a\r\nX-Injected: 1",
        "a\u{1b}[31mred",
        "a\u{202e}b",
        "${7*7}",
        "a;b",
        "a?b#c",
        "a'b\"c",
        &long,
        &longer,
    ];
    for name in names {
        let path = utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
        let mut named = NpmPackage::new("x", "1.0.0").publish_document("http://publisher.example.test");
        named["name"] = json!(name);
        named["_id"] = json!(name);
        named["versions"]["1.0.0"]["name"] = json!(name);
        for (method, path, body) in [
            ("PUT", path.clone(), named.to_string()),
            ("GET", path.clone(), String::new()),
            ("GET", format!("{path}/1.0.0"), String::new()),
            ("GET", format!("{path}/-/x-1.0.0.tgz"), String::new()),
            ("DELETE", format!("{path}/-rev/1"), String::new()),
            ("PUT", format!("-/package/{path}/dist-tags/next"), "\"1.0.0\"".to_owned()),
        ] {
            let answer = world.send(method, &path, &[], body).await;
            assert_eq!(answer.status, 400, "{method} {path}: {}", answer.text());
            reason(&answer.text());
            assert!(answer.headers.get("x-injected").is_none());
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}");
        }
    }
    assert_eq!(world.upstream.total_calls(), 0, "no such name is told to a public registry");
    stored::nothing(&world, "a name that is none").await;
}

#[tokio::test]
async fn versions_tags_and_file_names_that_break_their_patterns_are_refused() {
    let world = World::start().await;
    let long = "1".repeat(5000);
    for version in ["", "1", "1.0", "01.0.0", "1.0.0/../..", "..", "latest", "1.0.0\n", "v1.0.0 ", &long] {
        let text = document(&NpmPackage::new("widget", version));
        let answer = world.send("PUT", "widget", &[], text).await;
        assert_eq!(answer.status, 400, "version {version:?}: {}", answer.text());
        reason(&answer.text());
    }
    for tag in ["1.0.0", "^1", "v2", "a/b", "..", "a b", "a\u{1b}[0m"] {
        let text = document(&NpmPackage::new("widget", "1.0.0").tag(tag));
        let answer = world.send("PUT", "widget", &[], text).await;
        assert_eq!(answer.status, 400, "tag {tag:?}: {}", answer.text());
        reason(&answer.text());
    }
    stored::nothing(&world, "a version that is none").await;
    world.publish(&NpmPackage::new("widget", "1.0.0")).await.assert_status(201);
    for file in ["master.key", "widget-1.0.0.tgz%2f..%2f..%2fmaster.key", "%2e%2e", "widget-1.0.0.tgz%00"] {
        let answer = world.get(&format!("widget/-/{file}"), &[]).await;
        refused(&answer, &[400, 404], &[]);
    }
}

#[tokio::test]
async fn paths_that_lead_out_are_refused_with_and_without_a_token() {
    let world = World::start().await;
    let key = fs_err::read_to_string(world.weir.data().join("master.key")).expect("it was made");
    let secret = world.weir.credentials().secret_access_key;
    let inside = [
        "..%2f..%2f..%2f..%2fmaster.key",
        "%2e%2e/%2e%2e/master.key",
        "../../../../master.key",
        "%252e%252e%252f%252e%252e%252fmaster.key",
        "..%5c..%5cmaster.key",
        "..\\..\\master.key",
        "%c0%ae%c0%ae%c0%afmaster.key",
        "%u002e%u002e/master.key",
        "left-pad/-/..%2f..%2f..%2fmaster.key",
        "left-pad/-/%2e%2e%2f%2e%2e%2fmaster.key",
        "left-pad/-/%2fetc%2fpasswd",
        "left-pad/..;/..;/master.key",
        "@acme%2f..%2f..%2fmaster.key",
        "left-pad%00.tgz",
        "file:%2f%2f%2fetc%2fpasswd",
        "http:%2f%2f127.0.0.1:1%2fx",
    ];
    let outside = [
        "/%2f%2f..%2f..%2fetc/passwd",
        "/../../etc/passwd",
        "/..%2fmaster.key",
        "/npm/d/../../master.key",
        "/npm/d/local-000000000000%2f..%2f..%2fmaster.key/main/x",
        "/npm/d/local-000000000000/main%2f..%2fmain/x",
        "/npm/d/local-000000000000/..%2f..%2fmaster.key",
        "/npm/d/..-000000000000/main/x",
        "/static/../../master.key",
        "/blobs/spool/00000000",
        "/weir.db",
        "/credentials",
    ];
    let inside = inside.iter().map(|path| format!("{MAIN}/{path}"));
    for path in inside.chain(outside.iter().map(|path| (*path).to_owned())) {
        for authorization in [String::new(), format!("Authorization: Bearer {}\r\n", world.token)] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Connection: close\r\n\r\n",
                world.weir.authority()
            );
            let answer = raw::exchange(world.weir.authority(), request.as_bytes(), PATIENCE).await;
            let text = answer.text();
            let status = answer.status().unwrap_or_else(|| panic!("{path}: no answer"));
            assert!([400, 401, 404].contains(&status), "{path}: {text}");
            assert!(
                !text.contains(key.trim()) && !text.contains(&secret) && !text.contains("root:"),
                "{path}"
            );
            // What hyper itself cannot read has no body.
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            if path.starts_with("/npm/d/") && !body.is_empty() {
                reason(body);
            }
        }
    }
    assert_eq!(world.upstream.total_calls(), 0, "none of these is asked of a public registry");
    stored::nothing(&world, "a path that leads out").await;
}

#[tokio::test]
async fn an_encoded_repository_is_the_same_repository_to_the_rules_too() {
    let world = World::start().await;
    world.repository("open", &[]).await;
    world.publish(&NpmPackage::new("secret", "1.0.0")).await.assert_status(201);
    let made = world.weir.cli(&["token", "create", "--repository", "open", "--json"]).await;
    let token = made.assert_ok().json()["token"].as_str().expect("it is a text").to_owned();
    let at = async |path: &str| world.weir.get(&format!("/npm/d/{path}"), &token).await;
    at("local-000000000000/open/-/ping").await.assert_status(200);
    at("local-000000000000/op%65n/-/ping").await.assert_status(200);
    for path in [
        "local-000000000000/main/secret",
        "local-000000000000/%6dain/secret",
        "l%6fcal-000000000000/mai%6e/secret",
        "//local-000000000000//main//secret",
        "local-000000000000/main/secret/-/secret-1.0.0.tgz",
        "local-000000000000/mai%6e/s%65cret/-/secret-1.0.0.tgz",
    ] {
        refused(&at(path).await, &[403], &[]);
    }
    for path in ["local-000000000000/mai%256e/secret", "local-000000000000/open%2f..%2fmain/secret"] {
        let answer = at(path).await;
        assert!([400, 401, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_line_break_splits_no_answer() {
    let world = World::start().await;
    let split = "%0d%0aX-Injected:%201%0d%0a%0d%0a%3cscript%3e";
    for path in [
        format!("{MAIN}/left-pad{split}"),
        format!("/npm/d/local-000000000000/main{split}/left-pad"),
        format!("/npm/d/local{split}-000000000000/main/left-pad"),
        format!("{MAIN}/-/v1/search?text={split}"),
        format!("{MAIN}/left-pad?x={split}"),
        format!("/{split}"),
    ] {
        for token in ["", "weir_unknown"] {
            let answer = world.weir.get(&path, token).await;
            assert!([400, 401, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text());
            assert!(answer.headers.get("x-injected").is_none(), "{path}: {:?}", answer.headers);
        }
    }
    // A quote in the realm would end it.
    let answer = world.weir.send("GET", "/npm/d/local-000000000000/a%22b,x=%22/y", &[], b"").await;
    assert_eq!(answer.header("www-authenticate").matches('"').count(), 2, "{:?}", answer.headers);
    for host in
        ["evil.example.test\r\nX-Injected: 1", "a b", "a/b", "user@host", "<script>", "127.0.0.1:99999"]
    {
        let answer = send(&world, &format!("GET {MAIN}/left-pad HTTP/1.1\r\nHost: {host}\r\n"), b"").await;
        let text = answer.text();
        let status = answer.status();
        assert!(status == Some(400) || host.contains('\r') && status == Some(404), "{host:?}: {text}");
        assert!(!text.to_ascii_lowercase().contains("\r\nx-injected"), "{host:?}: {text}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_or_lies_about_its_length_publishes_nothing() {
    let world = World::start().await;
    let package = NpmPackage::new("widget", "1.0.0").file("more", vec![b'x'; 50_000]);
    let text = document(&package);
    let put = format!("PUT {MAIN}/widget HTTP/1.1\r\nContent-Type: application/json\r\n");
    let length = text.len();

    // Cut anywhere: in the head of the document, in the attachment, before the last brace.
    for cut in [0, 1, 200, length / 2, length - 1] {
        let head = format!("{put}Content-Length: {cut}\r\n");
        refused_raw(&send(&world, &head, &text.as_bytes()[..cut]).await, &[400], &[]);
    }
    // Too long a length, and a client that closes: there is nobody left to answer to.
    for cut in [0, 200, length / 2, length - 1] {
        let head = format!(
            "{put}Host: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {length}\r\n\r\n",
            world.weir.authority(),
            world.token
        );
        leave(&world, &[head.as_bytes(), &text.as_bytes()[..cut]].concat()).await;
    }
    // Too short a length: the rest is no request.
    let head = format!("{put}Content-Length: {}\r\n", length - 100);
    let answer = send_on(&world, &head, text.as_bytes()).await;
    refused_first(&answer, 400);
    for lengths in
        ["Content-Length: 10\r\nContent-Length: 20\r\n", "Content-Length: -1\r\n", "Content-Length: x\r\n"]
    {
        let answer = send(&world, &format!("{put}{lengths}"), text.as_bytes()).await;
        assert_eq!(answer.status(), Some(400), "{lengths}: {}", answer.text());
    }
    // Chunks that are none, or that stop.
    for body in [&b"zz\r\n{}\r\n0\r\n\r\n"[..], b"ffffffffffffffffff\r\n{", b"-1\r\n{}\r\n0\r\n\r\n"] {
        let answer = send(&world, &format!("{put}Transfer-Encoding: chunked\r\n"), body).await;
        assert!(answer.status().is_none_or(|status| status == 400), "{}", answer.text());
    }
    let head = format!(
        "{put}Host: {}\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        world.weir.authority(),
        world.token
    );
    let body = chunked(text.as_bytes());
    leave(&world, &[head.as_bytes(), &body[..body.len() - 5]].concat()).await;
    stored::nothing(&world, "a body that was cut").await;

    let answer = send(&world, &format!("{put}Transfer-Encoding: chunked\r\n"), &body).await;
    assert_eq!(answer.status(), Some(201), "{}", answer.text());
    let file = world.get(&package.tarball_path(), &[]).await;
    assert_eq!(file.assert_status(200).body, package.tarball());
}

/// Sends bytes and closes the connection, then waits until the server has noticed.
async fn leave(world: &World, bytes: &[u8]) {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = tokio::net::TcpStream::connect(world.weir.authority()).await.expect("it listens");
    stream.write_all(bytes).await.expect("it reads");
    stream.shutdown().await.expect("the connection is open");
    let mut answer = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    assert!(read.is_ok(), "the server waits for a client that has left");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
}

/// The first answer has this status, and nothing after it was taken for a request that worked.
#[track_caller]
fn refused_first(answer: &RawAnswer, status: u16) {
    let text = answer.text();
    assert_eq!(answer.status(), Some(status), "{text}");
    assert!(!text.contains("HTTP/1.1 2"), "{text}");
}

#[tokio::test]
async fn compressed_bodies_are_taken_and_bombs_are_not() {
    let world = World::start().await;
    let zipped = [("content-encoding", "gzip")];
    let bomb = |prefix: &str, millions: usize| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(prefix.as_bytes()).expect("memory can be written");
        let million = vec![b'a'; 1 << 20];
        for _ in 0..millions {
            encoder.write_all(&million).expect("memory can be written");
        }
        encoder.finish().expect("memory can be written")
    };
    let audit = "-/npm/v1/security/advisories/bulk";
    for (method, path, body, words) in [
        ("PUT", "widget", bomb("{\"readme\": \"", 200), "unpacks"),
        ("PUT", "widget", bomb("{\"_attachments\": {\"widget-1.0.0.tgz\": {\"data\": \"", 200), "unpacks"),
        ("POST", audit, bomb("{\"a\": [\"", 200), "unpacks"),
        ("POST", audit, bomb("{\"a\": [\"", 20).repeat(2), ""),
    ] {
        let start = Instant::now();
        let answer = world.send(method, path, &zipped, body).await;
        refused(&answer, &[400, 413], &[words]);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
    let package = NpmPackage::new("widget", "1.0.0");
    let packed = gzip(document(&package).as_bytes());
    let mut trailing = packed.clone();
    trailing.extend(b"more");
    let mut wrong = packed.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 0xff;
    for (encoding, body) in [
        ("gzip", &packed[..packed.len() - 1]),
        ("gzip", &packed[..20]),
        ("gzip", &trailing),
        ("gzip", &wrong),
        ("gzip", document(&package).as_bytes()),
        ("br", &packed),
        ("gzip, gzip", &packed),
        ("deflate", &packed),
    ] {
        let headers = [("content-encoding", encoding)];
        refused(&world.send("PUT", "widget", &headers, body).await, &[400], &[]);
    }
    stored::nothing(&world, "a compressed body that is wrong").await;

    world.send("PUT", "widget", &zipped, packed).await.assert_status(201);
    let file = world.get(&package.tarball_path(), &[]).await;
    assert_eq!(file.assert_status(200).body, package.tarball());
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    world.upstream.advise("left-pad", "<2", "high", "pads too far");
    world.get("left-pad", &[]).await.assert_status(200);
    let question = gzip(json!({ "left-pad": ["1.3.0"] }).to_string().as_bytes());
    let found = world.send("POST", audit, &zipped, question).await;
    assert_eq!(found.assert_status(200).json()["left-pad"][0]["title"], "pads too far");
}

#[tokio::test]
async fn the_limit_of_a_publish_holds_in_every_form_of_a_body() {
    let world = World::start_with(|builder| builder.flag("--max-publish-bytes", "64KiB")).await;
    let large = document(&NpmPackage::new("widget", "1.0.0").field("x", json!("y".repeat(100_000))));
    let noisy = document(&NpmPackage::new("widget", "1.0.0").file("noise", noise(100_000)));
    for text in [&large, &noisy] {
        let answer = world.send("PUT", "widget", &[], text.as_str()).await;
        refused(&answer, &[413], &["max-publish-bytes"]);
        let head = format!("PUT {MAIN}/widget HTTP/1.1\r\nTransfer-Encoding: chunked\r\n");
        refused_raw(&send(&world, &head, &chunked(text.as_bytes())).await, &[413], &["max-publish-bytes"]);
        let packed = gzip(text.as_bytes());
        let answer = world.send("PUT", "widget", &[("content-encoding", "gzip")], packed).await;
        refused(&answer, &[413], &["max-publish-bytes"]);
    }
    stored::nothing(&world, "a publish over the limit").await;
    world.publish(&NpmPackage::new("widget", "1.0.0")).await.assert_status(201);
}

#[tokio::test]
async fn a_slow_body_is_waited_for() {
    let world = World::start().await;
    let package = NpmPackage::new("widget", "1.0.0");
    let text = document(&package);
    let head = format!(
        "PUT {MAIN}/widget HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        world.weir.authority(),
        world.token,
        text.len()
    );
    let mut pieces = vec![&head.as_bytes()[..10], &head.as_bytes()[10..]];
    pieces.extend(text.as_bytes().chunks(text.len() / 10));
    let pause = Duration::from_millis(200);
    let answer = raw::exchange_slowly(world.weir.authority(), &pieces, pause, PATIENCE).await;
    assert_eq!(answer.status(), Some(201), "{}", answer.text());
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let world = World::start().await;
    let start = Instant::now();
    let pieces: Vec<&[u8]> = std::iter::repeat_n(&b"X-Slow: 1\r\n"[..], 12).collect();
    let pieces = [&[&b"GET /healthz HTTP/1.1\r\n"[..]], &pieces[..]].concat();
    let pause = Duration::from_secs(3);
    let answer = raw::exchange_slowly(world.weir.authority(), &pieces, pause, Duration::from_secs(50)).await;
    assert!(answer.closed && start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
    assert!(answer.status().is_none_or(|status| status == 408), "{}", answer.text());
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let world = World::start().await;
    let get = format!("GET {MAIN}/-/ping HTTP/1.1\r\n");
    let many: String = (0..500).map(|n| format!("X-Flood-{n}: 1\r\n")).collect();
    let long = format!("X-Flood: {}\r\n", "a".repeat(200_000));
    let cookies = "Cookie: a=b\r\n".repeat(5000);
    for (what, flood) in [("many", &many), ("long", &long), ("the same", &cookies)] {
        let answer = send(&world, &format!("{get}{flood}"), b"").await;
        assert!(answer.status().is_none_or(|status| status == 431), "{what}: {}", answer.text());
    }
    let line = format!("GET {MAIN}/{} HTTP/1.1\r\n", "a".repeat(200_000));
    let answer = send(&world, &line, b"").await;
    assert!(answer.status().is_none_or(|status| [400, 414, 431].contains(&status)), "{}", answer.text());
    let some: String = (0..50).map(|n| format!("X-Some-{n}: 1\r\n")).collect();
    assert_eq!(send(&world, &format!("{get}{some}"), b"").await.status(), Some(200));
}

#[tokio::test]
async fn queries_without_end_are_refused() {
    let world = World::start().await;
    for query in ["a=1&".repeat(1000), format!("text={}", "a".repeat(20_000)), "%zz=1".to_owned()] {
        refused(&world.get(&format!("-/v1/search?{query}"), &[]).await, &[400], &["query"]);
    }
    for query in ["size=-1", "size=99999999999999999999", "from=x", "size=250000000"] {
        let answer = world.get(&format!("-/v1/search?text=a&{query}"), &[]).await;
        assert!([200, 400].contains(&answer.status.as_u16()), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn other_doors_and_other_hosts_are_told_apart() {
    let world = World::start().await;
    let own = world.weir.authority();
    for (format, word) in [("maven", "not built into"), ("nonsense", "is not a package format")] {
        let answer = world.weir.get(&format!("/{format}/d/local-000000000000/main/x"), &world.token).await;
        let text = answer.assert_status(404).text();
        assert!(text.contains(word) && text.contains("npm"), "{text}");
    }
    let tunnel = send(&world, "CONNECT example.test:443 HTTP/1.1\r\n", b"").await;
    assert_eq!(tunnel.status(), Some(405), "{}", tunnel.text());
    assert!(tunnel.text().to_ascii_lowercase().contains("\r\nallow: "), "{}", tunnel.text());

    let foreign = format!("GET http://other.example.test{MAIN}/-/ping HTTP/1.1\r\n");
    let answer = send(&world, &foreign, b"").await;
    assert_eq!(answer.status(), Some(421), "{}", answer.text());
    for authority in [own, "local-000000000000.d.codeartifact.us-east-1.amazonaws.com"] {
        let path = if authority == own { format!("{MAIN}/-/ping") } else { "/npm/main/-/ping".to_owned() };
        let answer = send(&world, &format!("GET http://{authority}{path} HTTP/1.1\r\n"), b"").await;
        assert_eq!(answer.status(), Some(200), "{}", answer.text());
    }
    let with_user = format!("GET http://a:b@{own}{MAIN}/-/ping HTTP/1.1\r\n");
    assert_eq!(send(&world, &with_user, b"").await.status(), Some(400));
    let without_host = format!("GET {MAIN}/-/ping HTTP/1.1\r\nConnection: close\r\n\r\n");
    let answer = raw::exchange(own, without_host.as_bytes(), PATIENCE).await;
    refused_raw(&answer, &[400], &["Host"]);
    let twice = format!("GET {MAIN}/-/ping HTTP/1.1\r\nHost: {own}\r\nHost: other.example.test\r\n");
    refused_raw(&send(&world, &twice, b"").await, &[400], &["Host"]);
    let probe = raw::exchange(own, b"GET /healthz HTTP/1.0\r\n\r\n", PATIENCE).await;
    assert_eq!(probe.status(), Some(200), "{}", probe.text());
    for garbage in
        [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc"[..], b"\0\0\0\0", b"GET\r\n\r\n", b"SSH-2.0-x\r\n\r\n"]
    {
        let answer = raw::exchange(own, garbage, Duration::from_secs(1)).await;
        assert!(answer.status().is_none_or(|status| status == 400), "{}", answer.text());
    }
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_in_order_and_bodies_are_no_requests() {
    let world = World::start().await;
    world.publish(&NpmPackage::new("widget", "1.0.0")).await.assert_status(201);
    let head = format!("Host: {}\r\nAuthorization: Bearer {}\r\n", world.weir.authority(), world.token);
    let get = |path: &str, last: &str| format!("GET {MAIN}/{path} HTTP/1.1\r\n{head}{last}\r\n");
    let requests = [
        get("-/ping", ""),
        get("widget/1.0.0", ""),
        get("absent", ""),
        get("-/whoami", "Connection: close\r\n"),
    ];
    let answer = raw::exchange(world.weir.authority(), requests.concat().as_bytes(), PATIENCE).await;
    let text = answer.text();
    let statuses: Vec<&str> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "404", "200"], "{text}");
    assert!(text.find("\"_id\":\"widget@1.0.0\"") < text.find("username"), "{text}");

    // The body of a request that is refused before it is read.
    let inner = get("widget/-/widget-1.0.0.tgz", "");
    for (method, path, authorization, status) in [
        ("PUT", format!("{MAIN}/widget"), "", "401"),
        ("POST", format!("{MAIN}/nothing/here"), head.split_once("\r\n").map_or("", |(_, rest)| rest), "404"),
        ("GET", format!("{MAIN}/-/ping"), head.split_once("\r\n").map_or("", |(_, rest)| rest), "200"),
        ("POST", "/healthz".to_owned(), "", "200"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Length: {}\r\n\r\n{inner}",
            world.weir.authority(),
            inner.len()
        );
        let answer =
            raw::exchange(world.weir.authority(), request.as_bytes(), Duration::from_millis(700)).await;
        let text = answer.text();
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{method} {path}: {text}");
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {text}");
    }
}

#[tokio::test]
async fn who_may_not_look_cannot_tell_what_is_there() {
    let world = World::start_with(|builder| builder.flag("--failed-auth-limit", "0")).await;
    world.publish(&NpmPackage::new("secret", "1.0.0")).await.assert_status(201);
    world.repository("hidden", &["main"]).await;
    let at = |domain: &str, repository: &str, rest: &str| {
        format!("/npm/d/{domain}-000000000000/{repository}/{rest}")
    };
    let rests =
        ["secret", "absent", "secret/-/secret-1.0.0.tgz", "secret/-/secret-9.9.9.tgz", "-/v1/search?text=s"];
    let places = [("local", "hidden"), ("local", "absent"), ("nowhere", "hidden"), ("nowhere", "absent")];
    for token in ["", "weir_unknownunknownunknownunknownunknown"] {
        let mut said = Vec::new();
        for (domain, repository) in places {
            for rest in rests {
                let answer = world.weir.get(&at(domain, repository, rest), token).await;
                answer.assert_status(401);
                let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
                headers.sort();
                let names = [(domain, "DOMAIN"), (repository, "REPOSITORY")];
                let text = names.iter().fold(answer.text(), |text, (name, word)| text.replace(name, word));
                said.push((headers, text));
            }
        }
        let first = said[0].clone();
        for (at, other) in said.iter().enumerate() {
            assert_eq!(first, *other, "number {at}");
        }
    }
    // Somebody of the account who may read `main` alone.
    let policy = world.weir.data().join("policy.json");
    let text = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["codeartifact:GetAuthorizationToken", "sts:GetServiceBearerToken"], "Resource": "*" },
        { "Effect": "Allow", "Action": "codeartifact:*", "Resource": "arn:aws:codeartifact:us-east-1:000000000000:repository/local/main" },
    ]});
    fs_err::write(&policy, text.to_string()).expect("the folder can be written");
    let path = policy.to_str().expect("a temporary folder has a plain name");
    world.weir.cli(&["user", "create", "guest", "--policy", path]).await.assert_ok();
    let made = world.weir.cli(&["token", "create", "--user", "guest", "--json"]).await;
    let token = made.assert_ok().json()["token"].as_str().expect("it is a text").to_owned();
    let made = world.weir.cli(&["key", "create", "--user", "guest", "--json"]).await.assert_ok().json();
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name} in {made}")).to_owned();
    let key = Credentials {
        access_key_id: text("accessKeyId"),
        secret_access_key: text("secretAccessKey"),
        session_token: None,
        region: "us-east-1".to_owned(),
    };
    world.weir.get(&at("local", "main", "secret"), &token).await.assert_status(200);
    let mut said = Vec::new();
    for repository in ["hidden", "absent"] {
        for rest in ["secret", "absent", "secret/-/secret-1.0.0.tgz", "-/v1/search?text=s"] {
            let answer = world.weir.get(&at("local", repository, rest), &token).await;
            said.push((answer.status, answer.text().replace(repository, "REPOSITORY")));
        }
        let (path, bearer) = (at("local", repository, "widget"), format!("Bearer {token}"));
        let body = document(&NpmPackage::new("widget", "1.0.0"));
        let answer = world.weir.send("PUT", &path, &[("authorization", &bearer)], body.as_bytes()).await;
        // Only reading is asked of a repository that is not there, so the words may differ.
        said.push((answer.status, String::new()));
        for (method, path, body) in [
            ("GET", "/v1/repository", ""),
            ("GET", "/v1/repository/endpoint?format=npm", ""),
            ("DELETE", "/v1/repository", ""),
            ("POST", "/v1/packages", ""),
            ("GET", "/v1/package?format=npm&package=secret", ""),
            ("POST", "/v1/package/versions?format=npm&package=secret", ""),
            ("GET", "/v1/package/version?format=npm&package=secret&version=1.0.0", ""),
            (
                "GET",
                "/v1/package/version/asset?format=npm&package=secret&version=1.0.0&asset=package.tgz",
                "",
            ),
            ("POST", "/v1/package/versions/delete?format=npm&package=secret", r#"{"versions":["1.0.0"]}"#),
            ("GET", "/weir/v1/explain?format=npm&package=secret", ""),
        ] {
            let mark = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{mark}domain=local&repository={repository}");
            let answer = world.weir.api_as(&key, method, &path, body).await;
            said.push((answer.status, answer.text().replace(repository, "REPOSITORY")));
        }
    }
    let (hidden, absent) = said.split_at(said.len() / 2);
    assert_eq!(hidden, absent, "a hidden repository and none look alike");
    assert!(hidden.iter().all(|(status, _)| *status == 403), "{hidden:#?}");
}

#[tokio::test]
async fn headers_of_a_stranger_change_nothing() {
    let world = World::start_with(|builder| builder.flag("--failed-auth-limit", "5")).await;
    world.publish(&NpmPackage::new("widget", "1.0.0")).await.assert_status(201);
    let before = world.document("widget").await;
    for (name, value) in [
        ("host", "evil.example.test"),
        ("x-forwarded-host", "evil.example.test"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/npm/d/local-000000000000/other/widget"),
        ("x-rewrite-url", "/metrics"),
        ("x-http-method-override", "DELETE"),
        ("forwarded", "host=evil.example.test;proto=https"),
    ] {
        let asked = world.get("widget", &[(name, value)]).await;
        asked.assert_status(200);
        // Addresses follow the Host of whoever asked, and of nobody else; see `weir.md` 1.
        assert_eq!(asked.text().contains("evil"), name == "host", "{name}: {}", asked.text());
        assert_eq!(world.document("widget").await, before, "after {name}");
    }
    // A guesser is told from others by its connection, whatever it says of itself.
    let mut last = 0;
    for guess in 0..8 {
        let address = format!("203.0.113.{guess}");
        let bearer = format!("Bearer weir_guessguessguessguessguess{guess}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-forwarded-for", &address),
            ("x-real-ip", &address),
            ("forwarded", &address),
        ];
        last = world.weir.send("GET", &format!("{MAIN}/widget"), &headers, b"").await.status.as_u16();
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn a_virtual_host_is_a_door_with_the_same_lock() {
    let world = World::start().await;
    world.repository("open", &[]).await;
    world.publish(&NpmPackage::new("secret", "1.0.0")).await.assert_status(201);
    let made = world.weir.cli(&["token", "create", "--repository", "open", "--json"]).await;
    let scoped = made.assert_ok().json()["token"].as_str().expect("it is a text").to_owned();
    let host = "local-000000000000.d.codeartifact.eu-west-1.amazonaws.com";
    for (path, token, status) in [
        ("/npm/main/secret", world.token.as_str(), 200),
        ("/npm/main/secret", &scoped, 403),
        ("/npm/main/secret/-/secret-1.0.0.tgz", &scoped, 403),
        ("/npm/mai%6e/secret", &scoped, 403),
        ("/npm/main/secret", "", 401),
        ("/npm/d/local-000000000000/main/secret", &scoped, 403),
        ("/npm/open%2f..%2fmain/secret", &scoped, 400),
    ] {
        let bearer = format!("Bearer {token}");
        let headers = [("host", host), ("authorization", bearer.as_str())];
        let answer = world.weir.send("GET", path, &headers, b"").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let other = [("host", "other-000000000000.d.codeartifact.us-east-1.amazonaws.com")];
    let bearer = format!("Bearer {}", world.token);
    let headers = [other[0], ("authorization", bearer.as_str())];
    world.weir.send("GET", "/npm/main/secret", &headers, b"").await.assert_status(401);
}

#[tokio::test]
async fn wildcards_in_a_question_stand_for_themselves() {
    let world = World::start().await;
    for name in ["alpha", "a_pha"] {
        world.publish(&NpmPackage::new(name, "1.0.0")).await.assert_status(201);
    }
    for (prefix, expected) in
        [("a", 2), ("a_", 1), ("%25", 0), ("a%25", 0), ("%5C", 0), ("%27", 0), ("a%27--", 0)]
    {
        let path = format!("/v1/packages?domain=local&repository=main&format=npm&package-prefix={prefix}");
        let found = world.weir.api("POST", &path, "").await.assert_status(200).json();
        assert_eq!(found["packages"].as_array().map(Vec::len), Some(expected), "{prefix}: {found}");
        let found = world.get(&format!("-/v1/search?text={prefix}"), &[]).await.assert_status(200).json();
        assert_eq!(found["objects"].as_array().map(Vec::len), Some(expected), "{prefix}: {found}");
    }
}
