//! What a running server tells of itself: its doors for probes, its counters, and one log line for each
//! request with the fields that docs/logging.md lists and no secret in it.

use crate::bad_world::tells_ready;
use crate::npm_world::World;
use crate::running::builder;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_testkit::package::noise;
use weir_testkit::raw::exchange;
use weir_testkit::{Answer, Fault, NpmPackage, Weir};

#[tokio::test]
async fn probes_need_no_token_and_readiness_looks_at_the_store() {
    let server = builder().start().await;
    for path in ["/healthz", "/readyz"] {
        for method in ["GET", "HEAD"] {
            let answer = server.send(method, path, &[], b"").await;
            assert!(answer.assert_status(200).header("x-amzn-requestid").len() == 36, "{method} {path}");
        }
    }
    let bare = exchange(server.authority(), b"GET /healthz HTTP/1.0\r\n\r\n", Duration::from_secs(5)).await;
    assert_eq!(bare.status(), Some(200), "{}", bare.text());

    let blobs = server.data().join("blobs");
    let away = server.data().join("blobs-away");
    fs_err::rename(&blobs, &away).expect("it can be moved");
    let answer = tells_ready(&server, 503).await;
    assert!(answer.text().contains("not ready"), "{}", answer.text());
    server.send("GET", "/healthz", &[], b"").await.assert_status(200);
    fs_err::rename(&away, &blobs).expect("it can be moved back");
    tells_ready(&server, 200).await;
}

/// The samples of an OpenMetrics text; panics where it breaks the format.
fn samples(answer: &Answer) -> BTreeMap<String, f64> {
    let text = answer.assert_status(200).text();
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let lines = text.strip_suffix("# EOF\n").expect("the text ends with its mark").lines();
    let mut kinds = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("# ") {
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            match words[..] {
                ["TYPE", name, kind] => assert!(kinds.insert(name.to_owned(), kind).is_none(), "{line}"),
                ["HELP" | "UNIT", _, _] => {}
                _ => panic!("not OpenMetrics: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not OpenMetrics: {line}"));
        let name = series.split('{').next().unwrap_or_default();
        let family = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let kind = kinds.get(family.unwrap_or(name)).or_else(|| kinds.get(name));
        assert!(kind.is_some_and(|kind| *kind != "counter" || name.ends_with("_total")), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[tokio::test]
async fn metrics_want_a_token_and_count_requests() {
    let world = World::start().await;
    let (weir, token) = (&world.weir, &world.token);
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    let refused = weir.send("GET", "/metrics", &[], b"").await;
    assert!(refused.assert_status(401).text().contains("metrics-public"), "{}", refused.text());
    assert!(!refused.header("www-authenticate").is_empty(), "{:?}", refused.headers);
    weir.get("/metrics", "weir_nonsense").await.assert_status(401);
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "codeartifact:DescribeDomain", "Resource": "*" },
    ] });
    fs_err::write(weir.data().join("none.json"), policy.to_string())
        .expect("a temporary folder can be written");
    let policy = weir.data().join("none.json").display().to_string();
    weir.cli(&["user", "create", "nobody", "--policy", &policy]).await.assert_ok();
    let nobody = weir.cli(&["token", "create", "--user", "nobody"]).await.assert_ok().stdout.clone();
    weir.get("/metrics", nobody.trim()).await.assert_status(403);

    let before = samples(&weir.get("/metrics", token).await);
    let index = world.get("left-pad", &[]).await;
    world.get("left-pad/-/left-pad-1.3.0.tgz", &[]).await.assert_status(200);
    world.get("absent", &[]).await.assert_status(404);
    // A request is counted when its answer has ended, which its client may see a moment before.
    let mut after = samples(&weir.get("/metrics", token).await);
    for _ in 0..100 {
        if after["weir_http_requests_in_flight"] == 1.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = samples(&weir.get("/metrics", token).await);
    }
    let grown = |series: &str| after[series] - before.get(series).copied().unwrap_or(0.0);
    assert_eq!(grown("weir_http_requests_total{format=\"npm\",status=\"2xx\"}"), 2.0, "{after:?}");
    assert_eq!(grown("weir_http_requests_total{format=\"npm\",status=\"4xx\"}"), 1.0);
    assert!(grown("weir_http_response_bytes_total") >= index.body.len() as f64);
    assert_eq!(grown("weir_files_fetched_total"), 1.0);
    assert_eq!(grown("weir_versions_retained_total"), 2.0, "in main and in npm-store");
    assert!(after["weir_http_failed_authentications_total"] >= 1.0);
    assert_eq!(after["weir_http_requests_in_flight"], 1.0, "the one that asks");
    assert_eq!(after["weir_http_panics_total"], 0.0);
    for name in
        ["weir_http_request_duration_seconds_count", "weir_http_connections", "weir_upstream_requests_total"]
    {
        assert!(after[name] >= 1.0, "{name} {after:?}");
    }

    let open = builder().argument("--metrics-public").start().await;
    samples(&open.send("GET", "/metrics", &[], b"").await);
}

