//! Decoding the data of one attachment while it passes: base64 (RFC 4648, canonical, padded) or text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_core::error::Result;

/// Characters decoded at once; a multiple of four.
const STEP: usize = 8 << 10;

/// The state between two pieces.
pub(super) enum Decoder {
    Base64 {
        /// Characters of a group of four that is not complete.
        partial: Vec<u8>,
        /// Whether the padding has come, after which nothing may.
        is_padded: bool,
    },
    Text {
        /// Bytes of a character that is not complete.
        partial: Vec<u8>,
    },
}

impl Default for Decoder {
    fn default() -> Self {
        Self::Base64 { partial: Vec::new(), is_padded: false }
    }
}

impl Decoder {
    /// npm sends provenance bundles (`.sigstore`) as JSON text and all else as base64.
    pub(super) fn of(name: &str) -> Self {
        if name.ends_with(".sigstore") { Self::Text { partial: Vec::new() } } else { Self::default() }
    }

    /// Decodes the next piece. The outer error is the receiver's, the inner names the rule that the
    /// data breaks.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        give: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Result<(), &'static str>> {
        match self {
            Self::Base64 { partial, is_padded } => feed_base64(partial, is_padded, bytes, give),
            Self::Text { partial } => {
                if !is_utf8_so_far(partial, bytes) {
                    return Ok(Err("is not UTF-8"));
                }
                give(bytes).map(Ok)
            }
        }
    }

    /// Whether the data may end here.
    pub(super) fn finish(&self) -> Result<(), &'static str> {
        match self {
            Self::Base64 { partial, .. } if !partial.is_empty() => Err("is base64 cut short"),
            Self::Text { partial } if !partial.is_empty() => Err("is not UTF-8"),
            Self::Base64 { .. } | Self::Text { .. } => Ok(()),
        }
    }
}

fn feed_base64(
    partial: &mut Vec<u8>,
    is_padded: &mut bool,
    mut bytes: &[u8],
    give: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Result<(), &'static str>> {
    while !bytes.is_empty() {
        if *is_padded {
            return Ok(Err("goes on after its base64 padding"));
        }
        let result = if partial.is_empty() && bytes.len() >= 4 {
            let (groups, later) = bytes.split_at((bytes.len() / 4 * 4).min(STEP));
            bytes = later;
            *is_padded = groups.ends_with(b"=");
            decode_groups::<{ STEP / 4 * 3 }>(groups, give)?
        } else {
            // Data in escapes comes a character at a time, so this must stay cheap.
            let (now, later) = bytes.split_at(bytes.len().min(4 - partial.len()));
            partial.extend_from_slice(now);
            bytes = later;
            if partial.len() < 4 {
                break;
            }
            *is_padded = partial.ends_with(b"=");
            let result = decode_groups::<3>(partial, give)?;
            partial.clear();
            result
        };
        if result.is_err() {
            return Ok(result);
        }
    }
    Ok(Ok(()))
}

fn decode_groups<const MOST: usize>(
    groups: &[u8],
    give: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Result<(), &'static str>> {
    let mut decoded = [0; MOST];
    match STANDARD.decode_slice(groups, &mut decoded) {
        Ok(count) => give(&decoded[..count]).map(Ok),
        Err(_) => Ok(Err("is not base64")),
    }
}

/// Whether `bytes` can go on after `partial`, which then holds the start of the last character.
fn is_utf8_so_far(partial: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let (false, Some((byte, after))) = (partial.is_empty(), rest.split_first()) {
        partial.push(*byte);
        rest = after;
        match std::str::from_utf8(partial) {
            Ok(_) => partial.clear(),
            Err(error) if error.error_len().is_some() => return false,
            Err(_) => {}
        }
    }
    match std::str::from_utf8(rest) {
        Ok(_) => true,
        Err(error) if error.error_len().is_some() => false,
        Err(error) => {
            partial.extend_from_slice(&rest[error.valid_up_to()..]);
            true
        }
    }
}
