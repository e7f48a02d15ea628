//! From a signed request to its principal and its body: the signature is verified before anything of
//! the request is believed, and the body is compared with what was signed before it is used.

use crate::error::ApiError;
use crate::sigv4::{Claim, ExpectedPayload, Refusal, SignedRequest};
use bytes::Bytes;
use http::request::Parts;
use std::sync::Arc;
use weir_core::{Digest, Error, Principal, Timestamp};
use weir_protocol::{Face, RequestBody};
use weir_registry::Registry;

/// The largest body of an operation that does not stream it.
const BODY_BYTES: u64 = 1 << 20;
const BODY_LIMIT: &str = "the limit of this API";

/// A request whose signature is right.
pub(crate) struct Authenticated {
    /// Who signed it.
    pub(crate) principal: Arc<Principal>,
    /// The body, verified; empty where it streams.
    pub(crate) content: Bytes,
    /// The body to come, where it streams; whoever reads it compares it with `x-amz-content-sha256`.
    pub(crate) body: RequestBody,
}

/// Verifies a request that must be signed for `service`.
pub(crate) async fn authenticate(
    registry: &Registry,
    now: Timestamp,
    parts: &Parts,
    face: &Face,
    body: RequestBody,
    streams: bool,
    service: &str,
) -> Result<Authenticated, ApiError> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let as_sent = SignedRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or(""),
        host: authority.filter(|_| !parts.headers.contains_key(http::header::HOST)),
        headers: &parts.headers,
    };
    let claim = Claim::read(&as_sent, now)?;
    claim.require_service(&[service])?;
    let key = registry.signing_key(claim.access_key()).await?;
    let (secret, principal) = key.ok_or_else(|| Refusal::Unrecognized(claim.access_key().to_owned()))?;

    if claim.payload() == ExpectedPayload::Compute {
        if streams {
            return Err(Error::invalid("x-amz-content-sha256", "is missing").into());
        }
        let content = body.collect(BODY_BYTES, BODY_LIMIT).await?;
        verify(&claim, &as_sent, face, &secret, Some(Digest::of(&content)))?;
        return Ok(Authenticated { principal, content, body: RequestBody::full("") });
    }
    verify(&claim, &as_sent, face, &secret, None)?;
    if streams {
        return Ok(Authenticated { principal, content: Bytes::new(), body });
    }
    let content = body.collect(BODY_BYTES, BODY_LIMIT).await?;
    if let ExpectedPayload::Sha256(signed) = claim.payload()
        && signed != Digest::of(&content)
    {
        return Err(Refusal::Invalid(
            "the body is not the one that was signed by x-amz-content-sha256".into(),
        )
        .into());
    }
    Ok(Authenticated { principal, content, body: RequestBody::full("") })
}

/// Verifies the request as it came, else as the client made it when a proxy changed host or path.
fn verify(
    claim: &Claim,
    as_sent: &SignedRequest<'_>,
    face: &Face,
    secret: &str,
    body: Option<Digest>,
) -> Result<(), Refusal> {
    let Err(refusal) = claim.verify(as_sent, secret, body) else { return Ok(()) };
    let with_prefix = format!("{}{}", face.prefix, as_sent.path);
    for path in [as_sent.path, &with_prefix] {
        let at_face = SignedRequest { path, host: Some(&face.authority), ..*as_sent };
        if claim.verify(&at_face, secret, body).is_ok() {
            return Ok(());
        }
    }
    Err(refusal)
}
