//! Handlers that read: pages of the simple index, files and what goes with them.

use crate::document::VersionDocument;
use crate::page::{self, HTML, JSON, TEXT_HTML};
use crate::{attestation, version};
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use weir_core::digest::{Digest, Expected};
use weir_core::name::shown;
use weir_core::{AssetName, Error, PackageName, Result};
use weir_protocol::Call;
use weir_protocol::accept::preferred;
use weir_protocol::respond::{self, Response, in_memory};
use weir_registry::Registry;
use weir_registry::format::RemoteAsset;
use weir_registry::open::Want;
use weir_registry::view::Variant;

/// More projects than this are not listed on one page.
const MOST_PROJECTS: usize = 1_000_000;

/// Which form a client gets, and what it is called in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Html(&'static str),
}

/// `GET simple/NAME/`: a project's page in the form the client likes.
pub(crate) async fn project(registry: &Registry, call: &Call, package: &PackageName) -> Result<Response> {
    let Some(form) = form(call) else { return Ok(not_acceptable(call)) };
    let content_type = match form {
        Form::Json => JSON,
        Form::Html(content_type) => content_type,
    };
    let variant = Variant { content_type, base: &call.base };
    let index = registry.index(&call.scope, package, variant, call.freshness(), page::render).await?;
    Ok(weir_protocol::index::answer(&index, &call.method, &call.headers))
}

/// `GET simple/`: the projects held along the chain.
pub(crate) async fn projects(registry: &Registry, call: &Call) -> Result<Response> {
    let Some(form) = form(call) else { return Ok(not_acceptable(call)) };
    let found = registry.search(&call.scope, "", MOST_PROJECTS, 0).await?;
    let (content_type, body) = match form {
        Form::Json => (JSON, page::list_json(&found.packages)?),
        Form::Html(content_type) => (content_type, page::list_html(&found.packages)),
    };
    Ok(call.answer(in_memory(StatusCode::OK, content_type, body.into())))
}

/// `GET simple/NAME/VERSION/FILE`: a distribution, or with `.metadata` or `.provenance` behind its name what goes
/// with it.
pub(crate) async fn file(
    registry: &Registry,
    call: &Call,
    package: &PackageName,
    number: &str,
    file: &str,
) -> Result<Response> {
    let version = version::parse(number)?;
    let asset = AssetName::parse(file)?;
    if file.ends_with(".metadata") {
        let opened = registry.open_companion(&call.scope, package, version.key(), &asset).await?;
        return Ok(call.file(opened, "application/octet-stream"));
    }
    if file.ends_with(".provenance") {
        let opened = registry.open_companion(&call.scope, package, version.key(), &asset).await?;
        let mut response = call.file(opened, attestation::CONTENT_TYPE);
        // Unlike the file it is about, it may still get more attestations.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        return Ok(response);
    }
    let want = if call.method == http::Method::HEAD { Want::Head } else { Want::Bytes };
    let opened = registry.open_asset(&call.scope, package, version.key(), &asset, want).await?;
    Ok(call.file(opened, "application/octet-stream"))
}

/// Sends clients that left out the slash at the end there, since addresses on a page are relative to it.
pub(crate) fn redirect(call: &Call, path: &str) -> Result<Response> {
    let mut response = respond::empty(StatusCode::PERMANENT_REDIRECT);
    let mut place = format!("{}{path}", call.base);
    if !call.query.is_empty() {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.query).finish();
        place.push('?');
        place.push_str(&query);
    }
    let place = HeaderValue::try_from(place).map_err(Error::internal)?;
    response.headers_mut().insert(LOCATION, place);
    Ok(response)
}

/// Where a registry keeps the companion that a document promises, by the companion's name.
pub(crate) fn companion(document: &str, companion: &AssetName) -> Option<RemoteAsset> {
    let document = VersionDocument::read(document).ok()?;
    let (url, expected) = if let Some(name) = companion.as_str().strip_suffix(".metadata") {
        let file = document.file(name)?;
        let sha256 = Digest::parse(file.core_metadata.as_deref()?)?;
        (page::metadata_url(&file.url), Expected { sha256: Some(sha256), ..Expected::default() })
    } else {
        let name = companion.as_str().strip_suffix(".provenance")?;
        (document.file(name)?.provenance.as_deref()?.to_owned(), Expected::default())
    };
    Some(RemoteAsset { name: companion.clone(), url, expected })
}

