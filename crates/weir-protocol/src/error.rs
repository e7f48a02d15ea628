//! The status line and headers of a refusal, the same for every format; its body is the format's own.

use http::StatusCode;
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::response::Builder;
use std::time::Duration;
use weir_core::Error;

/// The head of an answer that says `error`: status (`house.md` 3.6 with the corrections of `weir.md` 3
/// and 4), the challenge with `realm` (`DOMAIN/REPOSITORY`) for 401, and `Retry-After` where waiting
/// helps. No refusal is to be kept by a cache.
pub fn head(error: &Error, realm: &str) -> Builder {
    let head = http::Response::builder().status(status(error)).header(CACHE_CONTROL, "no-store");
    match error {
        Error::Unauthenticated { .. } => {
            head.header(WWW_AUTHENTICATE, format!("Basic realm=\"{}\"", quotable(realm)))
        }
        Error::Throttled { retry_after, .. } | Error::Unavailable { retry_after, .. } => {
            head.header(RETRY_AFTER, whole_seconds(*retry_after))
        }
        Error::NotFound { .. }
        | Error::Conflict { .. }
        | Error::Invalid { .. }
        | Error::Denied { .. }
        | Error::TooLarge { .. }
        | Error::QuotaExceeded { .. }
        | Error::BadUpstream { .. }
        | Error::Stalled { .. }
        | Error::Internal(_) => head,
    }
}

/// The status that package managers get for an error.
pub fn status(error: &Error) -> StatusCode {
    match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Conflict { .. } => StatusCode::CONFLICT,
        Error::Invalid { .. } => StatusCode::BAD_REQUEST,
        Error::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        Error::Denied { .. } => StatusCode::FORBIDDEN,
        Error::TooLarge { .. } | Error::QuotaExceeded { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::BadUpstream { .. } => StatusCode::BAD_GATEWAY,
        Error::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The realm comes from the path, so nothing that could end the quoted string or the header stays in it.
fn quotable(realm: &str) -> String {
    realm.chars().filter(|c| (c.is_ascii_graphic() || *c == ' ') && !matches!(c, '"' | '\\')).collect()
}

/// Rounded up: a client told 0 would come again at once.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0 || duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Resource;

    fn check(error: Error, realm: &str, status: u16, headers: &[(&str, &str)]) {
        let response = head(&error, realm).body(()).unwrap();
        assert_eq!(response.status(), status, "{error}");
        for (name, value) in headers {
            assert_eq!(response.headers()[*name], *value, "{error}");
        }
    }

    #[test]
    fn each_error_has_its_status_and_headers() {
        let realm = "local/main";
        check(Error::not_found(Resource::Package, "x", "no x"), realm, 404, &[("cache-control", "no-store")]);
        check(Error::conflict(Resource::PackageVersion, "1", "there"), realm, 409, &[]);
        check(Error::invalid("name", "wrong"), realm, 400, &[]);
        check(Error::denied("no"), realm, 403, &[]);
        check(Error::too_large("big"), realm, 413, &[]);
        check(Error::bad_upstream("html"), realm, 502, &[]);
        check(Error::unavailable("down"), realm, 503, &[("retry-after", "5")]);
        check(Error::stalled("silence"), realm, 408, &[]);
        check(Error::internal("secret"), realm, 500, &[]);
        let throttled = Error::Throttled { retry_after: Duration::from_millis(1500), message: "slow".into() };
        check(throttled, realm, 429, &[("retry-after", "2")]);
        check(
            Error::unauthenticated("who"),
            realm,
            401,
            &[("www-authenticate", "Basic realm=\"local/main\"")],
        );
    }

    #[test]
    fn a_realm_cannot_end_its_quotes_or_its_line() {
        let hostile = "a\"b\r\nSet-Cookie: x=\u{e9}\\/main";
        let clean = "Basic realm=\"abSet-Cookie: x=/main\"";
        check(Error::unauthenticated("who"), hostile, 401, &[("www-authenticate", clean)]);
    }
}
