//! The order of a search by examples: the tree of the AWS guide (page repo-upstream-search-order), cuts,
//! the limit of repositories, and what reserves a name.

use weir_core::path::{
    HeldVersion, Node, Record, Reservation, ReservedBy, Rules, SearchPath, Stop, search_path,
};
use weir_core::{
    ConnectionName, Control, Controls, Flags, Origin, OriginControls, PublishTime, RepositoryName,
    TimeSource, Timestamp, VersionStatus,
};

/// The guide's tree: my_repo before A and B, A before C and D, D before E; C, E and B have connections.
const TREE: [(&str, &[usize], bool); 6] = [
    ("my_repo", &[1, 5], false),
    ("A0", &[2, 3], false),
    ("C0", &[], true),
    ("D0", &[4], false),
    ("E0", &[], true),
    ("B0", &[], true),
];

fn tree() -> Vec<Node> {
    TREE.iter().map(|(name, upstreams, connected)| node(name, upstreams, *connected)).collect()
}

fn node(name: &str, upstreams: &[usize], connected: bool) -> Node {
    let connection = || ConnectionName::parse("connection", "public:npmjs").expect("valid");
    Node {
        repository: RepositoryName::parse("repository", name).expect("valid"),
        upstreams: upstreams.to_vec(),
        connection: connected.then(connection),
        record: None,
    }
}

fn record(learned: Option<Controls>, put: Option<Controls>) -> Record {
    Record { controls: OriginControls { learned, put }, ..Record::default() }
}

fn internal(put: Option<Controls>, second: i64) -> Record {
    let name = RepositoryName::parse("repository", "my_repo").expect("valid");
    let at = Timestamp::from_second(second).expect("small");
    let version = HeldVersion {
        key: "1.0.0".into(),
        text: "1.0.0".into(),
        status: VersionStatus::Archived,
        origin: Origin::Internal { repository: name },
        time: PublishTime { at, source: TimeSource::Published },
        flags: Flags::default(),
    };
    Record { first_internal_at: Some(at), versions: vec![version], ..record(None, put) }
}

