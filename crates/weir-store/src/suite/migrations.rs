//! Migrations: once, in order, also when several nodes start at once; from every earlier state; looked at
//! without a change; and refused where the database is ahead of this binary.

use super::{Schema, at, on_every_empty_database, store, write};
use crate::db::DatabaseUrl;
use crate::error::DbError;
use crate::lock::StoreLock;
use crate::migrate::{LEAST, LEAST_VERSION, MIGRATIONS, VERSION};
use crate::{Places, Store};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use std::error::Error as _;

/// Runs SQL on a database that no store has open.
async fn by_hand(database: &DatabaseUrl, sql: String) {
    match database {
        DatabaseUrl::Sqlite(path) => {
            let connection = rusqlite::Connection::open(path).expect("opened");
            connection.execute_batch(&sql).expect("run");
        }
        DatabaseUrl::Postgres(url) => {
            let mut connection = PgConnection::connect(url).await.expect("opened");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("run");
            connection.close().await.expect("closed");
        }
    }
}

/// What a binary that knew only the first `count` migrations left, with a domain.
async fn as_of(database: &DatabaseUrl, count: usize) {
    let mut sql = String::new();
    for migration in &MIGRATIONS[..count] {
        if sql.is_empty() {
            sql.push_str(
                "create table migrations (name text not null primary key, applied_at bigint not null);",
            );
        }
        sql.push_str(migration.text);
        if let DatabaseUrl::Postgres(_) = database {
            sql.push_str(migration.postgres);
        }
        let name = migration.name;
        sql.push_str(&format!("insert into migrations (name, applied_at) values ('{name}', 1);"));
    }
    if count > 0 {
        sql.push_str("insert into accounts (account_id, created_at) values ('000000000000', 1);");
        sql.push_str("insert into domains (domain_id, account_id, name, encryption_key, created_at)");
        sql.push_str(" values ('d1', '000000000000', 'kept', 'key', 1);");
    }
    by_hand(database, sql).await;
}

fn names() -> Vec<&'static str> {
    MIGRATIONS.iter().map(|migration| migration.name).collect()
}

/// The recorded migrations, and who applied each.
async fn recorded(store: &Store) -> Vec<(String, String)> {
    let mut session = store.read().await.expect("a session");
    let sql = "select name, applied_by from migrations order by name";
    let rows = session.all("migrations", sql, &[]).await.expect("rows");
    rows.iter()
        .map(|row| (row.string("name").expect("text"), row.string("applied_by").expect("text")))
        .collect()
}

#[tokio::test]
async fn nodes_that_start_together_migrate_once() {
    let Some(schema) = Schema::make().await else { return };
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let open = |node: usize| store(folders[node].path(), &schema.url);
    let (one, two, three) = tokio::join!(open(0), open(1), open(2));
    let expected: Vec<_> = names().iter().map(|name| ((*name).to_owned(), VERSION.to_owned())).collect();
    for store in [&one, &two, &three] {
        assert_eq!(recorded(store).await, expected);
    }
    for store in [one, two, three] {
        store.close().await;
    }
    schema.drop().await;
}

#[tokio::test]
async fn every_earlier_state_is_brought_up_to_date_and_keeps_what_it_holds() {
    for count in 0..=MIGRATIONS.len() {
        on_every_empty_database(async |database| {
            as_of(database, count).await;
            let pending = Store::pending_migrations(database).await.expect("an answer");
            assert_eq!(pending, names()[count..], "after {count}");
            let directory = tempfile::tempdir().expect("a folder");
            let store = store(directory.path(), database).await;
            assert_eq!(Store::pending_migrations(database).await.expect("an answer"), [""; 0]);
            let done: Vec<_> = recorded(&store).await.into_iter().map(|(name, _)| name).collect();
            assert_eq!(done, names(), "after {count}");
            let mut session = store.read().await.expect("a session");
            let domains = session.list_domains(None).await.expect("domains");
            assert_eq!(domains.len(), usize::from(count > 0), "after {count}");
            drop(session);
            store.close().await;
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_pending_is_told_and_nothing_changed() {
    on_every_empty_database(async |database| {
        assert_eq!(Store::pending_migrations(database).await.expect("an answer"), names());
        if let DatabaseUrl::Sqlite(path) = database {
            assert!(!path.exists(), "looking makes no file");
        }
        assert_eq!(Store::pending_migrations(database).await.expect("an answer"), names());
        as_of(database, 2).await;
        for _ in 0..2 {
            assert_eq!(Store::pending_migrations(database).await.expect("an answer"), names()[2..]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_ahead_refuses_and_names_both_versions() {
    on_every_empty_database(async |database| {
        let directory = tempfile::tempdir().expect("a folder");
        let first = store(directory.path(), database).await;
        write(&first, |session| {
            Box::pin(async move {
                session.put_setting(LEAST, &(MIGRATIONS.len() + 1).to_string()).await?;
                session.put_setting(LEAST_VERSION, "9.8.7").await
            })
        })
        .await;
        first.close().await;
        drop(first);
        let lock = StoreLock::acquire(directory.path(), "a test", at(0)).expect("not locked");
        let places = Places { database: database.clone(), ..Places::folder(directory.path()) };
        let refused = Store::open(&places, lock, at(0)).await.err().expect("refused");
        let refused = refused.source().expect("what the database said").to_string();
        let looked = Store::pending_migrations(database).await.expect_err("refused");
        assert!(matches!(looked, DbError::TooOld { .. }), "{looked}");
        for text in [refused, looked.to_string()] {
            assert!(text.contains("weir 9.8.7 or later") && text.contains(VERSION), "{text}");
        }
        // One that asks for no more than this binary knows is opened.
        let least = format!("update settings set value = '{}' where name = '{LEAST}'", MIGRATIONS.len());
        by_hand(database, least).await;
        let lock = StoreLock::acquire(directory.path(), "a test", at(0)).expect("not locked");
        Store::open(&places, lock, at(0)).await.expect("opened").close().await;
    })
    .await;
}
