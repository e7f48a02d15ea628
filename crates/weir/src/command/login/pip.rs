//! `weir login pip`: pip.conf. The token stands in the address of the index, where pip looks for it.

use super::{Access, read, settings_folder, write};
use crate::cli::LoginPip;
use crate::command::ini;
use crate::command::output::Out;
use crate::config::Variables;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The section of all commands.
const SECTION: &str = "global";
/// pip takes `_` for `-` in the names of its options.
pub(in crate::command) const INDEX: &[&str] = &["index-url", "index_url"];
const EXTRA: &[&str] = &["extra-index-url", "extra_index_url"];
const TRUSTED: [&str; 2] = ["trusted-host", "trusted_host"];

/// Fetches a token and writes it to pip.conf.
pub(super) async fn run(arguments: LoginPip, variables: &Variables) -> Result<Out> {
    let path = arguments.file.clone().or_else(|| user_file(variables));
    let path = path.context("HOME is not set; say with --file which file to write")?;
    if path == Path::new("/dev/null") {
        bail!(
            "PIP_CONFIG_FILE is /dev/null, with which pip reads no settings; unset it, or name a file with --file"
        );
    }
    let access = Access::fetch(&arguments.common, "pypi", variables).await?;
    let (text, keys) = edit(&read(&path)?, &access)?;
    write(&path, &text)?;

    let index = access.index();
    let mut sentences = vec![
        format!("wrote {} to {}", keys.join(", "), path.display()),
        format!("pip now installs from {index}; {}", access.token.lifetime()),
    ];
    let notes = notes(&text, variables);
    sentences.extend(notes.iter().map(|note| format!("but {note}")));
    sentences.push("next: pip install PACKAGE".to_owned());
    let told = json!({ "file": path, "index": index, "keys": keys, "notes": notes });
    Ok(access.report(arguments.common.json, told, &sentences))
}

/// The file in which pip looks last, whose word counts; the old `~/.pip/pip.conf` is read before it.
pub(in crate::command) fn user_file(variables: &Variables) -> Option<PathBuf> {
    if let Some(path) = variables.get("PIP_CONFIG_FILE").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let on_macos = "Library/Application Support/pip";
    // There pip takes this folder only where it exists.
    let there = variables.get("HOME").is_some_and(|home| Path::new(home).join(on_macos).is_dir());
    settings_folder(variables, "pip", there.then_some(on_macos)).map(|folder| folder.join("pip.conf"))
}

fn edit(text: &str, access: &Access) -> Result<(String, Vec<&'static str>)> {
    let mut text = ini::set(text, SECTION, INDEX, &access.with_token(&access.index())?);
    let mut keys = vec![INDEX[0]];
    if let Some(host) = access.insecure_host()? {
        let spelling = TRUSTED.into_iter().find(|key| ini::value(&text, SECTION, &[key]).is_some());
        text = ini::add_word(&text, SECTION, spelling.unwrap_or(TRUSTED[0]), &host);
        keys.push(TRUSTED[0]);
    }
    Ok((text, keys))
}

/// What makes pip ask elsewhere in spite of this login.
fn notes(text: &str, variables: &Variables) -> Vec<String> {
    let mut notes = Vec::new();
    if variables.get("PIP_INDEX_URL").is_some_and(|url| !url.is_empty()) {
        notes.push("PIP_INDEX_URL is set and wins over the file".to_owned());
    }
    for section in ["install", "download", "wheel"] {
        if ini::value(text, section, INDEX).is_some() {
            notes.push(format!("index-url in [{section}] of the same file wins for 'pip {section}'"));
        }
    }
    if [SECTION, "install"].iter().any(|section| ini::value(text, section, EXTRA).is_some()) {
        notes.push("pip also asks what extra-index-url of the same file names, for every package".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::tests::{access, variables};
    use super::*;

    #[test]
    fn the_index_is_written_and_a_plain_host_is_trusted_unless_it_is_this_machine() {
        let (text, keys) =
            edit("# mine\n[global]\ntimeout = 9\n", &access("http://127.0.0.1:8090/p/")).unwrap();
        assert_eq!(
            text,
            "# mine\n[global]\ntimeout = 9\nindex-url = http://aws:weir_abc@127.0.0.1:8090/p/simple/\n"
        );
        assert_eq!(keys, ["index-url"]);
        let before = "[global]\ntrusted_host = a\nindex_url = http://old/\n";
        let (text, keys) = edit(before, &access("http://pkg.example.com:8090/p/")).unwrap();
        assert_eq!(
            text,
            "[global]\ntrusted_host = a\n    pkg.example.com\n\
             index_url = http://aws:weir_abc@pkg.example.com:8090/p/simple/\n"
        );
        assert_eq!(keys, ["index-url", "trusted-host"]);
        let (text, _) = edit("", &access("http://pkg.example.com/p/")).unwrap();
        assert!(text.ends_with("trusted-host =\n    pkg.example.com\n"), "{text}");
    }

    #[test]
    fn what_wins_over_the_file_is_told() {
        let text = "[global]\nextra-index-url = http://x/\n[install]\nindex_url = http://y/\n";
        let notes = notes(text, &variables(&[("PIP_INDEX_URL", "http://z/")]));
        assert_eq!(notes.len(), 3, "{notes:?}");
    }

    #[test]
    fn the_file_is_the_one_that_pip_reads_last() {
        let path = |pairs: &[(&str, &str)]| user_file(&variables(pairs)).unwrap();
        assert_eq!(path(&[("HOME", "/h")]), Path::new("/h/.config/pip/pip.conf"));
        assert_eq!(path(&[("HOME", "/h"), ("PIP_CONFIG_FILE", "/p")]), Path::new("/p"));
    }
}
