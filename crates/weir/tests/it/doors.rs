//! What a repository withholds is withheld at every door: index, manifest, tag, file, its head and its parts.

use crate::npm_world::World;
use serde_json::json;
use weir_testkit::{Answer, NpmPackage};

const ABBREVIATED: (&str, &str) = ("accept", "application/vnd.npm.install-v1+json");

/// Asks every door of a repository for a version; none may have it, and each says why.
async fn is_withheld(world: &World, repository: &str, package: &NpmPackage, why: &str) {
    let bearer = format!("Bearer {}", world.token);
    let ask = async |method: &str, path: &str, more: &[(&str, &str)]| -> Answer {
        let headers = [&[("authorization", bearer.as_str())], more].concat();
        let path = format!("/npm/d/local-000000000000/{repository}/{path}");
        world.weir.send(method, &path, &headers, b"").await
    };
    let (name, version) = (package.full_name(), package.version());
    for form in [&[][..], &[ABBREVIATED], &[("cache-control", "no-cache")]] {
        let index = ask("GET", &name, form).await;
        if index.status == 200 {
            let index = index.json();
            assert!(index["versions"].get(version).is_none(), "{why}: {repository} lists it");
            assert!(index["time"].get(version).is_none(), "{why}: {repository} tells its time");
            let tags = index["dist-tags"].as_object().cloned().unwrap_or_default();
            assert!(tags.values().all(|tagged| tagged != version), "{why}: {repository} tags it: {tags:?}");
        } else {
            index.assert_status(404);
        }
    }
    let file = package.tarball_path();
    for (method, path, headers) in [
        ("GET", format!("{name}/{version}"), &[][..]),
        ("HEAD", format!("{name}/{version}"), &[]),
        ("GET", format!("{name}/v{version}"), &[]),
        ("GET", format!("{name}/withheld"), &[]),
        ("GET", file.clone(), &[]),
        ("HEAD", file.clone(), &[]),
        ("GET", file.clone(), &[("range", "bytes=0-9")]),
        ("GET", file.clone(), &[("if-none-match", "*")]),
        ("GET", file.replace(".tgz", "%2etgz"), &[]),
        ("GET", format!("-/npm/v1/attestations/{name}@{version}"), &[]),
    ] {
        let answer = ask(method, &path, headers).await;
        assert_eq!(answer.status, 404, "{why}: {method} {path} in {repository}: {}", answer.text());
        assert!(method == "HEAD" || answer.json()["error"].is_string());
    }
    let tags = ask("GET", &format!("-/package/{name}/dist-tags"), &[]).await;
    assert!(!tags.text().contains(version), "{why}: {}", tags.text());
    let query = format!("domain=local&repository={repository}&format=npm&package={name}");
    let query = format!("/v1/package/version/asset?{query}&version={version}&asset=package.tgz");
    let asset = world.weir.api("GET", &query, "").await;
    assert!(asset.status.is_client_error(), "{why}: the API gives it: {}", asset.status);
}

/// A world with `team` above `main`, and a public package of two versions.
async fn world() -> (World, NpmPackage) {
    let world = World::start().await;
    world.repository("team", &["main"]).await;
    let withheld = NpmPackage::new("left-pad", "9.9.9").tag("latest").tag("withheld");
    world.upstream.publish_all([&NpmPackage::new("left-pad", "1.0.0"), &withheld]);
    (world, withheld)
}

async fn put_controls(world: &World, publish: &str, upstream: &str) {
    let path = "/v1/package?domain=local&repository=main&format=npm&package=left-pad";
    let body = json!({ "restrictions": { "publish": publish, "upstream": upstream } }).to_string();
    world.weir.api("POST", path, &body).await.assert_status(200);
}

#[tokio::test]
async fn public_versions_of_a_name_published_here() {
    let (world, withheld) = world().await;
    world.publish(&NpmPackage::new("left-pad", "2.0.0")).await.assert_status(201);
    world.upstream.reset_calls();
    for repository in ["main", "team"] {
        is_withheld(&world, repository, &withheld, "a reserved name").await;
    }
    assert_eq!(world.upstream.total_calls(), 0, "a reserved name is told to nobody");
    assert!(world.held("npm-store", &withheld).await.is_empty());
}

#[tokio::test]
async fn public_versions_of_a_package_whose_upstream_is_blocked() {
    let (world, withheld) = world().await;
    // Known before, so that what is cached must not be shown.
    world.get("left-pad/9.9.9", &[]).await.assert_status(200);
    put_controls(&world, "BLOCK", "BLOCK").await;
    for repository in ["main", "team"] {
        is_withheld(&world, repository, &withheld, "a blocked upstream").await;
    }
    put_controls(&world, "BLOCK", "ALLOW").await;
    world.get(&withheld.tarball_path(), &[]).await.assert_status(200);
}

#[tokio::test]
async fn versions_that_were_archived_or_disposed_of() {
    for (call, status) in [("update_status", "Archived"), ("dispose", "Disposed")] {
        let (world, withheld) = world().await;
        world.get(&withheld.tarball_path(), &[]).await.assert_status(200);
        let query = "domain=local&repository=main&format=npm&package=left-pad";
        let mut body = json!({ "versions": ["9.9.9"] });
        if call == "update_status" {
            body["targetStatus"] = json!(status);
        }
        let path = format!("/v1/package/versions/{call}?{query}");
        let changed = world.weir.api("POST", &path, &body.to_string()).await;
        assert_eq!(changed.assert_status(200).json()["failedVersions"], json!({}));
        // The copy of the store behind it, and the public one, are still there; the nearest record decides.
        for repository in ["main", "team"] {
            is_withheld(&world, repository, &withheld, status).await;
        }
        let path = format!("/npm/d/local-000000000000/npm-store/{}", withheld.tarball_path());
        world.weir.get(&path, &world.token).await.assert_status(200);
    }
}
