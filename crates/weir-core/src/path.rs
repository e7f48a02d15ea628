//! In which order the repositories of a chain are asked for one package (pure).
//!
//! Depth first in the order of upstreams, each repository's own external connection after its
//! upstreams (AWS guide, page repo-upstream-search-order; `weir.md` section 4).

use crate::name::{ConnectionName, RepositoryName};
use crate::origin::{Control, Controls, OriginControls};
use crate::quota;
use crate::version::{Flags, Origin, OriginKind, PublishTime, VersionStatus};
use jiff::Timestamp;
use std::sync::Arc;

/// One repository of the graph that can be reached from the asked one, and what it holds of the package.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, for the steps.
    pub repository: RepositoryName,
    /// Indexes of its upstreams in the graph, in priority order.
    pub upstreams: Vec<usize>,
    /// Its external connection, if it has one for this format.
    pub connection: Option<ConnectionName>,
    /// Its record of the package, if it has one.
    pub record: Option<Record>,
}

/// What one repository holds of the package.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Origin controls, learned and put.
    pub controls: OriginControls,
    /// When an INTERNAL version first came to this repository, if one ever did.
    pub first_internal_at: Option<Timestamp>,
    /// When an EXTERNAL version first came to this repository, if one ever did.
    pub first_external_at: Option<Timestamp>,
    /// The versions held, in any order.
    pub versions: Vec<HeldVersion>,
    /// The repository's own tags.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

/// A version a repository holds.
#[derive(Debug, Clone)]
pub struct HeldVersion {
    /// Normal form.
    pub key: Arc<str>,
    /// As published.
    pub text: Arc<str>,
    /// Its status here.
    pub status: VersionStatus,
    /// Where it entered the domain.
    pub origin: Origin,
    /// When it came into the world.
    pub time: PublishTime,
    /// What the registry (or `npm deprecate`) said of it.
    pub flags: Flags,
}

/// A stop of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// What a repository holds (index in the graph).
    Held(usize),
    /// The external connection of a repository (index in the graph).
    Connection(usize),
}

/// The order of a search for one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    /// In the order they are asked. Connections are left out while the name is reserved.
    pub stops: Vec<Stop>,
    /// Why public versions are invisible on this path, if they are.
    pub reserved: Option<Reservation>,
    /// Repositories whose connection is left out because the name is reserved, in the order they would
    /// have been asked.
    pub left_out: Vec<usize>,
    /// The first repository whose INTERNAL version would reserve the name, had the path not held an
    /// EXTERNAL version before it; AWS's merge applies, and publish and explain say so.
    pub merged_at: Option<usize>,
    /// Repositories behind which nothing was searched, because their record says upstream=BLOCK.
    pub cut_at: Vec<usize>,
    /// Whether the limit of 25 repositories left some unsearched.
    pub truncated: bool,
}

/// Why a name is reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The repository (index in the graph) whose record reserves it.
    pub node: usize,
    /// By what.
    pub by: ReservedBy,
}

/// What reserves a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservedBy {
    /// An INTERNAL version is held there, or was and the record still stands.
    InternalVersion,
    /// Its record was put to publish ALLOW, upstream BLOCK.
    PutRecord,
}

impl SearchPath {
    /// The repositories searched, in order.
    pub fn repositories(&self) -> impl Iterator<Item = usize> {
        self.stops.iter().filter_map(|stop| match stop {
            Stop::Held(node) => Some(*node),
            Stop::Connection(_) => None,
        })
    }

    /// The repositories whose connections are asked, in order.
    pub fn connections(&self) -> impl Iterator<Item = usize> {
        self.stops.iter().filter_map(|stop| match stop {
            Stop::Connection(node) => Some(*node),
            Stop::Held(_) => None,
        })
    }
}

/// The rules of a deployment that bear on what a repository offers.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `reserve-internal-names`.
    pub reserve_internal_names: bool,
    /// Public versions younger than this are withheld, if set.
    pub waiting_time: Option<std::time::Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { reserve_internal_names: true, waiting_time: None }
    }
}

/// Finds the order in which the repositories reachable from `asked` (an index of `nodes`) are searched.
pub fn search_path(nodes: &[Node], asked: usize, rules: &Rules) -> SearchPath {
    let mut path = SearchPath {
        stops: Vec::new(),
        reserved: None,
        left_out: Vec::new(),
        merged_at: None,
        cut_at: Vec::new(),
        truncated: false,
    };
    visit(nodes, asked, &mut vec![false; nodes.len()], &mut path);
    if rules.reserve_internal_names {
        reserve(nodes, &mut path);
    }
    path
}

/// At most 25 deep, since every level adds a repository.
fn visit(nodes: &[Node], at: usize, visited: &mut [bool], path: &mut SearchPath) {
    if visited[at] {
        return;
    }
    if path.repositories().count() == quota::REPOSITORIES_SEARCHED {
        path.truncated = true;
        return;
    }
    visited[at] = true;
    path.stops.push(Stop::Held(at));
    let node = &nodes[at];
    if node.is_cut() {
        path.cut_at.push(at);
        return;
    }
    for upstream in &node.upstreams {
        visit(nodes, *upstream, visited, path);
    }
    if node.connection.is_some() {
        path.stops.push(Stop::Connection(at));
    }
}

/// Takes the public registries off the path of a reserved name.
fn reserve(nodes: &[Node], path: &mut SearchPath) {
    let records: Vec<(usize, &Record)> =
        path.repositories().filter_map(|at| Some((at, nodes[at].record.as_ref()?))).collect();
    let first_external = records.iter().filter_map(|(_, record)| record.first_external_at).min();
    let first_internal = records.iter().filter_map(|(_, record)| record.first_internal_at).min();
    let external_came_first =
        first_external.zip(first_internal).is_some_and(|(external, internal)| external < internal);
    path.reserved = records.iter().find_map(|(node, record)| {
        let by = if !external_came_first && record.claims_the_name() {
            ReservedBy::InternalVersion
        } else if record.controls.put == Some(Controls::PUBLISHED) {
            ReservedBy::PutRecord
        } else {
            return None;
        };
        Some(Reservation { node: *node, by })
    });
    if path.reserved.is_none() {
        path.merged_at = records.iter().find(|(_, record)| record.claims_the_name()).map(|(node, _)| *node);
        return;
    }
    path.left_out = path.connections().collect();
    path.stops.retain(|stop| matches!(stop, Stop::Held(_)));
}

impl Node {
    /// Whether its record says upstream=BLOCK, so that nothing behind it is searched.
    pub fn is_cut(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.controls.effective().upstream == Control::Block)
    }
}

impl Record {
    /// Whether it holds an INTERNAL version or once did, and nobody gave the name up by hand (upstream
    /// ALLOW): unpublishing every version frees no name, deleting the record does.
    fn claims_the_name(&self) -> bool {
        let holds_one = || self.versions.iter().any(|version| version.origin.kind() == OriginKind::Internal);
        self.controls.put.is_none_or(|put| put.upstream == Control::Block)
            && (self.first_internal_at.is_some() || holds_one())
    }
}
