//! A public registry's page of a project, in JSON (PEP 691) or HTML (PEP 503), read once and arranged by
//! version: documents of versions one behind the other, and ranges into them.

use crate::document::{File, ForeignFile, VersionDocument, is_algorithm, is_hex, lower};
use crate::{file_name, html, name};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use url::Url;
use weir_core::{AssetName, Error, Flags, PackageName, Result, Timestamp, Version};
use weir_registry::format::{Document, RemotePackage, RemoteVersion};

/// What is asked for: JSON first, since only it tells sizes and times.
pub(crate) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, \
                                 text/html;q=0.1";

/// Reads what a public registry answered for `package`. Files that cannot be served (another project's, of no
/// version, at no web address) are passed over. Errors: BadUpstream for anything but a page of that project.
pub(crate) fn read(package: &PackageName, document: &Document) -> Result<RemotePackage> {
    let page = page(package, document).map_err(|what| {
        Error::bad_upstream(format!(
            "the public registry answered the request for Python project {} with {what}",
            package.name
        ))
    })?;
    arrange(package, page)
}

/// Facts of a project besides its files.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct ProjectFacts<'a> {
    /// `active`, `archived`, `quarantined`, `deprecated` (PEP 792).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Cow<'a, str>>,
    /// Why.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Cow<'a, str>>,
}

struct Page<'a> {
    facts: ProjectFacts<'a>,
    files: Vec<File<'a>>,
}

#[derive(Deserialize)]
struct JsonPage<'a> {
    #[serde(borrow, default)]
    meta: Meta<'a>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    files: Vec<ForeignFile<'a>>,
    #[serde(borrow, default, rename = "project-status")]
    status: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow, rename = "api-version")]
    api_version: Cow<'a, str>,
}

fn page<'a>(package: &PackageName, document: &'a Document) -> Result<Page<'a>, String> {
    let base = Url::parse(&document.url).map_err(|_| "a page from nowhere".to_owned())?;
    let text =
        std::str::from_utf8(&document.body).map_err(|_| "something that is not UTF-8 text".to_owned())?;
    let begins_with =
        |first: char| text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with(first);
    let (page, base) = if begins_with('{') {
        (json_page(package, text)?, base)
    } else if begins_with('<') {
        html_page(package, text, base)?
    } else {
        return Err("something that is neither JSON nor HTML".to_owned());
    };
    let files = page.files.into_iter().filter_map(|file| placed(file, &base)).collect();
    Ok(Page { facts: page.facts, files })
}

fn json_page<'a>(package: &PackageName, text: &'a str) -> Result<Page<'a>, String> {
    let page: JsonPage<'a> = serde_json::from_str(text)
        .map_err(|error| format!("a JSON document that is no page of a simple index ({error})"))?;
    let version = &*page.meta.api_version;
    if version.split('.').next() != Some("1") {
        return Err(format!(
            "a page of version '{}', of which only 1.x is known",
            weir_core::name::shown(version)
        ));
    }
    if !name::is_of(package, &page.name) {
        return Err("the page of another project".to_owned());
    }
    let facts = page.status.and_then(|status| serde_json::from_str(status.get()).ok()).unwrap_or_default();
    Ok(Page { facts, files: page.files.into_iter().map(|file| file.0).collect() })
}

/// A page in HTML, and what its links stand on. Pages of a captive portal have links too, but none to a file
/// of the project.
fn html_page<'a>(package: &PackageName, text: &'a str, mut base: Url) -> Result<(Page<'a>, Url), String> {
    let mut page = Page { facts: ProjectFacts::default(), files: Vec::new() };
    let mut is_index = false;
    for tag in html::tags(text) {
        match tag.name {
            "base" => {
                if let Some(found) = tag.attribute("href").and_then(|href| base.join(&href).ok()) {
                    base = found;
                }
            }
            "meta" => match tag.attribute("name").as_deref() {
                Some("pypi:repository-version") => {
                    let version = tag.attribute("content").unwrap_or_default();
                    if version.split('.').next() != Some("1") {
                        let version = weir_core::name::shown(&version);
                        return Err(format!("a page of version '{version}', of which only 1.x is known"));
                    }
                    is_index = true;
                }
                Some("pypi:project-status") => page.facts.status = tag.attribute("content"),
                Some("pypi:project-status-reason") => page.facts.reason = tag.attribute("content"),
                _ => {}
            },
            _ => page.files.extend(html_file(&tag)),
        }
    }
    let of_project = |file: &File<'_>| file_name::read(package, &file.filename).is_some();
    if !is_index && !page.files.iter().any(of_project) {
        return Err("an HTML page that is no page of a simple index".to_owned());
    }
    Ok((page, base))
}

