//! The pages of the simple index, rendered from what a repository offers: a project's in JSON and HTML, and
//! the list of projects (PEP 503, 592, 691, 700, 714, 740, 792). Addresses of files are relative to the page.

use crate::document::{File, Hashes, VersionDocument};
use crate::html::escape;
use crate::remote::ProjectFacts;
use crate::version;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use weir_core::verdict::Decision;
use weir_core::{Error, PackageName, Result};
use weir_registry::view::{PackageView, Variant};

/// Media type of the JSON form.
pub(crate) const JSON: &str = "application/vnd.pypi.simple.v1+json";
/// Media type of the HTML form by its own name.
pub(crate) const HTML: &str = "application/vnd.pypi.simple.v1+html";
/// Media type of the HTML form for browsers and old clients.
pub(crate) const TEXT_HTML: &str = "text/html";

/// The version of the simple index that the pages are of.
const API_VERSION: &str = "1.4";

/// Digests that Python's hashlib makes on every machine. pip refuses a file of which a page names another kind,
/// and where the system forbids the weak ones it refuses those too.
const STRONG: [&str; 10] = [
    "sha256", "sha512", "sha384", "sha224", "sha3_256", "sha3_512", "sha3_384", "sha3_224", "blake2b",
    "blake2s",
];
const WEAK: [&str; 2] = ["sha1", "md5"];

/// What may stand unescaped in one segment of a path.
const IN_SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'!');

/// How much of a page is written at a time.
const PIECE: usize = 32 << 10;

/// Writes the page that a repository shows of a project.
pub(crate) fn render(view: &PackageView, variant: Variant<'_>, out: &mut dyn Write) -> Result<()> {
    let base = format!("{}simple/", variant.base);
    let page = Page::of(view, &base)?;
    let written = if variant.content_type == JSON { page.json(out) } else { page.html(out) };
    written.map_err(Error::internal)
}

/// One version as a page shows it.
pub(crate) struct Release<'a> {
    /// As published.
    pub(crate) version: Arc<str>,
    /// Its files, by name.
    pub(crate) files: Vec<File<'a>>,
}

/// A project's page.
pub(crate) struct Page<'a> {
    pub(crate) package: &'a PackageName,
    pub(crate) facts: ProjectFacts<'a>,
    /// Lowest version first.
    pub(crate) releases: Vec<Release<'a>>,
    /// Where files lie with their repository: the address of the simple index, ends in `/`.
    pub(crate) base: &'a str,
}

impl<'a> Page<'a> {
    /// What a repository lists of a project. The view must have its documents.
    pub(crate) fn of(view: &'a PackageView, base: &'a str) -> Result<Self> {
        let mut listed: Vec<_> =
            view.verdict.listed().map(|decision| (version::order(&decision.key), decision)).collect();
        listed.sort_by(|left, right| left.0.cmp(&right.0));
        let releases =
            listed.into_iter().map(|(_, decision)| release(view, decision)).collect::<Result<_>>()?;
        let facts = view.package_metadata().find_map(|text| serde_json::from_str(text).ok());
        Ok(Self { package: &view.package, facts: facts.unwrap_or_default(), releases, base })
    }

    /// The page in JSON.
    pub(crate) fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(PIECE, out);
        serde_json::to_writer(&mut out, self)?;
        out.flush()
    }

    /// The page in HTML.
    pub(crate) fn html(&self, page: &mut dyn Write) -> io::Result<()> {
        let mut out = String::with_capacity(1024);
        out.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        meta(&mut out, "pypi:repository-version", API_VERSION);
        if let Some(status) = &self.facts.status {
            meta(&mut out, "pypi:project-status", status);
        }
        if let Some(reason) = &self.facts.reason {
            meta(&mut out, "pypi:project-status-reason", reason);
        }
        let name = &self.package.name;
        let _ = write!(out, "<title>Links for {name}</title>\n</head>\n<body>\n<h1>Links for {name}</h1>\n");
        for release in &self.releases {
            for file in &release.files {
                self.html_file(&mut out, release, file);
                if out.len() >= PIECE {
                    page.write_all(out.as_bytes())?;
                    out.clear();
                }
            }
        }
        out.push_str("</body>\n</html>\n");
        page.write_all(out.as_bytes())
    }

    fn html_file(&self, out: &mut String, release: &Release<'_>, file: &File<'_>) {
        out.push_str("<a href=\"");
        escape(&relative(&release.version, &file.filename), out);
        // Clients take one digest, and the first two are the ones they all know.
        let mut known = STRONG.into_iter().chain(WEAK);
        if let Some((name, hex)) = known.find_map(|name| Some((name, file.hash(name)?))) {
            let _ = write!(out, "#{name}={hex}");
        }
        out.push('"');
        if let Some(requirement) = &file.requires_python {
            attribute(out, "data-requires-python", requirement);
        }
        if let Some(time) = &file.upload_time {
            attribute(out, "data-upload-time", time);
        }
        if let Some(sha256) = &file.core_metadata {
            // The first name is older, and all that some clients know.
            let _ = write!(
                out,
                " data-dist-info-metadata=\"sha256={sha256}\" data-core-metadata=\"sha256={sha256}\""
            );
        }
        if let Some(reason) = &file.yanked {
            attribute(out, "data-yanked", reason);
        }
        if file.own_provenance {
            attribute(out, "data-provenance", &self.provenance(&release.version, &file.filename));
        }
        out.push('>');
        escape(&file.filename, out);
        out.push_str("</a><br>\n");
    }

    /// PEP 740 wants it absolute.
    fn provenance(&self, version: &str, file: &str) -> String {
        format!("{}{}/{}.provenance", self.base, self.package.name, relative(version, file))
    }
}

