//! From the head of a request to its answer: request id, target, door, credentials, handler; and the log
//! line that is written when the answer has ended.

mod client_address;
mod limiter;
mod request_id;
mod route;
#[cfg(test)]
mod tests;

pub(crate) use limiter::{Limiter, group};
pub(crate) use request_id::RequestId;

use crate::telemetry::{HttpMetrics, Logged, RequestLine};
use bytes::Bytes;
use client_address::client_address;
use futures_util::FutureExt as _;
use http::header::{ALLOW, HOST, HeaderMap, HeaderName, HeaderValue, VIA};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as HttpBody;
use route::{Place, Route, route};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument as _;
use weir_api::{Api, ClientAddress, Refused};
use weir_core::{Action, Arn, Caller, Error, Principal};
use weir_protocol::face::{Connection, FaceRules, virtual_host};
use weir_protocol::protocol::{self, Protocol};
use weir_protocol::{Body, BodyError, Face, Presented, RequestBody, Target, bearer, respond};
use weir_registry::Registry;

/// In every answer, as AWS names it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const STALE: HeaderName = HeaderName::from_static("x-weir-stale");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Everything a request meets.
pub(crate) struct Http {
    /// The use cases.
    pub(crate) registry: Registry,
    /// The control API.
    pub(crate) api: Api,
    /// How faces are found.
    pub(crate) faces: FaceRules,
    /// Authorities of this server, in lower case, besides the address that was connected to.
    pub(crate) own_authorities: Vec<String>,
    /// Who failed to authenticate.
    pub(crate) limiter: Limiter,
    /// `max-publish-bytes`
    pub(crate) max_publish_bytes: u64,
    /// `client-timeout`
    pub(crate) client_timeout: Duration,
    /// `metrics-public`
    pub(crate) metrics_public: bool,
}

/// The connection a request came by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The other end.
    pub(crate) remote: IpAddr,
    /// This end.
    pub(crate) local: SocketAddr,
    /// Whether it is TLS.
    pub(crate) secure: bool,
}

impl Http {
    /// Answers one request, whatever becomes of it.
    pub(crate) async fn answer<B>(&self, peer: Peer, request: Request<B>) -> Response<Logged>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let (mut parts, body) = request.into_parts();
        let client = client_address(peer.remote, &parts.headers, &self.faces.trusted_proxies);
        parts.extensions.insert(ClientAddress(group(client)));
        let mut line = RequestLine::new(client, parts.method.clone(), parts.uri.clone());
        let span = tracing::info_span!("request", request.id = line.id.as_str());
        let body = RequestBody::new(body, &parts.headers).idle_timeout(self.client_timeout);
        let handled = AssertUnwindSafe(self.dispatch(peer, parts, body, &mut line)).catch_unwind();
        let mut response = handled.instrument(span).await.unwrap_or_else(|panic| {
            HttpMetrics::get().panics.inc();
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            tracing::error!(request.id = line.id.as_str(), "a handler panicked: {what}");
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        });

