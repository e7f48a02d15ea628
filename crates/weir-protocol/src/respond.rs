//! Answers: conditional and ranged ones for files and indexes (RFC 9110 sections 8.8, 13 and 14), with
//! the headers of `weir.md` section 7, and a few short ones.

use crate::body::Body;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use std::ops::Range;
use weir_core::Timestamp;

/// An answer of this server.
pub type Response = http::Response<Body>;

pub(crate) const INDEX_CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");
const FILE_CACHE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// What a request wants of a file or document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// All of it.
    Full,
    /// These bytes, first inclusive, last exclusive; never none.
    Part(Range<u64>),
    /// Nothing: the client has it.
    NotModified,
    /// Nothing: the client wants another that was here once.
    Outdated,
    /// The range lies outside.
    Unsatisfiable,
}

/// Decides what `Range` and the conditions of RFC 9110 want, in the order of its section 13.2.2. `etag` is a strong
/// tag with its quotes. Several ranges, and ranges in other units, are answered with the whole.
pub fn plan_range(
    headers: &HeaderMap,
    size: u64,
    etag: Option<&str>,
    last_modified: Option<Timestamp>,
) -> Plan {
    if is_outdated(headers, |tag| Some(tag) == etag, last_modified) {
        return Plan::Outdated;
    }
    if is_held(headers, |tag| Some(tag) == etag, last_modified) {
        return Plan::NotModified;
    }
    plan_part(headers, size, etag, last_modified)
}

/// What `Range` and `If-Range` want, the other conditions apart.
pub(crate) fn plan_part(
    headers: &HeaderMap,
    size: u64,
    etag: Option<&str>,
    last_modified: Option<Timestamp>,
) -> Plan {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else { return Plan::Full };
    if !range_applies(headers, etag, last_modified) {
        return Plan::Full;
    }
    match parse_range(range, size) {
        None => Plan::Full,
        Some(range) if range.is_empty() => Plan::Unsatisfiable,
        Some(range) => Plan::Part(range),
    }
}

/// Whether the client wants nothing but what it knows, and there is another now: `If-Match` (compared strongly), or
/// where that is missing `If-Unmodified-Since`.
pub(crate) fn is_outdated(
    headers: &HeaderMap,
    is_current: impl Fn(&str) -> bool,
    last_modified: Option<Timestamp>,
) -> bool {
    if headers.contains_key(IF_MATCH) {
        let values = headers.get_all(IF_MATCH).into_iter().filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
        return !tags.any(|tag| tag == "*" || is_current(tag));
    }
    match (time_of(headers, &IF_UNMODIFIED_SINCE), last_modified) {
        (Some(since), Some(modified)) => modified.as_second() > since.as_second(),
        _ => false,
    }
}

fn time_of(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(headers.get(name)?.to_str().ok()?).ok()
}

/// Whether the client holds a current copy: `If-None-Match` (compared weakly, by `is_current` on a
/// strong tag with its quotes), or where that is missing `If-Modified-Since`.
pub(crate) fn is_held(
    headers: &HeaderMap,
    is_current: impl Fn(&str) -> bool,
    last_modified: Option<Timestamp>,
) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        let values = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
        return tags.any(|tag| tag == "*" || is_current(tag.strip_prefix("W/").unwrap_or(tag)));
    }
    match (time_of(headers, &IF_MODIFIED_SINCE), last_modified) {
        (Some(since), Some(modified)) => modified.as_second() <= since.as_second(),
        _ => false,
    }
}

fn range_applies(headers: &HeaderMap, etag: Option<&str>, last_modified: Option<Timestamp>) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else { return true };
    let condition = condition.to_str().unwrap_or("");
    Some(condition) == etag || last_modified.and_then(http_date).as_deref() == Some(condition)
}

/// `None` for what is to be ignored; an empty range for what lies outside.
fn parse_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (unit, spec) = text.split_once('=')?;
    let (first, last) = spec.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    if first.is_empty() {
        let count: u64 = digits(last)?;
        return Some(size.saturating_sub(count)..size);
    }
    let first = digits(first)?;
    if last.is_empty() {
        return Some(first.min(size)..size);
    }
    let last = digits(last)?;
    if last < first {
        return None;
    }
    Some(first.min(size)..last.saturating_add(1).min(size))
}

/// Digits only; a number past what fits counts as the highest.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; `None` outside the years that it can say.
pub fn http_date(time: Timestamp) -> Option<String> {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
}

