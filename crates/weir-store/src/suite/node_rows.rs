//! What nodes share: leases, word of changes, and blobs that belong to one database.

use super::{at, furnished, on_every_engine, sqlite, write};
use crate::rows::ChangeRow;
use crate::{BlobUrl, Engine, Places, Store, StoreLock};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use weir_core::Digest;

#[tokio::test]
async fn a_lease_is_held_by_one_until_it_lets_go_or_falls_silent() {
    on_every_engine(async |store| {
        let take = |holder: &'static str, life: u64| {
            write(store, move |session| {
                Box::pin(async move { session.take_lease("gc", holder, Duration::from_millis(life)).await })
            })
        };
        assert!(take("a", 60_000).await);
        assert!(!take("b", 60_000).await);
        assert!(take("a", 1).await, "its holder renews it");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(take("b", 60_000).await, "its holder fell silent");
        write(store, |session| Box::pin(async move { session.release_lease("gc", "a").await })).await;
        assert!(!take("a", 1).await, "only its holder lets go of it");
        write(store, |session| Box::pin(async move { session.release_lease("gc", "b").await })).await;
        assert!(take("a", 60_000).await);
        let drop = |all| write(store, move |session| Box::pin(async move { session.drop_leases(all).await }));
        assert_eq!(drop(false).await, 0);
        assert_eq!(drop(true).await, 1);
    })
    .await;
}

#[tokio::test]
async fn word_of_changes_is_found_by_others_though_its_transaction_ends_late() {
    on_every_engine(async |store| {
        let is_shared = store.engine() == Engine::Postgres;
        let note = |body: &'static str| {
            write(store, move |session| Box::pin(async move { session.note_change("one", body).await }))
        };
        let mut reader = store.read().await.expect("a session");
        let start = reader.standpoint().await.expect("a standpoint");
        // A transaction that leaves word first and commits last.
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let late = tokio::spawn({
            let (store, begun, go) = (store.clone(), begun.clone(), go.clone());
            async move {
                write(&store, move |session| {
                    Box::pin(async move {
                        session.take_turn("late").await?;
                        session.note_change("one", "late").await?;
                        begun.notify_one();
                        go.notified().await;
                        Ok(())
                    })
                })
                .await;
            }
        });
        begun.notified().await;
        if is_shared {
            note("early").await;
        }
        let seen_at = reader.standpoint().await.expect("a standpoint");
        let seen = reader.changes_since(&start).await.expect("changes");
        let bodies = |rows: &[ChangeRow]| rows.iter().map(|row| row.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(&seen), if is_shared { vec!["early"] } else { vec![] });
        go.notify_one();
        late.await.expect("committed");
        let later = reader.changes_since(&seen_at).await.expect("changes");
        assert_eq!(bodies(&later), if is_shared { vec!["late"] } else { vec![] }, "and nothing twice");
        reader.check_allowed().await.expect("a binary that the database allows");
        let drop =
            |age| write(store, move |session| Box::pin(async move { session.drop_changes(age).await }));
        assert_eq!(drop(Duration::from_secs(60)).await, 0);
        assert_eq!(drop(Duration::ZERO).await, if is_shared { 2 } else { 0 });
    })
    .await;
}

#[tokio::test]
async fn a_ring_is_heard() {
    on_every_engine(async |store| {
        let Some(mut listener) = store.listen().await.expect("an answer") else {
            assert_eq!(store.engine(), Engine::Sqlite);
            return;
        };
        store.ring();
        tokio::time::timeout(Duration::from_secs(10), listener.rung())
            .await
            .expect("in time")
            .expect("heard");
    })
    .await;
}

#[tokio::test]
async fn a_setting_that_is_put_once_stays() {
    on_every_engine(async |store| {
        let put = |value: &'static str| {
            write(store, move |session| {
                Box::pin(async move { session.put_setting_once("name", value).await })
            })
        };
        assert_eq!(put("first").await, "first");
        assert_eq!(put("second").await, "first");
        write(store, |session| Box::pin(async move { session.delete_setting("name").await })).await;
        assert_eq!(put("second").await, "second");
        assert!(!store.read().await.expect("a session").has_blobs().await.expect("an answer"));
    })
    .await;
}

#[tokio::test]
async fn the_blobs_of_another_database_are_refused() {
    let (first, store) = sqlite().await;
    let (domain, _) = furnished(&store).await;
    let digest = Digest::of(b"x");
    write(&store, move |session| {
        Box::pin(async move { session.put_blob(&domain, &digest, 1, true, at(1)).await })
    })
    .await;
    store.close().await;
    drop(store);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let open = async |database: &Path, blobs: &Path| {
        let places = Places { blobs: BlobUrl::Folder(blobs.join("blobs")), ..Places::folder(database) };
        let lock = StoreLock::acquire(database, "a test", at(0)).expect("not locked");
        Store::open(&places, lock, at(0)).await.map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = open(elsewhere.path(), first.path()).await.expect_err("another's");
    assert!(refused.contains("belongs to another database"), "{refused}");
    let empty = tempfile::tempdir().expect("a folder");
    let refused = open(first.path(), empty.path()).await.expect_err("not its own");
    assert!(refused.contains("has no mark"), "{refused}");
    open(first.path(), first.path()).await.expect("its own");
}

#[tokio::test]
async fn of_two_new_databases_that_start_at_once_one_has_the_bucket() {
    let Some(bucket) = weir_testkit::ObjectStore::bucket().await else { return };
    drop(rustls::crypto::ring::default_provider().install_default());
    let variables = bucket.variables().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let blobs = BlobUrl::parse(&bucket.blob_url(), variables).expect("a place");
    let folders = [(); 4].map(|()| tempfile::tempdir().expect("a folder"));
    let opened = folders.iter().map(async |folder| {
        let places = Places { blobs: blobs.clone(), ..Places::folder(folder.path()) };
        let lock = StoreLock::acquire(folder.path(), "a test", at(0)).expect("not locked");
        Store::open(&places, lock, at(0)).await.map(drop).map_err(|error| error.to_string())
    });
    let opened = futures_util::future::join_all(opened).await;
    let refused: Vec<_> = opened.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), folders.len() - 1, "{refused:?}");
    assert!(refused.iter().all(|text| text.contains("belongs to another database")), "{refused:?}");
}
