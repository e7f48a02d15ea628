//! Answers with rendered indexes (`weir.md` section 7): 304 to who holds any form of it, gzip to who likes it, ranges
//! of the document itself. Nothing is made here: tags, lengths and bytes come ready from the spine.

use crate::accept::prefers_gzip;
use crate::body::Body;
use crate::respond::{INDEX_CACHE, Plan, Response, is_held, is_outdated, plan_part};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderValue, VARY, WARNING, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, StatusCode};
use weir_registry::view::{Index, Payload, Rendered};

/// Room for the headers of an answer, with those that are added on its way out.
const HEADERS: usize = 12;

/// The answer to a request for an index, with what must be said of its age. HEAD is answered as GET without the
/// bytes.
pub fn answer(index: &Index, method: &Method, headers: &HeaderMap) -> Response {
    let mut response = representation(&index.rendered, method, headers);
    if let Some(seconds) = index.stale_s {
        let headers = response.headers_mut();
        headers.insert("x-weir-stale", HeaderValue::from(seconds));
        headers.insert(WARNING, HeaderValue::from_static("110 - \"Response is Stale\""));
    }
    response
}

fn representation(index: &Rendered, method: &Method, headers: &HeaderMap) -> Response {
    let mut answer = HeaderMap::with_capacity(HEADERS);
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(CACHE_CONTROL, INDEX_CACHE);
    answer.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    // A client may hold any form; before all else, so that it costs the same whatever the size.
    let is_current = |tag: &str| tag.as_bytes() == index.etag || tag.as_bytes() == index.gzip_etag;
    let gzip_length = index.gzip_length_digits.as_ref().filter(|_| prefers_gzip(headers));
    let is_outdated = is_outdated(headers, is_current, None);
    if is_outdated || is_held(headers, is_current, None) {
        let tag = if gzip_length.is_some() { &index.gzip_etag } else { &index.etag };
        answer.insert(ETAG, ready(tag));
        let status = if is_outdated { StatusCode::PRECONDITION_FAILED } else { StatusCode::NOT_MODIFIED };
        return response(status, answer, Body::Empty);
    }
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(index.content_type));
    answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let identity_tag = std::str::from_utf8(&index.etag).ok();
    let plan = plan_part(headers, index.length, identity_tag, None);
    if let (Plan::Full, Some(length)) = (&plan, gzip_length) {
        answer.insert(ETAG, ready(&index.gzip_etag));
        answer.insert(CONTENT_LENGTH, ready(length));
        answer.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let gzip = index.gzip().filter(|_| plan.needs_body(method));
        return response(StatusCode::OK, answer, gzip.map_or(Body::Empty, body));
    }
    answer.insert(ETAG, ready(&index.etag));
    let (status, length, range) = match &plan {
        Plan::Full | Plan::NotModified | Plan::Outdated => {
            (StatusCode::OK, ready(&index.length_digits), None)
        }
        Plan::Part(range) => {
            let length = HeaderValue::from(range.end - range.start);
            (StatusCode::PARTIAL_CONTENT, length, Some(range.clone()))
        }
        Plan::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, HeaderValue::from(0), None),
    };
    answer.insert(CONTENT_LENGTH, length);
    if let Some(content_range) = plan.content_range(Some(index.length)) {
        answer.insert(CONTENT_RANGE, content_range);
    }
    let bytes = if plan.needs_body(method) { body(index.identity(range)) } else { Body::Empty };
    response(status, answer, bytes)
}

fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A value that is shared with the index. Tags and lengths are ASCII without control characters.
fn ready(value: &Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(value.clone()).unwrap_or(HeaderValue::from_static(""))
}

