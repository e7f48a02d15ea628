//! What a `PUT` of a package document means: a new version, changed deprecations, or something Weir does
//! not do (pure; the handlers are in `write`).

use crate::document::deprecation;
use crate::packument::FROM_LATEST;
use crate::provenance::Bundle;
use crate::{agreement, name, tarball, version};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use weir_core::digest::Expected;
use weir_core::name::shown;
use weir_core::verdict::Decision;
use weir_core::{Digests, Error, Flags, PackageName, Result, Version};
use weir_protocol::RawObject;

/// What a document asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A new version.
    Publish,
    /// Other deprecation texts.
    Deprecate,
    /// Nothing Weir does; the word is the command's.
    Unsupported(&'static str),
}

/// Tells what a document asks for. One whose attachment has no data is a publish that fails, not a
/// deprecation that does nothing.
pub(crate) fn wish(document: &RawObject<'_>) -> Wish {
    if document.get_object("_attachments").is_some_and(|attachments| !attachments.is_empty()) {
        Wish::Publish
    } else if document.contains("versions") {
        Wish::Deprecate
    } else if document.contains("maintainers") {
        Wish::Unsupported("owner add and rm")
    } else {
        Wish::Unsupported("star")
    }
}

/// The part of a publish that its document alone tells.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The version.
    pub(crate) version: Version,
    /// Its manifest as sent.
    pub(crate) manifest: RawObject<'a>,
    /// Tags to be set on it.
    pub(crate) tags: Vec<String>,
    /// Which attachment is the tarball.
    pub(crate) tarball: usize,
    /// Which attachment is the provenance bundle, if one came.
    pub(crate) bundle: Option<usize>,
    /// How many bytes the document says the tarball has.
    pub(crate) length: Option<u64>,
}

/// Finds the version that a document publishes; the names are those of its attachments. A client that met
/// a conflict sends all other versions along, so the tarball's name tells which is meant.
pub(crate) fn draft<'a>(
    package: &PackageName,
    document: &'a RawObject<'_>,
    attachments: &[&str],
) -> Result<Draft<'a>> {
    let full = name::full(package);
    let said = document.get_str("name").unwrap_or_default();
    if said != full {
        return Err(Error::invalid(
            "name",
            format_args!("is '{}' in the document and '{full}' in the path", shown(&said)),
        ));
    }
    let bundles = |name: &&str| name.ends_with(".sigstore");
    let bundle = attachments.iter().position(&bundles);
    let tarballs: Vec<usize> = (0..attachments.len()).filter(|at| !bundles(&attachments[*at])).collect();
    let ([tarball], true) = (&*tarballs, attachments.iter().filter(|name| bundles(name)).count() <= 1) else {
        return Err(Error::invalid(
            "_attachments",
            "must hold one tarball and may hold one provenance bundle",
        ));
    };
    let versions: BTreeMap<String, &'a RawValue> = document
        .get("versions")
        .and_then(|value| serde_json::from_str(value.get()).ok())
        .ok_or_else(|| Error::invalid("versions", "must be an object with the version that is published"))?;
    let tarball_name = attachments[*tarball];
    let is_named = |number: &str| {
        [full.as_str(), &package.name].iter().any(|prefix| tarball_name == format!("{prefix}-{number}.tgz"))
    };
    let found = match versions.len() {
        1 => versions.first_key_value(),
        _ => versions.iter().find(|(number, _)| is_named(number)),
    };
    let Some((number, manifest)) = found else {
        let name = shown(tarball_name);
        return Err(Error::invalid(
            "_attachments",
            format_args!("'{name}' is the tarball of none of the versions"),
        ));
    };
    if semver::Version::parse(number).is_err() {
        return Err(Error::invalid("version", format_args!("'{}' is not a semantic version", shown(number))));
    }
    let manifest: RawObject<'a> = serde_json::from_str(manifest.get())
        .map_err(|_| Error::invalid("versions", format_args!("'{number}' is not an object")))?;
    for (field, expected) in [("name", &full), ("version", number)] {
        if manifest.get_str(field).as_deref() != Some(expected.as_str()) {
            return Err(Error::invalid(field, format_args!("of the manifest must be '{expected}'")));
        }
    }
    let tags = tags(document, number)?;
    let described = document.get_object("_attachments").unwrap_or_default();
    let described = described.get_object(tarball_name).unwrap_or_default();
    let length = described.get("length").and_then(|length| serde_json::from_str(length.get()).ok());
    Ok(Draft { version: Version::verbatim(number)?, manifest, tags, tarball: *tarball, bundle, length })
}

