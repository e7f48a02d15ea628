//! Yanking a version, and taking that back: `weir yank`.

use crate::input::Input;
use crate::operation::Context;
use serde_json::{Value, json};
use weir_core::Result;

/// Marks a version as yanked; the parameter `reason` says why.
pub(super) async fn yank(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    set(context, input, Some(input.text("reason").unwrap_or_default())).await
}

/// Takes a yank back.
pub(super) async fn unyank(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    set(context, input, None).await
}

async fn set(context: &Context<'_>, input: &Input<'_>, reason: Option<&str>) -> Result<Value> {
    let package = input.package()?.resolve(context.registry)?;
    let version = context.registry.set_yanked(context.caller, &package, &input.version()?, reason).await?;
    Ok(json!({ "package": package.package.to_string(), "version": version, "yanked": reason.is_some() }))
}
