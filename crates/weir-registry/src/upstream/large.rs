//! Turns for large index documents of public registries: two of them are in memory at a time, from their bodies until
//! they are read, and on until an index was made of them. Who waits holds none of their bytes, and asks again after.

use super::client::FetchError;
use crate::topology::lock;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Documents of more bytes than this are large.
pub(crate) const LARGE: usize = 8 << 20;
/// So are those of more bytes than this in gzip, whatever they are going to be.
pub(super) const LARGE_PACKED: usize = 1 << 20;
/// How many may be in memory.
const TURNS: usize = 2;
/// How long a request waits for a turn.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a large document may be on its way, while others wait for its turn: no longer than they do.
const TRANSFER: Duration = PATIENCE;

/// The turns there are.
pub(super) struct LargeTurns(Arc<Semaphore>);

impl Default for LargeTurns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TURNS)))
    }
}

/// The place for the one large document that one connection may have on its way: a slow registry takes one turn, and
/// leaves the other. It is taken before a turn, everywhere.
pub(crate) struct LargePlace(Arc<Semaphore>);

impl Default for LargePlace {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// What one request has of them. Nothing that another request holds is waited for while it has a turn, but a turn to
/// render: that comes last.
#[derive(Default)]
pub(crate) struct LargeTurn(Mutex<Has>);

#[derive(Default)]
enum Has {
    #[default]
    Nothing,
    /// A turn to render what it reads from the disk; it needs no other.
    TurnToRender,
    /// With the place, while it receives from a registry.
    Turn { turn: OwnedSemaphorePermit, place: Option<OwnedSemaphorePermit> },
}

impl LargeTurn {
    /// That of a request which has a turn to render a large index, and reads what is on the disk.
    pub(crate) fn of_renderer() -> Self {
        Self(Mutex::new(Has::TurnToRender))
    }

    /// Whether it may have a large document.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(*lock(&self.0), Has::Nothing)
    }

    /// Hands its turn on.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        let mut has = lock(&self.0);
        match std::mem::take(&mut *has) {
            Has::Turn { turn, .. } => Some(turn),
            other => {
                *has = other;
                None
            }
        }
    }

    /// Has one to read what is on the disk, if there is one now.
    pub(super) fn try_hold(&self, turns: &LargeTurns) -> bool {
        let mut has = lock(&self.0);
        if let Has::Nothing = *has {
            let Ok(turn) = turns.0.clone().try_acquire_owned() else { return false };
            *has = Has::Turn { turn, place: None };
        }
        true
    }

    /// Waits for one to read what is on the disk.
    pub(super) async fn hold(&self, turns: &LargeTurns) -> Result<(), FetchError> {
        if self.is_held() {
            return Ok(());
        }
        let turn = in_patience(turns.0.clone().acquire_owned()).await?;
        *lock(&self.0) = Has::Turn { turn, place: None };
        Ok(())
    }
}

/// A request that receives from a registry.
#[derive(Clone, Copy)]
pub(super) struct Receiver<'a> {
    pub(super) large: &'a LargeTurn,
    pub(super) turns: &'a LargeTurns,
    pub(super) place: &'a LargePlace,
}

impl Receiver<'_> {
    /// Whether it may receive a large document.
    pub(super) fn may(&self) -> bool {
        !matches!(*lock(&self.large.0), Has::Nothing | Has::Turn { place: None, .. })
    }

    /// The same, after it has taken what it needs for that, if there is that now.
    pub(super) fn try_to(&self) -> bool {
        if self.may() {
            return true;
        }
        let Ok(place) = self.place.0.clone().try_acquire_owned() else { return false };
        if !self.large.try_hold(self.turns) {
            return false;
        }
        if let Has::Turn { place: of_turn, .. } = &mut *lock(&self.large.0) {
            *of_turn = Some(place);
        }
        true
    }

    /// Waits for what it needs.
    async fn wait(&self) -> Result<(), FetchError> {
        if self.may() {
            return Ok(());
        }
        // The place comes first.
        drop(self.large.take());
        let (place, turn) = in_patience(async {
            let place = self.place.0.clone().acquire_owned().await?;
            Ok((place, self.turns.0.clone().acquire_owned().await?))
        })
        .await?;
        *lock(&self.large.0) = Has::Turn { turn, place: Some(place) };
        Ok(())
    }

    /// Asks for a document. `ask` gives `None` where it is large and there is no turn for it now; then it is asked once
    /// more, with one. After, the turn is there still where it is large, and the place is free for the next.
    pub(super) async fn ask<T, F>(&self, ask: impl Fn() -> F) -> Result<T, FetchError>
    where
        F: Future<Output = Result<Option<T>, FetchError>>,
    {
        let asked = async {
            if let Some(told) = ask().await? {
                return Ok(told);
            }
            // What was left unread would hold up all else on its connection, and its registry would cut it.
            self.wait().await?;
            ask().await?.ok_or_else(|| FetchError::unavailable("this server lost its turn to read it"))
        };
        let asked = asked.await;
        if let Has::Turn { place, .. } = &mut *lock(&self.large.0) {
            *place = None;
        }
        asked
    }
}

