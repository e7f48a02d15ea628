//! `weir`: a package registry that speaks AWS CodeArtifact's API, as one program.

mod app;
mod cli;
mod client;
mod command;
mod config;
mod discovery;
mod formats;
mod http;
mod memory;
mod server;
mod telemetry;
mod tls;

use clap::Parser as _;
use std::process::ExitCode;

/// Something went wrong.
const FAILED: u8 = 1;
/// The command line or a setting is wrong.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if matches!(cli.command, cli::Command::Serve(_)) {
        memory::settle();
    }
    // The one provider of this process; libraries that make clients of their own find it.
    let installed = rustls::crypto::ring::default_provider().install_default();
    drop(installed);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: cannot start: {error}");
            return FAILED.into();
        }
    };
    let done = runtime.block_on(command::run(cli));
    // Work that nobody waits for any more does not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    telemetry::flush_logging();
    match done {
        Ok(code) => code,
        Err(error) if error.is::<config::ConfigError>() => {
            eprintln!("weir: {error:#}");
            MISUSED.into()
        }
        Err(error) => {
            eprintln!("weir: {error:#}");
            FAILED.into()
        }
    }
}