/// A version's files as this repository gives them: what cannot be had is left out, and what goes with a file
/// is named only where it is given.
pub(crate) fn release<'a>(view: &'a PackageView, decision: &'a Decision) -> Result<Release<'a>> {
    let mut document = VersionDocument::read(view.metadata(decision).unwrap_or("{}"))?;
    let is_public = view.is_public(decision);
    let reachable = view.connection_of(decision).is_some();
    if view.follows_known_index(decision) {
        let public =
            view.public_metadata(decision).map(VersionDocument::read).transpose()?.unwrap_or_default();
        let yanked: HashMap<Cow<'_, str>, Option<Cow<'_, str>>> =
            public.files.iter().map(|file| (file.filename.clone(), file.yanked.clone())).collect();
        document = document.merged(public);
        // What was never fetched and is gone from the index cannot be had any more.
        document
            .files
            .retain(|file| yanked.contains_key(&file.filename) || view.is_here(decision, &file.filename));
        for file in &mut document.files {
            if let Some(now) = yanked.get(&file.filename) {
                file.yanked.clone_from(now);
            }
        }
    }
    let mut files = document.files;
    files.retain(|file| reachable || view.is_here(decision, &file.filename));
    for file in &mut files {
        if file.upload_time.is_none() {
            file.upload_time = Some(format!("{:.6}", decision.time.at).into());
        }
        if !is_public {
            file.yanked = decision.flags.yanked.as_deref().map(Cow::Borrowed);
        }
        let gives = |ending: &str| reachable || view.is_here(decision, &format!("{}{ending}", file.filename));
        let promised = file.core_metadata.take().filter(|sha256| {
            gives(".metadata") && !view.is_withdrawn(&metadata_url(&file.url), Some(sha256))
        });
        // That of a source distribution may still change when it is built, so it is not named.
        let own = file.own_metadata.take().filter(|_| file.filename.ends_with(".whl") && gives(".metadata"));
        file.core_metadata = own.or(promised);
        let promised = file.provenance.take().is_some_and(|url| !view.is_withdrawn(&url, None));
        file.own_provenance = (file.own_provenance || promised) && gives(".provenance");
    }
    files.sort_by(|left, right| left.filename.cmp(&right.filename));
    Ok(Release { version: decision.text.clone(), files })
}

/// The digests of a file that its page names: the strong ones, or where there is none the weak ones.
fn listed_hashes<'a>(file: &File<'a>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let of = |names: &[&str]| -> Vec<_> {
        file.hashes.iter().filter(|(name, _)| names.contains(&&**name)).cloned().collect()
    };
    let strong = of(&STRONG);
    if strong.is_empty() { of(&WEAK) } else { strong }
}

/// Where a registry keeps the metadata of a file (PEP 658).
pub(crate) fn metadata_url(url: &str) -> String {
    match url.split_once('?') {
        Some((path, query)) => format!("{path}.metadata?{query}"),
        None => format!("{url}.metadata"),
    }
}

/// `VERSION/FILE`, as AWS has it: where a file lies below its project's page.
pub(crate) fn relative(version: &str, file: &str) -> String {
    format!("{}/{}", utf8_percent_encode(version, IN_SEGMENT), utf8_percent_encode(file, IN_SEGMENT))
}

