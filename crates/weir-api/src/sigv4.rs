//! Who signed this request? Verifies AWS Signature Version 4 in its header and its presigned form
//! (AWS IAM guide, "Signature Version 4 for API requests"; `weir.md` section 3). Pure: the time and
//! the secret key are handed in, the body's digest is checked by whoever reads the body.
//!
//! Learned on the way: every service but S3 encodes the path twice and removes its dot segments;
//! the Region of the scope is part of the key but is compared with nothing; `SignedHeaders` goes into
//! the canonical request as it was sent; in the presigned form all parameters but the signature are
//! signed, and the payload is hashed as in the header form (only S3 leaves it out).

mod canonical;
mod credential;
mod key;
mod presigned;
mod sign;

pub use sign::Signer;

use crate::query::Query;
use credential::Fields;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq as _;
use weir_core::Digest;
use weir_core::name::shown;

/// How far a client's clock may be off.
const SKEW: SignedDuration = SignedDuration::from_mins(15);
/// The payload hash of a client that does not sign its body.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// Headers that may come after signing: a session token, which opens nothing without the secret key, and
/// what a CDN in front adds.
const ADDED_AFTER_SIGNING: &[&str] = &["x-amz-security-token", "x-amz-cf-id"];

/// The parts of a request that a signature covers, as the client sent them.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path as on the wire: encoded once, with any prefix a proxy took off put back.
    pub path: &'a str,
    /// The query as on the wire, without `?`.
    pub query: &'a str,
    /// What the client wrote as host, where the `Host` header does not say it (HTTP/2, a proxy).
    pub host: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// What a request claims about its signer, well formed and in time, but not yet verified.
#[derive(Debug)]
pub struct Claim {
    fields: Fields,
    presigned: bool,
    payload: ExpectedPayload,
    /// The payload hash as the client wrote it; `None` when it is to be computed.
    payload_text: Option<String>,
    session_token: Option<String>,
}

/// What the signature says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedPayload {
    /// The body that arrives must have this digest.
    Sha256(Digest),
    /// The signature does not cover the body.
    Unsigned,
    /// The body's digest is part of what is signed: it must be known before the signature is verified.
    Compute,
}

/// Why a signature was refused. All are answered with status 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is not signed.
    #[error(
        "the request is not signed; sign it with Signature Version 4 and an access key made by `weir key create`"
    )]
    Missing,
    /// The signature's parts are malformed or not all there.
    #[error("{0}")]
    Incomplete(String),
    /// The access key is not known.
    #[error("the access key '{0}' is not known here; `weir key list` shows the keys of a user")]
    Unrecognized(String),
    /// The signature is not that of this request, or not of this time.
    #[error("{0}")]
    Invalid(String),
    /// The credentials have ended.
    #[error("the credentials of access key '{0}' have expired; get new ones")]
    Expired(String),
}

impl Refusal {
    /// AWS's name for it (page CommonErrors).
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignature",
            Self::Unrecognized(_) => "UnrecognizedClientException",
            Self::Invalid(_) => "InvalidSignatureException",
            Self::Expired(_) => "ExpiredTokenException",
        }
    }
}

impl Claim {
    /// Reads the signature of a request and checks its form, its scope's date and its time.
    pub fn read(request: &SignedRequest<'_>, now: Timestamp) -> Result<Self, Refusal> {
        let query = Query::parse(request.query)
            .map_err(|error| Refusal::Incomplete(format!("the query cannot be read: {error}")))?;
        let presigned = presigned::is_presigned(&query);
        let signed_by_header = request.headers.contains_key(http::header::AUTHORIZATION);
        let (fields, lifetime) = match (signed_by_header, presigned) {
            (false, false) => return Err(Refusal::Missing),
            (true, true) => {
                return Err(Refusal::Incomplete("it is signed both in its header and in its query".into()));
            }
            (true, false) => (credential::read(request.headers)?, None),
            (false, true) => {
                let (fields, lifetime) = presigned::read(&query)?;
                (fields, Some(lifetime))
            }
        };
        check_time(fields.signed_at, lifetime, now)?;
        check_signed_headers(request, &fields)?;
        let (payload, payload_text) = read_payload(request.headers)?;
        let session_token = if presigned {
            query.get("X-Amz-Security-Token").map(str::to_owned)
        } else {
            single(request.headers, "x-amz-security-token")?.map(str::to_owned)
        };
        Ok(Self { fields, presigned, payload, payload_text, session_token })
    }

    /// The access key that signed, whose secret is to be looked up.
    pub fn access_key(&self) -> &str {
        &self.fields.access_key
    }

