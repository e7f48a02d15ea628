//! Settings of external connections: flags `NAME=URL`, variables, and the tables
//! `[external-connections."NAME"]`, which hold more than an address.

use super::ConfigError;
use super::source::{Source, Variables};
use super::value::{bytes, duration, nearest};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use url::Url;
use weir_core::ConnectionName;
use weir_registry::settings::ConnectionSettings;

/// The key of the tables in the file.
pub(crate) const TABLE: &str = "external-connections";
/// `WEIR_EXTERNAL_CONNECTION_PUBLIC_NPMJS`
pub(crate) const VARIABLE_PREFIX: &str = "WEIR_EXTERNAL_CONNECTION_";

const SECONDS: &[&str] =
    &["freshness", "negative-freshness", "connect-timeout", "response-timeout", "idle-timeout"];
const BYTES: &[&str] = &["max-index-bytes"];
const OTHERS: &[&str] =
    &["url", "format", "username", "password", "token", "headers", "allowed-hosts", "ca-file", "proxy"];

/// Settings by name of the connection, with the source of their address.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// The connections.
    pub(crate) by_name: BTreeMap<String, (ConnectionSettings, Source)>,
}

impl Connections {
    /// Reads the value of `external-connections`.
    pub(crate) fn lay_file(&mut self, value: &toml::Value, source: &Source) -> Result<(), String> {
        let Some(tables) = value.as_table() else {
            return Err(format!("'{TABLE}' holds tables: write [{TABLE}.\"public:npmjs\"]"));
        };
        for (name, value) in tables {
            let place = format!("[{TABLE}.\"{name}\"]");
            let name = ConnectionName::parse("the name of a table", name)
                .map_err(|error| format!("{place}: {error}"))?;
            let table = value.as_table().ok_or_else(|| format!("{place} must be a table"))?;
            let settings = read_table(table).map_err(|error| format!("{place}: {error}"))?;
            self.by_name.insert(name.as_str().to_owned(), (settings, source.clone()));
        }
        Ok(())
    }

    /// Reads `NAME=URL` items. The other settings of a connection that the file declares stay.
    pub(crate) fn lay_assignments<'a>(
        &mut self,
        items: impl Iterator<Item = &'a str>,
        source: &Source,
    ) -> Result<(), ConfigError> {
        for item in items.map(str::trim).filter(|item| !item.is_empty()) {
            let refused = |what: &str| ConfigError(format!("'{item}' of {source} {what}"));
            let (name, url) = item.split_once('=').ok_or_else(|| refused("is not of the form NAME=URL"))?;
            let name = ConnectionName::parse("name", name)
                .map_err(|error| refused(&format!("is refused: {error}")))?;
            weir_registry::upstream::check_address(&name, url)
                .map_err(|error| refused(&format!("is refused: {error}")))?;
            self.set_url(name.as_str(), url, source);
        }
        Ok(())
    }

    /// Reads `WEIR_EXTERNAL_CONNECTION_…` for known and declared names.
    pub(crate) fn lay_variables(
        &mut self,
        variables: &Variables,
        known: &[&str],
        warnings: &mut Vec<String>,
    ) {
        for (variable, url) in
            variables.iter().filter(|(name, url)| name.starts_with(VARIABLE_PREFIX) && !url.is_empty())
        {
            let declared = self.by_name.keys().map(String::as_str);
            let name = known.iter().copied().chain(declared).find(|name| variable_of(name) == *variable);
            match name.map(str::to_owned) {
                Some(name) => self.set_url(&name, url, &Source::Variable(variable.clone())),
                None => warnings.push(format!(
                    "the variable {variable} names no connection of a format that is built in; \
                     for one of your own declare [{TABLE}.\"NAME\"] in the file"
                )),
            }
        }
    }

    fn set_url(&mut self, name: &str, url: &str, source: &Source) {
        let entry = self
            .by_name
            .entry(name.to_owned())
            .or_insert_with(|| (ConnectionSettings::default(), source.clone()));
        entry.0.url = Some(url.trim().to_owned());
        hide_user_info(&mut entry.0);
        entry.1 = source.clone();
    }
}

