//! A request without its body, which only one handler may consume.

use crate::RequestBody;
use crate::body::Body;
use crate::protocol::Request;
use crate::respond::{Plan, Response, StoredFile, without_body};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, Method};
use weir_registry::Scope;
use weir_registry::open::OpenedAsset;
use weir_registry::view::Freshness;

/// What a handler is told.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// Where it goes and who asks.
    pub scope: Scope,
    /// The repository's own address; ends in `/`.
    pub base: String,
}

impl Call {
    /// Takes a request apart: the path below the repository, the call, the body.
    pub fn split(request: Request) -> (Vec<String>, Self, RequestBody) {
        let Request { method, segments, query, headers, body, scope, base, .. } = request;
        (segments, Self { method, query, headers, scope, base }, body)
    }

    /// The first query parameter of that name.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The answer without its bytes where HEAD asked for it.
    pub fn answer(&self, response: Response) -> Response {
        if self.method == Method::HEAD { without_body(response) } else { response }
    }

    /// The answer with a stored file, whole or the range that was asked for.
    pub fn file(&self, opened: OpenedAsset, content_type: &str) -> Response {
        let (size, etag, last_modified) = (opened.size, opened.etag.clone(), opened.last_modified);
        let file = StoredFile { size, tag: etag.as_deref(), content_type, last_modified };
        let plan = file.plan(&self.headers);
        let body = match &plan {
            plan if !plan.needs_body(&self.method) => Body::Empty,
            Plan::Part(range) => Body::of(opened.content(Some(range.clone())), Some(range.end - range.start)),
            _ => Body::of(opened.content(None), size),
        };
        file.response(&self.method, &plan, body)
    }

    /// How fresh a public index must be: a person who asks for the latest (`npm --prefer-online`,
    /// `uv --refresh`) sends `no-cache`.
    pub fn freshness(&self) -> Freshness {
        freshness(&self.headers)
    }
}

fn freshness(headers: &HeaderMap) -> Freshness {
    let values = [CACHE_CONTROL, PRAGMA];
    let mut values = values.iter().filter_map(|name| headers.get(name)?.to_str().ok());
    if values.any(|value| value.to_ascii_lowercase().contains("no-cache")) {
        Freshness::Now
    } else {
        Freshness::Usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_person_who_asks_for_the_latest_gets_it() {
        let check = |value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (CACHE_CONTROL, HeaderValue::from_static(value))));
            freshness(&headers)
        };
        assert_eq!(check(None), Freshness::Usual);
        assert_eq!(check(Some("max-age=0")), Freshness::Usual);
        assert_eq!(check(Some("No-Cache")), Freshness::Now);
    }
}
