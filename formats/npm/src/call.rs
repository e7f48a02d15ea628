//! A request without its body, which only one handler may consume.

use http::{HeaderMap, Method};
use weir_protocol::RequestBody;
use weir_protocol::protocol::Request;
use weir_protocol::respond::{Response, without_body};
use weir_registry::Scope;

/// What a handler is told.
#[derive(Debug)]
pub(crate) struct Call {
    /// The method.
    pub(crate) method: Method,
    /// The query, decoded.
    pub(crate) query: Vec<(String, String)>,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// Where it goes and who asks.
    pub(crate) scope: Scope,
    /// The repository's own address; ends in `/`.
    pub(crate) base: String,
}

impl Call {
    /// Takes a request apart: the path below the repository, the call, the body.
    pub(crate) fn split(request: Request) -> (Vec<String>, Self, RequestBody) {
        let Request { method, segments, query, headers, body, scope, base, .. } = request;
        (segments, Self { method, query, headers, scope, base }, body)
    }

    /// The first query parameter of that name.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The answer without its bytes where HEAD asked for it.
    pub(crate) fn answer(&self, response: Response) -> Response {
        if self.method == Method::HEAD { without_body(response) } else { response }
    }
}
