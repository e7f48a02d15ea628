//! Whether the bytes of blobs are what they are named: which were read last when, and what names those that are not.

use super::blob::{TABLE, blob};
use crate::db::{Session, Value};
use crate::error::DbError;
use crate::rows::{BlobRow, Id, NamedFile};
use weir_core::{Digest, OriginKind, RepositoryName, Timestamp};

const ASSETS: &str = "assets";

impl Session {
    /// A page of a domain's kept blobs by digest that were not verified after `since`.
    pub async fn unverified_blobs(
        &mut self,
        domain: &str,
        since: Timestamp,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, DbError> {
        let sql = "select domain_id, sha256, size, synced, state, unnamed_since from blobs
                   where domain_id = $1 and state = 'kept' and (verified_at is null or verified_at <= $2)
                     and sha256 > $3
                   order by sha256 limit $4";
        let after: &[u8] = after.map_or(&[], |digest| digest.as_bytes().as_slice());
        let values = [domain.into(), since.into(), Value::Bytes(Some(after)), limit.into()];
        self.all(TABLE, sql, &values).await?.iter().map(blob).collect()
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

    /// Digest and size of a domain's held assets without kept blob, of those whose digest begins with `first`.
    pub async fn unkept_assets(&mut self, domain: &str, first: u8) -> Result<Vec<(Digest, u64)>, DbError> {
        let sql = "select distinct a.sha256, a.size
                   from assets a
                   join contents c on c.content_id = a.content_id
                   where a.sha256 >= $2 and a.sha256 <= $3 and a.state = 'held' and c.domain_id = $1
                     and not exists (select 1 from blobs b where b.domain_id = c.domain_id
                                     and b.sha256 = a.sha256 and b.state = 'kept')
                   order by a.sha256";
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        (low[0], high[0]) = (first, first);
        let values = [domain.into(), Value::Bytes(Some(&low)), Value::Bytes(Some(&high))];
        let rows = self.all(ASSETS, sql, &values).await?;
        rows.iter().map(|row| Ok((row.digest("sha256")?, row.size("size")?))).collect()
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
