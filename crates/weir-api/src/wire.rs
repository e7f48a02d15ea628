//! Answers and shapes as the service model writes them: camelCase, times as epoch seconds with a
//! fraction, absent members left out. First the whole answers, then the shapes within them.

use serde_json::{Map, Value, json};
use weir_core::{Controls, Origin, PackageName, Page, Timestamp};
use weir_registry::domain::DomainInfo;
use weir_registry::format::{Dependency, License};
use weir_registry::lifecycle::BatchResult;
use weir_registry::package::PackageInfo;
use weir_registry::repository::RepositoryInfo;
use weir_registry::token::IssuedToken;
use weir_registry::version::{AssetInfo, VersionInfo, VersionList, VersionSummary};

/// Epoch seconds, to the millisecond.
pub(crate) fn epoch(at: Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1000.0)
}

/// The same answer without its absent members: AWS's clients take `null` for absence, people do not.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| (name, without_nulls(member)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// CreateDomain, DescribeDomain, and DeleteDomain, which may have found none.
pub(crate) fn domain(info: Option<&DomainInfo>) -> Value {
    json!({ "domain": info.map(domain_description) })
}

/// ListDomains.
pub(crate) fn domains(page: &Page<DomainInfo>) -> Value {
    listing("domains", page, domain_summary)
}

/// All that change or describe one repository.
pub(crate) fn repository(info: &RepositoryInfo) -> Value {
    json!({ "repository": repository_description(info) })
}

/// ListRepositories, ListRepositoriesInDomain.
pub(crate) fn repositories(page: &Page<RepositoryInfo>) -> Value {
    listing("repositories", page, repository_summary)
}

/// GetRepositoryEndpoint.
pub(crate) fn endpoint(url: &str) -> Value {
    json!({ "repositoryEndpoint": url })
}

/// GetAuthorizationToken.
pub(crate) fn token(issued: &IssuedToken) -> Value {
    json!({ "authorizationToken": issued.token, "expiration": issued.expires_at.map(epoch) })
}

/// ListPackages.
pub(crate) fn packages(page: &Page<PackageInfo>) -> Value {
    listing("packages", page, |info| package_shape("package", info))
}

/// DescribePackage, whose shape calls the package's name `name`.
pub(crate) fn package(info: &PackageInfo) -> Value {
    json!({ "package": package_shape("name", info) })
}

/// DeletePackage, whose shape calls it `package`.
pub(crate) fn deleted_package(info: &PackageInfo) -> Value {
    json!({ "deletedPackage": package_shape("package", info) })
}

/// PutPackageOriginConfiguration.
pub(crate) fn origin_configuration(controls: Controls) -> Value {
    json!({ "originConfiguration": restrictions(controls) })
}

/// ListPackageVersions.
pub(crate) fn versions(package: &PackageName, list: &VersionList) -> Value {
    let versions = listing("versions", &list.page, version_summary);
    let default = json!({ "defaultDisplayVersion": list.default_display_version });
    merged(merged(coordinate(package), versions), default)
}

/// DescribePackageVersion.
pub(crate) fn version(package: &PackageName, info: &VersionInfo) -> Value {
    json!({ "packageVersion": version_description(package, info) })
}

/// GetPackageVersionReadme.
pub(crate) fn readme(package: &PackageName, summary: &VersionSummary, text: &str) -> Value {
    merged(version_coordinate(package, summary), json!({ "readme": text }))
}

/// ListPackageVersionDependencies.
pub(crate) fn dependencies(
    package: &PackageName,
    summary: &VersionSummary,
    page: &Page<Dependency>,
) -> Value {
    merged(version_coordinate(package, summary), listing("dependencies", page, dependency))
}

/// ListPackageVersionAssets.
pub(crate) fn assets(package: &PackageName, summary: &VersionSummary, page: &Page<AssetInfo>) -> Value {
    merged(version_coordinate(package, summary), listing("assets", page, asset))
}

/// PublishPackageVersion.
pub(crate) fn published(package: &PackageName, summary: &VersionSummary, info: &AssetInfo) -> Value {
    merged(
        version_coordinate(package, summary),
        json!({ "status": summary.status.as_str(), "asset": asset(info) }),
    )
}

/// Copy, delete, dispose and status update of versions.
pub(crate) fn batch(result: &BatchResult) -> Value {
    let successful: Map<String, Value> = result
        .successful
        .iter()
        .map(|(version, (revision, status))| {
            (version.clone(), json!({ "revision": revision, "status": status }))
        })
        .collect();
    let failed: Map<String, Value> = result
        .failed
        .iter()
        .map(|(version, (code, message))| {
            (version.clone(), json!({ "errorCode": code.as_str(), "errorMessage": message }))
        })
        .collect();
    json!({ "successfulVersions": successful, "failedVersions": failed })
}

/// ListTagsForResource.
pub(crate) fn tags(tags: &[(String, String)]) -> Value {
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    json!({ "tags": tags })
}

