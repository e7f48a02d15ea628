//! Errors as AWS's clients read them: status, `x-amzn-ErrorType`, a JSON body with `message` and the
//! members the service model declares (`codeartifact.md` 1.2). An internal error's source goes to the
//! log and never to a client.

use crate::operation::Operation;
use crate::sigv4::Refusal;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use weir_core::Error;
use weir_core::name::shown;
use weir_protocol::Body;

/// Why the control API did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A use case or an input refused it.
    #[error(transparent)]
    Core(#[from] Error),
    /// The signature was refused.
    #[error(transparent)]
    Signature(#[from] Refusal),
    /// No operation is at this method and path.
    #[error("no operation of this API is at {method} {path}")]
    Unknown {
        /// The method.
        method: Method,
        /// The path.
        path: String,
    },
    /// The service model has this operation and Weir does not yet.
    #[error("{} is not built into this version of Weir", .0.name())]
    NotBuilt(Operation),
}

/// Why a request was refused, as its client was told: an extension of the answer, for the log.
#[derive(Debug, Clone)]
pub struct Refused(pub String);

impl ApiError {
    /// An unknown method and path, made fit for a message.
    pub(crate) fn unknown(method: &Method, path: &str) -> Self {
        Self::Unknown { method: method.clone(), path: shown(path) }
    }

    /// AWS's name for it and the status that goes with the name.
    pub(crate) fn kind(&self) -> (&'static str, StatusCode) {
        match self {
            Self::Signature(refusal) => (refusal.error_type(), StatusCode::FORBIDDEN),
            Self::Unknown { .. } | Self::NotBuilt(_) => ("UnknownOperationException", StatusCode::NOT_FOUND),
            Self::Core(error) => match error {
                Error::NotFound { .. } => ("ResourceNotFoundException", StatusCode::NOT_FOUND),
                Error::Conflict { .. } => ("ConflictException", StatusCode::CONFLICT),
                Error::Invalid { .. } => ("ValidationException", StatusCode::BAD_REQUEST),
                Error::Unauthenticated { .. } => ("UnrecognizedClientException", StatusCode::FORBIDDEN),
                Error::Denied { .. } => ("AccessDeniedException", StatusCode::FORBIDDEN),
                Error::TooLarge { .. } => ("RequestEntityTooLargeException", StatusCode::PAYLOAD_TOO_LARGE),
                Error::QuotaExceeded { .. } => {
                    ("ServiceQuotaExceededException", StatusCode::PAYMENT_REQUIRED)
                }
                Error::Throttled { .. } => ("ThrottlingException", StatusCode::TOO_MANY_REQUESTS),
                Error::Unavailable { .. } => ("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE),
                Error::Stalled { .. } => ("RequestTimeoutException", StatusCode::REQUEST_TIMEOUT),
                // AWS has no name for a public registry that answers a copy with something wrong.
                Error::BadUpstream { .. } | Error::Internal(_) => {
                    ("InternalServerException", StatusCode::INTERNAL_SERVER_ERROR)
                }
            },
        }
    }

    /// Seconds after which the client may come again, if that helps.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Core(Error::Throttled { retry_after, .. } | Error::Unavailable { retry_after, .. }) => {
                Some(retry_after.as_secs().max(1))
            }
            _ => None,
        }
    }

    /// The answer in AWS's JSON shape.
    pub(crate) fn response(&self) -> Response<Body> {
        let (name, status) = self.kind();
        self.log();
        let body = crate::wire::without_nulls(self.body());
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        response.extensions_mut().insert(Refused(self.message()));
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// Writes the source of an internal error to the log, the one place where it is told.
    pub(crate) fn log(&self) {
        match self {
            Self::Core(Error::Internal(source)) => tracing::error!(error = %source, "internal error"),
            Self::Core(Error::BadUpstream { message }) => {
                tracing::error!(%message, "upstream error in the control api")
            }
            _ => {}
        }
    }

    /// What the client is told.
    fn message(&self) -> String {
        match self {
            Self::Core(Error::BadUpstream { .. }) => "internal error".to_owned(),
            other => other.to_string(),
        }
    }

    fn body(&self) -> Value {
        let message = self.message();
        match self {
            Self::Core(
                Error::NotFound { resource, id, .. }
                | Error::Conflict { resource, id, .. }
                | Error::QuotaExceeded { resource, id, .. },
            ) => json!({ "message": message, "resourceId": id, "resourceType": resource.as_str() }),
            Self::Core(Error::Invalid { reason, .. }) => {
                json!({ "message": message, "reason": reason.as_str() })
            }
            _ => json!({ "message": message }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weir_core::Resource;

    fn check(error: impl Into<ApiError>, status: u16, name: &str, body: Value) {
        let response = error.into().response();
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(response.headers()["x-amzn-errortype"], name);
        let Body::Full(bytes) = response.into_body() else { panic!("{name} has a body in memory") };
        assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), body, "{name}");
    }

    #[test]
    fn every_error_has_its_shape() {
        let id = "left-pad";
        let of_package = json!({ "message": "m", "resourceId": id, "resourceType": "package" });
        check(
            Error::not_found(Resource::Package, id, "m"),
            404,
            "ResourceNotFoundException",
            of_package.clone(),
        );
        check(Error::conflict(Resource::Package, id, "m"), 409, "ConflictException", of_package.clone());
        let quota = Error::QuotaExceeded { resource: Resource::Package, id: id.into(), message: "m".into() };
        check(quota, 402, "ServiceQuotaExceededException", of_package);
        let invalid = json!({ "message": "domain: is missing", "reason": "FIELD_VALIDATION_FAILED" });
        check(Error::invalid("domain", "is missing"), 400, "ValidationException", invalid);
        let plain = json!({ "message": "m" });
        check(Error::unauthenticated("m"), 403, "UnrecognizedClientException", plain.clone());
        check(Error::denied("m"), 403, "AccessDeniedException", plain.clone());
        check(Error::too_large("m"), 413, "RequestEntityTooLargeException", plain.clone());
        check(Error::unavailable("m"), 503, "ServiceUnavailable", plain.clone());
        check(Refusal::Invalid("m".into()), 403, "InvalidSignatureException", plain);
    }

    #[test]
    fn a_source_never_reaches_a_client() {
        let told = json!({ "message": "internal error" });
        check(Error::internal("the password is 1234"), 500, "InternalServerException", told.clone());
        check(Error::bad_upstream("a private host said no"), 500, "InternalServerException", told);
    }

    #[test]
    fn a_throttled_client_is_told_when_to_come_again() {
        let error = Error::Throttled { retry_after: Duration::from_millis(300), message: "m".into() };
        let response = ApiError::from(error).response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[test]
    fn an_unknown_operation_names_what_was_asked() {
        let response = ApiError::unknown(&Method::PATCH, "/v1/nothing").to_string();
        assert_eq!(response, "no operation of this API is at PATCH /v1/nothing");
        let unbuilt = ApiError::NotBuilt(Operation::ListPackageGroups).to_string();
        assert!(unbuilt.starts_with("ListPackageGroups is not built"), "{unbuilt}");
    }
}
