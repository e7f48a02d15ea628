//! One SQL text over SQLite and PostgreSQL: each by its own driver, `$1` parameters that both accept, values
//! and rows as enums. What both engines must agree on (`house.md` 4.2): `sum` is cast to bigint, order is
//! `collate "C"`, a null has a type, times are microseconds.

mod bell;
mod postgres;
mod row;
mod sqlite;
mod url;
mod value;
mod writer;

use bell::Bell;
pub use bell::Listener;
pub(crate) use row::Row;
pub(crate) use value::Value;

use crate::Durability;
use crate::error::DbError;
use crate::migrate::{migrate, pending};
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use postgres::{Held, PATIENCE};
use sqlite::{Lease, Readers};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, SqlSafeStr};
pub use url::{DatabaseUrl, Engine};
use value::bind;
use weir_core::Timestamp;
use writer::Writer;

/// Connections for following, ringing and leases.
const ASIDE: u32 = 2;
/// How many values a list in one statement holds at most. A power of two: see `expand`.
const LIST: usize = 512;

/// An open database with its tables up to date.
pub(crate) enum Database {
    Sqlite {
        readers: Readers,
        writer: Writer,
    },
    Postgres {
        pool: PgPool,
        /// Apart, so that requests that wait for a busy package keep no node from following the others.
        aside: PgPool,
        bell: Bell,
        url: String,
    },
}

impl Database {
    pub(crate) async fn open(url: &DatabaseUrl, now: Timestamp) -> Result<Self, DbError> {
        match url {
            DatabaseUrl::Sqlite(path) => {
                let writer = Writer::open(path.clone(), now).await?;
                Ok(Self::Sqlite { readers: Readers::open(path.clone()).await?, writer })
            }
            DatabaseUrl::Postgres(url) => {
                postgres::reach(url).await?;
                let pool = postgres::node_pool(url).await?;
                let mut connection = Held::acquire(&pool).await?;
                connection.unlimited();
                let mut session = Session { inner: Inner::Postgres(connection) };
                session.begin().await?;
                session
                    .script("database", "set local statement_timeout = 0; set local lock_timeout = 0")
                    .await?;
                // Several nodes may start at once; the number is Weir's own and means nothing else.
                session.script("database", "select pg_advisory_xact_lock(7237461)").await?;
                migrate(&mut session, now).await?;
                session.commit().await?;
                let aside = postgres::pool(postgres::options(url)?, ASIDE).await?;
                let bell = Bell::hang(aside.clone());
                Ok(Self::Postgres { pool, aside, bell, url: url.clone() })
            }
        }
    }

