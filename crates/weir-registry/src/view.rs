//! The versions of a package as a repository shows them: its own and those of its chain, nearest first. The index
//! documents rendered from them are in `view/index.rs`.

mod cache;
mod index;
mod load;
mod lru;
mod rendered;

pub use index::{Index, Render, Variant};
pub use rendered::{Payload, Rendered};

pub(crate) use cache::IndexCache;
pub(crate) use load::publish_time;

use crate::Registry;
use crate::aging::is_past;
use crate::format::{RemotePackage, RemoteVersion};
use crate::scope::Scope;
use crate::topology::RepositoryState;
use crate::upstream::large::LargeTurn;
use cache::Stamps;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use weir_core::error::Resource;
use weir_core::path::{HeldVersion, Node, ReservedBy, Stop};
use weir_core::verdict::{Decision, Outcome, Rule, Source, Verdict};
use weir_core::{
    Action, AssetName, ConnectionName, Digest, Error, Origin, OriginKind, PackageName, Result, Timestamp,
};
use weir_store::rows::{Id, PackageRow, VersionRow};

/// A package as one repository shows it: facts, and the documents behind them.
#[derive(Debug, Clone)]
pub struct PackageView {
    pub(crate) facts: Arc<Facts>,
    /// The latest known public indexes, by node.
    pub(crate) remotes: BTreeMap<usize, Arc<RemotePackage>>,
    /// Documents of held versions, loaded for rendering.
    pub(crate) metadata: HashMap<Id, String>,
    /// Of held public versions whose files follow an index: those whose bytes are here. Loaded with
    /// `metadata`.
    pub(crate) files_here: HashMap<Id, HashSet<String>>,
}

/// What is known of a package without its documents.
#[derive(Debug)]
pub struct Facts {
    /// The package.
    pub package: PackageName,
    /// How people write it: `@scope/name`.
    pub(crate) display_name: String,
    /// The repositories of the chain; the asked one is the first.
    pub nodes: Vec<Node>,
    /// The records behind `nodes`, with their versions in the same order as in the node.
    pub(crate) records: Vec<Option<(PackageRow, Vec<VersionRow>)>>,
    /// The repositories behind `nodes`.
    pub(crate) repositories: Vec<Arc<RepositoryState>>,
    /// What is offered and why.
    pub verdict: Verdict,
    /// Why a public registry could not be asked, if one could not.
    pub(crate) failure: Option<Failure>,
    /// Tells what the public indexes said apart.
    pub(crate) fingerprint: Digest,
    /// When everything it was made of was last true.
    pub(crate) stamps: Stamps,
    /// How old the oldest public index is that could not be confirmed, in seconds.
    pub stale_s: Option<i64>,
    /// When a public index must be asked again.
    pub(crate) fresh_until: Option<Timestamp>,
    /// When it was made.
    pub(crate) made_at: Timestamp,
    /// Whether files of its versions follow a public index (`Format::follows_new_files`).
    pub(crate) follows_new_files: bool,
    /// Where in a public index a version stands, and which versions follow none: of a package that has held
    /// versions with files that may.
    pub(crate) following: Following,
    /// Promises of companions that their registry does not keep.
    pub(crate) withdrawn: Arc<HashSet<String>>,
}

impl std::ops::Deref for PackageView {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl PackageView {
    fn of(facts: Arc<Facts>, remotes: BTreeMap<usize, Arc<RemotePackage>>) -> Self {
        Self { facts, remotes, metadata: HashMap::new(), files_here: HashMap::new() }
    }

    /// The document of a version: verbatim as published, or as the public index has it. Of held versions
    /// only inside the `render` of [`Registry::index`] and after [`Registry::view_with_metadata`].
    pub fn metadata(&self, decision: &Decision) -> Option<&str> {
        match decision.source {
            Source::Held { node, version } => {
                self.metadata.get(&self.held_row(node, version)?.content).map(String::as_str)
            }
            Source::Public { node, version } => {
                let remote = self.remotes.get(&node)?;
                Some(remote.text(&remote.versions.get(version)?.metadata))
            }
        }
    }