fn body(payload: Payload) -> Body {
    match payload {
        Payload::Memory(bytes) => bytes.into(),
        Payload::Stream(length, chunks) => Body::from_stream(chunks, Some(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT_ENCODING, HeaderName, IF_MATCH, IF_NONE_MATCH, RANGE};
    use http_body_util::BodyExt;
    use std::io::Read;

    const DOCUMENT: &str = "0123456789";

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

    fn rendered(document: &str) -> Rendered {
        Rendered::of("application/json", document.as_bytes()).unwrap()
    }

    fn ask(document: &str, method: &Method, asked: &[(HeaderName, &str)]) -> Response {
        representation(&rendered(document), method, &headers(asked))
    }

    fn tags(document: &str) -> (String, String) {
        let base = &weir_core::Digest::of(document.as_bytes()).hex()[..32];
        (format!("\"{base}\""), format!("\"{base}-gz\""))
    }

    #[test]
    fn an_index_is_answered_in_the_encoding_that_is_liked() {
        let gzip = [(ACCEPT_ENCODING, "gzip")];
        let plain = ask(DOCUMENT, &Method::GET, &gzip);
        assert_eq!(header(&plain, CONTENT_ENCODING), None, "too small");
        assert_eq!(header(&plain, ETAG), Some(&*tags(DOCUMENT).0));
        assert_eq!(header(&plain, CACHE_CONTROL), Some("private, no-cache"));
        assert_eq!(header(&plain, VARY), Some("Accept, Accept-Encoding"));
        assert_eq!(bytes_of(plain), DOCUMENT);
        for repeats in [1000, 100_000] {
            let long = DOCUMENT.repeat(repeats);
            let plain = ask(&long, &Method::GET, &[]);
            assert_eq!(header(&plain, ETAG), Some(&*tags(&long).0));
            assert_eq!(header(&plain, CONTENT_LENGTH), Some(&*long.len().to_string()));
            assert_eq!(bytes_of(plain), long);
            let packed = ask(&long, &Method::GET, &gzip);
            assert_eq!(header(&packed, ETAG), Some(&*tags(&long).1));
            assert_eq!(header(&packed, CONTENT_ENCODING), Some("gzip"));
            let length = header(&packed, CONTENT_LENGTH).unwrap().to_owned();
            let packed = bytes_of(packed);
            assert_eq!(length, packed.len().to_string());
            let mut unpacked = String::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
            assert!(unpacked == long);
            let head = ask(&long, &Method::HEAD, &gzip);
            assert_eq!(header(&head, CONTENT_LENGTH), Some(&*length));
            assert_eq!(bytes_of(head), "");
            let head = ask(&long, &Method::HEAD, &[]);
            assert_eq!(header(&head, CONTENT_LENGTH), Some(&*long.len().to_string()));
            assert_eq!(bytes_of(head), "");
        }
    }

    #[test]
    fn any_tag_of_the_same_view_is_not_modified() {
        let (plain, gzip) = tags(DOCUMENT);
        for tag in [plain.clone(), gzip.clone(), format!("W/{plain}"), format!("\"x\", {gzip}")] {
            assert_eq!(
                ask(DOCUMENT, &Method::GET, &[(IF_MATCH, &tag)]).status(),
                if tag.starts_with('"') { 200 } else { 412 }
            );
            let response = ask(DOCUMENT, &Method::GET, &[(IF_NONE_MATCH, &tag)]);
            assert_eq!(response.status(), 304, "{tag}");
            assert_eq!(header(&response, ETAG), Some(&*plain));
            assert_eq!(header(&response, CONTENT_LENGTH), None);
        }
        assert_eq!(ask(DOCUMENT, &Method::GET, &[(IF_NONE_MATCH, "\"x\"")]).status(), 200);
        assert_eq!(ask(DOCUMENT, &Method::GET, &[(IF_MATCH, "\"x\"")]).status(), 412);
    }

    #[test]
    fn a_range_of_an_index_is_of_its_identity_form() {
        for repeats in [1, 100_000] {
            let (document, size) = (DOCUMENT.repeat(repeats), 10 * repeats);
            let range = format!("bytes={}-", size - 2);
            let asked = [(RANGE, &*range), (ACCEPT_ENCODING, "gzip"), (IF_NONE_MATCH, "\"old\"")];
            let part = ask(&document, &Method::GET, &asked);
            assert_eq!(part.status(), 206);
            let expected = format!("bytes {}-{}/{size}", size - 2, size - 1);
            assert_eq!(header(&part, CONTENT_RANGE), Some(&*expected));
            assert_eq!(header(&part, CONTENT_LENGTH), Some("2"));
            assert_eq!(header(&part, ETAG), Some(&*tags(&document).0));
            assert_eq!(header(&part, CONTENT_ENCODING), None);
            assert_eq!(bytes_of(part), "89");
            let outside = ask(&document, &Method::GET, &[(RANGE, &format!("bytes={size}-"))]);
            let expected = format!("bytes */{size}");
            assert_eq!((outside.status().as_u16(), header(&outside, CONTENT_RANGE)), (416, Some(&*expected)));
        }
    }
}
