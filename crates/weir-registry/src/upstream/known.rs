//! Parsed indexes of public registries in memory, and whose turn it is to ask for one.

use crate::format::RemotePackage;
use crate::topology::lock;
use crate::turn::Turns;
use crate::view::Failure;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use weir_core::{ConnectionName, Digest, PackageName, Timestamp};
use weir_store::rows::Id;

/// What is known of a package on a public registry.
#[derive(Debug)]
pub(crate) struct KnownIndex {
    /// The index, or that the registry has none.
    pub(crate) package: Option<Arc<RemotePackage>>,
    /// Tells contents apart: the digests of the documents it was read from.
    pub(crate) fingerprint: Digest,
    /// When it must be confirmed again.
    pub(crate) fresh_until: Timestamp,
    /// When it was last confirmed, if the registry could not confirm it now.
    pub(crate) stale_since: Option<Timestamp>,
    /// Why it could not.
    pub(crate) failure: Option<Failure>,
    /// When it was fetched: the first sight of versions whose registry tells no time.
    pub(crate) fetched_at: Timestamp,
    /// When it was last asked for.
    pub(super) checked_at: Timestamp,
    /// A rough size in memory.
    pub(super) bytes: usize,
}

/// Domain, connection and package.
pub(super) type Key = (Id, ConnectionName, PackageName);

/// Parsed indexes in memory, at most so many bytes; the ones asked for longest ago go first.
pub(crate) struct KnownIndexes {
    table: Mutex<Table>,
    pub(super) asking: Turns<Key>,
    most_bytes: usize,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, (Arc<KnownIndex>, u64)>,
    bytes: usize,
    clock: u64,
}

impl KnownIndexes {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { table: Mutex::default(), asking: Turns::default(), most_bytes }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<KnownIndex>> {
        let mut table = lock(&self.table);
        table.clock += 1;
        let clock = table.clock;
        let (known, used) = table.entries.get_mut(key)?;
        *used = clock;
        Some(known.clone())
    }

    pub(super) fn put(&self, key: Key, known: Arc<KnownIndex>) {
        let mut table = lock(&self.table);
        table.clock += 1;
        let clock = table.clock;
        table.bytes += known.bytes;
        if let Some((old, _)) = table.entries.insert(key, (known, clock)) {
            table.bytes -= old.bytes;
        }
        if table.bytes <= self.most_bytes {
            return;
        }
        let mut by_use: Vec<(u64, Key)> =
            table.entries.iter().map(|(key, (_, used))| (*used, key.clone())).collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in by_use {
            if table.bytes <= self.most_bytes / 2 || table.entries.len() <= 1 {
                break;
            }
            if let Some((old, _)) = table.entries.remove(&key) {
                table.bytes -= old.bytes;
            }
        }
    }

    /// Forgets everything of a connection, whose address changed.
    pub(super) fn forget(&self, connection: &ConnectionName) {
        let mut table = lock(&self.table);
        let mut freed = 0;
        table.entries.retain(|(_, name, _), (known, _)| {
            let keep = name != connection;
            if !keep {
                freed += known.bytes;
            }
            keep
        });
        table.bytes -= freed;
    }
}
