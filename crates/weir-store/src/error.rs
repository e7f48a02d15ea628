//! What can go wrong with the database, told apart by what the caller can do about it.

use sqlx::error::ErrorKind;
use std::borrow::Cow;
use std::sync::Arc;
use weir_core::Error;

/// A failure of the database or of what it holds.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// A row like this is there already.
    #[error("a row like this is in table {table} already ({what})")]
    Unique {
        /// The table that was written, or all of those that statements which ran together were about.
        table: Cow<'static, str>,
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
        /// The table that was read or written, or all of those that statements which ran together were about.
        table: Cow<'static, str>,
        /// What the driver said.
        source: Arc<sqlx::Error>,
    },
}

impl DbError {
    /// Sorts an error of the driver that came while `table` was read or written.
    pub(crate) fn of(table: impl Into<Cow<'static, str>>, error: sqlx::Error) -> Self {
        let table = table.into();
        match &error {
            sqlx::Error::Database(cause) if cause.kind() == ErrorKind::UniqueViolation => {
                Self::Unique { table, what: cause.constraint().unwrap_or(cause.message()).to_owned() }
            }
            sqlx::Error::Database(cause) if cause.code().is_some_and(|code| passes_by_itself(&code)) => {
                let code = cause.code().unwrap_or_default();
                let hint = if is_sqlite_disk_error(&code) { "; is the disk full?" } else { "" };
                Self::unavailable(format_args!("{}{hint}", cause.message()))
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

    pub(crate) fn unavailable(message: impl std::fmt::Display) -> Self {
        Self::Unavailable { message: message.to_string() }
    }

    /// Whether a row like the one inserted is there already.
    pub fn is_unique(&self) -> bool {
        matches!(self, Self::Unique { .. })
    }
}

/// Whether the same statement may succeed later: SQLite's result codes are numbers, of which the low
/// byte is the kind; PostgreSQL's SQLSTATEs are five characters, of which two are the class.
fn passes_by_itself(code: &str) -> bool {
    if code.len() == 5 && !code.starts_with("40") {
        return matches!(&code[..2], "08" | "53" | "57" | "58")
            || matches!(code, "25006" | "25P03" | "55P03");
    }
    if matches!(code, "40001" | "40P01") {
        return true;
    }
    // busy, locked, read-only, input/output, full, cannot open
    code.parse::<u32>().is_ok_and(|number| matches!(number & 0xff, 5 | 6 | 8 | 10 | 13 | 14))
}

/// SQLite says so of writes that did not fit, too.
fn is_sqlite_disk_error(code: &str) -> bool {
    code.len() != 5 && code.parse::<u32>().is_ok_and(|number| number & 0xff == 10)
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
        for code in [
            "5", "13", "14", "261", "3850", "08006", "53100", "57P01", "25006", "25P03", "55P03", "40001",
            "40P01",
        ] {
            assert!(passes_by_itself(code), "{code}");
        }
        for code in ["1", "19", "787", "42601", "22021", "23503", "11"] {
            assert!(!passes_by_itself(code), "{code}");
        }
    }

    #[test]
    fn clients_are_told_to_come_again_only_when_that_helps() {
        assert!(matches!(Error::from(DbError::unavailable("disk full")), Error::Unavailable { .. }));
        assert!(matches!(Error::from(DbError::Cursor), Error::Invalid { .. }));
        let unique = DbError::Unique { table: "domains".into(), what: String::new() };
        assert!(unique.is_unique());
        assert!(matches!(Error::from(unique), Error::Internal(_)));
    }
}
