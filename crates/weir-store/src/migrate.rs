//! Brings the tables up to date: each file of `migrations/` once, in order, in one transaction.

use crate::db::Session;
use crate::error::DbError;
use weir_core::Timestamp;

/// Name and text, in order. A text that was released is never edited; a change is a new file that keeps
/// older binaries working until all nodes are upgraded.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_init", include_str!("../migrations/0001_init.sql")),
    ("0002_derived_assets", include_str!("../migrations/0002_derived_assets.sql")),
    ("0003_first_seen", include_str!("../migrations/0003_first_seen.sql")),
];

/// Applies what is missing, in a transaction that the caller opened under a lock and commits.
pub(crate) async fn migrate(session: &mut Session, now: Timestamp) -> Result<(), DbError> {
    session
        .script(
            "migrations",
            "create table if not exists migrations (name text not null primary key, applied_at bigint not null)",
        )
        .await?;
    let rows = session.all("migrations", "select name from migrations", &[]).await?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in &rows {
        applied.push(row.string("name")?);
    }
    for (name, text) in MIGRATIONS {
        if applied.iter().any(|done| done == name) {
            continue;
        }
        tracing::info!(migration = name, "changing the database");
        session.script("migrations", text).await?;
        session
            .run(
                "migrations",
                "insert into migrations (name, applied_at) values ($1, $2)",
                &[(*name).into(), now.into()],
            )
            .await?;
    }
    Ok(())
}
