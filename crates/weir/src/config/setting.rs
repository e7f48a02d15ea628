//! The one table of settings. Flags, variables, keys of the file, the output of `weir config` and the
//! tables of `docs/configuration.md` all come from it.

/// One setting: a flat kebab-case name, what its value looks like, its default and what it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// `max-index-bytes`: the flag is `--max-index-bytes`, the variable `WEIR_MAX_INDEX_BYTES`.
    pub(crate) name: &'static str,
    /// What its value looks like.
    pub(crate) kind: Kind,
    /// The default as a user would write it; empty where there is none.
    pub(crate) default: &'static str,
    /// One sentence for `--help` and the documentation.
    pub(crate) help: &'static str,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A file or folder.
    Path,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
    /// `30s`, `5m`, `12h`, or seconds.
    Duration,
    /// `32MiB`, or bytes.
    Bytes,
    /// A whole number.
    Count,
    /// An address that may hold a password.
    Place,
    /// Several texts: flags repeat, variables have commas, files have a list.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A secret that is read from its variable only.
    SecretVariable,
    /// `NAME=URL`; repeats. In the file the tables `[external-connections."NAME"]`.
    Connections,
}

impl Kind {
    /// The placeholder in `--help`.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            Self::Text | Self::SecretVariable => "TEXT",
            Self::Path => "PATH",
            Self::Switch => "true|false",
            Self::Duration => "DURATION",
            Self::Bytes => "SIZE",
            Self::Count => "NUMBER",
            Self::Place => "PLACE",
            Self::List => "TEXT,…",
            Self::Choice(_) => "WORD",
            Self::Connections => "NAME=URL",
        }
    }
}

impl Setting {
    /// `WEIR_MAX_INDEX_BYTES`
    pub(crate) fn variable(&self) -> String {
        format!("WEIR_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The setting of that name; the name must stand in the table.
    pub(crate) fn named(name: &str) -> &'static Self {
        Self::find(name).expect("every name in the code stands in the table; a test builds all of them")
    }

    /// The setting of that name, if there is one.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Whether it may be given as a flag and in the file.
    pub(crate) fn is_public(&self) -> bool {
        self.kind != Kind::SecretVariable
    }
}

const fn setting(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, kind, default, help }
}

