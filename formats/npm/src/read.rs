//! Handlers that read: package documents, manifests, tarballs, tags, attestations.

use crate::describe::tarball_asset;
use crate::packument::{ABBREVIATED, Contents, FULL, Listed, render};
use crate::{answer, name, provenance};
use http::{Method, StatusCode};
use serde_json::Value;
use weir_core::name::shown;
use weir_core::{Error, PackageName, Resource, Result};
use weir_protocol::Call;
use weir_protocol::RawObject;
use weir_protocol::accept::preferred;
use weir_protocol::respond::{Response, in_memory};
use weir_registry::open::Want;
use weir_registry::view::{Freshness, Variant};
use weir_registry::{Registry, Scope};

/// `GET NAME`: the package's document in the form the client likes.
pub(crate) async fn packument(registry: &Registry, call: &Call, package: &PackageName) -> Result<Response> {
    let for_writing = call.query_value("write") == Some("true");
    let abbreviated = !for_writing && preferred(&call.headers, &[FULL, ABBREVIATED]) == Some(1);
    let content_type = if abbreviated { ABBREVIATED } else { FULL };
    let freshness = if for_writing { Freshness::Now } else { call.freshness() };
    let variant = Variant { content_type, base: &call.base };
    let index = registry.index(&call.scope, package, variant, freshness, render).await?;
    Ok(weir_protocol::index::answer(&index, &call.method, &call.headers))
}

/// `GET NAME/VERSION` and `GET NAME/TAG`: one manifest.
pub(crate) async fn manifest(
    registry: &Registry,
    call: &Call,
    package: &PackageName,
    wanted: &str,
) -> Result<Response> {
    let view = registry.view_with_metadata(&call.scope, package, Freshness::Usual).await?;
    let tag = view.verdict.tags.iter().find(|(tag, _)| &**tag == wanted);
    let number = tag.map_or(wanted, |(_, version)| version);
    let mut contents = Contents::of(&view, &call.base);
    if view.verdict.offers(number) {
        // An unlisted version is there for those who ask for it by number.
        contents
            .versions
            .extend(view.verdict.version(number).and_then(|decision| Listed::of(&view, decision)));
    }
    match contents.render_manifest(number) {
        Some(document) => Ok(call.answer(in_memory(StatusCode::OK, FULL, document.into()))),
        None if view.verdict.listed().next().is_none() => Err(view.refusal(None)),
        None => Err(view.refusal(Some(number))),
    }
}

/// `GET NAME/-/FILE`: the tarball of a version.
pub(crate) async fn tarball(
    registry: &Registry,
    call: &Call,
    package: &PackageName,
    file: &str,
) -> Result<Response> {
    let want = if call.method == Method::HEAD { Want::Head } else { Want::Bytes };
    let asset = tarball_asset();
    let opened = match version_of(package, file) {
        Some(version) => match registry.open_asset(&call.scope, package, version, &asset, want).await {
            Err(error @ Error::NotFound { .. }) => {
                match unusual_name(registry, &call.scope, package, file, Some(version)).await? {
                    Some(key) => registry.open_asset(&call.scope, package, &key, &asset, want).await?,
                    None => return Err(error),
                }
            }
            opened => opened?,
        },
        None => match unusual_name(registry, &call.scope, package, file, None).await? {
            Some(key) => registry.open_asset(&call.scope, package, &key, &asset, want).await?,
            None => return Err(no_such_file(&call.scope, package, file)),
        },
    };
    Ok(call.file(opened, "application/octet-stream"))
}

/// `GET -/package/NAME/dist-tags`: the tags and their versions.
pub(crate) async fn tags(registry: &Registry, call: &Call, package: &PackageName) -> Result<Response> {
    let view = registry.view(&call.scope, package, call.freshness()).await?;
    if view.verdict.listed().next().is_none() {
        return Err(view.refusal(None));
    }
    let pairs = view.verdict.tags.iter();
    let tags = pairs.map(|(tag, version)| (tag.to_string(), Value::from(&**version))).collect();
    Ok(call.answer(answer::json(StatusCode::OK, &Value::Object(tags))))
}

