//! From method and path to handler, in the order of the table in README.md.

use crate::{legacy_json, name, read, upload};
use http::{Method, StatusCode};
use weir_core::name::shown;
use weir_core::{Error, PackageName, Resource, Result};
use weir_protocol::Call;
use weir_protocol::protocol::Request;
use weir_protocol::respond::{self, Response};
use weir_registry::Registry;

/// Answers one request.
pub(crate) async fn handle(registry: &Registry, request: Request) -> Result<Response> {
    let trailing_slash = request.trailing_slash;
    let (segments, call, body) = Call::split(request);
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), &*path) {
        ("GET" | "HEAD", []) => Ok(call.answer(root(&call))),
        ("GET" | "HEAD", ["simple"]) if !trailing_slash => read::redirect(&call, "simple/"),
        ("GET" | "HEAD", ["simple"]) => Box::pin(read::projects(registry, &call)).await,
        ("GET" | "HEAD", ["simple", project]) => {
            let package = name::parse(project)?;
            if !trailing_slash {
                return read::redirect(&call, &format!("simple/{}/", package.name));
            }
            read::project(registry, &call, &package).await
        }
        ("GET" | "HEAD", ["simple", project, version, file]) => {
            read::file(registry, &call, &name::parse(project)?, version, file).await
        }
        ("GET" | "HEAD", ["pypi", project, "json"]) => {
            Box::pin(legacy_json::project(registry, &call, &name::parse(project)?, None)).await
        }
        ("GET" | "HEAD", ["pypi", project, version, "json"]) => {
            Box::pin(legacy_json::project(registry, &call, &name::parse(project)?, Some(version))).await
        }
        // Whatever is no installation goes in a box: the futures of the others stay small.
        ("POST", [] | ["legacy"]) => Box::pin(upload::upload(registry, &call, body)).await,
        ("POST", ["pypi" | "RPC2"]) => Err(no_xml_rpc()),
        _ => Err(no_route(&call.method, &path)),
    }
}

/// The project that a path is about.
pub(crate) fn package_of(segments: &[String]) -> Option<PackageName> {
    match segments {
        [door, project, ..] if door == "simple" || door == "pypi" => name::parse(project).ok(),
        _ => None,
    }
}

fn root(call: &Call) -> Response {
    let text = format!(
        "This is a Python package index. Install from it with --index-url {0}simple/ and publish to it with \
         --repository-url {0}\n",
        call.base
    );
    respond::text(StatusCode::OK, text)
}

fn no_xml_rpc() -> Error {
    let message = "the XML-RPC API (pip search) is not supported by Weir; 'weir explain pypi NAME' and the simple index \
                   tell what there is";
    Error::not_found(Resource::Package, "XML-RPC", message)
}

fn no_route(method: &Method, path: &[&str]) -> Error {
    let path = shown(&path.join("/"));
    if method == Method::POST || method == Method::PUT {
        return upload::no_upload();
    }
    Error::not_found(
        Resource::Package,
        path.as_str(),
        format!("{method} '{path}' is not a request that Weir knows of a Python package index"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_of_a_path_is_named_in_its_normal_form() {
        let check = |path: &str| {
            let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
            package_of(&segments).map(|package| package.name.to_string())
        };
        assert_eq!(check("simple/Weir_Demo").as_deref(), Some("weir-demo"));
        assert_eq!(check("simple/x/1.0/x-1.0.tar.gz").as_deref(), Some("x"));
        assert_eq!(check("pypi/x/json").as_deref(), Some("x"));
        assert_eq!((check("simple"), check("legacy/x")), (None, None));
    }
}
