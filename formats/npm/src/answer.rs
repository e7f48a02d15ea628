//! Answers as npm's clients read them: rendered indexes, small JSON documents, and refusals whose reason
//! stands in `error`, which all of them print.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{HeaderValue, WARNING};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;
use std::io::Write;
use weir_core::{Error, Resource, Result};
use weir_protocol::accept::prefers_gzip;
use weir_protocol::body::Body;
use weir_protocol::respond::{self, Representation, Response, index_response};
use weir_registry::view::Index;

/// Documents below this many bytes are not worth compressing.
const SMALL: usize = 1 << 10;
/// Documents up to this many bytes are compressed where they are, larger ones off the async threads.
const INLINE: usize = 64 << 10;

/// The answer to a request for an index, with what must be said of its age.
pub(crate) async fn index(index: Index, method: &Method, headers: &HeaderMap) -> Result<Response> {
    let rendered = index.rendered;
    if prefers_gzip(headers) && rendered.identity.len() >= SMALL && rendered.gzip.get().is_none() {
        let identity = rendered.identity.clone();
        let compressed = match identity.len() {
            ..=INLINE => compress(&identity),
            _ => tokio::task::spawn_blocking(move || compress(&identity)).await.map_err(Error::internal)?,
        };
        // Another request may have been faster; its bytes are the same.
        let _ = rendered.gzip.set(compressed?);
    }
    let representation = Representation {
        identity: rendered.identity.clone(),
        gzip: rendered.gzip.get().cloned(),
        etag_base: rendered.etag.clone(),
        content_type: rendered.content_type,
    };
    let mut response = index_response(&representation, method, headers);
    if let Some(seconds) = index.stale_s {
        let headers = response.headers_mut();
        headers.insert("x-weir-stale", HeaderValue::from(seconds));
        headers.insert(WARNING, HeaderValue::from_static("110 - \"Response is Stale\""));
    }
    Ok(response)
}

/// A small JSON document.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    respond::json(status, value)
}

/// `{"ok": true}`, which npm wants after a change.
pub(crate) fn done(status: StatusCode) -> Response {
    json(status, &json!({ "ok": true }))
}

/// A refusal of a command that Weir does not have.
pub(crate) fn unsupported(command: &str, instead: &str) -> Error {
    Error::not_found(Resource::Package, command, format!("npm {command} is not supported by Weir; {instead}"))
}

/// An error as npm, yarn, pnpm and bun print it.
pub(crate) fn error(error: &Error, realm: &str) -> Response {
    let body = json!({ "error": error.to_string() }).to_string();
    let head = weir_protocol::error::head(error, realm).header("content-type", "application/json");
    head.header("x-content-type-options", "nosniff").body(Body::from(body)).unwrap_or_else(|fault| {
        tracing::error!(%fault, "a refusal cannot be written");
        respond::empty(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

fn compress(bytes: &[u8]) -> Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).map_err(Error::internal)?;
    Ok(encoder.finish().map_err(Error::internal)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_refusal_has_its_reason_where_npm_prints_it() {
        let response = error(&Error::denied("say \"no\""), "local/main");
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"error":"say \"no\""}"#);
        let internal = error(&Error::internal("secret path"), "local/main");
        let body = internal.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"error":"internal error"}"#);
    }
}
