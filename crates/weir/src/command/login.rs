//! `weir login`: fetches a token and writes it where the package manager looks. Nothing is run.

mod npm;
mod pip;
mod poetry;
mod twine;
mod uv;

use super::output::{Out, time};
use crate::app::{make_private_folder, write_private_file};
use crate::cli::{LoginCommon, LoginTool, Place};
use crate::client::Client;
use crate::config::Variables;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use url::Url;

pub(super) use pip::{INDEX as PIP_INDEX, user_file as pip_user_file};

/// The user name beside the token, as CodeArtifact's own tool writes it; the server takes any.
pub(super) const USER: &str = "aws";

/// Sets one package manager up.
pub(super) async fn run(tool: LoginTool, variables: &Variables) -> Result<Out> {
    match tool {
        LoginTool::Npm(arguments) => npm::run(arguments, variables).await,
        LoginTool::Pip(arguments) => pip::run(arguments, variables).await,
        LoginTool::Uv(arguments) => uv::run(arguments, variables).await,
        LoginTool::Poetry(arguments) => poetry::run(arguments, variables).await,
        LoginTool::Twine(arguments) => twine::run(arguments, variables).await,
    }
}

/// A token, and when it ends.
pub(super) struct Token {
    /// The token itself.
    pub(super) text: String,
    /// Epoch seconds; null for a token that does not end.
    pub(super) expiration: Value,
}

/// What a package manager is told: where, and with what.
struct Access {
    /// Ends in `/`.
    endpoint: String,
    token: Token,
}

impl Access {
    /// Asks the server. The token first: with the endpoint the server learns where the public registry is,
    /// which it must before the package manager is pointed at the server itself.
    async fn fetch(common: &LoginCommon, format: &str, variables: &Variables) -> Result<Self> {
        let client = common.remote.client(variables)?;
        let duration = common.duration.map(|seconds| seconds.to_string());
        let token = token(&client, &common.place, duration.as_deref()).await?;
        let endpoint = endpoint(&client, &common.place, format).await?;
        if endpoint.chars().chain(token.text.chars()).any(|c| c.is_control() || c.is_whitespace()) {
            bail!("the server's answer cannot stand in a file of settings");
        }
        Ok(Self { endpoint, token })
    }

    /// The simple index, where pip and its like look for packages.
    fn index(&self) -> String {
        format!("{}simple/", self.endpoint)
    }

    /// An address with the token as its password.
    fn with_token(&self, address: &str) -> Result<String> {
        let mut url = self.url(address)?;
        let set = url.set_username(USER).and_then(|()| url.set_password(Some(&self.token.text)));
        set.map_err(|()| anyhow!("{address} cannot hold a token"))?;
        Ok(url.into())
    }

    /// The host whose plain http a package manager wants to be told to trust; `None` where it need not.
    fn insecure_host(&self) -> Result<Option<String>> {
        let url = self.url(&self.endpoint)?;
        let is_loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => true,
        };
        Ok(url.host_str().filter(|_| url.scheme() == "http" && !is_loopback).map(str::to_owned))
    }

    fn url(&self, address: &str) -> Result<Url> {
        Url::parse(address).with_context(|| format!("the server's endpoint '{address}' is no address"))
    }

    /// What was done: the sentences are lines of the text; `told` is joined with what all logins tell.
    fn report(&self, as_json: bool, mut told: Value, sentences: &[String]) -> Out {
        told["registry"] = json!(self.endpoint);
        told["expiration"] = self.token.expiration.clone();
        Out::new(as_json, || told, || sentences.iter().map(|line| format!("{line}\n")).collect())
    }
}

impl Token {
    /// How long it holds, and what to do then.
    fn lifetime(&self) -> String {
        match time(&json!({ "at": self.expiration }), "at").as_str() {
            "-" => "the token does not end".to_owned(),
            end => format!("the token ends at {end}, then log in again"),
        }
    }
}

