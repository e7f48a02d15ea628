//! Weir's own management API under `/weir/v1`: what the command line asks for and AWS has no operation
//! for. JSON in and out, errors as in the rest of this API; documented in `docs/api.md`.

mod connection;
mod explain;
mod garbage;
mod identity;
mod status;
mod token;
mod yank;

use crate::error::ApiError;
use crate::input::Input;
use crate::operation::{Context, json};
use http::{Method, Response};
use serde_json::json;
use weir_core::Timestamp;
use weir_protocol::Body;

/// Answers the request at the segments below `/weir/v1`.
pub(crate) async fn run(
    context: &Context<'_>,
    method: &Method,
    segments: &[&str],
    input: &Input<'_>,
    now: Timestamp,
) -> Result<Response<Body>, ApiError> {
    let value = match (method.as_str(), segments) {
        ("GET", ["status"]) => status::show(context, now).await?,
        ("GET", ["users"]) => identity::list_users(context).await?,
        ("POST", ["users"]) => identity::create_user(context, input).await?,
        ("DELETE", ["users", name]) => identity::delete_user(context, name).await?,
        ("GET", ["keys"]) => identity::list_keys(context, input).await?,
        ("POST", ["keys"]) => identity::create_key(context, input).await?,
        ("DELETE", ["keys", id]) => identity::delete_key(context, id).await?,
        ("GET", ["tokens"]) => token::list(context).await?,
        ("POST", ["tokens"]) => token::create(context, input).await?,
        ("DELETE", ["tokens", id]) => token::delete(context, id).await?,
        ("GET", ["connections"]) => connection::list(context).await?,
        ("PUT", ["connections", name]) => connection::set(context, name, input).await?,
        ("DELETE", ["connections", name]) => connection::delete(context, name).await?,
        ("POST", ["connections", name, "rediscover"]) => connection::rediscover(context, name).await?,
        ("POST", ["connections", name, "unpin"]) => connection::unpin(context, name, input).await?,
        ("GET", ["explain"]) => explain::show(context, input).await?,
        ("GET", ["gc"]) => garbage::collection(context).await?,
        ("POST", ["gc"]) => garbage::collect(context, input).await?,
        ("GET", ["verify"]) => garbage::verification(context).await?,
        ("POST", ["verify"]) => garbage::verify(context, input).await?,
        ("POST", ["yank"]) => yank::yank(context, input).await?,
        ("POST", ["unyank"]) => yank::unyank(context, input).await?,
        _ => return Err(ApiError::unknown(method, &format!("/weir/v1/{}", segments.join("/")))),
    };
    Ok(json(value))
}

/// The answer of what has nothing to tell.
fn done() -> serde_json::Value {
    json!({})
}
