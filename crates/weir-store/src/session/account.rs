//! Accounts.

use super::account;
use crate::db::Session;
use crate::error::DbError;
use weir_core::{AccountId, Timestamp};

const TABLE: &str = "accounts";

impl Session {
    /// Makes an account; nothing happens if it is there.
    pub async fn insert_account(&mut self, id: &AccountId, at: Timestamp) -> Result<(), DbError> {
        let sql = "insert into accounts (account_id, created_at) values ($1, $2)
                   on conflict (account_id) do nothing";
        self.run(TABLE, sql, &[id.as_str().into(), at.into()]).await?;
        Ok(())
    }

    /// Whether it is there.
    pub async fn account_exists(&mut self, id: &AccountId) -> Result<bool, DbError> {
        let sql = "select account_id from accounts where account_id = $1";
        Ok(self.first(TABLE, sql, &[id.as_str().into()]).await?.is_some())
    }

    /// All accounts, in order.
    pub async fn list_accounts(&mut self) -> Result<Vec<AccountId>, DbError> {
        let sql = "select account_id from accounts order by account_id collate \"C\"";
        let rows = self.all(TABLE, sql, &[]).await?;
        rows.iter().map(|row| row.parsed("account_id", account)).collect()
    }
}