/// A token of the caller for the domain (GetAuthorizationToken).
pub(super) async fn token(client: &Client, place: &Place, duration: Option<&str>) -> Result<Token> {
    let mut query = vec![("domain", place.domain.as_str())];
    query.extend(place.domain_owner.as_deref().map(|owner| ("domain-owner", owner)));
    query.extend(duration.map(|duration| ("duration", duration)));
    let answer = client.call("POST", "/v1/authorization-token", &query, None).await?;
    let token = answer["authorizationToken"].as_str();
    let text = token.map(str::to_owned).context("the server's answer has no token")?;
    Ok(Token { text, expiration: answer["expiration"].clone() })
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

/// The folder of a tool below the user's folder of settings.
fn settings_folder(variables: &Variables, tool: &str, on_macos: Option<&str>) -> Option<PathBuf> {
    let get = |name: &str| variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = get("HOME");
    if let (true, Some(below), Some(home)) = (cfg!(target_os = "macos"), on_macos, &home) {
        return Some(home.join(below));
    }
    // A relative one is to be passed over, says its specification.
    let base = get("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    base.or_else(|| Some(home?.join(".config"))).map(|base| base.join(tool))
}

/// The text of a file of settings; none where there is no file.
fn read(path: &Path) -> Result<String> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a file that holds a token, so that only its owner may read it.
fn write(path: &Path, text: &str) -> Result<()> {
    // A link, as dotfile managers make them, keeps leading where it led.
    let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        make_private_folder(folder)?;
    }
    write_private_file(&path, text.as_bytes())
}

/// A name that other tools take for a section of theirs.
fn checked_name(text: &str) -> Result<&str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if text.is_empty() || !text.bytes().all(allowed) {
        bail!("--name: '{text}' is no name; letters, digits, '-' and '_' make one");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// As if the server had answered.
    pub(super) fn access(endpoint: &str) -> Access {
        let token = Token { text: "weir_abc".to_owned(), expiration: json!(1_763_690_400.0) };
        Access { endpoint: endpoint.to_owned(), token }
    }

    /// Variables with these alone.
    pub(super) fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_file_is_private_and_a_link_keeps_leading_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a/b/pip.conf");
        write(&place, "1").unwrap();
        let link = folder.path().join("link");
        fs_err::os::unix::fs::symlink(&place, &link).unwrap();
        fs_err::set_permissions(&place, std::fs::Permissions::from_mode(0o644)).unwrap();
        write(&link, "2").unwrap();
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&place).unwrap(), "2");
        assert_eq!(fs_err::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&folder.path().join("absent")).unwrap(), "");
    }

    #[test]
    fn an_address_takes_the_token_and_plain_http_is_told_from_the_loopback() {
        let insecure = |endpoint: &str| access(endpoint).insecure_host().unwrap();
        assert_eq!(
            insecure("http://packages.example.com:8090/pypi/").as_deref(),
            Some("packages.example.com")
        );
        assert_eq!(insecure("http://192.0.2.1/").as_deref(), Some("192.0.2.1"));
        for endpoint in
            ["https://packages.example.com/", "http://localhost:1/", "http://127.0.0.2/", "http://[::1]/"]
        {
            assert_eq!(insecure(endpoint), None, "{endpoint}");
        }
        let access = access("https://packages.example.com/pypi/d/local-000000000000/main/");
        assert_eq!(
            access.with_token(&access.index()).unwrap(),
            "https://aws:weir_abc@packages.example.com/pypi/d/local-000000000000/main/simple/"
        );
        assert_eq!(access.token.lifetime(), "the token ends at 2025-11-21T02:00:00Z, then log in again");
    }

    #[test]
    fn settings_lie_where_the_variables_say() {
        let folder = |pairs: &[(&str, &str)]| settings_folder(&variables(pairs), "pip", None);
        assert_eq!(folder(&[]), None);
        assert_eq!(folder(&[("HOME", "/h")]), Some("/h/.config/pip".into()));
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), Some("/x/pip".into()));
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]), Some("/h/.config/pip".into()));
        assert!(checked_name("weir-2").is_ok() && checked_name("a]").is_err() && checked_name("").is_err());
    }
}
