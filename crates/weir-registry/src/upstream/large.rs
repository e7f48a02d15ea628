//! Turns for large index documents of public registries: two of them are in memory at a time, from their bodies until
//! they are read, and on until an index was made of them. Who waits holds none of their bytes, and asks again after.

use super::client::FetchError;
use crate::topology::lock;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Documents of more bytes than this are large.
pub(crate) const LARGE: usize = 8 << 20;
/// So are those of more bytes than this in gzip, whatever they are going to be.
pub(super) const LARGE_PACKED: usize = 1 << 20;
/// How many may be in memory.
const TURNS: usize = 2;
/// How long a request waits for a turn. One takes as long as its registry takes to send the document.
const PATIENCE: Duration = Duration::from_secs(120);

/// The turns there are.
pub(super) struct LargeTurns(Arc<Semaphore>);

impl Default for LargeTurns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TURNS)))
    }
}

/// What one request has of them. Nothing that another request holds is waited for while it has one, but a turn to
/// render: that comes last.
#[derive(Default)]
pub(crate) struct LargeTurn {
    held: Mutex<Option<OwnedSemaphorePermit>>,
    /// Whether none is needed, because the request has a turn to render what it reads.
    renders: bool,
}

impl LargeTurn {
    /// That of a request which has a turn to render a large index, and reads what is on the disk.
    pub(crate) fn of_renderer() -> Self {
        Self { held: Mutex::default(), renders: true }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.renders || lock(&self.held).is_some()
    }

    /// Hands it on.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        lock(&self.held).take()
    }

    /// Has one, if there is one now.
    pub(super) fn try_hold(&self, turns: &LargeTurns) -> bool {
        if self.is_held() {
            return true;
        }
        let Ok(turn) = turns.0.clone().try_acquire_owned() else { return false };
        lock(&self.held).replace(turn);
        true
    }

    /// Asks for a document. `ask` gives `None` where it is large and there is no turn for it now; then it is asked once
    /// more, with one.
    pub(super) async fn ask<T, F>(&self, turns: &LargeTurns, ask: impl Fn() -> F) -> Result<T, FetchError>
    where
        F: Future<Output = Result<Option<T>, FetchError>>,
    {
        if let Some(told) = ask().await? {
            return Ok(told);
        }
        // What was left unread would hold up all else on its connection, and its registry would cut it.
        self.hold(turns).await?;
        ask().await?.ok_or_else(|| FetchError::unavailable("this server lost its turn to read it"))
    }

    /// Waits for one.
    pub(super) async fn hold(&self, turns: &LargeTurns) -> Result<(), FetchError> {
        if self.is_held() {
            return Ok(());
        }
        let turn = tokio::time::timeout(PATIENCE, turns.0.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(turn)) = turn else {
            return Err(FetchError::unavailable(format!(
                "it is large, {TURNS} large ones are read at a time, and none of them ended within {} s",
                PATIENCE.as_secs()
            )));
        };
        lock(&self.held).replace(turn);
        Ok(())
    }
}