    /// What the public index says now of a version held from it, while the files of that version follow the
    /// index: its connection is on the path, and every repository of the path that has the version has it
    /// from a public registry with the status Published or Unlisted (`codeartifact.md` 9.2).
    pub fn public_metadata(&self, decision: &Decision) -> Option<&str> {
        if let Source::Public { .. } = decision.source {
            return self.metadata(decision);
        }
        let node = self.followed(decision)?;
        let place = *self.following.places.get(&node)?.get(&decision.key)?;
        let (remote, found) = self.remote_version(node, place)?;
        Some(remote.text(&found.metadata))
    }

    /// The node whose public index the files of a held version follow.
    fn followed(&self, decision: &Decision) -> Option<usize> {
        let Source::Held { node, version } = decision.source else { return None };
        let connection = match &self.held_row(node, version)?.origin {
            Origin::External { connection } if self.follows_new_files => connection,
            Origin::External { .. } | Origin::Internal { .. } => return None,
        };
        if self.following.frozen.contains(&decision.key) { None } else { self.node_leading_to(connection) }
    }

    /// Whether the files of a held version follow a public index that is known.
    pub fn follows_known_index(&self, decision: &Decision) -> bool {
        self.followed(decision).is_some_and(|node| self.remotes.contains_key(&node) || self.failure.is_none())
    }

    /// Whether the bytes of a file of a held version are here: those of internal ones always are. Known only inside
    /// the `render` of [`Registry::index`] and after [`Registry::view_with_metadata`].
    pub fn is_here(&self, decision: &Decision, file: &str) -> bool {
        let Source::Held { node, version } = decision.source else { return false };
        let Some(row) = self.held_row(node, version) else { return false };
        self.files_here.get(&row.content).is_none_or(|here| here.contains(file))
    }

    /// Whether the registry did not give the companion at this address as it had promised (with this digest, in
    /// hex, if with any).
    pub fn is_withdrawn(&self, url: &str, sha256: Option<&str>) -> bool {
        !self.withdrawn.is_empty() && self.withdrawn.contains(&crate::companion::promise(url, sha256))
    }

    /// The row behind a held version.
    pub(crate) fn held_row(&self, node: usize, version: usize) -> Option<&VersionRow> {
        self.records.get(node)?.as_ref()?.1.get(version)
    }

    /// The repository of the path whose connection this is; a control or a reserved name may cut it off.
    pub(crate) fn node_leading_to(&self, connection: &ConnectionName) -> Option<usize> {
        self.verdict.path.stops.iter().find_map(|stop| match *stop {
            Stop::Connection(node) if self.nodes[node].connection.as_ref() == Some(connection) => Some(node),
            Stop::Connection(_) | Stop::Held(_) => None,
        })
    }

    /// Package-level documents, nearest first: those of records, and those of public indexes.
    pub fn package_metadata(&self) -> impl Iterator<Item = &str> {
        self.verdict.path.stops.iter().filter_map(|stop| match stop {
            Stop::Held(node) => {
                let (record, versions) = self.records.get(*node)?.as_ref()?;
                // What a publisher said goes with its last version.
                let published = versions.iter().any(|version| version.origin.kind() == OriginKind::Internal);
                record.metadata.as_deref().filter(|_| published)
            }
            Stop::Connection(node) => {
                let remote = self.remotes.get(node)?;
                Some(remote.text(&remote.metadata))
            }
        })
    }

    /// The external connection behind a version, if it came from a public registry and can be asked on this
    /// path.
    pub fn connection_of(&self, decision: &Decision) -> Option<&ConnectionName> {
        match decision.source {
            Source::Public { node, .. } => self.nodes.get(node)?.connection.as_ref(),
            Source::Held { node, version } => {
                let held = self.nodes.get(node)?.record.as_ref()?.versions.get(version)?;
                let Origin::External { connection } = &held.origin else { return None };
                self.nodes.get(self.node_leading_to(connection)?)?.connection.as_ref()
            }
        }
    }

    /// Whether a version came from a public registry, held here or not.
    pub fn is_public(&self, decision: &Decision) -> bool {
        match decision.source {
            Source::Public { .. } => true,
            Source::Held { node, version } => {
                let held = self.nodes[node].record.as_ref().and_then(|record| record.versions.get(version));
                held.is_some_and(|held| held.origin.kind() == OriginKind::External)
            }
        }
    }

    /// Whether the asked repository holds a record of the package.
    pub fn own_record(&self) -> Option<&PackageRow> {
        self.records.first()?.as_ref().map(|(row, _)| row)
    }

