//! Bad days of the object store: S3 failing, telling to slow down, silent, gone, answers cut short. Warm
//! indexes go on, files and writes end as 503, nothing is shown by half, and all heals without a restart.

use crate::bad_world::{
    heals, is_whole, large, nothing_is_lost, passes, publish_during, publish_generic, tells_ready,
    writes_are_refused,
};
use crate::npm_world::World;
use crate::stored;
use std::time::{Duration, Instant};
use weir_testkit::package::noise;
use weir_testkit::{Bucket, NpmPackage, ObjectStore, Proxy, long};

/// How long it may take until a request is refused: one silence of 15 s, or some tries.
const PATIENCE: Duration = Duration::from_secs(22);
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml";
const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml";

fn error_body(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>not now</Message></Error>")
}

/// A server over a bucket of its own, behind a proxy.
struct Shaky {
    bucket: Bucket,
    proxy: Proxy,
    world: World,
    /// Published, a file of some pieces.
    large: NpmPackage,
    /// Published, a file that is read at once.
    small: NpmPackage,
    /// Public, its index known and its file not fetched.
    public: NpmPackage,
}

async fn shaky() -> Option<Shaky> {
    let bucket = ObjectStore::bucket().await?;
    let proxy = Proxy::start(bucket.authority()).await;
    let url = bucket.blob_url_through(&proxy);
    let world = World::start_with(|builder| builder.objects_at(&bucket, &url)).await;
    let public = NpmPackage::new("public", "1.0.0").file("noise", noise(20_000));
    world.upstream.publish(&public);
    let (large, small) = (large("large"), NpmPackage::new("small", "1.0.0"));
    for package in [&large, &small] {
        world.publish(package).await.assert_status(201);
        is_whole(&world, package).await;
    }
    world.document("public").await;
    // It is written behind the answer, and a write that is under way makes the folder of a bucket again.
    stored::documents_below(&bucket.folder(), 1).await;
    Some(Shaky { bucket, proxy, world, large, small, public })
}

impl Shaky {
    /// Panics unless what needs no object goes on and what needs one is refused for now.
    async fn does_without_objects(&self, name: &str) {
        let Self { world, large, small, public, .. } = self;
        let indexes = async {
            for package in [large, small, public] {
                world.document(&package.full_name()).await;
            }
        };
        let file = async |package: &NpmPackage| passes(&world.get(&package.tarball_path(), &[]).await);
        let begun = Instant::now();
        tokio::join!(
            indexes,
            file(large),
            file(small),
            file(public),
            writes_are_refused(world, name, PATIENCE)
        );
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        world.weir.send("GET", "/healthz", &[], b"").await.assert_status(200);
        tells_ready(&world.weir, 503).await;
        // Nothing of what was refused is there.
        for absent in [format!("{name}-npm"), format!("{name}-npm/-/{name}-npm-1.0.0.tgz")] {
            world.get(&absent, &[]).await.assert_status(404);
        }
    }

    /// Panics unless everything works that did not.
    async fn is_well(&self, name: &str) {
        let world = &self.world;
        heals(world, &NpmPackage::new(&format!("{name}-after"), "1.0.0"), Duration::from_secs(5)).await;
        for package in [&self.large, &self.small] {
            is_whole(world, package).await;
        }
        publish_generic(world, &format!("{name}-generic"), b"bytes").await.assert_status(200);
        tells_ready(&world.weir, 200).await;
        stored::spool_is_empty(world.weir.data()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_answers_errors_or_nobody_is_told_as_503() {
    let Some(shaky) = shaky().await else { return };
    let proxy = &shaky.proxy;
    proxy.answer(BROKEN, error_body("InternalError"));
    shaky.does_without_objects("broken").await;
    proxy.pass();
    shaky.is_well("broken").await;
    proxy.answer(SLOW_DOWN, error_body("SlowDown"));
    shaky.does_without_objects("slow").await;
    proxy.pass();
    shaky.is_well("slow").await;
    proxy.refuse();
    shaky.does_without_objects("gone").await;
    proxy.pass();
    shaky.is_well("gone").await;
    is_whole(&shaky.world, &shaky.public).await;
}

/// More of them than may wait for the object store at one moment.
async fn cold_indexes_are_served(world: &World) {
    let text = "x".repeat(1_500_000);
    for n in 0..8 {
        let package =
            NpmPackage::new(&format!("cold-{n}"), "1.0.0").field("description", text.as_str().into());
        world.upstream.publish(&package);
        let start = Instant::now();
        world.get(&package.full_name(), &[]).await.assert_status(200);
        assert!(start.elapsed() < Duration::from_secs(5), "{n} took {:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_object_store_holds_nobody_for_ever() {
    let Some(shaky) = shaky().await else { return };
    shaky.proxy.hang();
    cold_indexes_are_served(&shaky.world).await;
    shaky.does_without_objects("silent").await;
    shaky.proxy.pass();
    shaky.is_well("silent").await;
    is_whole(&shaky.world, &shaky.public).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_an_outage_and_no_absence() {
    let Some(shaky) = shaky().await else { return };
    let (folder, away) = (shaky.bucket.folder(), shaky.bucket.folder().with_extension("away"));
    fs_err::rename(&folder, &away).expect("the bucket can be moved");
    shaky.does_without_objects("away").await;
    fs_err::rename(&away, &folder).expect("the bucket can be moved back");
    shaky.is_well("away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_never_looks_whole() {
    let Some(shaky) = shaky().await else { return };
    let Shaky { world, proxy, large, small, .. } = &shaky;
    // Too little each time for the tries that are made to make a whole of it.
    proxy.cut_bodies_after(20);
    for package in [large, small] {
        passes(&world.get(&package.tarball_path(), &[]).await);
    }
    // Enough to begin with, and the rest breaks off again and again.
    proxy.cut_bodies_after(70_000);
    let bearer = format!("Bearer {}", world.token);
    let url = format!("{}{}", world.endpoint, large.tarball_path());
    let headers = [("authorization", bearer.as_str())];
    match weir_testkit::http::try_send("GET", &url, &headers, "").await {
        Ok(answer) if answer.status == 200 => {
            assert!(answer.body == large.tarball(), "{} bytes look whole", answer.body.len());
        }
        Ok(answer) => passes(&answer),
        Err(broken) => assert!(broken.contains("broke off"), "{broken}"),
    }
    is_whole(world, small).await;
    proxy.pass();
    shaky.is_well("cut").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_stumbles_under_load_loses_nothing() {
    let Some(shaky) = shaky().await else { return };
    let Shaky { world, proxy, .. } = &shaky;
    let rounds = if long() { 40 } else { 2 };
    let pause = async |milliseconds| tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    let ledger = publish_during(world, "load", async {
        for _ in 0..rounds {
            pause(300).await;
            // A few are tried again and nobody hears of it.
            proxy.answer_times(4, &["PUT"], SLOW_DOWN, error_body("SlowDown"));
            pause(500).await;
            proxy.answer_times(40, &["PUT"], BROKEN, error_body("InternalError"));
            pause(1000).await;
            proxy.refuse();
            pause(1500).await;
            proxy.delay(20);
            pause(500).await;
            proxy.pass();
        }
        pause(500).await;
    })
    .await;
    let (acknowledged, refused) = (ledger.acknowledged.len(), ledger.refused.len());
    assert!(acknowledged > 20, "{acknowledged} acknowledged, {refused} refused");
    nothing_is_lost(world, &ledger).await;
    shaky.is_well("load").await;
}
