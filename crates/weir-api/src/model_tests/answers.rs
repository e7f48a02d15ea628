//! Answers with every member of their shape, made by the functions that write real ones.

use crate::wire;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use weir_core::{
    AccountId, Arn, ConnectionName, Controls, DomainName, FormatName, Hasher, Origin, PackageName, Page,
    PublishTime, RepositoryName, TimeSource, Timestamp, VersionStatus,
};
use weir_registry::domain::DomainInfo;
use weir_registry::format::{Dependency, Description, License};
use weir_registry::lifecycle::{BatchCode, BatchResult};
use weir_registry::package::PackageInfo;
use weir_registry::repository::RepositoryInfo;
use weir_registry::token::IssuedToken;
use weir_registry::version::{AssetInfo, VersionInfo, VersionList, VersionSummary};

/// A fully populated answer of each operation.
pub(super) fn answers() -> BTreeMap<&'static str, Value> {
    let at: Timestamp = "2026-02-03T04:05:06.789Z".parse().expect("a time");
    let account = AccountId::parse("account", "000000000000").expect("an account");
    let domain = DomainName::parse("domain", "local").expect("a domain");
    let name = RepositoryName::parse("repository", "main").expect("a repository");
    let connection = ConnectionName::parse("connection", "public:npmjs").expect("a connection");
    let package = PackageName::new(FormatName::new("npm"), Some("scope"), "name").expect("a package");
    let domain_info = DomainInfo {
        name: domain.clone(),
        owner: account.clone(),
        arn: Arn::domain("us-east-1", &account, &domain),
        status: "Active",
        created_at: at,
        encryption_key: "arn:aws:kms:us-east-1:000000000000:key/1".into(),
        repository_count: 1,
        asset_size_bytes: Some(2),
        s3_bucket_arn: "arn:aws:s3:::assets".into(),
    };
    let repository = RepositoryInfo {
        name: name.clone(),
        administrator: account.clone(),
        domain: domain.clone(),
        owner: account.clone(),
        arn: Arn::repository("us-east-1", &account, &domain, &name),
        description: Some("text".into()),
        upstreams: vec![name.clone()],
        connection: Some((connection.clone(), "npm".into())),
        created_at: at,
    };
    let info = PackageInfo {
        format: "npm".into(),
        namespace: Some("scope".into()),
        name: "name".into(),
        controls: Controls::PUBLISHED,
    };
    let summary = |origin: Origin| VersionSummary {
        version: "1.0.0".into(),
        revision: "REVISION".into(),
        status: VersionStatus::Published,
        origin,
    };
    let internal = summary(Origin::Internal { repository: name });
    let external = summary(Origin::External { connection });
    let version_info = |summary: &VersionSummary| VersionInfo {
        summary: summary.clone(),
        display_name: "@scope/name".into(),
        published_at: at,
        publish_time: PublishTime { at, source: TimeSource::Published },
        flags: weir_core::Flags::default(),
        description: Description {
            summary: Some("text".into()),
            home_page: Some("http://example.test/".into()),
            source_code_repository: Some("http://example.test/code".into()),
            licenses: vec![License { name: "MIT".into(), url: Some("http://example.test/mit".into()) }],
            ..Description::default()
        },
    };
    let dependency = Dependency {
        namespace: Some("scope".into()),
        package: "other".into(),
        kind: Some("regular".into()),
        requirement: Some("^1".into()),
    };
    let asset =
        AssetInfo { name: "package.tgz".into(), size: Some(0), digests: Some(Hasher::new().finish()) };
    let batch = wire::batch(&BatchResult {
        successful: [("1.0.0".into(), ("REVISION".into(), "Deleted"))].into(),
        failed: [("2.0.0".into(), (BatchCode::Skipped, "version 2.0.0 is skipped".into()))].into(),
    });
    let token = IssuedToken { id: "1".into(), token: "weir_1".into(), expires_at: Some(at) };
    // A description shows one origin; the two kinds together have all members.
    let mut described = wire::version(&package, &version_info(&internal));
    let entry =
        wire::version(&package, &version_info(&external))["packageVersion"]["origin"]["domainEntryPoint"]
            .clone();
    let place = &mut described["packageVersion"]["origin"]["domainEntryPoint"];
    place["externalConnectionName"] = entry["externalConnectionName"].clone();

    let list = VersionList {
        page: page(vec![internal.clone(), external]),
        default_display_version: Some("1.0.0".into()),
    };
    let domain_answer = wire::domain(Some(&domain_info));
    let repository_answer = wire::repository(&repository);
    let repositories = wire::repositories(&page(vec![repository]));
    let tags = wire::tags(&[("team".into(), "web".into())]);
    [
        ("CreateDomain", domain_answer.clone()),
        ("DescribeDomain", domain_answer.clone()),
        ("DeleteDomain", domain_answer),
        ("ListDomains", wire::domains(&page(vec![domain_info]))),
        ("CreateRepository", repository_answer.clone()),
        ("DescribeRepository", repository_answer.clone()),
        ("UpdateRepository", repository_answer.clone()),
        ("DeleteRepository", repository_answer.clone()),
        ("AssociateExternalConnection", repository_answer.clone()),
        ("DisassociateExternalConnection", repository_answer),
        ("ListRepositories", repositories.clone()),
        ("ListRepositoriesInDomain", repositories),
        ("GetRepositoryEndpoint", wire::endpoint("http://127.0.0.1:8090/npm/d/local-000000000000/main/")),
        ("GetAuthorizationToken", wire::token(&token)),
        ("DescribePackage", wire::package(&info)),
        ("DeletePackage", wire::deleted_package(&info)),
        ("ListPackages", wire::packages(&page(vec![info]))),
        ("PutPackageOriginConfiguration", wire::origin_configuration(Controls::INGESTED)),
        ("ListPackageVersions", wire::versions(&package, &list)),
        ("DescribePackageVersion", described),
        ("GetPackageVersionReadme", wire::readme(&package, &internal, "text")),
        ("ListPackageVersionDependencies", wire::dependencies(&package, &internal, &page(vec![dependency]))),
        ("ListPackageVersionAssets", wire::assets(&package, &internal, &page(vec![asset.clone()]))),
        ("PublishPackageVersion", wire::published(&package, &internal, &asset)),
        ("CopyPackageVersions", batch.clone()),
        ("DeletePackageVersions", batch.clone()),
        ("DisposePackageVersions", batch.clone()),
        ("UpdatePackageVersionsStatus", batch),
        ("ListTagsForResource", tags),
        ("TagResource", json!({})),
        ("UntagResource", json!({})),
    ]
    .into_iter()
    .map(|(name, answer)| (name, wire::without_nulls(answer)))
    .collect()
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page { items, next_token: Some("WyJhIl0".into()) }
}