/// All settings, in the order in which they are shown.
pub(crate) static SETTINGS: &[Setting] = &[
    setting("data", Kind::Path, "./weir-data", "The data folder: database, blobs, keys. Made when missing"),
    setting("listen", Kind::Text, "127.0.0.1:8090", "Address and port to listen on; port 0 takes a free one"),
    setting(
        "public-url",
        Kind::Text,
        "",
        "The address that clients use, with its path prefix if any; goes into all answers",
    ),
    setting(
        "host-suffix",
        Kind::List,
        "",
        "Hosts '{domain}-{owner}.d.SUFFIX' are answered at '/{format}/{repo}/'",
    ),
    setting("region", Kind::Text, "us-east-1", "The Region in ARNs and endpoints"),
    setting("account", Kind::Text, "000000000000", "The account that first start makes, 12 digits"),
    setting(
        "endpoint-template",
        Kind::Text,
        "{base}/{format}/d/{domain}-{owner}/{repo}/",
        "What GetRepositoryEndpoint answers; {base}, {format}, {domain}, {owner}, {region} and {repo} are filled in",
    ),
    setting(
        "endpoint-template-dualstack",
        Kind::Text,
        "",
        "The same for endpointType=dualstack; as endpoint-template when unset",
    ),
    setting("tls-cert", Kind::Path, "", "Certificate chain (PEM); read again when it changes"),
    setting("tls-key", Kind::Path, "", "Private key (PEM) of tls-cert; read again when it changes"),
    setting(
        "tls-self-signed",
        Kind::Switch,
        "false",
        "Serve TLS with a certificate of a local CA, kept in 'tls' of the data folder",
    ),
    setting(
        "trusted-proxies",
        Kind::List,
        "",
        "Addresses or networks (10.0.0.0/8) whose X-Forwarded-* headers are believed",
    ),
    setting(
        "master-key-file",
        Kind::Path,
        "",
        "File with the master key (64 hex digits); 'master.key' of the data folder when unset",
    ),
    setting(
        "master-key",
        Kind::SecretVariable,
        "",
        "The master key itself (64 hex digits), from the variable only",
    ),
    setting(
        "database-url",
        Kind::Place,
        "sqlite",
        "'sqlite' (weir.db in the data folder), or postgres://USER:PASSWORD@HOST/NAME, which several nodes share",
    ),
    setting(
        "blob-url",
        Kind::Place,
        "files",
        "'files' (folder blobs in the data folder), file://PATH, or s3://BUCKET/PREFIX?endpoint=URL&region=NAME with keys \
         in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; several nodes need S3",
    ),
    setting(
        "max-stale-authorization",
        Kind::Duration,
        "60s",
        "A node that cannot reach PostgreSQL for this long answers 503: it does not know who may read what any more",
    ),
    setting(
        "recheck-after",
        Kind::Duration,
        "24h",
        "When a file is served, its bytes are compared with its digest: the first time unless it came in since the start, \
         when it was changed, and again after this time",
    ),
    setting(
        "reserve-internal-names",
        Kind::Switch,
        "true",
        "Public versions of a name that was published here first are invisible; false is AWS's behaviour",
    ),
    setting("immutable-versions", Kind::Switch, "false", "Other bytes are refused for a deleted version too"),
    setting(
        "retain-whole-version",
        Kind::Switch,
        "false",
        "Fetch all files of a public version when one of them is asked",
    ),
    setting(
        "freshness",
        Kind::Duration,
        "5m",
        "How long a public index is used before its registry is asked again",
    ),
    setting(
        "negative-freshness",
        Kind::Duration,
        "60s",
        "How long the absence of a public package is remembered",
    ),
    setting(
        "max-index-bytes",
        Kind::Bytes,
        "256MiB",
        "Larger index documents of public registries are refused",
    ),
    setting("max-asset-bytes", Kind::Bytes, "5GiB", "Larger files are refused"),
    setting(
        "max-publish-bytes",
        Kind::Bytes,
        "8GiB",
        "Larger request bodies of package managers are refused; npm sends 4 bytes for 3",
    ),
    setting("index-memory", Kind::Bytes, "32MiB", "Memory for rendered indexes"),
    setting(
        "connect-timeout",
        Kind::Duration,
        "10s",
        "How long to wait for a connection to a public registry",
    ),
    setting("response-timeout", Kind::Duration, "30s", "How long to wait for the headers of its answer"),
    setting("idle-timeout", Kind::Duration, "30s", "How long to wait for its next byte"),
    setting(
        "external-connection",
        Kind::Connections,
        "",
        "Address of a public registry, such as public:npmjs=URL; repeats",
    ),
    setting(
        "gc-interval",
        Kind::Duration,
        "24h",
        "How long after one garbage collection the next begins; 0 for none but those of 'weir gc'",
    ),
    setting(
        "gc-grace",
        Kind::Duration,
        "24h",
        "How long a stored file must be without a version before it is erased; longer than a backup takes",
    ),
    setting(
        "gc-document-age",
        Kind::Duration,
        "30d",
        "Index documents of public registries that nobody asked for in this time are forgotten",
    ),
    setting(
        "verify-interval",
        Kind::Duration,
        "7d",
        "How long after one verification of all stored files the next begins; 0 for none but those of 'weir verify'",
    ),
    setting("metrics-public", Kind::Switch, "false", "Answer /metrics without a token"),
    setting("log-format", Kind::Choice(&["text", "json"]), "text", "How log lines look"),
    setting(
        "log-level",
        Kind::Text,
        "info",
        "error, warn, info, debug or trace; also per module, as in 'info,weir_registry=debug'",
    ),
    setting("shutdown-grace", Kind::Duration, "30s", "How long requests in flight may take after SIGTERM"),
    setting(
        "max-connections",
        Kind::Count,
        "4096",
        "Connections open at once; for a further one the longest idle is closed, and where all are busy it waits",
    ),
    setting(
        "max-connections-per-address",
        Kind::Count,
        "0",
        "Of these from one address, IPv6: from one /64; 0 is no limit. A proxy counts as one address",
    ),
    setting(
        "client-timeout",
        Kind::Duration,
        "60s",
        "How long a client may send nothing of a body it began (408), or take nothing of an answer (it is cut)",
    ),
    setting(
        "max-uploads-per-client",
        Kind::Count,
        "64",
        "Uploads in flight of one user, and from one address, before 429; 0 is no limit",
    ),
    setting(
        "max-fetches",
        Kind::Count,
        "512",
        "Files fetched from public registries at one time before 503; what is held is not counted",
    ),
    setting("max-fetches-per-client", Kind::Count, "256", "Of these for one user before 429; 0 is no limit"),
    setting(
        "rate-limit",
        Kind::Count,
        "0",
        "Requests of one user in a second before 429, ten seconds' worth at once; 0 is no limit",
    ),
    setting(
        "failed-auth-limit",
        Kind::Count,
        "60",
        "Failed authentications per client address and minute before 429; 0 is no limit",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_and_stand_once() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(setting.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", setting.name);
            assert!(SETTINGS[index + 1..].iter().all(|other| other.name != setting.name), "{}", setting.name);
        }
    }

    #[test]
    fn the_variable_of_a_setting_is_its_name_in_capitals() {
        assert_eq!(Setting::named("max-index-bytes").variable(), "WEIR_MAX_INDEX_BYTES");
    }
}
