//! The control API, asked by AWS's clients and by Weir's own command line: the operations of the
//! CodeArtifact service model under `/v1`, STS GetCallerIdentity at `/`, and Weir's own management
//! API under `/weir/v1`. All three are signed with Signature Version 4. No use case lives here:
//! a request is read, handed to the registry, and the answer written in AWS's words.

mod admin;
mod authenticate;
pub mod error;
mod input;
pub mod operation;
mod query;
pub mod sigv4;
mod sts;
mod wire;

#[cfg(test)]
mod model_tests;

use authenticate::{Authenticated, authenticate};
use error::ApiError;
pub use error::Refused;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use input::Input;
use operation::{Context, Operation};
use query::Query;
use std::sync::Arc;
use weir_core::{Caller, Clock, Principal, Secrets};
use weir_protocol::{Body, Face, RequestBody, Target};
use weir_registry::Registry;

/// The control API of one server.
#[derive(Clone)]
pub struct Api {
    registry: Registry,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
}

/// Where a request came from, as an extension of its head; set by the server, for limits.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub std::net::IpAddr);

fn client_address(parts: &Parts) -> Option<std::net::IpAddr> {
    parts.extensions.get::<ClientAddress>().map(|address| address.0)
}

/// Which of the three interfaces a request speaks to.
enum Door<'a> {
    Operation(Operation),
    Admin(&'a [&'a str]),
    Sts,
}

impl Api {
    /// The API over the use cases of `registry`.
    pub fn new(registry: Registry, clock: Arc<dyn Clock>, secrets: Arc<dyn Secrets>) -> Self {
        Self { registry, clock, secrets }
    }

    /// Whether a request is for this API: `segments` are those of the path below the prefix of its face.
    pub fn owns(method: &Method, segments: &[String], target: &Target) -> bool {
        match segments {
            [] => *method == Method::POST || target.parameter("Action").is_some(),
            [first, ..] if first == "v1" => true,
            [first, second, ..] => first == "weir" && second == "v1",
            _ => false,
        }
    }

    /// Answers one request, whatever becomes of it. `face` is the address the client used: endpoints are
    /// told by it, and a signature may have been made for it where a proxy changed host or path. For the log
    /// the answer's extensions have who asked (`Arc<Principal>`) and why it was refused ([`Refused`]).
    pub async fn handle(&self, parts: &Parts, body: RequestBody, face: &Face) -> Response<Body> {
        let request_id = self.request_id();
        let mut who = None;
        let mut response = match self.answer(parts, body, face, &request_id, &mut who).await {
            Ok(response) => response,
            Err(error) => error.response(),
        };
        if let Some(principal) = who {
            response.extensions_mut().insert(principal);
        }
        let id = HeaderValue::from_str(&request_id).expect("hex digits and hyphens are a header's value");
        response.headers_mut().insert("x-amzn-requestid", id);
        response
    }

    async fn answer(
        &self,
        parts: &Parts,
        body: RequestBody,
        face: &Face,
        request_id: &str,
        who: &mut Option<Arc<Principal>>,
    ) -> Result<Response<Body>, ApiError> {
        let target = Target::parse(&parts.uri)?;
        let segments: Vec<&str> = face.strip_prefix(&target.segments).iter().map(String::as_str).collect();
        let door = match segments.as_slice() {
            [] => Door::Sts,
            ["weir", "v1", rest @ ..] => Door::Admin(rest),
            other => Door::Operation(
                operation::route(&parts.method, other)
                    .ok_or_else(|| ApiError::unknown(&parts.method, parts.uri.path()))?,
            ),
        };
        match door {
            Door::Sts => match self.identify(parts, body, face, request_id, who).await {
                Ok(response) => Ok(response),
                Err(error) => Ok(sts::error(&error, request_id)),
            },
            Door::Admin(segments) => {
                let found =
                    authenticate(&self.registry, self.clock.now(), parts, face, body, false, "codeartifact")
                        .await?;
                *who = Some(found.principal.clone());
                let caller = Caller::Principal(found.principal);
                self.registry.count_request(&caller)?;
                let query = Query::parse(parts.uri.query().unwrap_or(""))?;
                let input = Input { query: &query, headers: &parts.headers, body: &found.content };
                let context = Context { registry: &self.registry, caller: &caller, base: &face.base() };
                admin::run(&context, &parts.method, segments, &input, self.clock.now()).await
            }
            Door::Operation(operation) if !operation.is_built() => Err(ApiError::NotBuilt(operation)),
            Door::Operation(operation) => {
                let streams = operation.streams();
                let Authenticated { principal, content, body } = authenticate(
                    &self.registry,
                    self.clock.now(),
                    parts,
                    face,
                    body,
                    streams,
                    "codeartifact",
                )
                .await?;
                *who = Some(principal.clone());
                let caller = Caller::Principal(principal);
                self.registry.count_request(&caller)?;
                // Held until the answer is made.
                let _place = match streams {
                    true => Some(self.registry.upload_place(&caller, client_address(parts))?),
                    false => None,
                };
                let query = Query::parse(parts.uri.query().unwrap_or(""))?;
                let input = Input { query: &query, headers: &parts.headers, body: &content };
                let context = Context { registry: &self.registry, caller: &caller, base: &face.base() };
                operation.run(&context, &input, body).await
            }
        }
    }

    async fn identify(
        &self,
        parts: &Parts,
        body: RequestBody,
        face: &Face,
        request_id: &str,
        who: &mut Option<Arc<Principal>>,
    ) -> Result<Response<Body>, ApiError> {
        let found = authenticate(&self.registry, self.clock.now(), parts, face, body, false, "sts").await?;
        *who = Some(found.principal.clone());
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        match sts::action(&query, &found.content).as_deref() {
            Some("GetCallerIdentity") => Ok(sts::caller_identity(&found.principal, request_id)),
            other => Err(ApiError::unknown(&parts.method, &format!("/ with Action={}", other.unwrap_or("")))),
        }
    }

    /// A random identifier in the look of a UUID, as AWS's are.
    fn request_id(&self) -> String {
        let mut bytes = [0; 16];
        self.secrets.fill(&mut bytes);
        let text = hex::encode(bytes);
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}
