//! The canonical request: the one text that both sides derive from a request and hash.

use super::SignedRequest;
use crate::query::Query;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Everything but RFC 3986's unreserved characters.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path, whose slashes stay.
const PATH: &AsciiSet = &STRICT.remove(b'/');

/// The canonical request. Bytes, since a header's value need not be text.
pub(super) fn request(
    request: &SignedRequest<'_>,
    signed_headers: &[String],
    presigned: bool,
    payload_hash: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut line = |text: &[u8]| {
        out.extend_from_slice(text);
        out.push(b'\n');
    };
    line(request.method.as_bytes());
    line(path(request.path).as_bytes());
    line(query(request.query, presigned).as_bytes());
    for name in signed_headers {
        line(&header(request, name));
    }
    line(b"");
    line(signed_headers.join(";").as_bytes());
    out.extend_from_slice(payload_hash.as_bytes());
    out
}

/// The path as sent, its dot segments and empty segments removed, encoded a second time.
pub(super) fn path(raw: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let slash_at_end = !segments.is_empty() && raw.ends_with('/');
    let normal = format!("/{}{}", segments.join("/"), if slash_at_end { "/" } else { "" });
    percent_encode(normal.as_bytes(), PATH).to_string()
}

/// All parameters but the signature, decoded, strictly encoded and sorted by name, then value.
pub(super) fn query(raw: &str, presigned: bool) -> String {
    let mut pairs: Vec<(String, String)> = Query::pairs(raw)
        .filter(|(name, _)| !(presigned && **name == *b"X-Amz-Signature"))
        .map(|(name, value)| {
            (percent_encode(&name, STRICT).to_string(), percent_encode(&value, STRICT).to_string())
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// `name:value,value`: values in the order they came, trimmed, each run of blanks one space.
fn header(request: &SignedRequest<'_>, name: &str) -> Vec<u8> {
    let mut out = name.as_bytes().to_vec();
    out.push(b':');
    if let Some(host) = request.host.filter(|_| name == "host") {
        out.extend_from_slice(host.as_bytes());
        return out;
    }
    for (index, value) in request.headers.get_all(name).iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let words =
            value.as_bytes().split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
    out
}
