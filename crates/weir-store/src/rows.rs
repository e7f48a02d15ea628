//! What the tables hold, in Rust's words.

use std::sync::Arc;
use weir_core::digest::{Digests, Expected};
use weir_core::{
    AccountId, ConnectionName, Digest, DomainName, Flags, Origin, OriginControls, PrincipalKind, PublishTime,
    RepositoryName, Timestamp, TokenScope, VersionStatus,
};

/// A UUIDv7 as text.
pub type Id = Arc<str>;

/// A user or role as stored.
#[derive(Debug, Clone)]
pub struct PrincipalRow {
    /// `AIDA…` or `AROA…`.
    pub id: Id,
    /// The account it belongs to.
    pub account: AccountId,
    /// User or role.
    pub kind: PrincipalKind,
    /// Its name.
    pub name: String,
    /// Its identity policy as JSON.
    pub policy: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An access key as stored.
#[derive(Debug, Clone)]
pub struct AccessKeyRow {
    /// `AKIA…`.
    pub id: String,
    /// Whose it is.
    pub principal: Id,
    /// The secret, sealed with the master key.
    pub sealed_secret: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A bearer token as stored: its hash, never itself.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Its identifier, for listing and revoking.
    pub id: Id,
    /// SHA-256 of the token.
    pub hash: Digest,
    /// Whose it is.
    pub principal: Id,
    /// The domain it is for.
    pub domain: Id,
    /// What its maker called it.
    pub description: String,
    /// Restrictions beyond those of its principal.
    pub scope: Option<TokenScope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// A domain as stored.
#[derive(Debug, Clone)]
pub struct DomainRow {
    /// Identifier.
    pub id: Id,
    /// The account that owns it.
    pub owner: AccountId,
    /// Its name, unique within the account.
    pub name: DomainName,
    /// ARN of its key, given or made.
    pub encryption_key: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A repository as stored, with its upstreams and connection.
#[derive(Debug, Clone)]
pub struct RepositoryRow {
    /// Identifier.
    pub id: Id,
    /// The domain it lies in.
    pub domain: Id,
    /// Its name, unique within the domain.
    pub name: RepositoryName,
    /// The account that made it.
    pub administrator: AccountId,
    /// Free text.
    pub description: Option<String>,
    /// Whether anybody changed it since it was made.
    pub edited: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Identifiers of its upstreams, in priority order.
    pub upstreams: Vec<Id>,
    /// Its external connection.
    pub connection: Option<ConnectionName>,
}

/// The stored address of an external connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Its name, such as `public:npmjs`.
    pub name: ConnectionName,
    /// Its address, without user info.
    pub url: String,
    /// Who told: `npm config get registry`, `weir connections set`.
    pub source: String,
    /// When.
    pub found_at: Timestamp,
    /// User name, password, token, headers and the rest as JSON, sealed with the master key.
    pub sealed_settings: Option<Vec<u8>>,
}

/// A package record of one repository.
#[derive(Debug, Clone)]
pub struct PackageRow {
    /// Identifier.
    pub id: Id,
    /// The repository that holds it.
    pub repository: Id,
    /// The format's name; text, since the store knows no formats.
    pub format: String,
    /// Empty where there is none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Origin controls, learned and put.
    pub controls: OriginControls,
    /// When the first INTERNAL version came.
    pub first_internal_at: Option<Timestamp>,
    /// When the first EXTERNAL version came.
    pub first_external_at: Option<Timestamp>,
    /// Package-level facts of the format as JSON.
    pub metadata: Option<String>,
    /// Counts the changes of this package.
    pub sequence: i64,
    /// When the record was made.
    pub created_at: Timestamp,
}

/// A version in a repository.
#[derive(Debug, Clone)]
pub struct VersionRow {
    /// Identifier.
    pub id: Id,
    /// The record it belongs to.
    pub package: Id,
    /// What it consists of.
    pub content: Id,
    /// Normal form.
    pub key: Arc<str>,
    /// As published.
    pub text: Arc<str>,
    /// Its status.
    pub status: VersionStatus,
    /// Changes whenever assets or metadata change; a copy keeps it.
    pub revision: String,
    /// Where it entered the domain.
    pub origin: Origin,
    /// What may change after publication.
    pub flags: Flags,
    /// When it came into the world.
    pub publish_time: PublishTime,
    /// When it came to this repository.
    pub published_at: Timestamp,
    /// When it last changed here.
    pub updated_at: Timestamp,
}

/// What a version consists of, its assets apart.
#[derive(Debug, Clone)]
pub struct ContentRow {
    /// Identifier.
    pub id: Id,
    /// The domain whose blobs it names.
    pub domain: Id,
    /// The format's own document, verbatim.
    pub metadata: String,
    /// What the control API tells of it, as JSON.
    pub description: String,
    /// The version of the parser that derived `description`.
    pub parser: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A file of a version.
#[derive(Debug, Clone)]
pub struct AssetRow {
    /// The content it belongs to.
    pub content: Id,
    /// Its name.
    pub name: String,
    /// Whether its bytes are here.
    pub state: AssetState,
    /// Whether it was made out of another file of the version (`.metadata` of a wheel): served to package
    /// managers, and no asset in the words of the control API.
    pub derived: bool,
}

impl AssetRow {
    /// Whether its bytes are in the blob store.
    pub fn is_held(&self) -> bool {
        matches!(self.state, AssetState::Held { .. })
    }
}

/// Whether an asset's bytes are here.
#[derive(Debug, Clone)]
pub enum AssetState {
    /// In the blob store.
    Held {
        /// Size in bytes.
        size: u64,
        /// Its four digests.
        digests: Digests,
    },
    /// Known from an index and not fetched yet.
    Promised {
        /// What the index promised.
        expected: Expected,
        /// Where it lies.
        url: String,
    },
    /// Its bytes were erased (Disposed) or evicted.
    Evicted {
        /// What it was.
        size: u64,
        /// Its four digests.
        digests: Digests,
    },
}

/// An index document of a public registry as last seen.
#[derive(Debug, Clone)]
pub struct DocumentRow {
    /// The body's blob and size; `None` where the registry said that there is none.
    pub body: Option<(Digest, u64)>,
    /// Its ETag, verbatim.
    pub etag: Option<String>,
    /// Its Last-Modified, verbatim.
    pub last_modified: Option<String>,
    /// Where it came from in the end, after redirects; `None` of a row that is older than this column.
    pub url: Option<String>,
    /// When the body was fetched.
    pub fetched_at: Timestamp,
    /// When the registry last confirmed it.
    pub checked_at: Timestamp,
}

/// A blob as stored.
#[derive(Debug, Clone, Copy)]
pub struct BlobRow {
    /// Its name.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Whether it is known to be on the disk's platter.
    pub synced: bool,
    /// Whether it may be named.
    pub state: BlobState,
    /// Of a kept one, since when nothing is known to name it; else when it came to its state.
    pub unnamed_since: Option<Timestamp>,
}

/// Whether a blob may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// It may.
    Kept,
    /// Its bytes are being erased.
    Doomed,
    /// Its bytes were erased.
    Gone,
}

impl BlobState {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Doomed => "doomed",
            Self::Gone => "gone",
        }
    }
}

