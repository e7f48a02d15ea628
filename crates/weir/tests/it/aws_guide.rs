//! The examples of the AWS guide, command by command: the order of the search, what is retained where, origin
//! controls and reserved names.

use crate::aws_session::{AwsSession, names};
use serde_json::{Value, json};
use weir_testkit::{Answer, NpmPackage, Upstream, Weir};

/// A server in front of a fake registry, an AWS CLI, and the domain of the guide's examples.
pub(crate) struct Guide {
    pub(crate) upstream: Upstream,
    pub(crate) weir: Weir,
    pub(crate) aws: AwsSession,
    token: String,
}

impl Guide {
    /// `None` after a skip line, when there is no AWS CLI.
    pub(crate) async fn start() -> Option<Self> {
        let upstream = Upstream::start().await;
        let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()).start().await;
        let aws = AwsSession::start(&weir)?;
        aws.ok("create-domain --domain my-domain").await;
        let token = weir.token("my-domain").await;
        Some(Self { upstream, weir, aws, token })
    }

    /// Makes repositories, each with these upstreams.
    pub(crate) async fn repositories(&self, list: &[(&str, &[&str])]) {
        for (name, upstreams) in list {
            self.aws.ok(&format!("create-repository --domain my-domain --repository {name}")).await;
            if !upstreams.is_empty() {
                self.set_upstreams(name, upstreams).await;
            }
        }
    }

    pub(crate) async fn set_upstreams(&self, repository: &str, upstreams: &[&str]) {
        let list: Vec<String> = upstreams.iter().map(|name| format!("repositoryName={name}")).collect();
        let list = if list.is_empty() { "[]".to_owned() } else { list.join(" ") };
        let command =
            format!("update-repository --domain my-domain --repository {repository} --upstreams {list}");
        self.aws.ok(&command).await;
    }

    /// Connects a repository with the fake registry.
    pub(crate) async fn connect(&self, repository: &str) {
        let of = format!("--domain my-domain --repository {repository}");
        self.aws.ok(&format!("associate-external-connection {of} --external-connection public:npmjs")).await;
    }

    /// Sends a request to a repository's npm endpoint.
    pub(crate) async fn npm(&self, method: &str, repository: &str, path: &str, body: &str) -> Answer {
        let path = format!("/npm/d/my-domain-000000000000/{repository}/{path}");
        let bearer = format!("Bearer {}", self.token);
        self.weir.send(method, &path, &[("authorization", &bearer)], body.as_bytes()).await
    }

    /// Publishes a package as npm does.
    pub(crate) async fn publish(&self, repository: &str, package: &NpmPackage) -> Answer {
        let document = package.publish_document("http://publisher.example.test").to_string();
        self.npm("PUT", repository, &package.full_name().replace('/', "%2f"), &document).await
    }

    /// Downloads a tarball as npm does, which retains it.
    pub(crate) async fn fetch(&self, repository: &str, package: &NpmPackage) -> Answer {
        self.npm("GET", repository, &package.tarball_path(), "").await
    }

    /// The versions that npm is shown, in order; none when it is told that there is no such package.
    pub(crate) async fn listed(&self, repository: &str, package: &str) -> Vec<String> {
        let answer = self.npm("GET", repository, package, "").await;
        if answer.status == 404 {
            return Vec::new();
        }
        let document = answer.assert_status(200).json();
        let mut versions: Vec<String> =
            document["versions"].as_object().expect("a map").keys().cloned().collect();
        versions.sort();
        versions
    }

    /// What the repository itself holds of a package, as (version, status); `None` without a record.
    pub(crate) async fn held(&self, repository: &str, package: &str) -> Option<Vec<(String, String)>> {
        let command = format!("codeartifact list-package-versions {}", of(repository, package));
        let output = self.aws.run(&command).await;
        if output.says("(ResourceNotFoundException)") {
            return None;
        }
        let list = output.assert_ok().json();
        let (versions, statuses) = (names(&list["versions"], "version"), names(&list["versions"], "status"));
        Some(versions.into_iter().zip(statuses).collect())
    }

    /// The record's effective controls: (publish, upstream).
    pub(crate) async fn controls(&self, repository: &str, package: &str) -> (String, String) {
        let described = self.aws.ok(&format!("describe-package {}", of(repository, package))).await;
        let restrictions = &described["package"]["originConfiguration"]["restrictions"];
        let text = |name: &str| restrictions[name].as_str().unwrap_or("absent").to_owned();
        (text("publish"), text("upstream"))
    }

    pub(crate) async fn put_controls(&self, repository: &str, package: &str, publish: &str, upstream: &str) {
        let command = format!(
            "put-package-origin-configuration {} --restrictions publish={publish},upstream={upstream}",
            of(repository, package)
        );
        let put = self.aws.ok(&command).await;
        assert_eq!(
            put["originConfiguration"]["restrictions"],
            json!({ "publish": publish, "upstream": upstream })
        );
    }
}

