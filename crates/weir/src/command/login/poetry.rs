//! `weir login poetry`: the token in auth.toml, and in config.toml where 'poetry publish -r' goes. What to
//! install from is said in each project, so that command is printed.

use super::{Access, USER, checked_name, read, settings_folder, write};
use crate::cli::LoginPoetry;
use crate::command::output::Out;
use crate::command::toml_lines::{self, Place};
use crate::config::Variables;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Fetches a token and writes it to auth.toml.
pub(super) async fn run(arguments: LoginPoetry, variables: &Variables) -> Result<Out> {
    let folder = arguments.config_dir.clone().or_else(|| user_folder(variables));
    let folder = folder.context("HOME is not set; say with --config-dir which folder to write to")?;
    let (auth, config) = (folder.join("auth.toml"), folder.join("config.toml"));
    let name = checked_name(&arguments.name)?;
    let access = Access::fetch(&arguments.common, "pypi", variables).await?;
    let with_token = edit_auth(&read(&auth)?, name, &access).with_context(|| stays(&auth))?;
    let with_address = edit_config(&read(&config)?, name, &access).with_context(|| stays(&config))?;
    write(&auth, &with_token)?;
    write(&config, &with_address)?;

    let index = access.index();
    let add = format!("poetry source add --priority=primary {name} {index}");
    let sentences = [
        format!("wrote [http-basic.{name}] to {}", auth.display()),
        format!("wrote [repositories.{name}] to {}", config.display()),
        format!("Poetry now has a token for {name}; {}", access.token.lifetime()),
        format!("next, in each project: {add}"),
        format!("and to publish: poetry publish --build -r {name}"),
    ];
    let told = json!({ "file": auth, "config": config, "index": index, "name": name, "next": add });
    Ok(access.report(arguments.common.json, told, &sentences))
}

fn stays(path: &Path) -> String {
    format!("{} stays as it is", path.display())
}

fn user_folder(variables: &Variables) -> Option<PathBuf> {
    let named = variables.get("POETRY_CONFIG_DIR").filter(|path| !path.is_empty());
    let usual = || settings_folder(variables, "pypoetry", Some("Library/Application Support/pypoetry"));
    named.map(PathBuf::from).or_else(usual)
}

fn edit_auth(text: &str, name: &str, access: &Access) -> Result<String> {
    let pairs = [("username", USER.into()), ("password", access.token.text.as_str().into())];
    toml_lines::set(text, Place::Table(&["http-basic", name]), &pairs)
}

fn edit_config(text: &str, name: &str, access: &Access) -> Result<String> {
    let pairs = [("url", access.endpoint.as_str().into())];
    toml_lines::set(text, Place::Table(&["repositories", name]), &pairs)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{access, variables};
    use super::*;

    #[test]
    fn the_token_and_the_address_are_written_as_poetry_writes_them() {
        let access = access("http://127.0.0.1/p/");
        assert_eq!(
            edit_auth("", "weir", &access).unwrap(),
            "[http-basic.weir]\nusername = \"aws\"\npassword = \"weir_abc\"\n"
        );
        let other = "[virtualenvs]\nin-project = true # mine\n";
        assert_eq!(
            edit_config(other, "weir", &access).unwrap(),
            format!("{other}\n[repositories.weir]\nurl = \"http://127.0.0.1/p/\"\n")
        );
    }

    #[test]
    fn the_folder_is_the_one_that_poetry_reads() {
        let folder = user_folder(&variables(&[("HOME", "/h"), ("POETRY_CONFIG_DIR", "/p")]));
        assert_eq!(folder, Some("/p".into()));
    }
}
