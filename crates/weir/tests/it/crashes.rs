//! `kill -9` at random moments while many publish and fetch: what was acknowledged is there byte for byte after the
//! restart, what was not is there whole or not at all, and a second kill changes nothing. On both databases and both
//! blob stores; `WEIR_TEST_LONG` makes it 200 rounds instead of 10.

use bytes::Bytes;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_testkit::backend::{ObjectStore, Postgres};
use weir_testkit::server::Builder;
use weir_testkit::{Credentials, Fault, NpmPackage, Upstream, Weir, http, long};

/// Clients that publish, and clients that fetch.
const CLIENTS: usize = 8;

/// What a client did, and what it was told.
#[derive(Clone)]
struct Deed {
    package: NpmPackage,
    tarball: Bytes,
    /// Whether it came from the public registry.
    is_public: bool,
    acknowledged: bool,
}

/// Where to send requests, and as whom.
#[derive(Clone)]
struct Door {
    url: String,
    token: String,
}

impl Door {
    async fn try_send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<http::Answer, String> {
        let url = format!("{}/npm/d/local-000000000000/main/{path}", self.url);
        let bearer = format!("Bearer {}", self.token);
        http::try_send(method, &url, &[("authorization", &bearer)], body).await
    }
}

async fn survives(settings: impl Fn(Builder) -> Builder) {
    let rounds = if long() { 200 } else { 10 };
    let upstream = Upstream::start().await;
    let builder = settings(Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()));
    let mut weir = builder.start().await;
    let key = weir.credentials();
    let door = Door { url: weir.url().to_owned(), token: weir.token("local").await };
    let mut random = Random(0x5eed);
    let (mut acknowledged, mut all) = (0, Vec::new());
    for round in 0..rounds {
        let fetched: Vec<_> = (0..CLIENTS * 12).map(|at| package("public", round, at, &mut random)).collect();
        upstream.publish_all(fetched.iter().map(|(package, _)| package));
        let own: Vec<_> = (0..CLIENTS * 12).map(|at| package("own", round, at, &mut random)).collect();
        let deeds = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS * 2)
            .map(|client| {
                let todo = if client % 2 == 0 { own.clone() } else { fetched.clone() };
                let (door, deeds, stop, next) = (door.clone(), deeds.clone(), stop.clone(), next.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed) / 2;
                        let Some((package, tarball)) = todo.get(at) else { return };
                        let deed = act(&door, package, tarball, client % 2 == 1).await;
                        deeds.lock().expect("no panic").push(deed);
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100 + random.below(600))).await;
        let killed = weir.kill().await;
        stop.store(true, Ordering::Relaxed);
        join_all(clients).await;
        weir = killed.start().await;
        assert_eq!(weir.url(), door.url, "it listens where it did");
        let deeds = std::mem::take(&mut *deeds.lock().expect("no panic"));
        upstream.fail("/", Fault::Status(500));
        acknowledged += check(&weir, &door, &key, &deeds).await;
        upstream.heal();
        all.extend(deeds);
    }
    // No later kill took what an earlier one had left.
    upstream.fail("/", Fault::Status(500));
    check(&weir, &door, &key, &all).await;
    weir.cli(&["verify"]).await.assert_ok();
    eprintln!("kills: {rounds} rounds, {acknowledged} of {} deeds acknowledged, none lost", all.len());
    assert!(acknowledged > rounds, "only {acknowledged} of the deeds of {rounds} rounds were acknowledged");
    assert_eq!(weir.stop().await, Some(0));
}

fn package(kind: &str, round: usize, at: usize, random: &mut Random) -> (NpmPackage, Bytes) {
    // A few names, so that versions of one package are written beside each other.
    let package = NpmPackage::new(&format!("{kind}-{}", at % 5), &format!("1.{round}.{at}"))
        .file("data", weir_testkit::package::noise(usize::try_from(random.below(40_000)).expect("small")))
        .file("note", format!("{kind} {round} {at}"));
    let tarball = package.tarball();
    (package, tarball)
}

async fn act(door: &Door, package: &NpmPackage, tarball: &Bytes, is_public: bool) -> Deed {
    let acknowledged = if is_public {
        let answer = door.try_send("GET", &package.tarball_path(), Vec::new()).await;
        answer.is_ok_and(|answer| answer.status == 200 && answer.body == *tarball)
    } else {
        let document = package.publish_document("http://publisher.example.test").to_string();
        let answer = door.try_send("PUT", &package.full_name(), document.into_bytes()).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    };
    Deed { package: package.clone(), tarball: tarball.clone(), is_public, acknowledged }
}

/// Compares what is there with what was done; how much of it was acknowledged.
async fn check(weir: &Weir, door: &Door, key: &Credentials, deeds: &[Deed]) -> usize {
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for deed in deeds {
        let (name, version) = (deed.package.full_name(), deed.package.version());
        if !held.contains_key(&name) {
            held.insert(name.clone(), versions(weir, key, &name).await);
        }
        let is_held = held[&name].iter().any(|held| held == version);
        let kind = if deed.is_public { "fetched" } else { "published" };
        assert!(is_held || !deed.acknowledged, "{name}@{version} was {kind}, acknowledged, and is lost");
        if is_held {
            let answer = door.try_send("GET", &deed.package.tarball_path(), Vec::new()).await;
            let answer = answer.unwrap_or_else(|error| panic!("{name}@{version}: {error}"));
            assert!(answer.assert_status(200).body == deed.tarball, "{name}@{version} has other bytes");
        }
        if is_held && !deed.is_public {
            let index =
                door.try_send("GET", &name, Vec::new()).await.expect("an answer").assert_status(200).json();
            let integrity = index["versions"][version]["dist"]["integrity"].as_str();
            assert_eq!(
                integrity,
                Some(&*weir_testkit::package::integrity(&deed.tarball)),
                "{name}@{version}"
            );
        }
    }
    deeds.iter().filter(|deed| deed.acknowledged).count()
}

/// The versions that `main` holds, all pages of them.
async fn versions(weir: &Weir, key: &Credentials, name: &str) -> Vec<String> {
    let (mut versions, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!(
            "/v1/package/versions?domain=local&repository=main&format=npm&package={name}&max-results=1000{next}"
        );
        let answer = weir.api_as(key, "POST", &path, "").await;
        if answer.status == 404 {
            return versions;
        }
        let page = answer.assert_status(200).json();
        let found = page["versions"].as_array().into_iter().flatten();
        versions.extend(found.filter_map(|version| version["version"].as_str().map(str::to_owned)));
        match page["nextToken"].as_str() {
            Some(token) => next = format!("&next-token={token}"),
            None => return versions,
        }
    }
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kills_over_sqlite_and_files() {
    survives(|builder| builder).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kills_over_postgresql_and_a_bucket() {
    let (Some(postgres), Some(bucket)) = (Postgres::shared_database().await, ObjectStore::bucket().await)
    else {
        return;
    };
    survives(|builder| builder.database(&postgres).objects(&bucket)).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kills_over_postgresql_and_files() {
    let Some(postgres) = Postgres::shared_database().await else { return };
    survives(|builder| builder.database(&postgres)).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kills_over_sqlite_and_a_bucket() {
    let Some(bucket) = ObjectStore::bucket().await else { return };
    survives(|builder| builder.objects(&bucket)).await;
}
