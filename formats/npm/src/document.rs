//! A public registry's package document (the full packument), read once: versions as ranges into it.

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use weir_core::{Error, Flags, PackageName, Result, Timestamp, Version};
use weir_protocol::RawObject;
use weir_registry::format::{RemotePackage, RemoteVersion};

/// Reads what a public registry answered for `package`. A version that cannot be served (a number that is
/// none, no tarball) is passed over. Errors: BadUpstream for anything but a package document of that name.
pub(crate) fn read(package: &PackageName, document: Bytes) -> Result<RemotePackage> {
    let wrong = |what: &str| {
        let name = crate::name::full(package);
        Error::bad_upstream(format!(
            "the public registry answered the request for npm package {name} with {what}"
        ))
    };
    match document.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(b'<') => return Err(wrong("HTML instead of a package document")),
        // Arrays, too: `Facts` would take one by the order of its members.
        _ => return Err(wrong("something that is not a JSON object")),
    }
    // Nearly all of it is its versions, so they are read on the first pass where they are what they should be.
    let facts = serde_json::from_slice(&document).or_else(|_| Facts::of_any_object(&document));
    let facts = facts.map_err(|_| wrong("something that is not a JSON object"))?;
    let name = facts.name.and_then(text).or_else(|| facts.id.and_then(text));
    if name.is_some_and(|name| name != crate::name::full(package)) {
        return Err(wrong("the document of another package"));
    }
    if facts.versions.is_none() && facts.time.is_none() {
        return Err(wrong("a JSON object that is not a package document"));
    }
    let times = facts.time.flatten().unwrap_or_default();
    let times: HashMap<&str, &str> = times.iter().map(|(version, time)| (version, time.get())).collect();
    let mut versions = Vec::new();
    for (number, manifest) in facts.versions.flatten().unwrap_or_default().iter() {
        match read_version(number, manifest, times.get(number).copied(), &document) {
            Some(version) => versions.push(version),
            None => {
                tracing::debug!(package = %package, version = number, "a public version cannot be served")
            }
        }
    }
    let tags = read_tags(&facts.tags.flatten().unwrap_or_default(), &versions);
    let whole = 0..document.len();
    Ok(RemotePackage { metadata: whole, versions, tags, document })
}

/// What deprecates a version: a text; `true` stands for one that says nothing.
pub(crate) fn deprecation(value: &RawValue) -> Option<Arc<str>> {
    match value.get() {
        "true" => Some("this version is deprecated".into()),
        text if text.starts_with('"') => {
            serde_json::from_str::<String>(text).ok().filter(|t| !t.is_empty()).map(Arc::from)
        }
        _ => None,
    }
}

/// What is read of a document. A member that is there and no object is `Some(None)`.
#[derive(Deserialize)]
struct Facts<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_id")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "dist-tags", deserialize_with = "present")]
    tags: Option<Option<RawObject<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    versions: Option<Option<RawObject<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    time: Option<Option<RawObject<'a>>>,
}

impl<'a> Facts<'a> {
    /// Of a document with repeated members, or others in place of objects.
    fn of_any_object(document: &'a [u8]) -> Result<Self, serde_json::Error> {
        let members: HashMap<String, &'a RawValue> = serde_json::from_slice(document)?;
        let object = |key: &str| members.get(key).map(|value| serde_json::from_str(value.get()).ok());
        Ok(Self {
            name: members.get("name").copied(),
            id: members.get("_id").copied(),
            tags: object("dist-tags"),
            versions: object("versions"),
            time: object("time"),
        })
    }
}

/// A member that is there, be it `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<RawObject<'de>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[derive(Deserialize)]
struct Manifest<'a> {
    #[serde(borrow, default)]
    deprecated: Option<&'a RawValue>,
    #[serde(borrow)]
    dist: Dist<'a>,
}

#[derive(Deserialize)]
struct Dist<'a> {
    #[serde(borrow)]
    tarball: Cow<'a, str>,
}

fn read_version(
    number: &str,
    manifest: &RawValue,
    time: Option<&str>,
    document: &Bytes,
) -> Option<RemoteVersion> {
    let version = Version::verbatim(number).ok()?;
    let facts: Manifest<'_> = serde_json::from_str(manifest.get()).ok()?;
    if !["http://", "https://"].iter().any(|scheme| facts.dist.tarball.starts_with(scheme)) {
        return None;
    }
    let flags = Flags { deprecated: facts.deprecated.and_then(deprecation), ..Flags::default() };
    let published = time.and_then(|text| text.trim_matches('"').parse::<Timestamp>().ok());
    Some(RemoteVersion {
        version,
        metadata: range_within(document, manifest.get()),
        published,
        first_seen: None,
        flags,
    })
}

/// Where in the document a text borrowed from it stands.
fn range_within(document: &Bytes, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - document.as_ptr() as usize;
    start..start + part.len()
}

