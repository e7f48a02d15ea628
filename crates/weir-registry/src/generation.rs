//! Generations: counters that change whenever what a cache was made from changes.
//!
//! Each cached view, index and decision keeps the numbers it was made under; equal numbers mean that it
//! still holds. Packages share a fixed table of counters, so memory does not grow with names: a collision
//! only makes a cache entry be made again.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use weir_core::PackageName;

const SLOTS: usize = 1 << 14;

/// The counters of one process.
pub(crate) struct Generations {
    hasher: RandomState,
    /// What indexes show of a package.
    content: Box<[AtomicU64]>,
    /// Which repositories hold its versions.
    holdings: Box<[AtomicU64]>,
    /// Domains, repositories, upstreams, connections.
    topology: AtomicU64,
    /// Principals, policies, tokens.
    identity: AtomicU64,
}

impl Generations {
    pub(crate) fn new() -> Self {
        let table = || (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self {
            hasher: RandomState::new(),
            content: table(),
            holdings: table(),
            topology: AtomicU64::new(0),
            identity: AtomicU64::new(0),
        }
    }

    fn slot(&self, domain: &str, package: &PackageName) -> usize {
        let hash = self.hasher.hash_one((domain, package));
        usize::try_from(hash % SLOTS as u64).unwrap_or(0)
    }

    /// What indexes show of the package, and the shape of the domain.
    pub(crate) fn content(&self, domain: &str, package: &PackageName) -> (u64, u64) {
        let slot = self.slot(domain, package);
        (self.content[slot].load(Ordering::Acquire), self.topology())
    }

    /// Which repositories hold its versions.
    pub(crate) fn holdings(&self, domain: &str, package: &PackageName) -> u64 {
        self.holdings[self.slot(domain, package)].load(Ordering::Acquire)
    }

    /// Indexes of the package must be made again.
    pub(crate) fn content_changed(&self, domain: &str, package: &PackageName) {
        let slot = self.slot(domain, package);
        self.content[slot].fetch_add(1, Ordering::AcqRel);
        self.holdings[slot].fetch_add(1, Ordering::AcqRel);
    }

    /// A repository holds a version more, and no index shows anything else for it.
    pub(crate) fn holdings_changed(&self, domain: &str, package: &PackageName) {
        self.holdings[self.slot(domain, package)].fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn topology(&self) -> u64 {
        self.topology.load(Ordering::Acquire)
    }

    /// A domain, repository, upstream or connection changed.
    pub(crate) fn topology_changed(&self) {
        self.topology.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn identity(&self) -> u64 {
        self.identity.load(Ordering::Acquire)
    }

    /// A principal, policy, key or token changed.
    pub(crate) fn identity_changed(&self) {
        self.identity.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes with every change of what any repository holds.
    pub(crate) fn everything(&self) -> u64 {
        let held = self.holdings.iter().map(|slot| slot.load(Ordering::Acquire));
        held.fold(self.topology(), u64::wrapping_add)
    }

    /// Anything may have changed.
    pub(crate) fn all_changed(&self) {
        self.topology_changed();
        self.identity_changed();
        for slot in self.content.iter().chain(&self.holdings) {
            slot.fetch_add(1, Ordering::AcqRel);
        }
    }
}
