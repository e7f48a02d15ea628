//! One asks while others wait for its answer; when it fails, those who waited get the same failure instead
//! of asking one after another.

use crate::topology::lock;
use crate::view::Failure;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::MutexGuard;
use weir_core::Result;

/// The turns of those who want the same thing, by what they want.
pub(crate) struct Turns<K> {
    table: Mutex<HashMap<K, Weak<Turn>>>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { table: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone> Turns<K> {
    /// The turn that all who want this share while one of them holds it.
    pub(crate) fn of(&self, key: &K) -> Arc<Turn> {
        let mut table = lock(&self.table);
        if let Some(turn) = table.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        if table.len() > 256 {
            table.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::default());
        table.insert(key.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// Whose turn it is, and how the last one ended.
#[derive(Default)]
pub(crate) struct Turn {
    mine: tokio::sync::Mutex<()>,
    ended: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

/// The turn, taken.
pub(crate) struct Mine<'a> {
    turn: &'a Turn,
    /// Whether somebody else had the turn, and succeeded, while this one waited.
    pub(crate) waited: bool,
    _guard: MutexGuard<'a, ()>,
}

impl Turn {
    /// Waits for the turn. The failure of whoever had it meanwhile is the caller's too.
    pub(crate) async fn take(&self) -> Result<Mine<'_>> {
        let arrived = self.ended.load(Ordering::Acquire);
        let guard = self.mine.lock().await;
        let waited = self.ended.load(Ordering::Acquire) > arrived;
        match &*lock(&self.failure) {
            Some(failure) if waited => Err(failure.error()),
            _ => Ok(Mine { turn: self, waited, _guard: guard }),
        }
    }
}

impl Mine<'_> {
    /// Ends the turn with what those who wait will learn of it.
    pub(crate) fn end<T>(self, result: Result<T>) -> Result<T> {
        let (failure, result) = match result {
            Ok(value) => (None, Ok(value)),
            Err(error) => match Failure::of(error) {
                Ok(failure) => {
                    let error = failure.error();
                    (Some(failure), Err(error))
                }
                Err(other) => (None, Err(other)),
            },
        };
        *lock(&self.turn.failure) = failure;
        self.turn.ended.fetch_add(1, Ordering::AcqRel);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Error;

    #[tokio::test]
    async fn who_waited_gets_the_failure_and_who_comes_later_asks() {
        let turns = Turns::default();
        let turn = turns.of(&"widget");
        let first = turn.take().await.expect("nobody has it");
        let waiting = tokio::spawn({
            let turn = turns.of(&"widget");
            async move { turn.take().await.map(|mine| mine.waited) }
        });
        tokio::task::yield_now().await;
        assert!(first.end::<()>(Err(Error::unavailable("down"))).is_err());
        assert!(waiting.await.expect("it does not panic").is_err(), "the same failure");
        let later = turn.take().await.expect("a new attempt");
        assert!(!later.waited);
        assert!(later.end(Ok(())).is_ok());
    }
}
