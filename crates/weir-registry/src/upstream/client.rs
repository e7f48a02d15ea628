//! One request to a public registry: limits, redirects, and no way into the private network.
//!
//! A target of another origin than the connection's own (or an `allowed-hosts` entry) is followed only to
//! public addresses, checked after DNS and again at every redirect. Credentials go to the connection's own
//! origin only.

use super::Connection;
use super::address::{PRIVATE, PublicOnly, refuse_private_literal};
use super::body::{self, Packing, Pieces};
use super::breaker::Permit;
use super::large::{Deadline, LargeTurn, Receiver};
use crate::Registry;
use crate::settings::{ConnectionSettings, Settings};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RANGE, RETRY_AFTER, VIA,
};
use reqwest::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use weir_core::{ConnectionName, Digest, Error, Result};

const MOST_REDIRECTS: usize = 5;
/// How often the other end of a shared connection is asked for a sign of life while requests are on it.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long it may take to give one; then all of them fail, and the next make a new connection.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Why a request to a public registry failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum FetchError {
    /// It does not answer, or says that it cannot now.
    #[error("{why}")]
    Unavailable { retry_after: Duration, why: String },
    /// There is no connection to it.
    #[error("{0}")]
    Unreachable(String),
    /// What it gave could not be kept: the disk or the database takes nothing now.
    #[error("this server could not keep the file")]
    Ours,
    /// It was not asked: too much is in flight for this caller.
    #[error("{why}")]
    Throttled { retry_after: Duration, why: String },
    /// It answered with something that cannot be right or must not be followed.
    #[error("{0}")]
    Bad(String),
}

impl FetchError {
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { retry_after: Duration::from_secs(5), why: why.into() }
    }

    /// As the error of a use case, naming the connection and what was asked.
    pub(crate) fn of(self, connection: &ConnectionName, asked: &str) -> Error {
        match self {
            Self::Unreachable(why) => Self::unavailable(why).of(connection, asked),
            Self::Unavailable { retry_after, why } => Error::Unavailable {
                retry_after,
                message: format!("{connection} does not give {asked} now: {why}; try again later"),
            },
            Self::Ours => Error::unavailable(format!(
                "this server could not keep {asked} of {connection}: its disk or database takes nothing now (the log \
                 says why); try again later"
            )),
            Self::Throttled { retry_after, why } => Error::Throttled {
                retry_after,
                message: format!("{asked} of {connection} is not fetched now: {why}; try again later"),
            },
            Self::Bad(why) => {
                Error::bad_upstream(format!("{connection} gave something wrong for {asked}: {why}"))
            }
        }
    }
}

/// An error about something a public registry said, naming the connection where the format could not.
pub(crate) fn naming(connection: &ConnectionName, error: Error) -> Error {
    match error {
        Error::BadUpstream { message } if !message.contains(connection.as_str()) => {
            Error::BadUpstream { message: format!("{connection}: {message}") }
        }
        other => other,
    }
}

/// The HTTP clients of one connection.
pub(crate) struct Clients {
    /// For the connection's own origin and allowed hosts.
    trusted: reqwest::Client,
    /// For all others: public addresses only.
    guarded: reqwest::Client,
    allowed: Vec<String>,
    own: String,
    authorization: Option<HeaderValue>,
    headers: HeaderMap,
    response_timeout: Duration,
    idle_timeout: Duration,
}

/// What is asked for: files must come as they are, documents may come compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Document,
    File,
}

