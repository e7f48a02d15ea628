//! Random publishes, fetches, copies, changes of status, deletions and collections, held against a small model: what
//! repositories hold, which bytes they give, and how many bytes the domain counts. On both databases and blob stores.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Runtime;
use weir_testkit::backend::{ObjectStore, Postgres};
use weir_testkit::server::Builder;
use weir_testkit::{NpmPackage, Upstream, Weir, http, long};

/// `front` and `back` hold what is published; `store` has the external connection.
const REPOSITORIES: [&str; 3] = ["front", "back", "store"];
const OWN: [&str; 2] = ["own-a", "own-b"];
const PUBLIC: [&str; 2] = ["public-a", "public-b"];
const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "2.0.0"];
const STATUSES: [&str; 3] = ["Published", "Unlisted", "Archived"];

/// One thing that is done; numbers choose from the lists above.
#[derive(Debug, Clone)]
enum Step {
    Publish { repository: usize, package: usize, version: usize, bytes: usize },
    Fetch { package: usize, version: usize },
    Copy { from: usize, to: usize, package: usize, version: usize, overwrite: bool },
    SetStatus { repository: usize, package: usize, version: usize, status: usize },
    Dispose { repository: usize, package: usize, version: usize },
    Delete { repository: usize, package: usize, version: usize },
    DeletePackage { repository: usize, package: usize },
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    let (package, version) = (0..4_usize, 0..VERSIONS.len());
    let at = || (0..REPOSITORIES.len(), package.clone(), version.clone());
    prop_oneof![
        6 => (0..2_usize, 0..OWN.len(), version.clone(), 0..2_usize).prop_map(
            |(repository, package, version, bytes)| Step::Publish { repository, package, version, bytes }
        ),
        4 => (0..PUBLIC.len(), version.clone()).prop_map(|(package, version)| Step::Fetch { package, version }),
        4 => (at(), 0..REPOSITORIES.len(), any::<bool>()).prop_map(|((from, package, version), to, overwrite)| {
            Step::Copy { from, to, package, version, overwrite }
        }),
        2 => (at(), 0..STATUSES.len()).prop_map(|((repository, package, version), status)| {
            Step::SetStatus { repository, package, version, status }
        }),
        1 => at().prop_map(|(repository, package, version)| Step::Dispose { repository, package, version }),
        3 => at().prop_map(|(repository, package, version)| Step::Delete { repository, package, version }),
        1 => (0..REPOSITORIES.len(), package.clone())
            .prop_map(|(repository, package)| Step::DeletePackage { repository, package }),
        2 => Just(Step::Collect),
    ]
}

fn name(package: usize) -> &'static str {
    if package < OWN.len() { OWN[package] } else { PUBLIC[package - OWN.len()] }
}

/// The package that is published, or lies in the public registry. Two versions have a third one's very file.
fn package(name: &str, version: &str, bytes: usize) -> NpmPackage {
    NpmPackage::new(name, version).file("data", weir_testkit::package::noise(500 + bytes * 100))
}

/// What a repository holds of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    tarball: Bytes,
    status: String,
}

/// Repository, package and version.
type Place = (usize, &'static str, &'static str);

struct World {
    weir: Weir,
    domains: AtomicUsize,
    _upstream: Upstream,
}

impl World {
    async fn start(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let upstream = Upstream::start().await;
        for name in PUBLIC {
            upstream.publish_all(&VERSIONS.map(|version| package(name, version, 0)));
        }
        let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url());
        Self { weir: settings(builder).start().await, domains: AtomicUsize::new(0), _upstream: upstream }
    }

    /// Runs the steps in a domain of their own.
    async fn run(&self, steps: &[Step]) -> Result<(), TestCaseError> {
        let domain = format!("model-{}", self.domains.fetch_add(1, Ordering::Relaxed));
        self.weir.api("POST", &format!("/v1/domain?domain={domain}"), "").await.assert_status(200);
        for repository in REPOSITORIES {
            let path = format!("/v1/repository?domain={domain}&repository={repository}");
            self.weir.api("POST", &path, "{}").await.assert_status(200);
        }
        let path = format!(
            "/v1/repository/external-connection?domain={domain}&repository=store&external-connection=public:npmjs"
        );
        self.weir.api("POST", &path, "").await.assert_status(200);
        let token = self.weir.token(&domain).await;
        let mut run = Run { world: self, domain, token, held: BTreeMap::new() };
        let done = run.all(steps).await;
        for repository in REPOSITORIES {
            let path = format!("/v1/repository?domain={}&repository={repository}", run.domain);
            self.weir.api("DELETE", &path, "").await.assert_status(200);
        }
        self.weir.api("DELETE", &format!("/v1/domain?domain={}", run.domain), "").await.assert_status(200);
        done
    }
}

