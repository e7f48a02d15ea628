//! The search path and the verdict agree with a naive model on random graphs: one that walks every
//! path again and again, keeps nothing and looks everything up by going through all there is.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use weir_core::path::{HeldVersion, Node, Record, Reservation, ReservedBy, Rules, Stop, search_path};
use weir_core::verdict::{
    KnownIndex, Outcome, PublicIndex, PublicVersion, Rule, Source, Verdict, VersionOrder, decide,
};
use weir_core::{
    ConnectionName, Control, Controls, Flags, Origin, OriginControls, OriginKind, PublishTime,
    RepositoryName, TimeSource, Timestamp, VersionStatus,
};

type Indexes = BTreeMap<usize, PublicIndex>;
type Tags = BTreeMap<Arc<str>, Arc<str>>;

/// Three stable versions and two that are not, in an order that is not that of bytes.
const KEYS: [&str; 5] = ["1", "2", "10", "3-a", "11-b"];
const CONNECTIONS: [&str; 2] = ["public:one", "public:two"];

struct ByNumber;

fn number(key: &str) -> u32 {
    key.split('-').next().and_then(|digits| digits.parse().ok()).expect("keys begin with a number")
}

impl VersionOrder for ByNumber {
    fn compare(&self, left: &str, right: &str) -> Ordering {
        number(left).cmp(&number(right))
    }

    fn is_stable(&self, key: &str) -> bool {
        !key.contains('-')
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("small")
}

// What a case is made of.

fn key() -> impl Strategy<Value = &'static str> {
    select(&KEYS[..])
}

/// Held and public texts of one key differ now and then, and so do the tags that name them.
fn text(key: &str, spelled_out: bool) -> Arc<str> {
    if spelled_out { format!("v{key}").into() } else { key.into() }
}

fn flags() -> impl Strategy<Value = Flags> {
    (any::<bool>(), option::of(select(&["old", "broken"][..]))).prop_map(|(unlisted, deprecated)| Flags {
        deprecated: deprecated.map(Arc::from),
        yanked: None,
        unlisted,
    })
}

fn time() -> impl Strategy<Value = PublishTime> {
    (850_i64..1000).prop_map(|second| PublishTime { at: at(second), source: TimeSource::Registry })
}

fn connection() -> impl Strategy<Value = ConnectionName> {
    select(&CONNECTIONS[..]).prop_map(|name| ConnectionName::parse("connection", name).expect("valid"))
}

fn repository(node: usize) -> RepositoryName {
    RepositoryName::parse("repository", &format!("repository-{node}")).expect("valid")
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        1 => Just(Origin::Internal { repository: repository(0) }),
        3 => connection().prop_map(|connection| Origin::External { connection }),
    ]
}

fn status() -> impl Strategy<Value = VersionStatus> {
    prop_oneof![
        4 => Just(VersionStatus::Published),
        2 => Just(VersionStatus::Unlisted),
        1 => Just(VersionStatus::Unfinished),
        1 => Just(VersionStatus::Archived),
        1 => Just(VersionStatus::Disposed),
    ]
}

fn tags() -> impl Strategy<Value = Vec<(Arc<str>, Arc<str>)>> {
    let target = (key(), any::<bool>()).prop_map(|(key, spelled_out)| text(key, spelled_out));
    btree_map(select(&["latest", "next", "old"][..]).prop_map(Arc::from), target, 0..3)
        .prop_map(|tags| tags.into_iter().collect())
}

fn controls() -> impl Strategy<Value = Controls> {
    let control = || prop_oneof![2 => Just(Control::Allow), 1 => Just(Control::Block)];
    (control(), control()).prop_map(|(publish, upstream)| Controls { publish, upstream })
}

fn record() -> impl Strategy<Value = Record> {
    let controls = (option::weighted(0.4, controls()), option::weighted(0.3, controls()));
    let moments = || option::of((0_i64..10).prop_map(at));
    let version = (any::<bool>(), status(), origin(), time(), flags());
    (controls, moments(), moments(), btree_map(key(), version, 0..4), tags()).prop_map(
        |((learned, put), first_internal_at, first_external_at, versions, tags)| Record {
            controls: OriginControls { learned, put },
            first_internal_at,
            first_external_at,
            versions: versions
                .into_iter()
                .map(|(key, (spelled_out, status, origin, time, flags))| HeldVersion {
                    key: key.into(),
                    text: text(key, spelled_out),
                    status,
                    origin,
                    time,
                    flags,
                })
                .collect(),
            tags,
        },
    )
}