/// A file of a version, and the version as a person knows it.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// The repository.
    pub repository: RepositoryName,
    /// The format.
    pub format: String,
    /// The namespace; empty for none.
    pub namespace: String,
    /// The name of the package.
    pub package: String,
    /// The version in normal form.
    pub key: Arc<str>,
    /// The version as published.
    pub version: String,
    /// The name of the file.
    pub file: String,
    /// Whether it was made out of another file.
    pub derived: bool,
    /// Whether it came from a public registry.
    pub external: bool,
    /// The content it is of.
    pub content: Id,
}

/// A row of the audit table.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// When.
    pub at: Timestamp,
    /// ARN of who.
    pub principal: String,
    /// The action's name.
    pub action: String,
    /// ARN of what.
    pub resource: String,
    /// Anything else, as JSON.
    pub detail: String,
}

/// Which packages ListPackages is asked for.
#[derive(Debug, Clone, Default)]
pub struct PackageFilter {
    /// Only this format.
    pub format: Option<String>,
    /// Only namespaces beginning so.
    pub namespace_prefix: Option<String>,
    /// Only names beginning so.
    pub name_prefix: Option<String>,
    /// Only records whose effective publish control is this.
    pub publish: Option<weir_core::Control>,
    /// Only records whose effective upstream control is this.
    pub upstream: Option<weir_core::Control>,
}

/// Which versions ListPackageVersions is asked for, and in which order.
#[derive(Debug, Clone, Copy, Default)]
pub struct VersionFilter {
    /// Only versions of this status.
    pub status: Option<VersionStatus>,
    /// Only versions of this origin.
    pub origin_kind: Option<weir_core::OriginKind>,
    /// By the time they came to the repository, newest first; else by key in byte order.
    pub newest_first: bool,
}

/// Which repositories ListRepositories is asked for.
#[derive(Debug, Clone, Default)]
pub struct RepositoryFilter {
    /// The domains to look in; none where empty.
    pub domains: Vec<Id>,
    /// Only repositories that this account made.
    pub administrator: Option<AccountId>,
    /// Only names beginning so.
    pub name_prefix: Option<String>,
}

/// The first-seen digest of an external file whose index promises none.
#[derive(Debug, Clone)]
pub struct PinRow {
    /// The external connection it came through.
    pub connection: ConnectionName,
    /// Which file, in the format's words.
    pub coordinate: String,
    /// What was seen.
    pub digest: Digest,
    /// When.
    pub seen_at: Timestamp,
}

/// Word of a change, left by a node for the others.
#[derive(Debug, Clone)]
pub struct ChangeRow {
    /// Who left it.
    pub node: String,
    /// What is out of date, as JSON.
    pub body: String,
}

/// Where a reader of changes stands.
#[derive(Debug, Clone)]
pub struct Standpoint {
    /// The transactions it has seen, as PostgreSQL writes a snapshot.
    pub snapshot: String,
    /// The oldest transaction that was still running.
    pub oldest: i64,
    /// When, by the clock of the database.
    pub at: Timestamp,
}
