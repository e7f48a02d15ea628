//! `npm login`, `whoami`, `profile get` and `logout`.

use crate::answer;
use crate::write::caller_name;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use weir_core::{Error, Result};
use weir_protocol::Call;
use weir_protocol::protocol::LoginRequest;
use weir_protocol::respond::Response;
use weir_registry::Registry;

const MAX_BODY_BYTES: u64 = 64 << 10;
const USER: &str = "org.couchdb.user:";

/// Whether a request asks for a token and so has none yet.
pub(crate) fn is_login(method: &Method, segments: &[String]) -> bool {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (method, &*segments) {
        (&Method::PUT, ["-", "user", user, ..]) => user.starts_with(USER),
        (&Method::POST, ["-", "v1", "login"]) => true,
        _ => false,
    }
}

/// `PUT -/user/org.couchdb.user:NAME` with `{name, password}`: the password is a token or a secret key, and
/// a token comes back. Web login answers that there is none, upon which npm asks for a password.
pub(crate) async fn login(registry: &Registry, request: LoginRequest) -> Result<Response> {
    #[derive(Deserialize)]
    struct Credentials {
        name: Option<String>,
        password: String,
    }
    if request.method == Method::POST {
        return Err(answer::unsupported("web login", "npm asks for user name and password instead"));
    }
    let body = request.body.collect(MAX_BODY_BYTES, "the limit of a login").await?;
    let credentials: Credentials = serde_json::from_slice(&body)
        .map_err(|_| Error::cannot_parse("a login must be a JSON object with name and password"))?;
    let from_path = request.segments.get(2).and_then(|user| user.strip_prefix(USER)).unwrap_or_default();
    let name = credentials.name.as_deref().unwrap_or(from_path);
    let issued = registry.login(&request.domain, &request.owner, name, &credentials.password).await?;
    let body = json!({ "ok": true, "id": format!("{USER}{name}"), "rev": "1-0", "token": issued.token });
    Ok(answer::json(StatusCode::CREATED, &body))
}

/// `GET -/whoami`.
pub(crate) fn whoami(call: &Call) -> Result<Response> {
    let body = json!({ "username": caller_name(&call.scope.caller)? });
    Ok(call.answer(answer::json(StatusCode::OK, &body)))
}

/// `GET -/npm/v1/user`: as much of a profile as there is.
pub(crate) fn profile(call: &Call) -> Result<Response> {
    let body = json!({
        "name": caller_name(&call.scope.caller)?,
        "email": "",
        "email_verified": false,
        "fullname": "",
        "tfa": null,
    });
    Ok(call.answer(answer::json(StatusCode::OK, &body)))
}

/// `DELETE -/user/token/TOKEN`.
pub(crate) async fn logout(registry: &Registry, call: &Call, token: &str) -> Result<Response> {
    registry.logout(&call.scope, token).await?;
    Ok(answer::done(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logins_come_without_a_token() {
        let check = |method: Method, path: &str| {
            let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
            is_login(&method, &segments)
        };
        assert!(check(Method::PUT, "-/user/org.couchdb.user:ann"));
        assert!(check(Method::PUT, "-/user/org.couchdb.user:ann/-rev/1-0"));
        assert!(check(Method::POST, "-/v1/login"));
        assert!(!check(Method::GET, "-/user/org.couchdb.user:ann"));
        assert!(!check(Method::DELETE, "-/user/token/weir_x"));
        assert!(!check(Method::PUT, "widget"));
        assert!(!check(Method::PUT, "-/user/token"));
    }
}
