//! The limits AWS names (`codeartifact.md` 11), those that count or measure; rates are settings.

/// Domains per account.
pub const DOMAINS_PER_ACCOUNT: usize = 10;
/// Repositories per domain.
pub const REPOSITORIES_PER_DOMAIN: usize = 1_000;
/// Direct upstreams of a repository.
pub const DIRECT_UPSTREAMS: usize = 10;
/// Repositories searched for one request, the asked one included.
pub const REPOSITORIES_SEARCHED: usize = 25;
/// Size of one asset in bytes.
pub const ASSET_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// Assets of one version.
pub const ASSETS_PER_VERSION: usize = 350;
/// Tags of one resource.
pub const TAGS_PER_RESOURCE: usize = 50;
/// Versions named in one call.
pub const VERSIONS_PER_CALL: usize = 100;
/// Body of an npm publish in bytes.
pub const NPM_PUBLISH_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// External connections of one repository.
pub const CONNECTIONS_PER_REPOSITORY: usize = 1;
