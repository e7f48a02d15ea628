//! `weir connections`: where the public registries are.

use super::output::{Out, cell, table, time};
use crate::cli::{ConnectionCommand, Connections, ListConnections, NamedConnection, SetConnection, Unpin};
use crate::client::Remote;
use crate::config::Variables;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Runs one of them; without a command it lists.
pub(super) async fn run(arguments: Connections, variables: &Variables) -> Result<Out> {
    match arguments.command {
        None => list(arguments.list, variables).await,
        Some(ConnectionCommand::List(arguments)) => list(arguments, variables).await,
        Some(ConnectionCommand::Set(arguments)) => set(*arguments, variables).await,
        Some(ConnectionCommand::Delete(NamedConnection { name, json, remote })) => {
            let answer = call(&remote, variables, "DELETE", &name, "", None).await?;
            Ok(Out::new(json, || answer, || format!("the address of {name} is forgotten\n")))
        }
        Some(ConnectionCommand::Rediscover(NamedConnection { name, json, remote })) => {
            let answer = call(&remote, variables, "POST", &name, "/rediscover", Some(json!({}))).await?;
            Ok(shown(json, &answer))
        }
        Some(ConnectionCommand::Unpin(arguments)) => unpin(arguments, variables).await,
    }
}

async fn list(arguments: ListConnections, variables: &Variables) -> Result<Out> {
    let answer = arguments.remote.client(variables)?.call("GET", "/weir/v1/connections", &[], None).await?;
    Ok(Out::new(arguments.json, || answer.clone(), || text(&answer)))
}

fn text(answer: &Value) -> String {
    let connections: Vec<&Value> = answer["connections"].as_array().into_iter().flatten().collect();
    let columns = ["name", "format", "url", "source", "health"];
    let rows: Vec<Vec<String>> = connections
        .iter()
        .map(|connection| {
            let mut row: Vec<String> = columns.iter().map(|name| cell(connection, name)).collect();
            row.push(time(connection, "answeredTime"));
            row.push(cell(connection, "repositories"));
            row
        })
        .collect();
    let heading = ["NAME", "FORMAT", "ADDRESS", "SOURCE", "HEALTH", "LAST ANSWER", "REPOSITORIES"];
    let mut out = table(&heading, &rows, "no connections: no format with a public registry is built in");
    for connection in connections {
        let name = cell(connection, "name");
        if !connection["lastFailure"].is_null() {
            out.push_str(&format!("\n{name}: last failure: {}\n", cell(connection, "lastFailure")));
        }
        if !connection["advice"].is_null() {
            out.push_str(&format!("\n{name}: {}\n", cell(connection, "advice")));
        }
    }
    out
}

async fn set(arguments: SetConnection, variables: &Variables) -> Result<Out> {
    let secret = |path: &Option<PathBuf>| -> Result<Option<Value>> {
        let Some(path) = path else { return Ok(None) };
        let text = fs_err::read_to_string(path)?;
        Ok(Some(Value::String(text.trim_end_matches(['\r', '\n']).to_owned())))
    };
    let text = |value: &Option<String>| value.clone().map(Value::String);
    let mut headers = Map::new();
    for header in &arguments.header {
        let Some((name, value)) = header.split_once('=') else {
            bail!("--header: '{header}' is not NAME=VALUE")
        };
        headers.insert(name.to_owned(), value.into());
    }
    let members = [
        ("url", Some(Value::String(arguments.url.clone()))),
        ("format", text(&arguments.format)),
        ("username", text(&arguments.username)),
        ("password", secret(&arguments.password_file)?),
        ("token", secret(&arguments.token_file)?),
        ("headers", (!headers.is_empty()).then_some(Value::Object(headers))),
        ("allowed-hosts", (!arguments.allowed_host.is_empty()).then(|| json!(arguments.allowed_host))),
        ("ca-file", arguments.registry_ca_file.as_ref().map(|path| json!(path))),
        ("proxy", text(&arguments.proxy)),
    ];
    let body: Map<String, Value> =
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let answer = call(&arguments.remote, variables, "PUT", &arguments.name, "", Some(body.into())).await?;
    Ok(shown(arguments.json, &answer))
}

async fn unpin(arguments: Unpin, variables: &Variables) -> Result<Out> {
    let Unpin { name, package, domain, domain_owner, json, remote } = arguments;
    let mut body = json!({ "domain": domain, "package": package });
    if let Some(owner) = domain_owner {
        body["domainOwner"] = owner.into();
    }
    let answer = call(&remote, variables, "POST", &name, "/unpin", Some(body)).await?;
    let count = answer["unpinned"].as_u64().context("the server's answer has no count")?;
    Ok(Out::new(
        json,
        || answer,
        || format!("{count} first-seen digests of {package} on {name} are forgotten\n"),
    ))
}

fn shown(as_json: bool, answer: &Value) -> Out {
    Out::new(as_json, || answer.clone(), || text(&json!({ "connections": [answer["connection"]] })))
}

async fn call(
    remote: &Remote,
    variables: &Variables,
    method: &str,
    name: &str,
    below: &str,
    body: Option<Value>,
) -> Result<Value> {
    // Parsed here so that the name cannot lead to another path.
    let name = weir_core::ConnectionName::parse("name", name)?;
    let path = format!("/weir/v1/connections/{name}{below}");
    remote.client(variables)?.call(method, &path, &[], body.as_ref()).await
}
