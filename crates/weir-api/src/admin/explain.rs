//! Why a repository offers a version or does not.

use crate::input::Input;
use crate::operation::Context;
use crate::wire::epoch;
use serde_json::{Value, json};
use weir_core::Result;

pub(super) async fn show(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    let package = input.package()?.resolve(context.registry)?;
    let version = input.segment("version")?;
    let told = context
        .registry
        .explain(context.caller, &package, version.as_deref(), input.text("principal"))
        .await?;
    let publish_time = told.publish_time.map(|(at, source)| json!({ "time": epoch(at), "source": source }));
    Ok(json!({
        "question": told.question,
        "answer": told.answer,
        "steps": told.steps,
        "outcome": told.outcome,
        "suppliedBy": told.supplied_by,
        "rule": told.rule,
        "until": told.until.map(epoch),
        "publish": told.publish,
        "publishTime": publish_time,
    }))
}
