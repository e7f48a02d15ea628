//! `weir login`: fetches a token and writes it where the package manager looks. Nothing is run.

use super::npmrc;
use super::output::Out;
use crate::app::write_private_file;
use crate::cli::{LoginNpm, LoginTool, Place};
use crate::client::Client;
use crate::config::Variables;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;
use std::path::Path;

/// Sets one package manager up.
pub(super) async fn run(tool: LoginTool, variables: &Variables) -> Result<Out> {
    match tool {
        LoginTool::Npm(arguments) => npm(arguments, variables).await,
    }
}

async fn npm(arguments: LoginNpm, variables: &Variables) -> Result<Out> {
    let path = arguments.npmrc.clone().or_else(|| npmrc::user_file(variables));
    let path = path.context("HOME is not set; say with --npmrc which file to write")?;
    let scope = arguments.scope.as_deref().map(parse_scope).transpose()?;
    let client = arguments.remote.client(variables)?;
    let duration = arguments.duration.map(|seconds| seconds.to_string());
    let token = token(&client, &arguments.place, duration.as_deref()).await?;
    let endpoint = endpoint(&client, &arguments.place, "npm").await?;
    let pairs = pairs(&endpoint, &token, scope.as_deref(), arguments.yarn1);
    write(&path, &pairs)?;

    let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    let what =
        scope.as_ref().map_or_else(|| "all packages".to_owned(), |scope| format!("packages of {scope}"));
    let told = json!({ "file": path, "registry": endpoint, "keys": keys });
    Ok(Out::new(
        arguments.json,
        || told,
        || {
            format!(
                "wrote {} to {}\nnpm now uses {endpoint} for {what}; the token ends in at most 12 hours, then log in again\n",
                keys.join(", "),
                path.display()
            )
        },
    ))
}

/// A token of the caller for the domain (GetAuthorizationToken).
pub(super) async fn token(client: &Client, place: &Place, duration: Option<&str>) -> Result<String> {
    let mut query = vec![("domain", place.domain.as_str())];
    query.extend(place.domain_owner.as_deref().map(|owner| ("domain-owner", owner)));
    query.extend(duration.map(|duration| ("duration", duration)));
    let answer = client.call("POST", "/v1/authorization-token", &query, None).await?;
    let token = answer["authorizationToken"].as_str();
    token.map(str::to_owned).context("the server's answer has no token")
}

/// Where clients of a format find the repository (GetRepositoryEndpoint); ends in `/`.
pub(super) async fn endpoint(client: &Client, place: &Place, format: &str) -> Result<String> {
    let mut query =
        vec![("domain", place.domain.as_str()), ("repository", &place.repository), ("format", format)];
    query.extend(place.domain_owner.as_deref().map(|owner| ("domain-owner", owner)));
    let answer = client.call("GET", "/v1/repository/endpoint", &query, None).await?;
    let endpoint = answer["repositoryEndpoint"].as_str();
    endpoint.map(str::to_owned).context("the server's answer has no endpoint")
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

fn write(path: &Path, pairs: &[(String, String)]) -> Result<()> {
    // A link, as dotfile managers make them, keeps leading where it led.
    let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = match fs_err::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    if pairs.iter().any(|(_, value)| value.contains(['\n', '\r'])) {
        bail!("the server's answer cannot stand in {}", path.display());
    }
    write_private_file(&path, npmrc::edit(&text, pairs).as_bytes())
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
        write(&path, &pairs(endpoint, "weir_abc", None, true)).unwrap();
        write(&path, &pairs(endpoint, "weir_def", Some("@acme"), false)).unwrap();
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
