//! Blobs that nothing names, and the end of them. What makes it safe beside uploads of the same bytes:
//!
//! - a blob is named by the assets whose state is 'held'; whoever writes one calls `put_blob` first, in the same
//!   transaction, and gives up unless the blob is 'kept';
//! - a blob becomes 'doomed' under the lock of its row, and only if nothing names it then: whoever named it before has
//!   committed and is seen, whoever names it later finds it doomed;
//! - a verification dooms a blob that is named, when its bytes are not what they should be: whoever names it names
//!   nothing until the bytes come again;
//! - its bytes are erased only while it is doomed, by the one who doomed it at that moment; then it is 'gone', and kept
//!   again only by who sees bytes that came after that.

use super::blob::{TABLE, blob};
use super::ids;
use crate::db::{Row, Session, Value};
use crate::error::DbError;
use crate::rows::{BlobRow, Id};
use std::collections::HashSet;
use weir_core::{Digest, Timestamp};

const DOCUMENTS: &str = "documents";
const CONTENTS: &str = "contents";

/// Of a row of `blobs`: whether an asset names it. Where there is one domain, an asset can be of no other.
macro_rules! named {
    () => {
        "exists (select 1 from assets a
                 where a.sha256 = blobs.sha256 and a.state = 'held'
                   and ((select count(*) from domains) = 1
                        or exists (select 1 from contents c where c.content_id = a.content_id
                                   and c.domain_id = blobs.domain_id)))"
    };
}

fn place(row: &Row) -> Result<(Id, BlobRow), DbError> {
    Ok((row.text("domain_id")?, blob(row)?))
}

fn digests(list: &[Digest]) -> Vec<Value<'_>> {
    list.iter().map(Value::from).collect()
}

/// In the order in which rows are locked: see `put_blob`.
fn sorted(list: &[Digest]) -> Vec<Digest> {
    let mut list = list.to_vec();
    list.sort();
    list.dedup();
    list
}

impl Session {
    /// Of these blobs the ones that must not be named now.
    pub async fn unkept_blobs(&mut self, domain: &str, list: &[Digest]) -> Result<Vec<BlobRow>, DbError> {
        let sql = "select domain_id, sha256, size, synced, state, unnamed_since from blobs
                   where domain_id = $1 and sha256 in ({list}) and state <> 'kept'";
        self.all_in(TABLE, sql, &[domain.into()], &digests(list)).await?.iter().map(blob).collect()
    }

    /// Keeps a blob again that was gone at `seen`, for bytes that came after that; false when it changed meanwhile.
    pub async fn revive_blob(
        &mut self,
        domain: &str,
        digest: &Digest,
        seen: Timestamp,
        at: Timestamp,
    ) -> Result<bool, DbError> {
        let sql = "update blobs set state = 'kept', synced = $5, unnamed_since = $4, verified_at = null
                   where domain_id = $1 and sha256 = $2 and state = 'gone' and unnamed_since = $3";
        let values = [domain.into(), digest.into(), seen.into(), at.into(), false.into()];
        Ok(self.run(TABLE, sql, &values).await? > 0)
    }