fn read_tags(tags: &RawObject<'_>, versions: &[RemoteVersion]) -> Vec<(Arc<str>, Arc<str>)> {
    let known: HashSet<&str> = versions.iter().map(|v| v.version.as_str()).collect();
    let pairs = tags.iter().filter_map(|(tag, version)| {
        let version: String = serde_json::from_str(version.get()).ok()?;
        known.contains(&*version).then(|| (Arc::from(tag), Arc::from(version)))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
        "_id": "widget", "name": "widget", "dist-tags": {"latest": "2.0.0", "lost": "9.9.9", "odd": 3},
        "versions": {
            "1.0.0": {"name": "widget", "version": "1.0.0", "deprecated": "use 2", "x": [[[{}]]],
                      "dist": {"tarball": "https:\/\/example.test\/widget-1.0.0.tgz"}},
            "2.0.0": {"version": "2.0.0", "deprecated": "", "dist": {"tarball": "https://example.test/w.tgz"}},
            "3.0.0": {"deprecated": true, "dist": {"tarball": "http://example.test/w3.tgz"}},
            "4.0.0": {"deprecated": false, "dist": {"tarball": "http://example.test/w4.tgz"}},
            "5.0.0": {"version": "no dist"},
            "6.0.0": {"dist": {"tarball": "file:///etc/passwd"}},
            "7/0": {"dist": {"tarball": "http://example.test/w7.tgz"}},
            "8.0.0": null
        },
        "time": {"created": "2020-01-01T00:00:00.000Z", "1.0.0": "2020-01-01T00:00:00.123Z", "2.0.0": "soon"}
    }"#;

    fn package() -> PackageName {
        crate::name::parse_full("widget").unwrap()
    }

    #[test]
    fn versions_are_ranges_into_the_document() {
        let remote = read(&package(), Bytes::from_static(DOCUMENT.as_bytes())).unwrap();
        let numbers: Vec<_> = remote.versions.iter().map(|v| v.version.as_str()).collect();
        assert_eq!(numbers, ["1.0.0", "2.0.0", "3.0.0", "4.0.0"]);
        let first = &remote.versions[0];
        assert!(remote.text(&first.metadata).starts_with(r#"{"name": "widget", "version": "1.0.0""#));
        assert_eq!(first.published.unwrap().to_string(), "2020-01-01T00:00:00.123Z");
        assert_eq!(remote.versions[1].published, None);
        let deprecated: Vec<_> = remote.versions.iter().map(|v| v.flags.deprecated.as_deref()).collect();
        assert_eq!(deprecated, [Some("use 2"), None, Some("this version is deprecated"), None]);
        assert_eq!(remote.tags, [("latest".into(), "2.0.0".into())]);
        assert_eq!(remote.text(&remote.metadata), DOCUMENT);
    }

    #[test]
    fn what_is_no_package_document_is_the_registrys_fault() {
        let cases = [
            "",
            "  <!doctype html><title>Sign in</title>",
            "[]",
            r#"["widget", null, {}, {"1.0.0": {"dist": {"tarball": "http://example.test/w.tgz"}}}, {}]"#,
            r#" ["widget", "widget", {}, {}, {}]"#,
            "null",
            "{",
            "\u{feff}{}",
            "{}",
            r#"{"error": "not found"}"#,
            r#"{"name": "other", "versions": {}}"#,
        ];
        for text in cases {
            let result = read(&package(), Bytes::from_static(text.as_bytes()));
            assert!(matches!(result, Err(Error::BadUpstream { .. })), "{text}");
        }
        assert!(matches!(
            read(&package(), Bytes::from_static(b"{\"a\":\"\xff\"}")),
            Err(Error::BadUpstream { .. })
        ));
    }

    #[test]
    fn a_package_whose_versions_were_all_removed_has_none() {
        let text = r#"{"name": "widget", "time": {"unpublished": {"versions": ["1.0.0"]}}}"#;
        assert!(read(&package(), Bytes::from_static(text.as_bytes())).unwrap().versions.is_empty());
    }

    #[test]
    fn members_that_are_null_hold_nothing() {
        for text in [
            r#"{"name": "widget", "versions": null}"#,
            r#"{"name": null, "_id": "widget", "dist-tags": null, "versions": null, "time": null}"#,
            "\n\t{\"time\": null}",
            r#"{"name": "widget", "versions": null, "time": []}"#,
        ] {
            let remote = read(&package(), Bytes::from_static(text.as_bytes())).unwrap();
            assert!(remote.versions.is_empty() && remote.tags.is_empty(), "{text}");
        }
    }

    #[test]
    fn ten_thousand_versions_take_no_more_than_linear_time() {
        let versions = (0..10_000)
            .map(|n| format!(r#""1.0.{n}": {{"dist": {{"tarball": "http://example.test/{n}.tgz"}}}}"#))
            .collect::<Vec<_>>()
            .join(",");
        let text = format!(r#"{{"name": "widget", "versions": {{{versions}}}}}"#);
        assert_eq!(read(&package(), text.into()).unwrap().versions.len(), 10_000);
    }
}