fn index() -> impl Strategy<Value = PublicIndex> {
    let versions = btree_map(key(), (any::<bool>(), time(), flags()), 0..5);
    let known = (versions, tags()).prop_map(|(versions, tags)| {
        let versions = versions.into_iter().map(|(key, (spelled_out, time, flags))| PublicVersion {
            key: key.into(),
            text: text(key, spelled_out),
            time,
            flags,
        });
        PublicIndex::Known(KnownIndex { versions: versions.collect(), tags })
    });
    prop_oneof![
        4 => known,
        1 => Just(PublicIndex::Absent),
        1 => Just(PublicIndex::Unavailable("silent".to_owned())),
    ]
}

/// Upstreams lead from a node to later ones, in any order, so that there are diamonds and no cycles.
fn graph() -> impl Strategy<Value = (Vec<Node>, Indexes)> {
    (1_usize..=8).prop_flat_map(|size| {
        let upstreams: Vec<_> = (0..size)
            .map(|node| subsequence((node + 1..size).collect::<Vec<_>>(), 0..size - node).prop_shuffle())
            .collect();
        let node = (
            option::weighted(0.6, connection()),
            option::weighted(0.6, record()),
            option::weighted(0.9, index()),
        );
        (upstreams, vec(node, size)).prop_map(|(upstreams, parts)| {
            let mut indexes = Indexes::new();
            let mut nodes = Vec::new();
            for (node, (upstreams, (connection, record, index))) in
                upstreams.into_iter().zip(parts).enumerate()
            {
                indexes.extend(index.map(|index| (node, index)));
                nodes.push(Node { repository: repository(node), upstreams, connection, record });
            }
            (nodes, indexes)
        })
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    (any::<bool>(), option::of(Just(Duration::from_secs(100))))
        .prop_map(|(reserve_internal_names, waiting_time)| Rules { reserve_internal_names, waiting_time })
}

// The naive model.

struct Model<'a> {
    nodes: &'a [Node],
    asked: usize,
    indexes: &'a Indexes,
    rules: &'a Rules,
    now: Timestamp,
}

fn first_of_each<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let is_first = |place: &usize| !items[..*place].contains(&items[*place]);
    (0..items.len()).filter(is_first).map(|place| items[place].clone()).collect()
}

