//! The architecture's arrows, read from `cargo metadata`: what each crate of the workspace must not see.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// What a crate must not name itself, and what must not even reach it through others.
/// `FORMATS` stands for every crate below `formats/`.
struct Rule {
    package: &'static str,
    not_named: &'static [&'static str],
    not_reached: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        package: "weir-core",
        not_named: &[],
        not_reached: &["tokio", "hyper", "http", "sqlx", "rusqlite", "reqwest", "object_store"],
    },
    Rule {
        package: "weir-store",
        // object_store speaks HTTP to S3; reqwest is named to give it TLS, and used by nobody else here.
        not_named: &["hyper", "hyper-util"],
        not_reached: &["weir-registry", "weir-protocol", "weir-api", "FORMATS"],
    },
    Rule {
        package: "weir-registry",
        // reqwest, its HTTP client, brings hyper along; the spine itself knows no HTTP server.
        not_named: &["hyper", "hyper-util", "sqlx", "rusqlite", "object_store"],
        not_reached: &["weir-protocol", "weir-api", "FORMATS"],
    },
    Rule {
        package: "weir-protocol",
        not_named: &["sqlx", "rusqlite", "object_store", "reqwest", "weir-store"],
        not_reached: &["weir-api", "FORMATS"],
    },
    Rule {
        package: "FORMATS",
        not_named: &["sqlx", "rusqlite", "object_store", "reqwest", "weir-store", "hyper", "hyper-util"],
        not_reached: &["weir-api", "FORMATS"],
    },
    Rule {
        package: "weir-api",
        not_named: &["sqlx", "rusqlite", "object_store", "reqwest", "weir-store", "hyper", "hyper-util"],
        not_reached: &["FORMATS"],
    },
    Rule { package: "weir", not_named: &[], not_reached: &["weir-testkit"] },
    Rule {
        package: "weir-testkit",
        not_named: &[],
        not_reached: &["sqlx", "rusqlite", "reqwest", "weir-store", "FORMATS"],
    },
    Rule {
        package: "weir-bench",
        // It measures what a user gets, so it asks as a user does; the store alone is opened, to fill it.
        not_named: &["sqlx", "rusqlite", "reqwest", "object_store"],
        not_reached: &["weir", "weir-registry", "weir-protocol", "weir-api", "FORMATS"],
    },
];

/// What nothing may depend on, not even through others.
const ENDS: &[&str] = &["weir-bench", "xtask"];

/// The arrows that point the wrong way, and the crates no rule speaks of.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    Ok(violations(&Graph::read(root)?))
}

fn violations(graph: &Graph) -> Vec<String> {
    let mut problems = Vec::new();
    for package in &graph.members {
        let is_format = graph.formats.contains(package);
        let rule =
            RULES.iter().find(|rule| rule.package == if is_format { "FORMATS" } else { package.as_str() });
        let Some(rule) = rule else {
            if package != "xtask" {
                problems.push(format!("layering: no rule in xtask/src/tidy/layering.rs speaks of {package}"));
            }
            continue;
        };
        let named = graph.named(package);
        let reached = graph.reached(package);
        for end in ENDS.iter().filter(|end| reached.contains(**end)) {
            problems.push(format!("layering: {package} must not see {end}, which nothing depends on"));
        }
        for other in expand(rule.not_named, &graph.formats).filter(|other| named.contains(other)) {
            problems.push(format!("layering: {package} must not depend on {other}"));
        }
        for other in expand(rule.not_reached, &graph.formats) {
            if other != *package && reached.contains(&other) {
                problems.push(format!(
                    "layering: {package} must not see {other}, not through another crate either"
                ));
            }
        }
    }
    problems
}

fn expand(names: &[&str], formats: &BTreeSet<String>) -> impl Iterator<Item = String> {
    let mut expanded = Vec::new();
    for name in names {
        match *name {
            "FORMATS" => expanded.extend(formats.iter().cloned()),
            name => expanded.push(name.to_owned()),
        }
    }
    expanded.into_iter()
}

/// Normal and build dependencies by name; dev-dependencies are free to see everything.
struct Graph {
    members: Vec<String>,
    formats: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read(root: &Path) -> Result<Self> {
        let mut command = Command::new(crate::cargo());
        command.current_dir(root).args(["metadata", "--format-version", "1"]);
        let ended = command.output().context("cargo metadata could not be started")?;
        ensure!(ended.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&ended.stderr));
        Ok(Self::parse(&serde_json::from_slice(&ended.stdout)?))
    }

    fn parse(metadata: &Value) -> Self {
        let packages: BTreeMap<&str, &Value> =
            list(metadata, "packages").map(|package| (text(package, "id"), package)).collect();
        let name = |id: &str| packages.get(id).map(|package| text(package, "name").to_owned());
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"], "nodes") {
            let from = name(text(node, "id")).unwrap_or_default();
            let normal = list(node, "deps")
                .filter(|dependency| list(dependency, "dep_kinds").any(|kind| kind["kind"] != "dev"));
            edges
                .entry(from)
                .or_default()
                .extend(normal.filter_map(|dependency| name(text(dependency, "pkg"))));
        }
        let member_ids: Vec<_> = list(metadata, "workspace_members").filter_map(Value::as_str).collect();
        let members = member_ids.iter().filter_map(|id| name(id)).collect();
        let formats = member_ids
            .iter()
            .filter(|id| {
                packages.get(*id).is_some_and(|package| text(package, "manifest_path").contains("/formats/"))
            })
            .filter_map(|id| name(id))
            .collect();
        Self { members, formats, edges }
    }

    fn named(&self, package: &str) -> BTreeSet<String> {
        self.edges.get(package).cloned().unwrap_or_default()
    }

    fn reached(&self, package: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![package.to_owned()];
        while let Some(next) = waiting.pop() {
            for other in self.named(&next) {
                if reached.insert(other.clone()) {
                    waiting.push(other);
                }
            }
        }
        reached
    }
}

fn list<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value[member].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(members: &[&str], edges: &[(&str, &str)]) -> Graph {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            all.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        let formats = ["weir-npm", "weir-generic"].map(str::to_owned).into();
        Graph { members: members.iter().map(|name| (*name).to_owned()).collect(), formats, edges: all }
    }

    #[test]
    fn a_wrong_arrow_is_named() {
        let cases = [
            ("weir-core", vec![("weir-core", "x"), ("x", "tokio")], "weir-core must not see tokio"),
            ("weir-npm", vec![("weir-npm", "weir-generic")], "weir-npm must not see weir-generic"),
            ("weir-api", vec![("weir-api", "weir-store")], "weir-api must not depend on weir-store"),
            ("weir", vec![("weir", "weir-bench")], "weir must not see weir-bench"),
            ("weir-bench", vec![("weir-bench", "weir-npm")], "weir-bench must not see weir-npm"),
            ("weir-new", vec![], "no rule in xtask/src/tidy/layering.rs speaks of weir-new"),
        ];
        for (member, edges, expected) in cases {
            let problems = violations(&graph(&[member], &edges));
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
        }
        let allowed = graph(&["weir-registry"], &[("weir-registry", "reqwest"), ("reqwest", "hyper")]);
        assert_eq!(violations(&allowed), Vec::<String>::new());
    }
}
