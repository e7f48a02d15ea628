//! The order of npm's versions: semantic versioning; what is none (a few old ones) comes below, by text.

use semver::Version;
use std::cmp::Ordering;

/// A place in npm's order; made once where many versions are sorted.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Not a semantic version.
    Text(String),
    /// A semantic version; its build metadata counts last, so that the order is total.
    Semantic(Box<Version>),
}

impl Order {
    /// The place of a version.
    pub(crate) fn of(text: &str) -> Self {
        match parse(text) {
            Some(version) => Self::Semantic(Box::new(version)),
            None => Self::Text(text.to_owned()),
        }
    }
}

/// Compares two versions.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    Order::of(left).cmp(&Order::of(right)).then_with(|| left.cmp(right))
}

/// Whether it is a semantic version and no pre-release.
pub(crate) fn is_stable(text: &str) -> bool {
    parse(text).is_some_and(|version| version.pre.is_empty())
}

/// What npm's `clean` makes of a version: white space, `=` and `v` in front and build metadata are gone,
/// and the loose form `1.2.3beta` gets its hyphen. `None` for what is no version.
pub(crate) fn clean(text: &str) -> Option<String> {
    let mut version = parse(text)?;
    version.build = semver::BuildMetadata::EMPTY;
    Some(version.to_string())
}

/// Whether a word may be a tag: npm refuses those that could be read as a version or a range.
pub(crate) fn is_tag(text: &str) -> bool {
    let as_range = text.trim().trim_start_matches(['v', '=']).trim_start();
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | '#');
    !text.is_empty()
        && text.len() <= 255
        && text.chars().all(plain)
        // As a segment of a path these would lead elsewhere.
        && !matches!(text, "." | "..")
        && !as_range.is_empty()
        && semver::VersionReq::parse(as_range).is_err()
}

fn parse(text: &str) -> Option<Version> {
    // npm reads no version longer than this.
    if text.len() > 256 {
        return None;
    }
    let text = text.trim().trim_start_matches(['=', 'v']).trim_start();
    Version::parse(text).ok().or_else(|| parse_loose(text))
}

/// `1.2.3beta` and `01.2.3`, which npm once took.
fn parse_loose(text: &str) -> Option<Version> {
    let (core, build) = text.split_once('+').unwrap_or((text, ""));
    let mut parts = core.splitn(3, '.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (patch, pre) = rest.split_at_checked(digits)?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<u64>().ok() } else { None }
    };
    let mut version = Version::new(number(major)?, number(minor)?, number(patch)?);
    version.pre = semver::Prerelease::new(pre.strip_prefix('-').unwrap_or(pre)).ok()?;
    version.build = semver::BuildMetadata::new(build).ok()?;
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_npms_order() {
        let ordered = [
            "",
            "1.0",
            "latest",
            "0.0.1",
            "0.9.9beta",
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0",
            "1.0.0+build",
            "v1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn only_releases_are_stable() {
        assert!(is_stable("1.0.0") && is_stable("1.0.0+x"));
        assert!(!is_stable("1.0.0-rc.1") && !is_stable("1.0.0rc1") && !is_stable("one"));
    }

    #[test]
    fn versions_are_cleaned_as_npm_does() {
        let cases = [
            (" =v1.2.3 ", Some("1.2.3")),
            ("1.2.3+b5", Some("1.2.3")),
            ("1.2.3beta", Some("1.2.3-beta")),
            ("01.02.03", Some("1.2.3")),
            ("1.2.3-rc.1+x", Some("1.2.3-rc.1")),
            ("1.2", None),
            ("", None),
            ("1.2.3 - 2", None),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_tag_is_not_a_version_or_range() {
        for tag in ["latest", "next", "beta.1", "release-1.x", "v"] {
            assert_eq!(is_tag(tag), tag != "v", "{tag}");
        }
        for range in ["1.0.0", "v1.2", "1", "^1.0", ">=2", "x", "*", "", "a b", "a/b", ".", ".."] {
            assert!(!is_tag(range), "{range:?}");
        }
    }
}
