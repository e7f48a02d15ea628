//! `weir config`: the effective settings and where each came from, secrets hidden.

use super::setting::{Kind, SETTINGS};
use super::source::Values;
use serde_json::{Map, Value, json};

const HIDDEN: &str = "(hidden)";

/// One line per setting: name, value, source.
pub(crate) fn shown(values: &Values) -> String {
    let mut out = String::new();
    for (name, texts, source) in rows(values) {
        let value = if texts.is_empty() { "(none)".to_owned() } else { texts.join(", ") };
        out.push_str(&format!("{name:<30} {value:<46} {source}\n"));
    }
    out
}

/// The same as one JSON object: `{"listen": {"value": "…", "source": "default"}}`.
pub(crate) fn shown_json(values: &Values) -> Value {
    let mut out = Map::new();
    for (name, mut texts, source) in rows(values) {
        let value = match texts.len() {
            0 => Value::Null,
            1 => Value::String(texts.remove(0)),
            _ => json!(texts),
        };
        out.insert(name, json!({ "value": value, "source": source }));
    }
    Value::Object(out)
}

fn rows(values: &Values) -> Vec<(String, Vec<String>, String)> {
    let mut rows = Vec::new();
    for setting in SETTINGS {
        if setting.kind == Kind::Connections {
            continue;
        }
        let (texts, source) = values.of(setting);
        let texts = if setting.kind == Kind::SecretVariable && !texts.is_empty() {
            vec![HIDDEN.to_owned()]
        } else if setting.kind == Kind::Place {
            texts.iter().map(|text| without_password(text)).collect()
        } else {
            texts
        };
        rows.push((setting.name.to_owned(), texts, source.to_string()));
    }
    for (name, (settings, source)) in &values.connections.by_name {
        let has_secret =
            settings.password.is_some() || settings.token.is_some() || !settings.headers.is_empty();
        let mut texts: Vec<String> = settings.url.iter().cloned().collect();
        if has_secret {
            texts.push(HIDDEN.to_owned());
        }
        rows.push((format!("external-connection {name}"), texts, source.to_string()));
    }
    rows
}

/// An address as it may be shown: without password, nor a query that may hold one.
fn without_password(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return text.to_owned() };
    if url.password().is_some() && url.set_password(Some("hidden")).is_err() {
        return HIDDEN.to_owned();
    }
    if url.query_pairs().any(|(name, _)| name.contains("password")) {
        url.set_query(None);
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::{Flags, Variables};

    #[test]
    fn settings_are_shown_with_their_source_and_without_secrets() {
        let flags = Flags::from([
            (
                "external-connection",
                vec!["public:npmjs=https://robot:hunter2@mirror.example.test/".to_owned()],
            ),
            ("listen", vec!["127.0.0.1:0".to_owned()]),
        ]);
        let variables = Variables::from([("WEIR_MASTER_KEY".to_owned(), "hunter2".repeat(9))]);
        let values = Values::read(&flags, &variables, None, &["public:npmjs"]).unwrap();
        let (text, json) = (shown(&values), shown_json(&values));
        assert!(!text.contains("hunter2") && !json.to_string().contains("hunter2"), "{text}");
        assert_eq!(json["listen"], json!({ "value": "127.0.0.1:0", "source": "flag --listen" }));
        assert_eq!(json["master-key"], json!({ "value": "(hidden)", "source": "variable WEIR_MASTER_KEY" }));
        assert_eq!(json["region"]["source"], "default");
        assert!(text.contains("external-connection public:npmjs"), "{text}");
    }

    #[test]
    fn the_password_of_a_database_is_not_shown() {
        let shown = without_password("postgres://weir:hunter2@db.example.test/weir?sslmode=require");
        assert_eq!(shown, "postgres://weir:hidden@db.example.test/weir?sslmode=require");
        assert!(!without_password("postgres://db.example.test/weir?password=hunter2").contains("hunter2"));
        assert_eq!(without_password("sqlite"), "sqlite");
    }
}
