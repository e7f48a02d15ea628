//! Domains.

use super::account;
use crate::db::{Row, Session};
use crate::error::DbError;
use crate::rows::DomainRow;
use weir_core::{AccountId, DomainName};

const TABLE: &str = "domains";

fn domain(row: &Row) -> Result<DomainRow, DbError> {
    Ok(DomainRow {
        id: row.text("domain_id")?,
        owner: row.parsed("account_id", account)?,
        name: row.parsed("name", |text| DomainName::parse("domain", text).ok())?,
        encryption_key: row.string("encryption_key")?,
        created_at: row.time("created_at")?,
    })
}

impl Session {
    /// Makes a domain. `DbError::Unique` where the account has one of that name.
    pub async fn insert_domain(&mut self, row: &DomainRow) -> Result<(), DbError> {
        let sql = "insert into domains (domain_id, account_id, name, encryption_key, created_at)
                   values ($1, $2, $3, $4, $5)";
        let values = [
            (&row.id).into(),
            row.owner.as_str().into(),
            row.name.as_str().into(),
            (&row.encryption_key).into(),
            row.created_at.into(),
        ];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// One by its account and name.
    pub async fn domain(
        &mut self,
        owner: &AccountId,
        name: &DomainName,
    ) -> Result<Option<DomainRow>, DbError> {
        let sql = "select domain_id, account_id, name, encryption_key, created_at
                   from domains where account_id = $1 and name = $2";
        let values = [owner.as_str().into(), name.as_str().into()];
        self.first(TABLE, sql, &values).await?.as_ref().map(domain).transpose()
    }

    /// One by its identifier.
    pub async fn domain_by_id(&mut self, id: &str) -> Result<Option<DomainRow>, DbError> {
        let sql = "select domain_id, account_id, name, encryption_key, created_at
                   from domains where domain_id = $1";
        self.first(TABLE, sql, &[id.into()]).await?.as_ref().map(domain).transpose()
    }

    /// The domains of one account, or all; by name.
    pub async fn list_domains(&mut self, owner: Option<&AccountId>) -> Result<Vec<DomainRow>, DbError> {
        let sql = "select domain_id, account_id, name, encryption_key, created_at
                   from domains where $1 is null or account_id = $1
                   order by name collate \"C\", account_id collate \"C\"";
        self.all(TABLE, sql, &[owner.map(AccountId::as_str).into()]).await?.iter().map(domain).collect()
    }

    /// Deletes a domain with all it holds; its blobs' bytes are the caller's to remove.
    pub async fn delete_domain(&mut self, id: &str) -> Result<(), DbError> {
        for (table, sql) in [
            ("repositories", "delete from repositories where domain_id = $1"),
            ("contents", "delete from contents where domain_id = $1"),
            ("blobs", "delete from blobs where domain_id = $1"),
            (TABLE, "delete from domains where domain_id = $1"),
        ] {
            self.run(table, sql, &[id.into()]).await?;
        }
        Ok(())
    }

    /// How many bytes the assets of its versions occupy, those stored once counted once.
    pub async fn domain_asset_bytes(&mut self, id: &str) -> Result<u64, DbError> {
        let sql = "select cast(coalesce(sum(size), 0) as bigint) as total
                   from (select distinct a.sha256, a.size
                         from contents c
                         join assets a on a.content_id = c.content_id
                         where c.domain_id = $1 and a.state = 'held' and not a.derived
                           and exists (select 1 from package_versions v where v.content_id = c.content_id)
                        ) held";
        let row = self.first("assets", sql, &[id.into()]).await?;
        row.map_or(Ok(0), |row| row.size("total"))
    }
}
