//! What the spine asks of a package format, and what a format is given of a public registry.
//!
//! A format never reaches the network, the database or another format: it is handed a [`Remote`], and
//! translates documents. No HTTP server here; the client side is `weir_protocol::Protocol`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use weir_core::digest::{Digests, Expected};
use weir_core::{AssetName, Flags, FormatName, PackageName, Result, Timestamp, Version};

/// One package format, as the spine needs to know it.
pub trait Format: Send + Sync + 'static {
    /// The name in URLs and in the control API.
    fn name(&self) -> FormatName;

    /// What `weir login` calls the package manager that is usual for it.
    fn login_name(&self) -> &'static str {
        self.name().as_str()
    }

    /// Whether packages have a namespace.
    fn namespace_rule(&self) -> NamespaceRule;

    /// Reads a name as this format understands it, in its normal form.
    fn parse_name(&self, namespace: Option<&str>, name: &str) -> Result<PackageName>;

    /// Reads a version, with the normal form that identifies it.
    fn parse_version(&self, text: &str) -> Result<Version> {
        Version::verbatim(text)
    }

    /// Reads the name of a file that a caller of the control API brings.
    fn parse_asset_name(&self, text: &str) -> Result<AssetName> {
        AssetName::parse(text)
    }

    /// Puts two versions (normal forms) in the order this ecosystem gives them.
    fn compare_versions(&self, left: &str, right: &str) -> Ordering;

    /// Whether a version (normal form) is not a pre-release.
    fn is_stable(&self, key: &str) -> bool;

    /// How people write the package: `@scope/name`.
    fn display_name(&self, package: &PackageName) -> String {
        package.to_string()
    }

    /// What the control API and explain tell of a version, from its document alone.
    fn describe(&self, package: &PackageName, metadata: &str) -> Description;

    /// The version of the code behind [`Format::describe`] and [`Format::inspect`]; stored beside what
    /// they derived.
    fn parser_version(&self) -> i64 {
        1
    }

    /// Reads a file that came from a public registry, once (called off the async threads), for what the
    /// version's document does not tell; `None` where there is nothing to be read. A failure is logged and
    /// nothing is refused for it.
    fn inspect(&self, _file: FetchedFile<'_>) -> Result<Option<Inspection>> {
        Ok(None)
    }

    /// Whether `inspect` reads files of this name at all.
    fn inspects(&self, _asset: &AssetName) -> bool {
        false
    }

    /// Whether a publisher may add the files of one document to a version that has those of another. Conflict,
    /// when both cannot be.
    fn check_addition(&self, _package: &PackageName, _held: &str, _new: &str) -> Result<()> {
        Ok(())
    }

    /// The document of a version that has one document and is told another: by a file that is added to it, or
    /// by its public index.
    fn merge_metadata(&self, _held: &str, new: &str) -> Result<String> {
        Ok(new.to_owned())
    }

    /// Whether a public version may get files after its publication; then those of a retained one follow its
    /// registry's index (`codeartifact.md` 9.2).
    fn follows_new_files(&self) -> bool {
        false
    }

    /// A small document that the public registry keeps beside a file of a version, such as the `.metadata` of
    /// a wheel: where it lies and what the version's document promises of it.
    fn companion(&self, _metadata: &str, _companion: &AssetName) -> Option<RemoteAsset> {
        None
    }

    /// Which version DescribePackage names as the default one.
    fn display_version_rule(&self) -> DisplayVersionRule {
        DisplayVersionRule::Newest
    }

    /// When files may be added to a version that exists.
    fn asset_rule(&self) -> AssetRule {
        AssetRule::One
    }

    /// Whether versions have a readme at all (AWS: not generic, not Maven).
    fn has_readme(&self) -> bool {
        true
    }

    /// What to do where versions cannot be yanked; `None` where they can.
    fn instead_of_yanking(&self) -> Option<&'static str> {
        Some("'aws codeartifact update-package-versions-status' can unlist or archive one")
    }

    /// Whether PublishPackageVersion takes this format.
    fn published_by_api(&self) -> bool {
        false
    }

    /// Whether versions of this format come through upstream repositories (generic: never).
    fn has_upstreams(&self) -> bool {
        true
    }

    /// The public registries a repository of this format may be connected to.
    fn connections(&self) -> &'static [KnownConnection] {
        &[]
    }

    /// All that a public registry tells about one package; `None` when it has no such package.
    fn fetch<'a>(
        &'a self,
        _remote: &'a dyn Remote,
        _package: &'a PackageName,
    ) -> BoxFuture<'a, Result<Option<RemotePackage>>> {
        Box::pin(async { Ok(None) })
    }

    /// The files of a public version, read from its document.
    fn remote_assets(
        &self,
        _package: &PackageName,
        _version: &Version,
        _metadata: &str,
    ) -> Result<Vec<RemoteAsset>> {
        Ok(Vec::new())
    }
}

/// Whether packages of a format have a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceRule {
    /// maven, swift, generic.
    Required,
    /// npm.
    Optional,
    /// pypi, nuget, ruby, cargo.
    Absent,
}