/// The flags that name an npm package.
pub(crate) fn of(repository: &str, package: &str) -> String {
    format!("--domain my-domain --repository {repository} --format npm --package {package}")
}

fn published(versions: &[&str]) -> Option<Vec<(String, String)>> {
    Some(versions.iter().map(|version| ((*version).to_owned(), "Published".to_owned())).collect())
}

fn pair(publish: &str, upstream: &str) -> (String, String) {
    (publish.to_owned(), upstream.to_owned())
}

/// The same version with bytes that tell where it was published.
fn from(repository: &str) -> NpmPackage {
    NpmPackage::new("order", "1.0.0").file("from.txt", repository)
}

#[tokio::test]
async fn the_tree_of_the_guide_is_searched_depth_first_and_the_first_to_hold_a_version_wins() {
    let Some(guide) = Guide::start().await else { return };
    let order = ["my_repo", "AA", "CC", "DD", "EE", "BB"];
    for name in order {
        guide.repositories(&[(name, &[])]).await;
        guide.publish(name, &from(name)).await.assert_status(201);
        // A first publish would block what comes from upstream.
        guide.put_controls(name, "order", "ALLOW", "ALLOW").await;
    }
    for (name, upstreams) in [("my_repo", &["AA", "BB"]), ("AA", &["CC", "DD"])] {
        guide.set_upstreams(name, upstreams).await;
    }
    guide.set_upstreams("DD", &["EE"]).await;

    for name in order {
        let document = guide.npm("GET", "my_repo", "order", "").await.assert_status(200).json();
        let expected = from(name).dist("")["integrity"].clone();
        assert_eq!(document["versions"]["1.0.0"]["dist"]["integrity"], expected, "{name} is next");
        guide.aws.ok(&format!("delete-package-versions {} --versions 1.0.0", of(name, "order"))).await;
    }
    guide.npm("GET", "my_repo", "order", "").await.assert_status(404);

    // The nearest record decides: what it hides is not looked for behind it.
    guide.publish("BB", &from("BB")).await.assert_status(201);
    guide.set_upstreams("AA", &[]).await;
    guide.publish("AA", &from("AA")).await.assert_status(201);
    let archive = "--versions 1.0.0 --target-status Archived";
    guide.aws.ok(&format!("update-package-versions-status {} {archive}", of("AA", "order"))).await;
    guide.npm("GET", "my_repo", "order", "").await.assert_status(404);
    guide.fetch("my_repo", &from("BB")).await.assert_status(404);
}

#[tokio::test]
async fn a_fetched_version_is_retained_where_it_was_asked_for_and_where_it_came_in() {
    let Some(guide) = Guide::start().await else { return };
    let chain: [(&str, &[&str]); 5] = [
        ("npm-store", &[]),
        ("company", &["npm-store"]),
        ("shared", &["company"]),
        ("team", &["shared"]),
        ("app", &["team"]),
    ];
    guide.repositories(&chain).await;
    guide.connect("npm-store").await;
    let (one, two) = (NpmPackage::new("lodash", "1.0.0"), NpmPackage::new("lodash", "2.0.0"));
    guide.upstream.publish_all([&one, &two]);

    // Index and HEAD retain nothing.
    assert_eq!(guide.listed("app", "lodash").await, ["1.0.0", "2.0.0"]);
    guide.npm("HEAD", "app", &one.tarball_path(), "").await.assert_status(200);
    for (name, _) in chain {
        assert_eq!(guide.held(name, "lodash").await, None, "{name}");
    }
    guide.fetch("app", &one).await.assert_status(200);
    for (name, _) in chain {
        let expected = if ["app", "npm-store"].contains(&name) { published(&["1.0.0"]) } else { None };
        assert_eq!(guide.held(name, "lodash").await, expected, "{name}");
    }
    // A range is a fetch too, and the one in the middle gets its own when it is asked itself.
    let bearer = format!("Bearer {}", guide.token);
    let path = format!("/npm/d/my-domain-000000000000/shared/{}", two.tarball_path());
    let range =
        guide.weir.send("GET", &path, &[("authorization", &bearer), ("range", "bytes=0-3")], b"").await;
    range.assert_status(206);
    assert_eq!(guide.held("shared", "lodash").await, published(&["2.0.0"]));
    assert_eq!(guide.held("npm-store", "lodash").await, published(&["1.0.0", "2.0.0"]));
    assert_eq!(guide.upstream.calls_under("/lodash/-/"), 2, "each file once");

    // What is retained does not depend on its upstream.
    let versions = "--versions 1.0.0";
    guide.aws.ok(&format!("delete-package-versions {} {versions}", of("npm-store", "lodash"))).await;
    guide.fetch("app", &one).await.assert_status(200);
    guide.upstream.remove("lodash");
    guide.aws.ok("delete-repository --domain my-domain --repository npm-store").await;
    assert_eq!(guide.listed("app", "lodash").await, ["1.0.0", "2.0.0"]);
    guide.set_upstreams("app", &[]).await;
    assert_eq!(guide.listed("app", "lodash").await, ["1.0.0"]);
    let kept = guide.fetch("app", &one).await;
    assert_eq!(kept.assert_status(200).body, one.tarball());
    guide.fetch("app", &two).await.assert_status(404);
}

