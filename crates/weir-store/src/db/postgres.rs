//! Connections to PostgreSQL, with limits that hold when the server says nothing at all: a statement, the
//! test of an idle connection and the way back into the pool all end, and what did not answer is thrown away.

use crate::error::DbError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use sqlx::{Connection as _, Error};
use std::io;
use std::str::FromStr as _;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Connections of one node.
const CONNECTIONS: u32 = 16;
/// How long a request waits for a connection before it is told that the database does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a statement may take. The server gives up a moment earlier, and then the connection stays usable.
const STATEMENT: Duration = Duration::from_secs(20);
/// How long the sign of life of a connection may take that was idle or is given back.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// How often a server is tried that takes no connection.
const AGAIN: Duration = Duration::from_millis(300);
/// A connection that was used so lately is taken to be alive.
const LATELY: Duration = Duration::from_secs(1);

/// How to connect; errors name no password.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, DbError> {
    let options = PgConnectOptions::from_str(url).map_err(|e| DbError::of("database", e))?;
    Ok(options.options([
        ("statement_timeout", "18s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "60s"),
    ]))
}

/// A pool of connections. The first is made now.
pub(super) async fn pool(options: PgConnectOptions, most: u32) -> Result<PgPool, DbError> {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(PATIENCE)
        // In place of the pool's own test, which waits for as long as the server takes.
        .test_before_acquire(false)
        .before_acquire(|connection, lately| {
            Box::pin(async move {
                let lived = lately.idle_for < LATELY
                    || matches!(timeout(SIGN_OF_LIFE, connection.ping()).await, Ok(Ok(())));
                Ok(lived)
            })
        })
        .connect_with(options)
        .await
        .map_err(|e| DbError::of("database", e))
}

