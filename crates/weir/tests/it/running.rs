//! The running process: what a first start makes and says, who may open a data folder with which key, where
//! settings come from, and how it ends: by a signal, and by a power cut.

use crate::npm_world::World;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_testkit::output::{clean_command, run};
use weir_testkit::package::noise;
use weir_testkit::server::Builder;
use weir_testkit::{Fault, NpmPackage, Output, Weir};

/// A server that is to be started from the binary under test.
pub(crate) fn builder() -> Builder {
    Weir::builder(env!("CARGO_BIN_EXE_weir"))
}

/// Runs `weir ARGUMENTS` in a folder, with nothing in its environment but these variables.
pub(crate) async fn weir(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = clean_command(env!("CARGO_BIN_EXE_weir"), folder);
    command.current_dir(folder).args(arguments).envs(variables.iter().copied());
    run(command).await
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).expect("the file is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_first_start_says_what_to_type_and_keeps_its_keys_to_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("deep/data");
    let server = builder().data(&data).start().await;
    assert_eq!(mode(&data), 0o700);
    for secret in ["credentials", "master.key", "weir.db"] {
        // What lies in a folder that nobody else may enter is private; the keys are so on their own too.
        let most = if secret == "weir.db" { 0o644 } else { 0o600 };
        assert_eq!(mode(&data.join(secret)) & !most, 0, "{secret}");
    }
    let key = server.credentials();
    assert!(key.access_key_id.starts_with("AKIA") && key.region == "us-east-1", "{}", key.access_key_id);
    let log = server.log();
    let credentials = data.join("credentials").display().to_string();
    for said in [
        "domain 'local', repository 'main'",
        &credentials,
        &format!("AWS_ENDPOINT_URL_CODEARTIFACT={}", server.url()),
        "aws codeartifact login --tool npm --domain local --repository main",
        &format!("weir login npm --endpoint {}", server.url()),
    ] {
        assert!(log.contains(said), "{said} is not in\n{log}");
    }
    let master_key = fs_err::read_to_string(data.join("master.key")).expect("it was made");
    assert!(!log.contains(&key.secret_access_key) && !log.contains(master_key.trim()));
    server.cli(&["connections"]).await.assert_ok();
    server.send("GET", "/", &[], b"").await;
    assert_eq!(server.further_output(), [""; 0], "one line goes to standard output");

    let server = server.restart().await;
    assert_eq!(server.credentials().secret_access_key, key.secret_access_key);
    assert_eq!(server.log().matches("Weir is set up").count(), 1, "the first start is told once");
    assert_eq!(server.further_output(), [""; 0]);
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test]
async fn a_second_opener_of_a_data_folder_is_told_who_is_first() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = home.path().join("data");
    let server = builder().data(&folder).start().await;
    let data = folder.display().to_string();
    let pid = format!("pid {}, weir serve", server.process_id());
    let second = builder().data(&folder).start_refused().await;
    second.assert_says(&pid).assert_says(&data);
    assert_eq!(second.stdout, "");
    for arguments in [&["migrate"][..], &["key", "create", "--offline"]] {
        let output = weir(home.path(), &[], &[arguments, &["--data", &data]].concat()).await;
        output.assert_fails().assert_says(&pid);
    }
    assert_eq!(server.stop().await, Some(0));
    weir(home.path(), &[], &["migrate", "--data", &data]).await.assert_ok().assert_says("up to date");
    let made = weir(home.path(), &[], &["key", "create", "--offline", "--data", &data, "--json"]).await;
    assert!(made.assert_ok().json()["accessKeyId"].is_string(), "{made}");
    let absent = home.path().join("absent").display().to_string();
    weir(home.path(), &[], &["migrate", "--data", &absent]).await.assert_fails().assert_says(&absent);
}

