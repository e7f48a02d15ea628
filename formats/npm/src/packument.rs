//! The package documents that npm's clients read: full, abbreviated (`application/vnd.npm.install-v1+json`)
//! and the manifest of one version. Manifests pass through as they were written, but for the address of
//! the tarball and what may change after publication.

use crate::name::full;
use crate::version::Order;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use std::io::{self, Write};
use std::sync::Arc;
use weir_core::verdict::Decision;
use weir_core::{Error, PackageName, Result, Timestamp};
use weir_protocol::RawObject;
use weir_registry::view::{PackageView, Variant};

/// Media type of the full form.
pub(crate) const FULL: &str = "application/json";
/// Media type of the abbreviated form.
pub(crate) const ABBREVIATED: &str = "application/vnd.npm.install-v1+json";

/// Which form of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Everything.
    Full,
    /// What an installation needs, with `time`.
    Abbreviated,
}

/// Writes the document that a repository shows of a package.
pub(crate) fn render(view: &PackageView, variant: Variant<'_>, out: &mut dyn Write) -> Result<()> {
    let form = if variant.content_type == ABBREVIATED { Form::Abbreviated } else { Form::Full };
    Contents::of(view, variant.base).render(form, out).map_err(Error::internal)
}

/// What a document is made of.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The package.
    pub(crate) package: &'a PackageName,
    /// The repository's address; ends in `/`.
    pub(crate) base: &'a str,
    /// `_rev`.
    pub(crate) revision: String,
    /// Tags and the versions they name.
    pub(crate) tags: &'a [(Arc<str>, Arc<str>)],
    /// The versions shown, in any order.
    pub(crate) versions: Vec<Listed<'a>>,
    /// Documents with package-level members, nearest first.
    pub(crate) package_documents: Vec<&'a str>,
}

/// One version of a document.
#[derive(Debug, Clone)]
pub(crate) struct Listed<'a> {
    /// Its number.
    pub(crate) number: &'a str,
    /// When it was first published.
    pub(crate) time: Timestamp,
    /// Why it is deprecated, if it is.
    pub(crate) deprecated: Option<&'a str>,
    /// Its manifest as published.
    pub(crate) manifest: &'a str,
}

/// The `_rev` of a package as a repository shows it: the sequence of its own record.
pub(crate) fn revision(view: &PackageView) -> String {
    view.own_record().map_or_else(|| "0-0".to_owned(), |record| format!("{}-{}", record.sequence, record.id))
}

impl<'a> Listed<'a> {
    /// A version of a view that has its documents.
    pub(crate) fn of(view: &'a PackageView, decision: &'a Decision) -> Option<Self> {
        Some(Self {
            number: &decision.text,
            time: decision.time.at,
            deprecated: decision.flags.deprecated.as_deref(),
            manifest: view.metadata(decision)?,
        })
    }
}

impl<'a> Contents<'a> {
    /// What a repository lists of a package.
    pub(crate) fn of(view: &'a PackageView, base: &'a str) -> Self {
        let versions = view.verdict.listed().filter_map(|decision| Listed::of(view, decision));
        Self {
            package: &view.package,
            base,
            revision: revision(view),
            tags: &view.verdict.tags,
            versions: versions.collect(),
            package_documents: view.package_metadata().collect(),
        }
    }

    /// The document in one of its forms.
    pub(crate) fn render(mut self, form: Form, out: &mut dyn Write) -> io::Result<()> {
        self.versions.sort_by_cached_key(|version| Order::of(version.number));
        let mut out = Writer::new(out);
        let name = full(self.package);
        if form == Form::Full {
            out.member("_id", &name);
            out.member("_rev", &self.revision);
        }
        out.member("name", &name);
        out.key("dist-tags");
        out.open();
        for (tag, version) in self.tags {
            out.member(tag, version);
        }
        out.close();
        out.key("versions");
        out.open();
        for version in &self.versions {
            let Some(manifest) = Manifest::parse(version.manifest) else { continue };
            out.key(version.number);
            manifest.write(&mut out, &self, version, form);
        }
        out.close();
        self.write_times(&mut out, form);
        if form == Form::Full {
            self.write_package_members(&mut out);
        }
        out.finish()
    }

    /// The manifest of one version among [`Contents::versions`]; `None` when there is none of that number.
    pub(crate) fn render_manifest(&self, number: &str) -> Option<Vec<u8>> {
        let version = self.versions.iter().find(|version| version.number == number)?;
        let manifest = Manifest::parse(version.manifest)?;
        let mut document = Vec::with_capacity(version.manifest.len() + 200);
        let mut out = Writer::new(&mut document);
        // The writer has opened an object already, which is this one.
        manifest.write_members(&mut out, self, version, Form::Full);
        out.finish().expect("memory can be written to");
        Some(document)
    }

