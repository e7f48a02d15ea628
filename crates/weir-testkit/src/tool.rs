//! The programs that tests drive: where `cargo xtask test` put them, and what happens when one is absent.
//!
//! `WEIR_TEST_<TOOL>` names a program. Without it, the list that xtask leaves beside the tools is read, so
//! that a plain `cargo test` finds what `cargo xtask tools` installed.
//! An absent tool skips its test with a visible line; with `WEIR_E2E=require` it is a failure, except for
//! the package managers that `WEIR_TEST_ABSENT` (a comma-separated list that xtask writes) says cannot be
//! had here.

use std::io::Write;
use std::path::{Path, PathBuf};

/// A program that tests drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The AWS CLI, version 1.
    Aws,
    /// A Python with boto3 and botocore.
    Python,
    /// npm 10.
    Npm10,
    /// npm 11.
    Npm11,
    /// yarn classic.
    Yarn1,
    /// yarn berry, run by node.
    Yarn4,
    /// pnpm.
    Pnpm,
    /// bun.
    Bun,
    /// pip, alone in a virtual environment.
    Pip,
    /// uv.
    Uv,
    /// Poetry.
    Poetry,
    /// PDM.
    Pdm,
    /// twine.
    Twine,
    /// Hatch.
    Hatch,
    /// flit.
    Flit,
    /// The folder of PostgreSQL's programs.
    Postgresql,
    /// An S3 server over a folder.
    Versitygw,
    /// nginx, of benchmarks alone; so are the following.
    Nginx,
    /// wrk, which repeats a request.
    Wrk,
    /// Verdaccio, another npm registry.
    Verdaccio,
    /// The node that Verdaccio needs.
    Node22,
    /// The server under which proxpi, another Python index, runs.
    Proxpi,
}

impl Tool {
    /// Every tool.
    pub const ALL: [Self; 22] = [
        Self::Aws,
        Self::Python,
        Self::Npm10,
        Self::Npm11,
        Self::Yarn1,
        Self::Yarn4,
        Self::Pnpm,
        Self::Bun,
        Self::Pip,
        Self::Uv,
        Self::Poetry,
        Self::Pdm,
        Self::Twine,
        Self::Hatch,
        Self::Flit,
        Self::Postgresql,
        Self::Versitygw,
        Self::Nginx,
        Self::Wrk,
        Self::Verdaccio,
        Self::Node22,
        Self::Proxpi,
    ];

    /// The name in messages and in `WEIR_TEST_ABSENT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Python => "python",
            Self::Npm10 => "npm10",
            Self::Npm11 => "npm11",
            Self::Yarn1 => "yarn1",
            Self::Yarn4 => "yarn4",
            Self::Pnpm => "pnpm",
            Self::Bun => "bun",
            Self::Pip => "pip",
            Self::Uv => "uv",
            Self::Poetry => "poetry",
            Self::Pdm => "pdm",
            Self::Twine => "twine",
            Self::Hatch => "hatch",
            Self::Flit => "flit",
            Self::Postgresql => "postgresql",
            Self::Versitygw => "versitygw",
            Self::Nginx => "nginx",
            Self::Wrk => "wrk",
            Self::Verdaccio => "verdaccio",
            Self::Node22 => "node22",
            Self::Proxpi => "proxpi",
        }
    }

    /// The variable that names the program: `WEIR_TEST_NPM10`.
    pub fn variable(self) -> String {
        format!("WEIR_TEST_{}", self.name().to_uppercase())
    }

    /// The program, or `None` after a visible line that says which tests are skipped and why.
    ///
    /// Panics instead when `WEIR_E2E=require` and xtask did not say that the tool cannot be had.
    pub fn find(self) -> Option<PathBuf> {
        let place = std::env::var_os(self.variable()).map(PathBuf::from).or_else(|| self.listed());
        if let Some(place) = place.as_ref().filter(|place| place.exists()) {
            return Some(place.clone());
        }
        let why = format!("{} is not here; `cargo xtask tools` installs it", self.name());
        let required = std::env::var_os("WEIR_E2E").is_some_and(|value| value == "require");
        assert!(!required || self.cannot_be_had(), "{why}, and WEIR_E2E=require forbids to skip its tests");
        say(&format!("skipped: {} ({why})", std::thread::current().name().unwrap_or("a test")));
        None
    }

    /// The line `NAME=PATH` of `target/test-tools/list`.
    fn listed(self) -> Option<PathBuf> {
        let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/list");
        let list = fs_err::read_to_string(list).ok()?;
        let mut pairs = list.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(name, _)| *name == self.name()).map(|(_, path)| PathBuf::from(path))
    }

    /// Whether xtask said so. What Weir keeps its data in is never excused: those tests are what a release
    /// is judged by.
    fn cannot_be_had(self) -> bool {
        if matches!(self, Self::Postgresql | Self::Versitygw) {
            return false;
        }
        let list = std::env::var_os("WEIR_TEST_ABSENT").unwrap_or_default();
        list.to_string_lossy().split(',').any(|name| name == self.name())
    }
}

/// Writes past the test harness's capture, so that a skip is seen in a green run too.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error can be written");
}
