//! `weir explain`

use super::output::{Out, cell, time};
use crate::cli::Explain;
use crate::config::Variables;
use anyhow::Result;
use serde_json::Value;

/// Asks the server and prints the answer, its steps and what a publish would meet.
pub(super) async fn run(arguments: Explain, variables: &Variables) -> Result<Out> {
    let client = arguments.remote.client(variables)?;
    let (package, version) = split_version(&arguments.package);
    let (namespace, name) = split_namespace(package);
    let mut query = vec![
        ("domain", arguments.place.domain.as_str()),
        ("repository", &arguments.place.repository),
        ("format", &arguments.format),
        ("package", name),
    ];
    let optional = [
        ("domain-owner", arguments.place.domain_owner.as_deref()),
        ("namespace", namespace),
        ("version", version),
        ("principal", arguments.principal.as_deref()),
    ];
    query.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let told = client.call("GET", "/weir/v1/explain", &query, None).await?;
    Ok(Out::new(arguments.json, || told.clone(), || text(&told)))
}

fn text(told: &Value) -> String {
    let mut out = format!("{}\n  {}\n", cell(told, "question"), cell(told, "answer"));
    for (name, label) in [("suppliedBy", "supplied by"), ("rule", "rule")] {
        if !told[name].is_null() {
            out.push_str(&format!("  {label}: {}\n", cell(told, name)));
        }
    }
    if !told["until"].is_null() {
        out.push_str(&format!("  until: {}\n", time(told, "until")));
    }
    if let Some(published) = told.get("publishTime").filter(|time| !time.is_null()) {
        out.push_str(&format!(
            "  published: {} (says {})\n",
            time(published, "time"),
            cell(published, "source")
        ));
    }
    out.push_str("asked, in order:\n");
    for step in told["steps"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.push_str(&format!("  - {}\n", cell(&serde_json::json!({ "step": step }), "step")));
    }
    out.push_str(&format!("a publish: {}\n", cell(told, "publish")));
    out
}

/// `@scope/name@1.0.0` is `@scope/name` and `1.0.0`.
pub(super) fn split_version(text: &str) -> (&str, Option<&str>) {
    match text.rfind('@') {
        Some(at) if at > 0 => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    }
}

/// `@scope/name`, `group:artifact`, `namespace/name`.
pub(super) fn split_namespace(package: &str) -> (Option<&str>, &str) {
    let bare = package.strip_prefix('@').unwrap_or(package);
    match bare.split_once(['/', ':']) {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_as_people_write_them() {
        let read = |text| {
            let (package, version) = split_version(text);
            let (namespace, name) = split_namespace(package);
            (namespace, name, version)
        };
        assert_eq!(read("left-pad"), (None, "left-pad", None));
        assert_eq!(read("left-pad@1.3.0"), (None, "left-pad", Some("1.3.0")));
        assert_eq!(read("@scope/name"), (Some("scope"), "name", None));
        assert_eq!(read("@scope/name@2.0.0-rc.1"), (Some("scope"), "name", Some("2.0.0-rc.1")));
        assert_eq!(read("org.example:lib@1"), (Some("org.example"), "lib", Some("1")));
    }
}