#[tokio::test]
async fn without_its_master_key_a_server_does_not_start() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("data");
    let server = builder().data(&data).start().await;
    let secret = server.credentials().secret_access_key;
    assert_eq!(server.stop().await, Some(0));
    let file = data.join("master.key");
    let key = fs_err::read_to_string(&file).expect("it was made");
    let away = folder.path().join("kept.key");
    fs_err::rename(&file, &away).expect("it can be moved");

    let missing = builder().data(&data).start_refused().await;
    missing.assert_says("the master key is missing").assert_says("--master-key-file");
    assert!(!file.exists(), "no new key is made");
    let other = "ab".repeat(32);
    let wrong = builder().data(&data).env("WEIR_MASTER_KEY", &other).start_refused().await;
    wrong.assert_says("the master key of WEIR_MASTER_KEY is the wrong one");
    let broken = builder().data(&data).env("WEIR_MASTER_KEY", "hunter2").start_refused().await;
    broken.assert_says("is not 64 hex digits");
    for output in [missing, wrong, broken] {
        assert_eq!(output.stdout, "", "{output}");
        for text in [key.trim(), &other, "hunter2"] {
            assert!(!output.says(text), "{output}");
        }
    }
    let server = builder().data(&data).flag("--master-key-file", &away.display().to_string()).start().await;
    assert_eq!(server.credentials().secret_access_key, secret);
    server.api("POST", "/v1/domains", "{}").await.assert_status(200);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_setting_comes_from_flag_variable_file_or_default_and_config_tells_which() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = r#"
        region = "eu-west-1"
        freshness = "10m"
        listen = "127.0.0.1:1"
        trusted-proxies = ["10.0.0.0/8", "192.0.2.1"]
        [external-connections."public:npmjs"]
        url = "https://mirror.example.test/npm/"
        token = "hunter2-token"
        headers = { x-key = "hunter2-header" }
        [external-connections."mine"]
        url = "https://robot:hunter2-password@mine.example.test/npm/"
        format = "npm"
    "#;
    fs_err::write(folder.path().join("weir.toml"), file).expect("a temporary folder can be written");
    let master_key = "12".repeat(32);
    let variables = [
        ("WEIR_FRESHNESS", "20m"),
        ("WEIR_LISTEN", "127.0.0.1:2"),
        ("WEIR_MASTER_KEY", master_key.as_str()),
        ("WEIR_ACCOUNT", ""),
    ];
    let arguments = ["config", "--config", "weir.toml", "--listen", "127.0.0.1:3"];
    let shown = weir(folder.path(), &variables, &[&arguments[..], &["--json"]].concat()).await;
    let settings = shown.assert_ok().json();
    for (name, value, source) in [
        ("listen", json!("127.0.0.1:3"), "flag --listen"),
        ("freshness", json!("20m"), "variable WEIR_FRESHNESS"),
        ("region", json!("eu-west-1"), "file weir.toml"),
        ("trusted-proxies", json!(["10.0.0.0/8", "192.0.2.1"]), "file weir.toml"),
        ("account", json!("000000000000"), "default"),
        ("public-url", json!(null), "default"),
        ("master-key", json!("(hidden)"), "variable WEIR_MASTER_KEY"),
    ] {
        assert_eq!(settings[name], json!({ "value": value, "source": source }), "{name}");
    }
    let connection = &settings["external-connection public:npmjs"];
    assert_eq!(connection["source"], "file weir.toml");
    assert!(connection["value"].to_string().contains("https://mirror.example.test/npm/"), "{connection}");
    let text = weir(folder.path(), &variables, &arguments).await;
    text.assert_ok().assert_says("eu-west-1").assert_says("file weir.toml");
    for output in [shown, text] {
        assert!(!output.says("hunter2") && !output.says(&master_key), "{output}");
        assert!(output.says("mine.example.test"), "{output}");
    }
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (file, said) in [
        ("listn = '127.0.0.1:0'", "'listn' is no setting; did you mean 'listen'?"),
        ("max_index_bytes = 5", "did you mean 'max-index-bytes'?"),
        ("[external-connection]\nx = 1", "write a table [external-connections.\"NAME\"]"),
        ("[external-conections]\nx = 1", "did you mean 'external-connections'?"),
        ("[external-connections.'public:npmjs']\npasword = 'x'", "did you mean 'password'?"),
        ("freshness = 'soon'", "soon"),
        ("master-key = 'x'", "'master-key' is no setting"),
        ("listen = ", "weir.toml"),
        ("[tls]\ncert = 'x'", "'tls' is no setting"),
        ("blob-url = 's3://key:hunter2@bucket'", "AWS_ACCESS_KEY_ID"),
    ] {
        fs_err::write(folder.path().join("weir.toml"), file).expect("a temporary folder can be written");
        for command in ["config", "serve"] {
            let output = weir(folder.path(), &[], &[command, "--config", "weir.toml"]).await;
            output.assert_says(said);
            assert_eq!(output.code, Some(2), "{output}");
            assert!(output.stdout.is_empty() && !output.says("hunter2"), "{output}");
        }
    }
    let output = weir(folder.path(), &[], &["serve", "--listn", "127.0.0.1:0"]).await;
    output.assert_says("--listen");
    assert_eq!(output.code, Some(2), "{output}");
    let output = weir(folder.path(), &[], &["serve", "--config", "absent.toml"]).await;
    output.assert_fails().assert_says("absent.toml");
    assert!(!folder.path().join("weir-data").exists(), "nothing was made");

    let server = builder().start().await;
    let taken = weir(folder.path(), &[], &["serve", "--listen", server.authority()]).await;
    taken.assert_fails().assert_says(&format!("cannot listen on {}", server.authority()));
}

