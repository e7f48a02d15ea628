//! Long work on the store, done by one node for all: how far it is, how it ended, and when it is due again. A report
//! is kept in the database, where other nodes find it.

use crate::Registry;
use crate::lease::Lease;
use crate::topology::lock;
use futures_util::FutureExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_core::{Error, Result, Timestamp};

/// How often the report of a running job is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(3);
/// How long jobs may take to notice that the server stops.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// How long a job may take from its report to letting go of its lease.
const LETTING_GO: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long after a job that ended early the next one begins.
const AGAIN: Duration = Duration::from_secs(600);

/// How far a job is, or how it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress<T> {
    /// What it does now, in words; `done` or `failed` at its end.
    pub phase: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it ended early.
    pub failure: Option<String>,
    /// What it found and did.
    pub report: T,
}

/// Runs a job to its end; a panic must not leave its slot taken for ever.
pub(crate) async fn to_its_end(work: impl Future<Output = Result<()>>) -> Result<()> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.unwrap_or_else(|_| Err(Error::internal("this server failed in the middle of it")))
}

/// What is told of a failure: to administrators, so with the source of an internal one.
pub(crate) fn told(error: &Error) -> String {
    match error {
        Error::Internal(source) => source.to_string(),
        other => other.to_string(),
    }
}

/// One kind of job on this node.
pub(crate) struct Slot<T> {
    /// Also names its lease and, after `job:`, its setting.
    name: &'static str,
    state: Mutex<State<T>>,
}

struct State<T> {
    running: bool,
    /// Of the job that runs, or of the last one here.
    progress: Option<Progress<T>>,
    written: Option<Instant>,
}

/// All jobs of this node.
pub(crate) struct Jobs {
    pub(crate) collection: Slot<crate::collect::Collection>,
    pub(crate) verification: Slot<crate::scrub::Verification>,
    stopping: watch::Sender<bool>,
    /// Held while it is looked what is due.
    looking: Arc<tokio::sync::Mutex<()>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            collection: Slot::new("gc"),
            verification: Slot::new("verify"),
            stopping: watch::Sender::new(false),
            looking: Arc::default(),
            tasks: Mutex::default(),
        }
    }
}

impl Jobs {
    /// Errors: Unavailable once the server stops. Asked between steps.
    pub(crate) fn check(&self) -> Result<()> {
        if *self.stopping.borrow() {
            return Err(Error::unavailable("the server was stopped"));
        }
        Ok(())
    }

    /// The outcome of work that may take long. Errors: Unavailable as soon as the server stops.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            // The sender is part of this, so it ends with a stop only.
            _ = stopping.wait_for(|stopping| *stopping) => Err(Error::unavailable("the server was stopped")),
            outcome = work => Ok(outcome),
        }
    }

    /// The right to look what is due; `None` while somebody looks.
    pub(crate) fn look(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.looking.clone().try_lock_owned().ok()
    }

    /// Runs a job in a task of its own.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(work));
    }

    /// Ends all jobs.
    pub(crate) async fn stop(&self) {
        self.stopping.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        let ended = tokio::time::timeout(ENDED_WITHIN, futures_util::future::join_all(tasks));
        if ended.await.is_err() {
            tracing::warn!("work on the store did not end in time and is cut; it goes on at the next start");
        }
    }
}

