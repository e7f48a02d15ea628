//! The presigned form: the same parts as query parameters, with a life of their own.

use super::Refusal;
use super::credential::{ALGORITHM, Fields, parse_date};
use crate::query::Query;
use jiff::SignedDuration;
use weir_core::name::shown;

/// Seven days, AWS's limit.
const MAX_LIFETIME_SECONDS: i64 = 604_800;

/// Whether the query carries a signature.
pub(super) fn is_presigned(query: &Query) -> bool {
    ["X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"].iter().any(|name| query.get(name).is_some())
}

/// Reads the parameters and the time for which the request is valid.
pub(super) fn read(query: &Query) -> Result<(Fields, SignedDuration), Refusal> {
    let get = |name: &str| {
        query.get(name).ok_or_else(|| Refusal::Incomplete(format!("the presigned request has no {name}")))
    };
    let algorithm = get("X-Amz-Algorithm")?;
    if algorithm != ALGORITHM {
        return Err(Refusal::Incomplete(format!(
            "X-Amz-Algorithm is '{}'; it must be {ALGORITHM}",
            shown(algorithm)
        )));
    }
    let expires = get("X-Amz-Expires")?;
    let seconds = expires.parse().ok().filter(|seconds| (1..=MAX_LIFETIME_SECONDS).contains(seconds));
    let Some(seconds) = seconds else {
        return Err(Refusal::Incomplete(format!(
            "X-Amz-Expires is '{}'; it must be 1 to {MAX_LIFETIME_SECONDS} seconds",
            shown(expires)
        )));
    };
    let signed_at = parse_date(get("X-Amz-Date")?)?;
    let fields = Fields::parse(
        get("X-Amz-Credential")?,
        get("X-Amz-SignedHeaders")?,
        get("X-Amz-Signature")?,
        signed_at,
    )?;
    Ok((fields, SignedDuration::from_secs(seconds)))
}
