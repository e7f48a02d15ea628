//! What nodes tell each other to read again. One process over SQLite has nobody to tell: there these do nothing.
//!
//! Rows become visible when their transactions commit, which is not the order of their numbers. So a reader begins
//! not behind the last row it saw but at the oldest transaction that was still running when it looked before, and
//! passes over what it has seen.

use crate::db::{Engine, Session};
use crate::error::DbError;
use crate::rows::ChangeRow;
use std::time::Duration;

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

    /// The transaction from which a reader who has seen everything has to look next time.
    pub async fn change_horizon(&mut self) -> Result<i64, DbError> {
        if self.engine() == Engine::Sqlite {
            return Ok(0);
        }
        let sql = "select cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint) as horizon";
        let row = self.first(TABLE, sql, &[]).await?;
        row.map_or(Err(DbError::unavailable("it tells no snapshot")), |row| row.integer("horizon"))
    }

    /// What was left since a horizon, in no certain order; part of it may have been seen before.
    pub async fn changes_since(&mut self, horizon: i64) -> Result<Vec<ChangeRow>, DbError> {
        if self.engine() == Engine::Sqlite {
            return Ok(Vec::new());
        }
        let sql = "select sequence, transaction_id, node, body from changes where transaction_id >= $1";
        let rows = self.all(TABLE, sql, &[horizon.into()]).await?;
        let change = |row: &crate::db::Row| {
            Ok(ChangeRow {
                sequence: row.integer("sequence")?,
                transaction: row.integer("transaction_id")?,
                node: row.string("node")?,
                body: row.string("body")?,
            })
        };
        rows.iter().map(change).collect()
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
