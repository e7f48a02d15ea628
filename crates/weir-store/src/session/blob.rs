//! Which blobs of assets are kept, once per domain.

use crate::db::{Row, Session};
use crate::error::DbError;
use crate::rows::{BlobRow, BlobState, Id};
use weir_core::{Digest, Timestamp};

pub(super) const TABLE: &str = "blobs";

pub(super) fn blob(row: &Row) -> Result<BlobRow, DbError> {
    Ok(BlobRow {
        digest: row.digest("sha256")?,
        size: row.size("size")?,
        synced: row.boolean("synced")?,
        state: row.parsed("state", state)?,
        unnamed_since: row.optional_time("unnamed_since")?,
    })
}

fn state(text: &str) -> Option<BlobState> {
    use BlobState::{Doomed, Gone, Kept};
    [Kept, Doomed, Gone].into_iter().find(|state| state.as_str() == text)
}

impl Session {
    /// Notes a kept blob that the rest of the transaction names. What is known to be synced stays so. Unless the
    /// answer is `Kept`, its bytes are being erased or were, and the transaction must be given up. Of several, the
    /// one with the lower digest first: so two transactions never wait for each other.
    pub async fn put_blob(
        &mut self,
        domain: &str,
        digest: &Digest,
        size: u64,
        synced: bool,
        at: Timestamp,
    ) -> Result<BlobState, DbError> {
        let sql = "insert into blobs (domain_id, sha256, size, synced, created_at)
                   values ($1, $2, $3, $4, $5)
                   on conflict (domain_id, sha256) do update
                   set synced = blobs.synced or excluded.synced,
                       unnamed_since = case when blobs.state = 'kept' then null else blobs.unnamed_since end
                   returning domain_id, state";
        let values = [domain.into(), digest.into(), size.into(), synced.into(), at.into()];
        let row = self.change(TABLE, sql, &values).await?;
        row.map_or(Ok(BlobState::Kept), |row| row.parsed("state", state))
    }

    /// One blob.
    pub async fn blob(&mut self, domain: &str, digest: &Digest) -> Result<Option<BlobRow>, DbError> {
        let sql = "select domain_id, sha256, size, synced, state, unnamed_since
                   from blobs where domain_id = $1 and sha256 = $2";
        self.first(TABLE, sql, &[domain.into(), digest.into()]).await?.as_ref().map(blob).transpose()
    }

    /// Whether any blob of any domain was ever noted and is not forgotten.
    pub async fn has_blobs(&mut self) -> Result<bool, DbError> {
        Ok(self.first(TABLE, "select domain_id from blobs limit 1", &[]).await?.is_some())
    }

    /// Notes that these are on the disk's platter now.
    pub async fn mark_synced(&mut self, domain: &str, digests: &[Digest]) -> Result<(), DbError> {
        let mut digests = digests.to_vec();
        // In the order of `put_blob`.
        digests.sort();
        for digest in &digests {
            let sql = "update blobs set synced = $3 where domain_id = $1 and sha256 = $2";
            self.run(TABLE, sql, &[domain.into(), digest.into(), true.into()]).await?;
        }
        Ok(())
    }

    /// Domain, digest and size of all that are not known to be synced.
    pub async fn unsynced_blobs(&mut self) -> Result<Vec<(Id, Digest, u64)>, DbError> {
        let sql = "select domain_id, sha256, size from blobs
                   where not synced and state = 'kept'";
        // Sorted here: an order would make SQLite walk through all blobs, every second.
        let rows = self.all(TABLE, sql, &[]).await?;
        let place = |row: &Row| Ok((row.text("domain_id")?, row.digest("sha256")?, row.size("size")?));
        let mut found = rows.iter().map(place).collect::<Result<Vec<_>, DbError>>()?;
        found.sort();
        Ok(found)
    }

    /// Forgets a blob; its bytes are the caller's to remove.
    pub async fn delete_blob(&mut self, domain: &str, digest: &Digest) -> Result<(), DbError> {
        let sql = "delete from blobs where domain_id = $1 and sha256 = $2";
        self.run(TABLE, sql, &[domain.into(), digest.into()]).await?;
        Ok(())
    }
}
