//! The tags a repository offers: those of its upstreams override its own, as AWS does, and none points
//! at a version that indexes do not show (`weir.md` section 4).

use super::{Decision, Outcome, PublicIndex, VersionOrder, known};
use crate::path::{Node, SearchPath, Stop};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

type Tags<'a> = BTreeMap<&'a Arc<str>, &'a Arc<str>>;

/// The tags of the asked repository, sorted by name; `versions` are sorted by key.
pub(super) fn offered_tags(
    nodes: &[Node],
    path: &SearchPath,
    indexes: &BTreeMap<usize, PublicIndex>,
    versions: &[Decision],
    order: &dyn VersionOrder,
) -> Vec<(Arc<str>, Arc<str>)> {
    let Some(asked) = path.repositories().next() else { return Vec::new() };
    let mut graph = Graph { nodes, path, indexes, memo: HashMap::new() };
    graph.collect(asked);
    let targets = Targets { nodes, path, indexes, versions, key_of_text: OnceCell::new() };
    let mut tags: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    for (name, target) in &graph.memo[&asked] {
        if let Some(decision) = targets.listed(target) {
            tags.insert((*name).clone(), decision.text.clone());
        }
    }
    if !tags.contains_key("latest")
        && let Some(highest) = highest(versions, order)
    {
        tags.insert("latest".into(), highest.text.clone());
    }
    tags.into_iter().collect()
}

struct Graph<'a> {
    nodes: &'a [Node],
    path: &'a SearchPath,
    indexes: &'a BTreeMap<usize, PublicIndex>,
    memo: HashMap<usize, Tags<'a>>,
}

impl<'a> Graph<'a> {
    /// Fills the memo for `at` and all it reaches; at most 25 deep, since every level adds an entry.
    fn collect(&mut self, at: usize) {
        // Entered first, so that a cycle, which is refused elsewhere, could not hang this.
        self.memo.insert(at, Tags::new());
        let node = &self.nodes[at];
        let mut tags = Tags::new();
        if !node.is_cut() {
            for upstream in node.upstreams.iter().copied() {
                if !self.path.stops.contains(&Stop::Held(upstream)) {
                    continue;
                }
                if !self.memo.contains_key(&upstream) {
                    self.collect(upstream);
                }
                add(&mut tags, self.memo[&upstream].iter().map(|(name, target)| (*name, *target)));
            }
            if self.path.stops.contains(&Stop::Connection(at)) {
                let public = known(self.indexes, at).into_iter().flat_map(|index| &index.tags);
                add(&mut tags, public.map(|(name, target)| (name, target)));
            }
        }
        let own = node.record.iter().flat_map(|record| &record.tags);
        add(&mut tags, own.map(|(name, target)| (name, target)));
        self.memo.insert(at, tags);
    }
}

/// Adds the tags whose name is not there yet.
fn add<'a>(tags: &mut Tags<'a>, more: impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>)>) {
    for (name, target) in more {
        tags.entry(name).or_insert(target);
    }
}

/// Finds the version that a tag means by its normal form or by any text it has on the path.
struct Targets<'a> {
    nodes: &'a [Node],
    path: &'a SearchPath,
    indexes: &'a BTreeMap<usize, PublicIndex>,
    versions: &'a [Decision],
    /// Made when first needed: in most formats the text is the normal form.
    key_of_text: OnceCell<HashMap<&'a str, &'a str>>,
}

impl<'a> Targets<'a> {
    fn listed(&self, target: &str) -> Option<&'a Decision> {
        let by_key = |key: &str| self.versions.binary_search_by(|decision| (*decision.key).cmp(key)).ok();
        let at = by_key(target)
            .or_else(|| by_key(self.key_of_text.get_or_init(|| self.keys_by_text()).get(target)?))?;
        let decision = &self.versions[at];
        (decision.outcome == Outcome::Offered { listed: true }).then_some(decision)
    }

    fn keys_by_text(&self) -> HashMap<&'a str, &'a str> {
        let mut keys = HashMap::new();
        for stop in &self.path.stops {
            match *stop {
                Stop::Held(node) => {
                    let held = self.nodes[node].record.iter().flat_map(|record| &record.versions);
                    for version in held {
                        keys.entry(&*version.text).or_insert(&*version.key);
                    }
                }
                Stop::Connection(node) => {
                    let public = known(self.indexes, node).into_iter().flat_map(|index| &index.versions);
                    for version in public {
                        keys.entry(&*version.text).or_insert(&*version.key);
                    }
                }
            }
        }
        keys
    }
}

/// The highest listed stable version, else the highest listed.
fn highest<'a>(versions: &'a [Decision], order: &dyn VersionOrder) -> Option<&'a Decision> {
    let listed = || versions.iter().filter(|decision| decision.outcome == Outcome::Offered { listed: true });
    let by_order = |left: &&Decision, right: &&Decision| order.compare(&left.key, &right.key);
    let stable = listed().filter(|decision| order.is_stable(&decision.key)).max_by(by_order);
    stable.or_else(|| listed().max_by(by_order))
}