/// `GET -/npm/v1/attestations/NAME@VERSION`: the provenance bundle kept with a version.
pub(crate) async fn attestations(registry: &Registry, call: &Call, spec: &str) -> Result<Response> {
    let at = spec.get(1..).and_then(|rest| rest.find('@')).map(|at| at + 1);
    let Some((package, version)) = at.map(|at| (&spec[..at], &spec[at + 1..])) else {
        return Err(Error::invalid("path", "must end in NAME@VERSION"));
    };
    let package = name::parse_full(package)?;
    let asset = provenance::asset_name(&package, version)?;
    let none = || {
        let message = format!("no provenance is held for npm {}@{}", name::full(&package), shown(version));
        Error::not_found(Resource::Asset, spec, message)
    };
    let view = registry.view(&call.scope, &package, Freshness::Usual).await?;
    let Some(decision) = view.verdict.version(version).filter(|_| view.verdict.offers(version)) else {
        return Err(view.refusal(Some(version)));
    };
    if view.is_public(decision) {
        // What a public registry attests, it tells itself; the version is public already.
        let path = format!("-/npm/v1/attestations/{}@{version}", name::full(&package));
        let connection = view.connection_of(decision).ok_or_else(none)?;
        let document = registry.get_upstream(&call.scope, Some(connection), &path).await?.ok_or_else(none)?;
        return Ok(call.answer(json_document(document.to_vec())?));
    }
    let opened = match registry.open_asset(&call.scope, &package, version, &asset, Want::Head).await {
        Err(Error::NotFound { .. }) => return Err(none()),
        opened => opened?,
    };
    let bundle = opened.collect(provenance::MAX_BUNDLE_BYTES).await?;
    let document = provenance::attestations(&bundle)?;
    Ok(call.answer(in_memory(StatusCode::OK, FULL, document.into())))
}

/// `GET -/npm/v1/keys`: the keys with which the public registry signs, for `npm audit signatures`.
pub(crate) async fn keys(registry: &Registry, call: &Call) -> Result<Response> {
    let Some(document) = registry.get_upstream(&call.scope, None, "-/npm/v1/keys").await? else {
        let message = "the public registry behind this repository publishes no signing keys";
        return Err(Error::not_found(Resource::Repository, "keys", message));
    };
    Ok(call.answer(json_document(document.to_vec())?))
}

/// A document of the public registry, passed on if it is JSON.
fn json_document(document: Vec<u8>) -> Result<Response> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(&document).is_err() {
        return Err(Error::bad_upstream("the public registry answered with something that is no JSON"));
    }
    Ok(in_memory(StatusCode::OK, FULL, document.into()))
}

/// The version in `NAME-VERSION.tgz`; npm's own documents put the scope before it once more.
fn version_of<'a>(package: &PackageName, file: &'a str) -> Option<&'a str> {
    let file = match &package.namespace {
        Some(scope) => file.strip_prefix(&format!("@{scope}/")).unwrap_or(file),
        None => file,
    };
    let version = file.strip_prefix(&*package.name)?.strip_prefix('-')?.strip_suffix(".tgz")?;
    (!version.is_empty()).then_some(version)
}

/// Finds the version of a file whose name is not made of package and version: some old public tarballs, and
/// versions with build metadata, which clients leave out of the name.
async fn unusual_name(
    registry: &Registry,
    scope: &Scope,
    package: &PackageName,
    file: &str,
    version: Option<&str>,
) -> Result<Option<String>> {
    let view = registry.view(scope, package, Freshness::Usual).await?;
    if version.is_some_and(|version| view.verdict.version(version).is_some()) {
        return Ok(None);
    }
    let without_build = |key: &str| key.split_once('+').is_some_and(|(plain, _)| Some(plain) == version);
    if let Some(decision) = view.verdict.listed().find(|decision| without_build(&decision.key)) {
        return Ok(Some(decision.key.to_string()));
    }
    let view = registry.view_with_metadata(scope, package, Freshness::Usual).await?;
    let has_name = |manifest: &str| {
        let Ok(manifest) = RawObject::parse("the manifest", manifest.as_bytes()) else { return false };
        let Some(dist) = manifest.get_object("dist") else { return false };
        let address = dist.get_str("tarball").and_then(|text| url::Url::parse(&text).ok());
        address.is_some_and(|url| url.path().rsplit('/').next() == Some(file))
    };
    let mut offered = view.verdict.listed();
    let found = offered.find(|decision| view.metadata(decision).is_some_and(has_name));
    Ok(found.map(|decision| decision.key.to_string()))
}

fn no_such_file(scope: &Scope, package: &PackageName, file: &str) -> Error {
    let (full, repository) = (name::full(package), &scope.repository.row.name);
    Error::not_found(
        Resource::Asset,
        file,
        format!(
            "no version of npm package {full} in repository '{repository}' has a file named '{}'",
            shown(file)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_its_file_name() {
        let check = |package: &str, file: &str| {
            let package = name::parse_full(package).unwrap();
            version_of(&package, file).map(str::to_owned)
        };
        assert_eq!(check("widget", "widget-1.0.0.tgz").as_deref(), Some("1.0.0"));
        assert_eq!(check("@acme/widget", "widget-1.0.0-rc.1.tgz").as_deref(), Some("1.0.0-rc.1"));
        assert_eq!(check("@acme/widget", "@acme/widget-1.0.0.tgz").as_deref(), Some("1.0.0"));
        assert_eq!(check("widget", "@acme/widget-1.0.0.tgz"), None);
        assert_eq!(check("widget", "widget-.tgz"), None);
        assert_eq!(check("widget", "gadget-1.0.0.tgz"), None);
        assert_eq!(check("widget", "widget-1.0.0.zip"), None);
    }
}
