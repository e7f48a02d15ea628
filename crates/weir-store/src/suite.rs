//! The conformance suite: every query on both engines, every kind of blob store, migrations, the writer and
//! the spool under unkind callers. PostgreSQL and S3 are real servers where these are installed.

mod blobs;
mod control_rows;
mod copy;
mod garbage;
mod migrations;
mod node_rows;
mod package_rows;
mod readers;
mod spool;
mod writer;

use crate::db::DatabaseUrl;
use crate::error::DbError;
use crate::id::uuid_v7;
use crate::lock::StoreLock;
use crate::rows::{DomainRow, Id, RepositoryRow};
use crate::{Places, Session, Store};
use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use weir_core::{AccountId, DomainName, RepositoryName, Timestamp};

/// The moment `seconds` after the epoch.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

/// A new identifier that sorts after the earlier ones.
fn id() -> Id {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    uuid_v7(at(i64::try_from(count).expect("few")), count).into()
}

/// A store in a folder, with all of its parts.
async fn store(directory: &Path, database: &DatabaseUrl) -> Store {
    let lock = StoreLock::acquire(directory, "a test", at(0)).expect("not locked");
    let places = Places { database: database.clone(), ..Places::folder(directory) };
    Store::open(&places, lock, at(0)).await.expect("a store")
}

async fn sqlite() -> (TempDir, Store) {
    let directory = tempfile::tempdir().expect("a folder");
    let store = store(directory.path(), &DatabaseUrl::Sqlite(directory.path().join("weir.db"))).await;
    (directory, store)
}

/// An empty schema of a PostgreSQL database.
struct Schema {
    name: String,
    admin: PgConnection,
    url: DatabaseUrl,
}

impl Schema {
    /// `None`, after a line that says so, where PostgreSQL is not installed.
    async fn make() -> Option<Self> {
        let url = weir_testkit::backend::shared_postgres_url()?;
        let name = format!("weir_{}_{}", std::process::id(), id().replace('-', "_"));
        let mut admin = PgConnection::connect(&url).await.expect("PostgreSQL answers");
        let command = format!("drop schema if exists {name} cascade; create schema {name}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(command)).execute(&mut admin).await.expect("created");
        let joint = if url.contains('?') { '&' } else { '?' };
        let url = DatabaseUrl::Postgres(format!("{url}{joint}options=-c%20search_path%3D{name}"));
        Some(Self { name, admin, url })
    }

    async fn drop(mut self) {
        let command = format!("drop schema {} cascade", self.name);
        sqlx::raw_sql(sqlx::AssertSqlSafe(command)).execute(&mut self.admin).await.expect("dropped");
    }
}

/// Runs `test` on the place of an empty database of each engine.
async fn on_every_empty_database(test: impl AsyncFn(&DatabaseUrl)) {
    let directory = tempfile::tempdir().expect("a folder");
    test(&DatabaseUrl::Sqlite(directory.path().join("weir.db"))).await;
    if let Some(schema) = Schema::make().await {
        test(&schema.url).await;
        schema.drop().await;
    }
}

/// Runs `test` on an empty store of each engine.
async fn on_every_engine(test: impl AsyncFn(&Store)) {
    on_every_empty_database(async |database| {
        let directory = tempfile::tempdir().expect("a folder");
        let store = store(directory.path(), database).await;
        test(&store).await;
        store.close().await;
    })
    .await;
}

/// A write that succeeds.
async fn write<T: Send + 'static>(
    store: &Store,
    work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T, DbError>> + Send + 'static,
) -> T {
    store.write(work).await.expect("a write")
}

fn account() -> AccountId {
    AccountId::parse("account", "000000000000").expect("an account")
}

fn domain_row(name: &str) -> DomainRow {
    DomainRow {
        id: id(),
        owner: account(),
        name: DomainName::parse("domain", name).expect("a name"),
        encryption_key: "key".into(),
        created_at: at(1),
    }
}

fn repository_row(domain: &Id, name: &str) -> RepositoryRow {
    RepositoryRow {
        id: id(),
        domain: domain.clone(),
        name: RepositoryName::parse("repository", name).expect("a name"),
        administrator: account(),
        description: None,
        edited: false,
        created_at: at(2),
        upstreams: Vec::new(),
        connection: None,
    }
}

