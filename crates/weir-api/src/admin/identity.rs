//! Users and their access keys.

use super::done;
use crate::input::{self, Input};
use crate::operation::Context;
use crate::wire::epoch;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_core::{Error, PrincipalKind, Result};
use weir_registry::identity::UserInfo;

pub(super) async fn list_users(context: &Context<'_>) -> Result<Value> {
    let users = context.registry.list_users(context.caller).await?;
    let users: Vec<Value> = users.iter().map(user).collect();
    Ok(json!({ "users": users }))
}

#[derive(Deserialize)]
struct NewUser {
    name: Option<String>,
    kind: Option<String>,
    /// `admin`, `publish`, `read`, or a policy document as an object or as its text.
    policy: Option<Value>,
}

pub(super) async fn create_user(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    let body: NewUser = input.json()?;
    let name = body.name.ok_or_else(|| input::missing("name"))?;
    let kind = match body.kind.as_deref() {
        None | Some("user") => PrincipalKind::User,
        Some("role") => PrincipalKind::Role,
        Some(_) => return Err(Error::invalid("kind", "must be 'user' or 'role'")),
    };
    let policy = match body.policy.ok_or_else(|| input::missing("policy"))? {
        Value::String(text) => text,
        document @ Value::Object(_) => document.to_string(),
        _ => return Err(Error::invalid("policy", "must be 'admin', 'publish', 'read' or a policy document")),
    };
    let made = context.registry.create_user(context.caller, kind, &name, &policy).await?;
    Ok(json!({ "user": user(&made) }))
}

pub(super) async fn delete_user(context: &Context<'_>, name: &str) -> Result<Value> {
    context.registry.delete_user(context.caller, name).await?;
    Ok(done())
}

pub(super) async fn list_keys(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    let keys = context.registry.list_keys(context.caller, input.text("user")).await?;
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| json!({ "accessKeyId": key.access_key_id, "user": key.user, "createdTime": epoch(key.created_at) }))
        .collect();
    Ok(json!({ "keys": keys }))
}

#[derive(Deserialize)]
struct NewKey {
    user: Option<String>,
}

pub(super) async fn create_key(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    let body: NewKey = input.json()?;
    let key = context.registry.create_key(context.caller, body.user.as_deref()).await?;
    Ok(json!({ "accessKeyId": key.access_key_id, "secretAccessKey": key.secret_access_key }))
}

pub(super) async fn delete_key(context: &Context<'_>, id: &str) -> Result<Value> {
    context.registry.delete_key(context.caller, id).await?;
    Ok(done())
}

fn user(info: &UserInfo) -> Value {
    // A stored policy is a document; if it ever were not, its text is shown.
    let policy = serde_json::from_str(&info.policy).unwrap_or_else(|_| Value::String(info.policy.clone()));
    json!({
        "id": info.id,
        "kind": info.kind.as_str(),
        "name": info.name,
        "arn": info.arn,
        "policy": policy,
        "createdTime": epoch(info.created_at),
    })
}
