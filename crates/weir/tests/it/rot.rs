//! Kept files whose bytes rot: no client gets them for a whole file, what a public registry has is fetched again,
//! and of what was published here the refusal says what to do.

use crate::npm_world::World;
use crate::stored;
use std::path::{Path, PathBuf};
use weir_testkit::http::{open, try_send};
use weir_testkit::package::noise;
use weir_testkit::{Answer, NpmPackage, Postgres};

/// A package whose tarball is not checked before it is sent: above 1 MiB, and not compressible.
fn large(name: &str) -> NpmPackage {
    NpmPackage::new(name, "1.0.0").file("noise.bin", noise(3 << 20))
}

/// Flips a bit in the middle of the one kept file of that content.
fn rot(data: &Path, bytes: &[u8]) -> PathBuf {
    let path = stored::kept(data)
        .into_iter()
        .find(|path| fs_err::read(path).expect("it can be read").ends_with(bytes))
        .expect("the file is kept");
    let mut stored = fs_err::read(&path).expect("it can be read");
    let middle = stored.len() - bytes.len() / 2;
    stored[middle] ^= 1;
    fs_err::write(&path, stored).expect("it can be written");
    path
}

fn damage_found(metrics: &Answer) -> u64 {
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix("weir_damage_found_total "));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no such counter in {text}"))
}

async fn broken_off(world: &World, package: &NpmPackage, headers: &[(&str, &str)]) {
    let bearer = format!("Bearer {}", world.token);
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    let url = format!("{}{}", world.endpoint, package.tarball_path());
    let got = try_send("GET", &url, &all, Vec::new()).await;
    assert!(got.is_err(), "rotten bytes came as {:?}", got.map(|answer| answer.status));
}

