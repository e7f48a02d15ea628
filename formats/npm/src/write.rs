//! Handlers that change: publish, deprecate, unpublish, tags.

use crate::describe::{describe, tarball_asset};
use crate::packument::revision;
use crate::provenance::{self, Bundle};
use crate::publish::{self, File, Wish};
use crate::upload::{Upload, receive};
use crate::{answer, name, tarball};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::io::Read;
use weir_core::name::shown;
use weir_core::verdict::{Decision, Source};
use weir_core::{Action, Arn, Caller, Error, OriginKind, PackageName, Resource, Result};
use weir_protocol::Call;
use weir_protocol::respond::Response;
use weir_protocol::{RawObject, RequestBody};
use weir_registry::publish::{NewAsset, Publication};
use weir_registry::view::{Freshness, PackageView};
use weir_registry::{Registry, Scope, Spooled};

/// A tag's version is a short JSON string.
const MAX_TAG_BODY_BYTES: u64 = 4 << 10;

/// `PUT NAME`: a publish, a deprecation, or a command that Weir does not have.
pub(crate) async fn package(
    registry: &Registry,
    call: &Call,
    body: RequestBody,
    package: &PackageName,
) -> Result<Response> {
    // Nobody fills memory or the spool who may change nothing; the use cases ask once more.
    let may_publish = || may(registry, &call.scope, package, Action::PublishPackageVersion);
    if let Err(refused) = may_publish() {
        may(registry, &call.scope, package, Action::PutPackageMetadata).map_err(|_| refused)?;
    }
    let upload = receive(registry, body, &may_publish).await?;
    let document = RawObject::parse("the document", &upload.document)?;
    match publish::wish(&document) {
        Wish::Publish => publish_version(registry, &call.scope, package, &document, upload.attachments).await,
        Wish::Deprecate => deprecate(registry, &call.scope, package, &document).await,
        Wish::Unsupported(command) => Err(unsupported_change(command)),
    }
}

/// `PUT NAME/-rev/REV`: the document without the versions that are to go.
pub(crate) async fn unpublish_versions(
    registry: &Registry,
    call: &Call,
    body: RequestBody,
    package: &PackageName,
    rev: &str,
) -> Result<Response> {
    may(registry, &call.scope, package, Action::DeletePackageVersions)?;
    let Upload { document, .. } = receive(registry, body, &refuse_attachment).await?;
    let document = RawObject::parse("the document", &document)?;
    if let Wish::Unsupported(command) = publish::wish(&document) {
        return Err(unsupported_change(command));
    }
    let view = registry.view(&call.scope, package, Freshness::Usual).await?;
    let sequence = check_revision(&view, package, rev)?;
    let removed = publish::removed(&document, view.verdict.listed());
    // A version that appeared upstream meanwhile is missing as well, and nobody wants it removed.
    let (own, foreign): (Vec<_>, Vec<_>) = removed.into_iter().partition(|decision| is_own(&view, decision));
    match (&*own, &*foreign) {
        ([], []) => return Ok(answer::done(StatusCode::OK)),
        ([], [first, ..]) => return Err(not_published_here(&call.scope, package, Some(&first.text))),
        _ => {}
    }
    let versions: Vec<String> = own.iter().map(|decision| decision.key.to_string()).collect();
    registry.unpublish(&call.scope, package, &versions, sequence).await?;
    Ok(answer::done(StatusCode::OK))
}

/// `DELETE NAME/-rev/REV`: all versions that were published here.
pub(crate) async fn unpublish_all(
    registry: &Registry,
    call: &Call,
    package: &PackageName,
    rev: &str,
) -> Result<Response> {
    let view = registry.view(&call.scope, package, Freshness::Usual).await?;
    let sequence = check_revision(&view, package, rev)?;
    let record = view.nodes.first().and_then(|node| node.record.as_ref());
    let held = record.into_iter().flat_map(|record| &record.versions);
    let own = held.filter(|version| version.origin.kind() == OriginKind::Internal);
    let versions: Vec<String> = own.map(|version| version.key.to_string()).collect();
    if versions.is_empty() {
        return Err(not_published_here(&call.scope, package, None));
    }
    registry.unpublish(&call.scope, package, &versions, sequence).await?;
    Ok(answer::done(StatusCode::OK))
}

