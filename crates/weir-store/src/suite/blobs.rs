//! What every blob store must do: a folder, an object store in memory, and a real S3 server.

use super::sqlite;
use crate::blob::{
    Blob, BlobError, BlobKey, Blobs, CHECKED_FIRST, Durability, HEADER_BYTES, PIECE, SMALL, is_damage,
};
use crate::{BlobUrl, Spool, Store};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use std::sync::Arc;
use weir_core::{Digest, Error};

fn bytes(length: u64) -> Bytes {
    (0..length).map(|n| (n % 251) as u8).collect::<Vec<_>>().into()
}

pub(super) fn key(data: &[u8]) -> BlobKey {
    BlobKey::Asset { domain: "d1".into(), digest: Digest::of(data) }
}

async fn range(blob: &Blob, range: std::ops::Range<u64>) -> Vec<u8> {
    let pieces: Vec<Bytes> = blob.read(range).try_collect().await.expect("bytes");
    pieces.concat()
}

/// Runs `test` on each kind of blob store.
pub(super) async fn on_every_blob_store(test: impl AsyncFn(&Spool, &Blobs)) {
    let (_directory, store) = sqlite().await;
    test(store.spool(), store.blobs()).await;
    test(store.spool(), &Blobs::objects(Arc::new(InMemory::new()))).await;
    let Some(bucket) = weir_testkit::ObjectStore::bucket().await else { return };
    for prefix in ["?", "/below/here?"] {
        let variables = bucket.variables().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = BlobUrl::parse(&bucket.blob_url().replace('?', prefix), variables).expect("a place");
        // The one provider of a process; another test may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        test(store.spool(), &Blobs::open_at(&url).expect("an object store")).await;
    }
}

#[tokio::test]
async fn kept_bytes_come_back_whole_and_in_ranges() {
    on_every_blob_store(async |spool, blobs| {
        for length in [0, 1, SMALL, SMALL + 1, PIECE, PIECE * 2 + 7, 9 << 20] {
            let data = bytes(length);
            let key = key(&data);
            assert!(!blobs.exists(&key).await.expect("an answer"));
            assert!(blobs.open(&key).await.expect("an answer").is_none());
            let spooled = spool.take(data.clone()).await.expect("spooled");
            blobs.keep(&key, spooled, Durability::Synced).await.expect("kept");
            assert!(blobs.exists(&key).await.expect("an answer"));
            let blob = blobs.open(&key).await.expect("an answer").expect("a blob");
            assert_eq!(blob.size(), length);
            assert_eq!(blob.bytes().is_some(), length <= SMALL);
            assert!(range(&blob, 0..length).await == data, "{length} bytes");
            assert!(range(&blob, 0..u64::MAX).await == data, "{length} bytes, open range");
            let (from, to) = (length / 3, length - length / 4);
            assert!(range(&blob, from..to).await == data[from as usize..to as usize], "a range of {length}");
            assert!(range(&blob, length + 1..length + 2).await.is_empty());
            blobs.delete(&key).await.expect("deleted");
            blobs.delete(&key).await.expect("deleted again");
            assert!(blobs.open(&key).await.expect("an answer").is_none());
        }
        blobs.health().await.expect("healthy");
    })
    .await;
}