/// Which version DescribePackage names as the default one (`codeartifact.md` 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisplayVersionRule {
    /// The version behind the tag `latest`, else the most recently published.
    LatestTag,
    /// The most recently published.
    Newest,
}

/// When files may be added to a version that exists (`codeartifact.md` 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetRule {
    /// A version is one file.
    One,
    /// While the version is Unfinished.
    WhileUnfinished,
    /// At any time.
    Any,
}

/// A public registry a format knows, and how the package manager on this machine is asked for its address.
#[derive(Debug, Clone, Copy)]
pub struct KnownConnection {
    /// `public:npmjs`.
    pub name: &'static str,
    /// The repository that first start makes for it: `npm-store`.
    pub store_repository: &'static str,
    /// The command that prints the address on its first line, such as `npm config get registry`, and on further
    /// ones the origins that the package manager knows its files to come from; empty where there is none.
    pub discovery: &'static [&'static str],
    /// Whether that command names such origins.
    pub names_file_hosts: bool,
    /// What is asked by that command, for people: `npm config get registry`.
    pub told_by: &'static str,
}

/// What the control API and explain tell of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// One line.
    pub summary: Option<String>,
    /// Address of its home page.
    pub home_page: Option<String>,
    /// Address of its source code.
    pub source_code_repository: Option<String>,
    /// Name and address of each licence.
    pub licenses: Vec<License>,
    /// Its readme as text.
    pub readme: Option<String>,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// Words to be found by.
    pub keywords: Vec<String>,
}

/// A licence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// Its name or SPDX expression.
    pub name: String,
    /// Its address.
    pub url: Option<String>,
}

/// A dependency as ListPackageVersionDependencies shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Scope or group.
    pub namespace: Option<String>,
    /// Name.
    pub package: String,
    /// `regular`, `dev`, `peer`, `optional`, …
    pub kind: Option<String>,
    /// The requirement as written.
    pub requirement: Option<String>,
}

/// A reader that can go back: a file of a version is read where its parts are.
pub trait ReadSeek: std::io::Read + std::io::Seek {}

impl<T: std::io::Read + std::io::Seek> ReadSeek for T {}

/// A file of a public version, verified and not yet kept.
pub struct FetchedFile<'a> {
    /// The package.
    pub package: &'a PackageName,
    /// The version.
    pub version: &'a Version,
    /// The version's document.
    pub metadata: &'a str,
    /// The file's name.
    pub asset: &'a AssetName,
    /// How many bytes it has.
    pub size: u64,
    /// Their digests.
    pub digests: &'a Digests,
    /// Its bytes.
    pub file: &'a mut dyn ReadSeek,
}

/// What reading a file told beyond its version's document.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// The version's document with what the file told.
    pub metadata: String,
    /// The readme found in it.
    pub readme: Option<String>,
    /// What was made out of it, to be served beside it.
    pub derived: Vec<(AssetName, Bytes)>,
    /// Whether indexes show anything else for it.
    pub changes_index: bool,
}

/// A public registry seen through the spine: cached, coalesced, limited, and fakeable in tests.
pub trait Remote: Send + Sync {
    /// An index document by a path below the registry's root (or a checked absolute URL on an allowed
    /// host); `None` when the registry says that there is none.
    fn get<'a>(&'a self, path: &'a str, accept: &'a str) -> BoxFuture<'a, Result<Option<Document>>>;
}

/// An index document of a public registry.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its bytes.
    pub body: Bytes,
    /// Where it came from in the end, after redirects: what its relative links stand on.
    pub url: String,
}

/// All a public registry tells about a package: the document, and versions as ranges into it.
#[derive(Debug, Clone, Default)]
pub struct RemotePackage {
    /// What the ranges point into: the registry's document unchanged, or, where the facts of one version do not
    /// stand together in it, the format's own arrangement of it.
    pub document: Bytes,
    /// Where in the document the package-level facts stand; the format's own business (npm: the whole).
    pub metadata: Range<usize>,
    /// Its versions.
    pub versions: Vec<RemoteVersion>,
    /// Its tags.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

impl RemotePackage {
    /// The text of a range of the document, which the format checked to be UTF-8 when it read it.
    pub fn text(&self, range: &Range<usize>) -> &str {
        self.document.get(range.clone()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("null")
    }
}

/// One public version.
#[derive(Debug, Clone)]
pub struct RemoteVersion {
    /// Its number.
    pub version: Version,
    /// Where in the document its own facts stand.
    pub metadata: Range<usize>,
    /// When the registry says it was published.
    pub published: Option<Timestamp>,
    /// When it was first seen, of one whose registry does not say; the spine's to fill in.
    pub first_seen: Option<Timestamp>,
    /// What the registry says of it now.
    pub flags: Flags,
}

/// A file of a public version.
#[derive(Debug, Clone)]
pub struct RemoteAsset {
    /// The name it is stored under.
    pub name: AssetName,
    /// Its absolute URL as the index says, or a path relative to the registry's root.
    pub url: String,
    /// What the index promises of it.
    pub expected: Expected,
}
