//! Leases: work that one holder does for all, until it lets go or is not heard of any more. Times are those of the
//! database, so that the clocks of nodes do not matter.

use crate::db::{Engine, Session};
use crate::error::DbError;
use std::time::Duration;

const TABLE: &str = "leases";

impl Session {
    /// Takes a lease, or renews the holder's own, for so long from now on; false while somebody else has it.
    pub async fn take_lease(&mut self, name: &str, holder: &str, life: Duration) -> Result<bool, DbError> {
        self.commit_lazily().await?;
        let now = self.database_time().await?;
        let end = now.saturating_add(i64::try_from(life.as_micros()).unwrap_or(i64::MAX));
        let sql = "insert into leases (name, holder, expires_at) values ($1, $2, $3)
                   on conflict (name) do update
                   set holder = excluded.holder, expires_at = excluded.expires_at
                   where leases.holder = excluded.holder or leases.expires_at <= $4";
        Ok(self.run(TABLE, sql, &[name.into(), holder.into(), end.into(), now.into()]).await? > 0)
    }

    /// Lets go of a lease; nothing happens when somebody else has it by now.
    pub async fn release_lease(&mut self, name: &str, holder: &str) -> Result<(), DbError> {
        self.commit_lazily().await?;
        let sql = "delete from leases where name = $1 and holder = $2";
        self.run(TABLE, sql, &[name.into(), holder.into()]).await?;
        Ok(())
    }

    /// Frees the leases of holders that were not heard of any more, or of all.
    pub async fn drop_leases(&mut self, all: bool) -> Result<u64, DbError> {
        let now = if all { i64::MAX } else { self.database_time().await? };
        self.run(TABLE, "delete from leases where expires_at <= $1", &[now.into()]).await
    }

    /// A lease that a crash of the database server forgets is only taken once more.
    async fn commit_lazily(&mut self) -> Result<(), DbError> {
        match self.engine() {
            Engine::Sqlite => Ok(()),
            Engine::Postgres => self.script(TABLE, "set local synchronous_commit = off").await,
        }
    }

    /// Microseconds since the epoch, by the clock of the database server.
    async fn database_time(&mut self) -> Result<i64, DbError> {
        let sql = match self.engine() {
            Engine::Sqlite => "select cast(unixepoch('subsec') * 1000000 as integer) as now",
            Engine::Postgres => {
                "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now"
            }
        };
        let row = self.first(TABLE, sql, &[]).await?;
        row.map_or(Err(DbError::unavailable("it tells no time")), |row| row.integer("now"))
    }
}
