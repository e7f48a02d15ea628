//! The command line of the benchmark.

use anyhow::{Result, bail, ensure};
use clap::Parser;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Every goal there is a stage for.
pub(crate) const GOALS: &[&str] = &["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11"];
/// Every rival.
pub(crate) const RIVALS: &[&str] = &["nginx-proxy", "verdaccio", "proxpi"];

/// Measures Weir beside nginx and its rivals, all on this machine and on the same work
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only G1,G3 --rounds 7 --rivals none\n  cargo xtask bench --only G1 --weir before=/tmp/weir-old --weir after=target/release/weir\n\ndocs/benchmarks.md says what the goals are and how they are measured."
)]
pub(crate) struct Arguments {
    /// Goals to measure, such as G1,G5, or all, which is meant when left out
    #[arg(long, value_name = "GOALS", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Rounds, of which medians are taken
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    /// Seconds for which one request is repeated in a round
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// Rivals to measure too: none, or some of nginx-proxy, verdaccio, proxpi; all when left out
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) rivals: Option<Vec<String>>,
    /// Measure how answers grow slower: with connections, versions, repositories, policies and documents.
    /// Without --only, nothing else is measured
    #[arg(long)]
    pub(crate) growth: bool,
    /// Another binary than target/release/weir, as PATH or NAME=PATH; given twice, the two are compared
    #[arg(long, value_name = "[NAME=]PATH")]
    pub(crate) weir: Vec<String>,
    /// Print the results as JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Put the tables into docs/benchmarks.md
    #[arg(long)]
    pub(crate) write_docs: bool,
}

impl Arguments {
    /// The goals to measure.
    pub(crate) fn goals(&self) -> Result<BTreeSet<&'static str>> {
        if self.only.is_empty() && self.growth {
            return Ok(BTreeSet::new());
        }
        if self.only.is_empty() || self.only == ["all"] {
            return Ok(GOALS.iter().copied().collect());
        }
        self.only.iter().map(|name| known("goal", name, GOALS)).collect()
    }

    /// The rivals to start.
    pub(crate) fn rivals(&self) -> Result<Vec<&'static str>> {
        match &self.rivals {
            None if self.goals()?.is_empty() => Ok(Vec::new()),
            None => Ok(RIVALS.to_vec()),
            Some(names) if names.iter().any(|name| name == "none") => {
                ensure!(names.len() == 1, "--rivals none goes with no other name");
                Ok(Vec::new())
            }
            Some(names) => names.iter().map(|name| known("rival", name, RIVALS)).collect(),
        }
    }

    /// The Weirs to start, each with its name; `usual` where none is given.
    pub(crate) fn weirs(&self, usual: PathBuf) -> Result<Vec<(String, PathBuf)>> {
        if self.weir.is_empty() {
            return Ok(vec![("weir".to_owned(), usual)]);
        }
        let mut named: Vec<(String, PathBuf)> = Vec::new();
        for text in &self.weir {
            let (name, path) = text.split_once('=').unwrap_or(("weir", text.as_str()));
            ensure!(!name.is_empty() && !name.contains('/'), "--weir {text}: the name before = is none");
            ensure!(
                named.iter().all(|(other, _)| other != name),
                "--weir names {name:?} twice; write NAME=PATH with different names"
            );
            let taken = name == "nginx" || RIVALS.contains(&name);
            ensure!(!taken, "--weir {text}: {name} is the name of another server");
            ensure!(std::path::Path::new(path).is_file(), "--weir {text}: there is no file {path}");
            // Servers are started in folders of their own.
            named.push((name.to_owned(), fs_err::canonicalize(path)?));
        }
        Ok(named)
    }
}

fn known(what: &str, name: &str, all: &[&'static str]) -> Result<&'static str> {
    match all.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        Some(known) => Ok(known),
        None => bail!("there is no {what} {name:?}; there are {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Arguments {
        Arguments::parse_from([&["bench"], arguments].concat())
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(parse(&["--only", "g1,G10"]).goals().expect("both are known"), ["G1", "G10"].into());
        let error = parse(&["--only", "G99"]).goals().expect_err("there is none").to_string();
        assert!(error.contains("there is no goal \"G99\"; there are G1, "), "{error}");
        assert_eq!(parse(&["--rivals", "none"]).rivals().expect("it is known"), [""; 0]);
        assert!(parse(&["--rivals", "none,proxpi"]).rivals().is_err());
        assert!(parse(&["--rivals", "artifactory"]).rivals().is_err());
    }

    #[test]
    fn growth_alone_measures_no_goal() {
        assert!(parse(&["--growth"]).goals().expect("none are named").is_empty());
        assert_eq!(parse(&["--growth", "--only", "all"]).goals().expect("it is known").len(), GOALS.len());
        assert_eq!(parse(&["--growth", "--only", "G1"]).goals().expect("it is known").len(), 1);
        assert_eq!(parse(&[]).goals().expect("none are named").len(), GOALS.len());
    }

    #[test]
    fn two_weirs_have_two_names() {
        let usual = PathBuf::from("usual");
        assert_eq!(parse(&[]).weirs(usual.clone()).expect("the usual").len(), 1);
        let here = std::env::current_exe().expect("this test").display().to_string();
        assert!(parse(&["--weir", &here, "--weir", &here]).weirs(usual.clone()).is_err());
        let (one, other) = (format!("a={here}"), format!("b={here}"));
        assert_eq!(parse(&["--weir", &one, "--weir", &other]).weirs(usual.clone()).expect("two").len(), 2);
        assert!(parse(&["--weir", "/no/such/file"]).weirs(usual).is_err());
    }
}
