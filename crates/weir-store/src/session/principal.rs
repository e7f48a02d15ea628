//! Users and roles, and their access keys.

use super::account;
use crate::db::{Row, Session};
use crate::error::DbError;
use crate::rows::{AccessKeyRow, PrincipalRow};
use weir_core::{AccountId, PrincipalKind};

const TABLE: &str = "principals";
const KEYS: &str = "access_keys";

fn principal(row: &Row) -> Result<PrincipalRow, DbError> {
    Ok(PrincipalRow {
        id: row.text("principal_id")?,
        account: row.parsed("account_id", account)?,
        kind: row.parsed("kind", kind)?,
        name: row.string("name")?,
        policy: row.string("policy")?,
        created_at: row.time("created_at")?,
    })
}

fn kind(text: &str) -> Option<PrincipalKind> {
    [PrincipalKind::User, PrincipalKind::Role].into_iter().find(|kind| kind.as_str() == text)
}

fn access_key(row: &Row) -> Result<AccessKeyRow, DbError> {
    Ok(AccessKeyRow {
        id: row.string("access_key_id")?,
        principal: row.text("principal_id")?,
        sealed_secret: row.bytes("sealed_secret")?,
        created_at: row.time("created_at")?,
    })
}

impl Session {
    /// Makes a user or role. `DbError::Unique` where the account has one of that kind and name.
    pub async fn insert_principal(&mut self, row: &PrincipalRow) -> Result<(), DbError> {
        let sql = "insert into principals (principal_id, account_id, kind, name, policy, created_at)
                   values ($1, $2, $3, $4, $5, $6)";
        let values = [
            (&row.id).into(),
            row.account.as_str().into(),
            row.kind.as_str().into(),
            (&row.name).into(),
            (&row.policy).into(),
            row.created_at.into(),
        ];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// One by its identifier.
    pub async fn principal(&mut self, id: &str) -> Result<Option<PrincipalRow>, DbError> {
        let sql = "select principal_id, account_id, kind, name, policy, created_at
                   from principals where principal_id = $1";
        self.first(TABLE, sql, &[id.into()]).await?.as_ref().map(principal).transpose()
    }

    /// One by its name.
    pub async fn principal_by_name(
        &mut self,
        account: &AccountId,
        kind: PrincipalKind,
        name: &str,
    ) -> Result<Option<PrincipalRow>, DbError> {
        let sql = "select principal_id, account_id, kind, name, policy, created_at
                   from principals where account_id = $1 and kind = $2 and name = $3";
        let values = [account.as_str().into(), kind.as_str().into(), name.into()];
        self.first(TABLE, sql, &values).await?.as_ref().map(principal).transpose()
    }

    /// All of an account, by kind and name.
    pub async fn list_principals(&mut self, account: &AccountId) -> Result<Vec<PrincipalRow>, DbError> {
        let sql = "select principal_id, account_id, kind, name, policy, created_at
                   from principals where account_id = $1
                   order by kind collate \"C\", name collate \"C\"";
        self.all(TABLE, sql, &[account.as_str().into()]).await?.iter().map(principal).collect()
    }

    /// Deletes one with its keys and tokens; false if there is none.
    pub async fn delete_principal(&mut self, id: &str) -> Result<bool, DbError> {
        let sql = "delete from principals where principal_id = $1";
        Ok(self.run(TABLE, sql, &[id.into()]).await? > 0)
    }

    /// Stores an access key.
    pub async fn insert_access_key(&mut self, row: &AccessKeyRow) -> Result<(), DbError> {
        let sql = "insert into access_keys (access_key_id, principal_id, sealed_secret, created_at)
                   values ($1, $2, $3, $4)";
        let values = [
            (&row.id).into(),
            (&row.principal).into(),
            row.sealed_secret.as_slice().into(),
            row.created_at.into(),
        ];
        self.run(KEYS, sql, &values).await?;
        Ok(())
    }

    /// One key.
    pub async fn access_key(&mut self, id: &str) -> Result<Option<AccessKeyRow>, DbError> {
        let sql = "select access_key_id, principal_id, sealed_secret, created_at
                   from access_keys where access_key_id = $1";
        self.first(KEYS, sql, &[id.into()]).await?.as_ref().map(access_key).transpose()
    }

    /// The keys of one principal, or all.
    pub async fn list_access_keys(&mut self, principal: Option<&str>) -> Result<Vec<AccessKeyRow>, DbError> {
        let sql = "select access_key_id, principal_id, sealed_secret, created_at
                   from access_keys where $1 is null or principal_id = $1
                   order by access_key_id collate \"C\"";
        self.all(KEYS, sql, &[principal.into()]).await?.iter().map(access_key).collect()
    }

    /// Deletes a key; false if there is none.
    pub async fn delete_access_key(&mut self, id: &str) -> Result<bool, DbError> {
        let sql = "delete from access_keys where access_key_id = $1";
        Ok(self.run(KEYS, sql, &[id.into()]).await? > 0)
    }
}
