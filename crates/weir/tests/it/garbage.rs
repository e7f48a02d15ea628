//! What becomes of stored bytes: reclaimed by `weir gc`, read again by `weir verify`, restored from a public registry.

use crate::npm_world::World;
use crate::pypi_index::path_of;
use crate::pypi_world;
use crate::stored;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weir_core::{Digest, SystemClock};
use weir_store::{DbError, Store};
use weir_testkit::{NpmPackage, Output, Postgres, PythonPackage, Weir};

/// How long something that goes on by itself may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The file of the blob with these bytes, there or not.
fn file_of(data: &Path, bytes: &[u8]) -> PathBuf {
    let domains = fs_err::read_dir(data.join("blobs/domains")).expect("it can be read");
    let domain = domains.map(|entry| entry.expect("an entry").path()).next().expect("a domain");
    let hex = Digest::of(bytes).hex();
    domain.join("sha256").join(&hex[..2]).join(&hex[2..])
}

/// Flips a bit of a file.
fn rot(file: &Path) {
    let mut bytes = fs_err::read(file).expect("it can be read");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs_err::write(file, bytes).expect("it can be written");
}

async fn delete(weir: &Weir, package: &NpmPackage) {
    let query = format!("domain=local&repository=main&format=npm&package={}", package.full_name());
    let body = json!({ "versions": [package.version()] }).to_string();
    let answer = weir.api("POST", &format!("/v1/package/versions/delete?{query}"), &body).await;
    assert!(answer.assert_status(200).json()["successfulVersions"].is_object());
}

async fn asset_bytes(weir: &Weir) -> u64 {
    let told = weir.api("GET", "/v1/domain?domain=local", "").await;
    told.assert_status(200).json()["domain"]["assetSizeBytes"].as_u64().expect("a number")
}

fn report(output: &Output) -> Value {
    output.json()["report"].clone()
}

#[tokio::test]
async fn the_bytes_of_deleted_versions_are_reclaimed_and_told() {
    let world = World::start().await;
    let [stays, goes] = ["stays", "goes"].map(|name| NpmPackage::new(name, "1.0.0"));
    for package in [&stays, &goes] {
        world.publish(package).await.assert_status(201);
    }
    let (kept, size) = (stays.tarball().len() as u64, goes.tarball().len() as u64);
    assert_eq!(asset_bytes(&world.weir).await, kept + size);
    delete(&world.weir, &goes).await;
    assert_eq!(asset_bytes(&world.weir).await, kept);
    let file = file_of(world.weir.data(), &goes.tarball());

    let dry = world.weir.cli(&["gc", "--dry-run", "--grace", "0s", "--json"]).await;
    let total = report(dry.assert_ok())["total"].clone();
    assert_eq!(
        (&total["erasable"], &total["erased"]["blobs"]),
        (&json!({ "blobs": 1, "bytes": size }), &json!(0))
    );
    assert!(file.exists());
    let patient = world.weir.cli(&["gc", "--json"]).await;
    let total = report(patient.assert_ok())["total"].clone();
    assert_eq!((&total["waiting"]["bytes"], &total["erased"]["blobs"]), (&json!(size), &json!(0)));
    assert!(file.exists());
    world.weir.cli(&["gc", "--grace", "0s"]).await.assert_ok().assert_says("1 blob,");
    assert!(!file.exists());
    assert_eq!(asset_bytes(&world.weir).await, kept);
    assert_eq!(world.get(&stays.tarball_path(), &[]).await.assert_status(200).body, stays.tarball());
    let status = world.weir.cli(&["gc", "--status", "--json"]).await;
    assert_eq!(report(status.assert_ok())["total"]["erased"]["bytes"], size);
    let metrics = world.weir.get("/metrics", &world.token).await;
    assert!(metrics.text().contains(&format!("weir_bytes_reclaimed_total {size}\n")), "{}", metrics.text());

    let weir = world.weir.restart().await;
    let status = weir.cli(&["gc", "--status", "--json"]).await;
    assert_eq!(report(status.assert_ok())["total"]["erased"]["bytes"], size, "remembered");
    weir.cli(&["gc", "--grace", "soon"]).await.assert_fails().assert_says("not a duration");
}

