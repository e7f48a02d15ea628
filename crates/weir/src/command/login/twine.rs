//! `weir login twine`: a section of .pypirc, and its name in the list of servers.

use super::{Access, USER, checked_name, read, write};
use crate::cli::LoginTwine;
use crate::command::ini;
use crate::command::output::Out;
use crate::config::Variables;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;

const SERVERS: &str = "index-servers";

/// Fetches a token and writes it to .pypirc.
pub(super) async fn run(arguments: LoginTwine, variables: &Variables) -> Result<Out> {
    let home = variables.get("HOME").filter(|home| !home.is_empty());
    let path = arguments.file.clone().or_else(|| Some(PathBuf::from(home?).join(".pypirc")));
    let path = path.context("HOME is not set; say with --file which file to write")?;
    let name = checked_name(&arguments.name)?;
    if ["distutils", "server-login"].contains(&name) {
        bail!("--name: '{name}' has another meaning in .pypirc; choose another, such as weir");
    }
    let access = Access::fetch(&arguments.common, "pypi", variables).await?;
    write(&path, &edit(&read(&path)?, name, &access))?;

    let sentences = [
        format!("wrote [{name}] to {}", path.display()),
        format!("twine uploads to {} with '-r {name}'; {}", access.endpoint, access.token.lifetime()),
        format!("next: twine upload -r {name} dist/*"),
    ];
    let told = json!({ "file": path, "name": name });
    Ok(access.report(arguments.common.json, told, &sentences))
}

fn edit(text: &str, name: &str, access: &Access) -> String {
    let mut text = text.to_owned();
    if ini::value(&text, "distutils", &[SERVERS]).is_none() {
        // Without a list twine reads these two; with one only what it names.
        for usual in ["pypi", "testpypi"] {
            if ini::has_section(&text, usual) {
                text = ini::add_word(&text, "distutils", SERVERS, usual);
            }
        }
    }
    text = ini::add_word(&text, "distutils", SERVERS, name);
    for (key, value) in
        [("repository", access.endpoint.as_str()), ("username", USER), ("password", &access.token.text)]
    {
        text = ini::set(&text, name, &[key], value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::access;
    use super::*;

    const SECTION: &str = "[weir]\nrepository = http://127.0.0.1/p/\nusername = aws\npassword = weir_abc\n";

    #[track_caller]
    fn check(before: &str, after: &str) {
        let access = access("http://127.0.0.1/p/");
        let edited = edit(before, "weir", &access);
        assert_eq!(edited, after);
        assert_eq!(edit(&edited, "weir", &access), after);
    }

    #[test]
    fn the_section_joins_the_others() {
        check("", &format!("[distutils]\nindex-servers =\n    weir\n\n{SECTION}"));
        check(
            "[distutils]\nindex-servers =\n  pypi\n\n[pypi]\n# mine\nusername = me\n",
            &format!(
                "[distutils]\nindex-servers =\n  pypi\n  weir\n\n[pypi]\n# mine\nusername = me\n\n{SECTION}"
            ),
        );
        check(
            "[pypi]\nusername = me\n",
            &format!(
                "[pypi]\nusername = me\n\n[distutils]\nindex-servers =\n    pypi\n    weir\n\n{SECTION}"
            ),
        );
        check(
            "[distutils]\nindex-servers = weir\n[weir]\npassword: old\nca_cert = /ca.pem\nrepository: x\n",
            "[distutils]\nindex-servers = weir\n[weir]\npassword = weir_abc\nca_cert = /ca.pem\n\
             repository = http://127.0.0.1/p/\nusername = aws\n",
        );
    }
}
