//! Configuration: flag, then variable, then file, then default (`weir.md` section 1). The table of
//! settings is `config/setting.rs`; this file turns its texts into types.

mod connection;
mod flags;
mod setting;
mod show;
mod source;
mod value;

pub(crate) use flags::{SettingFlags, StoreFlags};
pub(crate) use show::{shown, shown_json};
pub(crate) use source::{Values, Variables};
pub(crate) use value::duration as parse_duration;

#[cfg(test)]
use setting::SETTINGS;
use setting::{Kind, Setting};
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_core::AccountId;
use weir_protocol::face::{Face, FaceRules, Network};
use weir_store::{BlobUrl, DatabaseUrl, Places};

/// A setting that cannot be used; the text names it, its source and what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(pub(crate) String);

/// The environment as text; what is not Unicode is passed over.
pub(crate) fn variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// All settings of the server, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// `data`
    pub(crate) data: PathBuf,
    /// `data`, `database-url` and `blob-url`.
    pub(crate) places: Places,
    /// `listen`
    pub(crate) listen: String,
    /// `public-url`, `trusted-proxies` and `host-suffix`.
    pub(crate) faces: FaceRules,
    /// `account`
    pub(crate) account: AccountId,
    /// TLS, if any.
    pub(crate) tls: Tls,
    /// `master-key-file`
    pub(crate) master_key_file: Option<PathBuf>,
    /// `WEIR_MASTER_KEY`
    pub(crate) master_key: Option<MasterKeyText>,
    /// `max-publish-bytes`
    pub(crate) max_publish_bytes: u64,
    /// `metrics-public`
    pub(crate) metrics_public: bool,
    /// `log-format` is `json`
    pub(crate) log_json: bool,
    /// `log-level`
    pub(crate) log_level: String,
    /// `shutdown-grace`
    pub(crate) shutdown_grace: Duration,
    /// `max-connections`
    pub(crate) max_connections: usize,
    /// `max-connections-per-address`; 0 for none.
    pub(crate) max_connections_per_address: usize,
    /// `client-timeout`
    pub(crate) client_timeout: Duration,
    /// `failed-auth-limit`; 0 for none.
    pub(crate) failed_auth_limit: u32,
    /// What the spine obeys.
    pub(crate) registry: weir_registry::Settings,
}

/// How connections are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not at all.
    Off,
    /// With this certificate and key.
    Files {
        /// `tls-cert`
        certificate: PathBuf,
        /// `tls-key`
        key: PathBuf,
    },
    /// With a certificate of a local CA.
    SelfSigned,
}

/// The text of the master key; never printed.
#[derive(Clone)]
pub(crate) struct MasterKeyText(pub(crate) String);

impl std::fmt::Debug for MasterKeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Config {
    /// Checks all values and gives them types.
    pub(crate) fn build(values: &Values) -> Result<Self, ConfigError> {
        let reader = Reader { values };
        let public_url = reader.public_url()?;
        let host_suffixes: Vec<String> = reader
            .list("host-suffix")
            .iter()
            .map(|suffix| suffix.trim_matches('.').to_ascii_lowercase())
            .collect();
        let data: PathBuf = reader.text("data").map_or_else(|| "weir-data".into(), PathBuf::from);
        let places = reader.places(&data)?;
        Ok(Self {
            listen: reader.required("listen")?,
            account: reader.parsed("account", |text| AccountId::parse("account", text).ok(), "12 digits")?,
            tls: reader.tls()?,
            master_key_file: reader.text("master-key-file").map(PathBuf::from),
            master_key: reader.text("master-key").map(MasterKeyText),
            max_publish_bytes: reader.bytes("max-publish-bytes")?,
            metrics_public: reader.switch("metrics-public")?,
            log_json: reader.choice("log-format")? == "json",
            log_level: reader.required("log-level")?,
            shutdown_grace: reader.duration("shutdown-grace")?,
            max_connections: reader.count("max-connections", 1)?,
            max_connections_per_address: reader.count("max-connections-per-address", 0)?,
            client_timeout: reader.duration("client-timeout")?,
            failed_auth_limit: reader.count("failed-auth-limit", 0)?,
            registry: weir_registry::Settings {
                cache_folder: Some(data.join("cache")),
                ..reader.registry()?
            },
            faces: FaceRules {
                public_url,
                trusted_proxies: reader.networks("trusted-proxies")?,
                host_suffixes,
            },
            data,
            places,
        })
    }
}

