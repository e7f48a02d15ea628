//! The request target: the path split while it is still encoded, then decoded exactly once, before
//! routing and authorisation see it. `%2f` stays inside its segment; a format decides what it means.

use http::Uri;
use std::borrow::Cow;
use weir_core::error::{Error, Result};
use weir_core::name::shown;

const MAX_PATH_BYTES: usize = 8 << 10;
const MAX_QUERY_BYTES: usize = 16 << 10;
const MAX_SEGMENTS: usize = 64;
const MAX_SEGMENT_BYTES: usize = 1024;
const MAX_PARAMETERS: usize = 256;

/// A parsed request target, in origin form or absolute form (RFC 9112 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// `host[:port]` in lower case: of an absolute form or of HTTP/2's `:authority`.
    pub host: Option<String>,
    /// Decoded segments. None is empty, `.` or `..`, or has such a component behind an encoded
    /// slash or a backslash; none holds a control character.
    pub segments: Vec<String>,
    /// Decoded parameters in order; one without `=` has an empty value.
    pub query: Vec<(String, String)>,
    /// Whether the path ended in `/`.
    pub trailing_slash: bool,
}

impl Target {
    /// Parses what the server read from the request line. Errors are `Invalid` and name the rule.
    pub fn parse(uri: &Uri) -> Result<Self> {
        let host = match uri.authority() {
            Some(authority) => Some(crate::face::parse_authority("request target", authority.as_str())?),
            None => None,
        };
        let (segments, trailing_slash) = parse_path(uri.path())?;
        let query = parse_query(uri.query().unwrap_or(""))?;
        Ok(Self { host, segments, query, trailing_slash })
    }

    /// The segments as text slices, for matching: `["npm", repository, rest @ ..]`.
    pub fn parts(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The first value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn parameters<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Splits and decodes a raw path; says also whether it ended in `/`. Repeated slashes collapse.
pub fn parse_path(raw: &str) -> Result<(Vec<String>, bool)> {
    if raw.len() > MAX_PATH_BYTES {
        return Err(Error::invalid("path", format_args!("must not be longer than {MAX_PATH_BYTES} bytes")));
    }
    if !raw.is_empty() && !raw.starts_with('/') {
        return Err(Error::invalid("path", format_args!("'{}' does not begin with '/'", shown(raw))));
    }
    let mut segments = Vec::new();
    for part in raw.split('/').filter(|part| !part.is_empty()) {
        if segments.len() == MAX_SEGMENTS {
            return Err(Error::invalid(
                "path",
                format_args!("must not have more than {MAX_SEGMENTS} segments"),
            ));
        }
        let segment = decode("path", part)?;
        check_segment(&segment)?;
        segments.push(segment.into_owned());
    }
    Ok((segments, raw.is_empty() || raw.ends_with('/')))
}

/// Splits and decodes a raw query. `+` is a space, as in forms: clients that mean a plus sign in a
/// value (AWS's among them) send `%2B`.
pub fn parse_query(raw: &str) -> Result<Vec<(String, String)>> {
    if raw.len() > MAX_QUERY_BYTES {
        return Err(Error::invalid("query", format_args!("must not be longer than {MAX_QUERY_BYTES} bytes")));
    }
    let mut parameters = Vec::new();
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        if parameters.len() == MAX_PARAMETERS {
            return Err(Error::invalid(
                "query",
                format_args!("must not have more than {MAX_PARAMETERS} parameters"),
            ));
        }
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        parameters.push((decode_form(key)?, decode_form(value)?));
    }
    Ok(parameters)
}

fn check_segment(segment: &str) -> Result<()> {
    if segment.len() > MAX_SEGMENT_BYTES {
        return Err(Error::invalid(
            "path",
            format_args!("a segment must not be longer than {MAX_SEGMENT_BYTES} bytes"),
        ));
    }
    let forbidden = |component: &str| matches!(component, "" | "." | "..");
    if segment.split(['/', '\\']).any(forbidden) {
        return Err(Error::invalid(
            "path",
            format_args!("'{}' must not have an empty, '.' or '..' component", shown(segment)),
        ));
    }
    Ok(())
}

fn decode_form(raw: &str) -> Result<String> {
    if raw.contains('+') {
        return Ok(decode("query", &raw.replace('+', " "))?.into_owned());
    }
    Ok(decode("query", raw)?.into_owned())
}

/// Undoes percent-encoding. Errors: `Invalid` for a lone `%`, for what is not UTF-8 and for control characters.
pub(crate) fn decode<'a>(field: &str, raw: &'a str) -> Result<Cow<'a, str>> {
    let decoded = if raw.contains('%') { Cow::Owned(unescape(field, raw)?) } else { Cow::Borrowed(raw) };
    if decoded.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            format_args!("'{}' must not contain a control character", shown(&decoded)),
        ));
    }
    Ok(decoded)
}

