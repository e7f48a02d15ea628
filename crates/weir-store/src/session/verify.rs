//! Whether the bytes of blobs are what they are named: which were read last when, and what names those that are not.

use super::blob::{TABLE, blob};
use crate::db::{Session, Value};
use crate::error::DbError;
use crate::rows::{BlobRow, BlobState, Id, NamedFile};
use std::ops::Range;
use weir_core::{Digest, OriginKind, RepositoryName, Timestamp};

const ASSETS: &str = "assets";

impl Session {
    /// Of a page of a domain's blobs by digest those that are kept and were not verified in this time, and where the
    /// page ends; `None` after the last. Without a time all kept ones. What was verified later than the time's end was
    /// so by a clock that was set back since, and nobody knows when.
    pub async fn unverified_blobs(
        &mut self,
        domain: &str,
        verified: Option<Range<Timestamp>>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<(Vec<BlobRow>, Option<Digest>), DbError> {
        // Picked here: to fill a page with what is not verified, a statement could walk through the whole domain.
        let sql = "select domain_id, sha256, size, synced, state, unnamed_since, verified_at from blobs
                   where domain_id = $1 and sha256 > $2
                   order by sha256 limit $3";
        let after: &[u8] = after.map_or(&[], |digest| digest.as_bytes().as_slice());
        let rows = self.all(TABLE, sql, &[domain.into(), Value::Bytes(Some(after)), limit.into()]).await?;
        let mut unverified = Vec::with_capacity(rows.len());
        for row in &rows {
            let at = row.optional_time("verified_at")?;
            let is_verified =
                verified.as_ref().zip(at).is_some_and(|(time, at)| time.start < at && at <= time.end);
            unverified.extend(Some(blob(row)?).filter(|row| row.state == BlobState::Kept && !is_verified));
        }
        Ok((unverified, rows.last().map(|row| row.digest("sha256")).transpose()?))
    }

    /// Notes that these were read and are what they are named.
    pub async fn mark_verified(
        &mut self,
        domain: &str,
        list: &[Digest],
        at: Timestamp,
    ) -> Result<(), DbError> {
        let mut list = list.to_vec();
        list.sort();
        for digest in &list {
            let sql = "update blobs set verified_at = $3
                       where domain_id = $1 and sha256 = $2 and state = 'kept'";
            self.run(TABLE, sql, &[domain.into(), digest.into(), at.into()]).await?;
        }
        Ok(())
    }

    /// Dooms a blob although it may be named, since its bytes are not what they should be; false when it is not kept.
    pub async fn condemn_blob(
        &mut self,
        domain: &str,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<bool, DbError> {
        let sql = "update blobs set state = 'doomed', unnamed_since = $3
                   where domain_id = $1 and sha256 = $2 and state = 'kept'";
        Ok(self.run(TABLE, sql, &[domain.into(), digest.into(), at.into()]).await? > 0)
    }

    /// Takes back what `condemn_blob` did at `doomed`.
    pub async fn spare_blob(
        &mut self,
        domain: &str,
        digest: &Digest,
        doomed: Timestamp,
    ) -> Result<(), DbError> {
        let sql = "update blobs set state = 'kept', unnamed_since = null
                   where domain_id = $1 and sha256 = $2 and state = 'doomed' and unnamed_since = $3";
        self.run(TABLE, sql, &[domain.into(), digest.into(), doomed.into()]).await?;
        Ok(())
    }

    /// Domain, digest and size of the held assets without kept blob, of those whose digest begins with `first`.
    pub async fn unkept_assets(&mut self, first: u8) -> Result<Vec<(Id, Digest, u64)>, DbError> {
        let sql = "select distinct c.domain_id, a.sha256, a.size
                   from assets a
                   join contents c on c.content_id = a.content_id
                   where a.sha256 >= $1 and a.sha256 <= $2 and a.state = 'held'
                     and not exists (select 1 from blobs b where b.domain_id = c.domain_id
                                     and b.sha256 = a.sha256 and b.state = 'kept')
                   order by a.sha256";
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        (low[0], high[0]) = (first, first);
        let rows = self.all(ASSETS, sql, &[Value::Bytes(Some(&low)), Value::Bytes(Some(&high))]).await?;
        rows.iter()
            .map(|row| Ok((row.text("domain_id")?, row.digest("sha256")?, row.size("size")?)))
            .collect()
    }

    /// The files of versions that are this blob, `limit` at most.
    pub async fn files_named(
        &mut self,
        domain: &str,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<NamedFile>, DbError> {
        let sql =
            "select r.name as repository, p.format, p.namespace, p.name as package, v.version_key, v.version,
                          a.name as file, a.derived, v.origin_kind, a.content_id
                   from assets a
                   join package_versions v on v.content_id = a.content_id
                   join packages p on p.package_id = v.package_id
                   join repositories r on r.repository_id = p.repository_id
                   where a.sha256 = $2 and a.state = 'held' and r.domain_id = $1
                   order by r.name collate \"C\", p.name collate \"C\", v.version_key collate \"C\",
                            a.name collate \"C\"
                   limit $3";
        let rows = self.all(ASSETS, sql, &[domain.into(), digest.into(), limit.into()]).await?;
        let file = |row: &crate::db::Row| {
            let external = row.string("origin_kind")? == OriginKind::External.as_str();
            let content: Id = row.text("content_id")?;
            Ok(NamedFile {
                repository: row
                    .parsed("repository", |text| RepositoryName::parse("repository", text).ok())?,
                format: row.string("format")?,
                namespace: row.string("namespace")?,
                package: row.string("package")?,
                key: row.text("version_key")?,
                version: row.string("version")?,
                file: row.string("file")?,
                derived: row.boolean("derived")?,
                external,
                content,
            })
        };
        rows.iter().map(file).collect()
    }
}
