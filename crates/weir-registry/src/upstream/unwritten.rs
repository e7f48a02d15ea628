//! Index documents on their way to disk and database. Clients do not wait for that: who asks for one meanwhile gets it
//! from here, and what is lost on the way is asked for again. What waits at one moment is written in one go.

use super::documents::read_document;
use super::large::{LARGE, LargeTurn};
use crate::Registry;
use crate::topology::lock;
use bytes::Bytes;
use futures_util::FutureExt as _;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use weir_core::{ConnectionName, Error, Result};
use weir_store::rows::{DocumentRow, Id};
use weir_store::{BlobKey, Durability};

/// How much of them is in memory at most, in KiB; then askers wait.
const ROOM_KIB: u32 = 8 << 10;
/// How long they wait for that; then the document is served and not kept, and asked for again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a stop waits for what is on its way.
const LAST: Duration = Duration::from_secs(5);
/// How many are written in one go.
const GROUP: usize = 64;

/// Domain, connection, and the path at which it was asked for.
pub(super) type DocumentKey = (Id, ConnectionName, String);

pub(crate) struct Unwritten {
    table: Mutex<Table>,
    room: Arc<Semaphore>,
    /// Told when the last was written.
    empty: Notify,
}

#[derive(Default)]
struct Table {
    entries: HashMap<DocumentKey, Entry>,
    count: u64,
    /// Whether a task is at it, which goes on while there are entries.
    writing: bool,
}

struct Entry {
    /// Tells it from one that took its place.
    number: u64,
    row: DocumentRow,
    /// The bytes, where they are not on the disk already.
    body: Option<Bytes>,
    room: OwnedSemaphorePermit,
}

/// An entry as the task that writes it sees it.
#[derive(Clone)]
struct Writing {
    key: DocumentKey,
    number: u64,
    row: DocumentRow,
    body: Option<Bytes>,
}

impl Default for Unwritten {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(ROOM_KIB as usize));
        Self { table: Mutex::default(), room, empty: Notify::new() }
    }
}

impl Unwritten {
    fn get(&self, key: &DocumentKey) -> Option<(DocumentRow, Option<Bytes>)> {
        let table = lock(&self.table);
        let entry = table.entries.get(key)?;
        Some((entry.row.clone(), entry.body.clone()))
    }

    /// Takes one in place of what was known, unless there is no room for it; whether a task must be begun that writes
    /// it.
    async fn put(&self, key: DocumentKey, row: DocumentRow, body: Option<Bytes>) -> bool {
        let length = body.as_ref().map_or(0, Bytes::len);
        let kib = u32::try_from(length >> 10).unwrap_or(ROOM_KIB).clamp(1, ROOM_KIB);
        let room = tokio::time::timeout(PATIENCE, self.room.clone().acquire_many_owned(kib)).await;
        // The semaphore is never closed.
        let Ok(Ok(room)) = room else { return false };
        let mut table = lock(&self.table);
        table.count += 1;
        let number = table.count;
        let (body, room) = match (body, table.entries.remove(&key)) {
            // The same bytes once more, which are on their way still.
            (None, Some(before)) if before.row.body == row.body => (before.body, before.room),
            (body, _) => (body, room),
        };
        table.entries.insert(key, Entry { number, row, body, room });
        !std::mem::replace(&mut table.writing, true)
    }

    /// What is to be written next; when there is nothing, the task ends.
    fn group(&self) -> Vec<Writing> {
        let mut table = lock(&self.table);
        let group: Vec<Writing> = table
            .entries
            .iter()
            .take(GROUP)
            .map(|(key, entry)| Writing {
                key: key.clone(),
                number: entry.number,
                row: entry.row.clone(),
                body: entry.body.clone(),
            })
            .collect();
        if group.is_empty() {
            table.writing = false;
            self.empty.notify_waiters();
        }
        group
    }

    /// Waits until there are none.
    async fn is_empty(&self) {
        loop {
            let empty = self.empty.notified();
            if lock(&self.table).entries.is_empty() {
                return;
            }
            empty.await;
        }
    }

    fn written(&self, group: &[Writing]) {
        let mut table = lock(&self.table);
        for written in group {
            if table.entries.get(&written.key).is_some_and(|entry| entry.number == written.number) {
                table.entries.remove(&written.key);
            }
        }
    }
}

