//! Garbage collection and verification beside uploads of the same bytes, with the steps of an erasure driven by hand.

use crate::world::{World, domain, domain_name, package, refusal, repository};
use std::time::Duration;
use weir_core::{Digest, VersionStatus};
use weir_registry::collect::{Collection, Tally};
use weir_registry::job::Progress;
use weir_registry::lifecycle::BatchTarget;
use weir_registry::scrub::{Verification, VerificationRequest};
use weir_store::rows::{BlobState, Id};
use weir_store::{BlobKey, DbError, Durability};

const NONE: Tally = Tally { blobs: 0, bytes: 0 };

fn target(version: &str) -> BatchTarget {
    BatchTarget { versions: vec![version.to_owned()], ..BatchTarget::default() }
}

async fn world() -> World {
    let world = World::new().await;
    world.repository("main", &[]).await;
    world.repository("other", &[]).await;
    world
}

impl World {
    async fn domain_id(&self) -> Id {
        let mut session = self.registry.store().read().await.expect("a session");
        let domains = session.list_domains(None).await.expect("domains");
        let found = domains.into_iter().find(|row| row.name == domain_name("local"));
        found.expect("the domain").id
    }

    async fn key(&self, bytes: &str) -> BlobKey {
        BlobKey::Asset { domain: self.domain_id().await, digest: Digest::of(bytes.as_bytes()) }
    }

    async fn has(&self, bytes: &str) -> bool {
        self.registry.store().blobs().exists(&self.key(bytes).await).await.expect("an answer")
    }

    async fn state(&self, bytes: &str) -> Option<BlobState> {
        let domain = self.domain_id().await;
        let mut session = self.registry.store().read().await.expect("a session");
        let row = session.blob(&domain, &Digest::of(bytes.as_bytes())).await.expect("an answer");
        row.map(|row| row.state)
    }

    async fn collect(&self, dry_run: bool, grace_s: u64) -> Collection {
        let grace = Some(Duration::from_secs(grace_s));
        self.registry.start_collection(&self.admin, dry_run, grace).await.expect("started");
        ended(async || self.registry.collection(&self.admin).await.expect("an answer")).await
    }

    async fn verify(&self) -> Verification {
        let request = VerificationRequest { domain: None, repair: true };
        self.registry.start_verification(&self.admin, request).await.expect("started");
        ended(async || self.registry.verification(&self.admin).await.expect("an answer")).await
    }

    async fn delete(&self, from: &str, name: &str, version: &str) {
        let done = self.registry.delete_versions(&self.admin, &package(from, name), target(version)).await;
        assert_eq!(done.expect("an answer").successful.len(), 1);
    }

    async fn read(&self, of: &str, name: &str, version: &str) -> weir_core::Result<Vec<u8>> {
        let package = package(of, name);
        let opened = self.registry.package_version_asset(&self.admin, &package, version, "file.tgz", None);
        let (_, opened) = opened.await?;
        opened.collect(1000).await
    }

    async fn bytes_told(&self) -> u64 {
        let told = self.registry.describe_domain(&self.admin, &domain("local")).await;
        told.expect("a domain").asset_size_bytes.expect("it is told")
    }

    /// Dooms what nothing names, as a collection does, and gives the moment.
    async fn doom(&self, bytes: &str) -> weir_core::Timestamp {
        let (domain, digest) = (self.domain_id().await, Digest::of(bytes.as_bytes()));
        let now = self.registry.now();
        let doomed = self.registry.store().write(move |session| {
            Box::pin(async move {
                session.mark_unnamed(&domain, &[digest], now).await?;
                Ok::<_, DbError>(session.doom_blobs(&domain, &[digest], now, now).await?.len())
            })
        });
        assert_eq!(doomed.await.expect("a write"), 1);
        now
    }

    async fn erase_and_bury(&self, bytes: &str, doomed: weir_core::Timestamp) {
        self.registry.store().blobs().delete(&self.key(bytes).await).await.expect("erased");
        let (domain, digest) = (self.domain_id().await, Digest::of(bytes.as_bytes()));
        let now = self.registry.now();
        let buried = self.registry.store().write(move |session| {
            Box::pin(async move { session.bury_blobs(&domain, &[digest], doomed, now).await })
        });
        buried.await.expect("a write");
    }