    fn write_times(&self, out: &mut Writer<'_>, form: Form) {
        let created = self.versions.iter().map(|version| version.time).min();
        let modified = self.versions.iter().map(|version| version.time).max();
        if let (Form::Abbreviated, Some(modified)) = (form, modified) {
            out.member("modified", &format!("{modified:.3}"));
        }
        out.key("time");
        out.open();
        if let (Some(created), Some(modified)) = (created, modified) {
            out.member("created", &format!("{created:.3}"));
            out.member("modified", &format!("{modified:.3}"));
        }
        for version in &self.versions {
            out.member(version.number, &format!("{:.3}", version.time));
        }
        out.close();
    }

    /// The nearest document's own members; what it lacks of the usual ones is taken from the manifest
    /// behind `latest`, as npm's registry does.
    fn write_package_members(&self, out: &mut Writer<'_>) {
        let parse = |text: &&'a str| RawObject::parse("the package's document", text.as_bytes()).ok();
        let mut members = self.package_documents.iter().find_map(parse).unwrap_or_default();
        members.retain(|key, _| !RENDERED.contains(&key));
        let latest = self.tags.iter().find(|(tag, _)| &**tag == "latest").map(|(_, version)| &**version);
        let latest = latest.and_then(|number| self.versions.iter().find(|v| v.number == number));
        if let Some(manifest) = latest.and_then(|version| parse(&version.manifest)) {
            for key in FROM_LATEST {
                if let (false, Some(value)) = (members.contains(key), manifest.get(key)) {
                    members.set(*key, std::borrow::Cow::Owned(value.to_owned()));
                }
            }
        }
        for (key, value) in members.iter() {
            out.raw_member(key, value);
        }
    }
}

/// `NAME-VERSION.tgz` without the scope: the file name every tarball is served under.
pub(crate) fn tarball_name(package: &PackageName, number: &str) -> String {
    format!("{}-{}.tgz", package.name, utf8_percent_encode(number, IN_PATH))
}

/// Members of a package document that are rendered from the verdict, never passed through.
pub(crate) const RENDERED: &[&str] =
    &["_id", "_rev", "name", "dist-tags", "versions", "time", "modified", "_attachments", "_revisions"];

/// Members that a package document takes over from the manifest behind `latest`.
pub(crate) const FROM_LATEST: &[&str] = &[
    "description",
    "homepage",
    "keywords",
    "repository",
    "author",
    "contributors",
    "maintainers",
    "bugs",
    "license",
    "readme",
    "readmeFilename",
];

/// What the abbreviated form keeps of a manifest (npm's package-metadata document, both spellings of
/// bundled dependencies).
const KEPT_ABBREVIATED: &[&str] = &[
    "name",
    "version",
    "deprecated",
    "dependencies",
    "optionalDependencies",
    "devDependencies",
    "bundleDependencies",
    "bundledDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "acceptDependencies",
    "bin",
    "directories",
    "dist",
    "engines",
    "os",
    "cpu",
    "libc",
    "funding",
    "_hasShrinkwrap",
    "hasInstallScript",
];

/// What may stand unescaped in a path besides letters and digits.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'+')
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

struct Manifest<'a>(RawObject<'a>);

impl<'a> Manifest<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        RawObject::parse("the manifest", text.as_bytes()).ok().map(Self)
    }

    fn write(&self, out: &mut Writer<'_>, contents: &Contents<'_>, version: &Listed<'_>, form: Form) {
        out.open();
        self.write_members(out, contents, version, form);
        out.close();
    }

    fn write_members(&self, out: &mut Writer<'_>, contents: &Contents<'_>, version: &Listed<'_>, form: Form) {
        let mut has_dist = false;
        for (key, value) in self.0.iter() {
            match key {
                "deprecated" => {}
                "dist" => {
                    has_dist = true;
                    out.key(key);
                    write_dist(out, contents, version, value);
                }
                // A readme of each version would make the document many times its size; npm's has none.
                "readme" => {}
                _ if form == Form::Abbreviated && !KEPT_ABBREVIATED.contains(&key) => {}
                _ => out.raw_member(key, value),
            }
        }
        if !has_dist {
            out.key("dist");
            write_dist(out, contents, version, RawValue::NULL);
        }
        if let Some(text) = version.deprecated {
            out.member("deprecated", text);
        }
        if form == Form::Abbreviated && !self.0.contains("hasInstallScript") && self.has_install_script() {
            out.raw_member("hasInstallScript", RawValue::TRUE);
        }
    }

    fn has_install_script(&self) -> bool {
        let Some(scripts) = self.0.get_object("scripts") else { return false };
        ["preinstall", "install", "postinstall"].iter().any(|event| scripts.contains(event))
    }
}