        let headers = response.headers_mut();
        if let Some(given) = headers.get(REQUEST_ID).and_then(RequestId::of_header) {
            line.id = given;
        } else {
            headers.insert(REQUEST_ID, line.id.header());
        }
        line.stale_s = headers.get(STALE).and_then(|value| value.to_str().ok()?.parse().ok());
        line.status = response.status().as_u16();
        if let Some(principal) = response.extensions_mut().remove::<Arc<Principal>>() {
            line.principal = Some(principal);
        }
        if let Some(Refused(why)) = response.extensions_mut().remove() {
            line.error = Some(why);
        }
        if let Some(reason) = response.extensions_mut().remove::<respond::Reason>()
            && let Ok(phrase) = hyper::ext::ReasonPhrase::try_from(reason.as_str().as_bytes())
        {
            response.extensions_mut().insert(phrase);
        }
        response.map(|body| Logged::new(body, line))
    }

    async fn dispatch(
        &self,
        peer: Peer,
        mut parts: Parts,
        body: RequestBody,
        line: &mut RequestLine,
    ) -> Response<Body> {
        // HTTP/1.0 knows no Host: then this is the address that was asked.
        if parts.version < Version::HTTP_11 && !parts.headers.contains_key(HOST) {
            let local = SocketAddr::new(peer.local.ip().to_canonical(), peer.local.port());
            parts.headers.extend(HeaderValue::try_from(local.to_string()).ok().map(|value| (HOST, value)));
        }
        if parts.method == Method::CONNECT {
            let text = "Weir forwards no connections: it answers for its own names only\n";
            return with_header(
                respond::text(StatusCode::METHOD_NOT_ALLOWED, text),
                ALLOW,
                "GET, HEAD, PUT, POST, DELETE",
            );
        }
        // Probes of load balancers may come without a Host, so this door is found first.
        if parts.uri.path() == "/healthz" {
            return respond::text(StatusCode::OK, "ok\n");
        }
        if self.comes_back(&parts.headers) {
            let text = "this request was sent by this very server: an external connection's address leads back to it\n";
            let via = HeaderValue::try_from(format!("1.1 {}", self.registry.instance()));
            let mut response = respond::text(StatusCode::LOOP_DETECTED, text);
            response.headers_mut().extend(via.ok().map(|via| (VIA, via)));
            return response;
        }
        let mut target = match Target::parse(&parts.uri) {
            Ok(target) => target,
            Err(error) => return unreadable(line, parts.uri.path(), &error),
        };
        line.redacted_path = RequestLine::redact(&target.segments);
        let connection = Connection { peer: peer.remote, secure: peer.secure };
        let requested = match Face::requested(&self.faces, connection, &parts.headers, target.host.as_deref())
        {
            Ok(face) => face,
            Err(error) => return unreadable(line, parts.uri.path(), &error),
        };
        let host = virtual_host(&requested.authority, &self.faces.host_suffixes);
        let is_absolute = parts.version < Version::HTTP_2 && target.host.is_some();
        if is_absolute && host.is_none() && !self.is_own(&requested.authority, peer) {
            let text = format!(
                "'{}' is not a name of this server; see public-url and host-suffix\n",
                requested.authority
            );
            return respond::text(StatusCode::MISDIRECTED_REQUEST, text);
        }
        let face = self.faces.public_url.as_ref().unwrap_or(&requested);
        let segments = match face.strip_prefix(&target.segments) {
            all if all.len() == target.segments.len() => requested.strip_prefix(&target.segments),
            below => below,
        };
        if Api::owns(&parts.method, segments, &target) {
            // Rare and large: in a box, so that the futures of packages stay small.
            return Box::pin(self.control(&parts, body, face, line)).await;
        }
        let prefix_length = target.segments.len() - segments.len();
        match route(&mut target.segments[prefix_length..], host.as_ref()) {
            Route::Health => respond::text(StatusCode::OK, "ok\n"),
            Route::Ready => Box::pin(self.ready(line)).await,
            Route::Metrics => Box::pin(self.metrics(&parts, line)).await,
            Route::Nowhere(text) => respond::text(StatusCode::NOT_FOUND, format!("{text}\n")),
            Route::Package(place) => {
                // A virtual host's clients keep their credentials for that host.
                let base = place.address(if place.by_host { &requested } else { face });
                let rest = target.segments.split_off(prefix_length + place.consumed);
                let request = Unauthenticated { parts, body, segments: rest, target, base };
                self.package(place, request, line).await
            }
        }
    }

    fn comes_back(&self, headers: &HeaderMap) -> bool {
        let mut via = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
        via.any(|value| value.contains(self.registry.instance()))
    }

    async fn control(
        &self,
        parts: &Parts,
        body: RequestBody,
        face: &Face,
        line: &mut RequestLine,
    ) -> Response<Body> {
        let response = self.api.handle(parts, body, face).await;
        let failed = [
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "IncompleteSignature",
            "ExpiredTokenException",
        ];
        let error_type =
            response.headers().get(ERROR_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if response.status() == StatusCode::FORBIDDEN
            && failed.contains(&error_type)
            && let Err(error) = self.count_failure(line)
        {
            let text = serde_json::json!({ "message": error.to_string() });
            let mut refused = respond::json(StatusCode::TOO_MANY_REQUESTS, &text);
            refused.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static("ThrottlingException"));
            return with_retry(refused, &error);
        }
        response
    }

    async fn ready(&self, line: &mut RequestLine) -> Response<Body> {
        match self.registry.health().await {
            Ok(()) => respond::text(StatusCode::OK, "ready\n"),
            Err(error) => {
                line.error = Some(error.to_string());
                respond::text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not ready: database or blob store does not answer\n",
                )
            }
        }
    }

    async fn metrics(&self, parts: &Parts, line: &mut RequestLine) -> Response<Body> {
        if !self.metrics_public
            && let Err(error) = self.may_see_metrics(parts, line).await
        {
            return refusal(line, &error);
        }
        match self.encoded_metrics() {
            Ok(text) => respond::in_memory(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text.into(),
            ),
            Err(error) => refusal(line, &Error::internal(error)),
        }
    }

    fn encoded_metrics(&self) -> Result<String, std::fmt::Error> {
        use prometheus_client::encoding::text::{encode_eof, encode_registry};
        let mut text = String::new();
        let mut counters = HttpMetrics::get().registry();
        self.registry.metrics().register(&mut counters);
        encode_registry(&mut text, &counters)?;
        encode_eof(&mut text)?;
        Ok(text)
    }

    async fn may_see_metrics(&self, parts: &Parts, line: &mut RequestLine) -> Result<(), Error> {
        let how = "/metrics wants a token of a user who may list domains, in 'Authorization: Bearer'; \
                   'weir token create' makes one, metrics-public opens it to all";
        let Presented::Token(token) = bearer(&parts.headers) else { return Err(Error::unauthenticated(how)) };
        let caller = match self.registry.token_caller(&token).await {
            Ok(caller) => caller,
            Err(error) => {
                self.count_failure(line)?;
                return Err(error);
            }
        };
        let Caller::Principal(principal) = &caller else { return Err(Error::unauthenticated(how)) };
        line.principal = Some(principal.clone());
        let denied = || Error::denied(how);
        self.registry.authorize(
            &caller,
            Action::ListDomains,
            &Arn::from_text("*"),
            &principal.account,
            denied,
        )
    }

    async fn package(
        &self,
        place: Place,
        request: Unauthenticated,
        line: &mut RequestLine,
    ) -> Response<Body> {
        let Some(protocol) = crate::formats::find(&place.format) else {
            return respond::text(StatusCode::NOT_FOUND, format!("{}\n", no_format(&place.format)));
        };
        let realm = place.realm();
        line.format = Some(protocol.name().as_str());
        line.package = protocol.package_of(&request.segments).map(|package| protocol.display_name(&package));
        let answer = self.speak(protocol, place, request, line).await;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                log_error(line, &error);
                protocol.error_response(&error, &realm)
            }
        };
        line.repository = Some(realm);
        response
    }

    async fn speak(
        &self,
        protocol: &'static dyn Protocol,
        place: Place,
        request: Unauthenticated,
        line: &mut RequestLine,
    ) -> Result<Response<Body>, Error> {
        let Unauthenticated { parts, body, segments, target, base } = request;
        let body = body.never_over(self.max_publish_bytes, "max-publish-bytes");
        if body.declared_length().is_some_and(|length| length > self.max_publish_bytes) {
            let most = self.max_publish_bytes;
            return Err(Error::too_large(format!(
                "the request's body is larger than the {most} bytes of max-publish-bytes"
            )));
        }
        let Place { domain, owner, repository, .. } = place;
        if protocol.is_login(&parts.method, &segments) {
            let login =
                protocol::LoginRequest { method: parts.method, segments, body, domain, owner, repository };
            let answer = Box::pin(protocol.login(&self.registry, login)).await;
            if let Err(Error::Unauthenticated { .. }) = &answer {
                self.count_failure(line)?;
            }
            return answer;
        }
        let presented = bearer(&parts.headers);
        let token = match &presented {
            Presented::Token(token) => Some(token.as_str()),
            Presented::Missing | Presented::Malformed(_) => None,
        };
        let entered = self.registry.enter(&domain, &owner, &repository, protocol.name(), token).await;
        let scope = match (entered, &presented) {
            (Ok(scope), _) => scope,
            (Err(Error::Unauthenticated { message }), Presented::Malformed(why)) => {
                self.count_failure(line)?;
                let message = format!("{why}; {}", message.split_once("; ").map_or("", |(_, how)| how));
                return Err(Error::Unauthenticated { message });
            }
            (Err(error @ Error::Unauthenticated { .. }), Presented::Token(_)) => {
                self.count_failure(line)?;
                return Err(error);
            }
            // Clients begin without credentials and wait for the challenge; that is no failure.
            (Err(error), _) => return Err(error),
        };
        if let Caller::Principal(principal) = &scope.caller {
            line.principal = Some(principal.clone());
        }
        self.registry.count_request(&scope.caller)?;
        // Held until the answer is made.
        let _place = match body.is_empty() {
            true => None,
            false => Some(self.registry.upload_place(&scope.caller, Some(group(line.client)))?),
        };
        let request = protocol::Request {
            method: parts.method,
            segments,
            trailing_slash: target.trailing_slash,
            query: target.query,
            headers: parts.headers,
            body,
            scope,
            base,
        };
        protocol.handle(&self.registry, request).await
    }

    /// Counts a failed authentication; `Err` when this address had too many.
    fn count_failure(&self, line: &RequestLine) -> Result<(), Error> {
        HttpMetrics::get().failed_authentications.inc();
        match self.limiter.failed(line.client, Instant::now()) {
            None => Ok(()),
            Some(retry_after) => Err(Error::Throttled {
                retry_after,
                message: format!(
                    "too many failed authentications from {}; a valid token is answered at once (failed-auth-limit)",
                    line.client
                ),
            }),
        }
    }

    fn is_own(&self, authority: &str, peer: Peer) -> bool {
        let default_port = if peer.secure { 443 } else { 80 };
        let with_port: Cow<'_, str> = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.into(),
            _ => format!("{authority}:{default_port}").into(),
        };
        let is_local = with_port.strip_suffix(&format!(":{}", peer.local.port())).is_some_and(|host| {
            host == "localhost" || host.trim_matches(['[', ']']).parse() == Ok(peer.local.ip().to_canonical())
        });
        is_local || self.own_authorities.iter().any(|own| own == authority || *own == with_port)
    }
}

