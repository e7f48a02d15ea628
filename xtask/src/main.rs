//! Whatever is done repeatedly to this workspace: `cargo xtask test` installs the clients that the tests
//! drive, starts the servers they share and runs everything, `cargo xtask tidy` checks what the compiler does not.

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
    /// Check layering, sources and documents.
    Tidy,
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().task {
        Task::Test { long, arguments } => test(long, arguments),
        Task::Tools => tools::install_all(&root()).map(|_| ()),
        Task::Instructions => instructions(),
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
    let cargo_runs = |arguments: &[&str]| {
        let status = Command::new(cargo()).current_dir(root()).args(arguments).status();
        let status = status.context("cargo could not be started")?;
        ensure!(status.success(), "cargo {} failed ({status})", arguments.join(" "));
        Ok(())
    };
    cargo_runs(&["build", "--release", "--package", "weir"])?;
    let counting = ["run", "--package", "weir-testkit", "--example", "hot_path", "--"];
    cargo_runs(&[&counting[..], &["target/release/weir", "crates/weir/hot_path.limits"]].concat())
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
