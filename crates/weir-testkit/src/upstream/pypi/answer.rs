//! What a healthy Python index answers: pages by what is asked for, files, and the form of an upload.

use super::super::answer::{Seen, error, file, index, requested};
use super::super::fault::Reply;
use super::page::JSON;
use super::{Pypi, PypiSpeaks};
use crate::python::normalized;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};

const HTML: &str = "text/html";
const HTML_V1: &str = "application/vnd.pypi.simple.v1+html";

/// Where clients upload, as on the public registry.
const UPLOAD: &str = "/legacy/";

/// The answer to a request that is for a Python index; `None` when it is for none.
pub(in super::super) fn answer(pypi: &Pypi, token: Option<&str>, seen: &Seen) -> Option<Reply> {
    let path = seen.path.as_str();
    if !["/simple/", "/files/", UPLOAD].iter().any(|place| path.starts_with(place)) {
        return None;
    }
    if !token.is_none_or(|token| authorized(seen, token)) {
        let refused = error(StatusCode::UNAUTHORIZED, "authentication is required");
        return Some(refused.header(header::WWW_AUTHENTICATE, "Basic realm=\"pypi\""));
    }
    let reply = match seen.method.as_str() {
        // The form is kept with the request; nothing of it becomes a file here.
        "POST" if path == UPLOAD => Reply::new(StatusCode::OK, HTML, ""),
        "GET" | "HEAD" => read(pypi, seen),
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "this registry is read-only"),
    };
    Some(reply)
}

fn read(pypi: &Pypi, seen: &Seen) -> Reply {
    let not_found = || error(StatusCode::NOT_FOUND, "not found");
    if let Some(place) = seen.path.strip_prefix("/files/") {
        let found = place.split_once('/').and_then(|(name, file_name)| pypi.file(name, file_name));
        // A file never changes under its name, and clients that hear so do not ask for it again.
        let lasting =
            |reply: Reply| reply.header(header::CACHE_CONTROL, "max-age=365000000, immutable, public");
        return found.map_or_else(not_found, |bytes| lasting(file(seen, bytes)));
    }
    let Some(place) = seen.path.strip_prefix("/simple/") else { return not_found() };
    let (name, whole) = (place.trim_end_matches('/'), place.ends_with('/') || place.is_empty());
    if !whole || name != normalized(name) {
        let to = format!("/simple/{}/", normalized(name));
        return Reply::new(StatusCode::MOVED_PERMANENTLY, HTML, "").header(header::LOCATION, &to);
    }
    let Some(kind) = kind(pypi.settings.speaks, seen.header("accept")) else {
        return error(StatusCode::NOT_ACCEPTABLE, "none of these forms can be had");
    };
    let reply = if name.is_empty() {
        index(seen, pypi.list_page(kind == JSON), kind)
    } else {
        let Some(page) = pypi.page(name, kind == JSON) else { return not_found() };
        let reply = index(seen, page.bytes, kind);
        match page.content_type {
            Some(content_type) => reply.header(header::CONTENT_TYPE, &content_type),
            None => reply,
        }
    };
    reply.header(header::CACHE_CONTROL, "max-age=600, public")
}

/// The form of a page: the first of the most welcome ones that there is.
fn kind(speaks: PypiSpeaks, accept: &str) -> Option<&'static str> {
    match speaks {
        PypiSpeaks::Json => return Some(JSON),
        PypiSpeaks::Html => return Some(HTML),
        PypiSpeaks::Both if accept.is_empty() => return Some(HTML),
        PypiSpeaks::Both => {}
    }
    let mut best = (0.0, None);
    for (asked, quality) in requested(accept) {
        let kind = match asked {
            JSON | "application/vnd.pypi.simple.latest+json" => JSON,
            HTML_V1 | "application/vnd.pypi.simple.latest+html" => HTML_V1,
            HTML | "text/*" | "*/*" => HTML,
            _ => continue,
        };
        if quality > best.0 {
            best = (quality, Some(kind));
        }
    }
    best.1
}

/// Whether a request brings the token, as a bearer or as anybody's password.
fn authorized(seen: &Seen, token: &str) -> bool {
    let brought = seen.header("authorization");
    if brought.strip_prefix("Bearer ").is_some_and(|brought| brought == token) {
        return true;
    }
    let pair = brought.strip_prefix("Basic ").and_then(|pair| STANDARD.decode(pair).ok());
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
    pair.split_once(':').is_some_and(|(_, password)| password == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_in_the_most_welcome_form() {
        let pip = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01";
        let cases = [
            (pip, Some(JSON)),
            ("", Some(HTML)),
            ("*/*", Some(HTML)),
            ("text/html, application/vnd.pypi.simple.v1+json;q=0.5", Some(HTML)),
            ("application/vnd.pypi.simple.v1+html", Some(HTML_V1)),
            ("application/vnd.pypi.simple.v2+json", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(kind(PypiSpeaks::Both, accept), expected, "{accept}");
        }
        assert_eq!(kind(PypiSpeaks::Html, pip), Some(HTML));
    }
}
