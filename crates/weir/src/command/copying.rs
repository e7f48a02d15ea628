//! How far a copy is, on standard error: a bar on a terminal, else a line every few seconds.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use weir_store::copy::{Counted, Lost, Step};

/// How long there is silence at most where there is no terminal.
const LINE: Duration = Duration::from_secs(5);
/// How many bad files are listed for people; JSON and the manifest have all.
const SHOWN: usize = 20;

/// Shows steps.
pub(super) struct Shown {
    bar: Option<ProgressBar>,
    last: Mutex<Instant>,
}

impl Shown {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            match ProgressStyle::with_template("{bar:30} {msg} ({eta} left)") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { bar, last: Mutex::new(Instant::now()) }
    }

    /// Shows one, or not: they come faster than anybody reads.
    pub(super) fn step(&self, step: Step) {
        let (done, total) = match step {
            Step::Verifying => (0, None),
            Step::Rows { done, total, .. } => (done, total),
            Step::Blobs { bytes, total_bytes, .. } => (bytes, Some(total_bytes)),
        };
        if let Some(bar) = &self.bar {
            match total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_position(done);
            bar.set_message(text(step));
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE {
            *last = Instant::now();
            eprintln!("weir: {}", text(step));
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn text(step: Step) -> String {
    match step {
        Step::Verifying => "comparing the rows with the manifest".to_owned(),
        Step::Rows { table, done, total: Some(total) } => format!("{table}: {done} of {total} rows"),
        Step::Rows { table, done, total: None } => format!("{table}: {done} rows"),
        Step::Blobs { done, total, bytes, total_bytes } => {
            format!("files: {done} of {total}, {} of {}", HumanBytes(bytes), HumanBytes(total_bytes))
        }
    }
}

/// `3 files (1.00 KiB)`
pub(super) fn amount(counted: Counted) -> String {
    let noun = if counted.count == 1 { "file" } else { "files" };
    format!("{} {noun} ({})", counted.count, HumanBytes(counted.bytes))
}

/// Lines about files that are missing or damaged.
pub(super) fn lost_lines(lost: &[Lost]) -> String {
    let line = |lost: &Lost| format!("  {} of domain {} {}\n", lost.sha256, lost.domain_id, lost.problem);
    let mut lines: String = lost.iter().take(SHOWN).map(line).collect();
    if lost.len() > SHOWN {
        lines.push_str(&format!("  and {} more\n", lost.len() - SHOWN));
    }
    lines
}
