//! The packages of the fake registry and the documents it shows of them, with all that a public registry
//! puts in: times, signatures, attestations, maintainers, and fields nobody has heard of.

use crate::NpmPackage;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the version objects of an abbreviated index keep.
const ABBREVIATED: &[&str] = &[
    "name",
    "version",
    "deprecated",
    "dependencies",
    "optionalDependencies",
    "devDependencies",
    "bundleDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "bin",
    "directories",
    "dist",
    "engines",
    "os",
    "cpu",
    "libc",
    "funding",
    "hasInstallScript",
    "_hasShrinkwrap",
];

/// Packages, advisories, and the token that is wanted.
#[derive(Default)]
pub(super) struct Table {
    packages: BTreeMap<String, Package>,
    advisories: BTreeMap<String, Vec<Value>>,
    pub(super) token: Option<String>,
}

#[derive(Default)]
struct Package {
    document: Value,
    raw: Option<Bytes>,
    tarballs: BTreeMap<String, Bytes>,
}

impl Table {
    pub(super) fn publish(&mut self, package: &NpmPackage, base: &str) {
        let (name, version) = (package.full_name(), package.version().to_owned());
        let entry = index_entry(package, base);
        let known = self.packages.entry(name.clone()).or_default();
        known.tarballs.insert(package.file_name(), package.tarball());
        if known.document.is_null() {
            known.document = new_document(&name);
        }
        let document = &mut known.document;
        document["versions"][&version] = entry;
        for tag in package.tags() {
            document["dist-tags"][tag] = json!(version);
        }
        if document["dist-tags"].get("latest").is_none() {
            document["dist-tags"]["latest"] = json!(version);
        }
        let time = package.published_at();
        document["time"][&version] = json!(time);
        if document["time"]["created"].as_str().is_none_or(|created| created > time) {
            document["time"]["created"] = json!(time);
        }
        if document["time"]["modified"].as_str().is_none_or(|modified| modified < time) {
            document["time"]["modified"] = json!(time);
        }
    }

    pub(super) fn unpublish(&mut self, name: &str, version: &str) {
        let Some(package) = self.packages.get_mut(name) else { return };
        let removed = object(&mut package.document["versions"]).remove(version);
        let tarball = removed.as_ref().and_then(|entry| entry["dist"]["tarball"].as_str());
        if let Some((_, file)) = tarball.and_then(|url| url.rsplit_once('/')) {
            package.tarballs.remove(file);
        }
        object(&mut package.document["dist-tags"]).retain(|_, tagged| tagged != version);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.packages.remove(name);
    }

    pub(super) fn document(&mut self, name: &str) -> &mut Value {
        &mut self.packages.entry(name.to_owned()).or_default().document
    }

    pub(super) fn set_raw(&mut self, name: &str, bytes: Bytes) {
        self.packages.entry(name.to_owned()).or_default().raw = Some(bytes);
    }

    pub(super) fn set_tarball(&mut self, name: &str, file: &str, bytes: Bytes) {
        self.packages.entry(name.to_owned()).or_default().tarballs.insert(file.to_owned(), bytes);
    }

