//! Explanations as people read them.

use super::*;
use crate::name::{ConnectionName, RepositoryName};
use crate::origin::{Controls, OriginControls};
use crate::path::{HeldVersion, Rules, search_path};
use crate::verdict::{PublicVersion, VersionOrder, decide};
use crate::version::{Flags, Origin, PublishTime, TimeSource, VersionStatus};
use expect_test::{Expect, expect};
use jiff::Timestamp;
use std::cmp::Ordering;
use std::time::Duration;

struct ByText;

impl VersionOrder for ByText {
    fn compare(&self, left: &str, right: &str) -> Ordering {
        left.cmp(right)
    }

    fn is_stable(&self, _: &str) -> bool {
        true
    }
}

struct Case {
    nodes: Vec<Node>,
    indexes: BTreeMap<usize, PublicIndex>,
    rules: Rules,
}

fn noon() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().expect("valid")
}

fn published(minutes_ago: i64) -> PublishTime {
    let at = noon() - jiff::SignedDuration::from_mins(minutes_ago);
    PublishTime { at, source: TimeSource::Registry }
}

fn npmjs() -> ConnectionName {
    ConnectionName::parse("connection", "public:npmjs").expect("valid")
}

fn held(text: &str, status: VersionStatus, origin: Origin) -> HeldVersion {
    let flags = Flags::default();
    HeldVersion { key: text.into(), text: text.into(), status, origin, time: published(1000), flags }
}

/// team, before shared, before npm-store with its connection, which offers 1.0.0 and 2.0.0.
fn case() -> Case {
    let node = |name: &str, upstreams: &[usize]| Node {
        repository: RepositoryName::parse("repository", name).expect("valid"),
        upstreams: upstreams.to_vec(),
        connection: (name == "npm-store").then(npmjs),
        record: None,
    };
    let offered = |text: &str, minutes_ago| PublicVersion {
        key: text.into(),
        text: text.into(),
        time: published(minutes_ago),
        flags: Flags::default(),
    };
    let index = KnownIndex { versions: vec![offered("1.0.0", 1000), offered("2.0.0", 30)], tags: Vec::new() };
    Case {
        nodes: vec![node("team", &[1]), node("shared", &[2]), node("npm-store", &[])],
        indexes: BTreeMap::from([(2, PublicIndex::Known(index))]),
        rules: Rules { waiting_time: Some(Duration::from_secs(3600)), ..Rules::default() },
    }
}

impl Case {
    fn shared_holds(&mut self, version: HeldVersion, put: Option<Controls>) {
        let learned = match version.origin {
            Origin::Internal { .. } => Controls::PUBLISHED,
            Origin::External { .. } => Controls::INGESTED,
        };
        let controls = OriginControls { learned: Some(learned), put };
        self.nodes[1].record = Some(Record { controls, versions: vec![version], ..Record::default() });
    }

    fn check_as(&self, may_name: &dyn Fn(usize) -> bool, key: Option<&str>, expected: Expect) {
        let path = search_path(&self.nodes, 0, &self.rules);
        let verdict = decide(&self.nodes, path, &self.indexes, &self.rules, noon(), &ByText);
        let question =
            Question { nodes: &self.nodes, indexes: &self.indexes, verdict: &verdict, key, may_name };
        let sentences: Vec<String> = question.steps().iter().map(Step::to_string).collect();
        expected.assert_eq(&(sentences.join("\n") + "\n"));
    }

    fn check(&self, key: Option<&str>, expected: Expect) {
        self.check_as(&|_| true, key, expected);
    }
}

