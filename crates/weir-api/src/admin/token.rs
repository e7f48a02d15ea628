//! Bearer tokens of any life and scope.

use super::done;
use crate::input::{self, Input};
use crate::operation::Context;
use crate::wire::epoch;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_core::{AccountId, DomainName, Error, Result, TokenScope};
use weir_registry::DomainRef;
use weir_registry::token::{NewToken, TokenInfo};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenInput {
    domain: Option<String>,
    domain_owner: Option<String>,
    user: Option<String>,
    description: Option<String>,
    scope: Option<ScopeInput>,
    lifetime_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScopeInput {
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    formats: Vec<String>,
    #[serde(default)]
    read_only: bool,
}

pub(super) async fn create(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    let body: TokenInput = input.json()?;
    let domain = body.domain.ok_or_else(|| input::missing("domain"))?;
    let owner = body.domain_owner.map(|owner| AccountId::parse("domainOwner", &owner)).transpose()?;
    if body.lifetime_seconds.is_some_and(|seconds| seconds < 1) {
        return Err(Error::invalid(
            "lifetimeSeconds",
            "must be at least 1; leave it out for a token without end",
        ));
    }
    let new = NewToken {
        domain: DomainRef { name: DomainName::parse("domain", &domain)?, owner },
        user: body.user,
        description: input::description(body.description)?.unwrap_or_default(),
        scope: body.scope.map(|scope| TokenScope {
            repositories: scope.repositories,
            formats: scope.formats,
            read_only: scope.read_only,
        }),
        lifetime_s: body.lifetime_seconds,
    };
    let issued = context.registry.create_token(context.caller, new).await?;
    Ok(json!({ "id": issued.id, "token": issued.token, "expiration": issued.expires_at.map(epoch) }))
}

pub(super) async fn list(context: &Context<'_>) -> Result<Value> {
    let tokens = context.registry.list_tokens(context.caller).await?;
    let tokens: Vec<Value> = tokens.iter().map(token).collect();
    Ok(json!({ "tokens": tokens }))
}

pub(super) async fn delete(context: &Context<'_>, id: &str) -> Result<Value> {
    context.registry.delete_token(context.caller, id).await?;
    Ok(done())
}

fn token(info: &TokenInfo) -> Value {
    let scope = info.scope.as_ref().map(|scope| {
        json!({ "repositories": scope.repositories, "formats": scope.formats, "readOnly": scope.read_only })
    });
    json!({
        "id": info.id,
        "user": info.principal,
        "domain": info.domain,
        "description": info.description,
        "scope": scope,
        "createdTime": epoch(info.created_at),
        "expiration": info.expires_at.map(epoch),
    })
}