/// A domain with one repository: their identifiers.
async fn furnished(store: &Store) -> (Id, Id) {
    let domain = domain_row("local");
    let repository = repository_row(&domain.id, "main");
    let ids = (domain.id.clone(), repository.id.clone());
    write(store, move |session| {
        Box::pin(async move {
            session.insert_account(&account(), at(0)).await?;
            session.insert_domain(&domain).await?;
            session.insert_repository(&repository).await
        })
    })
    .await;
    ids
}

#[test]
fn every_query_is_run_by_this_suite() {
    let methods = fs_err::read_dir("src/session")
        .expect("sources")
        .map(|entry| fs_err::read_to_string(entry.expect("an entry").path()).expect("a source"));
    let suite = fs_err::read_dir("src/suite")
        .expect("the suite")
        .map(|entry| fs_err::read_to_string(entry.expect("an entry").path()).expect("a source"))
        .collect::<String>();
    let mut count = 0;
    for source in methods {
        for line in source.lines().filter_map(|line| line.trim().strip_prefix("pub async fn ")) {
            let name = line.split('(').next().expect("a name");
            assert!(suite.contains(&format!(".{name}(")), "{name} is not run by the suite");
            count += 1;
        }
    }
    assert!(count > 80, "only {count} methods were found");
}

#[tokio::test]
async fn a_store_that_was_closed_in_order_is_found_again() {
    let (directory, store) = sqlite().await;
    furnished(&store).await;
    store.health().await.expect("healthy");
    store.close().await;
    assert!(store.health().await.is_err());
    let unavailable = store.write(|session| Box::pin(session.delete_expired_tokens(at(0)))).await;
    assert!(matches!(unavailable, Err(DbError::Unavailable { .. })));
    drop(store);
    let store = Store::open_folder(directory.path(), &weir_core::SystemClock).await.expect("opened again");
    let domains = store.read().await.expect("a session").list_domains(None).await.expect("domains");
    assert_eq!(domains.len(), 1);
}

#[tokio::test]
async fn the_blob_store_is_probed_once_in_a_second_for_all_who_ask() {
    let (directory, store) = sqlite().await;
    let (blobs, away) = (directory.path().join("blobs"), directory.path().join("away"));
    let (one, two) = tokio::join!(store.health(), store.health());
    assert!(one.is_ok() && two.is_ok());
    fs_err::rename(&blobs, &away).expect("it can be moved");
    let begun = std::time::Instant::now();
    while store.health().await.is_ok() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "nobody looked again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    fs_err::rename(&away, &blobs).expect("it can be moved back");
    let begun = std::time::Instant::now();
    while store.health().await.is_err() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "nobody looked again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // Nobody finds this out for a moment.
    fs_err::rename(&blobs, &away).expect("it can be moved");
    store.health().await.expect("what was found a moment ago");
}

#[tokio::test]
async fn a_second_opener_is_told_who_is_first() {
    let (directory, store) = sqlite().await;
    let error = Store::open_folder(directory.path(), &weir_core::SystemClock).await.err().expect("refused");
    let text = error.to_string();
    let pid = std::process::id();
    assert!(text.contains(&format!("in use by pid {pid}, a test, since 1970-01-01T00:00:00Z")), "{text}");
    drop(store);
    StoreLock::acquire(directory.path(), "a test", at(0)).expect("free again");
}

#[tokio::test]
async fn a_session_that_reads_cannot_write() {
    on_every_engine(async |store| {
        let mut session = store.read().await.expect("a session");
        assert!(session.put_setting("name", "value").await.is_err());
        assert!(session.delete_token("none").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_value_that_weir_did_not_write_is_named_with_its_place() {
    on_every_engine(async |store| {
        let (domain, _) = furnished(store).await;
        let broken = domain.clone();
        write(store, move |session| {
            Box::pin(async move {
                let sql = "update domains set name = 'No Name' where domain_id = $1";
                session.run("domains", sql, &[(&broken).into()]).await
            })
        })
        .await;
        let mut session = store.read().await.expect("a session");
        let error = session.domain_by_id(&domain).await.expect_err("inconsistent").to_string();
        assert_eq!(error, format!("table domains, column name, row '{domain}': 'No Name' is not known"));
    })
    .await;
}