    /// The public version behind a decision.
    pub(crate) fn remote_version(
        &self,
        node: usize,
        version: usize,
    ) -> Option<(&Arc<RemotePackage>, &RemoteVersion)> {
        let remote = self.remotes.get(&node)?;
        Some((remote, remote.versions.get(version)?))
    }
}

/// How the files of held public versions follow public indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Following {
    /// By node, the places of versions (normal forms) in its public index.
    places: HashMap<usize, HashMap<Arc<str>, usize>>,
    /// Versions that a repository of the path published, or hides by a status (`codeartifact.md` 9.2).
    frozen: HashSet<Arc<str>>,
}

impl Following {
    fn of(nodes: &[Node], verdict: &Verdict, remotes: &BTreeMap<usize, Arc<RemotePackage>>) -> Self {
        let records = verdict.path.stops.iter().filter_map(|stop| match *stop {
            Stop::Held(node) => nodes.get(node)?.record.as_ref(),
            Stop::Connection(_) => None,
        });
        let held: Vec<_> = records.flat_map(|record| &record.versions).collect();
        if held.is_empty() {
            return Self::default();
        }
        let is_frozen = |held: &&&HeldVersion| {
            held.origin.kind() == OriginKind::Internal || !held.status.is_downloadable()
        };
        let frozen = held.iter().filter(is_frozen).map(|held| held.key.clone()).collect();
        let place = |(place, version): (usize, &RemoteVersion)| (version.version.key().clone(), place);
        let of_index = |remote: &RemotePackage| remote.versions.iter().enumerate().map(place).collect();
        Self { places: remotes.iter().map(|(node, remote)| (*node, of_index(remote))).collect(), frozen }
    }
}

/// Why a public registry could not be asked.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// It answered with something wrong, rather than not at all.
    pub(crate) bad: bool,
    pub(crate) retry_after: Duration,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn of(error: Error) -> Result<Self> {
        match error {
            Error::Unavailable { retry_after, message } => Ok(Self { bad: false, retry_after, message }),
            Error::BadUpstream { message } => {
                Ok(Self { bad: true, retry_after: Duration::from_secs(5), message })
            }
            other => Err(other),
        }
    }

    pub(crate) fn error(&self) -> Error {
        let (retry_after, message) = (self.retry_after, self.message.clone());
        if self.bad { Error::BadUpstream { message } } else { Error::Unavailable { retry_after, message } }
    }
}

/// How fresh public indexes must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// As the settings say.
    Usual,
    /// Confirmed now (at most once per document in 10 s).
    Now,
    /// Whatever is known; nobody is asked.
    Known,
}

impl PackageView {
    /// Why a version (normal form) cannot be had, or the package when `version` is `None`: an upstream that
    /// does not answer, a rule, or that there is none.
    pub fn refusal(&self, version: Option<&str>) -> Error {
        let what = match version {
            Some(version) => format!("{} {}@{version}", self.package.format, self.display_name),
            None => format!("{} {}", self.package.format, self.display_name),
        };
        let here = self.nodes.first().map_or("", |node| node.repository.as_str());
        let resource = if version.is_some() { Resource::PackageVersion } else { Resource::Package };
        let decision = version.and_then(|key| self.verdict.version(key));
        if let Some(Decision { outcome: Outcome::Withheld { rule, until }, source, .. }) = decision {
            let node = match source {
                Source::Held { node, .. } | Source::Public { node, .. } => *node,
            };
            let holder = if node == 0 { format!("'{here}'") } else { "another repository".to_owned() };
            let why = match rule {
                Rule::Status(status) => format!("its status in {holder} is {status}"),
                Rule::Reserved(_) => "its name is reserved".to_owned(),
                Rule::WaitingTime => "it is younger than the waiting time".to_owned(),
            };
            let until = until.map(|at| format!(" until {at}")).unwrap_or_default();
            return Error::not_found(
                resource,
                what.clone(),
                format!("repository '{here}' withholds {what}{until}: {why}; 'weir explain' tells more"),
            );
        }
        if let Some(failure) = &self.failure {
            return failure.error();
        }
        let mut message = format!("{what} is not in repository '{here}', its upstreams or their connections");
        if let Some(reserved) = &self.verdict.path.reserved {
            let by = match reserved.by {
                ReservedBy::InternalVersion => "a repository on the path holds internal versions of it",
                ReservedBy::PutRecord => "its origin controls say publish ALLOW, upstream BLOCK",
            };
            message = format!("{message}; public registries are not asked for this name since {by}");
        } else if !self.verdict.path.cut_at.is_empty() {
            message =
                format!("{message}; its origin control upstream=BLOCK hides what lies behind a repository");
        }
        Error::not_found(resource, what, message)
    }
}

