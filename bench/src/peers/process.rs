//! A server process in a group of its own, so that it ends with all its children; its output lies in a file.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it listens, and until it has ended.
const LIMIT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(50);

/// A started server.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it and waits until it listens on this port.
    pub(super) async fn start(mut command: Command, folder: &Path, port: u16) -> Result<Self> {
        let log = folder.join("log");
        let output = fs_err::File::create(&log)?.into_file();
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("{program} could not be run"))?;
        let mut process = Self { child, log };
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                bail!("{program} ended ({status}): {}", process.last_words());
            }
            tokio::time::sleep(MOMENT).await;
        }
        bail!("{program} does not listen on port {port} after {LIMIT:?}: {}", process.last_words())
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn last_words(&self) -> String {
        let log = fs_err::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // One that has ended already needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(MOMENT);
        }
        // Children that outlived the first, and a first that did not listen.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
