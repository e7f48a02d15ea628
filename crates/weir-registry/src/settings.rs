//! The settings the spine obeys; the binary reads them from flags, variables and the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use weir_core::path::Rules;

/// Settings of the spine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Region in ARNs.
    pub region: String,
    /// `reserve-internal-names` and waiting times.
    pub rules: Rules,
    /// `immutable-versions`: other bytes are refused for a deleted version too.
    pub immutable_versions: bool,
    /// `retain-whole-version`: the files of a retained version that nobody asked for are fetched too.
    pub retain_whole_version: bool,
    /// A node that could not see the changes of others for this long stops answering.
    pub max_stale_authorization: Duration,
    /// How long a public index is fresh.
    pub freshness: Duration,
    /// How long the absence of a public package is remembered.
    pub negative_freshness: Duration,
    /// At most one forced revalidation of one document in this time.
    pub revalidation_interval: Duration,
    /// Index documents above this many bytes are refused.
    pub max_index_bytes: u64,
    /// Files above this many bytes are refused.
    pub max_asset_bytes: u64,
    /// Files fetched from public registries at one time, for all.
    pub max_fetches: usize,
    /// Of these for one principal; 0 is no limit.
    pub max_fetches_per_client: usize,
    /// Uploads in flight of one principal, and from one address; 0 is no limit.
    pub max_uploads_per_client: usize,
    /// Requests of one principal in a second; 0 is no limit.
    pub rate_limit: u32,
    /// Rendered indexes kept in memory, in bytes.
    pub index_memory_bytes: usize,
    /// Where large ones lie; `None` keeps all in memory.
    pub cache_folder: Option<std::path::PathBuf>,
    /// Parsed public indexes kept in memory, in bytes.
    pub document_memory_bytes: usize,
    /// How long to wait for a connection to a public registry.
    pub connect_timeout: Duration,
    /// How long to wait for the headers of its answer.
    pub response_timeout: Duration,
    /// How long to wait for its next byte.
    pub idle_timeout: Duration,
    /// How long after the last garbage collection the next one begins; zero for never.
    pub gc_interval: Duration,
    /// How long a blob must be without name before it is erased.
    pub gc_grace: Duration,
    /// How long an index document must not have been confirmed before it is forgotten.
    pub gc_document_age: Duration,
    /// How long after the last verification the next one begins; zero for never.
    pub verify_interval: Duration,
    /// Settings of external connections by name, from flags, variables and the file.
    pub connections: BTreeMap<String, ConnectionSettings>,
    /// Authorities that are Weir's own and must not be an upstream: listener, `public-url`, host suffixes.
    pub own_authorities: Vec<String>,
    /// `endpoint-template`.
    pub endpoint_template: String,
    /// `endpoint-template-dualstack`.
    pub endpoint_template_dualstack: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            rules: Rules::default(),
            immutable_versions: false,
            retain_whole_version: false,
            max_stale_authorization: Duration::from_secs(60),
            freshness: Duration::from_secs(300),
            negative_freshness: Duration::from_secs(60),
            revalidation_interval: Duration::from_secs(10),
            max_index_bytes: 256 * 1024 * 1024,
            max_asset_bytes: weir_core::quota::ASSET_BYTES,
            max_fetches: 512,
            max_fetches_per_client: 256,
            max_uploads_per_client: 64,
            rate_limit: 0,
            index_memory_bytes: 32 * 1024 * 1024,
            cache_folder: None,
            document_memory_bytes: 16 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            gc_interval: Duration::from_secs(24 * 3600),
            gc_grace: Duration::from_secs(24 * 3600),
            gc_document_age: Duration::from_secs(30 * 24 * 3600),
            verify_interval: Duration::from_secs(7 * 24 * 3600),
            connections: BTreeMap::new(),
            own_authorities: Vec::new(),
            endpoint_template: "{base}/{format}/d/{domain}-{owner}/{repo}/".to_owned(),
            endpoint_template_dualstack: None,
        }
    }
}

/// One table `[external-connections."NAME"]`; also what `weir connections set` stores, sealed.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConnectionSettings {
    /// The address that a package manager would be configured with.
    pub url: Option<String>,
    /// The format it speaks; known for the public ones.
    pub format: Option<String>,
    /// Basic authentication.
    pub username: Option<String>,
    /// Basic authentication.
    pub password: Option<String>,
    /// Bearer token.
    pub token: Option<String>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Origins (`scheme://host:port`) besides `url`'s that files may come from although they are private.
    pub allowed_hosts: Vec<String>,
    /// A CA certificate file (PEM) to trust.
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy to go through.
    pub proxy: Option<String>,
    /// Seconds an index is fresh.
    pub freshness: Option<u64>,
    /// Seconds the absence of a package is remembered.
    pub negative_freshness: Option<u64>,
    /// Index documents above this many bytes are refused.
    pub max_index_bytes: Option<u64>,
    /// Seconds to wait for a connection.
    pub connect_timeout: Option<u64>,
    /// Seconds to wait for the headers of an answer.
    pub response_timeout: Option<u64>,
    /// Seconds to wait for the next byte.
    pub idle_timeout: Option<u64>,
}

impl std::fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionSettings").field("url", &self.url).finish_non_exhaustive()
    }
}
