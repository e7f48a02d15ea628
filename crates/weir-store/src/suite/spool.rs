//! The spool: what passes is hashed, what is not kept is removed.

use super::{sqlite, store};
use crate::blob::HEADER_BYTES;
use crate::db::DatabaseUrl;
use bytes::Bytes;
use std::io::{Read as _, Seek as _, SeekFrom};
use weir_core::Hasher;

fn files(directory: &std::path::Path) -> usize {
    fs_err::read_dir(directory.join("blobs/spool")).expect("a spool").count()
}

#[tokio::test]
async fn bytes_are_hashed_as_they_pass_and_can_be_read_meanwhile() {
    let (directory, store) = sqlite().await;
    let mut writer = store.spool().begin().expect("a spool file");
    let mut reader = fs_err::File::open(writer.path()).expect("the growing file");
    reader.seek(SeekFrom::Start(HEADER_BYTES)).expect("sought");
    let (mut hasher, mut sent, mut seen) = (Hasher::new(), Vec::new(), Vec::new());
    for length in [1, 16 << 10, (16 << 10) + 1, 300_000] {
        let chunk = vec![b'x'; length];
        hasher.update(&chunk);
        sent.extend_from_slice(&chunk);
        writer.write(Bytes::from(chunk)).await.expect("written");
        assert_eq!(writer.written(), sent.len() as u64);
        reader.read_to_end(&mut seen).expect("read");
        assert!(seen == sent);
    }
    let spooled = writer.finish().await.expect("finished");
    assert_eq!(spooled.size, sent.len() as u64);
    assert_eq!(spooled.digests, hasher.finish());

    let mut inspected = Vec::new();
    let mut reader = spooled.reader().expect("a reader");
    reader.read_to_end(&mut inspected).expect("read");
    assert!(inspected == sent);
    assert_eq!(reader.seek(SeekFrom::End(-1)).expect("sought"), spooled.size - 1);
    assert_eq!(reader.seek(SeekFrom::Start(0)).expect("sought"), 0);
    assert!(reader.seek(SeekFrom::Current(-1)).is_err());
    assert_eq!(files(directory.path()), 1);
}

#[tokio::test]
async fn what_is_not_kept_is_removed() {
    let (directory, store) = sqlite().await;
    let mut writer = store.spool().begin().expect("a spool file");
    writer.write(Bytes::from_static(b"abc")).await.expect("written");
    assert_eq!(files(directory.path()), 1);
    drop(writer);
    assert_eq!(files(directory.path()), 0);
    drop(store.spool().take(Bytes::from_static(b"abc")).await.expect("spooled"));
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test]
async fn a_write_that_was_given_up_ends_the_spool_file() {
    let (_directory, store) = sqlite().await;
    let mut writer = store.spool().begin().expect("a spool file");
    // So many that they are not written by the time of the first look.
    let given_up = writer.write(Bytes::from(vec![0; 16 << 20]));
    assert!(futures_util::FutureExt::now_or_never(given_up).is_none());
    assert!(writer.write(Bytes::from_static(b"more")).await.is_err());
    assert!(writer.finish().await.is_err());
}

#[tokio::test]
async fn what_a_crash_left_is_removed_at_the_next_start() {
    let (directory, first) = sqlite().await;
    let writer = first.spool().begin().expect("a spool file");
    // A crash runs no destructors, and the operating system lets go of the lock.
    std::mem::forget(writer);
    first.close().await;
    drop(first);
    assert_eq!(files(directory.path()), 1);
    let _second = store(directory.path(), &DatabaseUrl::Sqlite(directory.path().join("weir.db"))).await;
    assert_eq!(files(directory.path()), 0);
}
