//! What can go wrong with the database, told apart by what the caller can do about it.

use sqlx::error::ErrorKind;
use std::sync::Arc;
use weir_core::Error;

const SQLITE_IOERR: i32 = 10;
const SQLITE_CONSTRAINT_PRIMARYKEY: i32 = 1555;
const SQLITE_CONSTRAINT_UNIQUE: i32 = 2067;

/// A failure of the database or of what it holds.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// A row like this is there already.
    #[error("a row like this is in table {table} already ({what})")]
    Unique {
        /// The table that was written.
        table: &'static str,
        /// The constraint, in the engine's words.
        what: String,
    },
    /// A stored value is not what this version of Weir writes.
    #[error("table {table}, column {column}, row '{id}': {problem}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The first column of the row, which is its identifier.
        id: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// It does not answer now: no connection, no room on the disk, shutting down.
    #[error("the database does not answer now: {message}")]
    Unavailable {
        /// What it said.
        message: String,
    },
    /// The database was upgraded by a later version of Weir and does not allow this one any more.
    #[error("it was upgraded and needs weir {needed} or later; this is weir {this}: upgrade this node too")]
    TooOld {
        /// The version that upgraded it.
        needed: String,
        /// This binary's version.
        this: &'static str,
    },
    /// The cursor is not one of this listing.
    #[error("the cursor is not one of this listing")]
    Cursor,
    /// A fault of Weir's own, such as a statement the engine refuses.
    #[error("table {table}: {source}")]
    Driver {
        /// The table that was read or written.
        table: &'static str,
        /// What the driver said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl DbError {
    /// Sorts an error of PostgreSQL that came while `table` was read or written.
    pub(crate) fn of(table: &'static str, error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(cause) if cause.kind() == ErrorKind::UniqueViolation => {
                Self::Unique { table, what: cause.constraint().unwrap_or(cause.message()).to_owned() }
            }
            sqlx::Error::Database(cause) if cause.code().is_some_and(|code| passes_by_itself(&code)) => {
                Self::unavailable(cause.message())
            }
            sqlx::Error::PoolTimedOut => Self::unavailable("no connection to it was free in time"),
            // What is no protocol is how a connection looks that breaks off in the middle of something.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::unavailable(&error),
            _ => Self::Driver { table, source: Arc::new(error) },
        }
    }

    /// As `of`, for SQLite.
    pub(crate) fn of_sqlite(table: &'static str, error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map_or(0, |cause| cause.extended_code);
        let message = match &error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            error => error.to_string(),
        };
        match code {
            SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY => Self::Unique { table, what: message },
            // It says so of writes that did not fit, too.
            code if code & 0xff == SQLITE_IOERR => {
                Self::unavailable(format_args!("{message}; is the disk full?"))
            }
            code if sqlite_passes_by_itself(code) => Self::unavailable(message),
            _ => Self::Driver { table, source: Arc::new(error) },
        }
    }

    /// A session that reads was asked to write.
    pub(crate) fn read_only(table: &'static str) -> Self {
        Self::fault(table, "this session only reads")
    }

    /// A fault of Weir's own.
    pub(crate) fn fault(table: &'static str, problem: &'static str) -> Self {
        Self::Driver { table, source: Arc::new(std::io::Error::other(problem)) }
    }

    pub(crate) fn unavailable(message: impl std::fmt::Display) -> Self {
        Self::Unavailable { message: message.to_string() }
    }

    /// Whether a row like the one inserted is there already.
    pub fn is_unique(&self) -> bool {
        matches!(self, Self::Unique { .. })
    }
}

/// Whether the same statement may succeed later: PostgreSQL's SQLSTATEs are five characters, of which two are the class.
fn passes_by_itself(code: &str) -> bool {
    code.get(..2).is_some_and(|class| matches!(class, "08" | "53" | "57" | "58"))
        || matches!(code, "25006" | "25P03" | "40001" | "40P01" | "55P03")
}

/// As `passes_by_itself`: SQLite's result codes are numbers, of which the low byte is the kind.
fn sqlite_passes_by_itself(code: i32) -> bool {
    // busy, locked, read-only, interrupted, input/output, full, cannot open
    matches!(code & 0xff, 5 | 6 | 8 | 9 | SQLITE_IOERR | 13 | 14)
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable { .. } | DbError::TooOld { .. } => Self::unavailable(error.to_string()),
            DbError::Cursor => {
                Self::invalid("nextToken", "is not a token of this listing; begin again without it")
            }
            DbError::Unique { .. } | DbError::Inconsistent { .. } | DbError::Driver { .. } => {
                Self::internal(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_pass_by_themselves_are_told_from_faults() {
        for code in ["08006", "53100", "57P01", "25006", "25P03", "55P03", "40001", "40P01"] {
            assert!(passes_by_itself(code), "{code}");
        }
        for code in ["42601", "22021", "23503", "40002", ""] {
            assert!(!passes_by_itself(code), "{code}");
        }
        for code in [5, 13, 14, 261, 3850] {
            assert!(sqlite_passes_by_itself(code), "{code}");
        }
        for code in [0, 1, 11, 19, 787] {
            assert!(!sqlite_passes_by_itself(code), "{code}");
        }
    }

    #[test]
    fn errors_of_sqlite_say_what_it_said() {
        let failed = |code, message: &str| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(message.into()));
            DbError::of_sqlite("tags", error)
        };
        let twice = failed(2067, "UNIQUE constraint failed: tags.key");
        assert!(twice.is_unique(), "{twice}");
        assert_eq!(
            twice.to_string(),
            "a row like this is in table tags already (UNIQUE constraint failed: tags.key)"
        );
        let full = failed(13, "database or disk is full").to_string();
        assert_eq!(full, "the database does not answer now: database or disk is full");
        let write = failed(778, "disk I/O error").to_string();
        assert_eq!(write, "the database does not answer now: disk I/O error; is the disk full?");
        let fault = failed(1, "no such table: tags").to_string();
        assert_eq!(fault, "table tags: no such table: tags");
    }

    #[test]
    fn clients_are_told_to_come_again_only_when_that_helps() {
        assert!(matches!(Error::from(DbError::unavailable("disk full")), Error::Unavailable { .. }));
        assert!(matches!(Error::from(DbError::Cursor), Error::Invalid { .. }));
        let unique = DbError::Unique { table: "domains", what: String::new() };
        assert!(unique.is_unique());
        assert!(matches!(Error::from(unique), Error::Internal(_)));
    }
}
