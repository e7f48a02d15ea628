//! Copying, status changes, disposal and deletion of versions by the AWS CLI, and what npm then sees.

use crate::aws_guide::{Guide, of};
use serde_json::{Value, json};
use weir_testkit::NpmPackage;

fn package(version: &str) -> NpmPackage {
    NpmPackage::new("chalk", version)
}

fn copy(from: &str, to: &str, rest: &str) -> String {
    format!(
        "copy-package-versions --domain my-domain --source-repository {from} --destination-repository {to} \
         --format npm --package chalk {rest}"
    )
}

/// `{version: code}` of those that failed.
fn codes(answer: &Value) -> Value {
    let failed = answer["failedVersions"].as_object().cloned().unwrap_or_default();
    failed.into_iter().map(|(version, why)| (version, why["errorCode"].clone())).collect()
}

fn messages(answer: &Value) -> Vec<String> {
    let failed = answer["failedVersions"].as_object().cloned().unwrap_or_default();
    failed.values().filter_map(|why| why["errorMessage"].as_str().map(str::to_owned)).collect()
}

fn successful(answer: &Value) -> Vec<String> {
    answer["successfulVersions"].as_object().expect("a map").keys().cloned().collect()
}

/// The revision of a version.
async fn revision(guide: &Guide, repository: &str, version: &str) -> String {
    let command = format!("describe-package-version {} --package-version {version}", of(repository, "chalk"));
    let described = guide.aws.ok(&command).await;
    described["packageVersion"]["revision"].as_str().expect("a revision").to_owned()
}

#[tokio::test]
async fn versions_are_copied() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("store", &[]), ("from", &["store"]), ("to", &[])]).await;
    guide.connect("store").await;
    guide.upstream.publish(&package("9.0.0"));
    for version in ["1.0.0", "1.1.0"] {
        guide.publish("from", &package(version)).await.assert_status(201);
    }
    guide.publish("to", &package("1.1.0").file("other", "bytes")).await.assert_status(201);
    let first = revision(&guide, "from", "1.0.0").await;

    // All or nothing: one that is missing or differs makes the others SKIPPED.
    let refused = guide.aws.ok(&copy("from", "to", "--versions 1.0.0 1.1.0 3.0.0")).await;
    assert_eq!(successful(&refused), [] as [&str; 0]);
    assert_eq!(
        codes(&refused),
        json!({ "1.0.0": "SKIPPED", "1.1.0": "ALREADY_EXISTS", "3.0.0": "NOT_FOUND" })
    );
    assert_eq!(
        messages(&refused),
        ["Version 1.0.0 was skipped", "Version 1.1.0 already exists", "Could not find version 3.0.0"]
    );
    let mismatched = guide.aws.ok(&copy("from", "to", "--version-revisions 1.0.0=WRONG")).await;
    assert_eq!(codes(&mismatched), json!({ "1.0.0": "MISMATCHED_REVISION" }));

    let copied = guide.aws.ok(&copy("from", "to", &format!("--version-revisions 1.0.0={first}"))).await;
    assert_eq!(
        copied["successfulVersions"],
        json!({ "1.0.0": { "revision": first, "status": "Published" } })
    );
    assert_eq!(codes(&copied), json!({}));
    // What is there already with the same files counts as done and is in neither map.
    let again = guide.aws.ok(&copy("from", "to", "--versions 1.0.0")).await;
    assert_eq!((successful(&again).len(), codes(&again)), (0, json!({})));

    // Tags that name a copied version come along.
    guide.npm("PUT", "from", "-/package/chalk/dist-tags/stable", "\"1.1.0\"").await.assert_status(201);
    let overwritten = guide.aws.ok(&copy("from", "to", "--versions 1.1.0 --allow-overwrite")).await;
    assert_eq!(successful(&overwritten), ["1.1.0"]);
    assert_eq!(revision(&guide, "to", "1.1.0").await, revision(&guide, "from", "1.1.0").await);
    let tags = guide.npm("GET", "to", "-/package/chalk/dist-tags", "").await.json();
    assert_eq!(tags["stable"], "1.1.0");
    let tarball = guide.fetch("to", &package("1.1.0")).await;
    assert_eq!(tarball.assert_status(200).body, package("1.1.0").tarball());

    let exactly_one = [
        copy("from", "to", ""),
        copy("from", "to", &format!("--versions 1.0.0 --version-revisions 1.0.0={first}")),
        copy("from", "to", "--versions []"),
    ];
    for command in exactly_one {
        guide.aws.fails(&command, "ValidationException").await;
    }
    guide.aws.fails(&copy("from", "absent", "--versions 1.0.0"), "ResourceNotFoundException").await;
    guide.aws.fails(&copy("absent", "to", "--versions 1.0.0"), "ResourceNotFoundException").await;
}

