//! Whatever is done repeatedly to this workspace: `cargo xtask test` installs the clients that the tests
//! drive, starts the servers they share and runs everything, `cargo xtask bench` measures Weir beside other servers,
//! `cargo xtask tidy` checks what the compiler does not.

mod servers;
mod tidy;
mod tools;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Automation for the Weir workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the test tools, then run `cargo test` with them (`--workspace` unless arguments follow).
    Test {
        /// Run the long forms of those tests that have one.
        #[arg(long)]
        long: bool,
        /// Arguments for `cargo test`: `cargo xtask test -p weir npm`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Install the test tools alone, after which a plain `cargo test` finds them.
    Tools,
    /// Count the instructions of warm requests and compare them with crates/weir/hot_path.limits.
    Instructions,
    /// Measure Weir beside nginx and its rivals (docs/benchmarks.md); `cargo xtask bench --help` says how.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments for the benchmark: `cargo xtask bench --only G1,G5`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check layering, sources and documents.
    Tidy,
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().task {
        Task::Test { long, arguments } => test(long, arguments),
        Task::Tools => tools::install_all(&root()).map(|_| ()),
        Task::Instructions => instructions(),
        Task::Bench { arguments } => bench(&arguments),
        Task::Tidy => tidy::run(&root()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test(long: bool, mut arguments: Vec<OsString>) -> Result<()> {
    let tools = tools::install_all(&root())?;
    let servers = servers::Servers::start(&tools);
    if arguments.is_empty() {
        arguments.push("--workspace".into());
    }
    let mut command = Command::new(cargo());
    command.current_dir(root()).arg("test").args(arguments).envs(tools.variables());
    command.envs(servers.variables());
    if long {
        command.env("WEIR_TEST_LONG", "1");
    }
    let status = command.status().context("cargo could not be started")?;
    ensure!(status.success(), "the tests failed ({status})");
    Ok(())
}

fn instructions() -> Result<()> {
    tools::install_valgrind()?;
    build_release("weir")?;
    let counting = ["run", "--package", "weir-testkit", "--example", "hot_path", "--"];
    let mut count = Command::new(cargo());
    count.current_dir(root()).args(counting).args(["target/release/weir", "crates/weir/hot_path.limits"]);
    let status = count.status().context("cargo could not be started")?;
    ensure!(status.success(), "cargo {} failed ({status})", counting.join(" "));
    Ok(())
}

/// Builds what is measured and what measures, and runs it.
fn bench(arguments: &[OsString]) -> Result<()> {
    let asks = |names: &[&str]| {
        let mut texts = arguments.iter().filter_map(|argument| argument.to_str());
        texts.any(|text| names.iter().any(|name| text.split('=').next() == Some(*name)))
    };
    let only_help = asks(&["--help", "-h"]);
    // Apart, so that what is measured has the features of a build that is shipped, and none of the benchmark's.
    if !only_help && !asks(&["--weir"]) {
        build_release("weir")?;
    }
    build_release("weir-bench")?;
    let mut command = Command::new(root().join("target/release/weir-bench"));
    command.args(arguments);
    if !only_help {
        command.envs(tools::install_for_benchmarks(&root())?.variables());
    }
    let status = command.status().context("the benchmark could not be started")?;
    ensure!(status.success(), "the benchmark failed ({status})");
    Ok(())
}

fn build_release(package: &str) -> Result<()> {
    let mut build = Command::new(cargo());
    build.current_dir(root()).args(["build", "--release", "--package", package]);
    // Cargo tells this program about itself; ring would take that for a change and be built anew, with all above it.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    let status = build.status();
    ensure!(status.context("cargo could not be started")?.success(), "{package} could not be built");
    Ok(())
}

/// The workspace's folder.
fn root() -> PathBuf {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    parent.expect("xtask lies in the workspace").to_owned()
}

/// The cargo that runs this.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