/// `DELETE NAME/-/FILE/-rev/REV`: what npm sends after the version is gone; the file went with it.
pub(crate) async fn delete_tarball(
    registry: &Registry,
    call: &Call,
    package: &PackageName,
    file: &str,
) -> Result<Response> {
    let view = registry.view(&call.scope, package, Freshness::Usual).await?;
    let number = file
        .rsplit('/')
        .next()
        .and_then(|file| file.strip_prefix(&*package.name)?.strip_prefix('-')?.strip_suffix(".tgz"));
    match number.and_then(|number| view.verdict.version(number)) {
        Some(decision) if is_own(&view, decision) => Err(Error::conflict(
            Resource::Asset,
            file,
            format!(
                "the file '{}' belongs to a version that is still published; \
                 run 'npm unpublish {}@{}', which removes the version first",
                shown(file),
                name::full(package),
                decision.text
            ),
        )),
        _ => Ok(answer::done(StatusCode::OK)),
    }
}

/// `PUT -/package/NAME/dist-tags/TAG`: the body is the version as a JSON string.
pub(crate) async fn set_tag(
    registry: &Registry,
    scope: &Scope,
    body: RequestBody,
    package: &PackageName,
    tag: &str,
) -> Result<Response> {
    publish::check_tag(tag)?;
    let body = body.collect(MAX_TAG_BODY_BYTES, "the limit of a tag's version").await?;
    let version: String = serde_json::from_slice(&body)
        .map_err(|_| Error::invalid("body", "must be the version as a JSON string, such as \"1.0.0\""))?;
    registry.set_tag(scope, package, tag, &version).await?;
    Ok(answer::done(StatusCode::CREATED))
}

/// `DELETE -/package/NAME/dist-tags/TAG`.
pub(crate) async fn remove_tag(
    registry: &Registry,
    scope: &Scope,
    package: &PackageName,
    tag: &str,
) -> Result<Response> {
    if registry.remove_tag(scope, package, tag).await? {
        return Ok(answer::done(StatusCode::OK));
    }
    let (full, repository, tag) = (name::full(package), &scope.repository.row.name, shown(tag));
    Err(Error::not_found(
        Resource::Package,
        full.as_str(),
        format!(
            "repository '{repository}' itself has no tag '{tag}' of npm package {full}; \
             one that 'npm dist-tag ls' shows comes from an upstream and is removed there"
        ),
    ))
}

fn may(registry: &Registry, scope: &Scope, package: &PackageName, action: Action) -> Result<()> {
    let (domain, repository) = (&scope.domain.row, &scope.repository.row.name);
    let region = &registry.settings().region;
    let package_arn = Arn::package(region, &domain.owner, &domain.name, repository, package);
    registry.authorize(&scope.caller, action, &package_arn, &domain.owner, || {
        let message = format!("repository '{repository}' does not exist in domain '{}'", domain.name);
        Error::not_found(Resource::Repository, repository.as_str(), message)
    })
}

fn refuse_attachment() -> Result<()> {
    Err(Error::invalid("_attachments", "must not come with a revision; a publish is a PUT without -rev"))
}

