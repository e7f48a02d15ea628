//! Three nodes over one PostgreSQL database and one bucket: what one of them changes the others know, what is missing
//! is fetched once, and a node that dies or is cut off takes nothing along.

use serde_json::json;
use std::time::{Duration, Instant};
use weir_testkit::backend::{Bucket, ObjectStore, Postgres};
use weir_testkit::proxy::Proxy;
use weir_testkit::server::Builder;
use weir_testkit::{Answer, Credentials, Fault, NpmPackage, Upstream, Weir, http};

/// Within this time all nodes know what one changed.
const SOON: Duration = Duration::from_secs(1);
/// How often a test looks again.
const LOOK: Duration = Duration::from_millis(20);

/// The nodes, and what they share.
struct Nodes {
    upstream: Upstream,
    nodes: Vec<Weir>,
    /// Of the administrator, from the data folder of the node that made it.
    key: Credentials,
    /// Of the administrator.
    token: String,
    postgres: Postgres,
    bucket: Bucket,
}

impl Nodes {
    /// Three nodes that start at once on nothing; `None` after a skip line.
    async fn start() -> Option<Self> {
        Self::start_with(|_, builder| builder).await
    }

    async fn start_with(settings: impl Fn(usize, Builder) -> Builder) -> Option<Self> {
        let (postgres, bucket) = (Postgres::shared_database().await?, ObjectStore::bucket().await?);
        Some(Self::start_on(postgres, bucket, settings).await)
    }

    async fn start_on(
        postgres: Postgres,
        bucket: Bucket,
        settings: impl Fn(usize, Builder) -> Builder,
    ) -> Self {
        let upstream = Upstream::start().await;
        let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url());
        let builder = builder.database(&postgres).objects(&bucket);
        let starting = (0..3).map(|at| settings(at, builder.clone()).start());
        let nodes = futures_util::future::join_all(starting).await;
        let with_key: Vec<_> = nodes.iter().filter(|node| node.data().join("credentials").exists()).collect();
        assert_eq!(with_key.len(), 1, "one node made the administrator");
        let key = with_key[0].credentials();
        let answer = nodes[0].api_as(&key, "POST", "/v1/authorization-token?domain=local", "").await;
        let token =
            answer.assert_status(200).json()["authorizationToken"].as_str().expect("a token").to_owned();
        Self { upstream, nodes, key, token, postgres, bucket }
    }

    async fn send(&self, node: usize, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        http::send(method, &self.url(node, path), &[("authorization", &bearer)], body.into()).await
    }

    fn url(&self, node: usize, path: &str) -> String {
        format!("{}/npm/d/local-000000000000/main/{path}", self.nodes[node].url())
    }

    async fn get(&self, node: usize, path: &str) -> Answer {
        self.send(node, "GET", path, Vec::new()).await
    }

    async fn publish(&self, node: usize, package: &NpmPackage) -> Answer {
        let document = package.publish_document("http://publisher.example.test").to_string();
        self.send(node, "PUT", &package.full_name(), document).await
    }

    async fn api(&self, node: usize, method: &str, path: &str, body: &str) -> Answer {
        self.nodes[node].api_as(&self.key, method, path, body).await
    }

    /// Waits until every node answers a GET as `wanted`, and tells how long the last one took.
    async fn all_answer(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Duration {
        let start = Instant::now();
        for node in 0..self.nodes.len() {
            loop {
                let answer = self.get(node, path).await;
                if wanted(&answer) {
                    break;
                }
                assert!(
                    start.elapsed() < SOON,
                    "node {node} still answers {} {}",
                    answer.status,
                    answer.text()
                );
                tokio::time::sleep(LOOK).await;
            }
        }
        start.elapsed()
    }
}

fn lists(version: &str) -> impl Fn(&Answer) -> bool {
    move |answer| answer.status == 200 && answer.json()["versions"].get(version).is_some()
}

