//! Index documents of public registries as last seen.

use crate::db::{Row, Session, Value};
use crate::error::DbError;
use crate::rows::DocumentRow;
use weir_core::ConnectionName;

const TABLE: &str = "documents";

fn document(row: &Row) -> Result<DocumentRow, DbError> {
    let has_body = row.optional_bytes("sha256")?.is_some();
    Ok(DocumentRow {
        body: if has_body { Some((row.digest("sha256")?, row.size("size")?)) } else { None },
        etag: row.optional_string("etag")?,
        last_modified: row.optional_string("last_modified")?,
        url: row.optional_string("url")?,
        fetched_at: row.time("fetched_at")?,
        checked_at: row.time("checked_at")?,
    })
}

impl Session {
    /// What was last seen at `path` of a connection.
    pub async fn document(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        path: &str,
    ) -> Result<Option<DocumentRow>, DbError> {
        let sql = "select domain_id, sha256, size, etag, last_modified, url, fetched_at, checked_at
                   from documents where domain_id = $1 and connection = $2 and path = $3";
        let values = [domain.into(), connection.as_str().into(), path.into()];
        self.first(TABLE, sql, &values).await?.as_ref().map(document).transpose()
    }

    /// Notes what was seen there, in place of what was known.
    pub async fn put_document(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        path: &str,
        row: &DocumentRow,
    ) -> Result<(), DbError> {
        let sql = "insert into documents (domain_id, connection, path, sha256, size, etag, last_modified,
                                          url, fetched_at, checked_at)
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                   on conflict (domain_id, connection, path) do update
                   set sha256 = excluded.sha256, size = excluded.size, etag = excluded.etag,
                       last_modified = excluded.last_modified, url = excluded.url, fetched_at = excluded.fetched_at,
                       checked_at = excluded.checked_at";
        let digest = row.body.as_ref().map(|(digest, _)| digest.as_bytes().as_slice());
        let values = [
            domain.into(),
            connection.as_str().into(),
            path.into(),
            Value::Bytes(digest),
            row.body.map_or(Value::Int(None), |(_, size)| size.into()),
            (&row.etag).into(),
            (&row.last_modified).into(),
            (&row.url).into(),
            row.fetched_at.into(),
            row.checked_at.into(),
        ];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// Forgets what was seen there.
    pub async fn delete_document(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        path: &str,
    ) -> Result<(), DbError> {
        let sql = "delete from documents where domain_id = $1 and connection = $2 and path = $3";
        self.run(TABLE, sql, &[domain.into(), connection.as_str().into(), path.into()]).await?;
        Ok(())
    }
}