/// Whether a document is large, by its row.
pub(super) fn is_large(row: &DocumentRow) -> bool {
    row.body.is_some_and(|(_, length)| length > LARGE as u64)
}

impl Registry {
    /// What was last seen at a place, with its bytes; `None` when it was never asked, or when its bytes are gone. For a
    /// large one the turn is waited for.
    pub(super) async fn known_document(
        &self,
        key: &DocumentKey,
        turn: &LargeTurn,
    ) -> Result<Option<(DocumentRow, Option<Bytes>)>> {
        match self.known_row(key).await? {
            Some(known) => self.load_document(key, known, turn).await,
            None => Ok(None),
        }
    }

    /// The same, of which [`Registry::known_row`] gave `known`.
    pub(super) async fn load_document(
        &self,
        key: &DocumentKey,
        known: (DocumentRow, Option<Bytes>),
        turn: &LargeTurn,
    ) -> Result<Option<(DocumentRow, Option<Bytes>)>> {
        let (domain, connection, path) = key;
        let mut known = Some(known);
        if known.as_ref().is_some_and(|(row, _)| is_large(row)) && !turn.try_hold(&self.inner.upstream.large)
        {
            // Its bytes may be among what is known.
            drop(known);
            let held = turn.hold(&self.inner.upstream.large).await;
            held.map_err(|failure| failure.of(connection, path))?;
            known = self.known_row(key).await?;
        }
        let Some((row, body)) = known else { return Ok(None) };
        match (row.body, body) {
            (Some((digest, _)), None) => {
                Ok(read_document(self, domain, digest).await?.map(|body| (row, Some(body))))
            }
            (_, body) => Ok(Some((row, body))),
        }
    }

    /// The row, and the bytes where they are in memory.
    pub(super) async fn known_row(&self, key: &DocumentKey) -> Result<Option<(DocumentRow, Option<Bytes>)>> {
        let (domain, connection, path) = key;
        if let Some(unwritten) = self.inner.upstream.unwritten.get(key) {
            return Ok(Some(unwritten));
        }
        let row = self.inner.store.read().await?.document(domain, connection, path).await?;
        Ok(row.map(|row| (row, None)))
    }

    /// Has a document written, or a row alone where the bytes are on the disk. Waits a moment while too many do, and
    /// gives it up when that does not end.
    pub(super) async fn write_document(&self, key: DocumentKey, row: DocumentRow, body: Option<Bytes>) {
        if self.inner.upstream.unwritten.put(key, row, body).await {
            let registry = self.clone();
            tokio::spawn(async move { registry.write_documents().await });
        }
    }

    async fn write_documents(&self) {
        loop {
            let group = self.inner.upstream.unwritten.group();
            if group.is_empty() {
                return;
            }
            match self.write_group(&group).await {
                Ok(()) => {}
                // Each alone would fail too, after as long a wait, while askers wait for room.
                Err(NotWritten::Any(error)) => {
                    tracing::warn!(count = group.len(), %error,
                        "index documents could not be kept; they will be asked for again");
                }
                // One that cannot be written must not keep others back.
                Err(NotWritten::Some(_)) => {
                    for one in &group {
                        if let Err(error) = self.write_group(std::slice::from_ref(one)).await {
                            let (_, connection, path) = &one.key;
                            tracing::warn!(%connection, path, %error,
                                "an index document could not be kept; it will be asked for again");
                        }
                    }
                }
            }
            self.inner.upstream.unwritten.written(&group);
        }
    }

    async fn write_group(&self, group: &[Writing]) -> Result<(), NotWritten> {
        let blob = |one: &Writing| {
            let (digest, _) = one.row.body?;
            Some((BlobKey::Document { domain: one.key.0.clone(), digest }, one.body.clone()?))
        };
        let blobs: Vec<(BlobKey, Bytes)> = group.iter().filter_map(blob).collect();
        let rows: Vec<(DocumentKey, DocumentRow)> =
            group.iter().map(|one| (one.key.clone(), one.row.clone())).collect();
        let store = &self.inner.store;
        let work = async {
            if !blobs.is_empty() {
                let kept = store.blobs().keep_bytes(store.spool(), blobs, Durability::Later).await;
                kept.map_err(|error| NotWritten::Any(error.into()))?;
            }
            let rows = store.write_for(Durability::Later, move |session| {
                Box::pin(async move {
                    for ((domain, connection, path), row) in &rows {
                        session.put_document(domain, connection, path, row).await?;
                    }
                    Ok::<_, Error>(())
                })
            });
            rows.await.map_err(|error| match error {
                Error::Unavailable { .. } => NotWritten::Any(error),
                error => NotWritten::Some(error),
            })
        };
        // A panic must not leave askers waiting for ever.
        let done = AssertUnwindSafe(work).catch_unwind().await;
        let failed = || Error::unavailable("this server failed while it kept an index document");
        done.unwrap_or_else(|_| Err(NotWritten::Some(failed())))
    }

