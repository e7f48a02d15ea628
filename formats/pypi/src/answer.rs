//! Refusals as Python's clients print them: plain text in the body for uv, poetry and hatch, and the same in
//! the status line for pip, twine and flit, which print nothing else.

use weir_core::Error;
use weir_protocol::body::Body;
use weir_protocol::respond::{self, Reason, Response};

/// An error with its reason in the body and in the status line.
pub(crate) fn error(error: &Error, realm: &str) -> Response {
    let text = error.to_string();
    let head = weir_protocol::error::head(error, realm)
        .header("content-type", "text/plain; charset=utf-8")
        .header("x-content-type-options", "nosniff")
        .extension(Reason::of(&text));
    head.body(Body::from(format!("{text}\n"))).unwrap_or_else(|fault| {
        tracing::error!(%fault, "a refusal cannot be written");
        respond::empty(http::StatusCode::INTERNAL_SERVER_ERROR)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_refusal_says_why_in_both_places() {
        let response = error(&Error::denied("no\nway"), "local/main");
        assert_eq!(response.status(), 403);
        assert_eq!(response.extensions().get::<Reason>().map(Reason::as_str), Some("no way"));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no\nway\n");
        let challenge = error(&Error::unauthenticated("log in"), "local/main");
        assert_eq!(challenge.headers()["www-authenticate"], "Basic realm=\"local/main\"");
    }
}
