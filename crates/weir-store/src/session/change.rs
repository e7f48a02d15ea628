//! What nodes tell each other to read again. One process over SQLite has nobody to tell: there these do nothing.
//!
//! Rows become visible when their transactions commit, which is not the order of their numbers. So a reader does not
//! go on behind the last row it saw: it asks for the rows of all transactions that its last snapshot did not see.

use crate::db::{Engine, Session};
use crate::error::DbError;
use crate::rows::{ChangeRow, Standpoint};
use std::time::Duration;
use weir_core::Timestamp;

const TABLE: &str = "changes";

impl Session {
    /// Leaves word for the other nodes, to be seen with what this transaction changes.
    pub async fn note_change(&mut self, node: &str, body: &str) -> Result<(), DbError> {
        if self.engine() == Engine::Postgres {
            let sql = "insert into changes (node, body) values ($1, $2)";
            self.run(TABLE, sql, &[node.into(), body.into()]).await?;
        }
        Ok(())
    }

    /// Waits until no other transaction of any node holds the turn of `key`, and takes it to the end of this one:
    /// what reads before it writes is then not interleaved, as it never is with SQLite's one writer.
    pub async fn take_turn(&mut self, key: &str) -> Result<(), DbError> {
        if self.engine() == Engine::Postgres {
            let sql =
                "select 1 as one from (select pg_advisory_xact_lock(hashtextextended($1, 7237461))) turn";
            self.first(TABLE, sql, &[key.into()]).await?;
        }
        Ok(())
    }

    /// Where a reader stands who has seen everything up to now.
    pub async fn standpoint(&mut self) -> Result<Standpoint, DbError> {
        if self.engine() == Engine::Sqlite {
            return Ok(Standpoint { snapshot: String::new(), oldest: 0, at: Timestamp::UNIX_EPOCH });
        }
        let sql = "select cast(snapshot as text) as snapshot,
                          cast(cast(pg_snapshot_xmin(snapshot) as text) as bigint) as oldest,
                          cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as moment
                   from (select pg_current_snapshot() as snapshot) now";
        let row = self.first(TABLE, sql, &[]).await?;
        let row = row.ok_or_else(|| DbError::unavailable("it tells no snapshot"))?;
        Ok(Standpoint {
            snapshot: row.string("snapshot")?,
            oldest: row.integer("oldest")?,
            at: row.time("moment")?,
        })
    }

    /// What was left for others since a standpoint, in no certain order.
    pub async fn changes_since(&mut self, since: &Standpoint) -> Result<Vec<ChangeRow>, DbError> {
        if self.engine() == Engine::Sqlite {
            return Ok(Vec::new());
        }
        // The first condition is for the index alone.
        let sql = "select sequence, node, body from changes
                   where transaction_id >= $1
                     and not pg_visible_in_snapshot(cast(cast(transaction_id as text) as xid8),
                                                    cast($2 as pg_snapshot))";
        let rows = self.all(TABLE, sql, &[since.oldest.into(), since.snapshot.as_str().into()]).await?;
        let change =
            |row: &crate::db::Row| Ok(ChangeRow { node: row.string("node")?, body: row.string("body")? });
        rows.iter().map(change).collect()
    }

    /// Refuses when the database was upgraded meanwhile and needs a newer binary than this one.
    pub async fn check_allowed(&mut self) -> Result<(), DbError> {
        crate::migrate::check(self).await
    }

    /// Drops word that is older than `age`, and counts it.
    pub async fn drop_changes(&mut self, age: Duration) -> Result<u64, DbError> {
        if self.engine() == Engine::Sqlite {
            return Ok(0);
        }
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let sql = "delete from changes where created_at < now() - make_interval(secs => cast($1 as double precision))";
        self.run(TABLE, sql, &[seconds.into()]).await
    }
}