fn html_file<'a>(tag: &html::Tag<'a>) -> Option<File<'a>> {
    let href = tag.attribute("href")?;
    let (address, fragment) = match href.split_once('#') {
        Some((address, fragment)) => (address.to_owned(), fragment.to_owned()),
        None => (href.into_owned(), String::new()),
    };
    let path = address.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let filename = percent_decode_str(last).decode_utf8().ok()?.into_owned();
    let digest = fragment.split('&').find_map(|part| part.split_once('='));
    let digest = digest.filter(|(name, hex)| is_algorithm(name) && is_hex(hex));
    let hashes = digest.map(|(name, hex)| (name.to_owned().into(), lower(hex.to_owned().into()))).into_iter();
    let promised =
        ["data-core-metadata", "data-dist-info-metadata"].into_iter().find_map(|name| tag.attribute(name));
    let promised = promised.as_deref().and_then(|text| text.strip_prefix("sha256="));
    Some(File {
        filename: filename.into(),
        url: address.into(),
        hashes: hashes.collect(),
        requires_python: tag.attribute("data-requires-python").filter(|text| !text.is_empty()),
        upload_time: tag.attribute("data-upload-time"),
        yanked: tag.attribute("data-yanked"),
        core_metadata: promised
            .filter(|hex| hex.len() == 64 && is_hex(hex))
            .map(|hex| lower(hex.to_owned().into())),
        provenance: tag.attribute("data-provenance"),
        ..File::default()
    })
}

/// The file with absolute addresses; `None` for one that lies at no web address.
fn placed<'a>(mut file: File<'a>, base: &Url) -> Option<File<'a>> {
    file.url = web_address(base, &file.url)?.into();
    file.provenance = file.provenance.and_then(|url| web_address(base, &url)).map(Cow::Owned);
    if file.filename.is_empty() {
        let url = Url::parse(&file.url).ok()?;
        let last = url.path().rsplit('/').next().unwrap_or_default();
        file.filename = percent_decode_str(last).decode_utf8().ok()?.into_owned().into();
    }
    Some(file)
}

fn web_address(base: &Url, text: &str) -> Option<String> {
    let mut url = base.join(text).ok()?;
    url.set_fragment(None);
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| url.into())
}

fn arrange(package: &PackageName, page: Page<'_>) -> Result<RemotePackage> {
    struct Group<'a> {
        version: Version,
        document: VersionDocument<'a>,
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    let mut seen: HashSet<String> = HashSet::new();
    for file in page.files {
        let read =
            file_name::read(package, &file.filename).filter(|_| AssetName::parse(&file.filename).is_ok());
        let Some(version) = read.map(|read| read.version) else {
            tracing::debug!(%package, file = %weir_core::name::shown(&file.filename), "a public file cannot be served");
            continue;
        };
        if !seen.insert(file.filename.to_string()) {
            continue;
        }
        let place = *places.entry(version.key().clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { version, document: VersionDocument::default() });
        }
        groups[place].document.files.push(file);
    }
    let mut text = serde_json::to_vec(&page.facts).map_err(Error::internal)?;
    let metadata = 0..text.len();
    let mut versions = Vec::with_capacity(groups.len());
    for Group { version, document } in groups {
        let start = text.len();
        serde_json::to_writer(&mut text, &document).map_err(Error::internal)?;
        let flags = Flags { yanked: yanked(&document), ..Flags::default() };
        versions.push(RemoteVersion {
            version,
            metadata: start..text.len(),
            published: published(&document),
            first_seen: None,
            flags,
        });
    }
    Ok(RemotePackage { document: text.into(), metadata, versions, tags: Vec::new() })
}

/// A version is yanked when all of its files are; the reason is the first one's.
fn yanked(document: &VersionDocument<'_>) -> Option<Arc<str>> {
    let first = document.files.first()?.yanked.as_deref()?;
    document.files.iter().all(|file| file.yanked.is_some()).then(|| first.into())
}

