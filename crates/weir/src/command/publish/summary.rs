//! What became of the files: the bar while it lasts, and the counts at the end.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by all who publish.
pub(super) struct Summary {
    bar: ProgressBar,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    published: u64,
    present: u64,
    failed: Vec<(PathBuf, String)>,
}

impl Summary {
    /// Of so many files.
    pub(super) fn of(length: usize) -> Self {
        let bar = ProgressBar::new(length as u64);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)");
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Self { bar, counts: Mutex::default() }
    }

    /// Shows what is worked on.
    pub(super) fn begin(&self, what: impl Into<std::borrow::Cow<'static, str>>) {
        self.bar.set_message(what);
    }

    /// One more was published.
    pub(super) fn published(&self) {
        self.counts().published += 1;
        self.bar.inc(1);
    }

    /// One more was there already.
    pub(super) fn present(&self) {
        self.counts().present += 1;
        self.bar.inc(1);
    }

    /// One more failed; the reason is printed at once.
    pub(super) fn fail(&self, path: PathBuf, error: &anyhow::Error) {
        self.bar.suspend(|| eprintln!("weir: {}: {error:#}", path.display()));
        self.bar.inc(1);
        self.counts().failed.push((path, format!("{error:#}")));
    }

    /// Ends the bar; whether nothing failed.
    pub(super) fn end(&self) -> bool {
        self.bar.finish_and_clear();
        let mut counts = self.counts();
        counts.failed.sort();
        counts.failed.is_empty()
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        let counts = self.counts();
        let failed: Vec<Value> =
            counts.failed.iter().map(|(path, error)| json!({ "file": path, "error": error })).collect();
        json!({ "published": counts.published, "present": counts.present, "failed": failed })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let counts = self.counts();
        let failed = counts.failed.len();
        let hint = if failed > 0 {
            "; the reasons are above, a repeated run sends only what is missing"
        } else {
            ""
        };
        format!("published {}, already there {}, failed {failed}{hint}\n", counts.published, counts.present)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counters are whole even if somebody panicked between two of them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
