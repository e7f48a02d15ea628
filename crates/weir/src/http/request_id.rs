//! The identifier of a request, a random UUID as AWS's are: in the answer (`x-amzn-RequestId`) and in the log.

use http::HeaderValue;
use std::cell::RefCell;
use weir_core::{Secrets, SystemSecrets};

/// 36 characters, kept without an allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId([u8; 36]);

impl RequestId {
    /// A new one.
    pub(crate) fn new() -> Self {
        let mut bytes = RANDOM.with_borrow_mut(Random::take);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = [b'-'; 36];
        let places = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        for (byte, place) in bytes.into_iter().zip(places) {
            text[place] = HEX[usize::from(byte >> 4)];
            text[place + 1] = HEX[usize::from(byte & 0x0f)];
        }
        Self(text)
    }

    /// The one that the control API gave its answer, if it is of this form.
    pub(crate) fn of_header(value: &HeaderValue) -> Option<Self> {
        let text: [u8; 36] = value.as_bytes().try_into().ok()?;
        text.is_ascii().then_some(Self(text))
    }

    /// The identifier as text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits and hyphens are ASCII")
    }

    /// The identifier as a header.
    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("hex digits and hyphens are a header value")
    }
}

/// Random bytes for many identifiers: to ask the system for those of each would cost more than all the rest of it.
struct Random {
    bytes: [u8; 16 * 64],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { bytes: [0; 16 * 64], used: 16 * 64 }) };
}

impl Random {
    fn take(&mut self) -> [u8; 16] {
        if self.used == self.bytes.len() {
            SystemSecrets.fill(&mut self.bytes);
            self.used = 0;
        }
        let mut taken = [0; 16];
        taken.copy_from_slice(&self.bytes[self.used..self.used + 16]);
        self.used += 16;
        taken
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_random_uuid() {
        let (one, other) = (RequestId::new(), RequestId::new());
        assert_ne!(one.as_str(), other.as_str());
        let lengths: Vec<usize> = one.as_str().split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&one.as_str()[14..15], "4");
        let many: std::collections::HashSet<_> = (0..200).map(|_| RequestId::new().0).collect();
        assert_eq!(many.len(), 200);
    }
}
