//! `weir token`

use super::identity::{rows, segment};
use super::output::{Out, cell, table, time};
use crate::cli::{CreateToken, TokenCommand};
use crate::config::{Variables, parse_duration};
use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

/// `weir token create|list|delete`
pub(super) async fn run(command: TokenCommand, variables: &Variables) -> Result<Out> {
    match command {
        TokenCommand::Create(arguments) => create(*arguments, variables).await,
        TokenCommand::List { json, remote } => {
            let answer = remote.client(variables)?.call("GET", "/weir/v1/tokens", &[], None).await?;
            let rows = rows(&answer["tokens"], |token| {
                let mut row: Vec<String> =
                    ["id", "user", "domain", "description"].iter().map(|name| cell(token, name)).collect();
                row.push(scope(&token["scope"]));
                row.push(if token["expiration"].is_null() {
                    "never".to_owned()
                } else {
                    time(token, "expiration")
                });
                row
            });
            let heading = ["ID", "USER", "DOMAIN", "DESCRIPTION", "ONLY FOR", "ENDS"];
            Ok(Out::new(json, || answer.clone(), || table(&heading, &rows, "no tokens")))
        }
        TokenCommand::Delete { id, remote } => {
            let path = format!("/weir/v1/tokens/{}", segment(&id));
            remote.client(variables)?.call("DELETE", &path, &[], None).await?;
            Ok(Out::new(false, || Value::Null, || format!("{id} is revoked\n")))
        }
    }
}

async fn create(arguments: CreateToken, variables: &Variables) -> Result<Out> {
    let CreateToken {
        domain,
        domain_owner,
        user,
        description,
        repository,
        format,
        read_only,
        expires,
        json,
        remote,
    } = arguments;
    let mut body = json!({ "domain": domain, "description": description });
    for (name, value) in [("domainOwner", domain_owner), ("user", user)] {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    if read_only || !repository.is_empty() || !format.is_empty() {
        body["scope"] = json!({ "repositories": repository, "formats": format, "readOnly": read_only });
    }
    if let Some(text) = expires {
        let life = parse_duration(&text).filter(|life| life.as_secs() > 0);
        let life = life.ok_or_else(|| anyhow!("--expires: '{text}' is not a duration such as 12h or 90d"))?;
        body["lifetimeSeconds"] = life.as_secs().into();
    }
    let answer = remote.client(variables)?.call("POST", "/weir/v1/tokens", &[], Some(&body)).await?;
    let token = answer["token"].as_str().context("the server's answer has no token")?.to_owned();
    // The token alone on standard output, so that a script may take it without --json.
    Ok(Out::new(json, || answer, || format!("{token}\n")))
}

fn scope(scope: &Value) -> String {
    let names = |name: &str| {
        scope[name].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
    };
    let mut parts: Vec<String> = names("repositories").chain(names("formats")).collect();
    if scope["readOnly"] == json!(true) {
        parts.push("reading".to_owned());
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}