/// What is stored of a publish.
#[derive(Debug)]
pub(crate) struct Complete {
    /// The manifest.
    pub(crate) manifest: String,
    /// Package-level members, when the version is to be `latest`.
    pub(crate) package_metadata: Option<String>,
    /// Flags it is published with.
    pub(crate) flags: Flags,
}

/// The file that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    /// What it says of itself.
    pub(crate) contents: &'a tarball::Contents,
    /// Its digests.
    pub(crate) digests: &'a Digests,
    /// In bytes.
    pub(crate) size: u64,
}

/// Holds the draft against its tarball and makes what is stored: `dist` tells what the file really is, and
/// who published is named where the document names nobody.
pub(crate) fn complete(
    package: &PackageName,
    document: &RawObject<'_>,
    mut draft: Draft<'_>,
    file: File<'_>,
    bundle: Option<&Bundle>,
    publisher: &str,
) -> Result<Complete> {
    let manifest: Map<String, Value> = serde_json::from_str(&draft.manifest.to_json())
        .map_err(|_| Error::cannot_parse("the manifest is nested too deep"))?;
    agreement::check(&manifest, file.contents)?;
    if let Some(length) = draft.length.filter(|length| *length != file.size) {
        let size = file.size;
        let rule = format_args!("is {length} in the document, and the tarball has {size} bytes");
        return Err(Error::invalid("length", rule));
    }
    let sent = draft.manifest.get_object("dist").unwrap_or_default();
    check_digests(&sent, file)?;
    let dist = dist(package, &draft.version, &sent, file, bundle)?.to_json();
    draft.manifest.set("dist", Cow::Owned(raw(dist)?));
    let names_nobody = |value: Option<&Value>| value.and_then(Value::as_array).is_none_or(Vec::is_empty);
    if names_nobody(manifest.get("maintainers")) {
        draft.manifest.set_value("maintainers", &json!([{ "name": publisher, "email": "" }]))?;
    }
    // What an installation acts on is told by the file, never by its publisher: packuments say whether there
    // are install scripts from the scripts, which were compared above.
    draft.manifest.remove("hasInstallScript");
    draft.manifest.remove("_hasShrinkwrap");
    if file.contents.has_shrinkwrap {
        draft.manifest.set_value("_hasShrinkwrap", &true)?;
    }
    if let (None, Some(readme)) = (readme(&draft.manifest), &file.contents.readme) {
        draft.manifest.set_value("readme", readme)?;
    }
    let deprecated = draft.manifest.remove("deprecated").and_then(|value| deprecation(&value));
    let package_metadata =
        draft.tags.iter().any(|tag| tag == "latest").then(|| package_members(document, &draft.manifest));
    let flags = Flags { deprecated, ..Flags::default() };
    Ok(Complete { manifest: draft.manifest.to_json(), package_metadata, flags })
}

/// The readme of a manifest or document; npm writes a sentence where there is none.
pub(crate) fn readme(object: &RawObject<'_>) -> Option<String> {
    let text = object.get_str("readme")?;
    (!text.trim().is_empty() && text != "ERROR: No README data found!").then(|| text.into_owned())
}

