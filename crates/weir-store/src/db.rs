//! One SQL text over SQLite and PostgreSQL: two concrete pools, `$1` parameters that both accept, values
//! and rows as enums. What both engines must agree on (`house.md` 4.2): `sum` is cast to bigint, order is
//! `collate "C"`, a null has a type, times are microseconds.

mod bell;
mod later;
mod postgres;
mod row;
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
use later::Later;
use postgres::{Held, PATIENCE};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr, SqlStr};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use value::bind;
use weir_core::Timestamp;
use writer::Writer;

/// Readers of an SQLite file; each is a thread.
const SQLITE_READERS: u32 = 4;
/// Connections for following, ringing and leases.
const ASIDE: u32 = 2;
/// How many values a list in one statement holds at most. A power of two: see `expand`.
const LIST: usize = 512;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of this machine, made if it is missing.
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST/NAME`.
    Postgres(String),
}

/// Without anything secret.
impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = match self {
            Self::Sqlite(path) => return write!(f, "{}", path.display()),
            Self::Postgres(url) => url::Url::parse(url).ok(),
        };
        let Some(url) = url else { return f.write_str("postgres://…") };
        write!(f, "postgres://{}", url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_string())
    }
}

/// Which engine a session talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite: one process.
    Sqlite,
    /// PostgreSQL: any number of nodes.
    Postgres,
}

impl DatabaseUrl {
    /// Which engine it names.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// Reads a setting: `postgres://…` or `postgresql://…`, else `sqlite:PATH` or a path.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(text.to_owned());
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into())
    }
}

/// An open database with its tables up to date.
pub(crate) enum Database {
    Sqlite {
        readers: SqlitePool,
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
                let options = sqlite_options(path);
                let making = options.clone().create_if_missing(true);
                let connection =
                    SqliteConnection::connect_with(&making).await.map_err(|e| DbError::of("database", e))?;
                let mut session = Session::of(Inner::SqliteWriter(connection));
                session.script("database", "begin immediate").await?;
                migrate(&mut session, now).await?;
                session.script("database", "commit").await?;
                let readers = SqlitePoolOptions::new()
                    .max_connections(SQLITE_READERS)
                    .acquire_timeout(PATIENCE)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .test_before_acquire(false)
                    .connect_with(options.read_only(true))
                    .await
                    .map_err(|e| DbError::of("database", e))?;
                Ok(Self::Sqlite { readers, writer: Writer::start(session) })
            }
            DatabaseUrl::Postgres(url) => {
                postgres::reach(url).await?;
                let pool = postgres::node_pool(url).await?;
                let mut connection = Held::acquire(&pool).await?;
                connection.unlimited();
                let mut session = Session::of(Inner::Postgres(connection));
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
        let of = |e| DbError::of("database", e);
        match url {
            DatabaseUrl::Sqlite(path) => {
                let memory = SqliteConnectOptions::new().in_memory(true);
                let there = fs_err::exists(path).unwrap_or(true);
                let options = if there { sqlite_options(path) } else { memory };
                let connection = SqliteConnection::connect_with(&options).await.map_err(of)?;
                let mut session = Session::of(Inner::SqliteWriter(connection));
                let found = pending(&mut session).await;
                session.close().await;
                found
            }
            DatabaseUrl::Postgres(url) => {
                postgres::reach(url).await?;
                let pool = postgres::pool(postgres::options(url)?, 1).await?;
                let mut session = Session::of(Inner::Postgres(Held::acquire(&pool).await?));
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
            Self::Sqlite { readers, .. } => {
                Inner::Sqlite(readers.acquire().await.map_err(|e| DbError::of("database", e))?)
            }
            Self::Postgres { pool, .. } => Inner::Postgres(Held::acquire(pool).await?),
        };
        Ok(Session::of(inner))
    }

    /// As `read`, for what a node does to stay one of several.
    pub(crate) async fn read_aside(&self) -> Result<Session, DbError> {
        match self {
            Self::Sqlite { .. } => self.read().await,
            Self::Postgres { aside, .. } => Ok(Session::of(Inner::Postgres(Held::acquire(aside).await?))),
        }
    }

    /// A session whose queries all see one moment.
    pub(crate) async fn snapshot(&self) -> Result<Session, DbError> {
        let mut session = self.read().await?;
        let begin = match &mut session.inner {
            Inner::Sqlite(connection) => {
                connection.close_on_drop();
                "begin"
            }
            Inner::Postgres(held) => {
                held.unlimited();
                held.in_transaction = true;
                "begin isolation level repeatable read, read only; set local statement_timeout = 0"
            }
            Inner::SqliteWriter(_) => "",
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
    let mut session = Session::of(Inner::Postgres(Held::acquire(pool).await?));
    session.begin().await?;
    // An error drops the session, which rolls the transaction back.
    let done = work(&mut session).await?;
    session.commit().await?;
    Ok(done)
}

fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-8000")
        .statement_cache_capacity(256)
        .collation("C", |left, right| left.cmp(right))
}

/// A connection that reads, or a transaction that writes. All queries are methods of it; those that
/// change anything fail on a session that only reads.
pub struct Session {
    inner: Inner,
    /// What the writer of SQLite runs with its next statement.
    later: Later,
}

enum Inner {
    Sqlite(PoolConnection<Sqlite>),
    SqliteWriter(SqliteConnection),
    Postgres(Held),
}

enum Connection<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut Held),
}