async fn publish_version(
    registry: &Registry,
    scope: &Scope,
    package: &PackageName,
    document: &RawObject<'_>,
    attachments: Vec<(String, Spooled)>,
) -> Result<Response> {
    let names: Vec<&str> = attachments.iter().map(|(name, _)| name.as_str()).collect();
    let draft = publish::draft(package, document, &names)?;
    let (tarball_at, bundle_at) = (draft.tarball, draft.bundle);
    let version = draft.version.clone();
    let tags = draft.tags.clone();
    let spooled = &attachments[tarball_at].1;
    let (reader, size) = (spooled.reader()?, spooled.size);
    let contents =
        tokio::task::spawn_blocking(move || tarball::read(reader, size)).await.map_err(Error::internal)??;
    let bundle = match bundle_at {
        Some(at) => Some(read_bundle(&attachments[at].1)?),
        None => None,
    };
    if let Some(bundle) = &bundle {
        bundle.check_subject(&spooled.digests)?;
    }
    let file = File { contents: &contents, digests: &spooled.digests, size };
    let complete =
        publish::complete(package, document, draft, file, bundle.as_ref(), &caller_name(&scope.caller)?)?;
    let mut assets = Vec::new();
    for (at, (_, file)) in attachments.into_iter().enumerate() {
        let name = if at == tarball_at {
            tarball_asset()
        } else {
            provenance::asset_name(package, version.as_str())?
        };
        assets.push(NewAsset { name, file, derived: false });
    }
    let publication = Publication {
        package: package.clone(),
        version,
        description: describe(&complete.manifest),
        metadata: complete.manifest,
        package_metadata: complete.package_metadata,
        assets,
        tags,
        flags: complete.flags,
        unfinished: false,
    };
    let published = registry.publish(scope, publication).await?;
    let status = if published.changed { StatusCode::CREATED } else { StatusCode::OK };
    let body = json!({ "ok": true, "id": name::full(package), "rev": published.summary.revision });
    let mut response = answer::json(status, &body);
    // npm prints what this header says.
    if let Some(notice) = published.notice.and_then(|notice| HeaderValue::try_from(notice).ok()) {
        response.headers_mut().insert("npm-notice", notice);
    }
    Ok(response)
}

fn read_bundle(file: &Spooled) -> Result<Bundle> {
    if file.size > provenance::MAX_BUNDLE_BYTES {
        return Err(Error::too_large(format!(
            "the provenance bundle has {} bytes; {} are allowed",
            file.size,
            provenance::MAX_BUNDLE_BYTES
        )));
    }
    let mut text = Vec::new();
    file.reader()?.read_to_end(&mut text).map_err(Error::internal)?;
    Bundle::parse(&text)
}

async fn deprecate(
    registry: &Registry,
    scope: &Scope,
    package: &PackageName,
    document: &RawObject<'_>,
) -> Result<Response> {
    let view = registry.view(scope, package, Freshness::Usual).await?;
    if view.verdict.listed().next().is_none() {
        return Err(view.refusal(None));
    }
    let changes = publish::deprecations(document, &view.verdict.versions);
    if !changes.is_empty() {
        registry.set_flags(scope, package, changes).await?;
    }
    Ok(answer::done(StatusCode::OK))
}

/// The sequence behind a `_rev`, if it is the current one.
fn check_revision(view: &PackageView, package: &PackageName, rev: &str) -> Result<i64> {
    let current = revision(view);
    match view.own_record() {
        Some(record) if current == rev => Ok(record.sequence),
        None if current == rev => Ok(0),
        _ => Err(Error::conflict(
            Resource::Package,
            name::full(package),
            format!(
                "npm package {} was changed since it was read (_rev is now '{current}', not '{}'); \
                 run the command again",
                name::full(package),
                shown(rev)
            ),
        )),
    }
}

/// Whether the asked repository itself holds the version and it was published, not fetched.
fn is_own(view: &PackageView, decision: &Decision) -> bool {
    let Source::Held { node: 0, version } = decision.source else { return false };
    let held = view.nodes.first().and_then(|node| node.record.as_ref()?.versions.get(version));
    held.is_some_and(|held| held.origin.kind() == OriginKind::Internal)
}

fn not_published_here(scope: &Scope, package: &PackageName, version: Option<&str>) -> Error {
    let (full, repository) = (name::full(package), &scope.repository.row.name);
    let what =
        version.map_or_else(|| format!("no version of {full}"), |version| format!("not {full}@{version}"));
    Error::denied(format!(
        "npm unpublish removes versions that were published to repository '{repository}', and {what} was; \
         use 'aws codeartifact delete-package-versions' or 'update-package-versions-status' for others"
    ))
}

fn unsupported_change(command: &str) -> Error {
    Error::denied(format!(
        "npm {command} is not supported by Weir; who may publish is told by policies, see 'weir user create --help'"
    ))
}

/// The name that `npm whoami` shows.
pub(crate) fn caller_name(caller: &Caller) -> Result<String> {
    match caller {
        Caller::Principal(principal) => Ok(principal.name.clone()),
        Caller::Anonymous => {
            Err(Error::unauthenticated("this needs a token; run 'weir login npm' to get one"))
        }
    }
}