/// A version came into the world with its first file.
fn published(document: &VersionDocument<'_>) -> Option<Timestamp> {
    let times =
        document.files.iter().filter_map(|file| file.upload_time.as_deref()?.parse::<Timestamp>().ok());
    times.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(body: impl Into<bytes::Bytes>) -> Document {
        Document { body: body.into(), url: "http://index.example.test/simple/weir-demo/".into() }
    }

    fn read_text(body: &str) -> Result<RemotePackage> {
        read(&name::parse("weir-demo").unwrap(), &document(body.to_owned()))
    }

    /// Versions, and of each the names and addresses of its files.
    fn told(remote: &RemotePackage) -> Vec<(String, Vec<(String, String)>)> {
        let files = |version: &RemoteVersion| {
            let document = VersionDocument::read(remote.text(&version.metadata)).unwrap();
            let pair = |file: &File<'_>| (file.filename.to_string(), file.url.to_string());
            document.files.iter().map(pair).collect()
        };
        remote.versions.iter().map(|version| (version.version.to_string(), files(version))).collect()
    }

    const JSON: &str = r#"{"meta": {"api-version": "1.4", "_last-serial": 7}, "name": "Weir_Demo",
        "project-status": {"status": "archived", "reason": "done"}, "versions": ["1.0"],
        "files": [
          {"filename": "weir_demo-1.0.tar.gz", "url": "../../files/weir_demo-1.0.tar.gz", "hashes": {"sha256": "aa"},
           "upload-time": "2024-01-02T03:04:05.678901Z", "yanked": "broken"},
          {"filename": "weir_demo-2.0-py3-none-any.whl", "url": "https://files.example.test/w.whl#sha256=aa", "hashes": {}},
          {"filename": "weir_demo-1.0.0-py3-none-any.whl", "url": "//files.example.test/w.whl", "hashes": {},
           "upload-time": "2024-01-01T00:00:00Z", "yanked": true},
          {"filename": "other-1.0.tar.gz", "url": "x", "hashes": {}},
          {"filename": "weir_demo-3.0.tar.gz", "url": "javascript:alert(1)", "hashes": {}},
          {"filename": "weir_demo-4.0.tar.gz", "url": "file:///etc/passwd", "hashes": {}}
        ]}"#;

    #[test]
    fn a_json_page_is_arranged_by_version() {
        let remote = read_text(JSON).unwrap();
        let expected = [
            (
                "1.0",
                vec![
                    ("weir_demo-1.0.tar.gz", "http://index.example.test/files/weir_demo-1.0.tar.gz"),
                    ("weir_demo-1.0.0-py3-none-any.whl", "http://files.example.test/w.whl"),
                ],
            ),
            ("2.0", vec![("weir_demo-2.0-py3-none-any.whl", "https://files.example.test/w.whl")]),
        ];
        let expected = expected.map(|(version, files)| {
            (
                version.to_owned(),
                files.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect::<Vec<_>>(),
            )
        });
        assert_eq!(told(&remote), expected);
        assert_eq!(remote.text(&remote.metadata), r#"{"status":"archived","reason":"done"}"#);
        let first = &remote.versions[0];
        assert_eq!(first.flags.yanked.as_deref(), Some("broken"));
        assert_eq!(first.published.unwrap().to_string(), "2024-01-01T00:00:00Z");
        assert_eq!((&remote.versions[1].flags.yanked, remote.versions[1].published), (&None, None));
    }

    #[test]
    fn an_html_page_is_read_with_its_attributes() {
        let sha = "ab".repeat(32);
        let page = format!(
            r#"<html><head><base href="/pool/"><meta name="pypi:project-status" content="quarantined"></head>
            <body><a href="weir_demo-1.0-py3-none-any.whl#sha256={sha}" data-requires-python="&gt;=3.8" data-yanked=""
            data-dist-info-metadata="sha256={sha}">x</a><a href="weir_demo-1.0%2Blocal.tar.gz?x=1#md5=zz">y</a>
            <a href="weir_demo-1.1.tar.gz" data-core-metadata="true">z</a><a href="javascript:weir_demo-9.tar.gz">e</a></body>"#
        );
        let remote = read_text(&page).unwrap();
        let told = told(&remote);
        assert_eq!(told[0].1[0].1, "http://index.example.test/pool/weir_demo-1.0-py3-none-any.whl");
        assert_eq!(told[1].1[0].0, "weir_demo-1.0+local.tar.gz");
        assert_eq!(told.len(), 3);
        let first = VersionDocument::read(remote.text(&remote.versions[0].metadata)).unwrap();
        let file = &first.files[0];
        assert_eq!((file.hash("sha256"), file.core_metadata.as_deref()), (Some(&*sha), Some(&*sha)));
        assert_eq!((file.requires_python.as_deref(), file.yanked.as_deref()), (Some(">=3.8"), Some("")));
        assert!(remote.text(&remote.metadata).contains("quarantined"));
    }

    proptest! {
        #[test]
        fn a_damaged_page_is_read_or_refused(at in 0..JSON.len(), byte in 0..128u8, cut in any::<bool>()) {
            let mut page = JSON.as_bytes().to_vec();
            page[at] = byte;
            if cut {
                page.truncate(at);
            }
            if let Ok(remote) = read(&name::parse("weir-demo").unwrap(), &document(page)) {
                for version in &remote.versions {
                    prop_assert!(VersionDocument::read(remote.text(&version.metadata)).is_ok());
                }
            }
        }
    }

    #[test]
    fn an_index_without_files_is_told_from_a_portal() {
        let empty = r#"<!DOCTYPE html><meta name="pypi:repository-version" content="1.0"><h1>Links for weir-demo</h1>"#;
        assert!(read_text(empty).unwrap().versions.is_empty());
        let portal = r#"<html><body><a href="/login">Sign in</a></body></html>"#;
        for (body, word) in [
            (portal, "HTML"),
            ("", "neither"),
            ("[]", "neither"),
            ("{}", "no page of a simple index"),
            (r#"{"meta": {"api-version": "2.0"}, "name": "weir-demo", "files": []}"#, "version '2.0'"),
            (r#"{"meta": {"api-version": "1.0"}, "name": "other", "files": []}"#, "another project"),
            (r#"{"meta": {"api-version": "1.0"}, "name": "weir-demo", "files": 3}"#, "no page"),
            (r#"<meta name="pypi:repository-version" content="2.0">"#, "version '2.0'"),
        ] {
            let error = read_text(body).unwrap_err();
            assert!(
                matches!(error, Error::BadUpstream { .. }) && error.to_string().contains(word),
                "{error}"
            );
        }
        assert!(read(&name::parse("x").unwrap(), &document(&b"\xff\xfe"[..])).is_err());
    }
}