    /// The names of the migrations that the database lacks; nothing is changed.
    pub(crate) async fn pending(url: &DatabaseUrl) -> Result<Vec<&'static str>, DbError> {
        match url {
            DatabaseUrl::Sqlite(path) => {
                let path = path.clone();
                let runtime = tokio::runtime::Handle::current();
                let looked = tokio::task::spawn_blocking(move || {
                    let connection = sqlite::look(&path).map_err(|e| DbError::of_sqlite("database", e))?;
                    let mut session = Session { inner: Inner::Writer(connection) };
                    let found = runtime.block_on(pending(&mut session));
                    session.close();
                    found
                });
                looked.await.map_err(DbError::unavailable)?
            }
            DatabaseUrl::Postgres(url) => {
                postgres::reach(url).await?;
                let pool = postgres::pool(postgres::options(url)?, 1).await?;
                let mut session = Session { inner: Inner::Postgres(Held::acquire(&pool).await?) };
                let found = pending(&mut session).await;
                drop(session);
                pool.close().await;
                found
            }
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Sqlite { .. } => Engine::Sqlite,
            Self::Postgres { .. } => Engine::Postgres,
        }
    }

    pub(crate) async fn read(&self) -> Result<Session, DbError> {
        let inner = match self {
            Self::Sqlite { readers, .. } => Inner::Reader(readers.lease().await?),
            Self::Postgres { pool, .. } => Inner::Postgres(Held::acquire(pool).await?),
        };
        Ok(Session { inner })
    }

    /// As `read`, for what a node does to stay one of several.
    pub(crate) async fn read_aside(&self) -> Result<Session, DbError> {
        match self {
            Self::Sqlite { .. } => self.read().await,
            Self::Postgres { aside, .. } => {
                Ok(Session { inner: Inner::Postgres(Held::acquire(aside).await?) })
            }
        }
    }

    /// A session whose queries all see one moment.
    pub(crate) async fn snapshot(&self) -> Result<Session, DbError> {
        let mut session = self.read().await?;
        let begin = match &mut session.inner {
            Inner::Reader(lease) => {
                lease.run_aside();
                "begin"
            }
            Inner::Postgres(held) => {
                held.unlimited();
                held.in_transaction = true;
                "begin isolation level repeatable read, read only; set local statement_timeout = 0"
            }
            Inner::Writer(_) => "",
        };
        session.script("database", begin).await?;
        Ok(session)
    }

    /// Over PostgreSQL every commit is synced: it may fail on its own, and nodes that saw a row would go on without it.
    pub(crate) async fn write<T, E>(
        &self,
        durability: Durability,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        match self {
            Self::Sqlite { writer, .. } => writer.write(durability, work).await,
            Self::Postgres { pool, .. } => transaction(pool, work).await,
        }
    }

    /// Syncs the commits that may be lost in a power cut.
    pub(crate) async fn sync_later(&self) -> Result<(), DbError> {
        match self {
            Self::Sqlite { writer, .. } => writer.sync_later().await,
            Self::Postgres { .. } => Ok(()),
        }
    }

    /// As `write`, for what a node does to stay one of several.
    pub(crate) async fn write_aside<T, E>(
        &self,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        match self {
            Self::Sqlite { writer, .. } => writer.write(Durability::Synced, work).await,
            Self::Postgres { aside, .. } => transaction(aside, work).await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                // The writer last: the last connection to leave folds the log into the file.
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { pool, aside, .. } => {
                let closing = async { tokio::join!(pool.close(), aside.close()) };
                // What is still held was promised to nobody.
                if tokio::time::timeout(PATIENCE, closing).await.is_err() {
                    tracing::warn!("connections to the database were not given back in time");
                }
            }
        }
    }

    /// Wakes the other nodes, which look for word of changes; soon, and once for many calls.
    pub(crate) fn ring(&self) {
        if let Self::Postgres { bell, .. } = self {
            bell.ring();
        }
    }

    /// Hears when other nodes ring; `None` over SQLite, where there are none.
    pub(crate) async fn listen(&self) -> Result<Option<Listener>, DbError> {
        match self {
            Self::Sqlite { .. } => Ok(None),
            Self::Postgres { url, .. } => Ok(Some(Listener::new(url).await?)),
        }
    }
}

async fn transaction<T, E>(
    pool: &PgPool,
    work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, E>>,
) -> Result<T, E>
where
    E: From<DbError>,
{
    let mut session = Session { inner: Inner::Postgres(Held::acquire(pool).await?) };
    session.begin().await?;
    // An error drops the session, which rolls the transaction back.
    let done = work(&mut session).await?;
    session.commit().await?;
    Ok(done)
}

/// A connection that reads, or a transaction that writes. All queries are methods of it; those that
/// change anything fail on a session that only reads.
pub struct Session {
    inner: Inner,
}

enum Inner {
    Reader(Lease),
    Writer(rusqlite::Connection),
    Postgres(Held),
}

impl Session {
    /// Which engine it talks to.
    pub fn engine(&self) -> Engine {
        match self.inner {
            Inner::Reader(_) | Inner::Writer(_) => Engine::Sqlite,
            Inner::Postgres(_) => Engine::Postgres,
        }
    }

    /// Whether the database has a table of that name.
    pub(crate) async fn has_table(&mut self, name: &'static str) -> Result<bool, DbError> {
        let sql = match self.engine() {
            Engine::Sqlite => "select name from sqlite_master where type = 'table' and name = $1",
            Engine::Postgres => "select relname as name from pg_class where oid = to_regclass($1)",
        };
        Ok(self.first("database", sql, &[name.into()]).await?.is_some())
    }

