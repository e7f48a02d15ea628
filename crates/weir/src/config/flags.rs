//! The flags of the command line that the table of settings gives.

use super::setting::{Kind, SETTINGS, Setting};
use super::source::Flags;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::path::PathBuf;

/// All settings as flags, and the file they may stand in.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingFlags {
    /// What was given.
    pub(crate) flags: Flags,
    /// `--config FILE`
    pub(crate) file: Option<PathBuf>,
}

/// The settings that commands need which open the store themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreFlags(pub(crate) SettingFlags);

const STORE_SETTINGS: &[&str] =
    &["data", "account", "region", "master-key-file", "database-url", "blob-url", "log-level"];

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, |_| true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(read(matches, |_| true))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for StoreFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, |setting| STORE_SETTINGS.contains(&setting.name))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StoreFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(read(matches, |setting| STORE_SETTINGS.contains(&setting.name))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn augment(command: Command, wanted: impl Fn(&Setting) -> bool) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Read settings from this TOML file")
        .help_heading("Settings");
    let settings = SETTINGS.iter().filter(|setting| setting.is_public() && wanted(setting));
    settings.fold(command.arg(file), |command, setting| command.arg(flag(setting)))
}

fn flag(setting: &'static Setting) -> Arg {
    let default =
        if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.kind.placeholder())
        .help(format!("{}{default}", setting.help))
        .help_heading("Settings");
    match setting.kind {
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::List => arg.action(ArgAction::Append).value_delimiter(','),
        Kind::Connections => arg.action(ArgAction::Append),
        Kind::Text
        | Kind::Place
        | Kind::Path
        | Kind::Duration
        | Kind::Bytes
        | Kind::Count
        | Kind::Choice(_)
        | Kind::SecretVariable => arg,
    }
}

fn read(matches: &ArgMatches, wanted: impl Fn(&Setting) -> bool) -> SettingFlags {
    let mut flags = Flags::new();
    for setting in SETTINGS.iter().filter(|setting| setting.is_public() && wanted(setting)) {
        if let Some(texts) = matches.get_many::<String>(setting.name) {
            flags.insert(setting.name, texts.cloned().collect());
        }
    }
    SettingFlags { flags, file: matches.get_one::<PathBuf>("config").cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> SettingFlags {
        let command = SettingFlags::augment_args(Command::new("weir").no_binary_name(true));
        SettingFlags::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn switches_lists_and_connections_are_read_as_flags() {
        let given = parse(&[
            "--metrics-public",
            "--reserve-internal-names=false",
            "--trusted-proxies",
            "10.0.0.1,10.0.0.2",
            "--external-connection",
            "a1=http://x,y/",
            "--external-connection",
            "b2=z",
            "--config",
            "w.toml",
        ]);
        assert_eq!(given.flags["metrics-public"], ["true"]);
        assert_eq!(given.flags["reserve-internal-names"], ["false"]);
        assert_eq!(given.flags["trusted-proxies"], ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(given.flags["external-connection"], ["a1=http://x,y/", "b2=z"]);
        assert_eq!(given.file.as_deref(), Some(std::path::Path::new("w.toml")));
        assert!(!given.flags.contains_key("listen"));
    }
}
