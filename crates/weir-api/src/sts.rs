//! STS `GetCallerIdentity`, which tools ask first to learn whose keys they hold: the query protocol
//! at `/`, answers and errors in XML (AWS STS API reference, version 2011-06-15).

use crate::error::{ApiError, Refused};
use crate::query::Query;
use http::{HeaderValue, Response, StatusCode, header};
use weir_core::Principal;
use weir_protocol::Body;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The action a request asks for: of its form body, else of its query.
pub(crate) fn action(query: &Query, body: &[u8]) -> Option<String> {
    let form = std::str::from_utf8(body).ok().and_then(|text| Query::parse(text.trim()).ok());
    form.as_ref().and_then(|form| form.get("Action")).or_else(|| query.get("Action")).map(str::to_owned)
}

/// The answer of GetCallerIdentity.
pub(crate) fn caller_identity(principal: &Principal, request_id: &str) -> Response<Body> {
    let text = format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
         <Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>\n",
        escaped(principal.arn.as_str()),
        escaped(&principal.id),
        principal.account,
    );
    xml(StatusCode::OK, text)
}

/// An error in the words of the query protocol, whose codes have no `Exception` at their end.
pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    let (name, status) = error.kind();
    let code = match name {
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "UnknownOperationException" => "InvalidAction",
        "AccessDeniedException" => "AccessDenied",
        "ValidationException" => "ValidationError",
        "InternalServerException" => "InternalFailure",
        other => other.strip_suffix("Exception").unwrap_or(other),
    };
    error.log();
    let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
    let message = if status == StatusCode::INTERNAL_SERVER_ERROR {
        "internal error".to_owned()
    } else {
        error.to_string()
    };
    let text = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{code}</Code>\
         <Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>\n",
        escaped(&message),
    );
    let mut response = xml(status, text);
    response.extensions_mut().insert(Refused(message));
    response
}

fn xml(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::Refusal;

    #[test]
    fn the_action_is_found_in_the_form_and_in_the_query() {
        let query = Query::parse("Action=GetCallerIdentity&Version=2011-06-15").expect("valid");
        let none = Query::default();
        assert_eq!(
            action(&none, b"Action=GetCallerIdentity&Version=2011-06-15\n").as_deref(),
            Some("GetCallerIdentity")
        );
        assert_eq!(action(&query, b"").as_deref(), Some("GetCallerIdentity"));
        assert_eq!(action(&none, b"{}"), None);
    }

    #[test]
    fn an_error_is_told_in_the_words_of_the_query_protocol() {
        let response = error(&ApiError::from(Refusal::Invalid("a < b".into())), "id-1");
        assert_eq!(response.status(), 403);
        let Body::Full(bytes) = response.into_body() else { panic!("a body in memory") };
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        assert!(text.contains("<Code>SignatureDoesNotMatch</Code><Message>a &lt; b</Message>"), "{text}");
        assert!(text.contains("<RequestId>id-1</RequestId>"), "{text}");
    }
}
