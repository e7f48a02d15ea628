//! Readers of SQLite: few, shared, and given back whatever becomes of their statements.

use super::{sqlite, write};
use crate::error::DbError;
use crate::{Session, Store};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Longer than anybody waits for it.
const ENDLESS: &str =
    "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) as total from n";
const ENDLESS_ROWS: &str = "with recursive n (i) as (select 1 union all select i + 1 from n) select i from n";
/// As many as there are.
const READERS: usize = 4;

async fn number(session: &mut Session, sql: &'static str) -> i64 {
    let row = session.first("settings", sql, &[]).await.expect("an answer").expect("a row");
    row.integer("total").expect("a number")
}

/// All readers at once answer, and none is in an old transaction.
async fn all_answer(store: &Store) {
    write(store, |session| Box::pin(async move { session.put_setting("moment", "now").await })).await;
    let mut sessions = Vec::new();
    for _ in 0..READERS {
        let session = timeout(Duration::from_secs(5), store.snapshot()).await.expect("one is free soon");
        sessions.push(session.expect("a session"));
    }
    for session in &mut sessions {
        assert_eq!(session.get_setting("moment").await.expect("read").as_deref(), Some("now"));
    }
    drop(sessions);
    write(store, |session| Box::pin(async move { session.put_setting("moment", "before").await })).await;
}

#[tokio::test]
async fn a_query_that_takes_longer_than_its_caller_may_wait_for_is_answered_all_the_same() {
    let (_directory, store) = sqlite().await;
    let mut session = store.read().await.expect("a session");
    let sql = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 300000)
               select count(*) as total from n";
    assert_eq!(number(&mut session, sql).await, 300_000);
    // More bytes than steps.
    let sql = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 100)
               select zeroblob(10000) as bytes from n";
    let rows = session.all("settings", sql, &[]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.bytes("bytes").expect("bytes").len()).sum::<usize>(), 1_000_000);
    assert_eq!(number(&mut session, "select 7 as total").await, 7);
}

#[tokio::test]
async fn a_reader_that_is_left_in_the_middle_is_free_for_the_next() {
    let (_directory, store) = sqlite().await;
    for _ in 0..2 * READERS {
        let mut session = store.read().await.expect("a session");
        let moment = Duration::from_millis(20);
        assert!(timeout(moment, session.all("settings", ENDLESS, &[])).await.is_err());
        let gone = session.get_setting("moment").await.expect_err("the connection is not there any more");
        assert!(matches!(gone, DbError::Unavailable { .. }), "{gone}");
        drop(session);
        let mut session = store.snapshot().await.expect("a session");
        let visiting = session.each::<DbError>("settings", ENDLESS_ROWS, |_| Ok(()));
        assert!(timeout(moment, visiting).await.is_err());
    }
    all_answer(&store).await;
}

#[tokio::test]
async fn a_visit_that_fails_ends_the_query_and_the_session_goes_on() {
    let (_directory, store) = sqlite().await;
    let mut session = store.snapshot().await.expect("a session");
    let mut seen = 0;
    let failed = session.each("settings", ENDLESS_ROWS, |row| {
        seen = row.integer("i")?;
        if seen < 20_000 { Ok(()) } else { Err(DbError::Cursor) }
    });
    assert!(matches!(failed.await, Err(DbError::Cursor)));
    assert_eq!(seen, 20_000);
    assert_eq!(number(&mut session, "select 7 as total").await, 7);
    drop(session);
    all_answer(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_end_does_not_hold_up_the_end() {
    let (directory, store) = sqlite().await;
    let mut session = store.read().await.expect("a session");
    let endless = tokio::spawn(async move { session.all("settings", ENDLESS, &[]).await.map(drop) });
    let mut held = store.read().await.expect("a session");
    assert_eq!(number(&mut held, "select 7 as total").await, 7);
    drop(held);
    let begun = Instant::now();
    store.close().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let error = endless.await.expect("no panic").expect_err("broken off");
    assert_eq!(error.to_string(), "the database does not answer now: it is closed");
    let refused = store.read().await.err().expect("refused");
    assert_eq!(refused.to_string(), error.to_string());
    assert!(!directory.path().join("weir.db-wal").exists(), "the log was folded into the file");
}
