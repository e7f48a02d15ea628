//! Waking other nodes: `NOTIFY` and `LISTEN`. A ring says only that there is something to read; who misses one
//! finds it when it looks the next time anyway.

use super::postgres::{self, Held, PATIENCE};
use crate::error::DbError;
use sqlx::postgres::{PgListener, PgPool};
use std::sync::Arc;
use tokio::sync::Notify;

const CHANNEL: &str = "weir_changes";

/// Rings for others. A task of its own does it after the commit: inside the transaction, PostgreSQL would let
/// transactions that notify commit one after another only.
pub(crate) struct Bell {
    rope: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Bell {
    pub(crate) fn hang(pool: PgPool) -> Self {
        let rope = Arc::new(Notify::new());
        let pulled = rope.clone();
        let task = tokio::spawn(async move {
            loop {
                pulled.notified().await;
                if let Err(error) = ring(&pool).await {
                    tracing::debug!(%error, "other nodes were not woken; they look by themselves");
                }
            }
        });
        Self { rope, task }
    }

    /// Many calls while one is on its way are one more.
    pub(crate) fn ring(&self) {
        self.rope.notify_one();
    }
}

async fn ring(pool: &PgPool) -> Result<(), DbError> {
    let mut held = Held::acquire(pool).await?;
    let query = sqlx::query("select pg_notify($1, '')").bind(CHANNEL);
    let rung = held.run(async |connection| query.execute(connection).await).await;
    rung.map(|_| ()).map_err(|error| DbError::of("changes", error))
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hears other nodes ring.
pub struct Listener {
    inner: PgListener,
}

impl Listener {
    pub(crate) async fn new(url: &str) -> Result<Self, DbError> {
        let of = |error| DbError::of("changes", error);
        // Apart from the other connections: one that waits for a server that is gone keeps its place for long.
        let pool = postgres::pool(postgres::options(url)?, 1).await?;
        let listening = async {
            let mut inner = PgListener::connect_with(&pool).await?;
            inner.listen(CHANNEL).await?;
            Ok(inner)
        };
        match tokio::time::timeout(PATIENCE, listening).await {
            Ok(inner) => Ok(Self { inner: inner.map_err(of)? }),
            Err(_) => Err(DbError::unavailable("it did not answer in time")),
        }
    }

    /// Waits for the next ring. After an error the listener is of no use any more.
    pub async fn rung(&mut self) -> Result<(), DbError> {
        match self.inner.try_recv().await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(DbError::unavailable("the connection was lost")),
            Err(error) => Err(DbError::of("changes", error)),
        }
    }
}