    /// A page of a domain's blobs by digest, each with whether an asset names it.
    pub async fn blobs_after(
        &mut self,
        domain: &str,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(BlobRow, bool)>, DbError> {
        let sql = concat!(
            "select domain_id, sha256, size, synced, state, unnamed_since, ",
            named!(),
            " as named from blobs where domain_id = $1 and sha256 > $2 order by sha256 limit $3"
        );
        let after: &[u8] = after.map_or(&[], |digest| digest.as_bytes().as_slice());
        let rows = self.all(TABLE, sql, &[domain.into(), Value::Bytes(Some(after)), limit.into()]).await?;
        rows.iter().map(|row| Ok((blob(row)?, row.boolean("named")?))).collect()
    }

    /// Notes since when nothing names these. One that is named by now is found out before its end.
    pub async fn mark_unnamed(
        &mut self,
        domain: &str,
        list: &[Digest],
        since: Timestamp,
    ) -> Result<(), DbError> {
        for digest in sorted(list) {
            let sql = "update blobs set unnamed_since = $3 where domain_id = $1 and sha256 = $2
                       and state = 'kept' and unnamed_since is null";
            self.run(TABLE, sql, &[domain.into(), (&digest).into(), since.into()]).await?;
        }
        Ok(())
    }

    /// Notes that these are named again.
    pub async fn mark_named(&mut self, domain: &str, list: &[Digest]) -> Result<(), DbError> {
        for digest in sorted(list) {
            let sql = "update blobs set unnamed_since = null where domain_id = $1 and sha256 = $2
                       and state = 'kept'";
            self.run(TABLE, sql, &[domain.into(), (&digest).into()]).await?;
        }
        Ok(())
    }

    /// A page of the blobs that nothing is known to have named since `until`, of all domains: asked for one, SQLite
    /// would walk through all of its blobs.
    pub async fn blobs_unnamed_until(
        &mut self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Id, Digest)>, DbError> {
        let sql = "select domain_id, sha256 from blobs
                   where unnamed_since is not null and unnamed_since <= $1 and state = 'kept' limit $2";
        let rows = self.all(TABLE, sql, &[until.into(), limit.into()]).await?;
        rows.iter().map(|row| Ok((row.text("domain_id")?, row.digest("sha256")?))).collect()
    }

    /// Dooms those of these blobs that nothing has named since `until`, and gives them; the others are named. `at`
    /// must differ from one call to the next.
    pub async fn doom_blobs(
        &mut self,
        domain: &str,
        list: &[Digest],
        until: Timestamp,
        at: Timestamp,
    ) -> Result<Vec<BlobRow>, DbError> {
        let list = sorted(list);
        for digest in &list {
            let sql = "update blobs set state = 'doomed', unnamed_since = $4
                       where domain_id = $1 and sha256 = $2 and state = 'kept' and unnamed_since <= $3";
            self.run(TABLE, sql, &[domain.into(), digest.into(), until.into(), at.into()]).await?;
        }
        self.spare_named(domain, &list, at).await
    }

    /// Dooms those of these bytes of which there is no row and that nothing names, and gives them; for those that
    /// are named the row is made.
    pub async fn doom_unlisted(
        &mut self,
        domain: &str,
        list: &[(Digest, u64)],
        at: Timestamp,
    ) -> Result<Vec<BlobRow>, DbError> {
        let mut list = list.to_vec();
        list.sort();
        for (digest, size) in &list {
            let sql = "insert into blobs (domain_id, sha256, size, synced, created_at, state, unnamed_since)
                       values ($1, $2, $3, $4, $5, 'doomed', $5)
                       on conflict (domain_id, sha256) do nothing";
            let values = [domain.into(), digest.into(), (*size).into(), true.into(), at.into()];
            self.run(TABLE, sql, &values).await?;
        }
        let list: Vec<Digest> = list.into_iter().map(|(digest, _)| digest).collect();
        self.spare_named(domain, &list, at).await
    }

    /// Keeps those of the blobs doomed at `at` that are named. A statement of its own: it must see what was committed
    /// before the rows were locked.
    async fn spare_named(
        &mut self,
        domain: &str,
        list: &[Digest],
        at: Timestamp,
    ) -> Result<Vec<BlobRow>, DbError> {
        let values = [domain.into(), at.into()];
        let spare = concat!(
            "update blobs set state = 'kept', unnamed_since = null
             where domain_id = $1 and state = 'doomed' and unnamed_since = $2 and sha256 in ({list}) and ",
            named!()
        );
        self.run_in(TABLE, spare, &values, &digests(list)).await?;
        let left = "select domain_id, sha256, size, synced, state, unnamed_since from blobs
                    where domain_id = $1 and state = 'doomed' and unnamed_since = $2 and sha256 in ({list})";
        self.all_in(TABLE, left, &values, &digests(list)).await?.iter().map(blob).collect()
    }

    /// A page of what was doomed up to `until`, or later than `latest`, which only a clock can have done that was set
    /// back since, and is doomed still.
    pub async fn doomed_blobs(
        &mut self,
        until: Timestamp,
        latest: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Id, BlobRow)>, DbError> {
        let sql = "select domain_id, sha256, size, synced, state, unnamed_since from blobs
                   where unnamed_since is not null and (unnamed_since <= $1 or unnamed_since > $2)
                     and state = 'doomed' limit $3";
        let values = [until.into(), latest.into(), limit.into()];
        self.all(TABLE, sql, &values).await?.iter().map(place).collect()
    }

    /// Takes the end of a doomed blob over from who doomed it at `seen`; false when that came to an end meanwhile.
    pub async fn doom_again(
        &mut self,
        domain: &str,
        digest: &Digest,
        seen: Timestamp,
        at: Timestamp,
    ) -> Result<bool, DbError> {
        let sql = "update blobs set unnamed_since = $4
                   where domain_id = $1 and sha256 = $2 and state = 'doomed' and unnamed_since = $3";
        let values = [domain.into(), digest.into(), seen.into(), at.into()];
        Ok(self.run(TABLE, sql, &values).await? > 0)
    }

    /// Notes that the bytes of blobs doomed at `doomed` are erased.
    pub async fn bury_blobs(
        &mut self,
        domain: &str,
        list: &[Digest],
        doomed: Timestamp,
        at: Timestamp,
    ) -> Result<(), DbError> {
        for digest in sorted(list) {
            let sql = "update blobs set state = 'gone', unnamed_since = $4
                       where domain_id = $1 and sha256 = $2 and state = 'doomed' and unnamed_since = $3";
            let values = [domain.into(), (&digest).into(), doomed.into(), at.into()];
            self.run(TABLE, sql, &values).await?;
        }
        Ok(())
    }

    /// Forgets blobs that are gone since before `until` and that nothing names, `limit` at most; how many they were.
    pub async fn forget_gone_blobs(&mut self, until: Timestamp, limit: usize) -> Result<usize, DbError> {
        let sql = concat!(
            "select domain_id, sha256, size, synced, state, unnamed_since from blobs
             where unnamed_since is not null and unnamed_since <= $1 and state = 'gone' and not ",
            named!(),
            " order by domain_id, sha256 limit $2"
        );
        let rows = self.all(TABLE, sql, &[until.into(), limit.into()]).await?;
        for (domain, row) in rows.iter().map(place).collect::<Result<Vec<_>, _>>()? {
            let sql = "delete from blobs where domain_id = $1 and sha256 = $2 and state = 'gone'";
            self.run(TABLE, sql, &[(&domain).into(), (&row.digest).into()]).await?;
        }
        Ok(rows.len())
    }

    /// Which of these have a row.
    pub async fn known_blobs(&mut self, domain: &str, list: &[Digest]) -> Result<HashSet<Digest>, DbError> {
        let sql = "select sha256 from blobs where domain_id = $1 and sha256 in ({list})";
        let rows = self.all_in(TABLE, sql, &[domain.into()], &digests(list)).await?;
        rows.iter().map(|row| row.digest("sha256")).collect()
    }

    /// Which of these bodies a document that was confirmed after `since` has.
    pub async fn known_documents(
        &mut self,
        domain: &str,
        list: &[Digest],
        since: Timestamp,
    ) -> Result<HashSet<Digest>, DbError> {
        let sql = "select sha256 from documents
                   where domain_id = $1 and checked_at > $2 and sha256 in ({list})";
        let rows = self.all_in(DOCUMENTS, sql, &[domain.into(), since.into()], &digests(list)).await?;
        rows.iter().map(|row| row.digest("sha256")).collect()
    }

    /// Forgets documents of a domain that were not confirmed after `since`, `limit` at most; how many they were.
    pub async fn forget_old_documents(
        &mut self,
        domain: &str,
        since: Timestamp,
        limit: usize,
    ) -> Result<u64, DbError> {
        let sql = "delete from documents
                   where domain_id = $1 and checked_at <= $2
                     and (connection, path) in (select connection, path from documents
                                                where domain_id = $1 and checked_at <= $2 limit $3)";
        self.run(DOCUMENTS, sql, &[domain.into(), since.into(), limit.into()]).await
    }

    /// A page of all contents by identifier, each with whether it was made up to `until` and no version has it.
    pub async fn contents_after(
        &mut self,
        after: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Id, bool)>, DbError> {
        let sql = "select content_id,
                          created_at <= $2 and not exists (select 1 from package_versions v
                                                           where v.content_id = contents.content_id) as unused
                   from contents where content_id > $1 order by content_id limit $3";
        let rows = self.all(CONTENTS, sql, &[after.into(), until.into(), limit.into()]).await?;
        rows.iter().map(|row| Ok((row.text("content_id")?, row.boolean("unused")?))).collect()
    }

    /// Deletes those of these contents that no version has, with their assets; how many they were. There are such
    /// where a version was written while its repository was deleted.
    pub async fn delete_unused_contents(&mut self, list: &[Id]) -> Result<u64, DbError> {
        let sql = "delete from contents where content_id in ({list})
                   and not exists (select 1 from package_versions v
                                   where v.content_id = contents.content_id)";
        self.run_in(CONTENTS, sql, &[], &ids(list)).await
    }
}