/// `WEIR_EXTERNAL_CONNECTION_PUBLIC_NPMJS` for `public:npmjs`.
fn variable_of(name: &str) -> String {
    let word: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("{VARIABLE_PREFIX}{word}")
}

fn read_table(table: &toml::Table) -> Result<ConnectionSettings, String> {
    let known = || OTHERS.iter().chain(SECONDS).chain(BYTES).copied();
    let mut table = table.clone();
    for (key, value) in &mut table {
        if !known().any(|name| name == key) {
            return Err(match nearest(&key.replace('_', "-"), known()) {
                Some(near) => format!("'{key}' is no setting of a connection; did you mean '{near}'?"),
                None => format!(
                    "'{key}' is no setting of a connection; it has {}",
                    known().collect::<Vec<_>>().join(", ")
                ),
            });
        }
        let Some(text) = value.as_str() else { continue };
        let number = if SECONDS.contains(&key.as_str()) {
            duration(text).map(|duration| duration.as_secs())
        } else if BYTES.contains(&key.as_str()) {
            bytes(text)
        } else {
            continue;
        };
        let number = number.and_then(|number| i64::try_from(number).ok());
        *value = toml::Value::Integer(
            number.ok_or_else(|| format!("{key}: '{text}' is not such as 5m or 32MiB"))?,
        );
    }
    let mut settings: ConnectionSettings =
        table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    hide_user_info(&mut settings);
    Ok(settings)
}

/// Moves user name and password of the address to the settings that are never shown.
fn hide_user_info(settings: &mut ConnectionSettings) {
    let Some(text) = &settings.url else { return };
    // Cargo's addresses have a prefix that is no scheme of its own.
    let (prefix, address) = match text.strip_prefix("sparse+") {
        Some(rest) => ("sparse+", rest),
        None => ("", text.as_str()),
    };
    let Ok(mut url) = Url::parse(address) else { return };
    if url.username().is_empty() && url.password().is_none() {
        return;
    }
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    settings.username = Some(decode(url.username()));
    settings.password = url.password().map(decode);
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    if cleared.is_ok() {
        settings.url = Some(format!("{prefix}{url}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<ConnectionSettings, String> {
        read_table(&text.parse().unwrap())
    }

    #[test]
    fn a_table_is_read_with_units() {
        let settings = table("url = 'http://mirror.example.test/npm'\nfreshness = '5m'\nmax-index-bytes = '32MiB'\nidle-timeout = 7").unwrap();
        assert_eq!(settings.url.as_deref(), Some("http://mirror.example.test/npm"));
        assert_eq!(
            (settings.freshness, settings.max_index_bytes, settings.idle_timeout),
            (Some(300), Some(32 << 20), Some(7))
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_neighbour() {
        let error = table("pasword = 'x'").unwrap_err();
        assert!(error.contains("'pasword'") && error.contains("'password'"), "{error}");
    }

    #[test]
    fn user_info_of_an_address_is_hidden() {
        let settings = table("url = 'https://robot:p%40ss@mirror.example.test/npm/'").unwrap();
        assert_eq!(settings.url.as_deref(), Some("https://mirror.example.test/npm/"));
        assert_eq!(
            (settings.username.as_deref(), settings.password.as_deref()),
            (Some("robot"), Some("p@ss"))
        );
    }

    #[test]
    fn a_variable_finds_its_connection() {
        assert_eq!(variable_of("public:npmjs"), "WEIR_EXTERNAL_CONNECTION_PUBLIC_NPMJS");
        let mut connections = Connections::default();
        let variables = Variables::from([
            (variable_of("public:npmjs"), "http://mirror.example.test/".to_owned()),
            (variable_of("unheard-of"), "http://other.example.test/".to_owned()),
        ]);
        let mut warnings = Vec::new();
        connections.lay_variables(&variables, &["public:npmjs"], &mut warnings);
        assert_eq!(connections.by_name["public:npmjs"].0.url.as_deref(), Some("http://mirror.example.test/"));
        assert_eq!(warnings.len(), 1);
    }
}