#[tokio::test]
async fn a_published_file_that_rots_is_refused_with_what_to_do_and_mended_by_the_same_bytes() {
    let world = World::start().await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    world.publish(&package).await.assert_status(201);
    // Also after it was served: a file that was written to is looked at anew.
    world.get(&package.tarball_path(), &[]).await.assert_status(200);
    let path = rot(world.weir.data(), &package.tarball());
    for headers in [&[][..], &[("range", "bytes=0-9")]] {
        let refused = world.get(&package.tarball_path(), headers).await;
        let text = refused.assert_status(503).json()["error"].as_str().unwrap_or_default().to_owned();
        for part in ["package.tgz of version 1.0.0", "damaged", "publish the same file once more", "backup"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let api = "/v1/package/version/asset?domain=local&repository=main&format=npm&package=left-pad&version=1.0.0\
               &asset=package.tgz";
    let refused = world.weir.api("GET", api, "").await;
    assert!(
        refused.assert_status(503).text().contains("publish the same file once more"),
        "{}",
        refused.text()
    );
    world.send("HEAD", &package.tarball_path(), &[], Vec::new()).await;
    let metrics = world.weir.get("/metrics", &world.token).await;
    assert!(damage_found(&metrics) >= 3, "{}", metrics.text());
    assert!(world.weir.log().contains("stored bytes are damaged"), "the log tells it");

    world.publish(&package).await.assert_status(200);
    let mended = world.get(&package.tarball_path(), &[]).await;
    assert_eq!(mended.assert_status(200).body, package.tarball());

    // A restored file is served at once, too.
    let good = fs_err::read(&path).expect("it can be read");
    rot(world.weir.data(), &package.tarball());
    world.get(&package.tarball_path(), &[]).await.assert_status(503);
    fs_err::write(&path, good).expect("it can be written");
    world.get(&package.tarball_path(), &[]).await.assert_status(200);
}

#[tokio::test]
async fn a_large_published_file_that_rots_never_comes_whole() {
    let world = World::start().await;
    let (first, second) = (large("first"), large("second"));
    for package in [&first, &second] {
        world.publish(package).await.assert_status(201);
        rot(world.weir.data(), &package.tarball());
    }
    broken_off(&world, &first, &[]).await;
    // A range waits until the whole was read.
    broken_off(&world, &second, &[("range", "bytes=0-9")]).await;
    for package in [&first, &second] {
        for headers in [&[][..], &[("range", "bytes=0-9")]] {
            let refused = world.get(&package.tarball_path(), headers).await;
            assert!(refused.assert_status(503).text().contains("damaged"), "{}", refused.text());
        }
    }
}

#[tokio::test]
async fn a_large_file_is_whole_for_its_first_reader_and_its_ranges() {
    let world = World::start().await;
    let package = large("noise");
    let tarball = package.tarball();
    world.publish(&package).await.assert_status(201);
    let part = world.get(&package.tarball_path(), &[("range", "bytes=1000-2999")]).await;
    assert_eq!(part.assert_status(206).body, tarball[1000..3000]);
    let world = World { weir: world.weir.restart().await, ..world };
    let whole = world.get(&package.tarball_path(), &[]).await;
    assert_eq!(whole.assert_status(200).header("content-length"), tarball.len().to_string());
    assert!(whole.body == tarball);
    assert!(world.get(&package.tarball_path(), &[]).await.body == tarball);
}

#[tokio::test]
async fn a_fetched_file_that_rots_is_fetched_again() {
    let world = World::start().await;
    let (small, large) = (NpmPackage::new("left-pad", "1.0.0"), large("noise"));
    world.upstream.publish_all([&small, &large]);
    for package in [&small, &large] {
        world.get(&package.tarball_path(), &[]).await.assert_status(200);
        rot(world.weir.data(), &package.tarball());
    }
    let calls = world.tarball_calls();
    // A small one is checked before the answer begins, so nobody notices.
    let answer = world.get(&small.tarball_path(), &[]).await;
    assert_eq!(answer.assert_status(200).body, small.tarball());
    broken_off(&world, &large, &[]).await;
    let answer = world.get(&large.tarball_path(), &[]).await;
    assert!(answer.assert_status(200).body == large.tarball());
    assert_eq!(world.tarball_calls(), calls + 2);

    // Without its registry the refusal is an outage.
    rot(world.weir.data(), &small.tarball());
    world.upstream.stop().await;
    let refused = world.get(&small.tarball_path(), &[]).await;
    assert!(refused.assert_status(503).text().contains("public:npmjs"), "{}", refused.text());
    world.upstream.start_again().await;
}

/// Nodes share a database: what another fetched a moment ago is asked for first, and may be what rotted.
#[tokio::test]
async fn a_fetched_file_that_rots_over_postgresql_is_mended_by_the_next_request() {
    let Some(postgres) = Postgres::shared_database().await else { return };
    let world = World::start_with(|builder| builder.database(&postgres)).await;
    let (small, large) = (NpmPackage::new("left-pad", "1.0.0"), large("noise"));
    world.upstream.publish_all([&small, &large]);
    for package in [&small, &large] {
        world.get(&package.tarball_path(), &[]).await.assert_status(200);
        rot(world.weir.data(), &package.tarball());
    }
    let calls = world.tarball_calls();
    let answer = world.get(&small.tarball_path(), &[]).await;
    assert_eq!(answer.assert_status(200).body, small.tarball());
    broken_off(&world, &large, &[]).await;
    let answer = world.get(&large.tarball_path(), &[]).await;
    assert!(answer.assert_status(200).body == large.tarball());
    assert_eq!(world.tarball_calls(), calls + 2);
    world.weir.cli(&["verify"]).await.assert_ok();
}

#[tokio::test]
async fn a_file_that_was_cut_short_counts_as_damaged() {
    let world = World::start().await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    world.publish(&package).await.assert_status(201);
    let path = stored::kept(world.weir.data()).pop().expect("the file is kept");
    let bytes = fs_err::read(&path).expect("it can be read");
    fs_err::write(&path, &bytes[..bytes.len() - 1]).expect("it can be written");
    let refused = world.get(&package.tarball_path(), &[]).await;
    assert!(refused.assert_status(503).text().contains("damaged"), "{}", refused.text());
}

#[tokio::test]
async fn the_head_of_a_rotten_answer_is_not_its_end() {
    let world = World::start().await;
    let package = large("noise");
    world.publish(&package).await.assert_status(201);
    rot(world.weir.data(), &package.tarball());
    let url = format!("{}{}", world.endpoint, package.tarball_path());
    let bearer = format!("Bearer {}", world.token);
    let mut answer =
        open("GET", &url, &[("authorization", &bearer)], Vec::new()).await.expect("an answer begins");
    let mut came = 0;
    let end = loop {
        match answer.chunk().await {
            Ok(Some(bytes)) => came += bytes.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(end && came + (64 << 10) <= package.tarball().len(), "{came} bytes came");
}
