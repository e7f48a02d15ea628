//! The outbox of events and the audit trail: both are written with the change they tell of.

use crate::db::Session;
use crate::error::DbError;
use crate::id::uuid_v7;
use crate::rows::AuditRow;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_core::{Secrets as _, SystemSecrets, Timestamp};

const EVENTS: &str = "events";
const AUDIT: &str = "audit";

/// An identifier that sorts by time and, within one moment, in the order of calls of this process.
fn ordered_id(at: Timestamp) -> String {
    static ORDER: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 4];
    SystemSecrets.fill(&mut random);
    // The upper two bits give way to the identifier's own.
    let order = ORDER.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff;
    uuid_v7(at, (order << 34) | u64::from(u32::from_be_bytes(random)) << 2)
}

impl Session {
    /// Puts an event (JSON) into the outbox of a domain.
    pub async fn insert_event(&mut self, domain: &str, at: Timestamp, body: &str) -> Result<(), DbError> {
        let sql = "insert into events (event_id, domain_id, created_at, body) values ($1, $2, $3, $4)";
        self.run(EVENTS, sql, &[(&ordered_id(at)).into(), domain.into(), at.into(), body.into()]).await?;
        Ok(())
    }

    /// Notes who changed what.
    pub async fn insert_audit(&mut self, row: &AuditRow) -> Result<(), DbError> {
        let sql = "insert into audit (audit_id, created_at, principal, action, resource, detail)
                   values ($1, $2, $3, $4, $5, $6)";
        let id = ordered_id(row.at);
        let values = [
            (&id).into(),
            row.at.into(),
            (&row.principal).into(),
            (&row.action).into(),
            (&row.resource).into(),
            (&row.detail).into(),
        ];
        self.run(AUDIT, sql, &values).await?;
        Ok(())
    }

    /// The latest changes, newest first.
    pub async fn list_audit(&mut self, limit: usize) -> Result<Vec<AuditRow>, DbError> {
        let sql = "select audit_id, created_at, principal, action, resource, detail from audit
                   order by audit_id collate \"C\" desc limit $1";
        let rows = self.all(AUDIT, sql, &[limit.into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    at: row.time("created_at")?,
                    principal: row.string("principal")?,
                    action: row.string("action")?,
                    resource: row.string("resource")?,
                    detail: row.string("detail")?,
                })
            })
            .collect()
    }
}
