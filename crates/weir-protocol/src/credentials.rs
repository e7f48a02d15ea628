//! Which token a package manager presented, in any of the ways they have (`weir.md` section 3). The
//! user name of Basic is ignored: clients send `aws`, `token`, `__token__` and others.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, HeaderMap};
use std::fmt;

const MAX_TOKEN_BYTES: usize = 4096;

const BASIC: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What came with a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// Nothing, or an empty password or token.
    Missing,
    /// Something that cannot hold a token; the text says what is wrong with it.
    Malformed(&'static str),
    /// A token, not yet looked up. It is printable ASCII of at most 4096 bytes.
    Token(String),
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Missing"),
            Self::Malformed(why) => write!(f, "Malformed({why:?})"),
            Self::Token(_) => f.write_str("Token(…)"),
        }
    }
}

/// Finds the token: `Authorization: Bearer T`, bare `T` (Cargo), `Basic ANYUSER:T`, and where these
/// are missing `X-NuGet-ApiKey: T`.
pub fn bearer(headers: &HeaderMap) -> Presented {
    match authorization(headers) {
        Presented::Missing => match headers.get("x-nuget-apikey") {
            Some(value) => token(value.as_bytes()),
            None => Presented::Missing,
        },
        presented => presented,
    }
}

fn authorization(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Presented::Missing };
    if values.next().is_some() {
        return Presented::Malformed("there is more than one Authorization header");
    }
    let value = value.as_bytes().trim_ascii();
    let split = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(split);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"Bearer") {
        return token(rest);
    }
    if scheme.eq_ignore_ascii_case(b"Basic") {
        return basic(rest);
    }
    if scheme.starts_with(b"AWS4-") {
        return Presented::Malformed(
            "the request is signed with AWS keys, where a package endpoint wants a token",
        );
    }
    if !rest.is_empty() {
        return Presented::Malformed(
            "the Authorization header is neither Bearer, nor Basic, nor a bare token",
        );
    }
    token(scheme)
}

fn basic(encoded: &[u8]) -> Presented {
    if encoded.is_empty() {
        return Presented::Missing;
    }
    if encoded.len() > 2 * MAX_TOKEN_BYTES {
        return Presented::Malformed("the Basic credential is too long");
    }
    let Ok(pair) = BASIC.decode(encoded) else {
        return Presented::Malformed("the Basic credential is not base64");
    };
    let Some(colon) = pair.iter().position(|byte| *byte == b':') else {
        return Presented::Malformed("the Basic credential has no ':' between user and password");
    };
    token(&pair[colon + 1..])
}

fn token(bytes: &[u8]) -> Presented {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() {
        return Presented::Missing;
    }
    if bytes.len() > MAX_TOKEN_BYTES {
        return Presented::Malformed("the token is too long");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Presented::Token(text.into()),
        _ => Presented::Malformed("the token has characters that no token has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use http::HeaderValue;

    fn check(name: &'static str, value: &str, expected: Presented) {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        assert!(bearer(&headers) == expected, "{name}: {value} gave {:?}", bearer(&headers));
    }

    fn found() -> Presented {
        Presented::Token("weir_a.b~c-d_9".into())
    }

    #[test]
    fn every_client_finds_a_way_to_present_its_token() {
        let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:weir_a.b~c-d_9")));
        check("authorization", "Bearer weir_a.b~c-d_9", found());
        check("authorization", "bearer   weir_a.b~c-d_9 ", found());
        check("authorization", "weir_a.b~c-d_9", found());
        for user in ["aws", "token", "__token__", ""] {
            check("authorization", &basic(user), found());
            check("authorization", basic(user).trim_end_matches('='), found());
        }
        check("x-nuget-apikey", "weir_a.b~c-d_9", found());
    }

    #[test]
    fn an_empty_password_is_a_missing_token() {
        check("authorization", "Basic YXdzOg==", Presented::Missing);
        for value in ["", "Bearer", "Bearer ", "Basic"] {
            check("authorization", value, Presented::Missing);
        }
        assert_eq!(bearer(&HeaderMap::new()), Presented::Missing);
    }

    #[test]
    fn what_cannot_hold_a_token_is_malformed() {
        for value in [
            "Basic !!!",
            "Basic YXdz",
            "Digest username=x",
            "Bearer a b",
            "AWS4-HMAC-SHA256 Credential=x",
            &format!("Bearer {}", "a".repeat(5000)),
            &format!("Basic {}", "a".repeat(9000)),
            &format!("Basic {}", STANDARD.encode("u:a\r\nb")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            assert!(matches!(bearer(&headers), Presented::Malformed(_)), "{value}");
        }
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert!(matches!(bearer(&twice), Presented::Malformed(_)));
    }

    #[test]
    fn the_api_key_stands_in_where_the_authorization_is_empty() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YXdzOg=="));
        headers.insert("x-nuget-apikey", HeaderValue::from_static("weir_a.b~c-d_9"));
        assert!(bearer(&headers) == found());
    }

    #[test]
    fn a_token_is_not_printed() {
        assert!(!format!("{:?}", found()).contains("weir_"));
    }
}
