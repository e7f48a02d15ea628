#![doc = include_str!("../README.md")]

mod agreement;
mod answer;
mod audit;
mod describe;
mod document;
mod login;
mod name;
mod packument;
mod provenance;
mod publish;
mod read;
mod routes;
mod search;
mod tarball;
mod upload;
mod version;
mod write;

use futures_util::future::BoxFuture;
use http::Method;
use std::cmp::Ordering;
use weir_core::{Error, FormatName, PackageName, Result, Version};
use weir_protocol::protocol::{LoginRequest, Protocol, Request};
use weir_protocol::respond::Response;
use weir_registry::format::{
    Description, DisplayVersionRule, KnownConnection, NamespaceRule, Remote, RemoteAsset, RemotePackage,
};
use weir_registry::{Format, Registry};

const FORMAT: FormatName = FormatName::new("npm");
/// Documents above this many bytes are read off the async threads.
const INLINE: usize = 64 << 10;

/// npm, yarn, pnpm and bun.
#[derive(Debug, Clone, Copy, Default)]
pub struct Npm;

impl Format for Npm {
    fn name(&self) -> FormatName {
        FORMAT
    }

    fn namespace_rule(&self) -> NamespaceRule {
        NamespaceRule::Optional
    }

    fn parse_name(&self, namespace: Option<&str>, name: &str) -> Result<PackageName> {
        name::parse(namespace, name)
    }

    fn compare_versions(&self, left: &str, right: &str) -> Ordering {
        version::compare(left, right)
    }

    fn is_stable(&self, key: &str) -> bool {
        version::is_stable(key)
    }

    fn display_name(&self, package: &PackageName) -> String {
        name::full(package)
    }

    fn describe(&self, _package: &PackageName, metadata: &str) -> Description {
        describe::describe(metadata)
    }

    fn instead_of_yanking(&self) -> Option<&'static str> {
        Some("'npm deprecate' warns of one")
    }

    fn display_version_rule(&self) -> DisplayVersionRule {
        DisplayVersionRule::LatestTag
    }

    fn connections(&self) -> &'static [KnownConnection] {
        &[KnownConnection {
            name: "public:npmjs",
            store_repository: "npm-store",
            discovery: &["npm", "config", "get", "registry"],
            names_file_hosts: false,
            told_by: "npm config get registry",
        }]
    }

    fn fetch<'a>(
        &'a self,
        remote: &'a dyn Remote,
        package: &'a PackageName,
    ) -> BoxFuture<'a, Result<Option<RemotePackage>>> {
        Box::pin(async move {
            // The abbreviated document would be smaller, but has no times of publication.
            let Some(document) = remote.get(&name::escaped(package), packument::FULL).await? else {
                return Ok(None);
            };
            if document.body.len() <= INLINE {
                return document::read(package, document.body).map(Some);
            }
            let package = package.clone();
            let read = tokio::task::spawn_blocking(move || document::read(&package, document.body));
            read.await.map_err(Error::internal)?.map(Some)
        })
    }

    fn remote_assets(
        &self,
        package: &PackageName,
        version: &Version,
        metadata: &str,
    ) -> Result<Vec<RemoteAsset>> {
        describe::remote_assets(package, version, metadata)
    }
}

impl Protocol for Npm {
    fn handle<'a>(&'a self, registry: &'a Registry, request: Request) -> BoxFuture<'a, Result<Response>> {
        Box::pin(routes::handle(registry, request))
    }

    fn error_response(&self, error: &Error, realm: &str) -> Response {
        answer::error(error, realm)
    }

    fn package_of(&self, segments: &[String]) -> Option<PackageName> {
        routes::package_of(segments)
    }

    fn is_login(&self, method: &Method, segments: &[String]) -> bool {
        login::is_login(method, segments)
    }

    fn login<'a>(&'a self, registry: &'a Registry, request: LoginRequest) -> BoxFuture<'a, Result<Response>> {
        Box::pin(login::login(registry, request))
    }
}
