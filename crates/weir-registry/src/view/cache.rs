//! Views and rendered indexes in memory, at most so many bytes; the ones used longest ago go first.

use super::{PackageView, Rendered};
use crate::Registry;
use crate::topology::lock;
use crate::turn::Turns;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use weir_core::{Digest, PackageName, Timestamp};
use weir_store::rows::Id;

/// The generations something was made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// What indexes show, and the shape of the domain.
    pub(crate) content: (u64, u64),
    /// Which repositories hold its versions.
    pub(crate) holdings: u64,
}

impl Stamps {
    pub(crate) fn now(registry: &Registry, domain: &str, package: &PackageName) -> Self {
        let generations = &registry.inner.generations;
        Self {
            content: generations.content(domain, package),
            holdings: generations.holdings(domain, package),
        }
    }
}

/// Repository, package, and variant.
pub(super) type IndexKey = (Id, PackageName, Arc<str>);
type ViewKey = (Id, PackageName);

/// A rendered index and what it was made of.
#[derive(Clone)]
pub(crate) struct IndexEntry {
    pub(crate) rendered: Arc<Rendered>,
    pub(crate) stamps: Stamps,
    pub(crate) fingerprint: Digest,
    pub(crate) fresh_until: Option<Timestamp>,
    /// When what it was made of was.
    pub(crate) made_at: Timestamp,
    pub(crate) changes_at: Option<Timestamp>,
    pub(crate) stale_s: Option<i64>,
}

/// Views and rendered indexes in memory.
pub(crate) struct IndexCache {
    indexes: Mutex<Lru<IndexKey, Arc<IndexEntry>>>,
    views: Mutex<Lru<ViewKey, Arc<PackageView>>>,
    /// One makes an index while others wait for it.
    pub(crate) making: Turns<IndexKey>,
    large: tokio::sync::Semaphore,
}

/// Indexes made from more bytes than this are large: two are rendered at a time.
const LARGE: usize = 8 * 1024 * 1024;

impl IndexCache {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            indexes: Mutex::new(Lru::new(most_bytes)),
            views: Mutex::new(Lru::new(most_bytes / 2)),
            making: Turns::default(),
            large: tokio::sync::Semaphore::new(2),
        }
    }

    pub(crate) fn index(&self, key: &IndexKey) -> Option<Arc<IndexEntry>> {
        lock(&self.indexes).get(key)
    }

    pub(crate) fn put_index(&self, key: IndexKey, entry: IndexEntry) {
        // Twice the identity form leaves room for the compressed one, which is made later.
        let weight = entry.rendered.bytes() * 2 + 512;
        lock(&self.indexes).put(key, Arc::new(entry), weight);
    }

    pub(crate) fn view(&self, key: &ViewKey) -> Option<Arc<PackageView>> {
        lock(&self.views).get(key)
    }

    pub(crate) fn put_view(&self, key: ViewKey, view: Arc<PackageView>) {
        // A view keeps its public documents alive, also those that are not kept for themselves any more.
        let documents: usize = view.remotes.values().map(|remote| remote.document.len()).sum();
        let weight = 1024 + view.verdict.versions.len() * 300 + documents;
        lock(&self.views).put(key, view, weight);
    }

    /// Waits for a turn to render when the view is large, so that memory stays bounded.
    pub(crate) async fn turn_for_large(
        &self,
        view: &PackageView,
    ) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let bytes: usize = view.remotes.values().map(|remote| remote.document.len()).sum();
        // The semaphore is never closed.
        if bytes > LARGE { self.large.acquire().await.ok() } else { None }
    }
}

/// A bounded map from which the entries used longest ago are dropped, half of it at a time.
struct Lru<K, V> {
    entries: HashMap<K, Slot<V>>,
    bytes: usize,
    most_bytes: usize,
    clock: u64,
}

struct Slot<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Lru<K, V> {
    fn new(most_bytes: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, most_bytes, clock: 0 }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let slot = self.entries.get_mut(key)?;
        slot.used = self.clock;
        Some(slot.value.clone())
    }

    fn put(&mut self, key: K, value: V, weight: usize) {
        if let Some(old) = self.entries.remove(&key) {
            self.bytes -= old.weight;
        }
        if weight > self.most_bytes / 2 {
            return;
        }
        self.clock += 1;
        self.bytes += weight;
        self.entries.insert(key, Slot { value, weight, used: self.clock });
        if self.bytes > self.most_bytes {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let mut uses: Vec<u64> = self.entries.values().map(|slot| slot.used).collect();
        uses.sort_unstable();
        let middle = uses.get(uses.len() / 2).copied().unwrap_or(0);
        let mut freed = 0;
        self.entries.retain(|_, slot| {
            let keep = slot.used >= middle;
            if !keep {
                freed += slot.weight;
            }
            keep
        });
        self.bytes -= freed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_within_the_bound() {
        let mut lru = Lru::new(100);
        for n in 0..30 {
            lru.put(n, n, 10);
            let _ = lru.get(&0);
        }
        assert!(lru.bytes <= 100);
        assert_eq!(lru.get(&0), Some(0));
        lru.put(99, 99, 51);
        assert_eq!(lru.get(&99), None, "half of the memory is too much for one");
    }
}
