//! Wildcards: `*` is any run of characters, `?` any one. Matching needs no memory but one place to go
//! back to, and at most pattern times text steps.

use std::str::Chars;

/// Whether `text` is one that `pattern` describes; case matters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    matches_by(pattern, text, |want, have| want == have)
}

/// As [`matches()`], but `a` is also `A`.
pub(super) fn matches_ignoring_case(pattern: &str, text: &str) -> bool {
    matches_by(pattern, text, |want, have| want.eq_ignore_ascii_case(&have))
}

fn matches_by(pattern: &str, text: &str, same: impl Fn(char, char) -> bool) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // The pattern after the last star, and the text from which it was last tried.
    let mut retry: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut pattern_rest, mut text_rest) = (pattern.clone(), text.clone());
        match (pattern_rest.next(), text_rest.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((pattern_rest.clone(), text.clone()));
                pattern = pattern_rest;
            }
            (Some(want), Some(have)) if want == '?' || same(want, have) => {
                pattern = pattern_rest;
                text = text_rest;
            }
            _ => {
                let Some((after_star, tried_from)) = &mut retry else { return false };
                if tried_from.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                text = tried_from.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_what_it_should() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "é", true),
            ("??", "é", false),
            ("*??", "€", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abc", "ABC", false),
            ("a*c", "ac", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("a*b*c", "aXbYbZc", true),
            ("*lodash", "package/d/r/npm//lodash", true),
            ("a**c", "abc", true),
            ("*a*", "bbb", false),
            ("a?c*", "abc", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(matches_ignoring_case("CodeArtifact:get*", "codeartifact:GetRepositoryEndpoint"));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }
}
