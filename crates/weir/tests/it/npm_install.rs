//! Installing through a chain (`main`, `npm-store`, a public registry) with every client: what lock files
//! say, what is fetched how often, and what happens while the public registry is away.

use crate::npm_world::{World, each_client, install_command, lock_file};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use weir_core::{Clock, SystemClock};
use weir_testkit::raw::exchange;
use weir_testkit::{NpmPackage, Tool, project};

/// What the fixture project takes of its direct dependencies.
const TAKEN: &[(&str, &str)] = &[
    ("apple-pie", "2.1.0"),
    ("@orchard/press", "1.4.2"),
    ("@orchard/shears", "3.2.1"),
    ("grater", "0.0.3"),
    ("cider", "2.0.0-alpha.7"),
    ("leaf-0", "1.0.0"),
    ("hail-net", "1.0.0"),
];

const ABBREVIATED: (&str, &str) = ("accept", "application/vnd.npm.install-v1+json");

#[tokio::test(flavor = "multi_thread")]
async fn every_client_installs_again_without_the_public_registry() {
    each_client(async |client| {
        let tool = client.tool().name();
        let world = World::start_with(|builder| builder.flag("--freshness", "1s")).await;
        world.upstream.publish_all(&project::packages());
        world.set_up(&client);
        client.write("package.json", project::manifest());
        let installed = || {
            for (name, version) in TAKEN {
                assert_eq!(client.installed(name).as_deref(), Some(*version), "{tool}: {name}");
            }
            assert_eq!(client.installed("other-sky"), None, "{tool} leaves out what is for another system");
        };

        client.run(install_command(client.tool(), false)).await.assert_ok();
        installed();
        let lock = client.read(lock_file(client.tool())).expect("an installation writes a lock file");
        check_lock(tool, &lock, &world);
        let mut fetched: Vec<_> = world.upstream.requests().into_iter().map(|seen| seen.path).collect();
        fetched.retain(|path| path.ends_with(".tgz"));
        fetched.sort();
        assert!(fetched.len() > 40, "{tool}: {fetched:?}");
        assert!(fetched.windows(2).all(|pair| pair[0] != pair[1]), "{tool} fetched twice: {fetched:?}");

        client.forget();
        world.upstream.reset_calls();
        client.run(install_command(client.tool(), true)).await.assert_ok();
        installed();
        assert_eq!(world.tarball_calls(), 0, "{tool}: all tarballs are held");

        world.upstream.stop().await;
        client.forget();
        client.run(install_command(client.tool(), true)).await.assert_ok();
        installed();
        client.forget();
        fs_err::remove_file(client.project().join(lock_file(client.tool()))).expect("it is there");
        if tool == "yarn4" {
            client.write("yarn.lock", "");
        }
        client.run(install_command(client.tool(), false)).await.assert_ok();
        installed();
    })
    .await;
}

