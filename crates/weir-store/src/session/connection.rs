//! Stored addresses of external connections.

use super::connection;
use crate::db::{Row, Session, Value};
use crate::error::DbError;
use crate::rows::ConnectionRow;
use weir_core::ConnectionName;

const TABLE: &str = "connections";

fn values_of(row: &ConnectionRow) -> [Value<'_>; 5] {
    [
        row.name.as_str().into(),
        (&row.url).into(),
        (&row.source).into(),
        row.found_at.into(),
        Value::Bytes(row.sealed_settings.as_deref()),
    ]
}

fn stored(row: &Row) -> Result<ConnectionRow, DbError> {
    Ok(ConnectionRow {
        name: row.parsed("connection", connection)?,
        url: row.string("url")?,
        source: row.string("source")?,
        found_at: row.time("found_at")?,
        sealed_settings: row.optional_bytes("sealed_settings")?,
    })
}

impl Session {
    /// One by its name.
    pub async fn connection(&mut self, name: &ConnectionName) -> Result<Option<ConnectionRow>, DbError> {
        let sql = "select connection, url, source, found_at, sealed_settings
                   from connections where connection = $1";
        self.first(TABLE, sql, &[name.as_str().into()]).await?.as_ref().map(stored).transpose()
    }

    /// All, by name.
    pub async fn list_connections(&mut self) -> Result<Vec<ConnectionRow>, DbError> {
        let sql = "select connection, url, source, found_at, sealed_settings
                   from connections order by connection collate \"C\"";
        self.all(TABLE, sql, &[]).await?.iter().map(stored).collect()
    }

    /// Stores one, in place of what was known.
    pub async fn put_connection(&mut self, row: &ConnectionRow) -> Result<(), DbError> {
        let sql = "insert into connections (connection, url, source, found_at, sealed_settings)
                   values ($1, $2, $3, $4, $5)
                   on conflict (connection) do update
                   set url = excluded.url, source = excluded.source, found_at = excluded.found_at,
                       sealed_settings = excluded.sealed_settings";
        let values = values_of(row);
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// Stores one where there is none, or where what is known is still `over`; false if it is not.
    pub async fn put_connection_over(
        &mut self,
        row: &ConnectionRow,
        over: Option<&ConnectionRow>,
    ) -> Result<bool, DbError> {
        let values = values_of(row);
        let Some(over) = over else {
            let sql = "insert into connections (connection, url, source, found_at, sealed_settings)
                       values ($1, $2, $3, $4, $5)
                       on conflict (connection) do nothing";
            return Ok(self.run(TABLE, sql, &values).await? > 0);
        };
        let sql = "insert into connections (connection, url, source, found_at, sealed_settings)
                   values ($1, $2, $3, $4, $5)
                   on conflict (connection) do update
                   set url = excluded.url, source = excluded.source, found_at = excluded.found_at,
                       sealed_settings = excluded.sealed_settings
                   where connections.url = $6 and connections.source = $7 and connections.found_at = $8";
        let [name, url, source, found_at, settings] = values;
        let known = [(&over.url).into(), (&over.source).into(), over.found_at.into()];
        let [known_url, known_source, known_at] = known;
        let values = [name, url, source, found_at, settings, known_url, known_source, known_at];
        Ok(self.run(TABLE, sql, &values).await? > 0)
    }

    /// Forgets one; false if there is none.
    pub async fn delete_connection(&mut self, name: &ConnectionName) -> Result<bool, DbError> {
        let sql = "delete from connections where connection = $1";
        Ok(self.run(TABLE, sql, &[name.as_str().into()]).await? > 0)
    }
}