/// The deprecations that a document changes: versions (normal forms) with their new flags.
pub(crate) fn deprecations(document: &RawObject<'_>, decisions: &[Decision]) -> Vec<(String, Flags)> {
    #[derive(Deserialize)]
    struct Manifest<'a> {
        #[serde(borrow, default)]
        deprecated: Option<&'a RawValue>,
    }
    let versions = document.get_object("versions").unwrap_or_default();
    let changes = versions.iter().filter_map(|(number, manifest)| {
        let known = decisions.binary_search_by(|decision| (*decision.key).cmp(number)).ok()?;
        let manifest: Manifest<'_> = serde_json::from_str(manifest.get()).ok()?;
        let deprecated = manifest.deprecated.and_then(deprecation);
        let flags = &decisions[known].flags;
        (deprecated != flags.deprecated).then(|| (number.to_owned(), Flags { deprecated, ..flags.clone() }))
    });
    changes.collect()
}

/// The versions (normal forms) of `listed` that a document no longer has.
pub(crate) fn removed<'a>(
    document: &RawObject<'_>,
    listed: impl Iterator<Item = &'a Decision>,
) -> Vec<&'a Decision> {
    let versions = document.get_object("versions").unwrap_or_default();
    let kept: HashSet<&str> = versions.iter().map(|(number, _)| number).collect();
    listed.filter(|decision| !kept.contains(&*decision.key)).collect()
}

fn tags(document: &RawObject<'_>, number: &str) -> Result<Vec<String>> {
    let tags = document.get_object("dist-tags").unwrap_or_default();
    let own = tags
        .iter()
        .filter(|(_, value)| serde_json::from_str::<String>(value.get()).is_ok_and(|v| v == number));
    own.map(|(tag, _)| check_tag(tag).map(|()| tag.to_owned())).collect()
}

/// A tag that npm would take for a version or range is refused.
pub(crate) fn check_tag(tag: &str) -> Result<()> {
    if version::is_tag(tag) {
        return Ok(());
    }
    Err(Error::invalid(
        "tag",
        format_args!("'{}' reads as a version or range, or holds a character no tag may", shown(tag)),
    ))
}

fn check_digests(dist: &RawObject<'_>, file: File<'_>) -> Result<()> {
    let mut expected = Expected::default();
    if let Some(integrity) = dist.get_str("integrity") {
        expected.add_integrity(&integrity);
    }
    let shasum = dist.get_str("shasum").filter(|text| !text.eq_ignore_ascii_case(&hex(&file.digests.sha1)));
    let differs = match (expected.mismatch(file.digests, file.size), shasum) {
        (Some(what), _) => what,
        (None, Some(text)) => {
            format!("SHA-1 is {} where {} was promised", hex(&file.digests.sha1), shown(&text))
        }
        (None, None) => return Ok(()),
    };
    Err(Error::invalid("dist", format_args!("the tarball is not the one the document describes: {differs}")))
}

/// `dist` as this registry vouches for it; signatures and addresses of other registries say nothing here.
fn dist<'a>(
    package: &PackageName,
    version: &Version,
    sent: &RawObject<'a>,
    file: File<'_>,
    bundle: Option<&Bundle>,
) -> Result<RawObject<'a>> {
    let mut dist = sent.clone();
    let foreign = ["tarball", "integrity", "shasum", "signatures", "attestations", "npm-signature"];
    dist.retain(|key, _| !foreign.contains(&key));
    dist.set_value("integrity", &file.digests.integrity())?;
    dist.set_value("shasum", &hex(&file.digests.sha1))?;
    if let Some(bundle) = bundle {
        let url = format!("-/npm/v1/attestations/{}@{version}", name::full(package));
        dist.set_value(
            "attestations",
            &json!({ "url": url, "provenance": { "predicateType": bundle.predicate_type } }),
        )?;
    }
    Ok(dist)
}

