//! Versions as PEP 440 says: stored as they were published; identified, ordered and looked up by their
//! normal form, in which equal versions are the same text (`1.0`, `v1.0.0` and `1` are one).

use std::cmp::Ordering;
use std::str::FromStr;
use weir_core::name::shown;
use weir_core::{Error, Result, Version};

/// Reads a version in any spelling. Errors: Invalid for what PEP 440 does not call a version.
pub(crate) fn parse(text: &str) -> Result<Version> {
    match read(text) {
        Some(version) => Version::with_key(text, &normal_form(version)),
        None => Err(Error::invalid(
            "version",
            format_args!("'{}' is not a version by PEP 440, such as 1.0, 2.1.post1 or 3.0rc1", shown(text)),
        )),
    }
}

/// Puts two normal forms in the order of PEP 440; what is none comes first.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    order(left).cmp(&order(right)).then_with(|| left.cmp(right))
}

/// What a version is sorted by.
pub(crate) fn order(text: &str) -> Option<pep440_rs::Version> {
    read(text)
}

/// Whether a version is neither a pre-release nor a development release.
pub(crate) fn is_stable(text: &str) -> bool {
    read(text).is_some_and(|version| version.is_stable())
}

fn read(text: &str) -> Option<pep440_rs::Version> {
    if text.len() > 255 || text.trim() != text {
        return None;
    }
    pep440_rs::Version::from_str(text).ok()
}

/// Zeros at the end of the release say nothing.
fn normal_form(version: pep440_rs::Version) -> String {
    let release = version.release();
    let kept = release.iter().rposition(|part| *part != 0).map_or(1, |last| last + 1).min(release.len());
    if kept == release.len() {
        return version.to_string();
    }
    let release = release[..kept].to_vec();
    version.with_release(release).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_versions_have_one_normal_form() {
        let cases = [
            ("1.0", "1"),
            ("v1.0.0", "1"),
            ("1", "1"),
            ("0.0", "0"),
            ("1.0-Beta", "1b0"),
            ("1.0.0b0", "1b0"),
            ("1.0.post1", "1.post1"),
            ("1.0-1", "1.post1"),
            ("1!2.0.1", "1!2.0.1"),
            ("2.10.0+Ubuntu-1", "2.10+ubuntu.1"),
            ("1.0.dev3", "1.dev3"),
            ("1.0c4", "1rc4"),
            ("00001.01", "1.1"),
        ];
        for (text, expected) in cases {
            let version = parse(text).unwrap();
            assert_eq!((&**version.key(), version.as_str()), (expected, text));
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let long = "1.".repeat(200);
        for text in ["", " 1.0", "1.0\n", "1/0", "latest", "1..0", "1.0-", "..", "1.0+", "2004d", "é", &long]
        {
            assert!(matches!(parse(text), Err(Error::Invalid { .. })), "{text:?}");
        }
        assert!(parse("99999999999999999999999").is_err());
    }

    #[test]
    fn versions_are_in_the_order_of_pep_440() {
        let ordered = [
            "1.dev1",
            "1a1.dev1",
            "1a1",
            "1b2",
            "1rc1",
            "1",
            "1+abc",
            "1+1",
            "1.post1.dev1",
            "1.post1",
            "1.1",
            "1.10",
            "1!0.1",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare("1.0", "1.0"), Ordering::Equal);
        assert!(is_stable("1.0.post1") && !is_stable("1.0rc1") && !is_stable("1.0.dev1") && !is_stable("x"));
    }
}