#[tokio::test]
async fn the_same_bytes_may_be_kept_twice_and_synced_later() {
    on_every_blob_store(async |spool, blobs| {
        let data = bytes(10);
        let missing = BlobKey::Document { domain: "d1".into(), digest: Digest::of(b"missing") };
        for durability in [Durability::Later, Durability::Later, Durability::Synced] {
            let spooled = spool.take(data.clone()).await.expect("spooled");
            blobs.keep(&key(&data), spooled, durability).await.expect("kept");
            blobs.sync(&[key(&data), missing.clone()]).await.expect("synced");
        }
        let blob = blobs.open(&key(&data)).await.expect("an answer").expect("a blob");
        assert_eq!(range(&blob, 0..10).await, data);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_domain_leaves_the_bytes_of_others() {
    on_every_blob_store(async |spool, blobs| {
        let digest = Digest::of(b"x");
        let asset = |domain: &str| BlobKey::Asset { domain: domain.into(), digest };
        let document = BlobKey::Document { domain: "d1".into(), digest };
        for key in [asset("d1"), document.clone(), asset("d11")] {
            let spooled = spool.take(Bytes::from_static(b"x")).await.expect("spooled");
            blobs.keep(&key, spooled, Durability::Later).await.expect("kept");
        }
        blobs.delete_domain(&"d1".into()).await.expect("deleted");
        blobs.delete_domain(&"d1".into()).await.expect("deleted again");
        for (key, left) in [(asset("d1"), false), (document, false), (asset("d11"), true)] {
            assert_eq!(blobs.exists(&key).await.expect("an answer"), left, "{key:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn bytes_in_memory_are_kept_as_spooled_ones_are() {
    on_every_blob_store(async |spool, blobs| {
        let all: Vec<Bytes> = [0, 5, SMALL + 1, 6 << 20].map(bytes).into();
        for _ in 0..2 {
            let named = all.iter().map(|data| (key(data), data.clone())).collect();
            blobs.keep_bytes(spool, named, Durability::Later).await.expect("kept");
            for data in &all {
                let blob = blobs.open(&key(data)).await.expect("an answer").expect("a blob");
                assert!(range(&blob, 0..blob.size()).await == *data);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_blob_in_a_folder_can_be_sent_as_a_file() {
    let (_directory, store) = sqlite().await;
    for length in [5, SMALL * 2] {
        let data = bytes(length);
        let spooled = store.spool().take(data.clone()).await.expect("spooled");
        store.blobs().keep(&key(&data), spooled, Durability::Later).await.expect("kept");
        let blob = store.blobs().open(&key(&data)).await.expect("an answer").expect("a blob");
        for (part, expected) in [(0..length, &data[..]), (3..4, &data[3..4]), (2..u64::MAX, &data[2..])] {
            let read: Vec<_> =
                blob.in_file(part).expect("a file").stream().try_collect().await.expect("read");
            assert!(read.concat() == expected);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_kept_open_is_not_served_once_it_is_gone_or_another() {
    let (directory, store) = sqlite().await;
    let blobs = store.blobs();
    for length in [5, SMALL * 2] {
        let data = bytes(length);
        keep_as(store.spool(), blobs, &data, data.clone()).await;
        let blob = serve(blobs, &data).await.expect("open");
        assert!(range(&blob, 0..blob.size()).await == data);
        // Somebody writes to it, puts it back, and takes it away, without asking this process.
        let path = directory.path().join("blobs").join(key(&data).path());
        let right = fs_err::read(&path).expect("it is there");
        let mut wrong = right.clone();
        *wrong.last_mut().expect("it has bytes") ^= 1;
        fs_err::write(&path, &wrong).expect("written");
        let found = serve(blobs, &data).await;
        let read: Result<Vec<_>, _> = match found {
            Ok(blob) => blob.read(0..blob.size()).try_collect().await,
            Err(_) => Ok(Vec::new()),
        };
        assert!(read.is_err() || read.is_ok_and(|read| read.is_empty()), "damaged bytes were served");
        fs_err::write(path.with_extension("new"), &right).expect("written");
        fs_err::rename(path.with_extension("new"), &path).expect("put back");
        let blob = serve(blobs, &data).await.expect("open");
        assert!(range(&blob, 0..blob.size()).await == data);
        fs_err::remove_file(&path).expect("removed");
        assert!(blobs.open_to_serve(&key(&data)).await.expect("an answer").is_none());
        keep_as(store.spool(), blobs, &data, data.clone()).await;
        let blob = serve(blobs, &data).await.expect("open");
        assert!(range(&blob, 0..blob.size()).await == data);
        blobs.delete(&key(&data)).await.expect("deleted");
        assert!(blobs.open_to_serve(&key(&data)).await.expect("an answer").is_none());
    }
}

#[tokio::test]
async fn a_stream_outlives_its_blob_and_a_delete() {
    let (_directory, store) = sqlite().await;
    let data = bytes(PIECE * 3);
    let spooled = store.spool().take(data.clone()).await.expect("spooled");
    store.blobs().keep(&key(&data), spooled, Durability::Later).await.expect("kept");
    let stream = {
        let blob = store.blobs().open(&key(&data)).await.expect("an answer").expect("a blob");
        blob.read(0..blob.size())
    };
    store.blobs().delete(&key(&data)).await.expect("deleted");
    let pieces: Vec<Bytes> = stream.try_collect().await.expect("bytes");
    assert!(pieces.concat() == data);
}

#[tokio::test]
async fn a_file_cut_short_by_a_crash_is_seen() {
    let (directory, store) = sqlite().await;
    let data = bytes(1000);
    let path = directory.path().join("blobs").join(key(&data).path());
    for length in [0, 10, HEADER_BYTES, HEADER_BYTES + 999] {
        keep(&store, &data).await;
        let file = fs_err::OpenOptions::new().write(true).open(&path).expect("a file");
        file.set_len(length).expect("cut");
        let error = store.blobs().open(&key(&data)).await.expect_err("corrupt");
        assert!(matches!(error, BlobError::Corrupt { .. }), "{error}");
    }
    // Keeping it again heals it.
    keep(&store, &data).await;
    assert!(store.blobs().open(&key(&data)).await.expect("an answer").is_some());
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_told_as_such_and_is_no_damage() {
    let (directory, store) = sqlite().await;
    let data = bytes(1000);
    keep(&store, &data).await;
    let path = directory.path().join("blobs").join(key(&data).path());
    let mut stored = fs_err::read(&path).expect("a file");
    stored[9] = 1;
    fs_err::write(&path, stored).expect("written");
    let error = store.blobs().open(&key(&data)).await.expect_err("newer");
    assert!(matches!(error, BlobError::Newer { .. }) && !error.is_damage(), "{error}");
    let Error::Unavailable { message, .. } = Error::from(error) else { panic!() };
    assert!(message.contains("newer version of weir"), "{message}");
    assert!(serve(store.blobs(), &data).await.is_err_and(|error| !error.is_damage()));
}

#[tokio::test]
async fn the_first_mark_holds() {
    on_every_blob_store(async |_, blobs| {
        let names: Vec<String> = (0..8).map(|number| format!("store-{number}")).collect();
        // A folder has a lock, under which nobody else sets one.
        let set = match blobs.is_safe_when_kept() {
            true => futures_util::future::join_all(names.iter().map(|name| blobs.set_mark(name))).await,
            false => vec![blobs.set_mark("one").await, blobs.set_mark("two").await],
        };
        let found = blobs.mark().await.expect("an answer").expect("a mark");
        for mark in set {
            assert_eq!(mark.expect("an answer"), found);
        }
        assert_eq!(blobs.set_mark("late").await.expect("an answer"), found);
    })
    .await;
}

async fn keep(store: &Store, data: &Bytes) {
    let spooled = store.spool().take(data.clone()).await.expect("spooled");
    store.blobs().keep(&key(data), spooled, Durability::Later).await.expect("kept");
}

/// Keeps `data` under the name of `named`, as if it had rotted since.
async fn keep_as(spool: &Spool, blobs: &Blobs, named: &Bytes, data: Bytes) {
    let spooled = spool.take(data).await.expect("spooled");
    blobs.keep(&key(named), spooled, Durability::Later).await.expect("kept");
}

async fn serve(blobs: &Blobs, named: &Bytes) -> Result<Blob, BlobError> {
    let blob = blobs.open_to_serve(&key(named)).await?.expect("a blob");
    blob.check_first().await
}

fn rotten(data: &Bytes) -> Bytes {
    let mut rotten = data.to_vec();
    rotten[data.len() / 2] ^= 1;
    rotten.into()
}

#[tokio::test]
async fn rotten_bytes_never_come_whole_and_are_not_opened_again() {
    on_every_blob_store(async |spool, blobs| {
        for length in [1, SMALL, SMALL + 1, CHECKED_FIRST, CHECKED_FIRST + 1, 5 << 20] {
            let data = bytes(length);
            keep_as(spool, blobs, &data, rotten(&data)).await;
            match serve(blobs, &data).await {
                Err(error) => {
                    assert!(error.is_damage() && length <= CHECKED_FIRST, "{length}: {error}");
                }
                Ok(blob) => {
                    assert!(length > CHECKED_FIRST && blob.bytes().is_none(), "{length}");
                    let mut sent = 0;
                    let mut pieces = blob.read(0..length);
                    let error = loop {
                        match pieces.try_next().await {
                            Ok(Some(piece)) => sent += piece.len() as u64,
                            Ok(None) => panic!("{length} rotten bytes came whole"),
                            Err(error) => break error,
                        }
                    };
                    assert!(is_damage(&error) && sent < length, "{length}: {error}");
                }
            }
            assert!(serve(blobs, &data).await.is_err_and(|error| error.is_damage()), "{length}");
            // What is put in its place is looked at anew.
            keep_as(spool, blobs, &data, data.clone()).await;
            let mended = serve(blobs, &data).await.expect("mended");
            assert!(range(&mended, 0..length).await == data, "{length}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_range_of_a_rotten_file_is_not_served() {
    let (_directory, store) = sqlite().await;
    let (spool, blobs, data) = (store.spool(), store.blobs(), bytes(3 << 20));
    keep_as(spool, blobs, &data, rotten(&data)).await;
    let blob = serve(blobs, &data).await.expect("open");
    let got: Result<Vec<Bytes>, _> = blob.read(0..10).try_collect().await;
    assert!(is_damage(&got.expect_err("a refusal")));
    assert!(serve(blobs, &data).await.is_err_and(|error| error.is_damage()));
}

#[tokio::test]
async fn bytes_are_hashed_once_until_they_are_old() {
    let (_directory, store) = sqlite().await;
    let data = bytes(3 << 20);
    for (recheck, again) in [(std::time::Duration::from_secs(60), true), (std::time::Duration::ZERO, false)] {
        let keeper = store.blobs().clone().recheck_after(recheck);
        keep_as(store.spool(), &keeper, &data, data.clone()).await;
        let blob = serve(&keeper, &data).await.expect("open");
        assert_eq!(blob.in_file(0..1).is_some(), again, "it was hashed on its way here: {recheck:?}");
        let blobs = store.blobs().clone().recheck_after(recheck);
        let blob = serve(&blobs, &data).await.expect("open");
        assert!(blob.in_file(0..1).is_none(), "others kept it: nobody sends a file that was never read");
        let blob = serve(&blobs, &data).await.expect("open");
        assert!(range(&blob, 10..20).await == data[10..20]);
        let blob = serve(&blobs, &data).await.expect("open");
        assert_eq!(blob.in_file(0..1).is_some(), again, "{recheck:?}");
    }
}
