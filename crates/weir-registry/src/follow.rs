//! Following the other nodes of one database: word of their changes outdates the caches of this one. A ring of the
//! database (`LISTEN`) says that there is word; without one it is looked for four times a second.
//!
//! A node that could not look for `max-stale-authorization` does not know any more who may read what, and stops
//! answering until it can.

use crate::Registry;
use crate::change::Outdated;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use weir_core::{Error, Result};
use weir_store::rows::Standpoint;
use weir_store::{DbError, Engine};

/// How often is looked when nobody rings.
const POLL: Duration = Duration::from_millis(250);
/// How long word is kept for nodes that are cut off; one that was away for longer reads everything again.
const KEPT: Duration = Duration::from_secs(600);
/// How often it asks whether the database still allows this binary.
const ASK: Duration = Duration::from_secs(60);
/// How long it waits before it listens again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What this node knows of its standing among the others. Every request looks, so nothing here is locked.
pub(crate) struct Confirmed {
    begun: Instant,
    /// When it last knew that it had seen all changes, in milliseconds after `begun`.
    at_ms: AtomicU64,
    /// Why it must not go on, once the database was upgraded past it.
    refused: OnceLock<String>,
}

impl Default for Confirmed {
    fn default() -> Self {
        Self { begun: Instant::now(), at_ms: AtomicU64::new(0), refused: OnceLock::new() }
    }
}

impl Confirmed {
    fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.at_ms.load(Ordering::Acquire)))
    }

    fn confirm(&self, at: Instant) {
        let since = at.saturating_duration_since(self.begun).as_millis();
        self.at_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Release);
    }
}

impl Registry {
    /// Whether this node knows the changes of the others; Unavailable when it was cut off for too long. Over
    /// SQLite there are no others.
    pub fn check_current(&self) -> Result<()> {
        if self.inner.store.engine() == Engine::Sqlite {
            return Ok(());
        }
        if let Some(why) = self.inner.confirmed.refused.get() {
            return Err(Error::unavailable(format!("the database does not allow this node any more: {why}")));
        }
        let silence = self.inner.confirmed.silence();
        if silence <= self.inner.settings.max_stale_authorization {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "this node has not reached the database for {} s and does not know any more who may read what \
             (max-stale-authorization)",
            silence.as_secs()
        )))
    }

    /// Whether database and blob store answer and this node knows the changes of the others, for `/readyz`.
    pub async fn health(&self) -> Result<()> {
        self.check_current()?;
        self.inner.store.health().await
    }

    /// Follows the other nodes until `stop` resolves. Over SQLite it only waits.
    pub async fn follow(&self, stop: impl Future<Output = ()>) {
        if self.inner.store.engine() == Engine::Sqlite {
            return stop.await;
        }
        tokio::select! {
            () = stop => {}
            () = self.follow_for_ever() => {}
        }
    }

    /// Drops word that every node has seen, and leases of nodes that are gone. All nodes may do it.
    pub(crate) async fn forget_old_word(&self) -> Result<()> {
        if self.inner.store.engine() == Engine::Sqlite {
            return Ok(());
        }
        let work = self.inner.store.write(|session| {
            Box::pin(async move {
                session.drop_changes(KEPT).await?;
                session.drop_leases(false).await?;
                Ok::<_, Error>(())
            })
        });
        work.await
    }

    async fn follow_for_ever(&self) {
        let rung = Arc::new(Notify::new());
        // Apart, since a server without a free connection lets whoever connects wait, and looking must go on.
        let listening = self.listen_for_ever(&rung);
        let looking = async {
            let mut seen: Option<Standpoint> = None;
            let mut asked = None::<Instant>;
            loop {
                match tokio::time::timeout(PATIENCE, self.look(&mut seen)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "the changes of other nodes cannot be seen now"),
                    Err(_) => tracing::warn!("the database does not say what other nodes changed"),
                }
                if asked.is_none_or(|at| at.elapsed() > ASK) {
                    asked = Some(Instant::now());
                    self.ask_whether_allowed().await;
                }
                // A ring or the time; either way it looks.
                let _ = tokio::time::timeout(POLL, rung.notified()).await;
            }
        };
        tokio::join!(listening, looking);
    }

    /// Passes rings on, and listens again when the connection was lost.
    async fn listen_for_ever(&self, rung: &Notify) {
        loop {
            let lost = match self.inner.store.listen().await {
                Ok(None) => return,
                Ok(Some(mut listener)) => loop {
                    match listener.rung().await {
                        Ok(()) => rung.notify_one(),
                        Err(error) => break error,
                    }
                },
                Err(error) => error,
            };
            tracing::info!(error = %lost, "the database does not ring now; changes are looked for without it");
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    /// Looks for word once. After an error the next look begins where this one did.
    async fn look(&self, seen: &mut Option<Standpoint>) -> Result<(), DbError> {
        let begun = Instant::now();
        let mut session = self.inner.store.read_aside().await?;
        // Before the rows: what commits in between is seen twice rather than never.
        let now = session.standpoint().await?;
        match seen.as_ref().filter(|before| is_continued(before, &now)) {
            Some(before) => {
                for row in session.changes_since(before).await? {
                    if row.node == self.inner.instance {
                        continue;
                    }
                    match Outdated::read(&row.body, self) {
                        Some(outdated) => self.outdate(&outdated),
                        None => self.outdate_all(),
                    }
                }
            }
            None => self.outdate_all(),
        }
        *seen = Some(now);
        self.inner.confirmed.confirm(begun);
        Ok(())
    }

    /// Finds out whether the database was upgraded so that this binary must not go on.
    async fn ask_whether_allowed(&self) {
        let asked = async { self.inner.store.read_aside().await?.check_allowed().await };
        if let Ok(Err(error @ DbError::TooOld { .. })) = tokio::time::timeout(PATIENCE, asked).await {
            tracing::error!(%error, "this node stops answering");
            // Set already where it was found out before.
            let _ = self.inner.confirmed.refused.set(error.to_string());
        }
    }
}

/// Whether everything between two looks can be found: not after a time in which word may have been dropped, by the
/// clock of the database, since that of a machine that was suspended stood still; nor when transactions are counted
/// anew, as after a failover.
fn is_continued(before: &Standpoint, now: &Standpoint) -> bool {
    let away = Duration::try_from(now.at.duration_since(before.at)).unwrap_or(Duration::MAX);
    now.oldest >= before.oldest && away < KEPT / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Timestamp;

    #[test]
    fn after_a_long_time_away_and_after_a_failover_everything_is_read_again() {
        let at = |second, oldest| Standpoint {
            snapshot: String::new(),
            oldest,
            at: Timestamp::from_second(second).expect("in range"),
        };
        assert!(is_continued(&at(1000, 7), &at(1001, 7)));
        assert!(is_continued(&at(1000, 7), &at(1200, 9)));
        assert!(!is_continued(&at(1000, 7), &at(2000, 9)), "suspended");
        assert!(!is_continued(&at(1000, 7), &at(1001, 6)), "another server");
        assert!(!is_continued(&at(1000, 7), &at(900, 9)), "a clock that was set back");
    }
}
