//! Who may stay when there are more connections than places. One that asks for nothing gives way to a new one,
//! the longest idle first, so that idle and half-open connections keep nobody out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long to wait for a place before the longest idle connection is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A connection that has been idle for less may have a request under way, and stays.
const GRACE: Duration = Duration::from_millis(500);

/// All places for connections.
pub(crate) struct Room {
    places: Arc<Semaphore>,
    /// At most so many from one address; 0 is no limit.
    per_address: usize,
    grace: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Connections that ask for nothing, in the order in which that began.
    idle: BTreeMap<u64, (Instant, Arc<Guest>)>,
    next: u64,
    addresses: HashMap<IpAddr, usize>,
}

/// A connection.
#[derive(Default)]
pub(crate) struct Guest {
    leave: Notify,
    /// Whether its client does not take what is written: it is not idle even if its last answer was given.
    pub(crate) is_behind: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: usize,
    /// Its key among the idle ones.
    idle: Option<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    pub(crate) fn new(most: usize, per_address: usize) -> Arc<Self> {
        Self::with_grace(most, per_address, GRACE)
    }

    fn with_grace(most: usize, per_address: usize, grace: Duration) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(most));
        Arc::new(Self { places, per_address, grace, inner: Mutex::default() })
    }

    /// Waits for a place, asking idle connections to leave while there is none.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return place;
            }
            self.ask_one_to_leave();
            let waited = tokio::time::timeout(LOOK_AGAIN, self.places.clone().acquire_owned()).await;
            if let Ok(place) = waited {
                return place.expect("the semaphore is never closed");
            }
        }
    }

    fn ask_one_to_leave(&self) {
        let mut inner = lock(&self.inner);
        let now = Instant::now();
        let long_enough = |since: &Instant| now.saturating_duration_since(*since) >= self.grace;
        let mut candidates = inner.idle.iter().take_while(|(_, (since, _))| long_enough(since));
        let idlest = candidates.find(|(_, (_, guest))| !guest.is_behind.load(Ordering::Relaxed));
        if let Some(key) = idlest.map(|(key, _)| *key)
            && let Some((_, guest)) = inner.idle.remove(&key)
        {
            guest.leave.notify_one();
        }
    }

    /// Lets a connection in; `None` when there are too many from its address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, place: OwnedSemaphorePermit) -> Option<Stay> {
        let mut inner = lock(&self.inner);
        let count = inner.addresses.entry(address).or_insert(0);
        if self.per_address > 0 && *count >= self.per_address {
            return None;
        }
        *count += 1;
        drop(inner);
        let guest = Arc::new(Guest::default());
        self.becomes_idle(&guest, &mut lock(&guest.state));
        Some(Stay { room: self.clone(), guest, address, _place: place })
    }

    fn becomes_idle(&self, guest: &Arc<Guest>, state: &mut State) {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let key = inner.next;
        inner.idle.insert(key, (Instant::now(), guest.clone()));
        state.idle = Some(key);
    }
}

/// A connection's place, until dropped.
pub(crate) struct Stay {
    room: Arc<Room>,
    pub(crate) guest: Arc<Guest>,
    address: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Stay {
    /// Is ready when the connection is to give way. A request that begins at that moment is lost, as it may be on any
    /// connection that was idle for long.
    pub(crate) async fn asked_to_leave(&self) {
        loop {
            self.guest.leave.notified().await;
            if lock(&self.guest.state).requests == 0 {
                return;
            }
        }
    }

    /// What its requests need to know.
    pub(crate) fn host(&self) -> Host {
        Host { room: self.room.clone(), guest: self.guest.clone() }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let idle = lock(&self.guest.state).idle.take();
        let mut inner = lock(&self.room.inner);
        if let Some(key) = idle {
            inner.idle.remove(&key);
        }
        if let Some(count) = inner.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inner.addresses.remove(&self.address);
            }
        }
    }
}

/// Counts the requests of a connection.
#[derive(Clone)]
pub(crate) struct Host {
    room: Arc<Room>,
    guest: Arc<Guest>,
}

impl Host {
    /// A request has begun; it ends when the answer is dropped.
    pub(crate) fn request(&self) -> Busy {
        let mut state = lock(&self.guest.state);
        state.requests += 1;
        if let Some(key) = state.idle.take() {
            lock(&self.room.inner).idle.remove(&key);
        }
        Busy { host: self.clone() }
    }
}

/// A request in flight.
pub(crate) struct Busy {
    host: Host,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.host.guest.state);
        state.requests -= 1;
        if state.requests == 0 {
            self.host.room.becomes_idle(&self.host.guest, &mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_the_busy_stay() {
        let room = Room::with_grace(3, 0, Duration::ZERO);
        let mut stays = Vec::new();
        for _ in 0..3 {
            stays.push(room.enter(ONE, room.place().await).expect("no limit"));
        }
        let busy = stays[0].host().request();
        assert!(room.place().now_or_never().is_none());
        assert!(stays[0].asked_to_leave().now_or_never().is_none(), "it has a request in flight");
        assert!(stays[2].asked_to_leave().now_or_never().is_none(), "it came last");
        assert!(stays[1].asked_to_leave().now_or_never().is_some());
        stays.remove(1);
        drop(busy);
        let _third = room.place().await;
        stays[1].guest.is_behind.store(true, Ordering::Relaxed);
        assert!(room.place().now_or_never().is_none());
        assert!(stays[0].asked_to_leave().now_or_never().is_some(), "the other still takes its answer");
        drop(stays);
        let inner = lock(&room.inner);
        assert!(inner.idle.is_empty() && inner.addresses.is_empty());
    }

    #[tokio::test]
    async fn one_address_has_its_share() {
        let room = Room::new(10, 1);
        let first = room.enter(ONE, room.place().await);
        assert!(first.is_some() && room.enter(ONE, room.place().await).is_none());
        assert!(room.enter([192, 0, 2, 2].into(), room.place().await).is_some());
        drop(first);
        assert!(room.enter(ONE, room.place().await).is_some());
    }
}
