#![doc = include_str!("../README.md")]

mod answer;
mod attestation;
mod core_metadata;
mod describe;
mod distribution;
mod document;
mod file_name;
mod html;
mod inspect;
mod legacy_json;
mod name;
mod page;
mod read;
mod remote;
mod routes;
mod upload;
mod version;

use document::VersionDocument;
use futures_util::future::BoxFuture;
use std::cmp::Ordering;
use weir_core::digest::{Digest, Expected};
use weir_core::{AssetName, Error, FormatName, PackageName, Result, Version};
use weir_protocol::protocol::{Protocol, Request};
use weir_protocol::respond::Response;
use weir_registry::format::{
    AssetRule, Description, FetchedFile, Inspection, KnownConnection, NamespaceRule, Remote, RemoteAsset,
    RemotePackage,
};
use weir_registry::{Format, Registry};

const FORMAT: FormatName = FormatName::new("pypi");

/// Documents above this many bytes are read off the async threads.
const INLINE: usize = 256 << 10;

/// Prints the simple index that the pip of this machine is set up with, after its configuration and variables;
/// if that is the one pip comes with, also the host that pip knows its files to lie on.
const ASK_PIP: &str = "from pip._internal.commands import create_command
from pip._internal.models.index import PyPI
url = create_command('download').parse_args([])[0].index_url
print(url)
if url.rstrip('/') == PyPI.simple_url.rstrip('/'):
    print('https://' + PyPI.file_storage_domain)";

/// pip, uv, poetry, pdm, twine, hatch and flit.
#[derive(Debug, Clone, Copy, Default)]
pub struct PyPi;

impl Format for PyPi {
    fn name(&self) -> FormatName {
        FORMAT
    }

    fn login_name(&self) -> &'static str {
        "pip"
    }

    fn namespace_rule(&self) -> NamespaceRule {
        NamespaceRule::Absent
    }

    fn parse_name(&self, namespace: Option<&str>, name: &str) -> Result<PackageName> {
        if namespace.is_some() {
            return Err(Error::invalid("namespace", "pypi packages have none"));
        }
        name::parse(name)
    }

    fn parse_version(&self, text: &str) -> Result<Version> {
        version::parse(text)
    }

    fn compare_versions(&self, left: &str, right: &str) -> Ordering {
        version::compare(left, right)
    }

    fn is_stable(&self, key: &str) -> bool {
        version::is_stable(key)
    }

    fn describe(&self, _package: &PackageName, metadata: &str) -> Description {
        describe::describe(metadata)
    }

    fn inspects(&self, asset: &AssetName) -> bool {
        inspect::reads(asset)
    }

    fn inspect(&self, file: FetchedFile<'_>) -> Result<Option<Inspection>> {
        inspect::inspect(file)
    }

    fn check_addition(&self, package: &PackageName, held: &str, new: &str) -> Result<()> {
        VersionDocument::read(held)?.check_spelling(package, &VersionDocument::read(new)?)
    }

    fn merge_metadata(&self, held: &str, new: &str) -> Result<String> {
        VersionDocument::read(held)?.merged(VersionDocument::read(new)?).write()
    }

    fn instead_of_yanking(&self) -> Option<&'static str> {
        None
    }

    fn follows_new_files(&self) -> bool {
        true
    }

    fn companion(&self, metadata: &str, companion: &AssetName) -> Option<RemoteAsset> {
        read::companion(metadata, companion)
    }

    fn asset_rule(&self) -> AssetRule {
        AssetRule::Any
    }

    fn connections(&self) -> &'static [KnownConnection] {
        &[KnownConnection {
            name: "public:pypi",
            store_repository: "pypi-store",
            discovery: &["python3", "-c", ASK_PIP],
            names_file_hosts: true,
            told_by: "pip's index-url",
        }]
    }

    fn fetch<'a>(
        &'a self,
        remote: &'a dyn Remote,
        package: &'a PackageName,
    ) -> BoxFuture<'a, Result<Option<RemotePackage>>> {
        Box::pin(async move {
            let Some(document) = remote.get(&format!("{}/", package.name), remote::ACCEPT).await? else {
                return Ok(None);
            };
            if document.body.len() <= INLINE {
                return remote::read(package, &document).map(Some);
            }
            let package = package.clone();
            let read = tokio::task::spawn_blocking(move || remote::read(&package, &document));
            read.await.map_err(Error::internal)?.map(Some)
        })
    }

    fn remote_assets(
        &self,
        _package: &PackageName,
        _version: &Version,
        metadata: &str,
    ) -> Result<Vec<RemoteAsset>> {
        let document = VersionDocument::read(metadata)?;
        document.files.iter().map(remote_asset).collect()
    }
}

fn remote_asset(file: &document::File<'_>) -> Result<RemoteAsset> {
    let array = |hex: &str| hex::decode(hex).ok();
    let expected = Expected {
        sha512: file.hash("sha512").and_then(array).and_then(|bytes| bytes.try_into().ok()),
        sha256: file.hash("sha256").and_then(Digest::parse),
        sha1: file.hash("sha1").and_then(array).and_then(|bytes| bytes.try_into().ok()),
        md5: file.hash("md5").and_then(array).and_then(|bytes| bytes.try_into().ok()),
        size: file.size,
    };
    Ok(RemoteAsset { name: AssetName::parse(&file.filename)?, url: file.url.to_string(), expected })
}

impl Protocol for PyPi {
    fn handle<'a>(&'a self, registry: &'a Registry, request: Request) -> BoxFuture<'a, Result<Response>> {
        Box::pin(routes::handle(registry, request))
    }

    fn error_response(&self, error: &Error, realm: &str) -> Response {
        answer::error(error, realm)
    }

    fn package_of(&self, segments: &[String]) -> Option<PackageName> {
        routes::package_of(segments)
    }
}
