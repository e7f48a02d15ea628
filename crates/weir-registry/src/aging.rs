//! What holds for a while, on a clock that may be set back: then it holds no longer than it ever could have.

use std::time::Duration;
use weir_core::Timestamp;

/// Clocks that are kept right by the network go back by a little.
pub(crate) const JITTER: Duration = Duration::from_secs(5);

/// A while after a time.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Whether something noted at a time was noted before now: else the clock was set back since, and its age is unknown.
pub(crate) fn is_past(at: Timestamp, now: Timestamp) -> bool {
    at <= later(now, JITTER)
}

/// Whether something that was to hold for `life` at most holds until then.
pub(crate) fn still(now: Timestamp, until: Timestamp, life: Duration) -> bool {
    now < until && until <= later(now, life + JITTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outlives_a_clock_that_was_set_back() {
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        let (now, life) = (at(1_700_000_000), Duration::from_secs(10));
        let until = later(now, life);
        assert!(still(now, until, life) && !still(until, until, life));
        let set_back = at(1_700_000_000 - 3600);
        assert!(!still(set_back, until, life) && !is_past(now, set_back));
        let by_little = at(1_700_000_000 - 1);
        assert!(still(by_little, until, life) && is_past(now, by_little));
    }
}
