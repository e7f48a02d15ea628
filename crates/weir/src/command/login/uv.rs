//! `weir login uv`: an index in uv.toml. The token stands in its addresses: uv 0.13 takes it from there for
//! installing and for publishing, sends it with the first request, and leaves it out of uv.lock.

use super::{Access, read, settings_folder, write};
use crate::cli::LoginUv;
use crate::command::output::Out;
use crate::command::toml_lines::{self, Place};
use crate::config::Variables;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use toml::Value;

const NAME: &str = "weir";

/// Fetches a token and writes it to uv.toml.
pub(super) async fn run(arguments: LoginUv, variables: &Variables) -> Result<Out> {
    let path = arguments.file.clone().or_else(|| user_file(variables));
    let path = path.context("HOME is not set; say with --file which file to write")?;
    let access = Access::fetch(&arguments.common, "pypi", variables).await?;
    let text = edit(&read(&path)?, &access).with_context(|| format!("{} stays as it is", path.display()))?;
    write(&path, &text)?;

    let index = access.index();
    let mut sentences = vec![
        format!("wrote the index {NAME} to {}", path.display()),
        format!("uv now installs from {index}; {}", access.token.lifetime()),
    ];
    let winners = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"];
    let set = winners.into_iter().filter(|name| variables.get(*name).is_some_and(|url| !url.is_empty()));
    let notes: Vec<String> = set.map(|name| format!("{name} is set and wins over the file")).collect();
    sentences.extend(notes.iter().map(|note| format!("but {note}")));
    sentences.push(format!("next: uv add PACKAGE, uv publish --index {NAME}"));
    let told = json!({ "file": path, "index": index, "name": NAME, "notes": notes });
    Ok(access.report(arguments.common.json, told, &sentences))
}

fn user_file(variables: &Variables) -> Option<PathBuf> {
    let named = variables.get("UV_CONFIG_FILE").filter(|path| !path.is_empty());
    let usual = || settings_folder(variables, "uv", None).map(|folder| folder.join("uv.toml"));
    named.map(PathBuf::from).or_else(usual)
}

fn edit(text: &str, access: &Access) -> Result<String> {
    let table = toml_lines::parse(text)?;
    let all = table.get("index").and_then(Value::as_array);
    for one in all.into_iter().flatten() {
        let name = one.get("name").and_then(Value::as_str);
        // The first of two would count, without a word.
        if name != Some(NAME) && one.get("default").and_then(Value::as_bool) == Some(true) {
            bail!(
                "its index {} is the default already; take 'default = true' away there, then log in again",
                name.map_or_else(|| "without a name".to_owned(), |name| format!("'{name}'"))
            );
        }
    }
    let pairs = [
        ("url", access.with_token(&access.index())?.into()),
        ("publish-url", access.with_token(&access.endpoint)?.into()),
        ("default", true.into()),
    ];
    toml_lines::set(text, Place::Named { array: "index", name: NAME }, &pairs)
}

#[cfg(test)]
mod tests {
    use super::super::tests::access;
    use super::*;

    #[test]
    fn the_index_is_the_default_and_another_default_is_named() {
        let access = access("http://127.0.0.1/p/");
        let written = "[[index]]\nname = \"weir\"\nurl = \"http://aws:weir_abc@127.0.0.1/p/simple/\"\n\
                       publish-url = \"http://aws:weir_abc@127.0.0.1/p/\"\ndefault = true\n";
        assert_eq!(edit("", &access).unwrap(), written);
        assert_eq!(edit(written, &access).unwrap(), written);
        let other = "# mine\n[[index]]\nname = \"other\"\nurl = \"http://x/\"\n";
        assert_eq!(edit(other, &access).unwrap(), format!("{other}\n{written}"));
        let error = edit(&format!("{other}default = true\n"), &access).unwrap_err().to_string();
        assert!(error.contains("'other'"), "{error}");
    }
}
