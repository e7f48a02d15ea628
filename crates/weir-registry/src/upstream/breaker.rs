//! When one gives up on a public registry for a while, and when one tries again.
//!
//! Five failures in a row open the breaker for 10 seconds; then one request at a time probes, and the
//! first answer closes it. Those of one path in a row count once, since it may be the trouble of that file alone. A
//! request refused by an open breaker costs the registry nothing.

use crate::aging::still;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_core::Timestamp;

const FAILURES_TO_OPEN: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(10);
/// A probe that never reported back no longer bars the next one after this.
const PROBE_FOR: Duration = Duration::from_secs(60);

/// The state of one connection.
#[derive(Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    failures: u32,
    /// What the last of them was asked for.
    failed_path: Option<String>,
    open_until: Option<Timestamp>,
    probing_until: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    last_failure: Option<String>,
}

/// What the breaker shows of itself.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    /// `up`, `down`, `probing` or `unknown`.
    pub(crate) state: &'static str,
    pub(crate) answered_at: Option<Timestamp>,
    pub(crate) last_failure: Option<String>,
}

/// Leave to ask; tells the breaker how it went. Dropped without a word, because the client left, it lets
/// the next one probe.
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    /// What is asked for.
    path: String,
    told: bool,
}

impl Permit {
    /// The registry answered (a 404 is an answer too); a body may follow, which can still fail.
    pub(crate) fn answered(&mut self, now: Timestamp) {
        self.told = true;
        self.breaker.answered(now);
    }

    /// The whole answer came.
    pub(crate) fn succeeded(&mut self, now: Timestamp) {
        self.answered(now);
        let mut state = crate::topology::lock(&self.breaker.state);
        state.failures = 0;
        state.failed_path = None;
    }

    /// The registry did not answer, said that it cannot, or broke off.
    pub(crate) fn failed(&mut self, now: Timestamp, why: &str) {
        self.told = true;
        self.breaker.failed(now, why, Some(&self.path));
    }

    /// There is no way to the registry, whatever is asked for.
    pub(crate) fn not_reached(&mut self, now: Timestamp, why: &str) {
        self.told = true;
        self.breaker.failed(now, why, None);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.told {
            crate::topology::lock(&self.breaker.state).probing_until = None;
        }
    }
}

impl Breaker {
    /// Leave to ask now for what is at this path; the error says how long to wait and why.
    pub(crate) fn admit(self: &Arc<Self>, now: Timestamp, path: &str) -> Result<Permit, (Duration, String)> {
        let permit = || Permit { breaker: self.clone(), path: path.to_owned(), told: false };
        let mut state = crate::topology::lock(&self.state);
        let Some(until) = state.open_until else { return Ok(permit()) };
        let why = state.last_failure.clone().unwrap_or_default();
        if still(now, until, OPEN_FOR) {
            let wait = Duration::try_from(until.duration_since(now)).unwrap_or(OPEN_FOR);
            return Err((wait.max(Duration::from_secs(1)), why));
        }
        if state.probing_until.is_some_and(|end| still(now, end, PROBE_FOR)) {
            return Err((Duration::from_secs(2), why));
        }
        state.probing_until = now.checked_add(PROBE_FOR).ok();
        Ok(permit())
    }

    fn answered(&self, now: Timestamp) {
        let mut state = crate::topology::lock(&self.state);
        state.open_until = None;
        state.probing_until = None;
        state.answered_at = Some(now);
    }

    fn failed(&self, now: Timestamp, why: &str, path: Option<&str>) {
        let mut state = crate::topology::lock(&self.state);
        if path.is_none() || state.failed_path.as_deref() != path {
            state.failures = state.failures.saturating_add(1);
            state.failed_path = path.map(str::to_owned);
        }
        state.last_failure = Some(why.to_owned());
        state.probing_until = None;
        if state.failures >= FAILURES_TO_OPEN {
            state.open_until = now.checked_add(OPEN_FOR).ok();
        }
    }

    pub(crate) fn health(&self, now: Timestamp) -> Health {
        let state = crate::topology::lock(&self.state).clone();
        let word = match state.open_until {
            Some(until) if still(now, until, OPEN_FOR) => "down",
            Some(_) => "probing",
            None if state.failures > 0 => "probing",
            None if state.answered_at.is_some() => "up",
            None => "unknown",
        };
        Health { state: word, answered_at: state.answered_at, last_failure: state.last_failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    const PATHS: [&str; 5] = ["/a", "/b", "/c", "/d", "/e"];

    fn fail<const COUNT: usize>(breaker: &Arc<Breaker>, seconds: i64, paths: [&str; COUNT]) {
        for path in paths {
            let permit = breaker.admit(at(seconds), path).map_err(|(_, why)| why);
            permit.expect("closed").failed(at(seconds), "refused");
        }
    }

    #[test]
    fn five_failures_open_it_and_one_success_closes_it() {
        let breaker = Arc::new(Breaker::default());
        let admit = |seconds| breaker.admit(at(seconds), "/probe").map_err(|(_, why)| why);
        fail(&breaker, 0, PATHS);
        assert!(admit(1).is_err());
        assert_eq!(breaker.health(at(1)).state, "down");
        let probe = admit(11).expect("one probe");
        assert!(admit(11).is_err(), "and no second beside it");
        drop(probe);
        let mut probe = admit(11).expect("a new one where the first was given up");
        probe.answered(at(12));
        assert!(admit(12).is_ok());
        probe.succeeded(at(12));
        assert_eq!(breaker.health(at(12)).state, "up");
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_it_open() {
        let breaker = Arc::new(Breaker::default());
        fail(&breaker, 10_000, PATHS);
        assert!(breaker.admit(at(10_001), "/f").is_err());
        assert!(breaker.admit(at(5000), "/f").is_ok());
    }

    #[test]
    fn bodies_that_break_off_open_it_although_their_headers_came() {
        let breaker = Arc::new(Breaker::default());
        for path in PATHS {
            let mut permit = breaker.admit(at(0), path).map_err(|(_, why)| why).expect("closed");
            permit.answered(at(0));
            permit.failed(at(0), "broke off");
        }
        assert!(breaker.admit(at(1), "/f").is_err());
    }

    #[test]
    fn one_path_that_fails_again_and_again_counts_once_and_no_connection_each_time() {
        let breaker = Arc::new(Breaker::default());
        fail(&breaker, 0, ["/a"; 20]);
        fail(&breaker, 0, ["/b"; 20]);
        fail(&breaker, 0, ["/a", "/b", "/b", "/b", "/b"]);
        assert!(breaker.admit(at(1), "/f").is_ok(), "four");
        fail(&breaker, 0, ["/c"]);
        assert!(breaker.admit(at(1), "/f").is_err(), "five");
        // The same path as a probe opens it again.
        breaker.admit(at(11), "/c").map_err(|(_, why)| why).expect("a probe").failed(at(11), "refused");
        assert!(breaker.admit(at(12), "/f").is_err());

        let unreached = Arc::new(Breaker::default());
        for _ in 0..5 {
            let permit = unreached.admit(at(0), "/a");
            permit.map_err(|(_, why)| why).expect("closed").not_reached(at(0), "refused");
        }
        assert!(unreached.admit(at(1), "/f").is_err());
    }
}
