//! The one verdict: what a repository offers of a package, what it withholds, by which rule and until
//! when. Index, file, HEAD, search, the control API and `weir explain` all read it (pure).

mod tags;

use crate::name::ConnectionName;
use crate::path::{HeldVersion, Node, Reservation, Rules, SearchPath, Stop};
use crate::version::{Flags, Origin, OriginKind, PublishTime, VersionStatus};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What is known of a public registry's index of the package.
#[derive(Debug, Clone)]
pub enum PublicIndex {
    /// The latest known index (fresh, or stale while the registry is down).
    Known(KnownIndex),
    /// The registry has no such package.
    Absent,
    /// Nothing is known and the registry does not answer; the text says why.
    Unavailable(String),
}

/// A public index, reduced to what the verdict needs.
#[derive(Debug, Clone, Default)]
pub struct KnownIndex {
    /// Its versions, in any order.
    pub versions: Vec<PublicVersion>,
    /// Its tags.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

/// One version a public index offers.
#[derive(Debug, Clone)]
pub struct PublicVersion {
    /// Normal form.
    pub key: Arc<str>,
    /// As published.
    pub text: Arc<str>,
    /// When it was published there.
    pub time: PublishTime,
    /// What the index says of it now.
    pub flags: Flags,
}

/// Puts versions in the order of their ecosystem.
pub trait VersionOrder {
    /// Compares two versions in normal form.
    fn compare(&self, left: &str, right: &str) -> std::cmp::Ordering;
    /// Whether it is not a pre-release.
    fn is_stable(&self, key: &str) -> bool;
}

/// What a repository offers of a package, and why.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// One decision for each version known anywhere on the path, sorted by key (byte order).
    pub versions: Vec<Decision>,
    /// The tags whose version is offered and listed; `latest` falls back as `weir.md` 4 says.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    /// The path that was searched.
    pub path: SearchPath,
    /// Connections (node indexes) of which nothing is known because they do not answer, with the reason.
    pub unavailable: Vec<(usize, String)>,
    /// When the next withheld version is released by time alone.
    pub changes_at: Option<Timestamp>,
}

/// The decision on one version.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Normal form.
    pub key: Arc<str>,
    /// As published.
    pub text: Arc<str>,
    /// Who decides it: the nearest that holds or offers it.
    pub source: Source,
    /// Offered or withheld.
    pub outcome: Outcome,
    /// When it came into the world.
    pub time: PublishTime,
    /// What is said of it now: for EXTERNAL held versions by the latest known index of their connection.
    pub flags: Flags,
}

/// Who decides a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A repository's record: node, and index into its held versions.
    Held {
        /// Index in the graph.
        node: usize,
        /// Index into the record's versions.
        version: usize,
    },
    /// A public index: the node whose connection it is, and index into the index's versions.
    Public {
        /// Index in the graph.
        node: usize,
        /// Index into the known index's versions.
        version: usize,
    },
}

/// Offered or withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Clients may have it; an unlisted one by exact request only.
    Offered {
        /// Whether indexes show it.
        listed: bool,
    },
    /// Clients may not have it.
    Withheld {
        /// The rule.
        rule: Rule,
        /// When time alone will release it.
        until: Option<Timestamp>,
    },
}

/// Why a version is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The deciding record's status is Archived, Disposed or Unfinished.
    Status(VersionStatus),
    /// The name is reserved and the version is public.
    Reserved(Reservation),
    /// It is younger than the waiting time.
    WaitingTime,
}

impl Verdict {
    /// The decision on a version in normal form.
    pub fn version(&self, key: &str) -> Option<&Decision> {
        let at = self.versions.binary_search_by(|d| (*d.key).cmp(key)).ok()?;
        self.versions.get(at)
    }

    /// The versions that indexes show, in the order of `versions`.
    pub fn listed(&self) -> impl Iterator<Item = &Decision> {
        self.versions.iter().filter(|d| d.outcome == Outcome::Offered { listed: true })
    }

    /// Whether a client may have this version by exact request.
    pub fn offers(&self, key: &str) -> bool {
        matches!(self.version(key), Some(Decision { outcome: Outcome::Offered { .. }, .. }))
    }
}

/// Decides every version known on `path`: the first stop that holds or offers it has the say.
///
/// `indexes` has what is known of the connections, by node; one that is missing offers nothing. An index
/// given for a connection that is left out, since the name is reserved, shows what is withheld for it.
pub fn decide(
    nodes: &[Node],
    path: SearchPath,
    indexes: &BTreeMap<usize, PublicIndex>,
    rules: &Rules,
    now: Timestamp,
    order: &dyn VersionOrder,
) -> Verdict {
    let versions = decide_versions(nodes, &path, indexes, rules, now);
    let unavailable = path.connections().filter_map(|node| match indexes.get(&node)? {
        PublicIndex::Unavailable(reason) => Some((node, reason.clone())),
        PublicIndex::Known(_) | PublicIndex::Absent => None,
    });
    let unavailable = unavailable.collect();
    let released = versions.iter().filter_map(|decision| match decision.outcome {
        Outcome::Withheld { until, .. } => until,
        Outcome::Offered { .. } => None,
    });
    let changes_at = released.min();
    let tags = tags::offered_tags(nodes, &path, indexes, &versions, order);
    Verdict { versions, tags, path, unavailable, changes_at }
}

