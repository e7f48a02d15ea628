//! Bearer tokens, found by their hash.

use crate::db::{Row, Session};
use crate::error::DbError;
use crate::rows::TokenRow;
use weir_core::{Digest, Timestamp};

const TABLE: &str = "tokens";

fn token(row: &Row) -> Result<TokenRow, DbError> {
    let has_scope = row.optional_string("scope")?.is_some();
    Ok(TokenRow {
        id: row.text("token_id")?,
        hash: row.digest("token_hash")?,
        principal: row.text("principal_id")?,
        domain: row.text("domain_id")?,
        description: row.string("description")?,
        scope: if has_scope { Some(row.json("scope")?) } else { None },
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
    })
}

impl Session {
    /// Stores a token.
    pub async fn insert_token(&mut self, row: &TokenRow) -> Result<(), DbError> {
        let sql = "insert into tokens (token_id, token_hash, principal_id, domain_id, description, scope,
                                       created_at, expires_at)
                   values ($1, $2, $3, $4, $5, $6, $7, $8)";
        let scope =
            row.scope.as_ref().map(|s| serde_json::to_string(s).expect("lists of text are always JSON"));
        let values = [
            (&row.id).into(),
            (&row.hash).into(),
            (&row.principal).into(),
            (&row.domain).into(),
            (&row.description).into(),
            (&scope).into(),
            row.created_at.into(),
            row.expires_at.into(),
        ];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// The token of this hash, expired or not.
    pub async fn token_by_hash(&mut self, hash: &Digest) -> Result<Option<TokenRow>, DbError> {
        let sql = "select token_id, token_hash, principal_id, domain_id, description, scope, created_at,
                          expires_at
                   from tokens where token_hash = $1";
        self.first(TABLE, sql, &[hash.into()]).await?.as_ref().map(token).transpose()
    }

    /// The tokens of one principal, or all; oldest first.
    pub async fn list_tokens(&mut self, principal: Option<&str>) -> Result<Vec<TokenRow>, DbError> {
        let sql = "select token_id, token_hash, principal_id, domain_id, description, scope, created_at,
                          expires_at
                   from tokens where $1 is null or principal_id = $1
                   order by created_at, token_id collate \"C\"";
        self.all(TABLE, sql, &[principal.into()]).await?.iter().map(token).collect()
    }

    /// Deletes a token and gives it back, so that caches can forget its hash.
    pub async fn delete_token(&mut self, id: &str) -> Result<Option<TokenRow>, DbError> {
        let sql = "delete from tokens where token_id = $1
                   returning token_id, token_hash, principal_id, domain_id, description, scope, created_at,
                             expires_at";
        self.change(TABLE, sql, &[id.into()]).await?.as_ref().map(token).transpose()
    }

    /// Deletes the token of this hash; false if there is none.
    pub async fn delete_token_by_hash(&mut self, hash: &Digest) -> Result<bool, DbError> {
        let sql = "delete from tokens where token_hash = $1";
        Ok(self.run(TABLE, sql, &[hash.into()]).await? > 0)
    }

    /// Deletes what ended at `now` or before, and counts it.
    pub async fn delete_expired_tokens(&mut self, now: Timestamp) -> Result<u64, DbError> {
        self.run(TABLE, "delete from tokens where expires_at <= $1", &[now.into()]).await
    }
}
