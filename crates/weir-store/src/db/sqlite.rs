//! SQLite, called directly: a statement is a function call on the thread that makes it. The writer has a thread of its
//! own (`writer.rs`); reads run where they are asked for, or aside when they take long (`sqlite/readers.rs`).

mod readers;
mod row;

pub(super) use readers::{Lease, Readers};
pub(super) use row::{FromCell, SqliteRow};

use super::value::{Owned, Value};
use row::Names;
use rusqlite::{CachedStatement, Connection, Error, OpenFlags, Statement};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a statement waits for a lock that somebody else has on the file.
const BUSY: Duration = Duration::from_secs(5);
/// A statement that takes longer is told in the log.
const LONG: Duration = Duration::from_secs(1);
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 256;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The one that writes; it makes the file if there is none.
    Write,
    /// One of many that read what the writer has made.
    Read,
    /// One that looks at a file that nobody else has open; its log may have to be read in first.
    Look,
}

/// Opens the file with all that both kinds of connections need.
pub(super) fn open(path: &Path, access: Access) -> Result<Connection, Error> {
    let flags = match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Look => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    prepare(
        connection,
        match access {
            Access::Write => {
                "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;
             pragma journal_size_limit = 67108864; pragma cache_size = -8000"
            }
            // What many of them read lies in the kernel's memory too, once for all.
            Access::Read => "pragma query_only = on; pragma cache_size = -2000",
            Access::Look => "pragma query_only = on",
        },
    )
}

/// Opens the file to look at it, or an empty database where there is none.
pub(super) fn look(path: &Path) -> Result<Connection, Error> {
    if fs_err::exists(path).unwrap_or(true) { open(path, Access::Look) } else { open_empty() }
}

fn open_empty() -> Result<Connection, Error> {
    prepare(Connection::open_in_memory()?, "")
}

fn prepare(connection: Connection, pragmas: &str) -> Result<Connection, Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.create_collation("C", |left, right| left.cmp(right))?;
    connection.execute_batch(pragmas)?;
    Ok(connection)
}

/// Tells of a statement that took long, when it ends. Its text has no values in it.
struct Timed<'a> {
    sql: &'a str,
    begun: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        if took >= LONG {
            tracing::warn!(sql = self.sql, seconds = took.as_secs_f64(), "a statement took long");
        }
    }
}

/// All rows of a query; `None` when they hold more than `room` bytes.
pub(super) fn all(
    connection: &Connection,
    sql: &str,
    values: &[Value<'_>],
    room: usize,
) -> Result<Option<Vec<SqliteRow>>, Error> {
    let _timed = Timed { sql, begun: Instant::now() };
    let mut found = Vec::new();
    let mut size = 0;
    let done = each(connection, sql, values, |row| {
        size += row.size();
        found.push(row);
        size <= room
    })?;
    Ok(done.then_some(found))
}

/// Visits the rows of a query for as long as `visit` says so; whether it saw all.
pub(super) fn each(
    connection: &Connection,
    sql: &str,
    values: &[Value<'_>],
    mut visit: impl FnMut(SqliteRow) -> bool,
) -> Result<bool, Error> {
    let mut statement = bound(connection, sql, values)?;
    let mut rows = statement.raw_query();
    let mut names = None;
    while let Some(row) = rows.next()? {
        let names = names.get_or_insert_with(|| Names::of(row.as_ref()));
        if !visit(SqliteRow::of(names.clone(), row)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs a statement and counts the rows that it changed.
pub(super) fn run(connection: &Connection, sql: &str, values: &[Value<'_>]) -> Result<u64, Error> {
    let _timed = Timed { sql, begun: Instant::now() };
    let mut statement = bound(connection, sql, values)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    drop(rows);
    Ok(connection.changes())
}

/// Runs statements that are run over and over, and that do not change while they are prepared (as some pragmas do).
pub(super) fn run_each(connection: &Connection, statements: &[&str]) -> Result<(), Error> {
    statements.iter().try_for_each(|sql| run(connection, sql, &[]).map(drop))
}

fn bound<'c>(
    connection: &'c Connection,
    sql: &str,
    values: &[Value<'_>],
) -> Result<CachedStatement<'c>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    for index in 1..=statement.parameter_count() {
        // SQLite takes `$2` for a name, and numbers names as it finds them.
        let number = number_of(&statement, index);
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        let Some(value) = value else {
            return Err(Error::InvalidParameterCount(values.len(), statement.parameter_count()));
        };
        match *value {
            Value::Text(text) => statement.raw_bind_parameter(index, text)?,
            Value::Int(number) => statement.raw_bind_parameter(index, number)?,
            Value::Bool(truth) => statement.raw_bind_parameter(index, truth)?,
            Value::Bytes(bytes) => statement.raw_bind_parameter(index, bytes)?,
        }
    }
    Ok(statement)
}

fn number_of(statement: &Statement<'_>, index: usize) -> Option<usize> {
    statement.parameter_name(index)?.strip_prefix('$')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::row::Mismatch;
    use super::*;

    #[test]
    fn parameters_go_by_their_numbers_and_none_may_be_missing() {
        let connection = open_empty().expect("opened");
        let sql = "select $2 as second, $1 as first, $2 as again";
        let values = [Value::from(1_i64), Value::from("two")];
        let rows = all(&connection, sql, &values, usize::MAX).expect("run").expect("all");
        assert_eq!(rows[0].get::<&str>("second").ok(), Some("two"));
        assert_eq!(rows[0].get::<i64>("first").ok(), Some(1));
        assert_eq!(rows[0].get::<String>("again").ok(), Some("two".to_owned()));
        assert!(all(&connection, sql, &values[..1], usize::MAX).is_err());
        assert!(all(&connection, sql, &values, 1).expect("run").is_none(), "more than there is room for");
    }

    #[test]
    fn what_is_read_is_what_is_asked_for_or_told_apart() {
        let connection = open_empty().expect("opened");
        let sql = "select null as none, 1 as one, x'00ff' as bytes, 1.5 as real";
        let rows = all(&connection, sql, &[], usize::MAX).expect("run").expect("all");
        let row = &rows[0];
        assert_eq!(row.get::<Option<String>>("none").ok(), Some(None));
        assert_eq!(row.get::<Option<i64>>("one").ok(), Some(Some(1)));
        assert_eq!(row.get::<bool>("one").ok(), Some(true));
        assert_eq!(row.get::<&[u8]>("bytes").ok(), Some(&[0, 0xff][..]));
        let problem = |problem: Option<Mismatch>| problem.expect("a mismatch").to_string();
        assert_eq!(problem(row.get::<i64>("none").err()), "it is null, not a number");
        assert_eq!(problem(row.get::<&str>("bytes").err()), "it is bytes, not a text");
        assert_eq!(problem(row.get::<i64>("real").err()), "it is a fraction, not a number");
        assert_eq!(problem(row.get::<i64>("two").err()), "there is no such column");
    }
}