/// Waits until the server takes a connection, and tells why when it does not: a pool tries and then no more knows.
pub(super) async fn reach(url: &str) -> Result<(), DbError> {
    let options = options(url)?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let mut why = "no connection in time".to_owned();
    let trying = async {
        loop {
            match PgConnection::connect_with(&options).await {
                Ok(connection) => return connection.close().await.map_err(|e| DbError::of("database", e)),
                Err(Error::Io(error)) => why = error.to_string(),
                Err(error) => match DbError::of("database", error) {
                    DbError::Unavailable { message } => why = message,
                    other => return Err(other),
                },
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    match timeout(PATIENCE, trying).await {
        Ok(done) => done,
        Err(_) => Err(DbError::unavailable(format!("{place}: {why}"))),
    }
}

/// The pool of a node.
pub(super) async fn node_pool(url: &str) -> Result<PgPool, DbError> {
    pool(options(url)?, CONNECTIONS).await
}

/// A connection out of a pool. Dropping it gives it back, after an open transaction was undone.
pub(super) struct Held {
    /// Away only while it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    pub(super) in_transaction: bool,
    /// How long a statement may take.
    limit: Option<Duration>,
    /// A statement did not answer; whatever comes from there now is not the answer to a later one.
    silent: bool,
    /// A statement failed. PostgreSQL answers a commit after that as if all were well, and commits nothing.
    failed: bool,
}

impl Held {
    pub(super) async fn acquire(pool: &PgPool) -> Result<Self, DbError> {
        // On the heap, as in `run`: the driver's futures are large, and room for them would be in all that may ask.
        let connection = Box::pin(pool.acquire()).await.map_err(|e| DbError::of("database", e))?;
        Ok(Self {
            connection: Some(connection),
            in_transaction: false,
            limit: Some(STATEMENT),
            silent: false,
            failed: false,
        })
    }

    /// Lets statements take as long as they like: for migrations.
    pub(super) fn unlimited(&mut self) {
        self.limit = None;
    }

    /// The connection itself, for what has no limit.
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        let connection = self.connection.as_mut().filter(|_| !self.silent);
        connection.map(|connection| &mut **connection).ok_or_else(|| Error::Io(late()))
    }

    /// Runs one statement within the limit.
    pub(super) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let limit = self.limit.unwrap_or(Duration::MAX);
        let statement = Box::pin(statement(self.connection()?));
        let done = timeout(limit, statement).await.unwrap_or_else(|_| {
            self.silent = true;
            Err(Error::Io(late()))
        });
        self.failed |= done.is_err();
        done
    }

    /// Commits the transaction that was begun.
    pub(super) async fn commit(&mut self) -> Result<(), DbError> {
        if self.failed {
            return Err(DbError::fault(
                "database",
                "a statement of this transaction failed and was passed over",
            ));
        }
        let commit = async |connection: &mut PgConnection| sqlx::raw_sql("commit").execute(connection).await;
        self.run(commit).await.map_err(|e| DbError::of("database", e))?;
        self.in_transaction = false;
        Ok(())
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let (silent, undo) = (self.silent, self.in_transaction);
        let Some(runtime) = Handle::try_current().ok().filter(|_| !silent) else {
            // Closed at once, and the pool makes another when it needs one.
            drop(connection.detach());
            return;
        };
        runtime.spawn(async move {
            let undone = async {
                if undo {
                    sqlx::raw_sql("rollback").execute(&mut *connection).await.map(|_| ())
                } else {
                    Ok(())
                }
            };
            if !matches!(timeout(SIGN_OF_LIFE, undone).await, Ok(Ok(()))) {
                drop(connection.detach());
                return;
            }
            // The pool tests what comes back, for as long as that takes: a connection to a server that is gone
            // without a word would keep its place for many minutes.
            let _ = timeout(SIGN_OF_LIFE, connection.return_to_pool()).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use weir_testkit::{Postgres, Proxy};

    async fn number(held: &mut Held, sql: &'static str) -> Result<i32, Error> {
        held.run(async |connection| sqlx::query_scalar(sql).fetch_one(connection).await).await
    }

    /// A pool of two connections behind a proxy.
    async fn behind_a_proxy() -> Option<(Postgres, Proxy, PgPool)> {
        let postgres = Postgres::shared_database().await?;
        let proxy = Proxy::start(postgres.authority()).await;
        let pool = pool(options(&postgres.url_through(&proxy)).expect("a URL"), 2).await.expect("it answers");
        Some((postgres, proxy, pool))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_silent_connection_is_thrown_away_and_its_place_is_free() {
        let Some((_postgres, proxy, pool)) = behind_a_proxy().await else { return };
        let mut all =
            vec![Held::acquire(&pool).await.expect("free"), Held::acquire(&pool).await.expect("free")];
        proxy.hang();
        for held in &mut all {
            held.limit = Some(Duration::from_millis(50));
            let error = DbError::of("database", number(held, "select 1").await.expect_err("silence"));
            assert!(matches!(error, DbError::Unavailable { .. }), "{error}");
            assert!(number(held, "select 1").await.is_err(), "it is not used again");
        }
        drop(all);
        assert_eq!(pool.size(), 0);
        proxy.pass();
        let mut held = Held::acquire(&pool).await.expect("another");
        assert_eq!(number(&mut held, "select 7").await.expect("it answers"), 7);
        // Given back while nobody answers: its place is free after a moment all the same.
        proxy.hang();
        drop(held);
        let begun = Instant::now();
        while pool.size() > 0 {
            assert!(begun.elapsed() < SIGN_OF_LIFE * 3, "it keeps its place");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_that_is_given_up_is_undone_and_one_that_failed_is_not_committed() {
        let Some((postgres, _proxy, pool)) = behind_a_proxy().await else { return };
        postgres.psql("create table t (a int primary key)").await;
        let begin = async || {
            let mut held = Held::acquire(&pool).await.expect("free");
            held.in_transaction = true;
            for sql in ["begin", "insert into t values (1)"] {
                let run = async |connection: &mut PgConnection| sqlx::raw_sql(sql).execute(connection).await;
                held.run(run).await.expect("done");
            }
            held
        };
        drop(begin().await);
        // In the middle of a statement.
        let mut held = begin().await;
        assert!(
            timeout(Duration::from_millis(50), number(&mut held, "select 1 from pg_sleep(0.5)"))
                .await
                .is_err()
        );
        drop(held);
        let mut held = begin().await;
        number(&mut held, "select 1 / 0").await.expect_err("impossible");
        assert!(held.commit().await.is_err());
        drop(held);
        assert_eq!(postgres.psql("select count(*) from t").await, "0");
        begin().await.commit().await.expect("committed");
        assert_eq!(postgres.psql("select count(*) from t").await, "1");
    }
}
