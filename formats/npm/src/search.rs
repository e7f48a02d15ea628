//! `npm search`: the packages held along the chain, never those of a public registry.

use crate::{answer, name};
use http::StatusCode;
use serde_json::{Map, Value, json};
use weir_core::{Error, Result};
use weir_protocol::Call;
use weir_protocol::RawObject;
use weir_protocol::respond::Response;
use weir_registry::Registry;
use weir_registry::view::{Freshness, PackageView};

/// npm's own limit of one page.
const MOST: usize = 250;

/// `GET -/v1/search?text=&size=&from=`.
pub(crate) async fn search(registry: &Registry, call: &Call) -> Result<Response> {
    let number = |key: &str| call.query_value(key).and_then(|text| text.parse::<usize>().ok());
    let size = number("size").unwrap_or(20).min(MOST);
    let from = number("from").unwrap_or(0);
    let text = words(call.query_value("text").unwrap_or_default());
    let found = registry.search(&call.scope, &text, size, from).await?;
    let mut objects = Vec::with_capacity(found.packages.len());
    for package in &found.packages {
        match registry.view_with_metadata(&call.scope, package, Freshness::Known).await {
            Ok(view) => objects.extend(entry(&view)),
            // What is held and not offered, or cannot be looked at now, does not spoil the rest.
            Err(Error::NotFound { .. } | Error::Unavailable { .. } | Error::BadUpstream { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let body = json!({ "objects": objects, "total": found.total });
    Ok(call.answer(answer::json(StatusCode::OK, &body)))
}

/// npm's qualifiers (`keywords:a`, `author:b`) are searched for as the words behind them.
fn words(text: &str) -> String {
    let plain = text.split_whitespace().map(|word| match word.split_once(':') {
        Some((qualifier, rest)) if qualifier.chars().all(|c| c.is_ascii_lowercase() || c == '-') => {
            rest.replace(',', " ")
        }
        _ => word.to_owned(),
    });
    plain.collect::<Vec<_>>().join(" ")
}

fn entry(view: &PackageView) -> Option<Value> {
    let latest = view.verdict.tags.iter().find(|(tag, _)| &**tag == "latest").map(|(_, version)| version);
    let decision = match latest {
        Some(key) => view.verdict.version(key)?,
        None => view.verdict.listed().last()?,
    };
    let manifest = RawObject::parse("the manifest", view.metadata(decision)?.as_bytes()).ok()?;
    let mut package = package_entry(&manifest);
    package.insert("name".into(), name::full(&view.package).into());
    package.insert("scope".into(), view.package.namespace.as_deref().unwrap_or("unscoped").into());
    package.insert("version".into(), Value::from(&*decision.text));
    package.insert("date".into(), format!("{:.3}", decision.time.at).into());
    let detail = json!({ "quality": 1, "popularity": 1, "maintenance": 1 });
    Some(json!({ "package": package, "score": { "final": 1, "detail": detail }, "searchScore": 1 }))
}

/// What the manifest gives; clients take `maintainers`, `keywords` and `links` for granted.
fn package_entry(manifest: &RawObject<'_>) -> Map<String, Value> {
    let value =
        |key: &str| manifest.get(key).and_then(|value| serde_json::from_str::<Value>(value.get()).ok());
    let people = value("maintainers").and_then(|value| value.as_array().cloned()).unwrap_or_default();
    let people: Vec<Value> = people
        .iter()
        .map(|person| {
            let name = person.as_str().or_else(|| person.get("name")?.as_str()).unwrap_or_default();
            let email = person.get("email").and_then(Value::as_str).unwrap_or_default();
            json!({ "username": name, "email": email })
        })
        .collect();
    let mut links = Map::new();
    for (link, key) in [("homepage", "homepage"), ("repository", "repository"), ("bugs", "bugs")] {
        let address =
            value(key).and_then(|v| v.as_str().or_else(|| v.get("url")?.as_str()).map(str::to_owned));
        if let Some(address) = address {
            links.insert(link.to_owned(), address.into());
        }
    }
    let mut entry = Map::new();
    entry.insert("description".into(), manifest.get_str("description").unwrap_or_default().into());
    entry.insert("keywords".into(), value("keywords").filter(Value::is_array).unwrap_or_else(|| json!([])));
    if let Some(publisher) = people.first() {
        entry.insert("publisher".into(), publisher.clone());
    }
    entry.insert("maintainers".into(), people.into());
    entry.insert("links".into(), links.into());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_what_clients_take_for_granted() {
        let manifest =
            br#"{"maintainers": [{"name": "ann", "email": "a@example.test"}, "bob"], "keywords": "a",
            "repository": {"url": "git+https://example.test/r"}, "homepage": 3}"#;
        let entry = Value::Object(package_entry(&RawObject::parse("manifest", manifest).unwrap()));
        let expected = json!({
            "description": "",
            "keywords": [],
            "links": {"repository": "git+https://example.test/r"},
            "maintainers": [{"username": "ann", "email": "a@example.test"}, {"username": "bob", "email": ""}],
            "publisher": {"username": "ann", "email": "a@example.test"},
        });
        assert_eq!(entry, expected);
    }

    #[test]
    fn qualifiers_are_searched_as_words() {
        assert_eq!(words("left  keywords:a,b author:ann @acme/x:y"), "left a b ann @acme/x:y");
    }
}
