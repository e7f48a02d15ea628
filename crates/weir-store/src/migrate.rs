//! Brings the tables up to date: each file of `migrations/` once, in order, in one transaction.
//!
//! A migration keeps older binaries working (it only adds what they pass over), so that nodes are upgraded one
//! after another. One that cannot is `breaking`: from then on the database refuses binaries that do not know it.

use crate::db::{Engine, Session};
use crate::error::DbError;
use weir_core::Timestamp;

/// A change of the tables. A text that was released is never edited; a change is a new file.
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    /// What both engines run.
    pub(crate) text: &'static str,
    /// What PostgreSQL runs besides.
    pub(crate) postgres: &'static str,
    /// Whether binaries that do not know it must not use the database any more.
    breaking: bool,
}

const fn migration(name: &'static str, text: &'static str) -> Migration {
    Migration { name, text, postgres: "", breaking: false }
}

/// All of them, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    migration("0001_init", include_str!("../migrations/0001_init.sql")),
    migration("0002_derived_assets", include_str!("../migrations/0002_derived_assets.sql")),
    migration("0003_first_seen", include_str!("../migrations/0003_first_seen.sql")),
    Migration {
        name: "0004_nodes",
        text: include_str!("../migrations/0004_nodes.sql"),
        postgres: include_str!("../migrations/0004_nodes.postgres.sql"),
        // An older binary would name bytes that are being erased, and tell no other node of its changes.
        breaking: true,
    },
];

/// The setting that says how many migrations a binary must know.
pub(crate) const LEAST: &str = "least-migrations";
/// The setting that names the version of Weir that set `LEAST`.
pub(crate) const LEAST_VERSION: &str = "least-version";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The names of the migrations that a database lacks, in order. Errors: `TooOld` when it does not allow this
/// binary.
pub(crate) async fn pending(session: &mut Session) -> Result<Vec<&'static str>, DbError> {
    if !session.has_table("migrations").await? {
        return Ok(MIGRATIONS.iter().map(|migration| migration.name).collect());
    }
    check(session).await?;
    let applied = applied(session).await?;
    let missing = MIGRATIONS.iter().map(|migration| migration.name);
    Ok(missing.filter(|name| !applied.iter().any(|done| done == name)).collect())
}

/// Refuses a database that needs a newer binary.
pub(crate) async fn check(session: &mut Session) -> Result<(), DbError> {
    if !session.has_table("settings").await? {
        return Ok(());
    }
    let least = session.get_setting(LEAST).await?.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    if least <= MIGRATIONS.len() {
        return Ok(());
    }
    let needed = session.get_setting(LEAST_VERSION).await?.unwrap_or_else(|| "a later version".to_owned());
    Err(DbError::TooOld { needed, this: VERSION })
}

async fn applied(session: &mut Session) -> Result<Vec<String>, DbError> {
    let rows = session.all("migrations", "select name from migrations", &[]).await?;
    rows.iter().map(|row| row.string("name")).collect()
}

/// Applies what is missing, in a transaction that the caller opened under a lock and commits.
pub(crate) async fn migrate(session: &mut Session, now: Timestamp) -> Result<(), DbError> {
    let pending = pending(session).await?;
    if pending.is_empty() {
        return Ok(());
    }
    session
        .script(
            "migrations",
            "create table if not exists migrations (name text not null primary key, applied_at bigint not null)",
        )
        .await?;
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        if !pending.contains(&migration.name) {
            continue;
        }
        tracing::info!(migration = migration.name, "changing the database");
        session.script("migrations", migration.text).await?;
        if session.engine() == Engine::Postgres && !migration.postgres.is_empty() {
            session.script("migrations", migration.postgres).await?;
        }
        let sql = "insert into migrations (name, applied_at) values ($1, $2)";
        session.run("migrations", sql, &[migration.name.into(), now.into()]).await?;
        if migration.breaking {
            session.put_setting(LEAST, &(index + 1).to_string()).await?;
            session.put_setting(LEAST_VERSION, VERSION).await?;
        }
    }
    let names: Vec<_> = pending.iter().map(|name| (*name).into()).collect();
    let sql = "update migrations set applied_by = $1 where name in ({list})";
    session.run_in("migrations", sql, &[VERSION.into()], &names).await?;
    Ok(())
}
