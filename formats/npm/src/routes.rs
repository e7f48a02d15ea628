//! From method and path to handler, in the order of the table in README.md.

use crate::{answer, audit, login, name, read, search, write};
use http::{Method, StatusCode};
use serde_json::json;
use weir_core::name::shown;
use weir_core::{Error, PackageName, Result};
use weir_protocol::Call;
use weir_protocol::RequestBody;
use weir_protocol::protocol::Request;
use weir_protocol::respond::Response;
use weir_registry::Registry;

/// Answers one request.
pub(crate) async fn handle(registry: &Registry, request: Request) -> Result<Response> {
    let (segments, call, body) = Call::split(request);
    let path = parts(&segments);
    match &*path {
        [] => root(&call),
        // Whatever is no installation goes in a box: the futures of the others stay small.
        ["-", rest @ ..] => Box::pin(service(registry, &call, body, rest)).await,
        // npm puts the whole path of the address in `dist.attestations` behind the registry's own.
        [.., "-", "npm", "v1", "attestations", _] | [.., "-", "npm", "v1", "attestations", _, _] => {
            let at = path.iter().position(|part| *part == "-").unwrap_or_default();
            Box::pin(service(registry, &call, body, &path[at + 1..])).await
        }
        [scope, name, rest @ ..] if scope.starts_with('@') => {
            let package = name::parse_full(&format!("{scope}/{name}"))?;
            package_path(registry, &call, body, &package, rest).await
        }
        [name, rest @ ..] => package_path(registry, &call, body, &name::parse_full(name)?, rest).await,
    }
}

/// The package that a path is about.
pub(crate) fn package_of(segments: &[String]) -> Option<PackageName> {
    let path = parts(segments);
    let named = match &*path {
        ["-", "package", rest @ ..] => rest,
        ["-", ..] => return None,
        all => all,
    };
    match named {
        [scope, name, ..] if scope.starts_with('@') => name::parse_full(&format!("{scope}/{name}")).ok(),
        [name, ..] => name::parse_full(name).ok(),
        [] => None,
    }
}

/// A scoped name is one resource, whether its slash is escaped or not.
fn parts(segments: &[String]) -> Vec<&str> {
    let mut parts = Vec::with_capacity(segments.len() + 1);
    for segment in segments {
        match segment.split_once('/') {
            Some((scope, name)) if scope.starts_with('@') => parts.extend([scope, name]),
            _ => parts.push(segment.as_str()),
        }
    }
    parts
}

async fn package_path(
    registry: &Registry,
    call: &Call,
    body: RequestBody,
    package: &PackageName,
    rest: &[&str],
) -> Result<Response> {
    match (call.method.as_str(), rest) {
        ("GET" | "HEAD", []) => read::packument(registry, call, package).await,
        ("GET" | "HEAD", ["-", file @ ..]) if !file.is_empty() => {
            read::tarball(registry, call, package, &file.join("/")).await
        }
        ("GET" | "HEAD", [version]) => Box::pin(read::manifest(registry, call, package, version)).await,
        ("PUT", []) => Box::pin(write::package(registry, call, body, package)).await,
        ("PUT", ["-rev", rev]) => {
            Box::pin(write::unpublish_versions(registry, call, body, package, rev)).await
        }
        ("DELETE", ["-rev", rev]) => Box::pin(write::unpublish_all(registry, call, package, rev)).await,
        ("DELETE", ["-", file @ .., "-rev", _]) => {
            Box::pin(write::delete_tarball(registry, call, package, &file.join("/"))).await
        }
        _ => Err(no_route(&call.method, &format!("{}/{}", name::full(package), rest.join("/")))),
    }
}

async fn service(registry: &Registry, call: &Call, body: RequestBody, rest: &[&str]) -> Result<Response> {
    match (call.method.as_str(), rest) {
        ("GET" | "HEAD", ["ping"]) => root(call),
        ("GET" | "HEAD", ["whoami"]) => login::whoami(call),
        ("GET" | "HEAD", ["npm", "v1", "user"]) => login::profile(call),
        ("GET" | "HEAD", ["v1", "search"]) => search::search(registry, call).await,
        ("GET" | "HEAD", ["npm", "v1", "attestations", spec @ ..]) => {
            read::attestations(registry, call, &spec.join("/")).await
        }
        ("GET" | "HEAD", ["npm", "v1", "keys"]) => read::keys(registry, call).await,
        ("POST", ["npm", "v1", "security", "advisories", "bulk"]) => {
            audit::bulk(registry, &call.scope, body).await
        }
        ("POST", ["npm", "v1", "security", "audits", ..]) => {
            let path = format!("-/{}", rest.join("/"));
            audit::tree(registry, &call.scope, &path, body).await
        }
        ("DELETE", ["user", "token", token]) => login::logout(registry, call, token).await,
        (_, ["package", scope, name, rest @ ..]) if scope.starts_with('@') => {
            let package = name::parse_full(&format!("{scope}/{name}"))?;
            package_service(registry, call, body, &package, rest).await
        }
        (_, ["package", name, rest @ ..]) => {
            package_service(registry, call, body, &name::parse_full(name)?, rest).await
        }
        _ => Err(unsupported(&call.method, rest)),
    }
}