/// A page of items under `name`.
fn listing<T>(name: &str, page: &Page<T>, item: impl Fn(&T) -> Value) -> Value {
    let items: Vec<Value> = page.items.iter().map(item).collect();
    json!({ name: items, "nextToken": page.next_token })
}

/// The members of two objects.
fn merged(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Object(mut left), Value::Object(right)) => {
            left.extend(right);
            Value::Object(left)
        }
        (left, _) => left,
    }
}

/// DomainDescription.
fn domain_description(info: &DomainInfo) -> Value {
    merged(
        domain_summary(info),
        json!({
            "repositoryCount": info.repository_count,
            "assetSizeBytes": info.asset_size_bytes.unwrap_or(0),
            "s3BucketArn": info.s3_bucket_arn,
        }),
    )
}

/// DomainSummary.
fn domain_summary(info: &DomainInfo) -> Value {
    json!({
        "name": info.name,
        "owner": info.owner,
        "arn": info.arn,
        "status": info.status,
        "createdTime": epoch(info.created_at),
        "encryptionKey": info.encryption_key,
    })
}

/// RepositoryDescription. The status of a connection is `AVAILABLE`, which Terraform wants, although
/// the model spells it `Available` (`weir.md` 6).
fn repository_description(info: &RepositoryInfo) -> Value {
    let upstreams: Vec<Value> = info.upstreams.iter().map(|name| json!({ "repositoryName": name })).collect();
    let connections: Vec<Value> = info
        .connection
        .iter()
        .map(|(name, format)| {
            json!({ "externalConnectionName": name, "packageFormat": format, "status": "AVAILABLE" })
        })
        .collect();
    merged(repository_summary(info), json!({ "upstreams": upstreams, "externalConnections": connections }))
}

/// RepositorySummary.
fn repository_summary(info: &RepositoryInfo) -> Value {
    json!({
        "name": info.name,
        "administratorAccount": info.administrator,
        "domainName": info.domain,
        "domainOwner": info.owner,
        "arn": info.arn,
        "description": info.description,
        "createdTime": epoch(info.created_at),
    })
}

/// PackageOriginConfiguration.
fn restrictions(controls: Controls) -> Value {
    json!({
        "restrictions": { "publish": controls.publish.as_str(), "upstream": controls.upstream.as_str() },
    })
}

/// PackageSummary and PackageDescription, which name the package under different names.
fn package_shape(name: &str, info: &PackageInfo) -> Value {
    json!({
        "format": info.format,
        "namespace": info.namespace,
        name: info.name,
        "originConfiguration": restrictions(info.controls),
    })
}

/// The members with which answers about one package begin.
fn coordinate(package: &PackageName) -> Value {
    json!({ "format": package.format.as_str(), "namespace": package.namespace, "package": *package.name })
}

/// The members with which answers about one version begin.
fn version_coordinate(package: &PackageName, summary: &VersionSummary) -> Value {
    merged(coordinate(package), json!({ "version": summary.version, "versionRevision": summary.revision }))
}

/// PackageVersionSummary.
fn version_summary(summary: &VersionSummary) -> Value {
    json!({
        "version": summary.version,
        "revision": summary.revision,
        "status": summary.status.as_str(),
        "origin": origin(&summary.origin),
    })
}

/// PackageVersionDescription.
fn version_description(package: &PackageName, info: &VersionInfo) -> Value {
    let licenses: Vec<Value> = info.description.licenses.iter().map(license).collect();
    merged(
        version_summary(&info.summary),
        json!({
            "format": package.format.as_str(),
            "namespace": package.namespace,
            "packageName": *package.name,
            "displayName": info.display_name,
            "summary": info.description.summary,
            "homePage": info.description.home_page,
            "sourceCodeRepository": info.description.source_code_repository,
            "publishedTime": epoch(info.published_at),
            "licenses": licenses,
        }),
    )
}

fn license(license: &License) -> Value {
    json!({ "name": license.name, "url": license.url })
}

fn origin(origin: &Origin) -> Value {
    let entry = match origin {
        Origin::Internal { repository } => json!({ "repositoryName": repository }),
        Origin::External { connection } => json!({ "externalConnectionName": connection }),
    };
    json!({ "domainEntryPoint": entry, "originType": origin.kind().as_str() })
}

/// AssetSummary; size and hashes of a file that was never fetched are left out.
fn asset(info: &AssetInfo) -> Value {
    let hashes = info.digests.as_ref().map(|digests| {
        json!({
            "MD5": hex::encode(digests.md5),
            "SHA-1": hex::encode(digests.sha1),
            "SHA-256": digests.sha256.hex(),
            "SHA-512": hex::encode(digests.sha512),
        })
    });
    json!({ "name": info.name, "size": info.size, "hashes": hashes })
}

/// PackageDependency.
fn dependency(dependency: &Dependency) -> Value {
    json!({
        "namespace": dependency.namespace,
        "package": dependency.package,
        "dependencyType": dependency.kind,
        "versionRequirement": dependency.requirement,
    })
}