#[tokio::test]
async fn it_stops_at_once_when_nothing_is_in_flight() {
    let server = builder().start().await;
    let mut silent = TcpStream::connect(server.authority()).await.expect("it listens");
    let mut kept = TcpStream::connect(server.authority()).await.expect("it listens");
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
    let mut buffer = [0; 1024];
    assert!(kept.read(&mut buffer).await.expect("it answers") > 0);
    let began = Instant::now();
    assert_eq!(server.stop().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    for connection in [&mut silent, &mut kept] {
        assert_eq!(connection.read(&mut buffer).await.unwrap_or(0), 0, "connections are closed");
    }
}

#[tokio::test]
async fn it_finishes_a_download_before_it_stops_and_takes_no_more() {
    for size in [400_000, 2_000_000] {
        let world = World::start().await;
        let package = NpmPackage::new("slow", "1.0.0").file("noise", noise(size));
        world.upstream.publish(&package);
        world.upstream.fail("/slow/-/", Fault::Slow(size / 2));
        let authority = world.weir.authority().to_owned();
        let path = package.tarball_path();
        let url = format!("{}{path}", world.endpoint);
        let bearer = format!("Bearer {}", world.token);
        let download = tokio::spawn(async move {
            weir_testkit::http::send("GET", &url, &[("authorization", &bearer)], Vec::new()).await
        });
        while world.upstream.calls_under("/slow/-/") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stop = tokio::spawn(world.weir.stop());
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!download.is_finished() && !stop.is_finished(), "the download takes two seconds");
        assert!(TcpStream::connect(&authority).await.is_err(), "new connections are refused");
        let answer = download.await.expect("the download does not panic");
        assert_eq!(answer.assert_status(200).body, package.tarball());
        assert_eq!(stop.await.expect("stopping does not panic"), Some(0));
    }
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_cut() {
    let world = World::start_with(|builder| builder.flag("--shutdown-grace", "1s")).await;
    let package = NpmPackage::new("endless", "1.0.0").file("noise", noise(2_000_000));
    world.upstream.publish(&package);
    world.upstream.fail("/endless/-/", Fault::Stall(1_000_000));
    let (url, bearer) =
        (format!("{}{}", world.endpoint, package.tarball_path()), format!("Bearer {}", world.token));
    let download = tokio::spawn(async move {
        weir_testkit::http::try_send("GET", &url, &[("authorization", &bearer)], Vec::new()).await
    });
    while world.upstream.calls_under("/endless/-/") == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    assert_eq!(world.weir.stop().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(6), "it took {:?}", began.elapsed());
    assert!(download.await.expect("the download does not panic").is_err(), "half a file is no answer");
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let mut world = World::start().await;
    let fetched = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&fetched);
    let mut own = Vec::new();
    for round in 0..3 {
        let package = NpmPackage::new("widget", &format!("1.{round}.0")).scope("acme");
        world.get(&fetched.tarball_path(), &[]).await.assert_status(200);
        let path = format!("/v1/domain?domain=domain-{round}");
        world.weir.api("POST", &path, "").await.assert_status(200);
        let user = format!("robot-{round}");
        world.weir.cli(&["user", "create", &user, "--policy", "read"]).await.assert_ok();
        let token = world.weir.cli(&["token", "create", "--user", &user]).await;
        let token = token.assert_ok().stdout.trim().to_owned();
        world.publish(&package).await.assert_status(201);
        own.push(package);

        // An upload that is on its way when the power goes.
        let mut half = TcpStream::connect(world.weir.authority()).await.expect("it listens");
        let head = format!(
            "PUT /npm/d/local-000000000000/main/half HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-length: 100000\r\n\r\n{{\"name\": \"half\"",
            world.weir.authority(),
            world.token
        );
        half.write_all(head.as_bytes()).await.expect("it reads");
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.weir = world.weir.kill().await.start().await;

        let document = world.document("@acme/widget").await;
        assert_eq!(document["versions"].as_object().map(serde_json::Map::len), Some(own.len()));
        for package in own.iter().chain([&fetched]) {
            let answer = world.get(&package.tarball_path(), &[]).await;
            assert_eq!(answer.assert_status(200).body, package.tarball());
        }
        assert_eq!(world.held("main", &fetched).await, ["1.3.0"]);
        world.weir.api("GET", &path, "").await.assert_status(200);
        let whoami = world.weir.get("/npm/d/local-000000000000/main/-/whoami", &token).await;
        assert_eq!(whoami.assert_status(200).json()["username"], user);
        world.get("half", &[]).await.assert_status(404);
    }
    let spool = fs_err::read_dir(world.weir.data().join("blobs/spool")).expect("it is there");
    assert_eq!(spool.count(), 0, "what was on its way is swept at start");
    assert!(!world.weir.log().contains("ERROR"), "{}", world.weir.log());
}