/// The list of projects.
pub(crate) fn list_json(names: &[PackageName]) -> Result<Vec<u8>> {
    #[derive(serde::Serialize)]
    struct Project<'a> {
        name: &'a str,
    }
    let projects: Vec<Project<'_>> = names.iter().map(|package| Project { name: &package.name }).collect();
    let list = serde_json::json!({ "meta": { "api-version": API_VERSION }, "projects": projects });
    serde_json::to_vec(&list).map_err(weir_core::Error::internal)
}

/// The list of projects in HTML.
pub(crate) fn list_html(names: &[PackageName]) -> Vec<u8> {
    let mut out = String::with_capacity(256 + names.len() * 50);
    out.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    meta(&mut out, "pypi:repository-version", API_VERSION);
    out.push_str("<title>Simple index</title>\n</head>\n<body>\n");
    for package in names {
        // A normalised name needs no escape.
        let _ = writeln!(out, "<a href=\"{0}/\">{0}</a><br>", package.name);
    }
    out.push_str("</body>\n</html>\n");
    out.into_bytes()
}

fn meta(out: &mut String, name: &str, content: &str) {
    let _ = write!(out, "<meta name=\"{name}\" content=\"");
    escape(content, out);
    out.push_str("\">\n");
}

fn attribute(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}=\"");
    escape(value, out);
    out.push('"');
}

impl Serialize for Page<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("meta", &serde_json::json!({ "api-version": API_VERSION }))?;
        map.serialize_entry("name", &*self.package.name)?;
        if self.facts.status.is_some() {
            map.serialize_entry("project-status", &self.facts)?;
        }
        map.serialize_entry("versions", &Versions(&self.releases))?;
        map.serialize_entry("files", &Files(self))?;
        map.end()
    }
}

struct Versions<'p, 'a>(&'p [Release<'a>]);

impl Serialize for Versions<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|release| &*release.version))
    }
}

struct Files<'p, 'a>(&'p Page<'a>);

impl Serialize for Files<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let page = self.0;
        let files =
            page.releases.iter().flat_map(|release| release.files.iter().map(move |file| (release, file)));
        serializer.collect_seq(files.map(|(release, file)| Listed { page, release, file }))
    }
}

#[derive(serde::Serialize)]
struct Promised<'a> {
    sha256: &'a str,
}

struct Listed<'p, 'a> {
    page: &'p Page<'a>,
    release: &'p Release<'a>,
    file: &'p File<'a>,
}

