//! What this server is and how it is: for `weir status` and `weir doctor`.

use super::connection::connection;
use crate::input::FORMATS;
use crate::operation::Context;
use crate::wire::epoch;
use serde_json::{Value, json};
use weir_core::{Caller, Error, Result, Timestamp};

pub(super) async fn show(context: &Context<'_>, now: Timestamp) -> Result<Value> {
    let formats: Vec<&&str> = FORMATS.iter().filter(|name| context.registry.format(name).is_some()).collect();
    let connections = match context.registry.list_connections(context.caller).await {
        Ok(connections) => Some(connections.iter().map(connection).collect::<Vec<_>>()),
        // The rest may be told to everyone who has a key.
        Err(Error::Denied { .. }) => None,
        Err(error) => return Err(error),
    };
    let principal = match context.caller {
        Caller::Principal(principal) => Some(principal.arn.as_str()),
        Caller::Anonymous => None,
    };
    let store = match context.registry.store().health().await {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "time": epoch(now),
        "region": context.registry.settings().region,
        "base": context.base,
        "caller": principal,
        "formats": formats,
        "store": store,
        "connections": connections,
    }))
}
