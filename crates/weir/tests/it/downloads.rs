//! Fetched files between two crashes, and redirects of files that bring credentials along.

use crate::npm_world::World;
use crate::stored;
use std::path::Path;
use weir_core::{Digest, SystemClock};
use weir_store::Store;
use weir_store::rows::Id;
use weir_testkit::{Fault, NpmPackage};

/// The same world after its server was killed; `meanwhile` has the data folder to itself.
async fn killed(world: World, meanwhile: impl AsyncFnOnce(&Path)) -> World {
    let World { upstream, weir, token, endpoint } = world;
    let data = weir.data().to_owned();
    let server = weir.kill().await;
    meanwhile(&data).await;
    World { upstream, weir: server.start().await, token, endpoint }
}

/// Flips a bit in every kept file that was not known to be synced, and tells which those are.
async fn damage_unsynced(data: &Path) -> Vec<(Id, Digest)> {
    let store = Store::open_folder(data, &SystemClock).await.expect("a killed server holds no lock");
    let unsynced =
        store.read().await.expect("it can be read").unsynced_blobs().await.expect("it can be read");
    store.close().await;
    for file in stored::kept(data) {
        let path = file.display().to_string().replace('/', "");
        if unsynced.iter().any(|(_, digest, _)| path.ends_with(&digest.hex())) {
            let mut bytes = fs_err::read(&file).expect("it can be read");
            *bytes.last_mut().expect("it is not empty") ^= 1;
            fs_err::write(&file, bytes).expect("it can be written");
        }
    }
    unsynced.into_iter().map(|(domain, digest, _)| (domain, digest)).collect()
}

#[tokio::test]
async fn files_that_crashes_damaged_are_fetched_again_and_count_as_unsynced_again() {
    let mut world = World::start().await;
    // A sync runs every second; some time the kill comes before it.
    for round in 0.. {
        assert!(round < 10, "every file was synced before the kill");
        let packages: Vec<_> =
            (0..6).map(|at| NpmPackage::new(&format!("p-{round}-{at}"), "1.0.0")).collect();
        world.upstream.publish_all(&packages);
        for package in &packages {
            world.get(&package.tarball_path(), &[]).await.assert_status(200);
        }
        let mut damaged = Vec::new();
        world = killed(world, async |data| damaged = damage_unsynced(data).await).await;
        if damaged.is_empty() {
            continue;
        }
        world = killed(world, async |data| {
            let store = Store::open_folder(data, &SystemClock).await.expect("a killed server holds no lock");
            let mut session = store.read().await.expect("it can be read");
            for (domain, digest) in &damaged {
                let row = session.blob(domain, digest).await.expect("it can be read");
                assert!(row.is_none_or(|row| !row.synced), "{digest} counts as synced and is not there");
            }
            drop(session);
            store.close().await;
        })
        .await;
        world.upstream.reset_calls();
        for package in &packages {
            assert_eq!(world.held("main", package).await, ["1.0.0"], "its row outlives the crash");
            let answer = world.get(&package.tarball_path(), &[]).await;
            assert_eq!(answer.assert_status(200).body, package.tarball());
        }
        assert_eq!(world.tarball_calls(), damaged.len(), "only what was damaged is fetched again");
        return;
    }
}

#[tokio::test]
async fn a_redirect_brings_no_credentials_along() {
    let world = World::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&package);
    let target = format!("http://ada:hunter2@{}/x.tgz", world.upstream.address());
    world.upstream.fail("/left-pad/-/", Fault::Redirect(target));
    let answer = world.get(&package.tarball_path(), &[]).await;
    let reason = answer.assert_status(502).json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(
        ["public:npmjs", "left-pad@1.3.0", "user info"].iter().all(|part| reason.contains(part)),
        "{reason}"
    );
    assert!(!reason.contains("hunter2"), "{reason}");
    assert_eq!(world.upstream.calls("/x.tgz"), 0);
    stored::nothing(&world, "a redirect with credentials").await;
}
