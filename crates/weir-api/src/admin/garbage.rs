//! Work on the store that goes on by itself: garbage collection and verification. A POST starts it, a GET tells how
//! far it is.

use crate::input::Input;
use crate::operation::Context;
use crate::wire::epoch;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use weir_core::{AccountId, DomainName, Error, Result};
use weir_registry::DomainRef;
use weir_registry::collect::{Collection, DomainGarbage, Tally};
use weir_registry::job::Progress;
use weir_registry::scrub::{LostFile, Verification, VerificationRequest};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CollectInput {
    dry_run: bool,
    grace_seconds: Option<i64>,
}

pub(super) async fn collect(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    let body: CollectInput = optional(input)?;
    let grace = body.grace_seconds.map(u64::try_from).transpose();
    let grace = grace.map_err(|_| Error::invalid("graceSeconds", "must be 0 or more"))?;
    let grace = grace.map(Duration::from_secs);
    let progress = context.registry.start_collection(context.caller, body.dry_run, grace).await?;
    Ok(shown(&progress, collected))
}

pub(super) async fn collection(context: &Context<'_>) -> Result<Value> {
    let progress = context.registry.collection(context.caller).await?;
    Ok(progress.map_or_else(never, |progress| shown(&progress, collected)))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VerifyInput {
    domain: Option<String>,
    domain_owner: Option<String>,
    repair: bool,
}

pub(super) async fn verify(context: &Context<'_>, input: &Input<'_>) -> Result<Value> {
    let body: VerifyInput = optional(input)?;
    let owner = body.domain_owner.map(|owner| AccountId::parse("domainOwner", &owner)).transpose()?;
    let name = body.domain.map(|domain| DomainName::parse("domain", &domain)).transpose()?;
    let domain = name.map(|name| DomainRef { name, owner });
    let request = VerificationRequest { domain, repair: body.repair };
    let progress = context.registry.start_verification(context.caller, request).await?;
    Ok(shown(&progress, verified))
}

pub(super) async fn verification(context: &Context<'_>) -> Result<Value> {
    let progress = context.registry.verification(context.caller).await?;
    Ok(progress.map_or_else(never, |progress| shown(&progress, verified)))
}

/// A body that may be left out.
fn optional<T: Default + for<'d> Deserialize<'d>>(input: &Input<'_>) -> Result<T> {
    if input.body.is_empty() { Ok(T::default()) } else { input.json() }
}

fn never() -> Value {
    json!({ "phase": "never run", "running": false })
}

fn shown<T>(progress: &Progress<T>, report: impl Fn(&T) -> Value) -> Value {
    json!({
        "phase": progress.phase,
        "running": progress.finished_at.is_none() && progress.failure.is_none(),
        "startedTime": epoch(progress.started_at),
        "finishedTime": progress.finished_at.map(epoch),
        "failure": progress.failure,
        "report": report(&progress.report),
    })
}

fn collected(report: &Collection) -> Value {
    let domains: Vec<Value> = report.domains.iter().map(garbage).collect();
    json!({
        "dryRun": report.dry_run,
        "graceSeconds": report.grace_s,
        "domains": domains,
        "total": garbage(&report.total()),
    })
}

fn garbage(found: &DomainGarbage) -> Value {
    let tally = |tally: &Tally| json!({ "blobs": tally.blobs, "bytes": tally.bytes });
    json!({
        "domain": (!found.domain.is_empty()).then_some(&found.domain),
        "domainOwner": found.owner,
        "lookedAt": found.looked_at,
        "erasable": tally(&found.erasable),
        "waiting": tally(&found.waiting),
        "withoutRow": tally(&found.without_row),
        "erased": tally(&found.erased),
    })
}

fn verified(report: &Verification) -> Value {
    let lost: Vec<Value> = report.lost.iter().map(lost).collect();
    json!({
        "repair": report.repair,
        "read": report.read,
        "bytesRead": report.bytes_read,
        "rotten": report.rotten,
        "missing": report.missing,
        "unreadable": report.unreadable,
        "withoutRow": report.without_row,
        "rowsMade": report.rows_made,
        "repaired": report.repaired,
        "lostCount": report.lost_count,
        "lost": lost,
    })
}

fn lost(file: &LostFile) -> Value {
    json!({
        "domain": file.domain,
        "repository": file.repository,
        "format": file.format,
        "namespace": file.namespace,
        "package": file.package,
        "version": file.version,
        "file": file.file,
        "sha256": file.sha256,
        "why": file.why,
    })
}