    /// Waits until no index document is on its way, a few seconds at most.
    pub(crate) async fn documents_written(&self) {
        let unwritten = &self.inner.upstream.unwritten;
        if tokio::time::timeout(LAST, unwritten.is_empty()).await.is_err() {
            let count = lock(&unwritten.table).entries.len();
            tracing::warn!(
                count,
                "index documents could not be kept before the stop; they will be asked for again"
            );
        }
    }
}

/// Why documents were not written.
#[derive(Debug, thiserror::Error)]
enum NotWritten {
    /// The blob store or the database takes nothing now.
    #[error(transparent)]
    Any(Error),
    /// One of them could not be.
    #[error(transparent)]
    Some(Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::{Digest, Timestamp};

    fn row(body: &'static [u8], checked_at: i64) -> DocumentRow {
        let at = Timestamp::from_second(checked_at).unwrap();
        DocumentRow {
            body: Some((Digest::of(body), body.len() as u64)),
            etag: None,
            last_modified: None,
            url: None,
            fetched_at: at,
            checked_at: at,
        }
    }

    #[tokio::test]
    async fn what_is_on_its_way_can_be_had_until_it_is_written_and_the_newest_stays() {
        let unwritten = Unwritten::default();
        let connection = ConnectionName::parse("connection", "public:npmjs").unwrap();
        let key: DocumentKey = ("d".into(), connection, "left-pad".to_owned());
        assert!(unwritten.put(key.clone(), row(b"one", 1), Some(Bytes::from_static(b"one"))).await);
        // Confirmed before it was written: its bytes are not lost.
        assert!(!unwritten.put(key.clone(), row(b"one", 2), None).await, "a task is at it");
        let first = unwritten.group();
        let (seen, body) = unwritten.get(&key).unwrap();
        assert_eq!((seen.checked_at.as_second(), body.as_deref()), (2, Some(&b"one"[..])));

        unwritten.put(key.clone(), row(b"two", 3), Some(Bytes::from_static(b"two"))).await;
        unwritten.written(&first);
        assert_eq!(unwritten.get(&key).unwrap().1.as_deref(), Some(&b"two"[..]), "not written yet");
        let second = unwritten.group();
        unwritten.written(&second);
        assert!(unwritten.get(&key).is_none());
        assert!(unwritten.group().is_empty());
        assert_eq!(unwritten.room.available_permits(), ROOM_KIB as usize);
        assert!(unwritten.put(key, row(b"two", 4), None).await, "the task has ended");
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_a_moment_and_goes_on_without() {
        let unwritten = Unwritten::default();
        let connection = ConnectionName::parse("connection", "public:npmjs").unwrap();
        let key = |name: &str| -> DocumentKey { ("d".into(), connection.clone(), name.to_owned()) };
        let large = Bytes::from(vec![0; (ROOM_KIB as usize) << 10]);
        assert!(unwritten.put(key("large"), row(b"", 1), Some(large)).await);
        // A row alone takes room too.
        let refused = async {
            tokio::join!(
                unwritten.put(key("next"), row(b"next", 1), Some(Bytes::from_static(b"next"))),
                unwritten.put(key("large"), row(b"", 2), None)
            )
        };
        tokio::time::timeout(3 * PATIENCE, refused).await.expect("they do not wait for ever");
        assert!(unwritten.get(&key("next")).is_none());
        assert_eq!(unwritten.get(&key("large")).unwrap().0.checked_at.as_second(), 1);
        assert!(unwritten.is_empty().now_or_never().is_none(), "it is not written");
        unwritten.written(&unwritten.group());
        assert!(unwritten.is_empty().now_or_never().is_some());
        unwritten.put(key("next"), row(b"next", 1), None).await;
        assert!(unwritten.get(&key("next")).is_some());
    }
}