async fn in_patience<T>(
    turn: impl Future<Output = Result<T, tokio::sync::AcquireError>>,
) -> Result<T, FetchError> {
    match tokio::time::timeout(PATIENCE, turn).await {
        Ok(Ok(turn)) => Ok(turn),
        // The semaphores are never closed.
        Ok(Err(_)) | Err(_) => Err(FetchError::unavailable(format!(
            "it is large, {TURNS} large ones are read at a time, one of each connection, and its turn did not come \
             within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// When a large document must be here.
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// There is one for who holds up others.
    pub(super) fn of(receiver: &Receiver<'_>) -> Self {
        let mut deadline = Self(None);
        if receiver.may() {
            deadline.begin();
        }
        deadline
    }

    /// From now on others may wait.
    pub(super) fn begin(&mut self) {
        self.0.get_or_insert_with(|| Instant::now() + TRANSFER);
    }

    /// Waits no longer than that; the error is why.
    pub(super) async fn meet<T>(&self, next: impl Future<Output = T>) -> Result<T, String> {
        let Some(end) = self.0 else { return Ok(next.await) };
        tokio::time::timeout_at(end, next).await.map_err(|_| {
            format!(
                "it is large, and did not come within the {} s for which others wait for its turn",
                TRANSFER.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::cell::Cell;

    fn receiver<'a>(large: &'a LargeTurn, turns: &'a LargeTurns, place: &'a LargePlace) -> Receiver<'a> {
        Receiver { large, turns, place }
    }

    #[tokio::test]
    async fn one_connection_never_has_both_turns_on_their_way() {
        let (turns, slow, other) = (LargeTurns::default(), LargePlace::default(), LargePlace::default());
        let (one, two, three, disk) =
            (LargeTurn::default(), LargeTurn::default(), LargeTurn::default(), LargeTurn::default());
        assert!(receiver(&one, &turns, &slow).try_to());
        assert!(!receiver(&two, &turns, &slow).try_to());
        assert!(!two.is_held());
        let second = receiver(&two, &turns, &slow);
        let mut waits = Box::pin(second.wait());
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(receiver(&three, &turns, &other).try_to(), "who waits for a place has no turn");
        assert!(!disk.try_hold(&turns));
        drop(three.take());
        assert!(disk.try_hold(&turns), "what is on the disk needs no place");
        drop((disk, one));
        waits.await.unwrap();
        assert!(receiver(&two, &turns, &slow).may());
    }

    #[tokio::test]
    async fn a_turn_stays_after_the_document_came_and_the_place_is_free() {
        let (turns, place) = (LargeTurns::default(), LargePlace::default());
        let (large, next) = (LargeTurn::default(), LargeTurn::default());
        let here = receiver(&large, &turns, &place);
        here.ask(|| async { Ok(here.try_to().then_some(())) }).await.unwrap();
        assert!(large.is_held() && !here.may());
        assert!(receiver(&next, &turns, &place).try_to());
        // One that asks with a turn and no place lets it go before it waits.
        let mut waits = Box::pin(here.wait());
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(turns.0.available_permits(), 1);
        drop(next);
        waits.await.unwrap();
        assert!(here.may());
    }

    #[tokio::test]
    async fn a_document_is_asked_for_twice_at_most() {
        let (turns, place, large) = (LargeTurns::default(), LargePlace::default(), LargeTurn::default());
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            async { Ok(None::<()>) }
        };
        assert!(receiver(&large, &turns, &place).ask(ask).await.is_err());
        assert_eq!(asked.get(), 2);
    }

    #[tokio::test]
    async fn a_large_document_has_a_time_in_all_and_a_small_one_has_none() {
        let small = Deadline(None);
        assert!(small.meet(tokio::time::sleep(Duration::from_millis(20))).await.is_ok());
        let late = Deadline(Some(Instant::now() + Duration::from_millis(20)));
        let why = late.meet(std::future::pending::<()>()).await.unwrap_err();
        assert!(why.contains("120 s"), "{why}");

        let (turns, place, large) = (LargeTurns::default(), LargePlace::default(), LargeTurn::default());
        let here = receiver(&large, &turns, &place);
        assert!(Deadline::of(&here).0.is_none());
        assert!(here.try_to());
        assert!(Deadline::of(&here).0.is_some());
    }
}
