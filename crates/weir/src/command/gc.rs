//! `weir gc`, and how a command follows work that goes on in the server.

use super::output::{Out, cell, print, table, time};
use crate::cli::Gc;
use crate::client::Client;
use crate::config::{Variables, parse_duration};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Starts a collection, follows it to its end and prints its report.
pub(super) async fn run(arguments: Gc, variables: &Variables) -> Result<ExitCode> {
    let client = arguments.remote.client(variables)?;
    let mut body = json!({ "dryRun": arguments.dry_run });
    if let Some(text) = &arguments.grace {
        let Some(grace) = parse_duration(text) else {
            bail!("--grace: '{text}' is not a duration such as 12h");
        };
        body["graceSeconds"] = grace.as_secs().into();
    }
    let body = (!arguments.status).then_some(body);
    let told = follow(&client, "/weir/v1/gc", body, !arguments.json, looked_at).await?;
    print(&Out::new(arguments.json, || told.clone(), || text(&told)));
    Ok(exit_code(&told, false))
}

/// Starts work in the server, unless `body` is `None`, and waits for its end; how far it is goes to standard error.
pub(super) async fn follow(
    client: &Client,
    path: &str,
    body: Option<Value>,
    shows: bool,
    how_far: impl Fn(&Value) -> String,
) -> Result<Value> {
    let Some(body) = body else { return client.call("GET", path, &[], None).await };
    let mut told = client.call("POST", path, &[], Some(&body)).await?;
    let started = told["startedTime"].clone();
    let mut phase = String::new();
    let mut wait = Duration::from_millis(50);
    while told["running"] == true {
        if shows && told["phase"] != phase.as_str() {
            phase = cell(&told, "phase");
            eprintln!("{phase} … {}", how_far(&told["report"]));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(1));
        told = client.call("GET", path, &[], None).await?;
        if told["startedTime"] != started {
            bail!("another run was started meanwhile; --status shows how far it is");
        }
    }
    Ok(told)
}

/// 1 where it failed or `damage` was found.
pub(super) fn exit_code(told: &Value, damage: bool) -> ExitCode {
    if told["failure"].is_null() && !damage { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first lines of a report: when, and how it ended.
pub(super) fn heading(told: &Value) -> String {
    let mut out = match told["failure"].as_str() {
        Some(_) => format!("ended early: {}\n", cell(told, "failure")),
        None => format!("{}\n", cell(told, "phase")),
    };
    if !told["startedTime"].is_null() {
        out.push_str(&format!("began {}, ended {}\n", time(told, "startedTime"), time(told, "finishedTime")));
    }
    out
}

fn looked_at(report: &Value) -> String {
    format!("{} rows looked at, {}", report["total"]["lookedAt"], size(&report["total"]["erased"], "erased"))
}

fn text(told: &Value) -> String {
    let report = &told["report"];
    let mut out = heading(told);
    if report.is_null() {
        return out;
    }
    let rows: Vec<Vec<String>> = report["domains"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|domain| {
            let mut row = vec![cell(domain, "domain"), cell(domain, "lookedAt")];
            row.extend(["erasable", "waiting", "withoutRow", "erased"].map(|name| tally(&domain[name])));
            row
        })
        .collect();
    out.push_str(&table(
        &["DOMAIN", "LOOKED AT", "ERASABLE", "WAITING", "WITHOUT ROW", "ERASED"],
        &rows,
        "no domains",
    ));
    let total = &report["total"];
    if report["dryRun"] == true {
        let could = size(&total["erasable"], "could be erased now");
        out.push_str(&format!(
            "nothing was changed: {could}, {}\n",
            size(&total["waiting"], "wait for their grace")
        ));
    } else {
        out.push_str(&format!("{}\n", size(&total["erased"], "erased")));
    }
    out
}

fn tally(tally: &Value) -> String {
    format!("{} ({})", tally["blobs"], bytes(tally["bytes"].as_u64().unwrap_or_default()))
}

fn size(of: &Value, what: &str) -> String {
    let count = of["blobs"].as_u64().unwrap_or_default();
    let blobs = if count == 1 { "blob" } else { "blobs" };
    format!("{count} {blobs}, {} {what}", bytes(of["bytes"].as_u64().unwrap_or_default()))
}

/// A size as people read it.
pub(super) fn bytes(size: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| size >= 1 << shift);
    unit.map_or_else(
        || format!("{size} B"),
        |(name, shift)| format!("{:.1} {name}", size as f64 / f64::from(1_u32 << shift)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_what_could_be_erased() {
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(5 << 30)),
            ("1023 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
        let none = json!({ "blobs": 0, "bytes": 0 });
        let found = json!({ "domain": "local", "lookedAt": 3, "erasable": { "blobs": 1, "bytes": 2048 },
            "waiting": none, "withoutRow": none, "erased": none });
        let told = json!({ "phase": "done", "startedTime": 0, "finishedTime": 1,
            "report": { "dryRun": true, "domains": [found], "total": found } });
        let text = text(&told);
        assert!(text.starts_with("done\nbegan 1970-01-01T00:00:00Z, ended 1970-01-01T00:00:01Z\n"), "{text}");
        assert!(text.contains("local   3          1 (2.0 KiB)"), "{text}");
        assert!(text.ends_with("nothing was changed: 1 blob, 2.0 KiB could be erased now, 0 blobs, 0 B wait for their grace\n"), "{text}");
    }
}
