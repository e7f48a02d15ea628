//! Where the public registries are: set, listed, deleted and discovered addresses, the line to write where
//! there is none, secrets that stay secret, and addresses that lead back to the server itself.

use crate::npm_world::World;
use crate::running::builder;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use weir_testkit::{Answer, NpmPackage, Upstream, Weir};

const NPMJS: &str = "public:npmjs";

/// The connection as `weir connections --json` shows it.
async fn connection(server: &Weir) -> Value {
    let listed = server.cli(&["connections", "--json"]).await.assert_ok().json();
    let connections = listed["connections"].as_array().expect("a list").clone();
    connections.into_iter().find(|one| one["name"] == NPMJS).expect("npm is built in")
}

async fn index(server: &Weir, package: &str) -> Answer {
    let token = server.token("local").await;
    server.get(&format!("/npm/d/local-000000000000/main/{package}"), &token).await
}

#[tokio::test]
async fn a_connection_without_an_address_tells_the_line_to_write() {
    let upstream = Upstream::start().await;
    upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    let server = builder().start().await;
    let line = "weir connections set public:npmjs URL";
    let answer = index(&server, "left-pad").await;
    let error = answer.assert_status(503).json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains(line) && error.contains("npm is not installed"), "{error}");
    assert!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
    let shown = connection(&server).await;
    assert!(shown["url"].is_null() && shown["source"].is_null(), "{shown}");
    assert!(shown["advice"].as_str().is_some_and(|advice| advice.contains(line)), "{shown}");
    server.cli(&["connections"]).await.assert_ok().assert_says(line);
    let again = server.cli(&["connections", "rediscover", NPMJS]).await;
    again.assert_fails().assert_says("npm is not installed").assert_says(line);

    // The line works at once, whatever was remembered of the failure.
    server.cli(&["connections", "set", NPMJS, &upstream.url()]).await.assert_ok();
    index(&server, "left-pad").await.assert_status(200);
}

#[tokio::test]
async fn connections_are_set_listed_and_deleted() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.publish(&NpmPackage::new("left-pad", "1.0.0"));
    second.publish(&NpmPackage::new("left-pad", "2.0.0"));
    let server = builder().start().await;
    let set = server.cli(&["connections", "set", NPMJS, &first.url(), "--json"]).await.assert_ok().json();
    assert_eq!(set["connection"]["url"], first.url());
    assert_eq!(set["connection"]["repositories"], 1, "npm-store uses it: {set}");
    let latest = async || index(&server, "left-pad").await.assert_status(200).json()["dist-tags"].clone();
    assert_eq!(latest().await, json!({ "latest": "1.0.0" }));
    let shown = connection(&server).await;
    for (name, value) in [("source", "weir connections set"), ("health", "up"), ("format", "npm")] {
        assert_eq!(shown[name], value, "{shown}");
    }
    assert!(shown["answeredTime"].is_number() && shown["repositories"] == 1, "{shown}");
    let text = server.cli(&["connections", "list"]).await;
    text.assert_ok().assert_says(&first.url()).assert_says("weir connections set");

    // Without the slash at the end; another registry, so what was known of the first is not shown.
    let bare = second.url().trim_end_matches('/').to_owned();
    server.cli(&["connections", "set", NPMJS, &bare]).await.assert_ok();
    assert_eq!(connection(&server).await["url"], second.url());
    assert_eq!(latest().await, json!({ "latest": "2.0.0" }));

    let server = server.restart().await;
    assert_eq!(connection(&server).await["url"], second.url(), "it is stored");
    server.cli(&["connections", "delete", NPMJS]).await.assert_ok().assert_says("forgotten");
    assert!(connection(&server).await["url"].is_null());
    for (arguments, said) in [
        (&["set", NPMJS, "ftp://mirror.example.test/"][..], "http"),
        (&["set", NPMJS, "mirror"], "not a URL"),
        (&["set", "public:unheard-of", "http://mirror.example.test/"], "there is no external connection"),
        (&["set", "../users", "http://mirror.example.test/"], "../users"),
        (&["set", NPMJS, "http://mirror.example.test/", "--token-file", "absent"], "absent"),
        (&["set", NPMJS, "http://mirror.example.test/", "--header", "x"], "NAME=VALUE"),
        (&["delete", "public:unheard-of"], "there is no external connection"),
    ] {
        let output = server.cli(&[&["connections"], arguments].concat()).await;
        assert_eq!(output.assert_says(said).code, Some(1), "{output}");
    }

    let fixed = builder().npmjs(&first.url()).start().await;
    assert_eq!(connection(&fixed).await["source"], "setting");
    let refused = fixed.cli(&["connections", "set", NPMJS, &second.url()]).await;
    refused.assert_fails().assert_says("is a setting");
    let refused = fixed.cli(&["connections", "rediscover", NPMJS]).await;
    refused.assert_fails().assert_says("is a setting");
    fixed.cli(&["user", "create", "reader", "--policy", "read"]).await.assert_ok();
    let key = fixed.cli(&["key", "create", "--user", "reader", "--json"]).await.assert_ok().json();
    let text = |name: &str| key[name].as_str().expect("a key has both").to_owned();
    let flags = ["--access-key-id", &text("accessKeyId"), "--secret-access-key", &text("secretAccessKey")];
    let denied = fixed.cli(&[&["connections"][..], &flags].concat()).await;
    denied.assert_fails().assert_says("ManageConnections");
}