#[tokio::test]
async fn a_copy_looks_upstream_when_it_is_told_to() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("store", &[]), ("from", &["store"]), ("to", &[])]).await;
    guide.connect("store").await;
    guide.upstream.publish_all([&package("1.0.0"), &package("2.0.0")]);
    guide.fetch("from", &package("1.0.0")).await.assert_status(200);

    let not_here = guide.aws.ok(&copy("from", "to", "--versions 2.0.0")).await;
    assert_eq!(codes(&not_here), json!({ "2.0.0": "NOT_FOUND" }));
    let nowhere = guide.aws.ok(&copy("from", "to", "--versions 7.0.0 2.0.0 --include-from-upstream")).await;
    assert_eq!(codes(&nowhere), json!({ "2.0.0": "SKIPPED", "7.0.0": "NOT_FOUND" }));
    let copied = guide.aws.ok(&copy("from", "to", "--versions 2.0.0 --include-from-upstream")).await;
    assert_eq!(successful(&copied), ["2.0.0"]);
    let of_it = format!("describe-package-version {} --package-version 2.0.0", of("to", "chalk"));
    let described = guide.aws.ok(&of_it).await;
    assert_eq!(described["packageVersion"]["origin"]["originType"], "EXTERNAL");
    guide.upstream.stop().await;
    guide.fetch("to", &package("2.0.0")).await.assert_status(200);
}