fn write_dist(out: &mut Writer<'_>, contents: &Contents<'_>, version: &Listed<'_>, dist: &RawValue) {
    let dist: RawObject<'_> = serde_json::from_str(dist.get()).unwrap_or_default();
    let name = full(contents.package);
    let tarball = format!("{}{name}/-/{}", contents.base, tarball_name(contents.package, version.number));
    out.open();
    for (key, value) in dist.iter() {
        match key {
            "tarball" => {}
            "attestations" => {
                out.key(key);
                write_attestations(out, contents.base, value);
            }
            _ => out.raw_member(key, value),
        }
    }
    out.member("tarball", &tarball);
    out.close();
}

/// Attestations kept here have an address below the repository, others that of the public registry.
fn write_attestations(out: &mut Writer<'_>, base: &str, value: &RawValue) {
    let Ok(attestations) = serde_json::from_str::<RawObject<'_>>(value.get()) else {
        return out.raw(value.get());
    };
    out.open();
    for (key, value) in attestations.iter() {
        match attestations.get_str(key).filter(|text| key == "url" && text.starts_with("-/")) {
            Some(path) => out.member(key, &format!("{base}{path}")),
            None => out.raw_member(key, value),
        }
    }
    out.close();
}

/// Writes one JSON object piece by piece; values are text or stand as they were written.
struct Writer<'a> {
    out: &'a mut dyn Write,
    /// What is not written yet.
    bytes: Vec<u8>,
    /// Whether the next member is not the first of its object.
    follows: bool,
    /// What went wrong; then nothing more is written.
    failure: Option<io::Error>,
}

/// How much is written at a time.
const PIECE: usize = 32 << 10;