/// Requests of every kind; gives (request id, status) of each, and the secrets that were used.
async fn requests(world: &World) -> (Vec<(String, u16)>, Vec<String>) {
    let package = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&package);
    let weir = &world.weir;
    let secret_key = weir.credentials().secret_access_key;
    let mut secrets = vec![world.token.clone(), secret_key.clone(), "hunter2-upstream".to_owned()];
    let master_key = fs_err::read_to_string(weir.data().join("master.key")).expect("it was made");
    secrets.push(master_key.trim().to_owned());
    let mut answers = vec![
        world.get("left-pad", &[]).await.assert_status(200).clone(),
        world.get(&package.tarball_path(), &[]).await,
        world.send("HEAD", &package.tarball_path(), &[], "").await,
        world.get("@acme%2fabsent", &[]).await,
        world.publish(&NpmPackage::new("widget", "1.0.0").scope("acme")).await,
        weir.api("POST", "/v1/domains", "{}").await,
        weir.send("GET", "/healthz", &[], b"").await,
        weir.send("GET", "/nowhere?token=hunter2-query", &[], b"").await,
    ];
    secrets.push("hunter2-query".to_owned());
    // npm's login with a token as password, and its logout.
    let login = json!({ "name": "alice-hunter2", "password": world.token }).to_string();
    answers.push(world.send("PUT", "-/user/org.couchdb.user:alice-hunter2", &[], login).await);
    let made = weir.cli(&["token", "create"]).await.assert_ok().stdout.trim().to_owned();
    answers.push(world.send("DELETE", &format!("-/user/token/{made}"), &[], "").await);
    secrets.extend([made, "alice-hunter2".to_owned()]);
    // Tokens where none belongs.
    let wrong = "weir_hunter2hunter2hunter2hunter2hunter2hunter2hunter";
    answers.push(weir.get("/npm/d/local-000000000000/main/left-pad", wrong).await);
    let basic = format!("Basic {}", STANDARD.encode("aws:hunter2-password"));
    let path = format!("/npm/d/local-000000000000/main/{wrong}");
    answers.push(weir.send("GET", &path, &[("authorization", &basic)], b"").await);
    secrets.extend([wrong.to_owned(), basic, "hunter2-password".to_owned()]);
    let told = answers.iter().map(|answer| (answer.header("x-amzn-requestid").to_owned(), answer.status));
    (told.map(|(id, status)| (id, status.as_u16())).collect(), secrets)
}

/// The log once the lines of these requests are in it: a line is written when the answer has ended.
async fn log_with(weir: &Weir, ids: &[(String, u16)]) -> String {
    for _ in 0..100 {
        if ids.iter().all(|(id, _)| weir.log().contains(id)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    weir.log()
}

fn keep_secrets(log: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!log.contains(secret), "the log tells {secret}:\n{log}");
    }
    for word in ["Signature=", "X-Amz-Signature", "hunter2", "org.couchdb.user:"] {
        let line = log.lines().find(|line| line.contains(word));
        assert!(line.is_none(), "the log tells {word}: {line:?}");
    }
}

/// A world whose public registry wants a token, with a server that logs; the folder holds its settings.
async fn logging(format: &str, level: &str) -> (World, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("weir.toml");
    let table = "[external-connections.\"public:npmjs\"]\ntoken = \"hunter2-upstream\"\n";
    fs_err::write(&file, table).expect("a temporary folder can be written");
    let world = World::start_with(|builder| {
        let builder = builder.flag("--log-format", format).flag("--log-level", level);
        builder.flag("--failed-auth-limit", "0").flag("--config", &file.display().to_string())
    })
    .await;
    world.upstream.require_token("hunter2-upstream");
    (world, folder)
}

/// Every field of `docs/logging.md`'s table, with whether each line has it.
const FIELDS: [(&str, bool); 14] = [
    ("request.id", true),
    ("client.address", true),
    ("http.method", true),
    ("http.path", true),
    ("http.status", true),
    ("http.bytes", true),
    ("duration_ms", true),
    ("format", false),
    ("repository.name", false),
    ("package.name", false),
    ("principal", false),
    ("upstream.stale_s", false),
    ("cut", false),
    ("error", false),
];

