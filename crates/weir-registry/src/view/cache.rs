//! Views and rendered indexes in memory, at most so many bytes; the ones used longest ago go first.

use super::lru::Lru;
use super::rendered::{Packers, Rendered};
use super::{Facts, PackageView, Variant};
use crate::Registry;
use crate::format::RemotePackage;
use crate::topology::lock;
use crate::turn::Turns;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

/// What an index is known by: repository, package and representation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct IndexKey {
    repository: Id,
    package: PackageName,
    content_type: &'static str,
    base: Box<str>,
}

impl IndexKey {
    pub(super) fn of(repository: &Id, package: &PackageName, variant: Variant<'_>) -> Self {
        Self {
            repository: repository.clone(),
            package: package.clone(),
            content_type: variant.content_type,
            base: variant.base.into(),
        }
    }

    fn is(&self, repository: &Id, package: &PackageName, variant: Variant<'_>) -> bool {
        self.repository == *repository
            && self.package == *package
            && self.content_type == variant.content_type
            && *self.base == *variant.base
    }
}

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

/// A view without the public documents behind it: they are kept by those who fetched them for as long as there is
/// room, and are many times its size.
#[derive(Clone)]
struct KeptView {
    facts: Arc<Facts>,
    remotes: Arc<[(usize, Weak<RemotePackage>)]>,
}

/// Views and rendered indexes in memory.
pub(crate) struct IndexCache {
    hasher: RandomState,
    indexes: Mutex<Lru<IndexKey, Arc<IndexEntry>>>,
    views: Mutex<Lru<(Id, PackageName), KeptView>>,
    /// One makes an index while others wait for it.
    pub(super) making: Turns<IndexKey>,
    /// What compresses, for the next index.
    pub(super) packers: Arc<Packers>,
    /// As many are rendered at once as there are cores, and of large ones two.
    rendering: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl IndexCache {
    pub(crate) fn new(most_bytes: usize, folder: Option<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            hasher: RandomState::new(),
            indexes: Mutex::new(Lru::new(most_bytes)),
            views: Mutex::new(Lru::new(most_bytes / 2)),
            making: Turns::default(),
            packers: Arc::new(Packers::new(cores, folder)),
            rendering: Arc::new(Semaphore::new(cores)),
            large: Arc::new(Semaphore::new(2)),
        }
    }

    fn index_hash(&self, repository: &Id, package: &PackageName, variant: Variant<'_>) -> u64 {
        self.hasher.hash_one((&**repository, package, variant.content_type, variant.base))
    }

    pub(super) fn index(
        &self,
        repository: &Id,
        package: &PackageName,
        variant: Variant<'_>,
    ) -> Option<Arc<IndexEntry>> {
        let hash = self.index_hash(repository, package, variant);
        lock(&self.indexes).get(hash, |key| key.is(repository, package, variant))
    }

    pub(super) fn put_index(&self, key: IndexKey, entry: IndexEntry) {
        let variant = Variant { content_type: key.content_type, base: &key.base };
        let hash = self.index_hash(&key.repository, &key.package, variant);
        let weight = entry.rendered.weight() + key.base.len() + 400;
        lock(&self.indexes).put(hash, key, Arc::new(entry), weight);
    }

    fn kept_view(&self, repository: &Id, package: &PackageName) -> Option<KeptView> {
        let hash = self.hasher.hash_one((&**repository, package));
        lock(&self.views).get(hash, |(of, name)| of == repository && name == package)
    }

    /// A view whose public documents are all in memory still.
    pub(super) fn view(&self, repository: &Id, package: &PackageName) -> Option<PackageView> {
        let kept = self.kept_view(repository, package)?;
        let whole = |(node, remote): &(usize, Weak<RemotePackage>)| Some((*node, remote.upgrade()?));
        let remotes: Option<BTreeMap<_, _>> = kept.remotes.iter().map(whole).collect();
        Some(PackageView::of(kept.facts, remotes?))
    }

    /// A view that tells all but what public documents say of a version.
    pub(super) fn view_without_documents(
        &self,
        repository: &Id,
        package: &PackageName,
    ) -> Option<PackageView> {
        Some(PackageView::of(self.kept_view(repository, package)?.facts, BTreeMap::new()))
    }

    pub(super) fn put_view(&self, repository: &Id, view: &PackageView) {
        let hash = self.hasher.hash_one((&**repository, &view.package));
        let held: usize = view.records.iter().flatten().map(|(_, versions)| versions.len()).sum();
        let weight = 1024 + view.verdict.versions.len() * 300 + held * 600;
        let remotes = view.remotes.iter().map(|(node, remote)| (*node, Arc::downgrade(remote))).collect();
        let kept = KeptView { facts: view.facts.clone(), remotes };
        lock(&self.views).put(hash, (repository.clone(), view.package.clone()), kept, weight);
    }

    /// Waits for a turn to render a large index, so that memory stays bounded.
    pub(super) async fn turn_for_large(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.large.clone().acquire_owned().await.ok()
    }

    /// The same, if there is one now.
    pub(super) fn turn_for_large_now(&self) -> Option<OwnedSemaphorePermit> {
        self.large.clone().try_acquire_owned().ok()
    }

    /// Waits for a core to render on.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nor is this one.
        self.rendering.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::{Error, FormatName};

    /// Whether an index of 6 MiB of gzip is kept within 8 MiB, where `cache` is what it is.
    fn is_kept(cache: PathBuf) -> bool {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b' ' + (state >> 58) as u8
        };
        let text: Vec<u8> = (0..8 << 20).map(|_| next()).collect();
        let indexes = IndexCache::new(8 << 20, Some(cache));
        let packers = &indexes.packers;
        let rendered = packers.pack("a/b", |out| out.write_all(&text).map_err(Error::internal)).unwrap();
        let entry = IndexEntry {
            rendered: Arc::new(rendered),
            stamps: Stamps { content: (0, 0), holdings: 0 },
            fingerprint: Digest::of(b""),
            fresh_until: None,
            made_at: Timestamp::UNIX_EPOCH,
            changes_at: None,
            stale_s: None,
        };
        let (repository, variant) =
            (Id::from("r"), Variant { content_type: "a/b", base: "http://localhost/" });
        let package = PackageName::new(FormatName::new("npm"), None, "wide").unwrap();
        indexes.put_index(IndexKey::of(&repository, &package, variant), entry);
        indexes.index(&repository, &package, variant).is_some()
    }

    #[test]
    fn a_large_index_that_no_file_takes_is_not_kept_beyond_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_kept(folder.path().join("cache")), "a file takes little of the bound");
        fs_err::write(folder.path().join("occupied"), "no folder").unwrap();
        assert!(!is_kept(folder.path().join("occupied")));
    }
}
