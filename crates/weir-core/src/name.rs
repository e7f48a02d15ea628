//! Names of accounts, domains, repositories and external connections: parsed once, valid ever after.

use crate::error::{Error, Result};
use std::fmt;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// Twelve digits.
    AccountId
);
name_type!(
    /// `[a-z][a-z0-9\-]{0,48}[a-z0-9]`.
    DomainName
);
name_type!(
    /// `[A-Za-z0-9][A-Za-z0-9._\-]{1,99}`.
    RepositoryName
);
name_type!(
    /// `[A-Za-z0-9][A-Za-z0-9._\-:]{1,99}`, such as `public:npmjs`.
    ConnectionName
);

impl AccountId {
    /// Parses twelve digits; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(field, format_args!("'{}' is not an account id of 12 digits", shown(text))))
    }
}

impl DomainName {
    /// Parses a domain name; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let valid = (2..=50).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(inner)
            && bytes[bytes.len() - 1] != b'-';
        if valid {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(
            field,
            format_args!(
                "'{}' is not a domain name: 2 to 50 of a-z, 0-9 and '-', beginning with a letter and not ending in '-'",
                shown(text)
            ),
        ))
    }
}

fn letters_then(text: &str, extra: &[u8]) -> bool {
    let bytes = text.as_bytes();
    (2..=100).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || extra.contains(b))
}

impl RepositoryName {
    /// Parses a repository name; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if letters_then(text, b"._-") {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(
            field,
            format_args!(
                "'{}' is not a repository name: 2 to 100 of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
                shown(text)
            ),
        ))
    }
}

impl ConnectionName {
    /// Parses an external connection's name; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if letters_then(text, b"._-:") {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(
            field,
            format_args!("'{}' is not the name of an external connection", shown(text)),
        ))
    }
}

/// Foreign text made fit for an error message: control characters replaced, at most 100 characters.
pub fn shown(text: &str) -> String {
    let mut out: String =
        text.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(100).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: fmt::Display>(parse: fn(&str, &str) -> Result<T>, accepted: &[&str], refused: &[&str]) {
        for text in accepted {
            assert_eq!(parse("name", text).expect(text).to_string(), *text);
        }
        for text in refused {
            let Err(error) = parse("name", text) else { panic!("'{text}' is accepted") };
            assert!(error.to_string().starts_with("name: '"), "{error}");
        }
    }

    #[test]
    fn an_account_is_twelve_digits() {
        check(
            AccountId::parse,
            &["000000000000", "123456789012"],
            &["", "12345678901", "1234567890123", "12345678901a", "１23456789"],
        );
    }

    #[test]
    fn a_domain_has_2_to_50_of_its_characters() {
        let longest = "d".repeat(50);
        check(
            DomainName::parse,
            &["ab", "my-domain", "a1", &longest],
            &["", "a", "1a", "-a", "a-", "Ab", "a_b", "a.b", "ä1", &format!("{longest}d")],
        );
    }

    #[test]
    fn a_repository_has_2_to_100_of_its_characters() {
        let longest = "R".repeat(100);
        check(
            RepositoryName::parse,
            &["ab", "My.repo_1-x", "1a", "a.", &longest],
            &["", "a", ".a", "_a", "-a", "a/b", "a:b", "a b", "..", &format!("{longest}R")],
        );
    }

    #[test]
    fn a_connection_may_have_colons() {
        check(
            ConnectionName::parse,
            &["public:npmjs", "own"],
            &["", ":npmjs", "public:npmjs/x", "public npmjs"],
        );
    }

    #[test]
    fn foreign_text_is_made_fit_to_show() {
        assert_eq!(shown("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(shown(&"é".repeat(101)), "é".repeat(100) + "…");
    }
}
