//! A row of either engine with typed getters, whose error names table, column and row.

use super::sqlite::{FromCell, SqliteRow};
use crate::error::DbError;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{Decode, Row as _, Type};
use std::sync::Arc;
use weir_core::name::shown;
use weir_core::{Digest, Timestamp};

/// A row. Its first column is its identifier, for errors.
pub(crate) struct Row {
    table: &'static str,
    inner: Inner,
}

enum Inner {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn sqlite(table: &'static str, row: SqliteRow) -> Self {
        Self { table, inner: Inner::Sqlite(row) }
    }

    pub(crate) fn postgres(table: &'static str, row: PgRow) -> Self {
        Self { table, inner: Inner::Postgres(row) }
    }

    fn get<'r, T>(&'r self, column: &'static str) -> Result<T, DbError>
    where
        T: FromCell<'r> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match &self.inner {
            Inner::Sqlite(row) => row.get(column).map_err(|error| self.broken(column, error)),
            Inner::Postgres(row) => row.try_get(column).map_err(|error| self.broken(column, error)),
        }
    }

    /// The error for a value that is not what Weir writes.
    pub(crate) fn broken(&self, column: &'static str, problem: impl std::fmt::Display) -> DbError {
        let id = match &self.inner {
            Inner::Sqlite(row) => row.at::<String>(0).ok(),
            Inner::Postgres(row) => row.try_get(0).ok(),
        };
        let id = id.unwrap_or_else(|| "unknown".to_owned());
        DbError::Inconsistent { table: self.table, column, id, problem: problem.to_string() }
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<Arc<str>, DbError> {
        self.get::<&str>(column).map(Arc::from)
    }

    pub(crate) fn string(&self, column: &'static str) -> Result<String, DbError> {
        self.get(column)
    }

    pub(crate) fn optional_string(&self, column: &'static str) -> Result<Option<String>, DbError> {
        self.get(column)
    }

    /// A text that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, DbError> {
        let text: &str = self.get(column)?;
        parse(text).ok_or_else(|| self.broken(column, format_args!("'{}' is not known", shown(text))))
    }

    /// As `parsed`, where there may be none.
    pub(crate) fn optional_parsed<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, DbError> {
        if self.get::<Option<&str>>(column)?.is_none() {
            return Ok(None);
        }
        self.parsed(column, parse).map(Some)
    }

    /// A JSON document.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T, DbError> {
        serde_json::from_str(self.get(column)?).map_err(|error| self.broken(column, error))
    }

    pub(crate) fn integer(&self, column: &'static str) -> Result<i64, DbError> {
        self.get(column)
    }

    pub(crate) fn optional_integer(&self, column: &'static str) -> Result<Option<i64>, DbError> {
        self.get(column)
    }

    pub(crate) fn size(&self, column: &'static str) -> Result<u64, DbError> {
        u64::try_from(self.integer(column)?).map_err(|error| self.broken(column, error))
    }

    pub(crate) fn boolean(&self, column: &'static str) -> Result<bool, DbError> {
        self.get(column)
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, DbError> {
        Timestamp::from_microsecond(self.get(column)?).map_err(|error| self.broken(column, error))
    }

    pub(crate) fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, DbError> {
        if self.get::<Option<i64>>(column)?.is_none() {
            return Ok(None);
        }
        self.time(column).map(Some)
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<Vec<u8>, DbError> {
        self.get(column)
    }

    pub(crate) fn optional_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>, DbError> {
        self.get(column)
    }

    /// Bytes of a fixed length, such as a digest.
    pub(crate) fn array<const N: usize>(&self, column: &'static str) -> Result<[u8; N], DbError> {
        let bytes: &[u8] = self.get(column)?;
        bytes.try_into().map_err(|_| self.broken(column, format_args!("{} bytes, not {N}", bytes.len())))
    }

    pub(crate) fn digest(&self, column: &'static str) -> Result<Digest, DbError> {
        self.array(column).map(Digest::from_bytes)
    }
}