/// `main>public` is the connection of `main`.
fn shown(nodes: &[Node], path: &SearchPath) -> String {
    let word = |stop: &Stop| match stop {
        Stop::Held(node) => nodes[*node].repository.to_string(),
        Stop::Connection(node) => format!("{}>public", nodes[*node].repository),
    };
    path.stops.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn check(nodes: &[Node], expected: &str) -> SearchPath {
    let path = search_path(nodes, 0, &Rules::default());
    assert_eq!(shown(nodes, &path), expected);
    path
}

#[test]
fn the_tree_of_the_guide_is_searched_depth_first() {
    check(&tree(), "my_repo A0 C0 C0>public D0 E0 E0>public B0 B0>public");
}

#[test]
fn a_connection_is_asked_after_the_upstreams_of_its_repository() {
    let nodes = [node("main", &[1], true), node("shared", &[], true)];
    check(&nodes, "main shared shared>public main>public");
}

#[test]
fn a_repository_met_twice_is_searched_at_its_first_place() {
    let nodes = [
        node("main", &[1, 2], false),
        node("left", &[3], false),
        node("right", &[3], true),
        node("store", &[], true),
    ];
    check(&nodes, "main left store store>public right right>public");
}

#[test]
fn a_block_cuts_what_is_behind_its_repository_and_nothing_else() {
    let mut nodes = tree();
    nodes[3].record = Some(record(Some(Controls::PUBLISHED), None));
    let path = check(&nodes, "my_repo A0 C0 C0>public D0 B0 B0>public");
    assert_eq!(path.cut_at, [3]);

    nodes[3].record = Some(record(Some(Controls::PUBLISHED), Some(Controls::ALLOW)));
    check(&nodes, "my_repo A0 C0 C0>public D0 E0 E0>public B0 B0>public");

    nodes[5].record = Some(record(Some(Controls::PUBLISHED), None));
    check(&nodes, "my_repo A0 C0 C0>public D0 E0 E0>public B0");
}

#[test]
fn what_is_cut_on_one_way_is_found_on_another() {
    let mut nodes = [node("main", &[1, 2], false), node("left", &[2], false), node("store", &[], true)];
    nodes[1].record = Some(record(Some(Controls::PUBLISHED), None));
    check(&nodes, "main left store store>public");
}

#[test]
fn at_most_25_repositories_are_searched() {
    let line = |length: usize| -> Vec<Node> {
        (0..length)
            .map(|at| {
                let next: Vec<usize> = (at + 1..length).take(1).collect();
                node(&format!("r{at}"), &next, true)
            })
            .collect()
    };
    let path = search_path(&line(25), 0, &Rules::default());
    assert_eq!((path.repositories().count(), path.connections().count(), path.truncated), (25, 25, false));
    let path = search_path(&line(26), 0, &Rules::default());
    assert_eq!((path.repositories().count(), path.connections().count(), path.truncated), (25, 25, true));
    assert!(!path.stops.contains(&Stop::Connection(25)));
}

#[test]
fn a_cycle_would_be_searched_once() {
    check(&[node("main", &[1], false), node("shared", &[0], true)], "main shared shared>public");
}

#[test]
fn an_internal_version_anywhere_on_the_path_reserves_the_name() {
    let mut nodes = tree();
    nodes[4].record = Some(internal(None, 5));
    let path = check(&nodes, "my_repo A0 C0 D0 E0 B0");
    assert_eq!(path.reserved, Some(Reservation { node: 4, by: ReservedBy::InternalVersion }));
    assert_eq!(path.left_out, [2, 4, 5]);

    let rules = Rules { reserve_internal_names: false, waiting_time: None };
    let path = search_path(&nodes, 0, &rules);
    assert_eq!(shown(&nodes, &path), "my_repo A0 C0 C0>public D0 E0 E0>public B0 B0>public");
    assert_eq!((path.reserved, path.merged_at), (None, None));
}

#[test]
fn an_internal_version_behind_a_cut_reserves_nothing() {
    let mut nodes = tree();
    nodes[4].record = Some(internal(None, 5));
    nodes[3].record = Some(record(Some(Controls::PUBLISHED), None));
    check(&nodes, "my_repo A0 C0 C0>public D0 B0 B0>public");
}

#[test]
fn a_record_put_by_hand_reserves_and_a_learned_one_does_not() {
    let mut nodes = tree();
    nodes[5].record = Some(record(Some(Controls::PUBLISHED), None));
    check(&nodes, "my_repo A0 C0 C0>public D0 E0 E0>public B0");

    nodes[5].record = Some(record(None, Some(Controls::PUBLISHED)));
    let path = check(&nodes, "my_repo A0 C0 D0 E0 B0");
    assert_eq!(path.reserved, Some(Reservation { node: 5, by: ReservedBy::PutRecord }));

    let block = Controls { publish: Control::Block, upstream: Control::Block };
    nodes[5].record = Some(record(None, Some(block)));
    check(&nodes, "my_repo A0 C0 C0>public D0 E0 E0>public B0");
}

#[test]
fn upstream_put_to_allow_gives_the_name_up() {
    let mut nodes = tree();
    nodes[0].record = Some(internal(Some(Controls::ALLOW), 5));
    let path = check(&nodes, "my_repo A0 C0 C0>public D0 E0 E0>public B0 B0>public");
    assert_eq!(path.merged_at, None);
}

#[test]
fn an_external_version_that_came_first_keeps_the_name_open() {
    let mut nodes = tree();
    nodes[4].record = Some(internal(None, 5));
    let external_at =
        |second| Record { first_external_at: Timestamp::from_second(second).ok(), ..record(None, None) };

    nodes[5].record = Some(external_at(4));
    let path = check(&nodes, "my_repo A0 C0 C0>public D0 E0 E0>public B0 B0>public");
    assert_eq!(path.merged_at, Some(4));

    nodes[5].record = Some(external_at(5));
    check(&nodes, "my_repo A0 C0 D0 E0 B0");

    nodes[5].record = Some(external_at(4));
    nodes[2].record = Some(record(None, Some(Controls::PUBLISHED)));
    let path = check(&nodes, "my_repo A0 C0 D0 E0 B0");
    assert_eq!(path.reserved, Some(Reservation { node: 2, by: ReservedBy::PutRecord }));
}
