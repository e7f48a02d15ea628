//! Identifiers: UUID version 7 (RFC 9562, 5.7) as text, so that rows made later sort later.

use crate::rows::Id;
use weir_core::{Clock, Secrets, Timestamp};

/// A new identifier.
pub fn new_id(clock: &dyn Clock, secrets: &dyn Secrets) -> Id {
    let mut random = [0; 8];
    secrets.fill(&mut random);
    uuid_v7(clock.now(), u64::from_be_bytes(random)).into()
}

/// 48 bits of milliseconds, 12 bits of the fraction of a millisecond (6.2, method 3), 62 bits of `tail`.
pub(crate) fn uuid_v7(at: Timestamp, tail: u64) -> String {
    let micros = u64::try_from(at.as_microsecond()).unwrap_or(0);
    let millis = (micros / 1000) & 0xffff_ffff_ffff;
    let fraction = (micros % 1000) * 4096 / 1000;
    let tail = (tail >> 2) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-7{fraction:03x}-{:04x}-{:012x}",
        millis >> 16,
        millis & 0xffff,
        tail >> 48,
        tail & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_the_form_of_the_standard_and_sort_by_time() {
        let at = |micros| Timestamp::from_microsecond(micros).expect("in range");
        let early = uuid_v7(at(1_700_000_000_000_001), u64::MAX);
        let late = uuid_v7(at(1_700_000_000_000_002), 0);
        assert_eq!(early, "018bcfe5-6800-7004-bfff-ffffffffffff");
        assert_eq!(late, "018bcfe5-6800-7008-8000-000000000000");
        assert!(early < late);
    }
}
