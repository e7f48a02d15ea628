//! How the clients of a format speak with a repository: the second of the two traits a format implements.

use crate::body::{Body, RequestBody};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Response};
use weir_core::{Error, PackageName, Result};
use weir_registry::{Format, Registry, Scope};

/// What package managers meet. The server routes by format name, authenticates, and hands over.
pub trait Protocol: Format {
    /// Answers one authenticated request. Errors are rendered by [`Protocol::error_response`].
    fn handle<'a>(
        &'a self,
        registry: &'a Registry,
        request: Request,
    ) -> BoxFuture<'a, Result<Response<Body>>>;

    /// Says an error the way this format's clients print it. Status, `WWW-Authenticate` and `Retry-After`
    /// come from [`crate::error::head`].
    fn error_response(&self, error: &Error, realm: &str) -> Response<Body>;

    /// The package that a path below the repository is about, for the log; `None` where it is about none.
    fn package_of(&self, _segments: &[String]) -> Option<PackageName> {
        None
    }

    /// Whether this request makes a token and so comes without one (npm login).
    fn is_login(&self, _method: &Method, _segments: &[String]) -> bool {
        false
    }

    /// Answers a request of which [`Protocol::is_login`] was true.
    fn login<'a>(
        &'a self,
        _registry: &'a Registry,
        _request: LoginRequest,
    ) -> BoxFuture<'a, Result<Response<Body>>> {
        Box::pin(async { Err(Error::unauthenticated("this format has no login")) })
    }
}

/// One request of a package manager, authenticated.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path below the repository, decoded once; empty segments are gone.
    pub segments: Vec<String>,
    /// Whether the path ended in `/`.
    pub trailing_slash: bool,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, streaming.
    pub body: RequestBody,
    /// Where it goes and who asks.
    pub scope: Scope,
    /// The repository's own address as this client knows it; ends in `/`.
    pub base: String,
}

impl Request {
    /// The first query parameter of that name.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A request that makes a token.
pub struct LoginRequest {
    /// The method.
    pub method: Method,
    /// The path below the repository.
    pub segments: Vec<String>,
    /// The body, streaming.
    pub body: RequestBody,
    /// The domain's name as the client wrote it.
    pub domain: String,
    /// The owner as the client wrote it.
    pub owner: String,
    /// The repository's name as the client wrote it.
    pub repository: String,
}
