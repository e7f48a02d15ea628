//! `npm audit`: the question goes to the public registry, reduced to names that are known there; what is
//! internal is told to nobody. Without a connection, or when the registry fails, the client gets an error,
//! never an empty answer.

use crate::name;
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashSet};
use weir_core::{Error, PackageName, Resource, Result};
use weir_protocol::RequestBody;
use weir_protocol::respond::{Response, in_memory};
use weir_registry::{Registry, Scope};

/// Above this many bytes a question is refused; the largest lock files give about a tenth of it.
const MAX_BODY_BYTES: u64 = 32 << 20;

/// `POST -/npm/v1/security/advisories/bulk`: `{NAME: [VERSION, …]}`.
pub(crate) async fn bulk(registry: &Registry, scope: &Scope, body: RequestBody) -> Result<Response> {
    let mut question = read(body).await?;
    let names: BTreeSet<String> = question.keys().cloned().collect();
    let known = known(registry, scope, names).await?;
    question.retain(|name, versions| known.contains(name) && versions.is_array());
    ask(registry, scope, "-/npm/v1/security/advisories/bulk", question).await
}

/// `POST -/npm/v1/security/audits/quick` and `…/audits`: a lock file's tree.
pub(crate) async fn tree(
    registry: &Registry,
    scope: &Scope,
    path: &str,
    body: RequestBody,
) -> Result<Response> {
    let mut question = read(body).await?;
    let mut names = BTreeSet::new();
    collect_names(&question, &mut names);
    let known = known(registry, scope, names).await?;
    anonymise(&mut question);
    keep_known(&mut question, &known);
    ask(registry, scope, path, question).await
}

async fn read(body: RequestBody) -> Result<Map<String, Value>> {
    let body = body.collect(MAX_BODY_BYTES, "the limit of an audit").await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::cannot_parse(format!("the audit is not a JSON object: {error}")))
}

async fn known(registry: &Registry, scope: &Scope, names: BTreeSet<String>) -> Result<HashSet<String>> {
    let packages: Vec<PackageName> = names.iter().filter_map(|text| name::parse_full(text).ok()).collect();
    let known = registry.known_publicly(scope, &packages).await?;
    let public = packages.iter().zip(known).filter(|(_, known)| *known);
    Ok(public.map(|(package, _)| name::full(package)).collect())
}

/// An empty question is asked too: it tells nothing, and whether there is anybody to answer shows.
async fn ask(
    registry: &Registry,
    scope: &Scope,
    path: &str,
    question: Map<String, Value>,
) -> Result<Response> {
    let body = serde_json::to_vec(&question).map_err(Error::internal)?;
    let Some(answer) = registry.post_upstream(scope, path, "application/json", body.into()).await? else {
        return Err(Error::not_found(
            Resource::Repository,
            path,
            "the public registry behind this repository has no audit; nothing is known about vulnerabilities",
        ));
    };
    if serde_json::from_slice::<Map<String, Value>>(&answer).is_err() {
        return Err(Error::bad_upstream(
            "the public registry answered an audit with something that is no JSON object",
        ));
    }
    Ok(in_memory(StatusCode::OK, "application/json", answer.into()))
}

fn collect_names(node: &Map<String, Value>, names: &mut BTreeSet<String>) {
    if let Some(Value::Object(required)) = node.get("requires") {
        names.extend(required.keys().cloned());
    }
    let Some(Value::Object(children)) = node.get("dependencies") else { return };
    for (name, child) in children {
        names.insert(name.clone());
        if let Value::Object(child) = child {
            collect_names(child, names);
        }
    }
}

/// The project's own name and what it was asked to install are nobody's business.
fn anonymise(question: &mut Map<String, Value>) {
    question.retain(|key, _| ["requires", "dependencies"].contains(&key.as_str()));
    question.insert("name".into(), "project".into());
    question.insert("version".into(), "0.0.0".into());
    question.insert("install".into(), json!([]));
    question.insert("remove".into(), json!([]));
    question.insert("metadata".into(), json!({}));
    question.entry("requires").or_insert_with(|| json!({}));
    question.entry("dependencies").or_insert_with(|| json!({}));
}

/// What an audit looks at.
const AUDITED: &[&str] = &["version", "integrity", "dev", "optional", "requires", "dependencies"];

/// Takes unknown packages out, with what they bring along; of the others what an audit looks at is kept, so
/// that no address of a tarball goes out.
fn keep_known(node: &mut Map<String, Value>, known: &HashSet<String>) {
    if let Some(Value::Object(required)) = node.get_mut("requires") {
        required.retain(|name, _| known.contains(name));
    }
    let Some(Value::Object(children)) = node.get_mut("dependencies") else { return };
    children.retain(|name, child| known.contains(name) && child.is_object());
    for child in children.values_mut().filter_map(Value::as_object_mut) {
        child.retain(|key, _| AUDITED.contains(&key.as_str()));
        keep_known(child, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_out_without_what_is_internal() {
        let mut question = json!({
            "name": "secret-project", "version": "7.0.0", "install": ["secret-lib@1"], "metadata": {"node": "v20"},
            "requires": {"left-pad": "^1", "@acme/secret": "1"},
            "dependencies": {
                "left-pad": {"version": "1.3.0", "resolved": "http://weir.example.test/x", "requires": {"@acme/secret": "1"},
                             "dependencies": {"@acme/secret": {"version": "1.0.0"}, "deep": {"version": "2.0.0"}}},
                "@acme/secret": {"version": "1.0.0", "dependencies": {"left-pad": {"version": "0.1.0"}}}
            }
        });
        let question = question.as_object_mut().unwrap();
        let mut names = BTreeSet::new();
        collect_names(question, &mut names);
        assert_eq!(names.iter().collect::<Vec<_>>(), ["@acme/secret", "deep", "left-pad"]);
        anonymise(question);
        keep_known(question, &["left-pad", "deep"].map(str::to_owned).into());
        let expected = json!({
            "name": "project", "version": "0.0.0", "install": [], "remove": [], "metadata": {},
            "requires": {"left-pad": "^1"},
            "dependencies": {"left-pad": {"version": "1.3.0", "requires": {}, "dependencies": {"deep": {"version": "2.0.0"}}}}
        });
        assert_eq!(Value::Object(question.clone()), expected);
    }
}