/// The document's own members without those that change with every version, and the usual ones from the
/// manifest where the document has none.
fn package_members(document: &RawObject<'_>, manifest: &RawObject<'_>) -> String {
    let mut members = document.clone();
    members.retain(|key, value| {
        let changing = crate::packument::RENDERED.contains(&key) || ["access", "users"].contains(&key);
        !changing && value.get() != "null"
    });
    if readme(&members).is_none() {
        members.remove("readme");
    }
    for key in FROM_LATEST {
        if let (false, Some(value)) = (members.contains(key), manifest.get(key)) {
            members.set(*key, Cow::Owned(value.to_owned()));
        }
    }
    members.to_json()
}

fn raw(json: String) -> Result<Box<RawValue>> {
    RawValue::from_string(json).map_err(Error::internal)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::verdict::{Outcome, Source};
    use weir_core::{Hasher, PublishTime, TimeSource};

    const BYTES: &[u8] = b"tarball";

    fn package() -> PackageName {
        name::parse_full("@acme/widget").unwrap()
    }

    fn digests() -> Digests {
        let mut hasher = Hasher::new();
        hasher.update(BYTES);
        hasher.finish()
    }

    fn document(manifest: &str) -> String {
        format!(
            r#"{{"_id": "@acme/widget", "name": "@acme/widget", "description": "d", "access": null,
                "dist-tags": {{"latest": "1.0.0", "other": "0.9.0"}},
                "versions": {{"0.9.0": {{}}, "1.0.0": {manifest}}}, "_attachments": {{}}}}"#
        )
    }

    fn publish(text: &str, held: Value, attachments: &[&str]) -> Result<Complete> {
        let document = RawObject::parse("document", text.as_bytes())?;
        let draft = draft(&package(), &document, attachments)?;
        let contents = tarball::Contents {
            manifest: held.as_object().unwrap().clone(),
            readme: Some("# widget".into()),
            ..tarball::Contents::default()
        };
        let file = File { contents: &contents, digests: &digests(), size: BYTES.len() as u64 };
        complete(&package(), &document, draft, file, None, "ann")
    }

    #[test]
    fn a_publish_is_stored_with_what_its_file_really_is() {
        let manifest = r#"{"name": "@acme/widget", "version": "1.0.0", "x": 1.50, "readme": "ERROR: No README data found!",
            "dist": {"tarball": "http://evil.test/x", "signatures": [], "attestations": {"url": "http://evil.test"}, "fileCount": 3}}"#;
        let held = json!({"name": "@acme/widget", "version": "1.0.0"});
        let stored = publish(&document(manifest), held, &["@acme/widget-1.0.0.tgz"]).unwrap();
        assert!(
            stored.manifest.contains(r#""x":1.50"#),
            "unknown members stay as written: {}",
            stored.manifest
        );
        let manifest: Value = serde_json::from_str(&stored.manifest).unwrap();
        let shasum = hex(&digests().sha1);
        assert_eq!(
            manifest["dist"],
            json!({"fileCount": 3, "integrity": digests().integrity(), "shasum": shasum})
        );
        assert_eq!(manifest["maintainers"], json!([{"name": "ann", "email": ""}]));
        assert_eq!(manifest["readme"], "# widget");
        let members: Value = serde_json::from_str(&stored.package_metadata.unwrap()).unwrap();
        assert_eq!(
            members,
            json!({"description": "d", "readme": "# widget", "maintainers": [{"name": "ann", "email": ""}]})
        );
        assert_eq!(stored.flags, Flags::default());
    }

    #[test]
    fn only_tags_of_the_version_are_set() {
        let text = document(r#"{"name": "@acme/widget", "version": "1.0.0"}"#);
        let document = RawObject::parse("document", text.as_bytes()).unwrap();
        let draft =
            draft(&package(), &document, &["widget-1.0.0.tgz", "@acme/widget-1.0.0.sigstore"]).unwrap();
        assert_eq!(draft.tags, ["latest"]);
        assert_eq!((draft.tarball, draft.bundle), (0, Some(1)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_field() {
        let good = r#"{"name": "@acme/widget", "version": "1.0.0"}"#;
        let held = json!({"name": "@acme/widget", "version": "1.0.0"});
        let file = "@acme/widget-1.0.0.tgz";
        let cases: [(String, &[&str], &str); 10] = [
            (document(good).replacen("\"name\": \"@acme/widget\"", "\"name\": \"x\"", 1), &[file], "name"),
            (document(good), &[], "_attachments"),
            (document(good), &[file, "@acme/widget-0.9.0.tgz"], "_attachments"),
            (document(good), &["x.sigstore", "y.sigstore", file], "_attachments"),
            (document(good), &["widget-2.0.0.tgz"], "_attachments"),
            (document("[]"), &[file], "versions"),
            (document(r#"{"name": "@acme/widget", "version": "1.0.1"}"#), &[file], "version"),
            (document(good).replace("1.0.0", "1.0"), &["widget-1.0.tgz"], "version"),
            (document(good).replace("\"latest\"", "\"^1\""), &[file], "tag"),
            (
                document(r#"{"name": "@acme/widget", "version": "1.0.0", "dist": {"shasum": "00"}}"#),
                &[file],
                "dist",
            ),
        ];
        for (text, attachments, field) in cases {
            let error = publish(&text, held.clone(), attachments).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}:")), "{field}: {error}");
        }
        let error =
            publish(&document(good), json!({"name": "@acme/other"}), &[file]).unwrap_err().to_string();
        assert!(error.contains("manifest confusion: 'name'"), "{error}");
    }

    #[test]
    fn the_wish_is_read_from_what_the_document_has() {
        let cases = [
            (r#"{"versions": {}, "_attachments": {"x.tgz": {}}}"#, Wish::Publish),
            (r#"{"versions": {}, "_attachments": {}}"#, Wish::Deprecate),
            (r#"{"versions": {}, "users": {}}"#, Wish::Deprecate),
            (r#"{"_id": "x", "_rev": "1", "users": {}}"#, Wish::Unsupported("star")),
            (r#"{"_id": "x", "maintainers": []}"#, Wish::Unsupported("owner add and rm")),
        ];
        for (text, expected) in cases {
            let document = RawObject::parse("document", text.as_bytes()).unwrap();
            assert_eq!(wish(&document), expected, "{text}");
        }
    }

    fn decision(key: &str, deprecated: Option<&str>) -> Decision {
        Decision {
            key: key.into(),
            text: key.into(),
            source: Source::Held { node: 0, version: 0 },
            outcome: Outcome::Offered { listed: true },
            time: PublishTime { at: "2024-01-01T00:00:00Z".parse().unwrap(), source: TimeSource::Published },
            flags: Flags { deprecated: deprecated.map(Into::into), ..Flags::default() },
        }
    }

    #[test]
    fn only_changed_deprecations_count() {
        let decisions =
            [decision("1.0.0", None), decision("1.1.0", Some("old")), decision("1.2.0", Some("same"))];
        let text = r#"{"versions": {"1.0.0": {"deprecated": "new"}, "1.1.0": {"deprecated": ""},
                       "1.2.0": {"deprecated": "same"}, "9.0.0": {"deprecated": "unknown"}}}"#;
        let document = RawObject::parse("document", text.as_bytes()).unwrap();
        let changes = deprecations(&document, &decisions);
        let changes: Vec<_> = changes.iter().map(|(v, f)| (v.as_str(), f.deprecated.as_deref())).collect();
        assert_eq!(changes, [("1.0.0", Some("new")), ("1.1.0", None)]);
    }

    #[test]
    fn versions_missing_from_the_document_are_removed() {
        let decisions = [decision("1.0.0", None), decision("1.1.0", None)];
        let document = RawObject::parse("document", br#"{"versions": {"1.1.0": {}}}"#).unwrap();
        let removed = removed(&document, decisions.iter());
        assert_eq!(removed.iter().map(|d| &*d.key).collect::<Vec<_>>(), ["1.0.0"]);
    }
}