fn unescape(field: &str, raw: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let value =
            after.get(..2).and_then(|digits| Some(hex_digit(digits[0])? << 4 | hex_digit(digits[1])?));
        let Some(value) = value else {
            return Err(Error::invalid(
                field,
                format_args!("'{}' has a '%' that two hex digits do not follow", shown(raw)),
            ));
        };
        bytes.push(value);
        rest = &after[2..];
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::invalid(field, format_args!("'{}' does not decode to UTF-8", shown(raw))))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(uri: &str, segments: &[&str], trailing_slash: bool) {
        let target = Target::parse(&uri.parse().unwrap()).unwrap();
        assert_eq!(target.parts(), segments, "{uri}");
        assert_eq!(target.trailing_slash, trailing_slash, "{uri}");
    }

    #[test]
    fn a_path_is_split_first_and_decoded_once() {
        check("/", &[], true);
        check("/npm/main/left-pad", &["npm", "main", "left-pad"], false);
        check("/ruby/main//api/v1///gems/", &["ruby", "main", "api", "v1", "gems"], true);
        check("/npm/main/@scope%2fname", &["npm", "main", "@scope/name"], false);
        check(
            "/npm/main/%40scope%2Fname/-/name-1.0.0.tgz",
            &["npm", "main", "@scope/name", "-", "name-1.0.0.tgz"],
            false,
        );
        check("/npm/main/privat%65", &["npm", "main", "private"], false);
        check("/a%252e%252e/b+c", &["a%2e%2e", "b+c"], false);
        check("/%C3%A9", &["é"], false);
        check("/...", &["..."], false);
    }

    #[test]
    fn hostile_paths_are_refused() {
        let long_segment = format!("/{}", "a".repeat(1025));
        let long_path = format!("/{}", "a/".repeat(5000));
        let many = "/a".repeat(65);
        let cases = [
            "/..",
            "/a/../b",
            "/%2e%2e/b",
            "/.%2e",
            "/a/./b",
            "/%2e",
            "/a%2f..%2fb",
            "/a%2f.",
            "/..%5cb",
            "/a%5C..%5cb",
            "/%2f%2f..%2f..%2fetc/passwd",
            "/%2fetc",
            "/a%2f",
            "/a%2f%2fb",
            "/%00",
            "/a%0d%0ab",
            "/%7f",
            "/%c2%85",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%ff",
            "/%c0%ae%c0%ae",
            &long_segment,
            &long_path,
            &many,
            "*",
            "a/b",
        ];
        for raw in cases {
            assert!(matches!(parse_path(raw), Err(Error::Invalid { .. })), "{raw}");
        }
    }

    #[test]
    fn a_query_is_decoded_as_a_form() {
        let target = Target::parse(&"/x?a=1+2&b=%2B&&c&a=%26=&d=".parse().unwrap()).unwrap();
        assert_eq!(target.parameter("a"), Some("1 2"));
        assert_eq!(target.parameters("a").collect::<Vec<_>>(), ["1 2", "&="]);
        assert_eq!(target.parameter("b"), Some("+"));
        assert_eq!(target.parameter("c"), Some(""));
        assert_eq!(target.parameter("e"), None);
        for raw in ["a=%0a", "a=%", "%ff=1", &"a&".repeat(300)] {
            assert!(parse_query(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn an_absolute_form_names_its_host() {
        let target = Target::parse(&"http://Pkg.Example.test:80/npm/main".parse().unwrap()).unwrap();
        assert_eq!(target.host.as_deref(), Some("pkg.example.test:80"));
        assert_eq!(target.parts(), ["npm", "main"]);
        assert_eq!(Target::parse(&"http://example.test".parse().unwrap()).unwrap().segments, [""; 0]);
        assert!(Target::parse(&"http://aws:secret@example.test/".parse().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn no_path_panics_and_none_escapes(raw in "(/|%2[fFeE]|%5c|\\.|%|[a-z]|\\PC){0,40}") {
            if let Ok((segments, _)) = parse_path(&format!("/{raw}")) {
                for segment in segments {
                    prop_assert!(!segment.split(['/', '\\']).any(|c| c.is_empty() || c == "." || c == ".."));
                    prop_assert!(!segment.chars().any(char::is_control));
                }
            }
        }

        #[test]
        fn no_target_panics(raw in any::<Vec<u8>>()) {
            if let Ok(uri) = Uri::try_from(raw.as_slice()) {
                let _ = Target::parse(&uri);
            }
            let text = String::from_utf8_lossy(&raw);
            let _ = (parse_path(&text), parse_query(&text));
        }
    }
}