#[tokio::test]
async fn what_was_cut_off_is_erased_on_schedule() {
    let world = World::start_with(|weir| weir.flag("--gc-interval", "1s").flag("--gc-grace", "0s")).await;
    let [stays, goes] = ["stays", "goes"].map(|name| NpmPackage::new(name, "1.0.0"));
    for package in [&stays, &goes] {
        world.publish(package).await.assert_status(201);
    }
    let seen = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&seen);
    world.get("left-pad", &[]).await.assert_status(200);
    let data = world.weir.data();
    let document = stored::documents(data, 1).await.remove(0);
    let stray = file_of(data, b"stray");
    fs_err::create_dir_all(stray.parent().expect("a folder")).expect("it can be made");
    fs_err::copy(file_of(data, &stays.tarball()), &stray).expect("it can be copied");
    let lost = document.with_file_name("00".repeat(31));
    fs_err::copy(&document, &lost).expect("it can be copied");
    let foreign = data.join("blobs/domains/0193a5c2-0000-7000-8000-000000000000/sha256/00");
    fs_err::create_dir_all(&foreign).expect("it can be made");
    fs_err::copy(&document, foreign.join("00".repeat(31))).expect("it can be copied");
    delete(&world.weir, &goes).await;
    let gone = [stray, lost, foreign, file_of(data, &goes.tarball())];
    let start = Instant::now();
    while gone.iter().any(|path| path.exists()) {
        assert!(start.elapsed() < PATIENCE, "still there: {gone:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(document.exists(), "a document that is known stays");
    assert_eq!(world.get(&stays.tarball_path(), &[]).await.assert_status(200).body, stays.tarball());
}

#[tokio::test]
async fn an_erasure_that_a_crash_cut_off_is_finished_at_the_next_start() {
    let world = World::start().await;
    let goes = NpmPackage::new("goes", "1.0.0");
    world.publish(&goes).await.assert_status(201);
    delete(&world.weir, &goes).await;
    let World { upstream, weir, token, endpoint } = world;
    let file = file_of(weir.data(), &goes.tarball());
    let data = weir.data().to_owned();
    let server = weir.kill().await;
    let store = Store::open_folder(&data, &SystemClock).await.expect("a killed server holds no lock");
    let domain =
        store.read().await.expect("a session").list_domains(None).await.expect("domains").remove(0).id;
    let doomed = store.write(move |session| {
        Box::pin(async move {
            let (digest, now) = (Digest::of(&goes.tarball()), weir_core::Clock::now(&SystemClock));
            session.mark_unnamed(&domain, &[digest], now).await?;
            Ok::<_, DbError>(session.doom_blobs(&domain, &[digest], now, now).await?.len())
        })
    });
    assert_eq!(doomed.await.expect("a write"), 1);
    store.close().await;
    drop(store);
    assert!(file.exists());
    let world = World { upstream, weir: server.start().await, token, endpoint };
    assert!(!file.exists());
    let again = NpmPackage::new("goes", "1.0.0");
    world.publish(&again).await.assert_status(201);
    assert_eq!(world.get(&again.tarball_path(), &[]).await.assert_status(200).body, again.tarball());
}

#[tokio::test]
async fn public_files_that_rotted_or_were_lost_are_fetched_again() {
    let world = World::start().await;
    let packages = ["rotten", "lost", "cut", "sound"].map(|name| NpmPackage::new(name, "1.0.0"));
    world.upstream.publish_all(&packages);
    for package in &packages {
        world.get(&package.tarball_path(), &[]).await.assert_status(200);
    }
    let files = packages.each_ref().map(|package| file_of(world.weir.data(), &package.tarball()));
    rot(&files[0]);
    fs_err::remove_file(&files[1]).expect("it can be removed");
    fs_err::write(&files[2], "weirblo").expect("it can be written");
    world.upstream.reset_calls();

    let found = world.weir.cli(&["verify", "--json"]).await;
    assert_eq!(found.code, Some(1), "{found}");
    let told = report(&found);
    assert_eq!((&told["read"], &told["rotten"], &told["missing"]), (&json!(4), &json!(2), &json!(1)));
    // In `main`, and in the repository that holds the connection.
    assert_eq!((&told["lostCount"], &told["repaired"]), (&json!(6), &json!(0)));
    assert!(!files[0].exists() && !files[2].exists() && files[3].exists());
    assert_eq!(world.tarball_calls(), 0);

    let repaired = world.weir.cli(&["verify", "--repair", "--json"]).await;
    let told = report(repaired.assert_ok());
    assert_eq!((&told["lostCount"], &told["repaired"]), (&json!(0), &json!(3)));
    assert_eq!(world.tarball_calls(), 3);
    for package in &packages {
        let answer = world.get(&package.tarball_path(), &[]).await;
        assert_eq!(answer.assert_status(200).body, package.tarball());
    }
    assert_eq!(world.tarball_calls(), 3, "they are here again");

    // A client that comes first is served too.
    fs_err::write(&files[2], "weirblo").expect("it can be written");
    let answer = world.get(&packages[2].tarball_path(), &[]).await;
    assert_eq!(answer.assert_status(200).body, packages[2].tarball());
    // What its registry does not have any more is lost, and told.
    rot(&files[0]);
    world.upstream.remove("rotten");
    let lost = world.weir.cli(&["verify", "--repair"]).await;
    assert_eq!(lost.code, Some(1), "{lost}");
    lost.assert_says("rotten").assert_says("1.0.0").assert_says("npm-store");
}

#[tokio::test]
async fn a_published_file_that_rotted_is_told_by_name_and_healed_by_the_same_publish() {
    let world = World::start().await;
    let [rotten, sound] = ["rotten", "sound"].map(|name| NpmPackage::new(name, "1.0.0"));
    for package in [&rotten, &sound] {
        world.publish(package).await.assert_status(201);
    }
    let size = asset_bytes(&world.weir).await;
    rot(&file_of(world.weir.data(), &rotten.tarball()));
    let found = world.weir.cli(&["verify", "--domain", "local", "--repair"]).await;
    assert_eq!(found.code, Some(1), "{found}");
    for text in ["1 were not what they are named", "main", "rotten", "1.0.0", "package.tgz", "published here"]
    {
        found.assert_says(text);
    }
    let answer = world.get(&rotten.tarball_path(), &[]).await;
    let reason = answer.assert_status(503).json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("package.tgz") && reason.contains("publish the same file"), "{reason}");
    assert_eq!(asset_bytes(&world.weir).await, size);
    assert_eq!(world.document("rotten").await["versions"].as_object().map(serde_json::Map::len), Some(1));

    world.publish(&rotten).await.assert_status(200);
    assert_eq!(world.get(&rotten.tarball_path(), &[]).await.assert_status(200).body, rotten.tarball());
    world.weir.cli(&["gc", "--grace", "0s"]).await.assert_ok();
    let told = world.weir.cli(&["verify", "--json"]).await;
    assert_eq!(report(told.assert_ok())["read"], 2);
    assert_eq!(asset_bytes(&world.weir).await, size);
    world.weir.cli(&["verify", "--domain", "elsewhere"]).await.assert_fails().assert_says("elsewhere");
}

