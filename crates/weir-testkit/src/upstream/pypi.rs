//! The Python projects of the fake registry and the pages it shows of them, as JSON and as HTML, with all
//! that a public index puts in or, by its settings, does without.

pub(super) mod answer;
mod page;

use crate::Distribution;
use crate::python::{normalized, sha256};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The forms in which an index is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PypiSpeaks {
    /// JSON alone, whatever is asked for.
    Json,
    /// HTML alone, whatever is asked for: an old index.
    Html,
    /// What is asked for, and HTML when both are as welcome.
    Both,
}

/// What an index tells of its files. As it starts, all of it.
#[derive(Debug, Clone)]
pub struct PypiSettings {
    /// The forms of the pages.
    pub speaks: PypiSpeaks,
    /// Whether the metadata of wheels lies beside them.
    pub core_metadata: bool,
    /// Whether the pages tell sizes, times of upload, and versions.
    pub sizes_and_times: bool,
    /// Whether the pages tell hashes.
    pub hashes: bool,
    /// Whether the pages tell the state of a project.
    pub project_status: bool,
    /// Whether the pages tell of provenance, and it can be had.
    pub provenance: bool,
    /// Whether the addresses of files are relative to the page.
    pub relative_urls: bool,
}

impl Default for PypiSettings {
    fn default() -> Self {
        Self {
            speaks: PypiSpeaks::Both,
            core_metadata: true,
            sizes_and_times: true,
            hashes: true,
            project_status: true,
            provenance: true,
            relative_urls: false,
        }
    }
}

/// The projects, and how they are shown.
#[derive(Default)]
pub(super) struct Pypi {
    pub(super) settings: PypiSettings,
    projects: BTreeMap<String, Project>,
}

#[derive(Default)]
struct Project {
    document: Value,
    raw: Option<(String, Bytes)>,
    files: BTreeMap<String, File>,
}

struct File {
    version: String,
    bytes: Bytes,
    metadata: Option<Bytes>,
    provenance: Option<Value>,
}

impl Pypi {
    pub(super) fn publish(&mut self, distribution: &Distribution, base: &str) {
        let (package, name) = (&distribution.package, distribution.package.normalized_name());
        let file = File {
            version: package.version().to_owned(),
            bytes: distribution.bytes.clone(),
            metadata: distribution.is_wheel().then(|| distribution.metadata.clone().into()),
            provenance: None,
        };
        let entry = index_entry(distribution, &format!("{base}/files/{name}/{}", distribution.file_name));
        let project = self.project(&name);
        project.files.insert(distribution.file_name.clone(), file);
        let files = list(&mut project.document["files"]);
        files.retain(|known| known["filename"] != distribution.file_name.as_str());
        files.push(entry);
        let versions = list(&mut project.document["versions"]);
        if !versions.iter().any(|version| version == package.version()) {
            versions.push(json!(package.version()));
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.projects.remove(&normalized(name));
    }

    pub(super) fn unpublish(&mut self, file_name: &str) {
        for project in self.projects.values_mut() {
            let Some(removed) = project.files.remove(file_name) else { continue };
            list(&mut project.document["files"]).retain(|entry| entry["filename"] != file_name);
            if !project.files.values().any(|file| file.version == removed.version) {
                list(&mut project.document["versions"]).retain(|version| version != removed.version.as_str());
            }
        }
    }

    pub(super) fn yank(&mut self, name: &str, version: &str, reason: &str) {
        let project = self.projects.get_mut(&normalized(name));
        let project = project.unwrap_or_else(|| panic!("no project {name} was published"));
        for entry in list(&mut project.document["files"]) {
            let file = entry["filename"].as_str().and_then(|file_name| project.files.get(file_name));
            if file.is_some_and(|file| file.version == version) {
                entry["yanked"] = yanked(Some(reason));
            }
        }
    }

    pub(super) fn attest(&mut self, file_name: &str, provenance: Value, base: &str) {
        for (name, project) in &mut self.projects {
            let Some(file) = project.files.get_mut(file_name) else { continue };
            file.provenance = Some(provenance.clone());
            let entries = list(&mut project.document["files"]).iter_mut();
            for entry in entries.filter(|entry| entry["filename"] == file_name) {
                entry["provenance"] = json!(format!("{base}/files/{name}/{file_name}.provenance"));
            }
        }
    }

    pub(super) fn document(&mut self, name: &str) -> &mut Value {
        &mut self.project(name).document
    }

    pub(super) fn set_page(&mut self, name: &str, content_type: &str, bytes: Bytes) {
        self.project(name).raw = Some((content_type.to_owned(), bytes));
    }

    pub(super) fn set_file(&mut self, file_name: &str, bytes: Bytes) {
        let file = self.projects.values_mut().find_map(|project| project.files.get_mut(file_name));
        file.unwrap_or_else(|| panic!("no file {file_name} was published")).bytes = bytes;
    }

    /// The project of this name, however it is written; a new one when there is none.
    fn project(&mut self, name: &str) -> &mut Project {
        let name = normalized(name);
        self.projects.entry(name.clone()).or_insert_with(|| Project {
            document: json!({
                "meta": { "api-version": "1.4", "_last-serial": 7 },
                "name": name,
                "versions": [],
                "files": [],
                "alternate-locations": [],
                "project-status": { "status": "active" },
                "x-unheard-of": { "kept": true },
            }),
            ..Project::default()
        })
    }

    /// What lies at the end of `/files/`: a file, its metadata, or its provenance.
    fn file(&self, project: &str, file_name: &str) -> Option<Bytes> {
        let files = &self.projects.get(project)?.files;
        if let Some(file) = files.get(file_name) {
            return Some(file.bytes.clone());
        }
        if let Some(file) = file_name.strip_suffix(".metadata").and_then(|name| files.get(name)) {
            return file.metadata.clone().filter(|_| self.settings.core_metadata);
        }
        let file = files.get(file_name.strip_suffix(".provenance")?)?;
        let provenance = file.provenance.as_ref().filter(|_| self.settings.provenance)?;
        Some(provenance.to_string().into())
    }
}

/// The file's object on the page of its project, with everything that an index can say.
fn index_entry(distribution: &Distribution, url: &str) -> Value {
    let package = &distribution.package;
    let metadata = match distribution.is_wheel() {
        true => json!({ "sha256": sha256(distribution.metadata.as_bytes()) }),
        false => json!(false),
    };
    json!({
        "filename": distribution.file_name,
        "url": url,
        "hashes": { "sha256": distribution.sha256() },
        "requires-python": package.python_range(),
        "size": distribution.bytes.len(),
        "upload-time": package.published_at(),
        "yanked": yanked(package.yank_reason()),
        "core-metadata": metadata,
        // The name that came first and that older clients still read.
        "data-dist-info-metadata": metadata,
        "provenance": null,
        "x-unheard-of": [1, 2.50, "three"],
    })
}

fn yanked(reason: Option<&str>) -> Value {
    match reason {
        None => json!(false),
        Some("") => json!(true),
        Some(reason) => json!(reason),
    }
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    value.as_array_mut().expect("the table builds these as lists")
}