/// One case: its domain, and the model of it.
struct Run<'a> {
    world: &'a World,
    domain: String,
    token: String,
    held: BTreeMap<Place, Held>,
}

impl Run<'_> {
    async fn all(&mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        for step in steps {
            self.step(step).await?;
        }
        self.compare().await?;
        self.collect().await;
        self.compare().await
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Publish { repository, package: at, version, bytes } => {
                let (name, version) = (OWN[at], VERSIONS[version]);
                let package = package(name, version, bytes);
                let document = package.publish_document("http://publisher.example.test").to_string();
                let answer = self.send("PUT", repository, name, document.into_bytes()).await;
                let new = Held { tarball: package.tarball(), status: "Published".to_owned() };
                match self.held.get(&(repository, name, version)) {
                    Some(old) if old.tarball == new.tarball && old.status == "Published" => {
                        prop_assert!(answer.status.is_success(), "the same again: {}", answer.text());
                    }
                    Some(_) => prop_assert!(answer.status != 500, "{}", answer.text()),
                    None if answer.status.is_success() => {
                        self.held.insert((repository, name, version), new);
                    }
                    // The origin controls that a copy taught the record may forbid it.
                    None => prop_assert!(answer.status == 403, "{} {}", answer.status, answer.text()),
                }
            }
            Step::Fetch { package: at, version } => {
                let (name, version) = (PUBLIC[at], VERSIONS[version]);
                let package = package(name, version, 0);
                let answer = self.send("GET", 2, &package.tarball_path(), Vec::new()).await;
                let place = (2, name, version);
                match self.held.get(&place) {
                    Some(held) if held.status == "Archived" || held.status == "Disposed" => {
                        prop_assert_eq!(answer.status.as_u16(), 404);
                    }
                    Some(_) | None => {
                        prop_assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
                        prop_assert_eq!(&answer.body, &package.tarball());
                        let new = Held { tarball: answer.body, status: "Published".to_owned() };
                        self.held.entry(place).or_insert(new);
                    }
                }
            }
            Step::Copy { from, to, package, version, overwrite } => {
                let (name, version) = (name(package), VERSIONS[version]);
                if from == to {
                    return Ok(());
                }
                let query = format!(
                    "/v1/package/versions/copy?domain={}&source-repository={}&destination-repository={}&format=npm&package={name}",
                    self.domain, REPOSITORIES[from], REPOSITORIES[to]
                );
                let body = json!({ "versions": [version], "allowOverwrite": overwrite }).to_string();
                let answer = self.world.weir.api("POST", &query, &body).await;
                prop_assert!(answer.status != 500, "{}", answer.text());
                if answer.status == 200 && answer.json()["successfulVersions"].get(version).is_some() {
                    let source = self.held.get(&(from, name, version)).cloned();
                    prop_assert!(source.is_some(), "a copy of nothing: {}", answer.text());
                    let status =
                        answer.json()["successfulVersions"][version]["status"].as_str().map(str::to_owned);
                    if let (Some(source), Some(status)) = (source, status) {
                        self.held.insert((to, name, version), Held { status, ..source });
                    }
                }
            }
            Step::SetStatus { repository, package, version, status } => {
                let body = json!({ "versions": [VERSIONS[version]], "targetStatus": STATUSES[status] });
                let done = self.change("update_status", repository, name(package), &body).await?;
                if let Some(held) = self.held.get_mut(&(repository, name(package), VERSIONS[version]))
                    && done
                {
                    held.status = STATUSES[status].to_owned();
                }
            }
            Step::Dispose { repository, package, version } => {
                let body = json!({ "versions": [VERSIONS[version]] });
                let done = self.change("dispose", repository, name(package), &body).await?;
                if let Some(held) = self.held.get_mut(&(repository, name(package), VERSIONS[version]))
                    && done
                {
                    held.status = "Disposed".to_owned();
                }
            }
            Step::Delete { repository, package, version } => {
                let body = json!({ "versions": [VERSIONS[version]] });
                let place = (repository, name(package), VERSIONS[version]);
                let done = self.change("delete", repository, name(package), &body).await?;
                prop_assert_eq!(done, self.held.remove(&place).is_some(), "deleted {:?}", place);
            }
            Step::DeletePackage { repository, package } => {
                let path = format!(
                    "/v1/package?domain={}&repository={}&format=npm&package={}",
                    self.domain,
                    REPOSITORIES[repository],
                    name(package)
                );
                let answer = self.world.weir.api("DELETE", &path, "").await;
                prop_assert!(matches!(answer.status.as_u16(), 200 | 404), "{}", answer.text());
                self.held.retain(|place, _| (place.0, place.1) != (repository, name(package)));
            }
            Step::Collect => self.collect().await,
        }
        Ok(())
    }

    /// Runs an operation on one version; whether it succeeded.
    async fn change(
        &self,
        what: &str,
        repository: usize,
        name: &str,
        body: &Value,
    ) -> Result<bool, TestCaseError> {
        let path = format!(
            "/v1/package/versions/{what}?domain={}&repository={}&format=npm&package={name}",
            self.domain, REPOSITORIES[repository]
        );
        let answer = self.world.weir.api("POST", &path, &body.to_string()).await;
        prop_assert!(answer.status != 500, "{}", answer.text());
        let version = body["versions"][0].as_str().unwrap_or_default();
        Ok(answer.status == 200 && answer.json()["successfulVersions"].get(version).is_some())
    }

    /// Erases at once whatever nothing names.
    async fn collect(&self) {
        self.world.weir.cli(&["gc", "--grace", "0s"]).await.assert_ok();
    }

    async fn send(&self, method: &str, repository: usize, path: &str, body: Vec<u8>) -> http::Answer {
        let url = format!(
            "{}/npm/d/{}-000000000000/{}/{path}",
            self.world.weir.url(),
            self.domain,
            REPOSITORIES[repository]
        );
        http::send(method, &url, &[("authorization", &format!("Bearer {}", self.token))], body).await
    }

    /// Compares everything with the model.
    async fn compare(&self) -> Result<(), TestCaseError> {
        let mut found = BTreeMap::new();
        for repository in 0..REPOSITORIES.len() {
            for name in OWN.into_iter().chain(PUBLIC) {
                for (version, status) in self.versions(repository, name).await? {
                    let version = VERSIONS.into_iter().find(|known| *known == version);
                    found.insert((repository, name, version.unwrap_or("another")), status);
                }
            }
        }
        let wanted: BTreeMap<_, _> =
            self.held.iter().map(|(place, held)| (*place, held.status.clone())).collect();
        prop_assert_eq!(found, wanted);
        let mut counted = BTreeSet::new();
        for ((repository, name, version), held) in &self.held {
            let path = package(name, version, 0).tarball_path();
            let answer = self.send("GET", *repository, &path, Vec::new()).await;
            if held.status == "Published" || held.status == "Unlisted" {
                prop_assert_eq!(
                    answer.status.as_u16(),
                    200,
                    "{} {} {}: {}",
                    repository,
                    name,
                    version,
                    answer.text()
                );
                prop_assert_eq!(&answer.body, &held.tarball);
            } else {
                prop_assert_eq!(answer.status.as_u16(), 404, "{} {} {}", repository, name, version);
            }
            if held.status != "Disposed" {
                counted.insert(held.tarball.clone());
            }
        }
        let path = format!("/v1/domain?domain={}", self.domain);
        let told = self.world.weir.api("GET", &path, "").await.assert_status(200).json();
        let bytes: u64 = counted.iter().map(|tarball| tarball.len() as u64).sum();
        prop_assert_eq!(told["domain"]["assetSizeBytes"].as_u64(), Some(bytes), "of {} files", counted.len());
        Ok(())
    }

    async fn versions(&self, repository: usize, name: &str) -> Result<Vec<(String, String)>, TestCaseError> {
        let path = format!(
            "/v1/package/versions?domain={}&repository={}&format=npm&package={name}",
            self.domain, REPOSITORIES[repository]
        );
        let answer = self.world.weir.api("POST", &path, "").await;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        prop_assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let json = answer.json();
        let text = |version: &Value, member: &str| version[member].as_str().unwrap_or_default().to_owned();
        let versions = json["versions"].as_array().into_iter().flatten();
        Ok(versions.map(|version| (text(version, "version"), text(version, "status"))).collect())
    }
}

/// Runs random cases against a server that `settings` set up.
fn holds(settings: impl FnOnce(Builder) -> Builder) {
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::start(settings));
    let cases = if long() { 400 } else { 12 };
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let steps = proptest::collection::vec(step(), 1..30);
    if let Err(error) = runner.run(&steps, |steps| runtime.block_on(world.run(&steps))) {
        panic!("{error}");
    }
}

#[test]
fn what_is_held_is_what_the_model_says_over_sqlite_and_files() {
    holds(|builder| builder);
}

#[test]
fn what_is_held_is_what_the_model_says_over_postgresql_and_a_bucket() {
    let runtime = Runtime::new().expect("a runtime");
    let Some(postgres) = runtime.block_on(Postgres::shared_database()) else { return };
    let Some(bucket) = runtime.block_on(ObjectStore::bucket()) else { return };
    holds(|builder| builder.database(&postgres).objects(&bucket));
}
