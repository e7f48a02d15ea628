//! Lays flag over variable over file over default, and remembers for each value where it came from.

use super::ConfigError;
use super::connection::{self, Connections};
use super::setting::{Kind, SETTINGS, Setting};
use super::value::nearest;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag of the command line.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// The file named by `--config`.
    File(PathBuf),
    /// The table of settings.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The values of flags by name of setting; a setting that was not given is absent.
pub(crate) type Flags = BTreeMap<&'static str, Vec<String>>;

/// The environment, read once.
pub(crate) type Variables = BTreeMap<String, String>;

/// All values as text, with their sources.
#[derive(Debug, Default)]
pub(crate) struct Values {
    given: BTreeMap<&'static str, (Vec<String>, Source)>,
    /// The external connections.
    pub(crate) connections: Connections,
    /// The `AWS_…` variables, for an object store.
    pub(crate) aws: Vec<(String, String)>,
    /// What is odd but no error, for the log.
    pub(crate) warnings: Vec<String>,
}

impl Values {
    /// Reads all layers. `known` are the names of the built-in external connections.
    pub(crate) fn read(
        flags: &Flags,
        variables: &Variables,
        file: Option<&Path>,
        known: &[&str],
    ) -> Result<Self, ConfigError> {
        let aws = variables.iter().filter(|(name, _)| name.starts_with("AWS_"));
        let aws = aws.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut values = Self { aws, ..Self::default() };
        if let Some(path) = file {
            let text = fs_err::read_to_string(path)
                .map_err(|error| ConfigError(format!("cannot read the file of --config: {error}")))?;
            values.lay_file(path, &text)?;
        }
        values.lay_variables(variables, known)?;
        values.lay_flags(flags)?;
        Ok(values)
    }

    /// The texts of a setting and their source; the default when nothing was given.
    pub(crate) fn of(&self, setting: &'static Setting) -> (Vec<String>, Source) {
        self.given.get(setting.name).cloned().unwrap_or_else(|| {
            let default =
                if setting.default.is_empty() { Vec::new() } else { vec![setting.default.to_owned()] };
            (default, Source::Default)
        })
    }

    fn lay_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let refused = |what: String| ConfigError(format!("{}: {what}", path.display()));
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| refused(error.to_string()))?;
        let source = Source::File(path.to_owned());
        for (key, value) in table {
            if key == connection::TABLE {
                self.connections.lay_file(&value, &source).map_err(refused)?;
                continue;
            }
            let setting = Setting::find(&key).filter(|setting| setting.is_public());
            let Some(setting) = setting else { return Err(refused(unknown_key(&key))) };
            if setting.kind == Kind::Connections {
                return Err(refused(format!(
                    "'{key}' is a flag; in a file write a table [{}.\"NAME\"] with url = \"…\"",
                    connection::TABLE
                )));
            }
            let texts = texts_of(&value).ok_or_else(|| {
                refused(format!("'{key}' must be a {}, not a table", setting.kind.placeholder()))
            })?;
            self.given.insert(setting.name, (texts, source.clone()));
        }
        Ok(())
    }

    fn lay_variables(&mut self, variables: &Variables, known: &[&str]) -> Result<(), ConfigError> {
        for setting in SETTINGS {
            let Some(text) = variables.get(&setting.variable()).filter(|text| !text.is_empty()) else {
                continue;
            };
            let source = Source::Variable(setting.variable());
            match setting.kind {
                Kind::Connections => self.connections.lay_assignments(text.split(','), &source)?,
                Kind::List => {
                    let items =
                        text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty());
                    self.given.insert(setting.name, (items.collect(), source));
                }
                _ => {
                    self.given.insert(setting.name, (vec![text.clone()], source));
                }
            }
        }
        self.connections.lay_variables(variables, known, &mut self.warnings);
        self.warn_of_misspelt(variables);
        Ok(())
    }

    /// Orchestrators put `WEIR_SERVICE_HOST` and the like into the environment, so an unknown variable is
    /// no error; one that is nearly a setting deserves a word.
    fn warn_of_misspelt(&mut self, variables: &Variables) {
        for name in variables.keys().filter(|name| name.starts_with("WEIR_")) {
            let known = SETTINGS.iter().any(|setting| setting.variable() == *name);
            if known || name.starts_with(connection::VARIABLE_PREFIX) {
                continue;
            }
            let kebab = name["WEIR_".len()..].to_ascii_lowercase().replace('_', "-");
            if let Some(near) = nearest(&kebab, SETTINGS.iter().map(|setting| setting.name)) {
                let near = Setting::named(near).variable();
                self.warnings.push(format!("the variable {name} is no setting; {near} is"));
            }
        }
    }

    fn lay_flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        for (name, texts) in flags {
            let setting = Setting::named(name);
            let source = Source::Flag(setting.name.to_owned());
            if setting.kind == Kind::Connections {
                self.connections.lay_assignments(texts.iter().map(String::as_str), &source)?;
            } else {
                self.given.insert(setting.name, (texts.clone(), source));
            }
        }
        Ok(())
    }
}

fn unknown_key(key: &str) -> String {
    let names = SETTINGS.iter().filter(|setting| setting.is_public()).map(|setting| setting.name);
    match nearest(&key.replace('_', "-"), names.chain([connection::TABLE])) {
        Some(near) => format!("'{key}' is no setting; did you mean '{near}'?"),
        None => format!("'{key}' is no setting; `weir config` shows all of them"),
    }
}

/// The texts of a plain value or of a list of plain values.
fn texts_of(value: &toml::Value) -> Option<Vec<String>> {
    Some(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(switch) => vec![switch.to_string()],
        toml::Value::Array(items) => {
            let mut texts = Vec::with_capacity(items.len());
            for item in items {
                texts.push(item.as_str()?.to_owned());
            }
            texts
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}