impl<'a> Writer<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        let mut writer = Self { out, bytes: Vec::new(), follows: false, failure: None };
        writer.open();
        writer
    }

    fn open(&mut self) {
        self.bytes.push(b'{');
        self.follows = false;
    }

    fn close(&mut self) {
        self.bytes.push(b'}');
        self.follows = true;
        if self.bytes.len() >= PIECE {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.failure.is_none() {
            self.failure = self.out.write_all(&self.bytes).err();
        }
        self.bytes.clear();
    }

    fn key(&mut self, key: &str) {
        if std::mem::replace(&mut self.follows, true) {
            self.bytes.push(b',');
        }
        self.text(key);
        self.bytes.push(b':');
    }

    fn member(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text(value);
    }

    fn raw_member(&mut self, key: &str, value: &RawValue) {
        self.key(key);
        self.raw(value.get());
    }

    fn raw(&mut self, json: &str) {
        self.bytes.extend_from_slice(json.as_bytes());
    }

    fn text(&mut self, text: &str) {
        serde_json::to_writer(&mut self.bytes, text).expect("text can be written to memory");
    }

    fn finish(mut self) -> io::Result<()> {
        self.close();
        self.write();
        self.failure.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const BASE: &str = "http://127.0.0.1:8090/npm/d/local-000000000000/main/";

    fn contents<'a>(package: &'a PackageName, tags: &'a [(Arc<str>, Arc<str>)]) -> Contents<'a> {
        let listed = |number, time: &str, deprecated, manifest| Listed {
            number,
            time: time.parse().unwrap(),
            deprecated,
            manifest,
        };
        Contents {
            package,
            base: BASE,
            revision: "7-x".into(),
            tags,
            versions: vec![
                listed(
                    "1.10.0",
                    "2024-02-01T00:00:00Z",
                    Some("use \"2\""),
                    r#"{"name":"@acme/widget","version":"1.10.0","unknown":{"a":1.10},"scripts":{"install":"x"},
                        "deprecated":"old text","readme":"long","description":"A widget.","maintainers":[{"name":"ann"}],
                        "dist":{"tarball":"http://evil.test/x","integrity":"sha512-AA==","signatures":[{"keyid":"k"}],
                                "attestations":{"url":"-/npm/v1/attestations/@acme/widget@1.10.0","provenance":{}}}}"#,
                ),
                listed(
                    "1.9.0",
                    "2024-01-01T00:00:00.5Z",
                    None,
                    r#"{"version":"1.9.0","deprecated":"gone","exports":{}}"#,
                ),
                listed("bad", "2025-01-01T00:00:00Z", None, "[]"),
            ],
            package_documents: vec![
                "null",
                r#"{"name":"x","versions":{"z":1},"readme":"top","users":{"u":true}}"#,
            ],
        }
    }

    fn text_of(contents: Contents<'_>, form: Form) -> Vec<u8> {
        let mut text = Vec::new();
        contents.render(form, &mut text).unwrap();
        text
    }

    fn render(form: Form) -> Value {
        let package = crate::name::parse_full("@acme/widget").unwrap();
        let tags = [("latest".into(), "1.10.0".into())];
        serde_json::from_slice(&text_of(contents(&package, &tags), form)).unwrap()
    }

    #[test]
    fn the_full_form_keeps_unknown_members_and_rewrites_addresses() {
        let document = render(Form::Full);
        assert_eq!(document["_id"], "@acme/widget");
        assert_eq!(document["_rev"], "7-x");
        assert_eq!(document["dist-tags"], json!({"latest": "1.10.0"}));
        let numbers: Vec<_> = document["versions"].as_object().unwrap().keys().collect();
        assert_eq!(numbers, ["1.10.0", "1.9.0"], "a manifest that is no object is left out");
        let version = &document["versions"]["1.10.0"];
        assert_eq!(version["unknown"].to_string(), r#"{"a":1.1}"#);
        assert_eq!(version["deprecated"], "use \"2\"");
        assert_eq!(version["dist"]["tarball"], format!("{BASE}@acme/widget/-/widget-1.10.0.tgz"));
        assert_eq!(version["dist"]["integrity"], "sha512-AA==");
        assert_eq!(version["dist"]["signatures"][0]["keyid"], "k");
        let attestations = format!("{BASE}-/npm/v1/attestations/@acme/widget@1.10.0");
        assert_eq!(version["dist"]["attestations"]["url"], attestations);
        assert!(document["versions"]["1.9.0"].get("deprecated").is_none());
        assert_eq!(
            document["versions"]["1.9.0"]["dist"],
            json!({"tarball": format!("{BASE}@acme/widget/-/widget-1.9.0.tgz")})
        );
        assert_eq!(document["time"]["1.9.0"], "2024-01-01T00:00:00.500Z");
        assert_eq!(document["time"]["created"], "2024-01-01T00:00:00.500Z");
        assert_eq!(document["readme"], "top");
        assert_eq!(document["users"], json!({"u": true}));
        assert_eq!(document["description"], "A widget.");
        assert_eq!(document["maintainers"][0]["name"], "ann");
    }

    #[test]
    fn the_abbreviated_form_has_what_an_installation_needs() {
        let document = render(Form::Abbreviated);
        let members: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["dist-tags", "modified", "name", "time", "versions"]);
        assert_eq!(document["time"]["1.10.0"], "2024-02-01T00:00:00.000Z");
        let version = document["versions"]["1.10.0"].as_object().unwrap();
        let members: Vec<_> = version.keys().map(String::as_str).collect();
        assert_eq!(members, ["deprecated", "dist", "hasInstallScript", "name", "version"]);
        assert_eq!(version["hasInstallScript"], true);
        assert!(version["dist"]["signatures"].is_array());
    }

    #[test]
    fn versions_stand_in_semantic_order() {
        let package = crate::name::parse_full("@acme/widget").unwrap();
        let text = String::from_utf8(text_of(contents(&package, &[]), Form::Full)).unwrap();
        assert!(text.find("\"1.9.0\":").unwrap() < text.find("\"1.10.0\":").unwrap());
    }

    #[test]
    fn one_manifest_can_be_asked_for() {
        let package = crate::name::parse_full("@acme/widget").unwrap();
        let contents = contents(&package, &[]);
        let manifest: Value = serde_json::from_slice(&contents.render_manifest("1.9.0").unwrap()).unwrap();
        assert_eq!(manifest["version"], "1.9.0");
        assert_eq!(manifest["exports"], json!({}));
        assert!(contents.render_manifest("1.9.1").is_none());
    }

    #[test]
    fn a_file_name_is_safe_in_a_path() {
        let package = crate::name::parse_full("@acme/widget").unwrap();
        assert_eq!(tarball_name(&package, "1.0.0-rc.1+b"), "widget-1.0.0-rc.1+b.tgz");
        assert_eq!(tarball_name(&package, "1?x=%2f\\"), "widget-1%3Fx%3D%252f%5C.tgz");
    }
}
