//! Pins: the first-seen digests of external files whose index promises none.

use super::connection as parse_connection;
use crate::db::Session;
use crate::error::DbError;
use crate::rows::PinRow;
use weir_core::{ConnectionName, Digest, Timestamp};

const TABLE: &str = "pins";

impl Session {
    /// The pinned digest of a file.
    pub async fn pin(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        coordinate: &str,
    ) -> Result<Option<Digest>, DbError> {
        let sql = "select domain_id, sha256 from pins
                   where domain_id = $1 and connection = $2 and coordinate = $3";
        let values = [domain.into(), connection.as_str().into(), coordinate.into()];
        self.first(TABLE, sql, &values).await?.map(|row| row.digest("sha256")).transpose()
    }

    /// Pins a digest unless one is pinned; gives back the one that holds.
    pub async fn put_pin(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        coordinate: &str,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<Digest, DbError> {
        let sql = "insert into pins (domain_id, connection, coordinate, sha256, seen_at)
                   values ($1, $2, $3, $4, $5)
                   on conflict (domain_id, connection, coordinate) do nothing";
        let values = [domain.into(), connection.as_str().into(), coordinate.into(), digest.into(), at.into()];
        self.run(TABLE, sql, &values).await?;
        Ok(self.pin(domain, connection, coordinate).await?.unwrap_or(*digest))
    }

    /// Clears the pins whose coordinate begins so, and counts them.
    pub async fn delete_pins(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        coordinate_prefix: &str,
    ) -> Result<u64, DbError> {
        let sql = "delete from pins where domain_id = $1 and connection = $2
                   and substr(coordinate, 1, length($3)) = $3";
        self.run(TABLE, sql, &[domain.into(), connection.as_str().into(), coordinate_prefix.into()]).await
    }

    /// All pins of a domain, by connection and coordinate.
    pub async fn list_pins(&mut self, domain: &str) -> Result<Vec<PinRow>, DbError> {
        let sql = "select coordinate, connection, sha256, seen_at from pins where domain_id = $1
                   order by connection collate \"C\", coordinate collate \"C\"";
        let rows = self.all(TABLE, sql, &[domain.into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(PinRow {
                    connection: row.parsed("connection", parse_connection)?,
                    coordinate: row.string("coordinate")?,
                    digest: row.digest("sha256")?,
                    seen_at: row.time("seen_at")?,
                })
            })
            .collect()
    }
}