#[tokio::test]
async fn a_deleted_retained_version_comes_again_unless_upstream_is_blocked() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("npm-store", &[]), ("app", &["npm-store"])]).await;
    guide.connect("npm-store").await;
    let package = NpmPackage::new("lodash", "1.0.0");
    guide.upstream.publish(&package);
    guide.fetch("app", &package).await.assert_status(200);
    let delete = format!("delete-package-versions {} --versions 1.0.0", of("app", "lodash"));
    let deleted = guide.aws.ok(&delete).await;
    assert_eq!(deleted["successfulVersions"]["1.0.0"]["status"], "Deleted");
    assert_eq!(guide.held("app", "lodash").await, published(&[]), "the record stays");
    guide.fetch("app", &package).await.assert_status(200);
    guide.aws.ok(&delete).await;
    guide.put_controls("app", "lodash", "BLOCK", "BLOCK").await;
    guide.fetch("app", &package).await.assert_status(404);
    assert_eq!(guide.listed("app", "lodash").await, [] as [&str; 0]);
    guide.fetch("npm-store", &package).await.assert_status(200);
}

#[tokio::test]
async fn origin_controls_are_learned_and_put() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("npm-store", &[]), ("app", &["npm-store"]), ("copies", &[])]).await;
    guide.connect("npm-store").await;
    let public = NpmPackage::new("lodash", "1.0.0");
    guide.upstream.publish(&public);
    guide.upstream.publish(&NpmPackage::new("lodash", "1.1.0"));

    // Learned: published, ingested, retained, copied.
    guide.publish("app", &NpmPackage::new("ours", "1.0.0")).await.assert_status(201);
    assert_eq!(guide.controls("app", "ours").await, pair("ALLOW", "BLOCK"));
    guide.fetch("app", &public).await.assert_status(200);
    assert_eq!(guide.controls("app", "lodash").await, pair("BLOCK", "ALLOW"));
    assert_eq!(guide.controls("npm-store", "lodash").await, pair("BLOCK", "ALLOW"));
    for (package, expected) in [("ours", pair("ALLOW", "BLOCK")), ("lodash", pair("BLOCK", "ALLOW"))] {
        let copy = format!(
            "copy-package-versions --domain my-domain --source-repository app --destination-repository copies \
             --format npm --package {package} --versions 1.0.0"
        );
        guide.aws.ok(&copy).await;
        assert_eq!(guide.controls("copies", package).await, expected, "{package}");
    }

    // publish=BLOCK: 403 that names the control and where it is set.
    let patched = NpmPackage::new("lodash", "1.0.1");
    let refused = guide.publish("app", &patched).await;
    let text = refused.assert_status(403).json()["error"].to_string();
    for word in ["publish", "BLOCK", "app"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    guide.put_controls("app", "lodash", "ALLOW", "ALLOW").await;
    assert_eq!(guide.controls("app", "lodash").await, pair("ALLOW", "ALLOW"));
    // A version that can be reached upstream is a conflict, another one is not.
    guide.publish("app", &NpmPackage::new("lodash", "1.1.0").file("x", "y")).await.assert_status(409);
    guide.publish("app", &patched).await.assert_status(201);
    assert_eq!(guide.listed("app", "lodash").await, ["1.0.0", "1.0.1", "1.1.0"]);

    // upstream=BLOCK: what is held stays, what is upstream is invisible and does not count.
    guide.put_controls("app", "lodash", "ALLOW", "BLOCK").await;
    assert_eq!(guide.listed("app", "lodash").await, ["1.0.0", "1.0.1"]);
    guide.fetch("app", &NpmPackage::new("lodash", "1.1.0")).await.assert_status(404);
    guide.publish("app", &NpmPackage::new("lodash", "1.1.0").file("x", "y")).await.assert_status(201);

    // A put for a package that is not there makes its record; DeletePackage removes it.
    guide.put_controls("app", "not-yet", "BLOCK", "ALLOW").await;
    assert_eq!(guide.held("app", "not-yet").await, published(&[]));
    guide.publish("app", &NpmPackage::new("not-yet", "1.0.0")).await.assert_status(403);
    guide.aws.ok(&format!("delete-package {}", of("app", "not-yet"))).await;
    guide.aws.fails(&format!("describe-package {}", of("app", "not-yet")), "ResourceNotFoundException").await;
    guide.publish("app", &NpmPackage::new("not-yet", "1.0.0")).await.assert_status(201);
    let half = format!("put-package-origin-configuration {} --restrictions publish=ALLOW", of("app", "ours"));
    guide.aws.fails(&half, "ValidationException").await;
    let wrong = half.replace("publish=ALLOW", "publish=ALLOW,upstream=MAYBE");
    guide.aws.fails(&wrong, "ValidationException").await;
}