    /// A file that was published and whose version was deleted.
    async fn let_go(&self, bytes: &str) {
        self.publish("main", "before", "V1", bytes).await.expect("published");
        self.delete("main", "before", "V1").await;
    }
}

async fn ended<T>(progress: impl AsyncFn() -> Option<Progress<T>>) -> T {
    loop {
        let progress = progress().await.expect("it was started");
        if progress.finished_at.is_some() {
            assert_eq!(progress.failure, None);
            return progress.report;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn bytes_that_no_version_has_are_erased_after_the_grace_and_others_stay() {
    let world = world().await;
    for (to, name, bytes) in [
        ("main", "deleted", "deleted"),
        ("main", "disposed", "disposed!"),
        ("main", "shared", "shared"),
        ("other", "also-shared", "shared"),
        ("other", "with-repository", "gone with its repository"),
        ("main", "stays", "stays"),
    ] {
        world.publish(to, name, "V1", bytes).await.expect("published");
    }
    assert_eq!(world.bytes_told().await, 7 + 9 + 6 + 24 + 5);
    world.delete("main", "deleted", "V1").await;
    world.delete("main", "shared", "V1").await;
    let dispose = package("main", "disposed");
    let disposed = world.registry.dispose_versions(&world.admin, &dispose, target("V1"));
    assert_eq!(disposed.await.expect("an answer").successful["V1"].1, VersionStatus::Disposed.as_str());
    assert_eq!(world.bytes_told().await, 6 + 24 + 5);

    let dry = world.collect(true, 0).await.total();
    assert_eq!((dry.erasable, dry.erased, dry.without_row), (Tally { blobs: 2, bytes: 16 }, NONE, NONE));
    let waiting = world.collect(false, 100_000).await.total();
    assert_eq!((waiting.waiting, waiting.erased), (Tally { blobs: 2, bytes: 16 }, NONE));
    world.clock.advance(100_001);
    let done = world.collect(false, 100_000).await.total();
    assert_eq!((done.erased, done.waiting), (Tally { blobs: 2, bytes: 16 }, NONE));
    for (bytes, is_here) in [("deleted", false), ("disposed!", false), ("shared", true), ("stays", true)] {
        assert_eq!(world.has(bytes).await, is_here, "{bytes}");
    }
    let repository = repository("other");
    world.registry.delete_repository(&world.admin, &repository).await.expect("deleted");
    let done = world.collect(false, 0).await.total();
    assert_eq!(done.erased, Tally { blobs: 2, bytes: 30 }, "the last that shared it is gone");
    assert_eq!(world.read("main", "stays", "V1").await.expect("bytes"), b"stays");
    assert_eq!(world.bytes_told().await, 5);
    // What is gone is forgotten after a day.
    assert_eq!(world.state("deleted").await, Some(BlobState::Gone));
    world.clock.advance(25 * 3600);
    world.collect(false, 0).await;
    assert_eq!(world.state("deleted").await, None);
    let trail = world.registry.store().read().await.expect("a session").list_audit(100).await.expect("rows");
    let collected = trail.iter().filter(|row| row.action == "weir:CollectGarbage").count();
    assert_eq!(collected, 2, "one for each run that erased something");
}

#[tokio::test]
async fn an_upload_that_meets_an_erasure_is_refused_or_whole() {
    let world = world().await;
    // Its bytes are erased after they came.
    world.let_go("one").await;
    let doomed = world.doom("one").await;
    let upload = world.publish("main", "after", "V1", "one");
    let erasure = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.erase_and_bury("one", doomed).await;
    };
    let (refused, ()) = tokio::join!(upload, erasure);
    let text = refusal(refused);
    assert!(text.contains("send it once more"), "{text}");
    assert!(world.read("main", "after", "V1").await.is_err(), "nothing of it is there");
}

#[tokio::test]
async fn an_upload_after_an_erasure_keeps_the_blob_again() {
    let world = world().await;
    world.let_go("one").await;
    let doomed = world.doom("one").await;
    world.erase_and_bury("one", doomed).await;
    world.publish("main", "after", "V1", "one").await.expect("published");
    assert_eq!(world.state("one").await, Some(BlobState::Kept));
    assert_eq!(world.read("main", "after", "V1").await.expect("bytes"), b"one");
    assert_eq!(world.collect(false, 0).await.total().erased, NONE);
}

#[tokio::test]
async fn an_erasure_that_was_given_up_is_finished_by_the_upload_that_meets_it() {
    let world = world().await;
    world.let_go("one").await;
    world.doom("one").await;
    world.clock.advance(100);
    // Whoever doomed it may have asked for the erasure at any moment, so the bytes must come once more.
    let text = refusal(world.publish("main", "after", "V1", "one").await);
    assert!(text.contains("send it once more"), "{text}");
    assert!(!world.has("one").await);
    world.publish("main", "after", "V1", "one").await.expect("published");
    assert_eq!(world.read("main", "after", "V1").await.expect("bytes"), b"one");
}

#[tokio::test]
async fn bytes_without_row_are_erased_and_of_a_named_blob_the_row_is_made() {
    let world = world().await;
    world.publish("main", "named", "V1", "named").await.expect("published");
    let (domain, digest) = (world.domain_id().await, Digest::of(b"named"));
    let lost = world
        .registry
        .store()
        .write(move |session| Box::pin(async move { session.delete_blob(&domain, &digest).await }));
    lost.await.expect("a write");
    let store = world.registry.store();
    let stray = store.spool().take("stray".into()).await.expect("spooled");
    store.blobs().keep(&world.key("stray").await, stray, Durability::Later).await.expect("kept");
    let dry = world.collect(true, 0).await.total();
    assert_eq!((dry.without_row, dry.erased), (Tally { blobs: 2, bytes: 10 }, NONE));
    // The test's clock is years behind the file's.
    world.clock.advance(10_000_000_000);
    let done = world.collect(false, 0).await.total();
    assert_eq!(
        (done.without_row, done.erased),
        (Tally { blobs: 2, bytes: 10 }, Tally { blobs: 1, bytes: 5 })
    );
    assert!(!world.has("stray").await);
    assert_eq!(world.state("named").await, Some(BlobState::Kept));
    assert_eq!(world.read("main", "named", "V1").await.expect("bytes"), b"named");
}

#[tokio::test]
async fn lost_bytes_are_told_by_name_and_come_back_with_the_same_publish() {
    let world = world().await;
    world.publish("main", "left-pad", "V1", "one").await.expect("published");
    world.publish("main", "sound", "V1", "two").await.expect("published");
    world.registry.store().blobs().delete(&world.key("one").await).await.expect("deleted");
    for round in 0..2 {
        let found = world.verify().await;
        assert_eq!((found.missing, found.lost_count), (u64::from(round == 0), 1), "{found:?}");
        let lost = &found.lost[0];
        assert_eq!(
            (lost.repository.as_str(), lost.package.as_str(), lost.version.as_str()),
            ("main", "left-pad", "V1")
        );
        assert_eq!(
            (lost.file.as_str(), lost.sha256.as_str()),
            ("file.tgz", Digest::of(b"one").hex().as_str())
        );
    }
    let text = refusal(world.read("main", "left-pad", "V1").await);
    assert!(
        text.contains("file.tgz of version V1 are lost") && text.contains("publish the same file"),
        "{text}"
    );
    world.clock.advance(48 * 3600);
    world.collect(false, 0).await;
    assert_eq!(world.state("one").await, Some(BlobState::Gone), "remembered while a version names it");
    let again = world.publish("main", "left-pad", "V1", "one").await.expect("published");
    assert!(!again.changed);
    assert_eq!(world.read("main", "left-pad", "V1").await.expect("bytes"), b"one");
    let found = world.verify().await;
    assert_eq!((found.read, found.lost_count, found.rotten, found.missing), (2, 0, 0, 0));
}

#[tokio::test]
async fn only_an_administrator_may_work_on_the_store() {
    let world = world().await;
    let reader = world.user("reader", "read").await;
    let text = refusal(world.registry.start_collection(&reader, true, None).await);
    assert!(text.contains("weir:ManageStore"), "{text}");
    let request = VerificationRequest::default();
    assert!(world.registry.start_verification(&reader, request).await.is_err());
    assert!(world.registry.verification(&world.admin).await.expect("an answer").is_none());
}