/// Every address is Weir's, and what is taken is pinned by its digest.
#[track_caller]
fn check_lock(tool: &str, lock: &str, world: &World) {
    let addresses: Vec<&str> = lock.match_indices("http://").map(|(at, _)| &lock[at..]).collect();
    let foreign = addresses.iter().find(|address| !address.starts_with(&world.endpoint));
    assert_eq!(foreign, None, "{tool}");
    // Berry and pnpm write no address that follows from the configured registry.
    if !["yarn4", "pnpm"].contains(&tool) {
        assert!(addresses.len() > 40, "{tool} wrote {} addresses", addresses.len());
    }
    if tool == "yarn4" {
        assert!(lock.matches("checksum: ").count() > 40, "{tool}:\n{lock}");
        return;
    }
    for package in project::packages().iter().filter(|package| {
        TAKEN.iter().any(|(name, version)| package.full_name() == *name && package.version() == *version)
    }) {
        let integrity = weir_testkit::package::integrity(&package.tarball());
        assert!(lock.contains(&integrity), "{tool}: no {integrity} of {} in\n{lock}", package.full_name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_finds_a_version_published_a_moment_ago() {
    let world = &World::start().await;
    each_client(async |mut client| {
        let tool = client.tool();
        // pnpm waits a day by itself.
        client.env("PNPM_CONFIG_MINIMUM_RELEASE_AGE", "0");
        let widget =
            |version: &str| NpmPackage::new(&format!("fresh-{}", tool.name()), version).scope("acme");
        let name = widget("1.0.0").full_name();
        world.publish(&widget("1.0.0")).await.assert_status(201);
        world.set_up(&client);
        client.write_manifest(&[(&name, "^1.0.0")]);
        client.run(install_command(tool, false)).await.assert_ok();
        assert_eq!(client.installed(&name).as_deref(), Some("1.0.0"));
        world.publish(&widget("1.1.0")).await.assert_status(201);
        let update = match tool {
            Tool::Yarn1 => "upgrade",
            Tool::Yarn4 => "up",
            _ => "update",
        };
        client.run(&[update, &name]).await.assert_ok();
        assert_eq!(client.installed(&name).as_deref(), Some("1.1.0"), "{}", tool.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_times_of_clients_find_the_times_of_publication() {
    let world = &World::start().await;
    let now = SystemClock.now();
    let yesterday = now - jiff::SignedDuration::from_hours(24);
    let young = NpmPackage::new("left-pad", "1.1.0").published(&format!("{now:.3}"));
    world.upstream.publish_all([&NpmPackage::new("left-pad", "1.0.0"), &young]);
    let before = &format!("--before={yesterday}");
    each_client(async |mut client| {
        let tool = client.tool();
        let words: &[&str] = match tool {
            Tool::Npm10 | Tool::Npm11 => &[before],
            Tool::Bun => &["--minimum-release-age", "86400"],
            Tool::Yarn1 => return,
            _ => &[],
        };
        client.env("YARN_NPM_MINIMAL_AGE_GATE", "1440").env("PNPM_CONFIG_MINIMUM_RELEASE_AGE", "1440");
        world.set_up(&client);
        client.write_manifest(&[("left-pad", "^1.0.0")]);
        client.run(&[install_command(tool, false), words].concat()).await.assert_ok();
        assert_eq!(client.installed("left-pad").as_deref(), Some("1.0.0"), "{}", tool.name());
    })
    .await;
}

#[tokio::test]
async fn an_outage_is_told_in_headers_and_never_as_absence() {
    let world = World::start_with(|builder| builder.flag("--freshness", "1s")).await;
    let held = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish_all([&held, &NpmPackage::new("left-pad", "1.2.0")]);
    let before = world.get("left-pad", &[]).await;
    assert_eq!((before.header("warning"), before.header("x-weir-stale")), ("", ""));
    world.get(&held.tarball_path(), &[]).await.assert_status(200);

    world.upstream.stop().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let after = world.get("left-pad", &[]).await;
    assert_eq!(after.assert_status(200).json(), before.json());
    assert!(after.header("warning").starts_with("110 "), "{:?}", after.headers);
    let stale: u64 = after.header("x-weir-stale").parse().expect("it is a number of seconds");
    assert!((1..60).contains(&stale), "{stale}");
    world.get(&held.tarball_path(), &[]).await.assert_status(200);

    for path in ["left-pad/-/left-pad-1.2.0.tgz", "never-asked", "never-asked/-/never-asked-1.0.0.tgz"] {
        let refused = world.get(path, &[]).await;
        refused.assert_status(503);
        assert!(!refused.header("retry-after").is_empty(), "{:?}", refused.headers);
        let reason = refused.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains("public:npmjs"), "{path}: {reason}");
    }

    world.upstream.start_again().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.4.0"));
    // The breaker lets a probe through within its own time.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let healed = world.get("left-pad", &[]).await;
        if healed.header("x-weir-stale").is_empty() {
            assert!(healed.json()["versions"]["1.4.0"].is_object());
            return;
        }
    }
    panic!("the public registry is back and is not asked");
}

#[tokio::test]
async fn documents_pass_through_field_by_field() {
    let world = World::start().await;
    let widget = NpmPackage::new("widget", "1.0.0").scope("acme").dependency("left-pad", "^1");
    let next = NpmPackage::new("widget", "2.0.0-rc.1").scope("acme").tag("next").script("install", "true");
    let old = NpmPackage::new("widget", "0.9.0").scope("acme").published("2020-02-03T04:05:06.007Z");
    let old = old.deprecated("take 1.0.0").tag("old").bin("widget", "cli.js");
    world.upstream.publish_all([&old, &widget, &next]);
    let mut expected = Value::Null;
    world.upstream.edit("@acme/widget", |document| {
        document["x-of-a-later-npm"] = json!({ "a": [1, null, 2.5], "b": "\u{e9}\u{1f600}" });
        document["versions"]["1.0.0"]["dist"]["x-new"] = json!(["kept"]);
        document["versions"]["1.0.0"]["funding"] = json!({ "url": "https://example.test/fund" });
        expected = document.clone();
    });

    for (version, entry) in expected["versions"].as_object_mut().into_iter().flatten() {
        let file = format!("{}@acme/widget/-/widget-{version}.tgz", world.endpoint);
        entry["dist"]["tarball"] = json!(file);
    }
    let mut full = world.document("@acme/widget").await;
    assert!(full["_rev"].is_string());
    full["_rev"] = expected["_rev"].clone();
    same_members("the document", &full, &expected);

    let answer = world.get("@acme%2fwidget", &[ABBREVIATED]).await;
    assert_eq!(answer.assert_status(200).header("content-type"), ABBREVIATED.1);
    let abbreviated = answer.json();
    let url = format!("{}@acme%2fwidget", world.upstream.url());
    let mut by_upstream = weir_testkit::http::send("GET", &url, &[ABBREVIATED], Vec::new()).await.json();
    for (version, entry) in by_upstream["versions"].as_object_mut().into_iter().flatten() {
        entry["dist"]["tarball"] = expected["versions"][version]["dist"]["tarball"].clone();
    }
    by_upstream["versions"]["2.0.0-rc.1"]["hasInstallScript"] = json!(true);
    by_upstream["time"] = expected["time"].clone();
    same_members("the abbreviated document", &abbreviated, &by_upstream);

    let manifest = world.get("@acme/widget/0.9.0", &[]).await.json();
    same_members("a manifest", &manifest, &expected["versions"]["0.9.0"]);
    let tagged = world.get("@acme/widget/next", &[]).await.json();
    same_members("a tagged manifest", &tagged, &expected["versions"]["2.0.0-rc.1"]);
}

/// Compares members one by one, so that a failure names the one.
#[track_caller]
fn same_members(what: &str, actual: &Value, expected: &Value) {
    let keys = |value: &Value| value.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
    let (mut have, mut want): (Vec<String>, Vec<String>) = (keys(actual), keys(expected));
    have.sort();
    want.sort();
    assert_eq!(have, want, "the members of {what}");
    for key in want {
        if key == "versions" || key == "dist" {
            same_members(&format!("{what}.{key}"), &actual[&key], &expected[&key]);
        } else {
            assert_eq!(actual[&key], expected[&key], "{what}.{key}");
        }
    }
}

#[tokio::test]
async fn numbers_and_members_nobody_knows_stay_as_they_were_written() {
    let world = World::start().await;
    let package = NpmPackage::new("odd", "1.0.0");
    world.upstream.publish(&package);
    let dist = package.dist(&format!("{}{}", world.upstream.url(), package.tarball_path()));
    let text = format!(
        r#"{{"name":"odd","x-big":123456789012345678901234567890,"x-exact":1.50,"dist-tags":{{"latest":"1.0.0"}},
            "versions":{{"1.0.0":{{"name":"odd","version":"1.0.0","x-exp":1E+2,"x-slash":"a\/bé","dist":{dist}}}}}}}"#
    );
    world.upstream.set_document("odd", text);
    let shown = world.get("odd", &[]).await.assert_status(200).text();
    for part in [
        r#""x-big":123456789012345678901234567890"#,
        r#""x-exact":1.50"#,
        r#""x-exp":1E+2"#,
        r#""x-slash":"a\/b"#,
    ] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    let document: Value = serde_json::from_str(&shown).expect("it is JSON");
    assert!(document["time"]["1.0.0"].is_string(), "first sight counts where the registry has no time");
}

#[tokio::test]
async fn a_new_public_version_is_found_when_it_is_asked_for() {
    let world = World::start().await;
    let version = |name: &str, version: &str| NpmPackage::new(name, version);
    for name in ["by-file", "by-no-cache"] {
        world.upstream.publish(&version(name, "1.0.0"));
        world.document(name).await;
        world.upstream.publish(&version(name, "1.1.0"));
    }
    let known = async |name: &str, version: &str| {
        let versions = world.document(name).await["versions"].clone();
        versions.get(version).is_some()
    };
    assert!(!known("by-file", "1.1.0").await && !known("by-no-cache", "1.1.0").await);
    // An index is asked again at most once in ten seconds, whoever insists.
    world.get("by-no-cache", &[("cache-control", "no-cache")]).await;
    assert!(!known("by-no-cache", "1.1.0").await);

    tokio::time::sleep(Duration::from_millis(10_200)).await;
    assert!(!known("by-file", "1.1.0").await && !known("by-no-cache", "1.1.0").await, "five minutes");
    world.get("by-file/-/by-file-1.1.0.tgz", &[]).await.assert_status(200);
    assert!(known("by-file", "1.1.0").await, "what can be fetched is listed");
    world.get("by-no-cache", &[("pragma", "no-cache"), ("cache-control", "no-cache")]).await;
    assert!(known("by-no-cache", "1.1.0").await);
    let asked = world.upstream.requests().into_iter().filter(|seen| seen.path == "/by-no-cache");
    let conditions: Vec<bool> = asked.map(|seen| !seen.header("if-none-match").is_empty()).collect();
    assert_eq!(conditions, [false, true], "the second question has a condition");
}

#[tokio::test]
async fn an_absent_public_package_is_asked_for_once_and_found_later() {
    let world = World::start_with(|builder| builder.flag("--negative-freshness", "1s")).await;
    for _ in 0..3 {
        let answer = world.get("not-yet", &[]).await;
        let error = answer.assert_status(404).json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("not-yet") && error.contains("'main'"), "{error}");
    }
    assert_eq!(world.upstream.calls("/not-yet"), 1);
    world.upstream.publish(&NpmPackage::new("not-yet", "1.0.0"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.get("not-yet", &[]).await.assert_status(200);
    world.get("not-yet/-/not-yet-9.9.9.tgz", &[]).await.assert_status(404);
}

#[tokio::test]
async fn files_answer_head_and_ranges_held_or_not() {
    let world = World::start().await;
    let large = NpmPackage::new("large", "1.0.0").file("noise", noise(3 << 20));
    let small = NpmPackage::new("small", "1.0.0").file("noise", noise(1000));
    world.upstream.publish_all([&large, &small]);
    for package in [&large, &small] {
        let (path, bytes) = (package.tarball_path(), package.tarball());
        let size = bytes.len();
        for round in ["not held", "held"] {
            let what = format!("{} {round}", package.full_name());
            let head = world.send("HEAD", &path, &[], "").await;
            assert_eq!(head.assert_status(200).header("content-length"), size.to_string(), "{what}");
            assert_eq!(head.header("accept-ranges"), "bytes", "{what}");
            assert_eq!(head.body.len(), 0, "{what}");
            let part = world.get(&path, &[("range", "bytes=100-299")]).await;
            part.assert_status(206);
            assert_eq!(part.header("content-range"), format!("bytes 100-299/{size}"), "{what}");
            assert!(part.body[..] == bytes[100..300], "{what}");
            let tail = world.get(&path, &[("range", "bytes=-10")]).await;
            assert!(tail.assert_status(206).body[..] == bytes[size - 10..], "{what}");
            let beyond = world.get(&path, &[("range", "bytes=99999999-")]).await;
            assert_eq!(
                beyond.assert_status(416).header("content-range"),
                format!("bytes */{size}"),
                "{what}"
            );
            let whole = world.get(&path, &[]).await;
            assert!(whole.assert_status(200).body[..] == bytes[..], "{what}");
        }
        assert_eq!(world.upstream.calls(&format!("/{path}")), 1, "one fetch serves all of that");
    }
}

#[tokio::test]
async fn head_and_indexes_retain_nothing_and_a_range_does() {
    let world = World::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&package);
    world.get("left-pad", &[]).await.assert_status(200);
    world.send("HEAD", "left-pad", &[], "").await.assert_status(200);
    world.send("HEAD", &package.tarball_path(), &[], "").await.assert_status(200);
    world.get("left-pad/1.3.0", &[]).await.assert_status(200);
    assert!(world.held("main", &package).await.is_empty());
    world.get(&package.tarball_path(), &[("range", "bytes=0-9")]).await.assert_status(206);
    assert_eq!(world.held("main", &package).await, ["1.3.0"]);
    assert_eq!(world.held("npm-store", &package).await, ["1.3.0"]);
}

#[tokio::test]
async fn a_name_is_one_resource_in_every_spelling() {
    let world = World::start().await;
    let package = NpmPackage::new("widget", "1.0.0").scope("acme");
    world.upstream.publish(&package);
    let document = world.document("@acme/widget").await;
    for path in [
        "@acme%2fwidget",
        "@acme%2Fwidget",
        "@acme/widget",
        "%40acme/widget",
        "@acme//widget",
        "//@acme%2fwidget/",
    ] {
        assert_eq!(world.get(path, &[]).await.assert_status(200).json(), document, "{path}");
    }
    let bytes = package.tarball();
    for path in [
        "@acme/widget/-/widget-1.0.0.tgz",
        "@acme%2fwidget/-/widget-1.0.0.tgz",
        "@acme%2Fwidget/-/widget-1.0.0.tgz",
        "@acme/widget/-/@acme/widget-1.0.0.tgz",
        "/@acme/widget//-/widget-1.0.0.tgz",
    ] {
        assert!(world.get(path, &[]).await.assert_status(200).body == bytes, "{path}");
    }
    assert_eq!(world.upstream.calls("/@acme/widget/-/widget-1.0.0.tgz"), 1);
    // What is decoded once is not decoded again.
    world.get("@acme%252fwidget", &[]).await.assert_status(400);
}

#[tokio::test]
async fn addresses_in_answers_keep_the_face_that_was_asked() {
    let world = World::start_with(|builder| {
        builder.flag("--trusted-proxies", "127.0.0.1").flag("--host-suffix", "packages.example.test")
    })
    .await;
    world.upstream.publish(&NpmPackage::new("widget", "1.0.0").scope("acme"));
    let tarball = async |path: &str, headers: &[(&str, &str)]| {
        let bearer = format!("Bearer {}", world.token);
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        let answer = world.weir.send("GET", path, &headers, b"").await;
        let document = answer.assert_status(200).json();
        document["versions"]["1.0.0"]["dist"]["tarball"].as_str().unwrap_or_default().to_owned()
    };
    let below = "npm/d/local-000000000000/main/@acme/widget";
    let file = "@acme/widget/-/widget-1.0.0.tgz";
    let path = format!("/{below}");
    assert_eq!(tarball(&path, &[]).await, format!("{}{file}", world.endpoint));
    assert_eq!(
        tarball(&path, &[("host", "weir.example.test:81")]).await,
        format!("http://weir.example.test:81/npm/d/local-000000000000/main/{file}")
    );
    let forwarded = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "edge.example.test"),
        ("x-forwarded-prefix", "/registry"),
    ];
    assert_eq!(
        tarball(&path, &forwarded).await,
        format!("https://edge.example.test/registry/npm/d/local-000000000000/main/{file}")
    );
    for host in [
        "local-000000000000.d.codeartifact.eu-west-1.amazonaws.com",
        "local-000000000000.codeartifact.eu-west-1.on.aws",
        "local-000000000000.d.packages.example.test:8443",
    ] {
        let address = tarball("/npm/main/@acme%2fwidget", &[("host", host)]).await;
        assert_eq!(address, format!("http://{host}/npm/main/{file}"));
        // As a client sends it that was given Weir as its proxy.
        let request = format!(
            "GET http://{host}/npm/main/@acme/widget HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\n\r\n",
            world.token
        );
        let answer = exchange(world.weir.authority(), request.as_bytes(), Duration::from_secs(10)).await;
        assert_eq!(answer.status(), Some(200), "{}", answer.text());
        assert!(answer.text().contains(&format!("http://{host}/npm/main/{file}")), "{}", answer.text());
    }
    for (request, status) in [
        ("GET http://other.example.test/npm/main/widget HTTP/1.1\r\nHost: other.example.test\r\n\r\n", 421),
        ("CONNECT other.example.test:443 HTTP/1.1\r\nHost: other.example.test:443\r\n\r\n", 405),
    ] {
        let answer = exchange(world.weir.authority(), request.as_bytes(), Duration::from_secs(2)).await;
        assert_eq!(answer.status(), Some(status), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_public_address_is_in_all_answers_whoever_asks() {
    let world =
        World::start_with(|builder| builder.flag("--public-url", "https://packages.example.test/weir/"))
            .await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    let repository = "npm/d/local-000000000000/main/";
    assert_eq!(world.endpoint, format!("https://packages.example.test/weir/{repository}"));
    for path in [format!("/{repository}left-pad"), format!("/weir/{repository}left-pad")] {
        let document = world.weir.get(&path, &world.token).await.assert_status(200).json();
        assert_eq!(
            document["versions"]["1.3.0"]["dist"]["tarball"],
            format!("https://packages.example.test/weir/{repository}left-pad/-/left-pad-1.3.0.tgz")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fetch_serves_fifty_clients_and_each_repository_gets_its_row() {
    let world = World::start().await;
    let second = world.repository("second", &["npm-store"]).await;
    let behind = world.repository("behind", &["main"]).await;
    let package = NpmPackage::new("popular", "1.0.0").file("noise", noise(2 << 20));
    world.upstream.publish(&package);
    let slow = weir_testkit::Fault::Delay(Duration::from_millis(300));
    world.upstream.fail("/popular", slow);
    let bytes = package.tarball();
    let addresses = [&world.endpoint, &second, &behind];
    let downloads = (0..50).map(|index| {
        let address = format!("{}{}", addresses[index % 3], package.tarball_path());
        let (world, bytes) = (&world, &bytes);
        async move {
            let answer = world.weir.get(&address, &world.token).await;
            assert!(answer.assert_status(200).body == *bytes, "{address}");
        }
    });
    join_all(downloads).await;
    assert_eq!(world.upstream.calls("/popular/-/popular-1.0.0.tgz"), 1);
    assert_eq!(world.upstream.calls("/popular"), 1);
    for repository in ["main", "second", "behind", "npm-store"] {
        assert_eq!(world.held(repository, &package).await, ["1.0.0"], "{repository}");
    }
}

#[tokio::test]
async fn the_index_is_merged_from_the_repositories_of_the_chain() {
    let world = World::start().await;
    world.repository("team", &["main"]).await;
    let at = async |repository: &str, package: &NpmPackage| {
        let endpoint = world.weir.endpoint("local", repository, "npm").await;
        let bearer = format!("Bearer {}", world.token);
        let document = package.publish_document("http://publisher.example.test").to_string();
        let url = format!("{endpoint}{}", package.full_name().replace('/', "%2f"));
        weir_testkit::http::send("PUT", &url, &[("authorization", &bearer)], document).await
    };
    let widget = |version: &str| NpmPackage::new("widget", version).scope("acme");
    // The same name in public: it is reserved, so none of its versions is seen.
    world.upstream.publish(&widget("9.9.9"));
    at("main", &widget("1.0.0")).await.assert_status(201);
    // The first publish had to ask whether the version is public.
    world.upstream.reset_calls();
    at("main", &widget("1.1.0").tag("stable")).await.assert_status(201);
    at("team", &widget("2.0.0")).await.assert_status(201);

    let team = async || {
        let path = "/npm/d/local-000000000000/team/@acme/widget";
        world.weir.get(path, &world.token).await.assert_status(200).json()
    };
    let versions = |document: &Value| -> Vec<String> {
        document["versions"].as_object().into_iter().flatten().map(|(version, _)| version.clone()).collect()
    };
    // A first publish sets upstream=BLOCK, so team shows its own alone until that is put to ALLOW.
    assert_eq!(versions(&team().await), ["2.0.0"]);
    let path = "/v1/package?domain=local&repository=team&format=npm&namespace=acme&package=widget";
    let allow = r#"{"restrictions":{"publish":"ALLOW","upstream":"ALLOW"}}"#;
    world.weir.api("POST", path, allow).await.assert_status(200);
    let document = team().await;
    assert_eq!(versions(&document), ["1.0.0", "1.1.0", "2.0.0"]);
    // The tags of upstreams override, as AWS does.
    assert_eq!(document["dist-tags"], json!({ "latest": "1.0.0", "stable": "1.1.0" }));
    assert!(document["time"]["2.0.0"].is_string());
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        let address =
            format!("{}/npm/d/local-000000000000/team/@acme/widget/-/widget-{version}.tgz", world.weir.url());
        assert_eq!(document["versions"][version]["dist"]["tarball"], address.as_str());
        world.weir.get(&address, &world.token).await.assert_status(200);
    }
    assert!(world.document("@acme/widget").await["versions"].get("2.0.0").is_none());
    let team = world.held("team", &widget("1.0.0")).await;
    assert_eq!(team.len(), 3, "what was downloaded from an upstream is retained: {team:?}");
    assert_eq!(world.upstream.calls_under("/@acme"), 0, "a reserved name is told to nobody");
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next(&mut state)).take(count).collect()
}
