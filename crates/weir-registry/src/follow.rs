//! Following the other nodes of one database: word of their changes outdates the caches of this one. A ring of the
//! database (`LISTEN`) says that there is word; without one it is looked for four times a second.
//!
//! A node that could not look for `max-stale-authorization` does not know any more who may read what, and stops
//! answering until it can.

use crate::Registry;
use crate::change::Outdated;
use crate::topology::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use weir_core::{Error, Result};
use weir_store::{DbError, Engine, Listener};

/// How often is looked when nobody rings.
const POLL: Duration = Duration::from_millis(250);
/// How long word is kept for nodes that are cut off; one that was away for longer reads everything again.
const KEPT: Duration = Duration::from_secs(600);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// When this node last knew that it had seen all changes.
pub(crate) struct Confirmed {
    at: Mutex<Instant>,
}

impl Default for Confirmed {
    fn default() -> Self {
        Self { at: Mutex::new(Instant::now()) }
    }
}

/// What was seen of the word that others left.
struct Follower {
    horizon: i64,
    /// Numbers, and their transactions, of what was seen at or above the horizon.
    seen: BTreeMap<i64, i64>,
    looked: Instant,
}

impl Registry {
    /// Whether this node knows the changes of the others; Unavailable when it was cut off for too long. Over
    /// SQLite there are no others.
    pub fn check_current(&self) -> Result<()> {
        if self.inner.store.engine() == Engine::Sqlite {
            return Ok(());
        }
        let silence = lock(&self.inner.confirmed.at).elapsed();
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
        let mut follower: Option<Follower> = None;
        let mut listener: Option<Listener> = None;
        let mut listened = None::<Instant>;
        loop {
            if listener.is_none() && listened.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
                listened = Some(Instant::now());
                listener = self.inner.store.listen().await.unwrap_or_default();
            }
            match tokio::time::timeout(PATIENCE, self.look(&mut follower)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    listener = None;
                    tracing::warn!(%error, "the changes of other nodes cannot be seen now");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(_) => tracing::warn!("the database does not say what other nodes changed"),
            }
            let rung = match &mut listener {
                Some(listener) => tokio::time::timeout(POLL, listener.rung()).await,
                None => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            };
            if let Ok(Err(_)) = rung {
                listener = None;
            }
        }
    }

    /// Looks for word once. Errors leave the follower as it was.
    async fn look(&self, follower: &mut Option<Follower>) -> Result<(), DbError> {
        let begun = Instant::now();
        let mut session = self.inner.store.read().await?;
        // Before the rows: what commits in between is seen twice rather than never.
        let horizon = session.change_horizon().await?;
        let known = follower.take_if(|known| known.looked.elapsed() < KEPT / 2);
        let mut seen = BTreeMap::new();
        match known {
            Some(mut known) => {
                let rows = match session.changes_since(known.horizon).await {
                    Ok(rows) => rows,
                    Err(error) => {
                        *follower = Some(known);
                        return Err(error);
                    }
                };
                for row in rows {
                    if known.seen.insert(row.sequence, row.transaction).is_some()
                        || row.node == self.inner.instance
                    {
                        continue;
                    }
                    match Outdated::read(&row.body, self) {
                        Some(outdated) => self.outdate(&outdated),
                        None => self.outdate_all(),
                    }
                }
                known.seen.retain(|_, transaction| *transaction >= horizon);
                seen = known.seen;
            }
            None => {
                *follower = None;
                self.outdate_all();
            }
        }
        *follower = Some(Follower { horizon, seen, looked: begun });
        *lock(&self.inner.confirmed.at) = begun;
        Ok(())
    }
}
