//! `cargo xtask bench`: measures Weir beside nginx and its rivals on the same work in the same run, tells what
//! goals are met, and compares with the last run. A tool for this workspace; nothing depends on it.

mod arguments;
mod fixture;
mod goals;
mod growth;
mod http;
mod load;
mod measure;
mod meter;
mod peers;
mod replay;
mod report;
mod stages;
mod table;

use anyhow::{Context as _, Result, bail, ensure};
use arguments::Arguments;
use clap::Parser as _;
use fixture::Fixture;
use load::Wrk;
use measure::Measured;
use peers::{Peer, Place};
use report::{Report, machine, now};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stages::Run;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use weir_testkit::Tool;

/// Open files that a thousand clients need, here and in the servers.
const OPEN_FILES: u64 = 20_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: the servers are what is to be measured, and they need the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("no runtime").and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                // First: while it measures it ends by itself at a signal, and tells what it has.
                biased;
                ended = run(&arguments) => ended,
                // The servers are in groups of their own: only dropping them ends them.
                stopped = stopped() => stopped,
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until somebody wants this program to end.
async fn stopped() -> Result<()> {
    let [mut interrupt, mut terminate, mut hang_up] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let (interrupt, terminate, hang_up) = (interrupt.as_mut(), terminate.as_mut(), hang_up.as_mut());
    let (Ok(interrupt), Ok(terminate), Ok(hang_up)) = (interrupt, terminate, hang_up) else {
        bail!("signals cannot be waited for");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    bail!("stopped by a signal")
}

async fn run(arguments: &Arguments) -> Result<()> {
    let root = root();
    let (goals, rivals) = (arguments.goals()?, arguments.rivals()?);
    let weirs = arguments.weirs(root.join("target/release/weir"))?;
    for (_, binary) in &weirs {
        let told = std::process::Command::new(binary).arg("--version").output();
        let is_weir = told.is_ok_and(|told| told.stdout.starts_with(b"weir "));
        ensure!(is_weir, "{} --version does not say that it is weir", binary.display());
    }
    let bench = root.join("target/bench");
    fs_err::create_dir_all(&bench)?;
    // It may be a link to a folder that several clones share.
    let bench = fs_err::canonicalize(bench)?;
    let _alone = alone(&bench)?;
    raise_limit();
    let fixture = Fixture::prepare(&bench).await?;
    let place = Place { bench: &bench, fixture: &fixture };
    let wrk = Wrk::new(&Tool::Wrk.find().context("wrk is not on this machine")?, &bench.join("run"))?;

    let mut peers = vec![Peer::nginx(&place).await?];
    for (name, binary) in &weirs {
        peers.push(Peer::weir(&place, name, binary).await?);
    }
    for name in rivals {
        match Peer::rival(&place, name).await {
            Ok(peer) => peers.push(peer),
            Err(error) => eprintln!("peer {name}: LEFT OUT: {error:#}"),
        }
    }
    let mut run = Run {
        place,
        goals,
        rounds: usize::from(arguments.rounds),
        seconds: arguments.seconds,
        wrk,
        peers,
        measured: Measured::default(),
        disturbed: 0,
        patience: meter::PATIENCE,
    };
    let mut curves = Vec::new();
    let measuring = async {
        run.all().await?;
        if arguments.growth {
            growth::run(&mut run, &weirs[0].1, &mut curves).await?;
        }
        Ok(())
    };
    // What was measured before something failed, or a signal came, is told and kept all the same.
    let ended = tokio::select! {
        ended = measuring => ended,
        stopped = stopped() => stopped,
    };
    if run.measured.series.is_empty() && curves.is_empty() {
        return ended;
    }
    let report = Report {
        at: now(),
        machine: machine(),
        fixture: fixture.manifest.id.clone(),
        command: command(),
        weirs: weirs.into_iter().map(|(name, _)| name).collect(),
        disturbed: run.disturbed,
        measured: run.measured,
        curves,
    };
    let (file, before) = report.keep(&bench)?;
    let mut out = std::io::stdout();
    if arguments.json {
        let goals = report.judged();
        writeln!(out, "{}", serde_json::json!({ "report": &report, "goals": goals }))?;
    } else {
        writeln!(out, "{}", report.render())?;
        if let Some(before) = before {
            let compared = report.compared(&before);
            if !compared.is_empty() {
                writeln!(out, "### Since the run of {}\n\n{}", before.at, compared.render())?;
            }
        }
    }
    eprintln!("results: {}", file.display());
    if arguments.write_docs {
        ended?;
        return report.write_docs(&root);
    }
    ended
}

/// Two runs at once would measure each other, and write into the same folders.
fn alone(bench: &Path) -> Result<fs_err::File> {
    let path = bench.join("lock");
    let mut lock = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        let other = fs_err::read_to_string(&path).unwrap_or_default();
        bail!("another benchmark runs here as process {}; it locked {}", other.trim(), path.display());
    }
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(OPEN_FILES);
    if limit.current.is_some_and(|current| current < OPEN_FILES.min(most)) {
        let raised = Rlimit { current: Some(OPEN_FILES.min(most)), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            eprintln!("warning: the limit of open files cannot be raised ({error}); a crowd will fail");
        }
    }
}

fn command() -> String {
    let arguments = std::env::args().skip(1);
    std::iter::once("cargo xtask bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The workspace's folder.
fn root() -> PathBuf {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    parent.expect("bench lies in the workspace").to_owned()
}