impl Clients {
    pub(crate) fn new(url: &Url, settings: &ConnectionSettings, defaults: &Settings) -> Result<Self> {
        let seconds = |own: Option<u64>, default: Duration| own.map_or(default, Duration::from_secs);
        let build = |guarded: bool| -> Result<reqwest::Client> {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(seconds(settings.connect_timeout, defaults.connect_timeout))
                .pool_idle_timeout(Duration::from_secs(60))
                .http2_keep_alive_interval(PING_EVERY)
                .http2_keep_alive_timeout(PONG_WITHIN)
                .no_proxy();
            if guarded {
                builder = builder.dns_resolver(Arc::new(PublicOnly));
            }
            if let Some(proxy) = &settings.proxy {
                let proxy = reqwest::Proxy::all(proxy).map_err(|e| Error::invalid("proxy", e.to_string()))?;
                builder = builder.proxy(proxy);
            }
            if let Some(file) = &settings.ca_file {
                let pem = fs_err::read(file).map_err(|e| Error::invalid("ca-file", e.to_string()))?;
                for certificate in reqwest::Certificate::from_pem_bundle(&pem)
                    .map_err(|e| Error::invalid("ca-file", e.to_string()))?
                {
                    builder = builder.add_root_certificate(certificate);
                }
            }
            builder.build().map_err(Error::internal)
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let name =
                HeaderName::try_from(name.as_str()).map_err(|e| Error::invalid("headers", e.to_string()))?;
            let mut value = HeaderValue::try_from(value.as_str())
                .map_err(|e| Error::invalid("headers", e.to_string()))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self {
            trusted: build(false)?,
            guarded: build(true)?,
            allowed: settings
                .allowed_hosts
                .iter()
                .filter_map(|text| Url::parse(text).ok())
                .map(|url| origin(&url))
                .collect(),
            own: origin(url),
            authorization: authorization(settings)?,
            headers,
            response_timeout: seconds(settings.response_timeout, defaults.response_timeout),
            idle_timeout: seconds(settings.idle_timeout, defaults.idle_timeout),
        })
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn authorization(settings: &ConnectionSettings) -> Result<Option<HeaderValue>> {
    use base64::Engine as _;
    let text = match (&settings.token, &settings.username, &settings.password) {
        (Some(token), _, _) => format!("Bearer {token}"),
        (None, Some(user), password) => {
            let pair = format!("{user}:{}", password.as_deref().unwrap_or(""));
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        (None, None, _) => return Ok(None),
    };
    let mut value = HeaderValue::try_from(text).map_err(|e| Error::invalid("token", e.to_string()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// An answer whose headers are in and whose status is 200, 304 or 404, or 206 where a range was asked for.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    response: reqwest::Response,
    idle_timeout: Duration,
    /// Learns how the body ends.
    permit: Permit,
    registry: Registry,
}

impl Answer {
    /// Where it came from, after redirects.
    pub(crate) fn url(&self) -> String {
        self.response.url().to_string()
    }

    /// `Content-Length`.
    pub(crate) fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let why = match tokio::time::timeout(self.idle_timeout, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => return Ok(Some(chunk)),
            Ok(Ok(None)) => {
                self.permit.succeeded(self.registry.now());
                return Ok(None);
            }
            Ok(Err(e)) => format!("the body broke off ({})", root_cause(&e)),
            Err(_) => format!("no byte came for {} s", self.idle_timeout.as_secs()),
        };
        Err(self.fail(why))
    }

    /// The body does not come as it should.
    fn fail(&mut self, why: String) -> FetchError {
        self.registry.metrics().upstream_failures.inc();
        self.permit.failed(self.registry.now(), &why);
        FetchError::unavailable(why)
    }

    /// The whole document with its digest, refused above `limit` bytes. Of a large one for which there is no turn now
    /// all is let go, and `None` told; never to who has a turn.
    pub(super) async fn document(
        mut self,
        limit: u64,
        receiver: Receiver<'_>,
    ) -> Result<Option<(Bytes, Digest)>, FetchError> {
        let packing = Packing::of(self.header(CONTENT_ENCODING).as_deref())?;
        let announced = self.length();
        if announced.is_some_and(|length| length > limit) {
            return Err(body::too_large(limit));
        }
        let most_of_small = packing.most_of_small();
        let mut is_large = announced.is_some_and(|length| length > most_of_small);
        if is_large && !receiver.try_to() {
            return Ok(None);
        }
        let mut deadline = Deadline::of(&receiver);
        let mut pieces = Pieces::new(packing, limit);
        let mut came = 0;
        loop {
            let piece = match deadline.meet(self.chunk()).await {
                Ok(piece) => piece?,
                Err(why) => return Err(self.fail(why)),
            };
            let Some(piece) = piece else { break };
            came += piece.len() as u64;
            if came > most_of_small && !std::mem::replace(&mut is_large, true) && !receiver.try_to() {
                return Ok(None);
            }
            if is_large {
                deadline.begin();
            }
            pieces.push(piece)?;
        }
        if let Some(announced) = announced
            && announced != came
        {
            return Err(FetchError::Bad(format!("{came} bytes came of {announced} announced")));
        }
        if !is_large && pieces.is_told_to_be_large() && !receiver.try_to() {
            return Ok(None);
        }
        // A body may say that it is small, and not be: only who has no turn can be told to ask again.
        if receiver.may() { pieces.document().await.map(Some) } else { pieces.small_document().await }
    }
}

impl Connection {
    /// A request that receives documents from it, and has `large`.
    pub(super) fn receiver<'a>(&'a self, registry: &'a Registry, large: &'a LargeTurn) -> Receiver<'a> {
        Receiver { large, turns: &registry.inner.upstream.large, place: &self.large }
    }

    /// The absolute URL of a path below the registry's root, or of an absolute URL.
    pub(crate) fn resolve(&self, path: &str) -> Result<Url, FetchError> {
        let joined = if path.starts_with("http://") || path.starts_with("https://") {
            Url::parse(path)
        } else {
            // A relative path never begins with a scheme: "@scope%2fname" and "a:b" stay paths.
            self.url.join(&format!("./{}", path.trim_start_matches('/')))
        };
        let url = joined.map_err(|e| FetchError::Bad(format!("it names a URL that cannot be read: {e}")))?;
        refuse_user_info(&url)?;
        Ok(url)
    }

    /// Sends a GET, follows redirects, and gives 200, 206, 304 or 404 (410 counts as 404 of a
    /// document).
    pub(crate) async fn get(
        &self,
        registry: &Registry,
        path: &str,
        kind: Kind,
        headers: HeaderMap,
    ) -> Result<Answer, FetchError> {
        self.request(registry, Method::GET, path, kind, headers, None).await
    }

    /// Sends a request with an optional body, through the breaker.
    pub(crate) async fn request(
        &self,
        registry: &Registry,
        method: Method,
        path: &str,
        kind: Kind,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Answer, FetchError> {
        let url = self.resolve(path)?;
        // A host that an index points to says nothing of the registry when it fails.
        let own = origin(&url) == self.clients.own;
        let breaker = if own { self.breaker.clone() } else { Arc::default() };
        // Without the query, which may be signed.
        let (host, path) = (url.host_str().unwrap_or_default().to_owned(), url.path().to_owned());
        let admitted = breaker.admit(registry.now(), &path);
        let mut permit = admitted.map_err(|(retry_after, why)| FetchError::Unavailable {
            retry_after,
            why: format!("it failed repeatedly and is not asked again yet ({why})"),
        })?;
        registry.metrics().upstream_requests.inc();
        let result = self.follow(registry, method, url, kind, headers, body).await;
        match &result {
            Ok(response) if matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) => {
                permit.answered(registry.now())
            }
            Ok(_) | Err(FetchError::Bad(_) | FetchError::Throttled { .. } | FetchError::Ours) => {
                permit.succeeded(registry.now())
            }
            Err(error @ (FetchError::Unavailable { why, .. } | FetchError::Unreachable(why))) => {
                registry.metrics().upstream_failures.inc();
                match error {
                    FetchError::Unreachable(_) => permit.not_reached(registry.now(), why),
                    _ => permit.failed(registry.now(), why),
                }
                tracing::warn!(connection = %self.name, host, path, why, "public registry does not answer");
            }
        }
        let response = result?;
        let status = match response.status() {
            StatusCode::GONE if kind == Kind::Document => StatusCode::NOT_FOUND,
            status => status,
        };
        let (headers, idle_timeout) = (response.headers().clone(), self.clients.idle_timeout);
        Ok(Answer { status, headers, response, idle_timeout, permit, registry: registry.clone() })
    }

    async fn follow(
        &self,
        registry: &Registry,
        method: Method,
        mut url: Url,
        kind: Kind,
        mut headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<reqwest::Response, FetchError> {
        if let Ok(via) = HeaderValue::try_from(format!("1.1 {}", registry.instance())) {
            headers.insert(VIA, via);
        }
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(method.clone(), &url, kind, &headers, body.clone()).await?;
            let status = response.status();
            let via = response.headers().get(VIA).and_then(|via| via.to_str().ok());
            if via.is_some_and(|via| via.contains(registry.instance())) {
                return Err(FetchError::Bad(format!(
                    "its address is this server itself; {}",
                    registry.advice(&self.name)
                )));
            }
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                let target = target.ok_or_else(|| FetchError::Bad(format!("a {status} without Location")))?;
                let next = url
                    .join(target)
                    .map_err(|e| FetchError::Bad(format!("a redirect to something that is no URL: {e}")))?;
                if url.scheme() == "https" && next.scheme() != "https" {
                    return Err(FetchError::Bad("a redirect from https to http".to_owned()));
                }
                refuse_user_info(&next)?;
                url = next;
                continue;
            }
            return self.judge(response, headers.contains_key(RANGE));
        }
        Err(FetchError::Bad(format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        kind: Kind,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> Result<reqwest::Response, FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Bad(format!("a URL of scheme '{}'", url.scheme())));
        }
        let own = origin(url) == self.clients.own;
        let trusted = own || self.clients.allowed.contains(&origin(url));
        if !trusted {
            refuse_private_literal(url, &self.name)?;
        }
        let client = if trusted { &self.clients.trusted } else { &self.clients.guarded };
        let encoding = match kind {
            Kind::Document => "gzip",
            Kind::File => "identity",
        };
        let request = client.request(method, url.clone()).headers(headers.clone());
        let mut request = request.header(ACCEPT_ENCODING, encoding);
        if own {
            request = request.headers(self.clients.headers.clone());
            if let Some(authorization) = &self.clients.authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        match tokio::time::timeout(self.clients.response_timeout, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => {
                let why = root_cause(&e);
                if why.contains(PRIVATE) {
                    return Err(FetchError::Bad(why));
                }
                let why_not = format!("no connection ({why})");
                // That of somebody to whom it redirects is a matter of what was asked for.
                if own && e.is_connect() {
                    return Err(FetchError::Unreachable(why_not));
                }
                Err(FetchError::unavailable(why_not))
            }
            Err(_) => {
                let why = format!("no answer within {} s", self.clients.response_timeout.as_secs());
                Err(if own { FetchError::Unreachable(why) } else { FetchError::unavailable(why) })
            }
        }
    }

    fn judge(&self, response: reqwest::Response, ranged: bool) -> Result<reqwest::Response, FetchError> {
        let status = response.status();
        let told = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let told = told.map(|seconds: u64| Duration::from_secs(seconds.clamp(1, 3600)));
        let later = |usual: u64| FetchError::Unavailable {
            retry_after: told.unwrap_or(Duration::from_secs(usual)),
            why: format!("it answered {status}"),
        };
        match status {
            StatusCode::OK | StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND | StatusCode::GONE => {
                Ok(response)
            }
            StatusCode::PARTIAL_CONTENT if ranged => Ok(response),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(later(10)),
            _ if status.is_server_error() => Err(later(5)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(FetchError::Bad(format!(
                "it answered {status}; if it wants credentials: weir connections set {} URL --token-file FILE",
                self.name
            ))),
            _ => Err(FetchError::Bad(format!("it answered {status}"))),
        }
    }
}

/// An address from elsewhere must not bring credentials along.
fn refuse_user_info(url: &Url) -> Result<(), FetchError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(FetchError::Bad("it names a URL with user info".to_owned()))
}

/// The innermost reason of a client error, without the URL (which may name private packages).
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// `Accept` as the only header.
pub(crate) fn accept(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(ACCEPT, value);
    }
    headers
}