impl Model<'_> {
    fn blocks(&self, node: usize) -> bool {
        let Some(record) = &self.nodes[node].record else { return false };
        match (record.controls.put, record.controls.learned) {
            (Some(put), _) => put.upstream == Control::Block,
            (None, Some(learned)) => learned.upstream == Control::Block,
            (None, None) => false,
        }
    }

    /// Every stop of every way, as often as it is met.
    fn walk(&self, node: usize) -> Vec<Stop> {
        let mut stops = vec![Stop::Held(node)];
        if !self.blocks(node) {
            stops.extend(self.nodes[node].upstreams.iter().flat_map(|upstream| self.walk(*upstream)));
            stops.extend(self.nodes[node].connection.iter().map(|_| Stop::Connection(node)));
        }
        stops
    }

    fn all_stops(&self) -> Vec<Stop> {
        first_of_each(&self.walk(self.asked))
    }

    fn visited(&self) -> Vec<usize> {
        let repository = |stop: Stop| if let Stop::Held(node) = stop { Some(node) } else { None };
        self.all_stops().into_iter().filter_map(repository).collect()
    }

    fn reservation(&self) -> Option<Reservation> {
        if !self.rules.reserve_internal_names {
            return None;
        }
        let record = |node: &usize| self.nodes[*node].record.as_ref();
        let visited = self.visited();
        let externals: BTreeSet<_> =
            visited.iter().filter_map(record).filter_map(|r| r.first_external_at).collect();
        let internals: BTreeSet<_> =
            visited.iter().filter_map(record).filter_map(|r| r.first_internal_at).collect();
        let merged = matches!((externals.first(), internals.first()), (Some(e), Some(i)) if e < i);
        for node in visited {
            let Some(record) = &self.nodes[node].record else { continue };
            let put_publish = record.controls.put.map(|put| put.publish);
            let put_upstream = record.controls.put.map(|put| put.upstream);
            if put_upstream == Some(Control::Allow) {
                continue;
            }
            let internal = record.first_internal_at.is_some()
                || record.versions.iter().any(|version| matches!(version.origin, Origin::Internal { .. }));
            if internal && !merged {
                return Some(Reservation { node, by: ReservedBy::InternalVersion });
            }
            if put_publish == Some(Control::Allow) && put_upstream == Some(Control::Block) {
                return Some(Reservation { node, by: ReservedBy::PutRecord });
            }
        }
        None
    }

    fn stops(&self) -> Vec<Stop> {
        let mut stops = self.all_stops();
        if self.reservation().is_some() {
            stops.retain(|stop| matches!(stop, Stop::Held(_)));
        }
        stops
    }

    fn index(&self, node: usize) -> KnownIndex {
        match self.indexes.get(&node) {
            Some(PublicIndex::Known(index)) => index.clone(),
            _ => KnownIndex::default(),
        }
    }

    fn held(&self, node: usize) -> Vec<HeldVersion> {
        self.nodes[node].record.clone().unwrap_or_default().versions
    }

    fn current_flags(&self, held: &HeldVersion) -> Flags {
        let Origin::External { connection } = &held.origin else { return held.flags.clone() };
        if !matches!(held.status, VersionStatus::Published | VersionStatus::Unlisted) {
            return held.flags.clone();
        }
        for stop in self.all_stops() {
            let Stop::Connection(node) = stop else { continue };
            if self.nodes[node].connection.as_ref() != Some(connection) {
                continue;
            }
            if let Some(public) = self.index(node).versions.into_iter().find(|public| public.key == held.key)
            {
                return public.flags;
            }
        }
        held.flags.clone()
    }

    /// Source, text, outcome and flags of one version, if it is known on the path.
    fn version(&self, key: &str) -> Option<(Source, Arc<str>, Outcome, Flags)> {
        let reservation = self.reservation();
        for stop in self.stops() {
            match stop {
                Stop::Held(node) => {
                    let Some(version) = self.held(node).iter().position(|held| *held.key == *key) else {
                        continue;
                    };
                    let held = &self.held(node)[version];
                    let flags = self.current_flags(held);
                    let outcome = match held.status {
                        VersionStatus::Published if flags.unlisted => Outcome::Offered { listed: false },
                        VersionStatus::Published => Outcome::Offered { listed: true },
                        VersionStatus::Unlisted => Outcome::Offered { listed: false },
                        other => Outcome::Withheld { rule: Rule::Status(other), until: None },
                    };
                    return Some((Source::Held { node, version }, held.text.clone(), outcome, flags));
                }
                Stop::Connection(node) => {
                    let Some((source, public)) = self.public(node, key) else { continue };
                    let free_at = self.rules.waiting_time.map(|waiting| public.time.at + waiting);
                    let outcome = match free_at {
                        Some(free_at) if free_at > self.now => {
                            Outcome::Withheld { rule: Rule::WaitingTime, until: Some(free_at) }
                        }
                        _ => Outcome::Offered { listed: !public.flags.unlisted },
                    };
                    return Some((source, public.text, outcome, public.flags));
                }
            }
        }
        for stop in self.all_stops() {
            let Stop::Connection(node) = stop else { continue };
            let Some((source, public)) = self.public(node, key) else { continue };
            let rule = Rule::Reserved(reservation.expect("else the stop was left in"));
            return Some((source, public.text, Outcome::Withheld { rule, until: None }, public.flags));
        }
        None
    }

    fn public(&self, node: usize, key: &str) -> Option<(Source, PublicVersion)> {
        let versions = self.index(node).versions;
        let version = versions.iter().position(|public| *public.key == *key)?;
        Some((Source::Public { node, version }, versions[version].clone()))
    }

    /// Later layers override earlier ones: own, connection, upstreams from the last to the first.
    fn all_tags(&self, node: usize) -> Tags {
        let mut tags: Tags = self.nodes[node].record.clone().unwrap_or_default().tags.into_iter().collect();
        if self.blocks(node) {
            return tags;
        }
        if self.stops().contains(&Stop::Connection(node)) {
            tags.extend(self.index(node).tags);
        }
        for upstream in self.nodes[node].upstreams.iter().rev() {
            tags.extend(self.all_tags(*upstream));
        }
        tags
    }

    fn listed(&self) -> BTreeMap<&'static str, Arc<str>> {
        let listed = |key: &&'static str| match self.version(key)? {
            (_, text, Outcome::Offered { listed: true }, _) => Some((*key, text)),
            _ => None,
        };
        KEYS.iter().filter_map(listed).collect()
    }

    fn tags(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let listed = self.listed();
        let known_texts: BTreeSet<Arc<str>> = self
            .stops()
            .into_iter()
            .flat_map(|stop| -> Vec<Arc<str>> {
                match stop {
                    Stop::Held(node) => self.held(node).into_iter().map(|held| held.text).collect(),
                    Stop::Connection(node) => self.index(node).versions.into_iter().map(|p| p.text).collect(),
                }
            })
            .collect();
        let mut tags = Tags::new();
        for (name, target) in self.all_tags(self.asked) {
            let key = target.strip_prefix('v').unwrap_or(&target);
            let is_known = *key == *target || known_texts.contains(&target);
            if let Some(text) = listed.get(key).filter(|_| is_known) {
                tags.insert(name, text.clone());
            }
        }
        if !tags.contains_key("latest") {
            let stable =
                listed.iter().filter(|(key, _)| ByNumber.is_stable(key)).max_by_key(|(key, _)| number(key));
            let highest = stable.or(listed.iter().max_by_key(|(key, _)| number(key)));
            tags.extend(highest.map(|(_, text)| ("latest".into(), text.clone())));
        }
        tags.into_iter().collect()
    }

    fn assert_agrees(&self, verdict: &Verdict) {
        let path = &verdict.path;
        assert_eq!(path.stops, self.stops());
        assert_eq!(path.reserved, self.reservation());
        let cut: Vec<usize> = self.visited().into_iter().filter(|node| self.blocks(*node)).collect();
        assert_eq!(path.cut_at, cut);
        assert!(!path.truncated);

        let found: Vec<_> = verdict
            .versions
            .iter()
            .map(|d| (&*d.key, (d.source, d.text.clone(), d.outcome.clone(), d.flags.clone())))
            .collect();
        let keys: BTreeSet<&str> = KEYS.into_iter().collect();
        let expected: Vec<_> = keys.into_iter().filter_map(|key| Some((key, self.version(key)?))).collect();
        assert_eq!(found, expected);
        assert_eq!(verdict.tags, self.tags());

        let silent = |stop: &Stop| match stop {
            Stop::Connection(node) => {
                matches!(self.indexes.get(node), Some(PublicIndex::Unavailable(_))).then_some(*node)
            }
            Stop::Held(_) => None,
        };
        let unavailable: Vec<usize> = verdict.unavailable.iter().map(|(node, _)| *node).collect();
        assert_eq!(unavailable, self.stops().iter().filter_map(silent).collect::<Vec<_>>());

        let waiting = expected.iter().filter_map(|(_, (_, _, outcome, _))| match outcome {
            Outcome::Withheld { until, .. } => *until,
            Outcome::Offered { .. } => None,
        });
        assert_eq!(verdict.changes_at, waiting.min());
    }

    /// What must be true whatever the details: public versions of a reserved name are not to be had.
    fn assert_safe(&self, verdict: &Verdict) {
        for decision in &verdict.versions {
            let is_public = matches!(decision.source, Source::Public { .. });
            if is_public && verdict.path.reserved.is_some() {
                assert!(!verdict.offers(&decision.key));
            }
        }
        let claims = |node: usize| {
            let record = self.nodes[node].record.as_ref();
            let put = record.and_then(|record| record.controls.put);
            let once = record.is_some_and(|record| record.first_internal_at.is_some());
            let internal =
                once || self.held(node).iter().any(|held| held.origin.kind() == OriginKind::Internal);
            internal && put.is_none_or(|put| put.upstream == Control::Block)
        };
        let claimed = self.rules.reserve_internal_names && self.visited().into_iter().any(claims);
        assert_eq!(claimed && verdict.path.reserved.is_none(), verdict.path.merged_at.is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_verdict_is_that_of_the_naive_model(
        (nodes, indexes) in graph(),
        rules in rules(),
        asked in 0_usize..8,
    ) {
        let asked = asked % nodes.len();
        let now = at(1000);
        let model = Model { nodes: &nodes, asked, indexes: &indexes, rules: &rules, now };
        let path = search_path(&nodes, asked, &rules);
        let verdict = decide(&nodes, path, &indexes, &rules, now, &ByNumber);
        model.assert_agrees(&verdict);
        model.assert_safe(&verdict);
    }
}
