//! Grouped writes: together on the disk, apart in failure.

use super::{on_every_engine, sqlite, write};
use crate::error::DbError;
use crate::{Durability, Session, Store};
use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

async fn setting(store: &Store, name: &str) -> Option<String> {
    store.read().await.expect("a session").get_setting(name).await.expect("a setting")
}

async fn put(store: &Store, name: String) -> Result<(), DbError> {
    store.write(move |session| Box::pin(async move { session.put_setting(&name, "here").await })).await
}

async fn put_and_fail(store: &Store, name: String) -> Result<(), DbError> {
    store
        .write(move |session| {
            Box::pin(async move {
                session.put_setting(&name, "here").await?;
                Err(DbError::Cursor)
            })
        })
        .await
}

#[tokio::test]
async fn of_many_writes_at_once_the_failing_ones_leave_nothing_and_the_others_all() {
    on_every_engine(async |store| {
        let writes = (0..200).map(|n| {
            let store = store.clone();
            async move {
                let name = format!("setting-{n}");
                let done = if n % 7 == 0 {
                    put_and_fail(&store, name.clone()).await
                } else {
                    put(&store, name.clone()).await
                };
                assert_eq!(done.is_ok(), n % 7 != 0, "{n}");
                // Whoever has its answer finds its row: the commit was before.
                assert_eq!(setting(&store, &name).await.is_some(), n % 7 != 0, "{n}");
            }
        });
        let writes: Vec<_> = writes.map(tokio::spawn).collect();
        for write in writes {
            write.await.expect("as expected");
        }
    })
    .await;
}

#[tokio::test]
async fn writes_that_wait_share_one_transaction() {
    let (_directory, store) = sqlite().await;
    // The first write holds the writer until the others wait behind it.
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = tokio::spawn({
        let (store, begun, go) = (store.clone(), begun.clone(), go.clone());
        async move {
            write(&store, move |session| {
                Box::pin(async move {
                    begun.notify_one();
                    go.notified().await;
                    session.put_setting("first", "here").await
                })
            })
            .await;
        }
    });
    begun.notified().await;
    let mut second = Box::pin(put(&store, "second".into()));
    let mut third = Box::pin(write(&store, |session: &mut Session| {
        Box::pin(async move {
            // In the same transaction, the earlier are seen; yet nobody else sees them.
            Ok((session.get_setting("first").await?, session.get_setting("second").await?))
        })
    }));
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(second.as_mut().poll(&mut context), Poll::Pending));
    assert!(matches!(third.as_mut().poll(&mut context), Poll::Pending));
    assert_eq!(setting(&store, "first").await, None);
    go.notify_one();
    first.await.expect("written");
    second.await.expect("written");
    assert_eq!(third.await, (Some("here".into()), Some("here".into())));
}

#[tokio::test]
async fn a_caller_who_leaves_harms_nobody() {
    on_every_engine(async |store| {
        for n in 0..20 {
            let mut left = Box::pin(put(store, format!("left-{n}")));
            let mut context = Context::from_waker(Waker::noop());
            let _ = left.as_mut().poll(&mut context);
            drop(left);
        }
        put(store, "stayed".into()).await.expect("a write");
        assert_eq!(setting(store, "stayed").await.as_deref(), Some("here"));
    })
    .await;
}

#[tokio::test]
async fn a_panic_goes_to_its_caller_and_undoes_its_own_work_only() {
    on_every_engine(async |store| {
        let panicking = tokio::spawn({
            let store = store.clone();
            async move {
                let name = "panicked".to_owned();
                write(&store, move |session| {
                    Box::pin(async move {
                        session.put_setting(&name, "here").await?;
                        let found = session.get_setting("none").await?;
                        Ok(found.expect("not there, on purpose"))
                    })
                })
                .await
            }
        });
        assert!(panicking.await.expect_err("a panic").is_panic());
        put(store, "after".into()).await.expect("a write");
        assert_eq!(setting(store, "after").await.as_deref(), Some("here"));
        assert_eq!(setting(store, "panicked").await, None);
    })
    .await;
}

#[tokio::test]
async fn a_lost_transaction_fails_all_that_shared_it_and_none_after() {
    let (_directory, store) = sqlite().await;
    let lost = store
        .write(|session| {
            Box::pin(async move {
                session.put_setting("lost", "here").await?;
                // What the engine does by itself when the disk is full.
                session.script("settings", "rollback").await
            })
        })
        .await;
    assert!(lost.is_err());
    assert_eq!(setting(&store, "lost").await, None);
    put(&store, "after".into()).await.expect("a write");
    assert_eq!(setting(&store, "after").await.as_deref(), Some("here"));
}

async fn synchronous(store: &Store, durability: Durability) -> i64 {
    let asked = store.write_for(durability, |session| {
        Box::pin(async move {
            let row = session.first("settings", "pragma synchronous", &[]).await?;
            row.expect("a row").integer("synchronous")
        })
    });
    asked.await.expect("an answer")
}

#[tokio::test]
async fn what_must_last_never_shares_a_commit_that_may_be_lost() {
    const FULL: i64 = 2;
    const NORMAL: i64 = 1;
    let (_directory, store) = sqlite().await;
    for _ in 0..2 {
        assert_eq!(synchronous(&store, Durability::Synced).await, FULL);
        assert_eq!(synchronous(&store, Durability::Later).await, NORMAL);
    }
    // Also when all of them wait at once, in any order.
    let asked = (0..300).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let durability = if n % 3 == 0 { Durability::Synced } else { Durability::Later };
            (durability, synchronous(&store, durability).await)
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        let (durability, found) = asked.await.expect("an answer");
        assert!(found == FULL || durability == Durability::Later);
    }
    // A transaction that is lost leaves nothing behind that the next one relies on.
    let lost = store.write_for(Durability::Later, |session| Box::pin(session.script("settings", "rollback")));
    assert!(lost.await.is_err());
    assert_eq!(synchronous(&store, Durability::Synced).await, FULL);
}

/// What was committed for later, and nothing after it, goes to the disk when the tick asks for it; a commit that writes
/// nothing would sync nothing.
#[tokio::test]
async fn what_was_committed_for_later_is_synced_by_the_next_that_must_last() {
    let (directory, store) = sqlite().await;
    let log = || fs_err::metadata(directory.path().join("weir.db-wal")).expect("a log").len();
    let nothing = |durability| {
        let store = store.clone();
        async move {
            let done = store.write_for(durability, |_| Box::pin(async { Ok::<_, DbError>(()) }));
            done.await.expect("an answer");
        }
    };
    store.sync_later().await.expect("synced");
    for by_tick in [true, false] {
        nothing(Durability::Synced).await;
        let before = log();
        store.sync_later().await.expect("synced");
        nothing(Durability::Synced).await;
        assert_eq!(log(), before, "nothing waits");
        nothing(Durability::Later).await;
        match by_tick {
            true => store.sync_later().await.expect("synced"),
            false => nothing(Durability::Synced).await,
        }
        assert!(log() > before, "a commit was written, and so synced");
    }
}
