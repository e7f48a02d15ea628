//! `weir login npm`: .npmrc, which pnpm, yarn 1 and bun read too.

use super::{Access, read, write};
use crate::cli::LoginNpm;
use crate::command::npmrc;
use crate::command::output::Out;
use crate::config::Variables;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;
use std::path::Path;

/// Fetches a token and writes it to .npmrc.
pub(super) async fn run(arguments: LoginNpm, variables: &Variables) -> Result<Out> {
    let path = arguments.npmrc.clone().or_else(|| npmrc::user_file(variables));
    let path = path.context("HOME is not set; say with --npmrc which file to write")?;
    let scope = arguments.scope.as_deref().map(parse_scope).transpose()?;
    let access = Access::fetch(&arguments.common, "npm", variables).await?;
    let endpoint = &access.endpoint;
    let pairs = pairs(endpoint, &access.token.text, scope.as_deref(), arguments.yarn1);
    write_pairs(&path, &pairs)?;

    let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    let what =
        scope.as_ref().map_or_else(|| "all packages".to_owned(), |scope| format!("packages of {scope}"));
    let told =
        json!({ "file": path, "registry": endpoint, "keys": keys, "expiration": access.token.expiration });
    Ok(Out::new(
        arguments.common.json,
        || told,
        || {
            format!(
                "wrote {} to {}\nnpm now uses {endpoint} for {what}; {}\n",
                keys.join(", "),
                path.display(),
                access.token.lifetime()
            )
        },
    ))
}

fn parse_scope(text: &str) -> Result<String> {
    let name = text.strip_prefix('@').unwrap_or(text);
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._~".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(anyhow!("--scope: '{text}' is not an npm scope such as @acme"));
    }
    Ok(format!("@{name}"))
}

fn pairs(endpoint: &str, token: &str, scope: Option<&str>, yarn1: bool) -> Vec<(String, String)> {
    let registry = scope.map_or_else(|| "registry".to_owned(), |scope| format!("{scope}:registry"));
    let mut pairs =
        vec![(registry, endpoint.to_owned()), (npmrc::key_of(endpoint, "_authToken"), token.to_owned())];
    if yarn1 {
        pairs.push((npmrc::key_of(endpoint, "always-auth"), "true".to_owned()));
    }
    pairs
}

fn write_pairs(path: &Path, pairs: &[(String, String)]) -> Result<()> {
    if pairs.iter().any(|(_, value)| value.contains(['\n', '\r'])) {
        bail!("the server's answer cannot stand in {}", path.display());
    }
    write(path, &npmrc::edit(&read(path)?, pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_writes_registry_and_token_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".npmrc");
        fs_err::write(&path, "save-exact=true\n").unwrap();
        let endpoint = "http://127.0.0.1:8090/npm/d/local-000000000000/main/";
        write_pairs(&path, &pairs(endpoint, "weir_abc", None, true)).unwrap();
        write_pairs(&path, &pairs(endpoint, "weir_def", Some("@acme"), false)).unwrap();
        let place = "//127.0.0.1:8090/npm/d/local-000000000000/main/";
        assert_eq!(
            fs_err::read_to_string(&path).unwrap(),
            format!(
                "save-exact=true\nregistry={endpoint}\n{place}:_authToken=weir_def\n{place}:always-auth=true\n\
                 @acme:registry={endpoint}\n"
            )
        );
    }

    #[test]
    fn a_scope_is_checked() {
        assert_eq!(parse_scope("acme").unwrap(), "@acme");
        assert_eq!(parse_scope("@acme.x").unwrap(), "@acme.x");
        for wrong in ["@", "@a/b", "@A", "@a b"] {
            assert!(parse_scope(wrong).is_err(), "{wrong}");
        }
    }
}
