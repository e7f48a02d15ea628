//! One request to the fake registry: remembered, answered as a healthy registry would, then made to fail.

use super::fault::{Body, Reply};
use super::{Shared, lock, pypi};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const JSON: &str = "application/json";
const INSTALL_V1: &str = "application/vnd.npm.install-v1+json";

/// A request as the registry saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The decoded path without the query: `/@acme/widget`.
    pub path: String,
    /// The request target as it was sent.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, gunzipped when it was gzip.
    pub body: Bytes,
}

impl Seen {
    /// A header's value, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Counts down when the request is over, however it ends.
struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
    let _in_flight = InFlight(shared.clone());

    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let seen = Seen {
        method: parts.method.to_string(),
        path: percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned(),
        target: parts.uri.to_string(),
        body: if header_of(&parts.headers, "content-encoding") == "gzip" { gunzip(&body)? } else { body },
        headers: parts.headers,
    };
    lock(&shared.seen).push(seen.clone());
    let faults = lock(&shared.rules).take(&seen.path);
    let mut reply = healthy(&shared, &seen);
    for fault in &faults {
        reply = reply.fail(fault, &seen.path).await?;
    }
    Ok(reply.send(&parts.method))
}

fn healthy(shared: &Shared, seen: &Seen) -> Reply {
    let table = lock(&shared.table);
    if let Some(reply) = pypi::answer::answer(&lock(&shared.pypi), table.token.as_deref(), seen) {
        return reply;
    }
    if let Some(token) = &table.token
        && seen.header("authorization") != format!("Bearer {token}")
    {
        return error(StatusCode::UNAUTHORIZED, "authentication is required");
    }
    let path = seen.path.trim_start_matches('/');
    if seen.method == "POST" {
        let body = serde_json::from_slice::<Value>(&seen.body).unwrap_or_default();
        return match path {
            "-/npm/v1/security/advisories/bulk" => json_reply(&table.bulk_advisories(&body)),
            "-/npm/v1/security/audits/quick" | "-/npm/v1/security/audits" => {
                json_reply(&table.quick_audit(&body))
            }
            _ => error(StatusCode::NOT_FOUND, "not found"),
        };
    }
    if seen.method != "GET" && seen.method != "HEAD" {
        return error(StatusCode::METHOD_NOT_ALLOWED, "this registry is read-only");
    }
    if path == "-/ping" {
        return json_reply(&json!({}));
    }
    if let Some(id) = path.strip_prefix("-/npm/v1/attestations/") {
        return json_reply(&json!({ "attestations": [{ "predicateType": "fake", "subject": id }] }));
    }
    if let Some(name) = path.strip_prefix("-/package/").and_then(|rest| rest.strip_suffix("/dist-tags")) {
        let tags = table.tags(name);
        return tags.map_or_else(|| error(StatusCode::NOT_FOUND, "not found"), |tags| json_reply(&tags));
    }
    if let Some((name, file_name)) = path.split_once("/-/") {
        let bytes = table.tarball(name, file_name);
        return bytes.map_or_else(|| error(StatusCode::NOT_FOUND, "not found"), |bytes| file(seen, bytes));
    }
    let abbreviated = seen.header("accept").contains(INSTALL_V1);
    match table.index(path, abbreviated) {
        Some(bytes) => index(seen, bytes, if abbreviated { INSTALL_V1 } else { JSON }),
        None => error(StatusCode::NOT_FOUND, "not found"),
    }
}

/// An index document with its tag: not sent again to who has it, and packed for who can unpack.
pub(super) fn index(seen: &Seen, bytes: Bytes, kind: &'static str) -> Reply {
    let etag = format!("\"{}\"", hex::encode(Sha1::digest(&bytes)));
    let fresh = |reply: Reply| {
        let reply = reply.header(header::ETAG, &etag).header(header::VARY, "accept, accept-encoding");
        reply.header(header::CACHE_CONTROL, "public, max-age=300")
    };
    if seen.header("if-none-match").contains(&etag) {
        return fresh(Reply::new(StatusCode::NOT_MODIFIED, kind, ""));
    }
    if !seen.header("accept-encoding").contains("gzip") {
        return fresh(Reply::new(StatusCode::OK, kind, bytes));
    }
    let mut packed = Vec::new();
    GzEncoder::new(&bytes[..], Compression::default()).read_to_end(&mut packed).expect("memory can be read");
    fresh(Reply::new(StatusCode::OK, kind, packed)).header(header::CONTENT_ENCODING, "gzip")
}

/// A file, or a part of it: downloads are resumed with `bytes=N-`, and archives read from their end.
pub(super) fn file(seen: &Seen, bytes: Bytes) -> Reply {
    let etag = format!("\"{}\"", hex::encode(Sha1::digest(&bytes)));
    let reply = match range(seen.header("range"), bytes.len()) {
        Some(range) => {
            let place = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
            Reply::new(StatusCode::PARTIAL_CONTENT, "application/octet-stream", bytes.slice(range))
                .header(header::CONTENT_RANGE, &place)
        }
        None => Reply::new(StatusCode::OK, "application/octet-stream", bytes),
    };
    reply.header(header::ETAG, &etag).header(header::ACCEPT_RANGES, "bytes")
}

/// The one range that `bytes=A-B`, `bytes=A-` or `bytes=-N` means in a file of this length.
fn range(header: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse().ok(), last.parse::<usize>().ok()) {
        (Some(first), Some(last)) => first..length.min(last.saturating_add(1)),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return None,
    };
    (range.start < range.end).then_some(range)
}

/// The media types of an `Accept` header with their qualities, in order.
pub(super) fn requested(accept: &str) -> impl Iterator<Item = (&str, f32)> {
    accept.split(',').map(|item| {
        let (kind, parameters) = item.split_once(';').unwrap_or((item, ""));
        let quality = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
        (kind.trim(), quality.and_then(|quality| quality.parse().ok()).unwrap_or(1.0))
    })
}

fn json_reply(value: &Value) -> Reply {
    Reply::new(StatusCode::OK, JSON, value.to_string())
}

pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    Reply::new(status, JSON, json!({ "error": message }).to_string())
}

fn gunzip(bytes: &[u8]) -> io::Result<Bytes> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain.into())
}

fn header_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