    pub(super) fn advise(&mut self, name: &str, range: &str, severity: &str, title: &str) {
        let id = 1000 + self.advisories.values().map(Vec::len).sum::<usize>();
        let advisory = json!({
            "id": id,
            "url": format!("https://example.test/advisories/{id}"),
            "title": title,
            "severity": severity,
            "vulnerable_versions": range,
            "cwe": ["CWE-1333"],
            "cvss": { "score": 7.5, "vectorString": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H" },
        });
        self.advisories.entry(name.to_owned()).or_default().push(advisory);
    }

    /// The full or abbreviated index, as bytes.
    pub(super) fn index(&self, name: &str, abbreviated: bool) -> Option<Bytes> {
        let package = self.packages.get(name)?;
        if let Some(raw) = &package.raw {
            return Some(raw.clone());
        }
        let document = if abbreviated { abbreviate(&package.document) } else { package.document.clone() };
        Some(document.to_string().into())
    }

    pub(super) fn tarball(&self, name: &str, file: &str) -> Option<Bytes> {
        self.packages.get(name)?.tarballs.get(file).cloned()
    }

    pub(super) fn tags(&self, name: &str) -> Option<Value> {
        self.packages.get(name).map(|package| package.document["dist-tags"].clone())
    }

    /// The answer of the bulk endpoint to `{name: [versions]}`.
    pub(super) fn bulk_advisories(&self, asked: &Value) -> Value {
        let asked = asked.as_object().into_iter().flatten();
        asked.filter_map(|(name, _)| Some((name.clone(), json!(self.advisories.get(name)?)))).collect()
    }

    /// The answer of the quick endpoint to a dependency tree.
    pub(super) fn quick_audit(&self, tree: &Value) -> Value {
        let mut found = Map::new();
        self.walk(tree, &mut found);
        let mut counts = json!({ "info": 0, "low": 0, "moderate": 0, "high": 0, "critical": 0 });
        for advisory in found.values() {
            if let Some(severity) = advisory["severity"].as_str() {
                counts[severity] = json!(counts[severity].as_u64().unwrap_or_default() + 1);
            }
        }
        json!({ "actions": [], "advisories": found, "muted": [], "metadata": { "vulnerabilities": counts } })
    }

    fn walk(&self, tree: &Value, found: &mut Map<String, Value>) {
        for (name, node) in tree["dependencies"].as_object().into_iter().flatten() {
            for advisory in self.advisories.get(name).into_iter().flatten() {
                let mut advisory = advisory.clone();
                advisory["module_name"] = json!(name);
                advisory["findings"] = json!([{ "version": node["version"], "paths": [name] }]);
                found.insert(advisory["id"].to_string(), advisory);
            }
            self.walk(node, found);
        }
    }
}

fn new_document(name: &str) -> Value {
    json!({
        "_id": name,
        "_rev": "7-0123456789abcdef",
        "name": name,
        "description": format!("The package {name}."),
        "dist-tags": {},
        "versions": {},
        "time": {},
        "maintainers": [{ "name": "ada", "email": "ada@example.test" }],
        "license": "MIT",
        "readme": format!("# {name}\n"),
        "readmeFilename": "README.md",
        "x-unheard-of": { "kept": true },
    })
}

fn index_entry(package: &NpmPackage, base: &str) -> Value {
    let mut entry = package.index_entry(base);
    let id = entry["_id"].clone();
    entry["_npmUser"] = json!({ "name": "ada", "email": "ada@example.test" });
    entry["_hasShrinkwrap"] = json!(false);
    entry["x-unheard-of"] = json!([1, 2.50, "three"]);
    let has_install_script = ["preinstall", "install", "postinstall"];
    if has_install_script.iter().any(|event| entry["scripts"].get(event).is_some()) {
        entry["hasInstallScript"] = json!(true);
    }
    let mut dist = json!({
        "signatures": [{ "keyid": "SHA256:fake", "sig": "MEUCIQDfake" }],
        "attestations": {
            "url": format!("{base}/-/npm/v1/attestations/{}", id.as_str().unwrap_or_default()),
            "provenance": { "predicateType": "https://slsa.dev/provenance/v1" },
        },
    });
    // What the test set by `dist_field` wins over what every package gets.
    object(&mut dist).append(object(&mut entry["dist"]));
    entry["dist"] = dist;
    entry
}

fn abbreviate(document: &Value) -> Value {
    let versions: Map<_, _> = document["versions"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(version, entry)| {
            let kept = ABBREVIATED
                .iter()
                .filter_map(|field| Some(((*field).to_owned(), entry.get(*field)?.clone())));
            (version.clone(), Value::Object(kept.collect()))
        })
        .collect();
    json!({
        "name": document["name"],
        "modified": document["time"]["modified"],
        "dist-tags": document["dist-tags"],
        "versions": versions,
    })
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("the table builds these as objects")
}