impl Session {
    fn of(inner: Inner) -> Self {
        Self { inner, later: Later::default() }
    }

    /// Which engine it talks to.
    pub fn engine(&self) -> Engine {
        match self.inner {
            Inner::Sqlite(_) | Inner::SqliteWriter(_) => Engine::Sqlite,
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

    fn executor(&mut self) -> Connection<'_> {
        match &mut self.inner {
            Inner::Sqlite(connection) => Connection::Sqlite(connection),
            Inner::SqliteWriter(connection) => Connection::Sqlite(connection),
            Inner::Postgres(held) => Connection::Postgres(held),
        }
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
        let sql = sql.into_sql_str();
        let (waited, tables) = self.with_what_waits(table, &sql, values);
        let found = match self.executor() {
            Connection::Sqlite(connection) => {
                // Of those that waited none gives rows.
                let query = waited.unwrap_or_else(|| bind::<Sqlite>(sql, values));
                let rows = connection.fetch_all(query).await;
                rows.map(|rows| rows.into_iter().map(|row| Row::sqlite(table, row)).collect())
            }
            Connection::Postgres(held) => {
                let query = bind::<Postgres>(sql, values);
                let rows = held.run(async |connection| query.fetch_all(connection).await).await;
                rows.map(|rows| rows.into_iter().map(|row| Row::postgres(table, row)).collect())
            }
        };
        found.map_err(|e| DbError::of(tables, e))
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
        let of = |error| DbError::of(table, error);
        self.flush().await?;
        match self.executor() {
            Connection::Sqlite(connection) => {
                let mut rows = bind::<Sqlite>(sql, &[]).fetch(connection);
                while let Some(row) = rows.try_next().await.map_err(of)? {
                    visit(Row::sqlite(table, row))?;
                }
            }
            Connection::Postgres(held) => {
                let mut rows = bind::<Postgres>(sql, &[]).fetch(held.connection().map_err(of)?);
                while let Some(row) = rows.try_next().await.map_err(of)? {
                    visit(Row::postgres(table, row))?;
                }
            }
        }
        Ok(())
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
        self.must_write(table)?;
        let sql = sql.into_sql_str();
        let (waited, tables) = self.with_what_waits(table, &sql, values);
        let done = match self.executor() {
            Connection::Sqlite(connection) => {
                let query = waited.unwrap_or_else(|| bind::<Sqlite>(sql, values));
                let counts = connection.execute_many(query).map_ok(|done| done.rows_affected());
                // That of the last is asked for.
                counts.try_fold(0, |_, count| async move { Ok(count) }).await
            }
            Connection::Postgres(held) => {
                let query = bind::<Postgres>(sql, values);
                let done = held.run(async |connection| query.execute(connection).await).await;
                done.map(|done| done.rows_affected())
            }
        };
        done.map_err(|e| DbError::of(tables, e))
    }

    /// As `run`, for a statement whose outcome nobody looks at: on SQLite it may run with a later one, which then also
    /// has its error, but within the same work.
    pub(crate) async fn run_later(
        &mut self,
        table: &'static str,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<(), DbError> {
        if !matches!(self.inner, Inner::SqliteWriter(_)) {
            return self.run(table, sql, values).await.map(drop);
        }
        self.later.push(table, sql, values);
        if self.later.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Runs what waits.
    async fn flush(&mut self) -> Result<(), DbError> {
        if self.later.is_empty() {
            return Ok(());
        }
        let (query, tables) = self.later.take();
        match self.executor() {
            Connection::Sqlite(connection) => {
                let done = connection.execute_many(query).try_for_each(|_| async { Ok(()) }).await;
                done.map_err(|e| DbError::of(tables, e))
            }
            Connection::Postgres(_) => Ok(()),
        }
    }

    /// A statement with those that wait before it, if any do, and the tables that an error is about.
    fn with_what_waits(
        &mut self,
        table: &'static str,
        sql: &SqlStr,
        values: &[Value<'_>],
    ) -> (Option<Query<'static, Sqlite, SqliteArguments>>, Cow<'static, str>) {
        if self.later.is_empty() {
            return (None, Cow::Borrowed(table));
        }
        self.later.push(table, sql.as_str(), values);
        let (query, tables) = self.later.take();
        (Some(query), tables.into())
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
        self.must_write(table)?;
        self.first(table, sql, values).await
    }

    /// Several statements without values.
    pub(crate) async fn script(&mut self, table: &'static str, sql: &'static str) -> Result<(), DbError> {
        self.flush().await?;
        let done = match self.executor() {
            Connection::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()),
            Connection::Postgres(held) => {
                held.run(async |connection| sqlx::raw_sql(sql).execute(connection).await.map(|_| ())).await
            }
        };
        done.map_err(|e| DbError::of(table, e))
    }

    /// PostgreSQL would let a session that reads write outside a transaction; SQLite would not.
    fn must_write(&self, table: &'static str) -> Result<(), DbError> {
        match &self.inner {
            Inner::SqliteWriter(_) => Ok(()),
            Inner::Postgres(held) if held.in_transaction => Ok(()),
            Inner::Sqlite(_) | Inner::Postgres(_) => {
                let source = sqlx::Error::InvalidArgument("this session only reads".to_owned());
                Err(DbError::of(table, source))
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
            Inner::Sqlite(_) | Inner::SqliteWriter(_) => Ok(()),
        }
    }

    async fn close(self) {
        if let Inner::SqliteWriter(connection) = self.inner
            && let Err(error) = connection.close().await
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
    fn a_database_setting_is_a_url_or_a_path() {
        let file = |path: &str| DatabaseUrl::Sqlite(path.into());
        assert_eq!(DatabaseUrl::parse("/a/weir.db"), file("/a/weir.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:weir.db"), file("weir.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:///a/weir.db"), file("/a/weir.db"));
        let url = "postgres://weir@127.0.0.1/weir";
        assert_eq!(DatabaseUrl::parse(url), DatabaseUrl::Postgres(url.into()));
    }

    #[test]
    fn a_database_is_shown_without_anything_secret() {
        let shown = |text: &str| format!("{0} {0:?}", DatabaseUrl::parse(text));
        assert_eq!(shown("sqlite:/a/weir.db"), "/a/weir.db /a/weir.db");
        for text in ["postgres://u:hunter2@db:5433/weir", "postgresql://db:5433/weir?user=u&password=hunter2"]
        {
            assert_eq!(shown(text), "postgres://db:5433/weir postgres://db:5433/weir");
        }
        assert_eq!(shown("postgres://u:hunter2@[/weir"), "postgres://… postgres://…");
    }

    #[test]
    fn a_list_is_padded_to_a_power_of_two() {
        let piece = ["a", "b", "c"].map(Value::from);
        let (sql, values) = expand("x = $1 and y in ({list})", &[1_i64.into()], &piece);
        assert_eq!(sql.into_sql_str().as_str(), "x = $1 and y in ($2, $3, $4, $5)");
        assert_eq!(values.len(), 5);
    }
}