impl Registry {
    /// The package as the repository shows it, without documents of held versions.
    pub async fn view(
        &self,
        scope: &Scope,
        package: &PackageName,
        freshness: Freshness,
    ) -> Result<Arc<PackageView>> {
        self.authorize_scope(scope, Action::ReadFromRepository)?;
        self.view_unchecked(scope, package, freshness).await
    }

    /// As [`Registry::view`]; the turn that a large document of a public registry took stays in `large`.
    async fn view_to_render(
        &self,
        scope: &Scope,
        package: &PackageName,
        freshness: Freshness,
        large: &LargeTurn,
    ) -> Result<Arc<PackageView>> {
        self.authorize_scope(scope, Action::ReadFromRepository)?;
        self.view_with(scope, package, freshness, large).await
    }

    /// As [`Registry::view`], for use cases that authorized another action.
    pub(crate) async fn view_unchecked(
        &self,
        scope: &Scope,
        package: &PackageName,
        freshness: Freshness,
    ) -> Result<Arc<PackageView>> {
        self.view_with(scope, package, freshness, &LargeTurn::default()).await
    }

    async fn view_with(
        &self,
        scope: &Scope,
        package: &PackageName,
        freshness: Freshness,
        large: &LargeTurn,
    ) -> Result<Arc<PackageView>> {
        let repository = &scope.repository.row.id;
        let stamps = Stamps::now(self, &scope.domain.row.id, package);
        if freshness != Freshness::Now
            && let Some(view) = self.inner.indexes.view(repository, package)
            && view.stamps == stamps
            && (freshness == Freshness::Known || self.is_fresh_view(&view))
        {
            return Ok(Arc::new(view));
        }
        let view = self.load_view(scope, package, freshness, stamps, large).await?;
        if freshness != Freshness::Known {
            self.inner.indexes.put_view(repository, &view);
        }
        Ok(Arc::new(view))
    }

    fn is_fresh_view(&self, view: &PackageView) -> bool {
        let now = self.now();
        view.fresh_until.is_none_or(|until| is_past(view.made_at, now) && now < until)
    }

    /// The view and the decision for a file whose bytes are held, where they are known: that file needs no document
    /// of a public registry, and the view has none.
    pub(crate) async fn view_of_held_file(
        &self,
        scope: &Scope,
        package: &PackageName,
        version_key: &str,
        asset: &AssetName,
    ) -> Result<Option<(Arc<PackageView>, Decision)>> {
        self.authorize_scope(scope, Action::ReadFromRepository)?;
        let stamps = Stamps::now(self, &scope.domain.row.id, package);
        let view = self.inner.indexes.view_without_documents(&scope.repository.row.id, package);
        let Some(view) = view.filter(|view| view.stamps == stamps && self.is_fresh_view(view)) else {
            return Ok(None);
        };
        let offered = |decision: &&Decision| matches!(decision.outcome, Outcome::Offered { .. });
        let Some(decision) = view.verdict.version(version_key).filter(offered) else { return Ok(None) };
        let Source::Held { node, version } = decision.source else { return Ok(None) };
        let Some(row) = view.held_row(node, version) else { return Ok(None) };
        let file = self.held_asset(&row.content, asset).await?;
        let is_held = file.is_some_and(|file| file.is_held());
        let decision = decision.clone();
        Ok(is_held.then(|| (Arc::new(view), decision)))
    }

    /// The view with the documents of every version it lists, for one whose index is not kept (search,
    /// deprecate).
    pub async fn view_with_metadata(
        &self,
        scope: &Scope,
        package: &PackageName,
        freshness: Freshness,
    ) -> Result<PackageView> {
        let view = self.view(scope, package, freshness).await?;
        self.with_metadata(&view).await
    }
}