#[test]
fn a_public_version_is_followed_to_its_registry() {
    case().check(Some("1.0.0"), expect![[r#"
        team has no record of the package
        shared has no record of the package
        npm-store has no record of the package
        public:npmjs (connection of npm-store) offers 1.0.0 (published 2026-01-30T19:20:00Z), and decides as the nearest
        team offers 1.0.0, supplied by public:npmjs (connection of npm-store)
    "#]]);
}

#[test]
fn a_young_version_says_when_it_is_released() {
    case().check(Some("2.0.0"), expect![[r#"
        team has no record of the package
        shared has no record of the package
        npm-store has no record of the package
        public:npmjs (connection of npm-store) offers 2.0.0 (published 2026-01-31T11:30:00Z), and decides as the nearest
        team withholds 2.0.0 of public:npmjs (connection of npm-store): it is younger than the waiting time; it is released at 2026-01-31T12:30:00Z
    "#]]);
}

#[test]
fn a_package_is_summed_up() {
    case().check(
        None,
        expect![[r#"
        team has no record of the package
        shared has no record of the package
        npm-store has no record of the package
        public:npmjs (connection of npm-store) offers 2 versions
        team offers 1 version and withholds 1; the next one is released at 2026-01-31T12:30:00Z
    "#]],
    );
}

#[test]
fn an_archived_copy_hides_what_is_behind_it() {
    let mut case = case();
    let origin = Origin::External { connection: npmjs() };
    case.shared_holds(held("1.0.0", VersionStatus::Archived, origin), None);
    case.check(Some("1.0.0"), expect![[r#"
        team has no record of the package
        shared holds 1.0.0 (Archived, EXTERNAL from public:npmjs), and decides as the nearest
        npm-store has no record of the package
        public:npmjs (connection of npm-store) offers 1.0.0 (published 2026-01-30T19:20:00Z), which something nearer hides
        team withholds 1.0.0 of shared: its status there is Archived
    "#]]);
}

#[test]
fn a_cut_and_a_reservation_name_their_source() {
    let mut case = case();
    let repository = case.nodes[1].repository.clone();
    case.shared_holds(held("5.0.0", VersionStatus::Published, Origin::Internal { repository }), None);
    case.nodes[0].upstreams.push(2);
    case.check(Some("1.0.0"), expect![[r#"
        team has no record of the package
        shared holds 1 version, but not this one
        shared reserves the name, since it holds an INTERNAL version: public versions are invisible on this path
        shared has upstream=BLOCK (learned from its first version): nothing behind it is searched through it
        npm-store has no record of the package
        public:npmjs (connection of npm-store) is not asked, since shared reserves the name
        team withholds 1.0.0 of public:npmjs (connection of npm-store): it is public and the name is reserved
    "#]]);
    case.check_as(&|node| node == 0, Some("5.0.0"), expect![[r#"
        team has no record of the package
        another repository holds 5.0.0 (Published, INTERNAL), and decides as the nearest
        another repository reserves the name, since it holds an INTERNAL version: public versions are invisible on this path
        another repository has upstream=BLOCK (learned from its first version): nothing behind it is searched through it
        another repository has no record of the package
        public:npmjs (connection of another repository) is not asked, since another repository reserves the name
        team offers 5.0.0, supplied by another repository
    "#]]);
}

#[test]
fn an_open_name_says_why_it_is_open() {
    let mut case = case();
    let repository = case.nodes[1].repository.clone();
    case.shared_holds(held("5.0.0", VersionStatus::Unlisted, Origin::Internal { repository }), None);
    case.nodes[0].record = Some(Record { first_external_at: Some(noon()), ..Record::default() });
    let record = case.nodes[1].record.as_mut().expect("just made");
    record.first_internal_at = Some(noon() + jiff::SignedDuration::from_secs(1));
    case.check(Some("5.0.0"), expect![[r#"
        team holds no versions
        shared holds 5.0.0 (Unlisted, INTERNAL), and decides as the nearest
        shared holds an INTERNAL version but does not reserve the name, since an EXTERNAL version came to this path before it: public versions are merged in, as AWS does
        shared has upstream=BLOCK (learned from its first version): nothing behind it is searched through it
        team offers 5.0.0 by exact request only, supplied by shared: it is unlisted there
    "#]]);
}

#[test]
fn a_silent_registry_leaves_it_open() {
    let mut case = case();
    case.indexes.insert(2, PublicIndex::Unavailable("connection refused".to_owned()));
    case.check(Some("1.0.0"), expect![[r#"
        team has no record of the package
        shared has no record of the package
        npm-store has no record of the package
        public:npmjs (connection of npm-store) does not answer: connection refused
        team does not offer it now: nothing that is known on the path holds or offers it, and not all connections answer
    "#]]);
}
