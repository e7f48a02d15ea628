//! The user configuration of each package manager: where the registry is, and which token it gets.

use super::Client;
use crate::tool::Tool;

/// Writes the configuration into the client's home, in place of what was there.
pub(super) fn write(client: &Client, url: &str, token: Option<&str>, scope: Option<(&str, &str)>) {
    let (file, text) = match client.tool() {
        Tool::Yarn4 => (".yarnrc.yml", yarnrc(url, token, scope)),
        Tool::Bun => (".bunfig.toml", bunfig(url, token, scope)),
        Tool::Npm10 | Tool::Npm11 | Tool::Pnpm => (".npmrc", npmrc(url, token, scope)),
        // Classic sends no token for packages without a scope unless it is told to, always.
        Tool::Yarn1 => (".npmrc", npmrc(url, token, scope) + &always_auth(url)),
        other => panic!("{} installs no npm packages", other.name()),
    };
    fs_err::write(client.home().join(file), text).expect("a temporary folder can be written");
}

fn npmrc(url: &str, token: Option<&str>, scope: Option<(&str, &str)>) -> String {
    let mut text = format!("registry={url}\n");
    for url in [Some(url), scope.map(|(_, url)| url)].into_iter().flatten() {
        if let Some(token) = token {
            text += &format!("{}:_authToken={token}\n", without_scheme(url));
        }
    }
    if let Some((scope, url)) = scope {
        text += &format!("@{scope}:registry={url}\n");
    }
    text
}

fn always_auth(url: &str) -> String {
    format!("{}:always-auth=true\n", without_scheme(url))
}

fn yarnrc(url: &str, token: Option<&str>, scope: Option<(&str, &str)>) -> String {
    let token = token.map(|token| format!("npmAuthToken: \"{token}\"")).unwrap_or_default();
    let always = if token.is_empty() { "" } else { "npmAlwaysAuth: true" };
    let mut text = format!("npmRegistryServer: \"{url}\"\n{token}\n{always}\n");
    text += "nodeLinker: node-modules\nenableTelemetry: false\nenableGlobalCache: true\n";
    text += "enableScripts: true\nenableImmutableInstalls: false\nnpmMinimalAgeGate: 0\n";
    text += "unsafeHttpWhitelist:\n  - \"127.0.0.1\"\n  - \"localhost\"\n";
    if let Some((scope, url)) = scope {
        text +=
            &format!("npmScopes:\n  {scope}:\n    npmRegistryServer: \"{url}\"\n    {token}\n    {always}\n");
    }
    text
}

fn bunfig(url: &str, token: Option<&str>, scope: Option<(&str, &str)>) -> String {
    let registry = |url: &str| match token {
        Some(token) => format!("{{ url = \"{url}\", token = \"{token}\" }}"),
        None => format!("\"{url}\""),
    };
    let mut text = format!("telemetry = false\n[install]\nregistry = {}\n", registry(url));
    if let Some((scope, url)) = scope {
        text += &format!("[install.scopes]\n\"@{scope}\" = {}\n", registry(url));
    }
    text
}

/// `//HOST:PORT/PATH/`, the form in which npmrc files name whom a credential is for.
fn without_scheme(url: &str) -> &str {
    url.split_once(':').map_or(url, |(_, rest)| rest)
}