impl Serialize for Listed<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (file, version) = (self.file, &*self.release.version);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("filename", &file.filename)?;
        map.serialize_entry("url", &relative(version, &file.filename))?;
        map.serialize_entry("hashes", &Hashes(&listed_hashes(file)))?;
        file.serialize_facts(&mut map)?;
        match file.yanked.as_deref() {
            None => map.serialize_entry("yanked", &false)?,
            Some("") => map.serialize_entry("yanked", &true)?,
            Some(reason) => map.serialize_entry("yanked", reason)?,
        }
        match &file.core_metadata {
            None => map.serialize_entry("core-metadata", &false)?,
            Some(sha256) => map.serialize_entry("core-metadata", &Promised { sha256 })?,
        }
        if file.own_provenance {
            map.serialize_entry("provenance", &self.page.provenance(version, &file.filename))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    fn text_of(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut text = Vec::new();
        write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn check(file: File<'_>) -> (String, String) {
        let package = name::parse("weir-demo").unwrap();
        let facts = ProjectFacts { status: Some("archived".into()), reason: Some("<done>".into()) };
        let releases = vec![Release { version: "1.0+a".into(), files: vec![file] }];
        let page = Page { package: &package, facts, releases, base: "http://h/simple/" };
        (text_of(|out| page.json(out)), text_of(|out| page.html(out)))
    }

    #[test]
    fn a_page_says_all_that_is_known_of_a_file_and_nothing_of_where_it_came_from() {
        let (json, html) = check(File {
            filename: "weir_demo-1.0+a.tar.gz".into(),
            url: "https://files.example.test/secret".into(),
            hashes: vec![("sha256".into(), "ab".into())],
            requires_python: Some(">=3.8".into()),
            size: Some(7),
            upload_time: Some("2024-01-01T00:00:00Z".into()),
            yanked: Some("\"bad\"".into()),
            core_metadata: Some("cd".into()),
            own_provenance: true,
            others: vec![("x-new".into(), "[1.50]".into())],
            ..File::default()
        });
        assert_eq!(
            json,
            "{\"meta\":{\"api-version\":\"1.4\"},\"name\":\"weir-demo\",\"project-status\":{\"status\":\"archived\",\
             \"reason\":\"<done>\"},\"versions\":[\"1.0+a\"],\"files\":[{\"filename\":\"weir_demo-1.0+a.tar.gz\",\
             \"url\":\"1.0%2Ba/weir_demo-1.0%2Ba.tar.gz\",\"hashes\":{\"sha256\":\"ab\"},\"requires-python\":\">=3.8\",\
             \"size\":7,\"upload-time\":\"2024-01-01T00:00:00Z\",\"x-new\":[1.50],\"yanked\":\"\\\"bad\\\"\",\
             \"core-metadata\":{\"sha256\":\"cd\"},\
             \"provenance\":\"http://h/simple/weir-demo/1.0%2Ba/weir_demo-1.0%2Ba.tar.gz.provenance\"}]}"
        );
        let link = "<a href=\"1.0%2Ba/weir_demo-1.0%2Ba.tar.gz#sha256=ab\" data-requires-python=\"&gt;=3.8\" \
            data-upload-time=\"2024-01-01T00:00:00Z\" data-dist-info-metadata=\"sha256=cd\" \
            data-core-metadata=\"sha256=cd\" data-yanked=\"&quot;bad&quot;\" \
            data-provenance=\"http://h/simple/weir-demo/1.0%2Ba/weir_demo-1.0%2Ba.tar.gz.provenance\">\
            weir_demo-1.0+a.tar.gz</a><br>";
        assert!(html.contains(link), "{html}");
        assert!(
            html.contains("<meta name=\"pypi:project-status-reason\" content=\"&lt;done&gt;\">"),
            "{html}"
        );
        assert!(!json.contains("secret") && !html.contains("secret"));
    }

    #[test]
    fn digests_that_pip_does_not_know_are_not_named() {
        let page = |hashes: &[&'static str]| {
            let hashes = hashes.iter().map(|name| ((*name).into(), "ab".into())).collect();
            check(File { filename: "x.whl".into(), hashes, ..File::default() })
        };
        let (json, html) = page(&["blake2b_256", "md5", "sha256", "sha512"]);
        assert!(json.contains(r#""hashes":{"sha256":"ab","sha512":"ab"}"#), "{json}");
        assert!(html.contains("x.whl#sha256=ab\""), "{html}");
        let (json, html) = page(&["blake2b_256", "md5"]);
        assert!(
            json.contains(r#""hashes":{"md5":"ab"}"#) && html.contains("x.whl#md5=ab\""),
            "{json} {html}"
        );
        let (json, html) = page(&["blake2b_256"]);
        assert!(json.contains(r#""hashes":{}"#) && html.contains("x.whl\">"), "{json} {html}");
    }

    #[test]
    fn a_file_of_which_little_is_known_is_listed() {
        let (json, html) =
            check(File { filename: "<x>.whl".into(), yanked: Some("".into()), ..File::default() });
        assert!(json.contains(r#""hashes":{},"yanked":true,"core-metadata":false}"#), "{json}");
        assert!(
            html.contains("<a href=\"1.0%2Ba/%3Cx%3E.whl\" data-yanked=\"\">&lt;x&gt;.whl</a>"),
            "{html}"
        );
    }

    #[test]
    fn twenty_thousand_files_are_rendered_quickly() {
        let package = name::parse("weir-demo").unwrap();
        let releases = (0..200).map(|number| Release {
            version: format!("1.{number}").into(),
            files: (0..100)
                .map(|at| File {
                    filename: format!("weir_demo-1.{number}-{at}-cp312-cp312-manylinux_2_17_x86_64.whl")
                        .into(),
                    hashes: vec![("sha256".into(), "ab".repeat(32).into())],
                    core_metadata: Some("cd".repeat(32).into()),
                    ..File::default()
                })
                .collect(),
        });
        let page = Page {
            package: &package,
            facts: ProjectFacts::default(),
            releases: releases.collect(),
            base: "",
        };
        assert_eq!(text_of(|out| page.html(out)).lines().count(), 20_000 + 11);
        let json: serde_json::Value = serde_json::from_str(&text_of(|out| page.json(out))).unwrap();
        assert_eq!(json["files"].as_array().map(Vec::len), Some(20_000));
    }
}