async fn package_service(
    registry: &Registry,
    call: &Call,
    body: RequestBody,
    package: &PackageName,
    rest: &[&str],
) -> Result<Response> {
    match (call.method.as_str(), rest) {
        ("GET" | "HEAD", ["dist-tags"]) => read::tags(registry, call, package).await,
        ("PUT" | "POST", ["dist-tags", tag]) => {
            write::set_tag(registry, &call.scope, body, package, tag).await
        }
        ("DELETE", ["dist-tags", tag]) => write::remove_tag(registry, &call.scope, package, tag).await,
        (_, ["access" | "collaborators" | "visibility", ..]) => Err(answer::unsupported("access", POLICIES)),
        (_, ["trust", ..]) => Err(answer::unsupported("trust", POLICIES)),
        _ => Err(no_route(&call.method, &format!("-/package/{}/{}", name::full(package), rest.join("/")))),
    }
}

fn root(call: &Call) -> Result<Response> {
    match call.method {
        Method::GET | Method::HEAD => Ok(call.answer(answer::json(StatusCode::OK, &json!({})))),
        _ => Err(no_route(&call.method, "")),
    }
}

const POLICIES: &str = "who may do what is told by policies, see 'weir user create --help'";

/// What npm's registry has and Weir has not, in the words of the command behind it.
fn unsupported(method: &Method, rest: &[&str]) -> Error {
    let (command, instead) = match rest {
        ["user", ..] => ("owner", POLICIES),
        ["org" | "team", ..] => ("org and team", POLICIES),
        ["npm", "v1", "tokens", ..] => ("token", "see 'weir token --help'"),
        ["npm", "v1", "user", ..] => ("profile set", "see 'weir user --help'"),
        ["npm", "v1", "hooks", ..] => ("hook", "read the audit records instead"),
        ["_view", ..] => ("stars", "there is nothing to use instead"),
        ["stage", ..] => ("stage", "publish to a repository of its own and copy from there"),
        ["all", ..] => ("search by /-/all", "newer clients use /-/v1/search"),
        ["v1", "login", ..] => ("web login", "npm asks for user name and password instead"),
        _ => return no_route(method, &format!("-/{}", rest.join("/"))),
    };
    answer::unsupported(command, instead)
}

fn no_route(method: &Method, path: &str) -> Error {
    let path = shown(path);
    Error::not_found(
        weir_core::Resource::Package,
        path.as_str(),
        format!("{method} '{path}' is not a request that Weir knows of npm's protocol"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scoped_name_is_the_same_in_every_spelling() {
        let check = |segments: &[&str], expected: &[&str]| {
            let segments: Vec<String> = segments.iter().map(|segment| (*segment).to_owned()).collect();
            assert_eq!(parts(&segments), expected);
        };
        check(&["@a/b"], &["@a", "b"]);
        check(&["@a", "b", "-", "b-1.tgz"], &["@a", "b", "-", "b-1.tgz"]);
        check(&["@a/b", "-", "@a/b-1.tgz"], &["@a", "b", "-", "@a", "b-1.tgz"]);
        check(
            &["-", "package", "@a/b", "dist-tags", "x/y"],
            &["-", "package", "@a", "b", "dist-tags", "x/y"],
        );
    }

    #[test]
    fn commands_that_are_missing_are_named() {
        for (path, word) in [("npm/v1/tokens", "token"), ("org/x/team", "org"), ("npm/v1/hooks", "hook")] {
            let rest: Vec<&str> = path.split('/').collect();
            let error = unsupported(&Method::GET, &rest).to_string();
            assert!(error.contains(word) && error.contains("not supported by Weir"), "{error}");
        }
        assert!(unsupported(&Method::GET, &["x"]).to_string().contains("GET '-/x'"));
    }
}