impl<T: Clone + Serialize + DeserializeOwned + Send + 'static> Slot<T> {
    fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::new(State { running: false, progress: None, written: None }) }
    }

    /// Takes the slot for a job that begins; `None` while one runs here.
    pub(crate) fn begin(&self, report: T, now: Timestamp) -> Option<Progress<T>> {
        let mut state = lock(&self.state);
        if state.running {
            return None;
        }
        let progress = Progress {
            phase: "starting".to_owned(),
            started_at: now,
            finished_at: None,
            failure: None,
            report,
        };
        *state = State { running: true, progress: Some(progress.clone()), written: None };
        Some(progress)
    }

    /// Says what is done now.
    pub(crate) fn phase(&self, phase: impl Into<String>) {
        if let Some(progress) = &mut lock(&self.state).progress {
            progress.phase = phase.into();
        }
    }

    /// Changes the report.
    pub(crate) fn note(&self, change: impl FnOnce(&mut T)) {
        if let Some(progress) = &mut lock(&self.state).progress {
            change(&mut progress.report);
        }
    }

    /// The report of a job that came to this end; `end` is still to be called.
    pub(crate) fn last_report(&self, end: &Result<()>, now: Timestamp) -> Option<Progress<T>> {
        let mut progress = lock(&self.state).progress.clone()?;
        progress.phase = if end.is_ok() { "done" } else { "failed" }.to_owned();
        progress.failure = end.as_ref().err().map(told);
        progress.finished_at = Some(now);
        Some(progress)
    }

    /// Ends the job, when it has let go of all it had: the next may begin.
    pub(crate) fn end(&self, last: Option<Progress<T>>) {
        let mut state = lock(&self.state);
        state.running = false;
        state.progress = last;
    }

    /// The lease of the job; `None` while another node has it, and not only for its last moment.
    pub(crate) async fn lease(&self, registry: &Registry) -> Result<Option<Lease>> {
        let began = Instant::now();
        loop {
            let lease = registry.lease(self.name).await?;
            if lease.is_some() || self.here().0 || began.elapsed() > LETTING_GO {
                return Ok(lease);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn here(&self) -> (bool, Option<Progress<T>>) {
        let state = lock(&self.state);
        (state.running, state.progress.clone())
    }

    /// The report to write now, if it was not for a while.
    fn unwritten(&self) -> Option<Progress<T>> {
        let mut state = lock(&self.state);
        if state.written.is_some_and(|written| written.elapsed() < WRITTEN_EVERY) {
            return None;
        }
        state.written = Some(Instant::now());
        state.progress.clone()
    }

    fn setting(&self) -> String {
        format!("job:{}", self.name)
    }

    /// The last report in the database.
    async fn stored(&self, registry: &Registry) -> Result<Option<Progress<T>>> {
        let text = registry.inner.store.read().await?.get_setting(&self.setting()).await?;
        // One that another version wrote counts as none.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Writes a report to the database.
    pub(crate) async fn store(&self, registry: &Registry, progress: &Progress<T>) -> Result<()> {
        let text = serde_json::to_string(progress).map_err(Error::internal)?;
        self.put(registry, self.setting(), text).await
    }

    /// Writes how far it is, now and then.
    pub(crate) async fn store_now_and_then(&self, registry: &Registry) -> Result<()> {
        match self.unwritten() {
            Some(progress) => self.store(registry, &progress).await,
            None => Ok(()),
        }
    }

    /// How far the job is that runs, here or elsewhere, or how the last one ended.
    pub(crate) async fn progress(&self, registry: &Registry) -> Result<Option<Progress<T>>> {
        let (running, here) = self.here();
        if running {
            return Ok(here);
        }
        let Some(mut stored) = self.stored(registry).await? else { return Ok(here) };
        if here.as_ref().is_some_and(|here| here.started_at >= stored.started_at) {
            return Ok(here);
        }
        if stored.finished_at.is_none()
            && let Some(lease) = registry.lease(self.name).await?
        {
            lease.release().await;
            stored.phase = "failed".to_owned();
            stored.failure = Some("its node ended in the middle of it".to_owned());
        }
        Ok(Some(stored))
    }

    /// Whether the job is to run, `interval` after its last one. The first one is due an interval after this was
    /// asked for the first time.
    pub(crate) async fn is_due(&self, registry: &Registry, interval: Duration) -> Result<bool> {
        let now = registry.now();
        let last = registry.inner.store.read().await?.get_setting(&self.ended()).await?;
        let last =
            last.and_then(|text| text.parse().ok()).and_then(|at| Timestamp::from_microsecond(at).ok());
        let Some(last) = last else {
            self.put(registry, self.ended(), now.as_microsecond().to_string()).await?;
            return Ok(false);
        };
        // A clock that was set back must not keep it from running.
        Ok(last > now || last.checked_add(interval).is_ok_and(|due| due <= now))
    }

    /// Notes the end of a job for `is_due`; one that ended early is due again soon.
    pub(crate) async fn note_end(&self, registry: &Registry, interval: Duration, failed: bool) -> Result<()> {
        let early = if failed { interval.saturating_sub(AGAIN) } else { Duration::ZERO };
        let now = registry.now();
        let ended = now.checked_sub(early).unwrap_or(now);
        self.put(registry, self.ended(), ended.as_microsecond().to_string()).await
    }

    fn ended(&self) -> String {
        format!("job:{}:ended", self.name)
    }

    async fn put(&self, registry: &Registry, name: String, text: String) -> Result<()> {
        let work = registry.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.put_setting(&name, &text).await?) })
        });
        work.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_ends_a_long_rest_at_once() {
        let jobs = Arc::new(Jobs::default());
        assert!(jobs.unless_stopped(async {}).await.is_ok());
        let resting = tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.unless_stopped(tokio::time::sleep(Duration::from_secs(600))).await }
        });
        tokio::task::yield_now().await;
        jobs.stop().await;
        let ended = tokio::time::timeout(Duration::from_secs(10), resting).await.expect("at once");
        assert!(ended.expect("it does not panic").is_err());
        assert!(jobs.check().is_err());
    }
}