#[tokio::test]
async fn the_schedule_verifies_and_what_was_made_out_of_a_file_comes_back_with_it() {
    let world = pypi_world::World::start_with(|weir| weir.flag("--verify-interval", "1s")).await;
    let wheel = PythonPackage::new("weir-demo", "1.0").wheel();
    world.upstream.publish_distribution(&wheel);
    world.get(&path_of(&wheel), &[]).await.assert_status(200);
    let metadata = file_of(world.weir.data(), wheel.metadata.as_bytes());
    let start = Instant::now();
    rot(&metadata);
    let rotten = fs_err::read(&metadata).expect("it can be read");
    while fs_err::read(&metadata).map_or(true, |bytes| bytes == rotten) {
        assert!(start.elapsed() < PATIENCE, "{}", world.weir.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = world.get(&format!("{}.metadata", path_of(&wheel)), &[]).await;
    assert_eq!(answer.assert_status(200).body, wheel.metadata.as_bytes());
}

/// As a publish leaves them that was under way while its repository was deleted.
#[tokio::test]
async fn what_no_version_consists_of_any_more_is_collected_with_its_files() {
    let Some(postgres) = Postgres::shared_database().await else { return };
    let world = World::start_with(|weir| weir.database(&postgres)).await;
    let [stays, goes] = ["stays", "goes"].map(|name| NpmPackage::new(name, "1.0.0"));
    for package in [&stays, &goes] {
        world.publish(package).await.assert_status(201);
    }
    let lost = "delete from package_versions v using packages p where p.package_id = v.package_id and p.name = 'goes'";
    postgres.psql(lost).await;
    world.weir.cli(&["gc", "--dry-run", "--grace", "0s"]).await.assert_ok();
    world.weir.cli(&["gc"]).await.assert_ok();
    assert_eq!(postgres.psql("select count(*) from contents").await.trim(), "2", "they may still be written");
    world.weir.cli(&["gc", "--grace", "0s"]).await.assert_ok().assert_says("1 blob,");
    assert_eq!(postgres.psql("select count(*) from contents").await.trim(), "1");
    assert!(!file_of(world.weir.data(), &goes.tarball()).exists());
    assert_eq!(world.get(&stays.tarball_path(), &[]).await.assert_status(200).body, stays.tarball());
}

#[tokio::test]
async fn a_clock_that_was_set_back_hides_neither_rot_nor_what_is_to_be_erased() {
    let Some(postgres) = Postgres::shared_database().await else { return };
    let world = World::start_with(|weir| weir.database(&postgres)).await;
    let [stays, goes, condemned] = ["stays", "goes", "condemned"].map(|name| NpmPackage::new(name, "1.0.0"));
    for package in [&stays, &goes, &condemned] {
        world.publish(package).await.assert_status(201);
    }
    delete(&world.weir, &goes).await;
    let later = "extract(epoch from now() + interval '1 day')::bigint * 1000000";
    let doom = async |package: &NpmPackage| {
        let digest = Digest::of(&package.tarball()).hex();
        let sql = format!(
            "update blobs set state = 'doomed', unnamed_since = {later} where sha256 = decode('{digest}', 'hex')"
        );
        postgres.psql(&sql).await;
    };
    doom(&condemned).await;
    // Its bytes are sound, but a publish does not wait until they are read.
    let refused = world.publish(&condemned).await;
    assert!(refused.assert_status(503).text().contains("in a minute"), "{}", refused.text());
    doom(&goes).await;
    world.weir.cli(&["gc", "--grace", "0s"]).await.assert_ok();
    assert!(!file_of(world.weir.data(), &goes.tarball()).exists());
    assert_eq!(postgres.psql("select count(*) from blobs where state = 'doomed'").await.trim(), "0");
    let answer = world.get(&condemned.tarball_path(), &[]).await;
    assert_eq!(answer.assert_status(200).body, condemned.tarball());

    postgres.psql(&format!("update blobs set verified_at = {later}")).await;
    let file = file_of(world.weir.data(), &stays.tarball());
    rot(&file);
    let found = world.weir.cli(&["verify"]).await;
    assert_eq!(found.code, Some(1), "{found}");
    found.assert_says("1 were not what they are named");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_after_an_unclean_stop_is_not_taken_for_damaged() {
    let Some(postgres) = Postgres::shared_database().await else { return };
    let world = World::start_with(|weir| weir.database(&postgres)).await;
    let packages = ["sound", "rotten", "unreadable"].map(|name| NpmPackage::new(name, "1.0.0"));
    world.upstream.publish_all(&packages);
    for package in &packages {
        world.get(&package.tarball_path(), &[]).await.assert_status(200);
    }
    let data = world.weir.data().to_owned();
    let [sound, rotten, unreadable] = packages.each_ref().map(|package| file_of(&data, &package.tarball()));
    let server = world.weir.kill().await;
    postgres.psql("update blobs set synced = false").await;
    rot(&rotten);
    let aside = unreadable.with_extension("aside");
    fs_err::rename(&unreadable, &aside).expect("it can be moved");
    fs_err::create_dir(&unreadable).expect("it can be made");
    let refused = server.clone().start_refused().await;
    refused.assert_says("cannot be read again").assert_says("remove the file");
    assert!(unreadable.exists() && sound.exists());
    fs_err::remove_dir(&unreadable).expect("it can be removed");
    fs_err::rename(&aside, &unreadable).expect("it can be moved");
    let world = World { weir: server.start().await, ..world };
    assert!(sound.exists() && unreadable.exists() && !rotten.exists());
    world.upstream.reset_calls();
    for package in &packages {
        let answer = world.get(&package.tarball_path(), &[]).await;
        assert_eq!(answer.assert_status(200).body, package.tarball());
    }
    assert_eq!(world.tarball_calls(), 1, "only what was damaged is fetched again");
}