/// A request to a repository, before anybody knows who makes it.
struct Unauthenticated {
    parts: Parts,
    body: RequestBody,
    /// Below the repository.
    segments: Vec<String>,
    target: Target,
    base: String,
}

fn no_format(name: &str) -> String {
    let built = crate::formats::names();
    if crate::formats::KNOWN.contains(&name) {
        return format!("the format {name} is not built into this version of Weir; these are: {built}");
    }
    format!("'{}' is not a package format; these are: {built}", weir_core::name::shown(name))
}

/// A refusal at a door that has no format: plain text.
fn refusal(line: &mut RequestLine, error: &Error) -> Response<Body> {
    log_error(line, error);
    let head = weir_protocol::error::head(error, "weir").body(());
    let mut response = respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
    if let Ok(head) = head {
        *response.status_mut() = head.status();
        response.headers_mut().extend(head.headers().clone());
    }
    response
}

/// A refusal before anybody knows where the request goes, in the words of the door its path begins with.
fn unreadable(line: &mut RequestLine, path: &str, error: &Error) -> Response<Body> {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if first == "v1" {
        return unreadable_call(line, error);
    }
    let Some(protocol) = crate::formats::find(first) else { return refusal(line, error) };
    log_error(line, error);
    protocol.error_response(error, "weir")
}

/// A request of the control API whose target cannot be read, in the shape its clients read errors in.
fn unreadable_call(line: &mut RequestLine, error: &Error) -> Response<Body> {
    log_error(line, error);
    let text = serde_json::json!({ "message": error.to_string(), "reason": "FIELD_VALIDATION_FAILED" });
    let mut response = respond::json(StatusCode::BAD_REQUEST, &text);
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static("ValidationException"));
    response
}

fn log_error(line: &mut RequestLine, error: &Error) {
    if let Error::Internal(source) = error {
        tracing::error!(error = %source, "internal error");
    }
    line.error = Some(error.to_string());
}

fn with_retry(mut response: Response<Body>, error: &Error) -> Response<Body> {
    if let Ok(head) = weir_protocol::error::head(error, "").body(())
        && let Some(value) = head.headers().get(http::header::RETRY_AFTER)
    {
        response.headers_mut().insert(http::header::RETRY_AFTER, value.clone());
    }
    response
}

fn with_header(mut response: Response<Body>, name: HeaderName, value: &'static str) -> Response<Body> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