/// Reads typed values, naming setting and source when one is not as it should be.
struct Reader<'a> {
    values: &'a Values,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.values.of(Setting::named(name)).0.pop().filter(|text| !text.is_empty())
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.values.of(Setting::named(name)).0
    }

    fn refuse(&self, name: &str, text: &str, wanted: &str) -> ConfigError {
        let (_, source) = self.values.of(Setting::named(name));
        ConfigError(format!("{name}: '{text}' is not {wanted} (from {source})"))
    }

    fn required(&self, name: &str) -> Result<String, ConfigError> {
        self.text(name).ok_or_else(|| ConfigError(format!("{name} must not be empty")))
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<T, ConfigError> {
        let text = self.required(name)?;
        parse(&text).ok_or_else(|| self.refuse(name, &text, wanted))
    }

    fn duration(&self, name: &str) -> Result<Duration, ConfigError> {
        self.parsed(name, value::duration, "a duration such as 30s, 5m or 12h")
    }

    fn bytes(&self, name: &str) -> Result<u64, ConfigError> {
        self.parsed(name, value::bytes, "a size such as 32MiB")
    }

    fn switch(&self, name: &str) -> Result<bool, ConfigError> {
        self.parsed(name, value::switch, "true or false")
    }

    fn count<T: std::str::FromStr + PartialOrd>(&self, name: &str, least: T) -> Result<T, ConfigError> {
        self.parsed(
            name,
            |text| text.parse().ok().filter(|number| *number >= least),
            "a whole number in range",
        )
    }

    fn choice(&self, name: &str) -> Result<String, ConfigError> {
        let Kind::Choice(words) = Setting::named(name).kind else { return self.required(name) };
        let wanted = format!("one of {}", words.join(", "));
        self.parsed(name, |text| words.contains(&text).then(|| text.to_owned()), &wanted)
    }

    fn networks(&self, name: &'static str) -> Result<Vec<Network>, ConfigError> {
        let parse = |text: &String| {
            Network::parse(name, text)
                .map_err(|_| self.refuse(name, text, "an address or a network such as 10.0.0.0/8"))
        };
        self.list(name).iter().map(parse).collect()
    }

    fn public_url(&self) -> Result<Option<Face>, ConfigError> {
        let Some(text) = self.text("public-url") else { return Ok(None) };
        let wanted =
            "an http or https address without query and user, such as https://packages.example.com/weir";
        Face::from_url("public-url", &text).map(Some).map_err(|_| self.refuse("public-url", &text, wanted))
    }

    fn tls(&self) -> Result<Tls, ConfigError> {
        let self_signed = self.switch("tls-self-signed")?;
        match (self.text("tls-cert"), self.text("tls-key"), self_signed) {
            (Some(certificate), Some(key), false) => {
                Ok(Tls::Files { certificate: certificate.into(), key: key.into() })
            }
            (None, None, true) => Ok(Tls::SelfSigned),
            (None, None, false) => Ok(Tls::Off),
            (Some(_), None, _) | (None, Some(_), _) => {
                Err(ConfigError("tls-cert and tls-key belong together: set both or neither".to_owned()))
            }
            (Some(_), Some(_), true) => Err(ConfigError(
                "tls-self-signed excludes tls-cert and tls-key: set one or the other".to_owned(),
            )),
        }
    }

    /// The texts may hold passwords, so a refusal does not repeat them.
    fn places(&self, data: &Path) -> Result<Places, ConfigError> {
        let database = match self.required("database-url")?.as_str() {
            "sqlite" => DatabaseUrl::Sqlite(data.join("weir.db")),
            text if text.contains("://")
                && !["sqlite:", "postgres:", "postgresql:"].iter().any(|known| text.starts_with(known)) =>
            {
                let (_, source) = self.values.of(Setting::named("database-url"));
                return Err(ConfigError(format!(
                    "database-url is neither 'sqlite' nor postgres://USER:PASSWORD@HOST/NAME (from {source})"
                )));
            }
            text => DatabaseUrl::parse(text),
        };
        let blobs = match self.required("blob-url")?.as_str() {
            "files" => BlobUrl::Folder(data.join("blobs")),
            text => BlobUrl::parse(text, self.values.aws.clone()).map_err(|wanted| {
                let (_, source) = self.values.of(Setting::named("blob-url"));
                ConfigError(format!("blob-url is not {wanted} (from {source})"))
            })?,
        };
        let recheck_after = Some(self.duration("recheck-after")?);
        Ok(Places { directory: data.to_owned(), database, blobs, recheck_after })
    }

    /// Its own authorities are known only when the listener is open.
    fn registry(&self) -> Result<weir_registry::Settings, ConfigError> {
        let connections = self.values.connections.by_name.iter();
        let template = |name: &str| -> Result<Option<String>, ConfigError> {
            let Some(text) = self.text(name) else { return Ok(None) };
            if text.contains("{repo}") && text.contains("{format}") {
                return Ok(Some(if text.ends_with('/') { text } else { format!("{text}/") }));
            }
            Err(self.refuse(name, &text, "a template with {format} and {repo}"))
        };
        let defaults = weir_registry::Settings::default();
        Ok(weir_registry::Settings {
            region: self.required("region")?,
            rules: weir_core::path::Rules {
                reserve_internal_names: self.switch("reserve-internal-names")?,
                ..defaults.rules
            },
            immutable_versions: self.switch("immutable-versions")?,
            retain_whole_version: self.switch("retain-whole-version")?,
            max_stale_authorization: self.duration("max-stale-authorization")?,
            freshness: self.duration("freshness")?,
            negative_freshness: self.duration("negative-freshness")?,
            max_index_bytes: self.bytes("max-index-bytes")?,
            max_asset_bytes: self.bytes("max-asset-bytes")?,
            max_fetches: self.count("max-fetches", 1)?,
            max_fetches_per_client: self.count("max-fetches-per-client", 0)?,
            max_uploads_per_client: self.count("max-uploads-per-client", 0)?,
            rate_limit: self.count("rate-limit", 0)?,
            index_memory_bytes: usize::try_from(self.bytes("index-memory")?).unwrap_or(usize::MAX),
            connect_timeout: self.duration("connect-timeout")?,
            response_timeout: self.duration("response-timeout")?,
            idle_timeout: self.duration("idle-timeout")?,
            gc_interval: self.duration("gc-interval")?,
            gc_grace: self.duration("gc-grace")?,
            gc_document_age: self.duration("gc-document-age")?,
            verify_interval: self.duration("verify-interval")?,
            connections: connections.map(|(name, (settings, _))| (name.clone(), settings.clone())).collect(),
            endpoint_template: template("endpoint-template")?.unwrap_or(defaults.endpoint_template),
            endpoint_template_dualstack: template("endpoint-template-dualstack")?,
            ..weir_registry::Settings::default()
        })
    }
}