    /// The session token that came with it, if any.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// What is to be checked of the body.
    pub fn payload(&self) -> ExpectedPayload {
        self.payload
    }

    /// Refuses a signature made for a service that is not one of `services`.
    pub fn require_service(&self, services: &[&str]) -> Result<(), Refusal> {
        if services.contains(&self.fields.service.as_str()) {
            return Ok(());
        }
        Err(Refusal::Invalid(format!(
            "the signature is for the service '{}'; it must be for {}",
            shown(&self.fields.service),
            services.join(" or ")
        )))
    }

    /// Verifies the signature with the access key's secret, in constant time. `body` is the digest
    /// of the body that came; it is needed where [`Self::payload`] is [`ExpectedPayload::Compute`].
    pub fn verify(
        &self,
        request: &SignedRequest<'_>,
        secret: &str,
        body: Option<Digest>,
    ) -> Result<(), Refusal> {
        let computed = body.map(|digest| digest.hex());
        let payload = self.payload_text.as_deref().or(computed.as_deref()).unwrap_or(UNSIGNED_PAYLOAD);
        let canonical = canonical::request(request, &self.fields.signed_headers, self.presigned, payload);
        let to_sign = key::string_to_sign(&self.fields, &canonical);
        let expected = key::sign(secret, &self.fields, to_sign.as_bytes());
        if bool::from(expected.ct_eq(&self.fields.signature)) {
            return Ok(());
        }
        Err(Refusal::Invalid(
            "the signature is not the one this server calculates for the request; check the secret key, and that \
             nothing between client and server changes method, path, query, host or signed headers"
                .into(),
        ))
    }
}

fn check_time(signed_at: Timestamp, lifetime: Option<SignedDuration>, now: Timestamp) -> Result<(), Refusal> {
    let age = now.duration_since(signed_at);
    if age < -SKEW {
        return Err(Refusal::Invalid(format!(
            "the signature is of {signed_at}, more than 15 minutes after this server's clock ({now}); set the client's clock"
        )));
    }
    match lifetime {
        None if age > SKEW => Err(Refusal::Invalid(format!(
            "the signature has expired: it is of {signed_at}, more than 15 minutes before this server's clock ({now})"
        ))),
        Some(lifetime) if age > lifetime => Err(Refusal::Invalid(format!(
            "the presigned request has expired: it was valid for {} seconds from {signed_at}, and it is {now}",
            lifetime.as_secs()
        ))),
        _ => Ok(()),
    }
}

/// `host` and every `x-amz-` header that is there must be signed, or they could be changed on the way.
fn check_signed_headers(request: &SignedRequest<'_>, fields: &Fields) -> Result<(), Refusal> {
    let is_signed = |name: &str| fields.signed_headers.iter().any(|signed| signed == name);
    if !is_signed("host") {
        return Err(Refusal::Incomplete("the header 'host' must be among the signed headers".into()));
    }
    for name in request.headers.keys().map(http::HeaderName::as_str) {
        if name.starts_with("x-amz-") && !ADDED_AFTER_SIGNING.contains(&name) && !is_signed(name) {
            return Err(Refusal::Incomplete(format!("the header '{name}' is there and must be signed")));
        }
    }
    for name in &fields.signed_headers {
        let arrived = request.headers.contains_key(name) || name == "host" && request.host.is_some();
        if !arrived {
            return Err(Refusal::Invalid(format!("the signed header '{}' did not arrive", shown(name))));
        }
    }
    Ok(())
}

fn read_payload(headers: &HeaderMap) -> Result<(ExpectedPayload, Option<String>), Refusal> {
    let Some(text) = single(headers, "x-amz-content-sha256")? else {
        return Ok((ExpectedPayload::Compute, None));
    };
    if text == UNSIGNED_PAYLOAD {
        return Ok((ExpectedPayload::Unsigned, Some(text.to_owned())));
    }
    let Some(digest) = Digest::parse(&text.to_ascii_lowercase()) else {
        return Err(Refusal::Invalid(format!(
            "x-amz-content-sha256 is '{}'; it must be the body's SHA-256 in hex or {UNSIGNED_PAYLOAD}",
            shown(text)
        )));
    };
    Ok((ExpectedPayload::Sha256(digest), Some(text.to_owned())))
}

/// The value of a header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Incomplete(format!("the header '{name}' is there more than once")));
    }
    let text =
        value.to_str().map_err(|_| Refusal::Incomplete(format!("the header '{name}' is not plain text")))?;
    Ok(Some(text.trim()))
}

#[cfg(test)]
mod tests;
