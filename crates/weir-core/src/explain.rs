//! Why a version is offered or not, step by step along the search path, in sentences that people read:
//! what `weir explain` prints. Everything comes from the verdict; nothing is decided here.

mod said;

pub use said::Said;

use crate::path::{Node, Record, Stop};
use crate::verdict::{KnownIndex, Outcome, PublicIndex, Source, Verdict};
use std::collections::BTreeMap;
use std::fmt;

/// What is to be explained.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The graph that was searched.
    pub nodes: &'a [Node],
    /// What was known of the public indexes, by node.
    pub indexes: &'a BTreeMap<usize, PublicIndex>,
    /// What was decided.
    pub verdict: &'a Verdict,
    /// The version asked about, in normal form; `None` for the package as a whole.
    pub key: Option<&'a str>,
    /// Whether the caller may read a repository (index in the graph); others are "another repository".
    pub may_name: &'a dyn Fn(usize) -> bool,
}

/// One step of the explanation; it displays as a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Index in the graph.
    pub node: usize,
    /// The repository or connection in words that the caller may see.
    pub place: String,
    /// What is the case there.
    pub said: Said,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.said)
    }
}

impl Question<'_> {
    /// The steps in the order of the path, what decided last.
    pub fn steps(&self) -> Vec<Step> {
        let path = &self.verdict.path;
        let mut steps = Vec::new();
        for stop in &path.stops {
            match *stop {
                Stop::Held(node) => self.at_repository(node, &mut steps),
                Stop::Connection(node) => steps.push(self.at_connection(node)),
            }
        }
        if let Some(reservation) = &path.reserved {
            for node in path.left_out.iter().copied() {
                let reserved_at = self.repository(reservation.node);
                steps.push(Step { node, place: self.connection(node), said: Said::LeftOut { reserved_at } });
            }
        }
        steps.extend(self.conclusion());
        steps
    }

    fn at_repository(&self, node: usize, steps: &mut Vec<Step>) {
        let path = &self.verdict.path;
        let mut say = |said| steps.push(Step { node, place: self.repository(node), said });
        let record = self.nodes[node].record.as_ref();
        say(match record {
            None => Said::HasNoRecord,
            Some(record) => self.held(node, record),
        });
        if let Some(reservation) = path.reserved.as_ref().filter(|reservation| reservation.node == node) {
            say(Said::Reserves(reservation.by));
        }
        if path.merged_at == Some(node) {
            say(Said::DoesNotReserve);
        }
        let has_more = !self.nodes[node].upstreams.is_empty() || self.nodes[node].connection.is_some();
        if let Some(record) = record.filter(|_| has_more && path.cut_at.contains(&node)) {
            say(Said::Cuts { source: record.controls.source() });
        }
    }

    fn held(&self, node: usize, record: &Record) -> Said {
        let count = record.versions.len();
        let Some(key) = self.key else { return Said::Holds { count } };
        match record.versions.iter().find(|version| *version.key == *key) {
            None => Said::HoldsOthers { count },
            Some(version) => Said::HoldsVersion {
                text: version.text.clone(),
                status: version.status,
                origin: version.origin.clone(),
                decides: self.decides(Stop::Held(node)),
            },
        }
    }

    fn at_connection(&self, node: usize) -> Step {
        let said = match self.indexes.get(&node) {
            None => Said::NotAsked,
            Some(PublicIndex::Absent) => Said::HasNoSuchPackage,
            Some(PublicIndex::Unavailable(reason)) => Said::DoesNotAnswer { reason: reason.clone() },
            Some(PublicIndex::Known(index)) => self.offered(node, index),
        };
        Step { node, place: self.connection(node), said }
    }

    fn offered(&self, node: usize, index: &KnownIndex) -> Said {
        let count = index.versions.len();
        let Some(key) = self.key else { return Said::Offers { count } };
        match index.versions.iter().find(|version| *version.key == *key) {
            None => Said::OffersOthers { count },
            Some(version) => Said::OffersVersion {
                text: version.text.clone(),
                time: version.time,
                decides: self.decides(Stop::Connection(node)),
            },
        }
    }

    fn decides(&self, stop: Stop) -> bool {
        let decision = self.key.and_then(|key| self.verdict.version(key));
        decision.is_some_and(|decision| match decision.source {
            Source::Held { node, .. } => stop == Stop::Held(node),
            Source::Public { node, .. } => stop == Stop::Connection(node),
        })
    }

    /// Where the search ended, and what came of it.
    fn conclusion(&self) -> Vec<Step> {
        let path = &self.verdict.path;
        let Some(asked) = path.repositories().next() else { return Vec::new() };
        let mut steps = Vec::new();
        let mut say = |said| steps.push(Step { node: asked, place: self.repository(asked), said });
        if path.truncated {
            say(Said::StopsSearching);
        }
        let Some(key) = self.key else {
            say(self.summary());
            return steps;
        };
        match self.verdict.version(key) {
            None => say(Said::DoesNotOffer { unanswered: !self.verdict.unavailable.is_empty() }),
            Some(decision) => say(Said::Decided {
                text: decision.text.clone(),
                by: match decision.source {
                    Source::Held { node, .. } => self.repository(node),
                    Source::Public { node, .. } => self.connection(node),
                },
                outcome: decision.outcome.clone(),
            }),
        }
        steps
    }

    fn summary(&self) -> Said {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.verdict.versions.iter().filter(|decision| wanted(&decision.outcome)).count()
        };
        Said::Summary {
            listed: count(|outcome| matches!(outcome, Outcome::Offered { listed: true })),
            unlisted: count(|outcome| matches!(outcome, Outcome::Offered { listed: false })),
            withheld: count(|outcome| matches!(outcome, Outcome::Withheld { .. })),
            changes_at: self.verdict.changes_at,
        }
    }

    fn repository(&self, node: usize) -> String {
        if (self.may_name)(node) {
            self.nodes[node].repository.to_string()
        } else {
            "another repository".to_owned()
        }
    }

    fn connection(&self, node: usize) -> String {
        let name =
            self.nodes[node].connection.as_ref().map_or("connection", |connection| connection.as_str());
        format!("{name} (connection of {})", self.repository(node))
    }
}

#[cfg(test)]
mod tests;