/// The tables of `docs/configuration.md`, which a test compares with the file.
#[cfg(test)]
fn documentation() -> String {
    let mut out = String::from("| setting | value | default | what it does |\n| --- | --- | --- | --- |\n");
    for setting in SETTINGS {
        let name = if setting.is_public() {
            setting.name.to_owned()
        } else {
            format!("variable {}", setting.variable())
        };
        let default =
            if setting.default.is_empty() { "none".to_owned() } else { format!("`{}`", setting.default) };
        let kind = match setting.kind {
            Kind::Choice(words) => words.join(", "),
            other => other.placeholder().to_owned(),
        };
        let kind = kind.replace('|', " or ");
        out.push_str(&format!("| `{name}` | {kind} | {default} | {} |\n", setting.help));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(
        flags: &[(&'static str, &str)],
        variables: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let flags = flags.iter().map(|(name, text)| (*name, vec![(*text).to_owned()])).collect();
        let variables =
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.toml");
        if let Some(text) = file {
            fs_err::write(&path, text).unwrap();
        }
        let values = Values::read(&flags, &variables, file.map(|_| path.as_path()), &["public:npmjs"])?;
        Config::build(&values)
    }

    fn refusal(flags: &[(&'static str, &str)], variables: &[(&str, &str)], file: Option<&str>) -> String {
        build(flags, variables, file).unwrap_err().to_string()
    }

    #[test]
    fn every_setting_has_a_usable_default() {
        let config = build(&[], &[], None).unwrap();
        assert_eq!(config.listen, "127.0.0.1:8090");
        assert_eq!(config.registry.freshness, Duration::from_secs(300));
        assert_eq!(config.registry.max_index_bytes, 256 << 20);
        assert_eq!(config.tls, Tls::Off);
        assert_eq!(config.registry.endpoint_template, weir_registry::Settings::default().endpoint_template);
    }

    #[test]
    fn flag_precedes_variable_precedes_file_precedes_default() {
        let file = Some("region = 'from-file'\nfreshness = '1m'\nmax-connections = 7\nindex-memory = 1000");
        let variables = &[("WEIR_REGION", "from-variable"), ("WEIR_FRESHNESS", "2m"), ("WEIR_LISTEN", "")];
        let config = build(&[("region", "from-flag")], variables, file).unwrap();
        assert_eq!(config.registry.region, "from-flag");
        assert_eq!(config.registry.freshness, Duration::from_secs(120));
        assert_eq!(config.max_connections, 7);
        assert_eq!(config.registry.index_memory_bytes, 1000);
        assert_eq!(config.listen, "127.0.0.1:8090");
    }

    #[test]
    fn an_unknown_key_of_the_file_is_named_with_its_neighbour() {
        let text = refusal(&[], &[], Some("max_index_byte = 3"));
        assert!(text.contains("'max_index_byte'") && text.contains("'max-index-bytes'"), "{text}");
        let text = refusal(&[], &[], Some("master-key = 'x'"));
        assert!(text.contains("no setting"), "{text}");
    }

    #[test]
    fn a_bad_value_is_named_with_its_source() {
        let cases = [
            ("max-index-bytes", "plenty", "a size such as 32MiB"),
            ("idle-timeout", "soon", "a duration"),
            ("account", "12", "12 digits"),
            ("metrics-public", "maybe", "true or false"),
            ("log-format", "xml", "one of text, json"),
            ("trusted-proxies", "proxy", "a network"),
            ("public-url", "weir.example.test", "an http or https address"),
            ("max-connections", "0", "a whole number"),
        ];
        for (name, value, wanted) in cases {
            let text = refusal(&[(name, value)], &[], None);
            assert!(text.contains(name) && text.contains(wanted) && text.contains("flag --"), "{text}");
        }
        assert!(
            refusal(&[], &[("WEIR_REGION", "x"), ("WEIR_FRESHNESS", "x")], None)
                .contains("variable WEIR_FRESHNESS")
        );
    }

    #[test]
    fn the_store_is_where_the_settings_say() {
        let places = build(&[("data", "/d")], &[], None).unwrap().places;
        assert_eq!(places.database, DatabaseUrl::Sqlite("/d/weir.db".into()));
        assert_eq!(places.blobs, BlobUrl::Folder("/d/blobs".into()));
        let flags =
            [("database-url", "postgres://weir:hunter2@db.example.test/weir"), ("blob-url", "s3://b/p")];
        let places = build(&flags, &[], None).unwrap().places;
        assert_eq!(places.blobs.to_string(), "s3://b/p");
        assert!(!format!("{places:?}").contains("hunter2"), "{places:?}");
        let text = refusal(&[("database-url", "mysql://u:hunter2@h/x")], &[], None);
        assert!(text.contains("postgres://") && !text.contains("hunter2"), "{text}");
        let text = refusal(&[("blob-url", "s3://key:hunter2@bucket")], &[], None);
        assert!(text.contains("AWS_ACCESS_KEY_ID") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn tls_settings_that_exclude_each_other_are_refused() {
        assert!(refusal(&[("tls-cert", "a.pem")], &[], None).contains("belong together"));
        let all = [("tls-cert", "a"), ("tls-key", "b"), ("tls-self-signed", "true")];
        assert!(refusal(&all, &[], None).contains("excludes"));
    }

    #[test]
    fn a_connection_keeps_its_table_when_a_flag_moves_it() {
        let file =
            Some("[external-connections.\"public:npmjs\"]\nurl = 'http://a.example.test/'\ntoken = 't'");
        let flags = [("external-connection", "public:npmjs=http://b.example.test/")];
        let config =
            build(&flags, &[("WEIR_EXTERNAL_CONNECTION_PUBLIC_NPMJS", "http://c.example.test/")], file)
                .unwrap();
        let settings = &config.registry.connections["public:npmjs"];
        assert_eq!(
            (settings.url.as_deref(), settings.token.as_deref()),
            (Some("http://b.example.test/"), Some("t"))
        );
    }

    #[test]
    fn the_documentation_lists_every_setting() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let text = fs_err::read_to_string(&path).unwrap();
        let (begin, end) = ("<!-- settings begin -->\n", "<!-- settings end -->");
        let start = text.find(begin).expect("the file has the begin mark") + begin.len();
        let stop = text.find(end).expect("the file has the end mark");
        if std::env::vars_os().any(|(name, _)| name == "UPDATE_EXPECT") {
            fs_err::write(&path, format!("{}{}{}", &text[..start], documentation(), &text[stop..])).unwrap();
            return;
        }
        assert!(text[start..stop] == documentation(), "run the test with UPDATE_EXPECT=1 to write the table");
    }
}