#[tokio::test]
async fn what_one_node_changes_all_nodes_know_within_a_second() {
    let Some(nodes) = Nodes::start().await else { return };
    nodes.publish(0, &NpmPackage::new("left-pad", "1.0.0")).await.assert_status(201);
    nodes.all_answer("left-pad", lists("1.0.0")).await;
    // From here on every node has the index in memory.
    let mut slowest = Duration::ZERO;
    for at in 1..6 {
        let version = format!("1.0.{at}");
        let package = NpmPackage::new("left-pad", &version);
        nodes.publish(at % 3, &package).await.assert_status(201);
        slowest = slowest.max(nodes.all_answer("left-pad", lists(&version)).await);
        let tarball = nodes.get((at + 1) % 3, &package.tarball_path()).await;
        assert_eq!(tarball.assert_status(200).body, package.tarball());
    }
    assert!(slowest < SOON, "{slowest:?}");

    let archive = json!({ "versions": ["1.0.1"], "targetStatus": "Archived" }).to_string();
    let path = "/v1/package/versions/update_status?domain=local&repository=main&format=npm&package=left-pad";
    nodes.api(1, "POST", path, &archive).await.assert_status(200);
    nodes.all_answer("left-pad", |answer| !lists("1.0.1")(answer)).await;
    nodes.all_answer("left-pad/-/left-pad-1.0.1.tgz", |answer| answer.status == 404).await;

    let body = json!({ "upstreams": [] }).to_string();
    nodes.api(2, "POST", "/v1/repository?domain=local&repository=new", &body).await.assert_status(200);
    for node in 0..3 {
        let start = Instant::now();
        let path = "/v1/repository/endpoint?domain=local&repository=new&format=npm";
        while nodes.api(node, "GET", path, "").await.status != 200 {
            assert!(start.elapsed() < SOON, "node {node} does not know the new repository");
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[tokio::test]
async fn a_right_that_is_revoked_on_one_node_is_gone_on_all_within_a_second() {
    let Some(mut nodes) = Nodes::start().await else { return };
    nodes.publish(0, &NpmPackage::new("left-pad", "1.0.0")).await.assert_status(201);
    let user = json!({ "name": "alice", "policy": "read" }).to_string();
    nodes.api(0, "POST", "/weir/v1/users", &user).await.assert_status(200);
    let asked = json!({ "domain": "local", "user": "alice" }).to_string();
    for (at, revoke) in ["token", "user"].into_iter().enumerate() {
        let issued = nodes.api(at, "POST", "/weir/v1/tokens", &asked).await.assert_status(200).json();
        nodes.token = issued["token"].as_str().expect("a token").to_owned();
        nodes.all_answer("left-pad", |answer| answer.status == 200).await;
        let path = match revoke {
            "token" => format!("/weir/v1/tokens/{}", issued["id"].as_str().expect("an identifier")),
            _ => "/weir/v1/users/alice".to_owned(),
        };
        let answer = nodes.api(1, "DELETE", &path, "").await;
        assert!(answer.status.is_success(), "{} {}", answer.status, answer.text());
        nodes.all_answer("left-pad", |answer| answer.status == 401).await;
    }
}

#[tokio::test]
async fn a_missing_file_that_all_nodes_are_asked_for_is_fetched_once() {
    let Some(nodes) = Nodes::start().await else { return };
    let small = NpmPackage::new("small", "1.0.0");
    let large = NpmPackage::new("large", "1.0.0").file("data", weir_testkit::package::noise(3 << 20));
    nodes.upstream.publish_all([&small, &large]);
    nodes.upstream.fail("/small/-/", Fault::Delay(Duration::from_millis(500)));
    nodes.upstream.fail("/large/-/", Fault::Slow(4 << 20));
    for package in [&small, &large] {
        for node in 0..3 {
            nodes.get(node, &package.full_name()).await.assert_status(200);
        }
        let path = package.tarball_path();
        let asked = (0..6).map(|at| nodes.get(at % 3, &path));
        for answer in futures_util::future::join_all(asked).await {
            assert!(answer.assert_status(200).body == package.tarball(), "the right bytes");
        }
        assert_eq!(nodes.upstream.calls(&format!("/{path}")), 1, "one request for {path}");
    }
    let path = "/v1/package/versions?domain=local&repository=main&format=npm&package=large";
    let versions = nodes.api(2, "POST", path, "").await.assert_status(200).json();
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(1), "{versions}");
}

#[tokio::test]
async fn a_node_that_dies_takes_nothing_along_and_its_fetch_falls_to_others() {
    let Some(mut nodes) = Nodes::start().await else { return };
    let package = NpmPackage::new("left-pad", "1.3.0");
    nodes.upstream.publish(&package);
    nodes.upstream.fail_times("/left-pad/-/", Fault::Hang, 1);
    let path = package.tarball_path();
    let waiting = tokio::spawn({
        let (url, bearer) = (nodes.url(2, &path), format!("Bearer {}", nodes.token));
        async move { http::try_send("GET", &url, &[("authorization", &bearer)], Vec::new()).await }
    });
    while nodes.upstream.calls(&format!("/{path}")) == 0 {
        tokio::time::sleep(LOOK).await;
    }
    let own = NpmPackage::new("own", "1.0.0");
    nodes.publish(2, &own).await.assert_status(201);
    let dead = nodes.nodes.pop().expect("three nodes").kill().await;
    assert!(waiting.await.expect("no panic").is_err(), "its client is cut off");
    let answers = futures_util::future::join_all((0..2).map(|node| nodes.get(node, &path))).await;
    for answer in answers {
        assert_eq!(answer.assert_status(200).body, package.tarball());
    }
    assert_eq!(nodes.upstream.calls(&format!("/{path}")), 2, "once by the dead node, once by another");
    nodes.all_answer("own", lists("1.0.0")).await;
    assert_eq!(nodes.get(0, &own.tarball_path()).await.assert_status(200).body, own.tarball());
    nodes.publish(0, &NpmPackage::new("own", "1.0.1")).await.assert_status(201);
    nodes.nodes.push(dead.start().await);
    nodes.all_answer("own", lists("1.0.1")).await;
}

#[tokio::test]
async fn a_node_that_is_cut_off_from_the_database_stops_answering_and_comes_back_with_what_it_missed() {
    let (Some(postgres), Some(bucket)) = (Postgres::shared_database().await, ObjectStore::bucket().await)
    else {
        return;
    };
    let proxy = Proxy::start(postgres.authority()).await;
    let through = postgres.url_through(&proxy);
    let nodes = Nodes::start_on(postgres, bucket, |at, builder| {
        let builder = builder.flag("--max-stale-authorization", "2s");
        if at == 2 { builder.database_url(&through) } else { builder }
    })
    .await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    nodes.publish(0, &package).await.assert_status(201);
    nodes.all_answer("left-pad", lists("1.0.0")).await;
    for behaviour in [Proxy::refuse, Proxy::hang] {
        behaviour(&proxy);
        let start = Instant::now();
        nodes.get(2, "left-pad").await.assert_status(200);
        let refused = loop {
            let answer = nodes.get(2, "left-pad").await;
            if answer.status != 200 {
                break answer;
            }
            assert!(start.elapsed() < Duration::from_secs(4), "it goes on without knowing who may");
            tokio::time::sleep(LOOK).await;
        };
        assert!(start.elapsed() > Duration::from_millis(1500), "what is in memory is served meanwhile");
        assert!(!refused.assert_status(503).header("retry-after").is_empty());
        assert!(refused.text().contains("max-stale-authorization"), "{}", refused.text());
        nodes.nodes[2].send("GET", "/healthz", &[], b"").await.assert_status(200);
        nodes.nodes[2].send("GET", "/readyz", &[], b"").await.assert_status(503);

        let version = format!("1.0.{}", start.elapsed().as_nanos());
        nodes.publish(1, &NpmPackage::new("left-pad", &version)).await.assert_status(201);
        proxy.pass();
        let start = Instant::now();
        while !lists(&version)(&nodes.get(2, "left-pad").await) {
            assert!(start.elapsed() < Duration::from_secs(20), "it comes back by itself");
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_from_the_bucket_serves_what_it_knows_and_says_so_of_the_rest() {
    let (Some(postgres), Some(bucket)) = (Postgres::shared_database().await, ObjectStore::bucket().await)
    else {
        return;
    };
    let proxy = Proxy::start(bucket.authority()).await;
    let through = bucket.blob_url_through(&proxy);
    let nodes = Nodes::start_on(postgres, bucket, |at, builder| {
        if at == 2 { builder.only_flag("--blob-url", &through) } else { builder }
    })
    .await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    nodes.publish(2, &package).await.assert_status(201);
    nodes.all_answer("left-pad", lists("1.0.0")).await;
    proxy.refuse();
    nodes.get(2, "left-pad").await.assert_status(200);
    let refused = nodes.get(2, &package.tarball_path()).await;
    assert!(!refused.assert_status(503).header("retry-after").is_empty(), "{:?}", refused.headers);
    nodes.publish(2, &NpmPackage::new("left-pad", "1.0.1")).await.assert_status(503);
    nodes.nodes[2].send("GET", "/readyz", &[], b"").await.assert_status(503);
    assert_eq!(nodes.get(0, &package.tarball_path()).await.assert_status(200).body, package.tarball());
    proxy.pass();
    assert_eq!(nodes.get(2, &package.tarball_path()).await.assert_status(200).body, package.tarball());
    nodes.publish(2, &NpmPackage::new("left-pad", "1.0.1")).await.assert_status(201);
}

#[tokio::test]
async fn every_node_needs_the_same_master_key_and_the_bucket_of_its_database() {
    let Some(nodes) = Nodes::start().await else { return };
    let builder =
        || Weir::builder(env!("CARGO_BIN_EXE_weir")).database(&nodes.postgres).objects(&nodes.bucket);
    let refused = builder().env("WEIR_MASTER_KEY", &"ab".repeat(32)).start_refused().await;
    assert!(refused.stderr.contains("is the wrong one"), "{}", refused.stderr);
    let refused = builder().env("WEIR_MASTER_KEY", "").start_refused().await;
    assert!(refused.stderr.contains("master key"), "{}", refused.stderr);
    let Some(other) = ObjectStore::bucket().await else { return };
    nodes.publish(0, &NpmPackage::new("left-pad", "1.0.0")).await.assert_status(201);
    let refused = builder().objects(&other).start_refused().await;
    assert!(refused.stderr.contains("has no mark"), "{}", refused.stderr);
    let refused = Weir::builder(env!("CARGO_BIN_EXE_weir")).objects(&nodes.bucket).start_refused().await;
    assert!(refused.stderr.contains("belongs to another database"), "{}", refused.stderr);
}

#[tokio::test]
async fn of_the_same_version_published_on_all_nodes_at_once_one_is_taken_whole() {
    let Some(nodes) = Nodes::start().await else { return };
    for round in 0..8 {
        let version = format!("1.{round}.0");
        let packages: Vec<_> = (0..6)
            .map(|at| {
                NpmPackage::new("left-pad", &version).file("who", format!("publisher {at}")).tag("next")
            })
            .collect();
        let publishing = packages.iter().enumerate().map(|(at, package)| nodes.publish(at % 3, package));
        let answers = futures_util::future::join_all(publishing).await;
        let taken: Vec<_> = (0..6).filter(|at| answers[*at].status == 201).collect();
        let refused = answers.iter().filter(|answer| answer.status == 409).count();
        let told: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!((taken.len(), refused), (1, 5), "{told:?}");
        nodes.all_answer("left-pad", lists(&version)).await;
        let package = &packages[taken[0]];
        for node in 0..3 {
            let answer = nodes.get(node, &package.tarball_path()).await;
            assert_eq!(answer.assert_status(200).body, package.tarball());
        }
    }
}
