//! `weir verify`

use super::gc::{bytes, exit_code, follow, heading};
use super::output::{Out, cell, print, table};
use crate::cli::Verify;
use crate::config::Variables;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Starts a verification, follows it to its end and prints its report; exit code 1 when a file is lost.
pub(super) async fn run(arguments: Verify, variables: &Variables) -> Result<ExitCode> {
    let client = arguments.remote.client(variables)?;
    let mut body = json!({ "repair": arguments.repair });
    if let Some(domain) = &arguments.domain {
        body["domain"] = domain.as_str().into();
    }
    if let Some(owner) = &arguments.domain_owner {
        body["domainOwner"] = owner.as_str().into();
    }
    let body = (!arguments.status).then_some(body);
    let told = follow(&client, "/weir/v1/verify", body, !arguments.json, |report| {
        format!("{} files read", report["read"])
    });
    let told = told.await?;
    print(&Out::new(arguments.json, || told.clone(), || text(&told)));
    let count = |name: &str| told["report"][name].as_u64().unwrap_or_default();
    Ok(exit_code(&told, count("lostCount") + count("unreadable") > 0))
}

fn text(told: &Value) -> String {
    let report = &told["report"];
    let mut out = heading(told);
    if report.is_null() {
        return out;
    }
    let read = bytes(report["bytesRead"].as_u64().unwrap_or_default());
    out.push_str(&format!("{} files read, {read}\n", report["read"]));
    for (name, what) in [
        ("rotten", "were not what they are named and are erased"),
        ("missing", "were not there"),
        ("rowsMade", "had no row and have one again"),
        ("repaired", "were fetched again"),
        ("unreadable", "could not be read now"),
        ("withoutRow", "have no row; 'weir gc' erases them"),
    ] {
        if report[name].as_u64().is_some_and(|count| count > 0) {
            out.push_str(&format!("{} {what}\n", report[name]));
        }
    }
    let columns = ["domain", "repository", "format", "package", "version", "file", "why"];
    let lost: Vec<Vec<String>> = report["lost"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|file| {
            columns
                .map(|column| if column == "package" { package(file) } else { cell(file, column) })
                .to_vec()
        })
        .collect();
    if lost.is_empty() {
        out.push_str("nothing is lost\n");
        return out;
    }
    out.push_str(&format!("{} files are lost:\n", report["lostCount"]));
    let heading = ["DOMAIN", "REPOSITORY", "FORMAT", "PACKAGE", "VERSION", "FILE", "WHY"];
    out.push_str(&table(&heading, &lost, ""));
    out
}

fn package(file: &Value) -> String {
    match &file["namespace"] {
        Value::Null => cell(file, "package"),
        _ => format!("{}/{}", cell(file, "namespace"), cell(file, "package")),
    }
}