#[tokio::test]
async fn the_status_of_a_version_is_what_npm_sees() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("app", &[])]).await;
    for version in ["1.0.0", "1.1.0"] {
        guide.publish("app", &package(version)).await.assert_status(201);
    }
    let before = revision(&guide, "app", "1.1.0").await;
    let set = |status: &str| {
        format!(
            "update-package-versions-status {} --versions 1.1.0 --target-status {status}",
            of("app", "chalk")
        )
    };
    // (status, listed, downloads)
    for (status, listed, downloads) in [
        ("Unlisted", false, true),
        ("Archived", false, false),
        ("Published", true, true),
        ("Archived", false, false),
        ("Unlisted", false, true),
    ] {
        let changed = guide.aws.ok(&set(status)).await;
        assert_eq!(
            changed["successfulVersions"],
            json!({ "1.1.0": { "revision": before, "status": status } })
        );
        let expected: &[&str] = if listed { &["1.0.0", "1.1.0"] } else { &["1.0.0"] };
        assert_eq!(guide.listed("app", "chalk").await, expected, "{status}");
        let document = guide.npm("GET", "app", "chalk", "").await.json();
        let latest = if listed { "1.1.0" } else { "1.0.0" };
        assert_eq!(document["dist-tags"]["latest"], latest, "{status}");
        let code = if downloads { 200 } else { 404 };
        let answer = guide.fetch("app", &package("1.1.0")).await;
        answer.assert_status(code);
        assert!(downloads || answer.text().contains(status), "{status}: {}", answer.text());
    }
    // What is archived exists: it cannot be published again.
    guide.aws.ok(&set("Archived")).await;
    guide.publish("app", &package("1.1.0").file("x", "y")).await.assert_status(409);

    let dispose = format!("dispose-package-versions {} --versions 1.1.0", of("app", "chalk"));
    let disposed = guide.aws.ok(&dispose).await;
    assert_eq!(
        disposed["successfulVersions"],
        json!({ "1.1.0": { "revision": before, "status": "Disposed" } })
    );
    guide.fetch("app", &package("1.1.0")).await.assert_status(404);
    guide.publish("app", &package("1.1.0").file("x", "y")).await.assert_status(409);
    let back = guide.aws.ok(&set("Published")).await;
    assert_eq!(codes(&back), json!({ "1.1.0": "NOT_ALLOWED" }));
    guide
        .aws
        .fails(
            &format!(
                "get-package-version-asset {} --package-version 1.1.0 --asset package.tgz {}",
                of("app", "chalk"),
                guide.aws.folder().join("x").display()
            ),
            "ConflictException",
        )
        .await;

    let delete = format!("delete-package-versions {} --versions 1.1.0", of("app", "chalk"));
    guide.aws.ok(&delete).await;
    guide.publish("app", &package("1.1.0").file("x", "y")).await.assert_status(201);
    assert_ne!(revision(&guide, "app", "1.1.0").await, before, "other bytes, another revision");
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_may_expect_status_and_revision() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("app", &[])]).await;
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        guide.publish("app", &package(version)).await.assert_status(201);
    }
    let (first, second) = (revision(&guide, "app", "1.0.0").await, revision(&guide, "app", "1.1.0").await);
    let all = of("app", "chalk");
    let update = format!("update-package-versions-status {all} --target-status Archived");

    let missing = guide.aws.ok(&format!("{update} --versions 1.0.0 1.1.0 7.0.0")).await;
    assert_eq!(codes(&missing), json!({ "1.0.0": "SKIPPED", "1.1.0": "SKIPPED", "7.0.0": "NOT_FOUND" }));
    assert_eq!(messages(&missing)[0], "version 1.0.0 is skipped");
    let expected = guide.aws.ok(&format!("{update} --versions 1.0.0 --expected-status Unlisted")).await;
    assert_eq!(codes(&expected), json!({ "1.0.0": "MISMATCHED_STATUS" }));
    assert_eq!(messages(&expected), ["current status: Published, expected status: Unlisted"]);
    let wrong = guide.aws.ok(&format!("{update} --versions 1.0.0 --version-revisions 1.0.0=OTHER")).await;
    assert_eq!(codes(&wrong), json!({ "1.0.0": "MISMATCHED_REVISION" }));
    assert_eq!(messages(&wrong), [format!("current revision: {first}, expected revision: OTHER")]);
    assert_eq!(guide.listed("app", "chalk").await.len(), 3, "nothing was changed");

    let both = format!(
        "{update} --versions 1.0.0 1.1.0 --version-revisions 1.0.0={first},1.1.0={second} --expected-status Published"
    );
    assert_eq!(successful(&guide.aws.ok(&both).await), ["1.0.0", "1.1.0"]);
    assert_eq!(guide.listed("app", "chalk").await, ["1.2.0"]);

    // Dispose has the same rules, delete treats each version by itself.
    let dispose = format!("dispose-package-versions {all} --versions");
    let refused = guide.aws.ok(&format!("{dispose} 1.0.0 1.2.0 --expected-status Archived")).await;
    assert_eq!(codes(&refused), json!({ "1.0.0": "SKIPPED", "1.2.0": "MISMATCHED_STATUS" }));
    let disposed = guide.aws.ok(&format!("{dispose} 1.0.0 --version-revisions 1.0.0={first}")).await;
    assert_eq!(successful(&disposed), ["1.0.0"]);
    let delete = format!("delete-package-versions {all} --versions");
    let deleted = guide.aws.ok(&format!("{delete} 1.0.0 1.1.0 7.0.0 --expected-status Disposed")).await;
    assert_eq!(successful(&deleted), ["1.0.0"]);
    assert_eq!(codes(&deleted), json!({ "1.1.0": "MISMATCHED_STATUS", "7.0.0": "NOT_FOUND" }));

    for refused in [
        format!("update-package-versions-status {all} --target-status Disposed --versions 1.2.0"),
        format!("update-package-versions-status {all} --target-status Unfinished --versions 1.2.0"),
        format!("update-package-versions-status {all} --target-status Deleted --versions 1.2.0"),
        format!("{update} --versions 1.2.0 --version-revisions 1.1.0={second}"),
        format!("{update} --versions []"),
        format!("{delete} {}", (0..101).map(|n| format!("1.0.{n}")).collect::<Vec<_>>().join(" ")),
    ] {
        guide.aws.fails(&refused, "ValidationException").await;
    }
    let absent = of("app", "absent");
    let nothing = format!("delete-package-versions {absent} --versions 1.0.0");
    guide.aws.fails(&nothing, "ResourceNotFoundException").await;
}

#[tokio::test]
async fn a_deleted_package_is_gone_with_its_controls() {
    let Some(guide) = Guide::start().await else { return };
    guide.repositories(&[("app", &[])]).await;
    guide.publish("app", &package("1.0.0")).await.assert_status(201);
    let deleted = guide.aws.ok(&format!("delete-package {}", of("app", "chalk"))).await;
    assert_eq!(
        (&deleted["deletedPackage"]["format"], &deleted["deletedPackage"]["package"]),
        (&json!("npm"), &json!("chalk"))
    );
    assert_eq!(guide.held("app", "chalk").await, None);
    guide.npm("GET", "app", "chalk", "").await.assert_status(404);
    guide.aws.fails(&format!("delete-package {}", of("app", "chalk")), "ResourceNotFoundException").await;
    guide.publish("app", &package("1.0.0").file("x", "y")).await.assert_status(201);
}