/// The form by the query `format`, else by `Accept` (PEP 691); HTML where the client does not say.
fn form(call: &Call) -> Option<Form> {
    if let Some(wanted) = call.query_value("format") {
        return named(wanted);
    }
    negotiated(&call.headers)
}

/// Every name of a form; the first is for those who take anything.
const OFFERED: [&str; 5] = [
    TEXT_HTML,
    JSON,
    HTML,
    "application/vnd.pypi.simple.latest+json",
    "application/vnd.pypi.simple.latest+html",
];

fn negotiated(headers: &HeaderMap) -> Option<Form> {
    named(OFFERED[preferred(headers, &OFFERED)?])
}

fn named(media_type: &str) -> Option<Form> {
    match OFFERED.iter().position(|offered| offered.eq_ignore_ascii_case(media_type))? {
        0 => Some(Form::Html(TEXT_HTML)),
        1 | 3 => Some(Form::Json),
        _ => Some(Form::Html(HTML)),
    }
}

fn not_acceptable(call: &Call) -> Response {
    let asked = call.query_value("format").map(shown).unwrap_or_else(|| {
        let accept = call.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
        shown(accept.unwrap_or_default())
    });
    let text = format!("the simple index is given as {JSON}, {HTML} and {TEXT_HTML}, not as '{asked}'\n");
    call.answer(respond::text(StatusCode::NOT_ACCEPTABLE, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::ACCEPT;

    #[test]
    fn each_client_gets_the_form_it_likes() {
        let cases = [
            // pip, uv, poetry, a browser, curl.
            (
                "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
                Some(Form::Json),
            ),
            (
                "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01",
                Some(Form::Json),
            ),
            ("application/vnd.pypi.simple.v1+json, */*;q=0.1", Some(Form::Json)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Form::Html(TEXT_HTML))),
            ("*/*", Some(Form::Html(TEXT_HTML))),
            ("application/vnd.pypi.simple.latest+json", Some(Form::Json)),
            ("application/vnd.pypi.simple.latest+html", Some(Form::Html(HTML))),
            ("application/vnd.pypi.simple.v1+html, application/json", Some(Form::Html(HTML))),
            ("application/json", None),
            ("application/vnd.pypi.simple.v2+json", None),
            ("text/html;q=0", None),
        ];
        for (accept, expected) in cases {
            let headers: HeaderMap = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(negotiated(&headers), expected, "{accept}");
        }
        assert_eq!(negotiated(&HeaderMap::new()), Some(Form::Html(TEXT_HTML)));
    }

    #[test]
    fn a_companion_lies_where_the_document_says() {
        let sha = "ab".repeat(32);
        let document = format!(
            r#"{{"files": [{{"filename": "x-1-py3-none-any.whl", "url": "http://f.example.test/x.whl?sig=1", "hashes": {{}},
                "core-metadata": "{sha}", "provenance": "http://i.example.test/p"}}, {{"filename": "x-1.tar.gz", "hashes": {{}}}}]}}"#
        );
        let find = |name: &str| companion(&document, &AssetName::parse(name).unwrap());
        let metadata = find("x-1-py3-none-any.whl.metadata").unwrap();
        assert_eq!(metadata.url, "http://f.example.test/x.whl.metadata?sig=1");
        assert_eq!(metadata.expected.sha256.unwrap().hex(), sha);
        let provenance = find("x-1-py3-none-any.whl.provenance").unwrap();
        assert_eq!(provenance.url, "http://i.example.test/p");
        assert!(!provenance.expected.has_digest());
        for absent in ["x-1.tar.gz.metadata", "x-1.tar.gz.provenance", "y.metadata", "x-1-py3-none-any.whl"] {
            assert!(find(absent).is_none(), "{absent}");
        }
    }
}