/// A stored file as its answers describe it.
#[derive(Debug, Clone)]
pub struct StoredFile<'a> {
    /// In bytes; `None` while a download whose length nobody promised is running.
    pub size: Option<u64>,
    /// A strong tag without its quotes, such as the SHA-256.
    pub tag: Option<&'a str>,
    /// The media type. Browsers are kept from acting on it all the same.
    pub content_type: &'a str,
    /// When it was published.
    pub last_modified: Option<Timestamp>,
}

impl StoredFile<'_> {
    /// What the request wants; without a known size always the whole.
    pub fn plan(&self, headers: &HeaderMap) -> Plan {
        let etag = self.tag.map(quoted);
        match self.size {
            Some(size) => plan_range(headers, size, etag.as_deref(), self.last_modified),
            None if is_outdated(headers, |tag| Some(tag) == etag.as_deref(), self.last_modified) => {
                Plan::Outdated
            }
            None if is_held(headers, |tag| Some(tag) == etag.as_deref(), self.last_modified) => {
                Plan::NotModified
            }
            None => Plan::Full,
        }
    }

    /// The answer to a plan; `body` holds the bytes the plan names (give [`Body::Empty`] where
    /// [`Plan::needs_body`] says so). Publishers choose what is in a file, so browsers are told to
    /// save it, not to sniff it and to run nothing in it.
    pub fn response(&self, method: &Method, plan: &Plan, body: Body) -> Response {
        let (status, length) = match plan {
            Plan::Full => (StatusCode::OK, self.size),
            Plan::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range.end - range.start)),
            Plan::NotModified => (StatusCode::NOT_MODIFIED, None),
            Plan::Outdated => (StatusCode::PRECONDITION_FAILED, Some(0)),
            Plan::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, Some(0)),
        };
        let sends_bytes = plan.needs_body(method);
        let mut response = Response::new(if sends_bytes { body } else { Body::Empty });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        if let Some(content_range) = plan.content_range(self.size) {
            headers.insert(CONTENT_RANGE, content_range);
        }
        if let Some(value) = self.tag.and_then(|tag| HeaderValue::try_from(quoted(tag)).ok()) {
            headers.insert(ETAG, value);
        }
        if let Some(date) = self.last_modified.and_then(http_date) {
            headers.insert(LAST_MODIFIED, HeaderValue::try_from(date).expect("a date is ASCII"));
        }
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // A wrong range or condition is no answer to keep for a year.
        let keeps = match plan {
            Plan::Unsatisfiable | Plan::Outdated => HeaderValue::from_static("no-store"),
            Plan::Full | Plan::Part(_) | Plan::NotModified => FILE_CACHE,
        };
        headers.insert(CACHE_CONTROL, keeps);
        if matches!(plan, Plan::Full | Plan::Part(_)) {
            let octets = HeaderValue::from_static("application/octet-stream");
            headers.insert(CONTENT_TYPE, HeaderValue::try_from(self.content_type).unwrap_or(octets));
            distrust(headers);
        }
        response
    }
}

impl Plan {
    /// Whether the answer carries bytes of the file.
    pub fn needs_body(&self, method: &Method) -> bool {
        method != Method::HEAD && matches!(self, Self::Full | Self::Part(_))
    }

    pub(crate) fn content_range(&self, size: Option<u64>) -> Option<HeaderValue> {
        let size = || size.map_or_else(|| "*".into(), |size| size.to_string());
        let text = match self {
            Self::Part(range) => format!("bytes {}-{}/{}", range.start, range.end - 1, size()),
            Self::Unsatisfiable => format!("bytes */{}", size()),
            Self::Full | Self::NotModified | Self::Outdated => return None,
        };
        Some(HeaderValue::try_from(text).expect("digits are ASCII"))
    }
}

/// Headers for content that somebody else wrote, should a browser open it.
pub fn distrust(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
}

fn quoted(tag: &str) -> String {
    ["\"", tag, "\""].concat()
}

/// What the status line of an HTTP/1 answer says in place of the standard phrase (RFC 9112, 4), as an extension
/// of the response: some clients print nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Of any text: on one line, in ASCII, at most 300 characters.
    pub fn of(text: &str) -> Self {
        let plain = |c: char| match c {
            c if c.is_ascii_graphic() => c,
            c if c.is_whitespace() || c.is_control() => ' ',
            _ => '?',
        };
        Self(text.chars().take(300).map(plain).collect())
    }

    /// The phrase.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A status without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Plain text; it is neither cached nor taken for anything else.
pub fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    in_memory(status, "text/plain; charset=utf-8", text.into())
}

