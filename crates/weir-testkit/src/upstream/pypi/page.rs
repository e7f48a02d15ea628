//! The pages of an index: the project's document cut to what the settings tell, as JSON or as HTML.

use super::{Pypi, PypiSettings};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The content type of a page in JSON.
pub(super) const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// A page, and its content type when the test has set it.
pub(super) struct Page {
    pub(super) content_type: Option<String>,
    pub(super) bytes: Bytes,
}

impl Pypi {
    /// The page of one project.
    pub(super) fn page(&self, name: &str, as_json: bool) -> Option<Page> {
        let project = self.projects.get(name)?;
        if let Some((content_type, bytes)) = &project.raw {
            return Some(Page { content_type: Some(content_type.clone()), bytes: bytes.clone() });
        }
        let document = shown(&project.document, &self.settings, name);
        let text = if as_json { document.to_string() } else { html(&document) };
        Some(Page { content_type: None, bytes: text.into() })
    }

    /// The page that lists every project.
    pub(super) fn list_page(&self, as_json: bool) -> Bytes {
        let names = self.projects.keys();
        if as_json {
            let projects: Vec<_> = names.map(|name| json!({ "name": name, "_last-serial": 7 })).collect();
            let meta = json!({ "api-version": "1.4", "_last-serial": 7 });
            return json!({ "meta": meta, "projects": projects }).to_string().into();
        }
        let links: String = names.map(|name| format!("<a href=\"/simple/{name}/\">{name}</a>\n")).collect();
        let head = "<meta name=\"pypi:repository-version\" content=\"1.4\">\n<title>Simple index</title>";
        format!("<!DOCTYPE html>\n<html><head>\n{head}\n</head><body>\n{links}</body></html>\n").into()
    }
}

/// The document without what the settings leave out.
fn shown(document: &Value, settings: &PypiSettings, name: &str) -> Value {
    let mut document = document.clone();
    let Some(members) = document.as_object_mut() else { return document };
    let mut left_out = Vec::new();
    if !settings.sizes_and_times {
        members.remove("versions");
        left_out.extend(["size", "upload-time"]);
    }
    if !settings.project_status {
        members.remove("project-status");
    }
    if !settings.core_metadata {
        left_out.extend(["core-metadata", "data-dist-info-metadata"]);
    }
    if !settings.provenance {
        left_out.push("provenance");
    }
    let files = members.get_mut("files").and_then(Value::as_array_mut);
    for file in files.into_iter().flatten().filter_map(Value::as_object_mut) {
        file.retain(|member, _| !left_out.contains(&member.as_str()));
        if !settings.hashes {
            file.insert("hashes".to_owned(), json!({}));
        }
        if settings.relative_urls {
            make_relative(file, name);
        }
    }
    document
}

/// Turns the addresses that lie on this registry into ones relative to the project's page.
fn make_relative(file: &mut Map<String, Value>, name: &str) {
    let place = format!("/files/{name}/");
    for member in ["url", "provenance"] {
        let Some(url) = file.get(member).and_then(Value::as_str) else { continue };
        let Some((_, rest)) = url.split_once(&place) else { continue };
        let relative = json!(format!("../..{place}{rest}"));
        file.insert(member.to_owned(), relative);
    }
}

fn html(document: &Value) -> String {
    let name = escape(text(&document["name"]));
    let mut head = "<meta name=\"pypi:repository-version\" content=\"1.4\">\n".to_owned();
    if let Some(status) = document["project-status"]["status"].as_str() {
        head += &format!("<meta name=\"pypi:project-status\" content=\"{}\">\n", escape(status));
    }
    if let Some(reason) = document["project-status"]["reason"].as_str() {
        head += &format!("<meta name=\"pypi:project-status-reason\" content=\"{}\">\n", escape(reason));
    }
    let files = document["files"].as_array().into_iter().flatten();
    let links: String = files.map(link).collect();
    format!(
        "<!DOCTYPE html>\n<html><head>\n{head}<title>Links for {name}</title>\n</head><body>\n\
         <h1>Links for {name}</h1>\n{links}</body></html>\n"
    )
}

fn link(file: &Value) -> String {
    let hash = file["hashes"].as_object().and_then(|hashes| hashes.iter().next());
    let fragment = hash.map(|(name, hash)| format!("#{name}={}", text(hash))).unwrap_or_default();
    let mut attributes = format!("href=\"{}{fragment}\"", escape(text(&file["url"])));
    let mut attribute = |name: &str, value: &str| {
        attributes += &format!(" {name}=\"{}\"", escape(value));
    };
    if let Some(range) = file["requires-python"].as_str() {
        attribute("data-requires-python", range);
    }
    for (member, name) in
        [("core-metadata", "data-core-metadata"), ("data-dist-info-metadata", "data-dist-info-metadata")]
    {
        match &file[member] {
            Value::Bool(true) => attribute(name, "true"),
            Value::Object(hashes) => {
                let (hash, value) =
                    hashes.iter().next().map_or(("", ""), |(hash, value)| (hash, text(value)));
                attribute(name, &format!("{hash}={value}"));
            }
            _ => {}
        }
    }
    match &file["yanked"] {
        Value::Bool(true) => attribute("data-yanked", ""),
        Value::String(reason) => attribute("data-yanked", reason),
        _ => {}
    }
    if let Some(url) = file["provenance"].as_str() {
        attribute("data-provenance", url);
    }
    format!("<a {attributes}>{}</a><br />\n", escape(text(&file["filename"])))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