fn decide_versions(
    nodes: &[Node],
    path: &SearchPath,
    indexes: &BTreeMap<usize, PublicIndex>,
    rules: &Rules,
    now: Timestamp,
) -> Vec<Decision> {
    let flags = PublicFlags::of(nodes, path, indexes);
    let mut decisions = BTreeMap::new();
    for stop in &path.stops {
        match *stop {
            Stop::Held(node) => {
                for (version, held) in held_versions(nodes, node) {
                    let decide = || decide_held(held, Source::Held { node, version }, &flags);
                    decisions.entry(held.key.clone()).or_insert_with(decide);
                }
            }
            Stop::Connection(node) => {
                for (version, public) in public_versions(indexes, node) {
                    let outcome = || outcome_of_public(public, rules, now);
                    let decide = || decide_public(public, Source::Public { node, version }, outcome());
                    decisions.entry(public.key.clone()).or_insert_with(decide);
                }
            }
        }
    }
    if let Some(reservation) = &path.reserved {
        for node in path.left_out.iter().copied() {
            for (version, public) in public_versions(indexes, node) {
                let outcome = || Outcome::Withheld { rule: Rule::Reserved(reservation.clone()), until: None };
                let decide = || decide_public(public, Source::Public { node, version }, outcome());
                decisions.entry(public.key.clone()).or_insert_with(decide);
            }
        }
    }
    decisions.into_values().collect()
}

fn decide_held(held: &HeldVersion, source: Source, public: &PublicFlags<'_>) -> Decision {
    let followed =
        if held.status.is_downloadable() { public.of_version(&held.origin, &held.key) } else { None };
    let flags = followed.unwrap_or(&held.flags).clone();
    let outcome = match held.status {
        VersionStatus::Published => Outcome::Offered { listed: !flags.unlisted },
        VersionStatus::Unlisted => Outcome::Offered { listed: false },
        status @ (VersionStatus::Unfinished | VersionStatus::Archived | VersionStatus::Disposed) => {
            Outcome::Withheld { rule: Rule::Status(status), until: None }
        }
    };
    Decision { key: held.key.clone(), text: held.text.clone(), source, outcome, time: held.time, flags }
}

fn decide_public(public: &PublicVersion, source: Source, outcome: Outcome) -> Decision {
    Decision {
        key: public.key.clone(),
        text: public.text.clone(),
        source,
        outcome,
        time: public.time,
        flags: public.flags.clone(),
    }
}

fn outcome_of_public(public: &PublicVersion, rules: &Rules, now: Timestamp) -> Outcome {
    if let Some(waiting) = rules.waiting_time {
        let waiting = SignedDuration::try_from(waiting).unwrap_or(SignedDuration::MAX);
        let until = public.time.at.saturating_add(waiting).expect("a signed duration is always valid here");
        if now < until {
            return Outcome::Withheld { rule: Rule::WaitingTime, until: Some(until) };
        }
    }
    Outcome::Offered { listed: !public.flags.unlisted }
}

fn held_versions(nodes: &[Node], node: usize) -> impl Iterator<Item = (usize, &HeldVersion)> {
    nodes[node].record.iter().flat_map(|record| record.versions.iter().enumerate())
}

fn public_versions(
    indexes: &BTreeMap<usize, PublicIndex>,
    node: usize,
) -> impl Iterator<Item = (usize, &PublicVersion)> {
    known(indexes, node).into_iter().flat_map(|index| index.versions.iter().enumerate())
}

fn known(indexes: &BTreeMap<usize, PublicIndex>, node: usize) -> Option<&KnownIndex> {
    match indexes.get(&node)? {
        PublicIndex::Known(index) => Some(index),
        PublicIndex::Absent | PublicIndex::Unavailable(_) => None,
    }
}

/// What the public indexes of the path say now of versions held from them.
struct PublicFlags<'a> {
    by_connection: HashMap<&'a ConnectionName, HashMap<&'a str, &'a Flags>>,
}

impl<'a> PublicFlags<'a> {
    fn of(nodes: &'a [Node], path: &SearchPath, indexes: &'a BTreeMap<usize, PublicIndex>) -> Self {
        let mut by_connection: HashMap<_, HashMap<_, _>> = HashMap::new();
        let mut held = path.repositories().flat_map(|node| held_versions(nodes, node));
        if !held.any(|(_, version)| version.origin.kind() == OriginKind::External) {
            return Self { by_connection };
        }
        for node in path.connections().chain(path.left_out.iter().copied()) {
            let Some(connection) = &nodes[node].connection else { continue };
            let flags = by_connection.entry(connection).or_default();
            for (_, public) in public_versions(indexes, node) {
                flags.entry(&*public.key).or_insert(&public.flags);
            }
        }
        Self { by_connection }
    }

    fn of_version(&self, origin: &Origin, key: &str) -> Option<&'a Flags> {
        match origin {
            Origin::External { connection } => self.by_connection.get(connection)?.get(key).copied(),
            Origin::Internal { .. } => None,
        }
    }
}
