//! Log lines without tokens: whatever a line is about and whoever wrote it, a token in it is blotted out
//! before it leaves.

use std::borrow::Cow;

/// How every token begins.
const PREFIX: &[u8] = b"weir_";
/// Fewer letters behind the prefix are a module's name; a token has 43.
const FEWEST: usize = 20;

/// Whole lines, one or many, without the tokens in them.
pub(super) fn redact(line: &[u8]) -> Cow<'_, [u8]> {
    let mut clean = Vec::new();
    let mut rest = line;
    while let Some(at) = memchr::memmem::find(rest, PREFIX) {
        let begin = at + PREFIX.len();
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        let length = rest[begin..].iter().take_while(|byte| is_letter(byte)).count();
        clean.extend_from_slice(&rest[..begin]);
        if length < FEWEST {
            clean.extend_from_slice(&rest[begin..begin + length]);
        } else {
            clean.extend_from_slice(b"(redacted)");
        }
        rest = &rest[begin + length..];
    }
    if clean.is_empty() {
        return Cow::Borrowed(line);
    }
    clean.extend_from_slice(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&redact(line.as_bytes())), expected);
    }

    #[test]
    fn tokens_are_blotted_out_and_the_rest_stays() {
        let token = "weir_kAsCyWncV2HarBEOAuJ-JJ1DJn8zrtELpfzlsqPxny4";
        check("INFO weir_registry::upstream: asked", "INFO weir_registry::upstream: asked");
        check(&format!("path=\"/{token}/x\" a"), "path=\"/weir_(redacted)/x\" a");
        check(&format!("{token} {token}"), "weir_(redacted) weir_(redacted)");
        check(&format!("weir_store weir_weir_ {token}"), "weir_store weir_weir_ weir_(redacted)");
        check("", "");
    }
}
