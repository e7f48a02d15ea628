//! When one gives up on a public registry for a while, and when one tries again.
//!
//! Five failures in a row open the breaker for 10 seconds; then one request at a time probes, and the
//! first success closes it. A request refused by an open breaker costs the registry nothing.

use std::sync::Mutex;
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

impl Breaker {
    /// Whether a request may go out now; the error says how long to wait and why.
    pub(crate) fn admit(&self, now: Timestamp) -> Result<(), (Duration, String)> {
        let mut state = crate::topology::lock(&self.state);
        let Some(until) = state.open_until else { return Ok(()) };
        let why = state.last_failure.clone().unwrap_or_default();
        if now < until {
            let wait = Duration::try_from(until.duration_since(now)).unwrap_or(OPEN_FOR);
            return Err((wait.max(Duration::from_secs(1)), why));
        }
        if state.probing_until.is_some_and(|end| now < end) {
            return Err((Duration::from_secs(2), why));
        }
        state.probing_until = now.checked_add(PROBE_FOR).ok();
        Ok(())
    }

    /// The registry answered (a 404 is an answer too).
    pub(crate) fn succeeded(&self, now: Timestamp) {
        let mut state = crate::topology::lock(&self.state);
        *state =
            State { answered_at: Some(now), last_failure: state.last_failure.take(), ..State::default() };
    }

    /// The registry did not answer, or said that it cannot.
    pub(crate) fn failed(&self, now: Timestamp, why: &str) {
        let mut state = crate::topology::lock(&self.state);
        state.failures = state.failures.saturating_add(1);
        state.last_failure = Some(why.to_owned());
        state.probing_until = None;
        if state.failures >= FAILURES_TO_OPEN {
            state.open_until = now.checked_add(OPEN_FOR).ok();
        }
    }

    pub(crate) fn health(&self, now: Timestamp) -> Health {
        let state = crate::topology::lock(&self.state).clone();
        let word = match state.open_until {
            Some(until) if now < until => "down",
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

    #[test]
    fn five_failures_open_it_and_one_success_closes_it() {
        let breaker = Breaker::default();
        for _ in 0..5 {
            assert!(breaker.admit(at(0)).is_ok());
            breaker.failed(at(0), "refused");
        }
        assert!(breaker.admit(at(1)).is_err());
        assert_eq!(breaker.health(at(1)).state, "down");
        assert!(breaker.admit(at(11)).is_ok(), "one probe");
        assert!(breaker.admit(at(11)).is_err(), "and no second beside it");
        breaker.succeeded(at(12));
        assert!(breaker.admit(at(12)).is_ok());
        assert_eq!(breaker.health(at(12)).state, "up");
    }
}