#[tokio::test]
async fn every_request_has_one_line_of_json_with_the_documented_fields() {
    let documentation = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/logging.md");
    let documentation = fs_err::read_to_string(documentation).expect("it is there");
    let (world, _folder) = logging("json", "info").await;
    let (ids, secrets) = requests(&world).await;
    let log = log_with(&world.weir, &ids).await;
    keep_secrets(&log, &secrets);
    // What a first start says to people is the only text that is no JSON.
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let of_requests: Vec<&Value> = lines.iter().filter(|line| line["target"] == "weir::request").collect();
    for (id, status) in &ids {
        let mut mine = of_requests.iter().filter(|line| line["request.id"] == **id);
        let line = mine.next().unwrap_or_else(|| panic!("no line for {id}:\n{log}"));
        assert!(mine.next().is_none(), "two lines for {id}");
        assert_eq!(line["http.status"], *status, "{line}");
    }
    for line in &of_requests {
        let fields = line.as_object().expect("a line is an object");
        for (name, always) in FIELDS {
            assert!(documentation.contains(&format!("| `{name}` |")), "{name} is not documented");
            assert!(!always || fields.contains_key(name), "no {name}: {line}");
        }
        for name in fields.keys() {
            let known = FIELDS.iter().any(|(field, _)| field == name);
            assert!(
                known || ["timestamp", "level", "message", "target"].contains(&&**name),
                "{name}: {line}"
            );
        }
        assert_eq!((&line["level"], &line["message"]), (&json!("INFO"), &json!("request")), "{line}");
        assert_eq!(line["client.address"], "127.0.0.1");
        assert!(line["http.bytes"].is_u64() && line["duration_ms"].is_f64(), "{line}");
        let is_refused = line["http.status"].as_u64() >= Some(400) && line["format"].is_string();
        assert!(!is_refused || line["error"].is_string(), "a refusal has its reason: {line}");
    }
    let line = |id: usize| of_requests.iter().find(|line| line["request.id"] == *ids[id].0).expect("seen");
    let administrator = "arn:aws:iam::000000000000:user/administrator";
    let tarball = line(1);
    for (name, value) in [
        ("http.method", "GET"),
        ("http.path", "/npm/d/local-000000000000/main/left-pad/-/left-pad-1.3.0.tgz"),
        ("format", "npm"),
        ("repository.name", "local/main"),
        ("package.name", "left-pad"),
        ("principal", administrator),
    ] {
        assert_eq!(tarball[name], value, "{tarball}");
    }
    assert_eq!(line(4)["package.name"], "@acme/widget", "{}", line(4));
    assert_eq!(line(5)["principal"], administrator, "{}", line(5));
    assert_eq!(line(7)["http.path"], "/nowhere", "queries are not logged");
    assert_eq!(line(8)["http.path"], "/npm/d/local-000000000000/main/-/user/(redacted)");
}

#[tokio::test]
async fn every_request_has_one_line_of_text() {
    let (world, _folder) = logging("text", "info").await;
    let (ids, secrets) = requests(&world).await;
    let log = log_with(&world.weir, &ids).await;
    keep_secrets(&log, &secrets);
    assert!(!log.contains('\u{1b}'), "no colours where nobody sees them");
    for (id, status) in &ids {
        let of_request: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(id.as_str()) && line.contains(" weir::request: "))
            .collect();
        let [line] = of_request[..] else { panic!("{id}: {of_request:?}") };
        assert!(line.contains(" INFO ") && line.contains(&format!("http.status={status} ")), "{line}");
        for (name, _) in FIELDS.iter().filter(|(_, always)| *always) {
            assert!(line.contains(&format!(" {name}=")), "no {name}: {line}");
        }
    }
}

#[tokio::test]
async fn no_level_of_logging_tells_a_secret_and_the_request_lines_can_be_left_out() {
    let (world, _folder) = logging("json", "trace").await;
    let (_, secrets) = requests(&world).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    keep_secrets(&world.weir.log(), &secrets);

    let (quiet, _folder) = logging("json", "info,weir::request=off").await;
    requests(&quiet).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!quiet.weir.log().contains("http.status"), "{}", quiet.weir.log());
    let refused = builder().flag("--log-level", "loud=very").start_refused().await;
    assert_eq!(refused.assert_says("log-level").code, Some(2));
}

#[tokio::test]
async fn a_client_that_leaves_and_an_index_out_of_date_are_told() {
    let world = World::start_with(|b| b.flag("--log-format", "json").flag("--freshness", "0s")).await;
    let package = NpmPackage::new("left-pad", "1.3.0").file("noise", noise(4_000_000));
    world.upstream.publish(&package);
    world.get("left-pad", &[]).await.assert_status(200);
    world.upstream.fail("/left-pad/-/", Fault::Slow(2_000_000));
    let mut stream = tokio::net::TcpStream::connect(world.weir.authority()).await.expect("it listens");
    let head = format!(
        "GET /npm/d/local-000000000000/main/{} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
        package.tarball_path(),
        world.weir.authority(),
        world.token
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut buffer = [0; 1000];
    stream.read_exact(&mut buffer).await.expect("it answers");
    drop(stream);
    world.upstream.stop().await;
    let stale = world.get("left-pad", &[]).await;
    assert!(!stale.assert_status(200).header("x-weir-stale").is_empty(), "{:?}", stale.headers);

    let find = async |field: &str| {
        for _ in 0..100 {
            let log = world.weir.log();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.find(|line| line["target"] == "weir::request" && !line[field].is_null())
            {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no line has {field}:\n{}", world.weir.log());
    };
    let cut = find("cut").await;
    assert!(cut["cut"] == true && cut["http.status"] == 200, "{cut}");
    assert!(cut["http.bytes"].as_u64() < Some(4_000_000), "{cut}");
    let stale = find("upstream.stale_s").await;
    assert!(stale["upstream.stale_s"].is_u64() && stale["package.name"] == "left-pad", "{stale}");
}