/// A JSON document; it is neither cached nor taken for anything else.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(document) => in_memory(status, "application/json", document.into()),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// A document in memory of any media type; it is neither cached nor taken for anything else.
pub fn in_memory(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = empty(status);
    *response.body_mut() = body;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, INDEX_CACHE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The same answer without its bytes, and with the length that they have: for HEAD.
pub fn without_body(mut response: Response) -> Response {
    let body = std::mem::take(response.body_mut());
    if let (Some(length @ 1..), false) = (body.length(), response.headers().contains_key(CONTENT_LENGTH)) {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::BodyExt;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn header(response: &Response, name: HeaderName) -> Option<&str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    fn bytes_of(response: Response) -> Bytes {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(response.into_body().collect()).unwrap().to_bytes()
    }

    fn published() -> Timestamp {
        Timestamp::from_second(784_111_777).unwrap()
    }

    #[test]
    fn ranges_are_planned_as_the_standard_says() {
        let cases = [
            ("bytes=0-0", Plan::Part(0..1)),
            ("bytes=2-5", Plan::Part(2..6)),
            ("bytes=2-", Plan::Part(2..10)),
            ("bytes=-3", Plan::Part(7..10)),
            ("bytes=-30", Plan::Part(0..10)),
            ("bytes=5-99999999999999999999999", Plan::Part(5..10)),
            ("Bytes = 1-1", Plan::Part(1..2)),
            ("bytes=10-", Plan::Unsatisfiable),
            ("bytes=10-12", Plan::Unsatisfiable),
            ("bytes=-0", Plan::Unsatisfiable),
            ("bytes=0-1,3-4", Plan::Full),
            ("bytes=5-2", Plan::Full),
            ("bytes=", Plan::Full),
            ("bytes=-", Plan::Full),
            ("bytes=+1-2", Plan::Full),
            ("lines=0-1", Plan::Full),
        ];
        for (range, expected) in cases {
            assert_eq!(plan_range(&headers(&[(RANGE, range)]), 10, None, None), expected, "{range}");
        }
        assert_eq!(plan_range(&headers(&[(RANGE, "bytes=0-")]), 0, None, None), Plan::Unsatisfiable);
    }

    #[test]
    fn who_wants_what_was_here_once_is_told_that_it_is_gone() {
        let check = |pairs: &[(HeaderName, &str)], expected: Plan| {
            let found = plan_range(&headers(pairs), 10, Some("\"tag\""), Some(published()));
            assert_eq!(found, expected, "{pairs:?}");
        };
        let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
        check(&[(IF_MATCH, "\"tag\"")], Plan::Full);
        check(&[(IF_MATCH, "\"other\", \"tag\"")], Plan::Full);
        check(&[(IF_MATCH, "*"), (RANGE, "bytes=0-0")], Plan::Part(0..1));
        check(&[(IF_MATCH, "\"other\""), (RANGE, "bytes=0-0")], Plan::Outdated);
        check(&[(IF_MATCH, "W/\"tag\"")], Plan::Outdated);
        check(&[(IF_MATCH, "\"other\""), (IF_NONE_MATCH, "\"tag\"")], Plan::Outdated);
        check(&[(IF_MATCH, "\"tag\""), (IF_NONE_MATCH, "\"tag\"")], Plan::NotModified);
        check(&[(IF_UNMODIFIED_SINCE, DATE)], Plan::Full);
        check(&[(IF_UNMODIFIED_SINCE, earlier)], Plan::Outdated);
        check(&[(IF_UNMODIFIED_SINCE, "yesterday")], Plan::Full);
        check(&[(IF_MATCH, "\"tag\""), (IF_UNMODIFIED_SINCE, earlier)], Plan::Full);

        let file = StoredFile { size: Some(10), tag: Some("tag"), content_type: "a/b", last_modified: None };
        let plan = file.plan(&headers(&[(IF_MATCH, "\"other\"")]));
        assert!(!plan.needs_body(&Method::GET));
        let response = file.response(&Method::GET, &plan, Body::Empty);
        assert_eq!(response.status(), 412);
        assert_eq!(header(&response, ETAG), Some("\"tag\""));
        assert_eq!(header(&response, CACHE_CONTROL), Some("no-store"));
    }

    #[test]
    fn conditions_come_before_ranges() {
        let check = |pairs: &[(HeaderName, &str)], expected: Plan| {
            let plan = plan_range(&headers(pairs), 10, Some("\"t\""), Some(published()));
            assert_eq!(plan, expected, "{pairs:?}");
        };
        let part = (RANGE, "bytes=1-2");
        check(&[(IF_NONE_MATCH, "\"t\""), part.clone()], Plan::NotModified);
        check(&[(IF_NONE_MATCH, "\"x\", W/\"t\"")], Plan::NotModified);
        check(&[(IF_NONE_MATCH, "*")], Plan::NotModified);
        check(&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, DATE)], Plan::Full);
        check(&[(IF_NONE_MATCH, "\"x\""), part.clone()], Plan::Part(1..3));
        check(&[(IF_MODIFIED_SINCE, DATE)], Plan::NotModified);
        check(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")], Plan::Full);
        check(&[(IF_MODIFIED_SINCE, "yesterday")], Plan::Full);
        check(&[(IF_RANGE, "\"t\""), part.clone()], Plan::Part(1..3));
        check(&[(IF_RANGE, "W/\"t\""), part.clone()], Plan::Full);
        check(&[(IF_RANGE, "\"x\""), part.clone()], Plan::Full);
        check(&[(IF_RANGE, DATE), part.clone()], Plan::Part(1..3));
        check(&[(IF_RANGE, "Sun, 06 Nov 1994 08:49:38 GMT"), part], Plan::Full);
    }

    #[test]
    fn a_file_is_answered_whole_in_part_and_not_at_all() {
        let file = StoredFile {
            size: Some(10),
            tag: Some("t"),
            content_type: "text/html",
            last_modified: Some(published()),
        };
        let whole = file.response(&Method::GET, &Plan::Full, Body::from("0123456789"));
        assert_eq!(whole.status(), 200);
        assert_eq!(header(&whole, ETAG), Some("\"t\""));
        assert_eq!(header(&whole, LAST_MODIFIED), Some(DATE));
        assert_eq!(header(&whole, CONTENT_LENGTH), Some("10"));
        assert_eq!(header(&whole, ACCEPT_RANGES), Some("bytes"));
        assert_eq!(header(&whole, CACHE_CONTROL), Some("private, max-age=31536000, immutable"));
        assert_eq!(header(&whole, X_CONTENT_TYPE_OPTIONS), Some("nosniff"));
        assert_eq!(header(&whole, CONTENT_DISPOSITION), Some("attachment"));
        assert_eq!(header(&whole, CONTENT_SECURITY_POLICY), Some("sandbox; default-src 'none'"));
        assert_eq!(bytes_of(whole), "0123456789");

        let part = file.response(&Method::GET, &Plan::Part(2..5), Body::from("234"));
        assert_eq!((part.status().as_u16(), header(&part, CONTENT_RANGE)), (206, Some("bytes 2-4/10")));
        assert_eq!(header(&part, CONTENT_LENGTH), Some("3"));

        let head = file.response(&Method::HEAD, &Plan::Full, Body::from("0123456789"));
        assert_eq!(header(&head, CONTENT_LENGTH), Some("10"));
        assert_eq!(bytes_of(head), "");

        let outside = file.response(&Method::GET, &Plan::Unsatisfiable, Body::Empty);
        assert_eq!((outside.status().as_u16(), header(&outside, CONTENT_RANGE)), (416, Some("bytes */10")));
        assert_eq!(header(&outside, CACHE_CONTROL), Some("no-store"));
        let held = file.response(&Method::GET, &Plan::NotModified, Body::Empty);
        assert_eq!((held.status().as_u16(), header(&held, ETAG)), (304, Some("\"t\"")));
    }

    #[test]
    fn a_file_of_unknown_length_is_answered_whole() {
        let file = StoredFile { size: None, tag: Some("t"), content_type: "x/y", last_modified: None };
        assert_eq!(file.plan(&headers(&[(RANGE, "bytes=1-2")])), Plan::Full);
        assert_eq!(file.plan(&headers(&[(IF_NONE_MATCH, "\"t\"")])), Plan::NotModified);
        assert_eq!(header(&file.response(&Method::GET, &Plan::Full, Body::Empty), CONTENT_LENGTH), None);
    }

    #[test]
    fn short_answers_are_what_they_say() {
        let answer = json(StatusCode::CREATED, &serde_json::json!({"ok": true}));
        assert_eq!(
            (answer.status().as_u16(), header(&answer, CONTENT_TYPE)),
            (201, Some("application/json"))
        );
        let head = without_body(answer);
        assert_eq!(header(&head, CONTENT_LENGTH), Some("11"));
        assert_eq!(bytes_of(head), "");
        assert_eq!(bytes_of(text(StatusCode::NOT_FOUND, "no such thing")), "no such thing");
    }
}
