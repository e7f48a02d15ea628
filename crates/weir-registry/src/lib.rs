//! What Weir does: the spine. One [`Registry`] holds every use case; no HTTP server, no SQL text and
//! no format by name.
//!
//! - reading: [`view`] gives the versions of a package across a chain, [`open`] the bytes of a file,
//!   `companion` what goes with one;
//! - writing: [`publish`] takes a publication, [`lifecycle`] changes what is held;
//! - control: [`domain`], [`repository`], [`package`], [`resource_tag`], [`identity`], [`token`];
//! - the store: [`collect`] erases what nobody has any more, [`scrub`] reads all bytes again;
//! - public registries: [`upstream`] and its parts.
//!
//! Every use case takes the caller and authorizes first, in [`access`].

pub mod access;
mod aging;
mod audit;
mod change;
pub mod collect;
mod companion;
pub mod connection;
pub mod domain;
mod event;
pub mod explain;
mod follow;
pub mod format;
pub mod generation;
pub mod identity;
pub mod job;
mod keep;
pub mod lease;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod open;
pub mod package;
pub mod publish;
mod recover;
pub mod repository;
pub mod resource_tag;
mod restore;
mod retain;
pub mod scope;
pub mod scrub;
pub mod sealed;
pub mod search;
pub mod settings;
pub mod token;
pub mod topology;
mod turn;
pub mod upstream;
pub mod version;
pub mod view;

pub use format::{Format, Remote};
pub use scope::{DomainRef, PackageRef, RepositoryRef, Scope};
pub use settings::Settings;
pub use weir_store::blob::FileRange;
pub use weir_store::{SpoolWriter, Spooled};

use std::sync::Arc;
use weir_core::{Clock, Secrets};
use weir_store::Store;

/// The spine: every use case is a method of it. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// Names this process in `Via`.
    pub(crate) instance: String,
    pub(crate) store: Store,
    pub(crate) formats: Vec<&'static dyn Format>,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) master_key: sealed::MasterKey,
    pub(crate) topology: topology::Topologies,
    pub(crate) generations: generation::Generations,
    pub(crate) confirmed: follow::Confirmed,
    pub(crate) callers: access::CallerCache,
    pub(crate) signing_keys: identity::SigningKeys,
    pub(crate) assets: open::AssetCache,
    pub(crate) indexes: view::IndexCache,
    /// Bytes of domains, and the generation they were counted in.
    pub(crate) asset_bytes: std::sync::Mutex<std::collections::HashMap<weir_store::rows::Id, (u64, u64)>>,
    pub(crate) upstream: upstream::Upstream,
    pub(crate) limits: limits::Limits,
    pub(crate) metrics: metrics::Metrics,
    pub(crate) jobs: job::Jobs,
}

/// What a [`Registry`] is made of.
pub struct Parts {
    /// Where it remembers.
    pub store: Store,
    /// The formats it knows.
    pub formats: Vec<&'static dyn Format>,
    /// Its settings.
    pub settings: Settings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub secrets: Arc<dyn Secrets>,
    /// Seals secrets at rest.
    pub master_key: sealed::MasterKey,
    /// Asks package managers of this machine for the addresses they are set up with.
    pub discover: Arc<dyn upstream::Discover>,
}

impl Registry {
    /// Puts the parts together. Nothing is read or asked yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, formats, settings, clock, secrets, master_key, discover } = parts;
        let upstream =
            upstream::Upstream::new(discover, settings.document_memory_bytes, settings.max_fetches);
        let limits = limits::Limits::new(&settings);
        let indexes = view::IndexCache::new(settings.index_memory_bytes, settings.cache_folder.clone());
        let mut name = [0; 8];
        secrets.fill(&mut name);
        let instance = format!("weir-{:016x}", u64::from_be_bytes(name));
        let inner = Inner {
            instance,
            store,
            formats,
            settings,
            clock,
            secrets,
            master_key,
            topology: topology::Topologies::default(),
            generations: generation::Generations::new(),
            confirmed: follow::Confirmed::default(),
            callers: access::CallerCache::default(),
            signing_keys: identity::SigningKeys::default(),
            assets: open::AssetCache::default(),
            indexes,
            asset_bytes: std::sync::Mutex::default(),
            upstream,
            limits,
            metrics: metrics::Metrics::default(),
            jobs: job::Jobs::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What this process calls itself in `Via` (RFC 9110, 7.6.3): a request that comes back to it was sent to
    /// an upstream that is this server.
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// The store underneath, for health checks and the commands that open it themselves.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The format of that name.
    pub fn format(&self, name: &str) -> Option<&'static dyn Format> {
        self.inner.formats.iter().copied().find(|format| format.name().as_str() == name)
    }

    /// The format of a package whose name it parsed. Errors: Internal for one that is not built in.
    pub(crate) fn format_named(&self, name: weir_core::FormatName) -> weir_core::Result<&'static dyn Format> {
        let missing = || weir_core::Error::internal(format!("no format {name}"));
        self.format(name.as_str()).ok_or_else(missing)
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The counters.
    pub fn metrics(&self) -> &metrics::Metrics {
        &self.inner.metrics
    }

    /// The time.
    pub fn now(&self) -> weir_core::Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn new_id(&self) -> weir_store::rows::Id {
        weir_store::new_id(&*self.inner.clock, &*self.inner.secrets)
    }
}
