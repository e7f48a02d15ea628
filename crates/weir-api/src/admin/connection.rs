//! External connections: their addresses, health and pins.

use super::done;
use crate::input::{self, Input};
use crate::operation::Context;
use crate::wire::epoch;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_core::{AccountId, ConnectionName, DomainName, Result};
use weir_registry::DomainRef;
use weir_registry::connection::ConnectionInfo;
use weir_registry::settings::ConnectionSettings;

pub(super) async fn list(context: &Context<'_>) -> Result<Value> {
    let connections = context.registry.list_connections(context.caller).await?;
    let connections: Vec<Value> = connections.iter().map(connection).collect();
    Ok(json!({ "connections": connections }))
}

/// The body has the keys of the settings file: `url`, `allowed-hosts`, …
pub(super) async fn set(context: &Context<'_>, name: &str, input: &Input<'_>) -> Result<Value> {
    let name = ConnectionName::parse("connection", name)?;
    let settings: ConnectionSettings = input.json()?;
    let info = context.registry.set_connection(context.caller, &name, settings).await?;
    Ok(json!({ "connection": connection(&info) }))
}

pub(super) async fn delete(context: &Context<'_>, name: &str) -> Result<Value> {
    let name = ConnectionName::parse("connection", name)?;
    context.registry.delete_connection(context.caller, &name).await?;
    Ok(done())
}

pub(super) async fn rediscover(context: &Context<'_>, name: &str) -> Result<Value> {
    let name = ConnectionName::parse("connection", name)?;
    let info = context.registry.rediscover_connection(context.caller, &name).await?;
    Ok(json!({ "connection": connection(&info) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnpinInput {
    domain: Option<String>,
    domain_owner: Option<String>,
    package: Option<String>,
}

pub(super) async fn unpin(context: &Context<'_>, name: &str, input: &Input<'_>) -> Result<Value> {
    let name = ConnectionName::parse("connection", name)?;
    let body: UnpinInput = input.json()?;
    let domain = body.domain.ok_or_else(|| input::missing("domain"))?;
    let owner = body.domain_owner.map(|owner| AccountId::parse("domainOwner", &owner)).transpose()?;
    let domain = DomainRef { name: DomainName::parse("domain", &domain)?, owner };
    let package = body.package.ok_or_else(|| input::missing("package"))?;
    let unpinned = context.registry.unpin(context.caller, &name, &domain, &package).await?;
    Ok(json!({ "unpinned": unpinned }))
}

/// A connection as lists and status show it.
pub(super) fn connection(info: &ConnectionInfo) -> Value {
    json!({
        "name": info.name,
        "format": info.format,
        "url": info.url,
        "source": info.source,
        "health": info.health,
        "answeredTime": info.answered_at.map(epoch),
        "lastFailure": info.last_failure,
        "repositories": info.repositories,
        "advice": info.advice,
    })
}
