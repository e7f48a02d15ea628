//! Answers as npm's clients read them: small JSON documents, and refusals whose reason stands in `error`,
//! which all of them print.

use http::StatusCode;
use serde_json::json;
use weir_core::{Error, Resource};
use weir_protocol::body::Body;
use weir_protocol::respond::{self, Response};

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
