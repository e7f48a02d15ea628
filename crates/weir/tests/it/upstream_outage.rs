//! A public registry that is away for a while, beyond its single faults: it is spared until it may be back,
//! nobody waits longer than one timeout, and who leaves early bars nobody.

use crate::npm_world::World;
use futures_util::future::join_all;
use serde_json::Value;
use std::time::{Duration, Instant};
use weir_testkit::{Answer, Fault, NpmPackage};

/// Clients that ask at once.
const CROWD: usize = 64;
/// A breaker is open for ten seconds.
const HEALED_WITHIN: Duration = Duration::from_secs(12);

/// As many as close it.
const FIVE: [&str; 5] = ["one", "two", "three", "four", "five"];

const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");

/// A world whose connection to the public registry has these settings in `weir.toml`.
async fn world_with(settings: &str) -> World {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("weir.toml");
    let text = format!("[external-connections.\"public:npmjs\"]\n{settings}\n");
    fs_err::write(&file, text).expect("a temporary folder can be written");
    World::start_with(|builder| builder.flag("--config", &file.display().to_string())).await
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// The reason of a 503, which must name the connection and say when to come again.
#[track_caller]
fn reason(answer: &Answer) -> String {
    answer.assert_status(503);
    let seconds: u64 = answer.header("retry-after").parse().expect("Retry-After is a number of seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    let reason = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("public:npmjs"), "{reason}");
    reason
}

async fn health(world: &World) -> Value {
    let listed = world.weir.cli(&["connections", "--json"]).await;
    let listed = listed.assert_ok().json();
    let connections = listed["connections"].as_array().cloned().unwrap_or_default();
    let found = connections.into_iter().find(|connection| connection["name"] == "public:npmjs");
    found.unwrap_or_else(|| panic!("no public:npmjs in {listed}"))
}

#[tokio::test]
async fn bodies_that_break_off_open_the_breaker_although_their_headers_came() {
    let world = World::start().await;
    let held = NpmPackage::new("held", "1.0.0");
    let later = NpmPackage::new("later", "1.0.0");
    world.upstream.publish_all([&held, &later]);
    world.upstream.publish_all(&FIVE.map(|name| NpmPackage::new(name, "1.0.0")));
    world.get(&held.tarball_path(), &[]).await.assert_status(200);
    assert_eq!(health(&world).await["health"], "up");
    world.upstream.fail("/", Fault::Cut(10));
    for path in FIVE {
        reason(&world.get(path, &[]).await);
    }
    let asked = world.upstream.total_calls();
    let opened = Instant::now();
    for path in ["later", "never-asked", "later/-/later-1.0.0.tgz"] {
        let reason = reason(&world.get(path, &[]).await);
        assert!(reason.contains("not asked again yet"), "{path}: {reason}");
    }
    assert_eq!(world.upstream.total_calls(), asked, "an open breaker spares the registry");
    assert_eq!(world.get(&held.tarball_path(), &[]).await.assert_status(200).body, held.tarball());
    let shown = health(&world).await;
    assert_eq!(shown["health"], "down", "{shown}");
    assert!(!shown["lastFailure"].as_str().unwrap_or_default().is_empty(), "{shown}");

    world.upstream.heal();
    while world.get("later", &[]).await.status != 200 {
        assert!(opened.elapsed() < HEALED_WITHIN, "the registry is back and is not asked");
        sleep(200).await;
    }
    assert_eq!(world.get(&later.tarball_path(), &[]).await.assert_status(200).body, later.tarball());
    assert_eq!(health(&world).await["health"], "up");
}

#[tokio::test]
async fn a_file_that_fails_again_and_again_closes_no_registry() {
    let world = World::start().await;
    let packages = ["broken", "other"].map(|name| NpmPackage::new(name, "1.0.0"));
    world.upstream.publish_all(&packages);
    world.document("broken").await;
    world.upstream.fail("/broken/-/", Fault::Status(500));
    for _ in 0..7 {
        let reason = reason(&world.get(&packages[0].tarball_path(), &[]).await);
        assert!(reason.contains("500"), "{reason}");
    }
    world.get(&packages[1].tarball_path(), &[]).await.assert_status(200);
    // Another that answers in between starts the count anew.
    for path in &FIVE[..4] {
        world.upstream.fail(&format!("/{path}"), Fault::Status(500));
        reason(&world.get(path, &[]).await);
    }
    reason(&world.get(&packages[0].tarball_path(), &[]).await);
    assert!(reason(&world.get(FIVE[4], &[]).await).contains("not asked again yet"));
}

#[tokio::test]
async fn a_client_that_leaves_while_the_registry_is_probed_bars_nobody() {
    let world = World::start().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.0.0"));
    world.upstream.fail("/", Fault::Status(503));
    for path in FIVE {
        reason(&world.get(path, &[]).await);
    }
    world.upstream.heal();
    world.upstream.fail("/", Fault::Hang);
    sleep(10_100).await;
    let asked = world.upstream.total_calls();
    let probe = world.get("left-pad", &[]);
    assert!(tokio::time::timeout(Duration::from_millis(500), probe).await.is_err(), "nobody answers it");
    assert_eq!(world.upstream.total_calls(), asked + 1);
    world.upstream.heal();
    // The server has to see that the client is gone.
    sleep(200).await;
    world.get("left-pad", &[]).await.assert_status(200);
}

#[tokio::test]
async fn an_absence_is_remembered_and_asked_again_for_those_who_insist() {
    let world = World::start().await;
    world.get("soon", &[]).await.assert_status(404);
    let first = Instant::now();
    world.upstream.publish(&NpmPackage::new("soon", "1.0.0"));
    world.get("soon", &[]).await.assert_status(404);
    world.get("soon", &[NO_CACHE]).await.assert_status(404);
    assert_eq!(world.upstream.calls("/soon"), 1, "at most once in ten seconds");
    tokio::time::sleep_until((first + Duration::from_millis(10_200)).into()).await;
    world.get("soon", &[]).await.assert_status(404);
    assert_eq!(world.upstream.calls("/soon"), 1, "a minute");
    world.get("soon", &[NO_CACHE]).await.assert_status(200);
    world.get("soon", &[]).await.assert_status(200);
    assert_eq!(world.upstream.calls("/soon"), 2);
}

#[tokio::test]
async fn a_crowd_waits_for_one_timeout_together() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let world = world_with("freshness = 0\nresponse-timeout = 3").await;
    let packages = ["known", "unknown"].map(|name| NpmPackage::new(name, "1.0.0"));
    world.upstream.publish_all(&packages);
    world.document("known").await;
    world.upstream.fail("/", Fault::Hang);
    world.upstream.reset_calls();
    let ask = async |paths: &[&str], status: u16| {
        let start = Instant::now();
        let asked = (0..CROWD).map(|at| {
            let accept = if at % 4 < 2 { "application/json" } else { "application/vnd.npm.install-v1+json" };
            let (world, path) = (&world, paths[at % paths.len()]);
            async move { world.get(path, &[("accept", accept)]).await }
        });
        for answer in join_all(asked).await {
            answer.assert_status(status);
        }
        let took = start.elapsed();
        assert!(took >= TIMEOUT && took < TIMEOUT * 2, "{paths:?} took {took:?}");
    };
    ask(&["unknown", "unknown/-/unknown-1.0.0.tgz"], 503).await;
    assert_eq!(world.upstream.calls("/unknown"), 1, "they asked once");
    ask(&["known"], 200).await;
    assert_eq!(world.upstream.calls("/known"), 1, "they asked once");
}