#[tokio::test]
async fn a_name_with_internal_versions_is_reserved_whatever_the_order() {
    let Some(guide) = Guide::start().await else { return };
    // The public registry comes first in the order.
    let list: [(&str, &[&str]); 3] = [("npm-store", &[]), ("ours", &[]), ("app", &["npm-store", "ours"])];
    guide.repositories(&list).await;
    guide.connect("npm-store").await;
    guide.upstream.publish(&NpmPackage::new("secret", "9.9.9"));
    guide.upstream.publish(&NpmPackage::new("other", "1.0.0"));

    guide.publish("ours", &NpmPackage::new("secret", "1.0.0")).await.assert_status(201);
    assert_eq!(guide.listed("app", "secret").await, ["1.0.0"]);
    guide.fetch("app", &NpmPackage::new("secret", "9.9.9")).await.assert_status(404);
    assert_eq!(guide.upstream.calls_under("/secret/-/"), 0);
    assert_eq!(guide.listed("npm-store", "secret").await, ["9.9.9"], "another path reserves nothing");

    // By hand, the name is opened again.
    guide.put_controls("ours", "secret", "ALLOW", "ALLOW").await;
    assert_eq!(guide.listed("app", "secret").await, ["1.0.0", "9.9.9"]);

    // A record put to publish ALLOW, upstream BLOCK reserves a name before its first version.
    assert_eq!(guide.listed("app", "other").await, ["1.0.0"]);
    guide.put_controls("ours", "other", "ALLOW", "BLOCK").await;
    assert_eq!(guide.listed("app", "other").await, [] as [&str; 0]);
    let text = guide.npm("GET", "app", "other", "").await.assert_status(404).text();
    assert!(text.contains("origin controls say publish ALLOW, upstream BLOCK"), "{text}");
}

#[tokio::test]
async fn a_name_that_was_external_first_is_merged_as_aws_does() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("npm-store", &[]), ("app", &["npm-store"])]).await;
    guide.connect("npm-store").await;
    let public = NpmPackage::new("lib", "1.0.0");
    guide.upstream.publish_all([&public, &NpmPackage::new("lib", "1.2.0")]);
    guide.fetch("app", &public).await.assert_status(200);
    guide.put_controls("app", "lib", "ALLOW", "ALLOW").await;
    guide.publish("app", &NpmPackage::new("lib", "1.1.0-ours")).await.assert_status(201);
    assert_eq!(guide.listed("app", "lib").await, ["1.0.0", "1.1.0-ours", "1.2.0"]);
    // The upstream's value of a tag wins, even right after a publish downstream.
    let document = guide.npm("GET", "app", "lib", "").await.json();
    assert_eq!(document["dist-tags"]["latest"], "1.2.0");
    let explained: Value = guide
        .weir
        .api("GET", "/weir/v1/explain?domain=my-domain&repository=app&format=npm&package=lib", "")
        .await
        .assert_status(200)
        .json();
    assert_eq!(explained["outcome"], "package", "{explained}");
}

#[tokio::test]
async fn external_versions_held_before_the_name_was_reserved_stay_readable() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("npm-store", &[]), ("ours", &[]), ("app", &["npm-store"])]).await;
    guide.connect("npm-store").await;
    let public = NpmPackage::new("lib", "1.0.0");
    guide.upstream.publish_all([&public, &NpmPackage::new("lib", "1.1.0")]);
    guide.publish("ours", &NpmPackage::new("lib", "7.0.0")).await.assert_status(201);
    guide.fetch("app", &public).await.assert_status(200);
    guide.set_upstreams("app", &["npm-store", "ours"]).await;
    assert_eq!(guide.listed("app", "lib").await, ["1.0.0", "7.0.0"]);
    guide.fetch("app", &public).await.assert_status(200);
}