    /// Asks the database for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), DbError> {
        self.first("database", "select 1", &[]).await.map(|_| ())
    }

    /// All rows of a query.
    pub(crate) async fn all(
        &mut self,
        table: &'static str,
        sql: impl SqlSafeStr,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DbError> {
        match &mut self.inner {
            Inner::Reader(lease) => {
                let rows = lease.all(table, sql.into_sql_str(), values).await?;
                Ok(rows.into_iter().map(|row| Row::sqlite(table, row)).collect())
            }
            Inner::Writer(connection) => {
                let rows = sqlite::all(connection, sql.into_sql_str().as_str(), values, usize::MAX);
                let rows = rows.map_err(|e| DbError::of_sqlite(table, e))?.unwrap_or_default();
                Ok(rows.into_iter().map(|row| Row::sqlite(table, row)).collect())
            }
            Inner::Postgres(held) => {
                let query = bind(sql, values);
                let rows = held.run(async |connection| query.fetch_all(connection).await).await;
                let rows = rows.map_err(|e| DbError::of(table, e))?;
                Ok(rows.into_iter().map(|row| Row::postgres(table, row)).collect())
            }
        }
    }

    /// Lets the statements of this session take as long as they like.
    pub(crate) async fn unlimited(&mut self) -> Result<(), DbError> {
        let Inner::Postgres(held) = &mut self.inner else { return Ok(()) };
        held.unlimited();
        self.script("database", "set local statement_timeout = 0").await
    }

    /// Visits the rows of a query one by one, as they come, so that a large table takes no memory.
    pub(crate) async fn each<E: From<DbError>>(
        &mut self,
        table: &'static str,
        sql: impl SqlSafeStr,
        mut visit: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.inner {
            Inner::Reader(lease) => {
                lease.each(table, sql.into_sql_str(), |row| visit(Row::sqlite(table, row))).await
            }
            Inner::Writer(connection) => {
                let mut visited = Ok(());
                let read = sqlite::each(connection, sql.into_sql_str().as_str(), &[], |row| {
                    visited = visit(Row::sqlite(table, row));
                    visited.is_ok()
                });
                visited?;
                read.map(drop).map_err(|e| DbError::of_sqlite(table, e).into())
            }
            Inner::Postgres(held) => {
                let of = |error| DbError::of(table, error);
                let mut rows = bind(sql, &[]).fetch(held.connection().map_err(of)?);
                while let Some(row) = rows.try_next().await.map_err(of)? {
                    visit(Row::postgres(table, row))?;
                }
                Ok(())
            }
        }
    }

    /// The first row of a query.
    pub(crate) async fn first(
        &mut self,
        table: &'static str,
        sql: impl SqlSafeStr,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.all(table, sql, values).await?.into_iter().next())
    }

    /// All rows of a query with `{list}` in place of a list of values, whose parameters follow those of
    /// `values`. A long list is asked in pieces, so the order of rows holds within a piece only.
    pub(crate) async fn all_in(
        &mut self,
        table: &'static str,
        sql: &'static str,
        values: &[Value<'_>],
        list: &[Value<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let mut rows = Vec::new();
        for piece in list.chunks(LIST) {
            let (sql, values) = expand(sql, values, piece);
            rows.extend(self.all(table, sql, &values).await?);
        }
        Ok(rows)
    }

    /// Changes rows and counts them.
    pub(crate) async fn run(
        &mut self,
        table: &'static str,
        sql: impl SqlSafeStr,
        values: &[Value<'_>],
    ) -> Result<u64, DbError> {
        match &mut self.inner {
            Inner::Writer(connection) => {
                let done = sqlite::run(connection, sql.into_sql_str().as_str(), values);
                done.map_err(|e| DbError::of_sqlite(table, e))
            }
            Inner::Postgres(held) if held.in_transaction => {
                let query = bind(sql, values);
                let done = held.run(async |connection| query.execute(connection).await).await;
                done.map(|done| done.rows_affected()).map_err(|e| DbError::of(table, e))
            }
            Inner::Reader(_) | Inner::Postgres(_) => Err(DbError::read_only(table)),
        }
    }

    /// As `run`, with a list as in `all_in`.
    pub(crate) async fn run_in(
        &mut self,
        table: &'static str,
        sql: &'static str,
        values: &[Value<'_>],
        list: &[Value<'_>],
    ) -> Result<u64, DbError> {
        let mut changed = 0;
        for piece in list.chunks(LIST) {
            let (sql, values) = expand(sql, values, piece);
            changed += self.run(table, sql, &values).await?;
        }
        Ok(changed)
    }

    /// As `first`, for a statement that changes and tells (`returning`).
    pub(crate) async fn change(
        &mut self,
        table: &'static str,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, DbError> {
        // PostgreSQL would let a session that reads write outside a transaction; SQLite would not.
        match &self.inner {
            Inner::Writer(_) => self.first(table, sql, values).await,
            Inner::Postgres(held) if held.in_transaction => self.first(table, sql, values).await,
            Inner::Reader(_) | Inner::Postgres(_) => Err(DbError::read_only(table)),
        }
    }

    /// Several statements without values.
    pub(crate) async fn script(&mut self, table: &'static str, sql: &'static str) -> Result<(), DbError> {
        match &mut self.inner {
            Inner::Reader(lease) => lease.script(table, sql).await,
            Inner::Writer(connection) => {
                connection.execute_batch(sql).map_err(|e| DbError::of_sqlite(table, e))
            }
            Inner::Postgres(held) => {
                let done = held
                    .run(async |connection| sqlx::raw_sql(sql).execute(connection).await.map(|_| ()))
                    .await;
                done.map_err(|e| DbError::of(table, e))
            }
        }
    }

    /// Begins a PostgreSQL transaction, undone unless it is committed; SQLite's are begun by the writer.
    async fn begin(&mut self) -> Result<(), DbError> {
        if let Inner::Postgres(held) = &mut self.inner {
            // Before it is sent: it may begin although nobody waits for the answer any more.
            held.in_transaction = true;
        }
        self.script("database", "begin").await
    }

    /// Commits a PostgreSQL transaction; SQLite's are ended by the writer.
    async fn commit(mut self) -> Result<(), DbError> {
        match &mut self.inner {
            Inner::Postgres(held) => held.commit().await,
            Inner::Reader(_) | Inner::Writer(_) => Ok(()),
        }
    }

    /// Closes the connection of a writer, which folds the log into the file.
    fn close(self) {
        if let Inner::Writer(connection) = self.inner
            && let Err((_, error)) = connection.close()
        {
            tracing::warn!(%error, "the database was not closed in order");
        }
    }
}

/// Puts as many parameters in place of `{list}` as `piece` has values, rounded up to a power of two by
/// repeating the last, so that the engines' caches of prepared statements see few different texts.
pub(crate) fn expand<'a>(
    sql: &'static str,
    values: &[Value<'a>],
    piece: &[Value<'a>],
) -> (impl SqlSafeStr + use<>, Vec<Value<'a>>) {
    let count = piece.len().next_power_of_two();
    let mut all = Vec::with_capacity(values.len() + count);
    all.extend_from_slice(values);
    all.extend_from_slice(piece);
    let last = piece.last().copied().unwrap_or(Value::Text(None));
    all.resize(values.len() + count, last);
    let parameters: Vec<String> = (values.len() + 1..=all.len()).map(|n| format!("${n}")).collect();
    // Safe: a literal, with nothing put in but `$1`, `$2`, …
    (AssertSqlSafe(sql.replace("{list}", &parameters.join(", "))), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_padded_to_a_power_of_two() {
        let piece = ["a", "b", "c"].map(Value::from);
        let (sql, values) = expand("x = $1 and y in ({list})", &[1_i64.into()], &piece);
        assert_eq!(sql.into_sql_str().as_str(), "x = $1 and y in ($2, $3, $4, $5)");
        assert_eq!(values.len(), 5);
    }
}