#[tokio::test]
async fn the_package_manager_of_the_machine_is_asked_once_and_again_when_told() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.publish(&NpmPackage::new("left-pad", "1.0.0"));
    second.publish(&NpmPackage::new("left-pad", "2.0.0"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let npm = folder.path().join("npm");
    let answers = |text: &str| {
        let script = format!("#!/bin/sh\necho asked >> {}/asked\necho '{text}'\n", folder.path().display());
        fs_err::write(&npm, script).expect("a temporary folder can be written");
        fs_err::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    let asked = || fs_err::read_to_string(folder.path().join("asked")).unwrap_or_default().lines().count();
    answers(&first.url());
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let server = builder().env("PATH", &path).start().await;
    let token = server.token("local").await;
    let ask = || server.get("/npm/d/local-000000000000/main/left-pad", &token);
    let together = tokio::join!(ask(), ask(), ask());
    for answer in [&together.0, &together.1, &together.2] {
        assert_eq!(answer.assert_status(200).json()["dist-tags"]["latest"], "1.0.0");
    }
    assert_eq!(asked(), 1);
    let shown = connection(&server).await;
    assert_eq!((&shown["url"], &shown["source"]), (&json!(first.url()), &json!("npm config get registry")));

    answers(&second.url());
    let server = server.restart().await;
    assert_eq!(index(&server, "left-pad").await.json()["dist-tags"]["latest"], "1.0.0");
    assert_eq!(asked(), 1, "what was found is kept");
    server.cli(&["connections", "rediscover", NPMJS]).await.assert_ok().assert_says(&second.url());
    assert_eq!(index(&server, "left-pad").await.json()["dist-tags"]["latest"], "2.0.0");

    // After `weir login npm`, npm's registry is this server.
    answers(&format!("{}/npm/d/local-000000000000/main/", server.url()));
    let own = server.cli(&["connections", "rediscover", NPMJS]).await;
    own.assert_fails().assert_says("is this server itself");
    assert_eq!(connection(&server).await["url"], second.url(), "the one before stays");
}

#[tokio::test]
async fn an_address_is_learned_before_a_login_points_the_package_manager_here() {
    let upstream = Upstream::start().await;
    upstream.publish(&NpmPackage::new("left-pad", "1.0.0"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let npm = folder.path().join("npm");
    let answers = |text: &str| {
        fs_err::write(&npm, format!("#!/bin/sh\nsleep 1\necho '{text}'\n")).expect("it can be written");
        fs_err::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    answers(&upstream.url());
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let server = builder().env("PATH", &path).start().await;
    // What every login asks first; then it changes what npm is set up with.
    let endpoint = server.endpoint("local", "main", "npm").await;
    answers(&endpoint);
    assert_eq!(index(&server, "left-pad").await.json()["dist-tags"]["latest"], "1.0.0");

    // A machine that is logged in to another server of this kind knows no public registry.
    let other = builder().env("PATH", &path).start().await;
    let token = other.token("local").await;
    let refused = other.get("/npm/d/local-000000000000/main/left-pad", &token).await;
    let text = refused.assert_status(503).text();
    assert!(
        text.contains("logged in to") && text.contains("weir connections set public:npmjs URL"),
        "{text}"
    );
}

/// Waits until a file is there.
async fn appears(path: &Path) {
    for _ in 0..500 {
        if path.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} did not appear within ten seconds", path.display());
}

#[tokio::test]
async fn an_address_that_is_set_while_another_is_looked_up_stays() {
    let (found, set) = (Upstream::start().await, Upstream::start().await);
    found.publish(&NpmPackage::new("left-pad", "1.0.0"));
    set.publish(&NpmPackage::new("left-pad", "2.0.0"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (npm, asked, go) = (folder.path().join("npm"), folder.path().join("asked"), folder.path().join("go"));
    let script = format!(
        "#!/bin/sh\necho > {}\nuntil [ -e {} ]; do sleep 0.05; done\necho '{}'\n",
        asked.display(),
        go.display(),
        found.url()
    );
    fs_err::write(&npm, script).expect("a temporary folder can be written");
    fs_err::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let server = builder().env("PATH", &path).start().await;
    let is_set = async |server: &Weir| {
        let shown = connection(server).await;
        assert_eq!((&shown["url"], &shown["source"]), (&json!(set.url()), &json!("weir connections set")));
        assert_eq!(index(server, "left-pad").await.json()["dist-tags"]["latest"], "2.0.0");
    };
    // The look-up of the start is on its way.
    appears(&asked).await;
    server.cli(&["connections", "set", NPMJS, &set.url()]).await.assert_ok();
    let answer = index(&server, "left-pad");
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fs_err::write(&go, "").expect("a temporary folder can be written");
    };
    let (answer, ()) = tokio::join!(answer, release);
    assert_eq!(answer.assert_status(200).json()["dist-tags"]["latest"], "2.0.0");
    is_set(&server).await;
    assert!(server.log().contains("one was stored meanwhile"), "{}", server.log());
    let server = server.restart().await;
    is_set(&server).await;

    // One that was asked for is stored over what was known, unless that changed meanwhile.
    for file in [&asked, &go] {
        fs_err::remove_file(file).expect("it is there");
    }
    let again = server.cli(&["connections", "rediscover", NPMJS]);
    let meanwhile = async {
        appears(&asked).await;
        server.cli(&["connections", "set", NPMJS, &set.url()]).await.assert_ok();
        fs_err::write(&go, "").expect("a temporary folder can be written");
    };
    let (again, ()) = tokio::join!(again, meanwhile);
    again.assert_ok().assert_says(&set.url());
    is_set(&server).await;
    server.cli(&["connections", "rediscover", NPMJS]).await.assert_ok().assert_says(&found.url());
    assert_eq!(index(&server, "left-pad").await.json()["dist-tags"]["latest"], "1.0.0");
}

#[tokio::test]
async fn an_address_that_is_the_server_itself_is_refused() {
    let server = builder().flag("--public-url", "https://weir.example.test/x").start().await;
    let port = server.authority().rsplit_once(':').expect("it has a port").1;
    for own in [
        format!("{}/npm/d/local-000000000000/main/", server.url()),
        format!("http://localhost:{port}/"),
        format!("http://LOCALHOST:{port}/"),
        format!("http://0x7f000001:{port}/"),
        "https://weir.example.test/x/npm/d/local-000000000000/main/".to_owned(),
    ] {
        let set = server.cli(&["connections", "set", NPMJS, &own]).await;
        set.assert_fails().assert_says("is this server itself");
    }
}

/// An address that leads to the server by a name it does not know of itself.
async fn detour(authority: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let target = authority.to_owned();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.expect("the server listens");
                // Either end may leave first.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn an_address_that_leads_back_to_the_server_is_noticed_by_its_via() {
    let server = builder().start().await;
    let address = format!("{}/npm/d/local-000000000000/main/", detour(server.authority()).await);
    server.cli(&["connections", "set", NPMJS, &address]).await.assert_ok();
    let answer = index(&server, "left-pad").await;
    let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!([502, 503].contains(&answer.status.as_u16()), "{} {error}", answer.status);
    assert!(error.contains("is this server itself") && error.contains("weir connections set"), "{error}");
    let looped = server.log().lines().filter(|line| line.contains("http.status=508")).count();
    assert_eq!(looped, 1, "it was asked once and not in a circle:\n{}", server.log());
}

#[tokio::test]
async fn secrets_of_a_connection_are_sealed_and_never_shown() {
    let upstream = Upstream::start().await;
    upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    upstream.require_token("hunter2-token");
    let server = builder().pypi("http://127.0.0.1:9/").flag("--log-level", "trace").start().await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs_err::write(&path, text).expect("a temporary folder can be written");
        path.display().to_string()
    };
    let token = file("token", "hunter2-token\n");
    let set = ["connections", "set", NPMJS, &upstream.url(), "--token-file", &token];
    let set = server.cli(&[&set[..], &["--header", "x-key=hunter2-header", "--json"]].concat()).await;
    index(&server, "left-pad").await.assert_status(200);
    let sent = upstream.requests();
    let header = |name: &str| sent.last().and_then(|seen| seen.headers.get(name)).cloned();
    assert_eq!(header("authorization").expect("it was sent"), "Bearer hunter2-token");
    assert_eq!(header("x-key").expect("it was sent"), "hunter2-header");

    let listed = server.cli(&["connections", "--json"]).await;
    let doctor = server.cli(&["doctor", "--json"]).await;
    let password = file("password", "hunter2-password");
    let with_user = upstream.url().replace("http://", "http://robot:hunter2-userinfo@");
    let basic = server.cli(&["connections", "set", NPMJS, &with_user]).await;
    let flags = ["connections", "set", NPMJS, &upstream.url(), "--username", "robot"];
    let by_file = server.cli(&[&flags[..], &["--password-file", &password]].concat()).await;
    index(&server, "other").await;
    for output in [&set, &listed, &doctor, &basic, &by_file] {
        assert!(!output.assert_ok().says("hunter2"), "{output}");
    }
    assert!(!server.log().contains("hunter2"), "the log tells a secret");
    let server = server.restart().await;
    index(&server, "third").await;
    let authorization =
        upstream.requests().last().and_then(|seen| seen.headers.get("authorization").cloned());
    let authorization = authorization.expect("the settings outlive a restart");
    assert!(authorization.to_str().is_ok_and(|value| value.starts_with("Basic ")), "{authorization:?}");
    for file in ["weir.db", "weir.db-wal"] {
        let Ok(bytes) = fs_err::read(server.data().join(file)) else { continue };
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"), "{file} holds a secret in clear");
    }
}

#[tokio::test]
async fn a_first_seen_digest_is_forgotten_on_request() {
    let world = World::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0").scope("acme");
    world.upstream.publish(&package);
    world.get(&package.tarball_path(), &[]).await.assert_status(200);
    let cli =
        async |arguments: &[&str]| world.weir.cli(&[&["connections", "unpin"], arguments].concat()).await;
    // npm's index promised the digest, so none was pinned.
    let unpinned = cli(&[NPMJS, "@acme/left-pad", "--json"]).await;
    assert_eq!(unpinned.assert_ok().json(), json!({ "unpinned": 0 }));
    cli(&[NPMJS, "left-pad"]).await.assert_ok().assert_says("0 first-seen digests of left-pad");
    cli(&[NPMJS, "left-pad", "--domain", "nowhere"]).await.assert_fails().assert_says("nowhere");
    cli(&["public:unheard-of", "left-pad"]).await.assert_fails().assert_says("there is no external");
    cli(&[NPMJS, "Not A Name"]).await.assert_fails();
}
