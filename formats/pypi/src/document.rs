//! The document of one version: its files, each with what an index says of it (PEP 691), and what core
//! metadata tells. A public registry's page is arranged into such documents, one behind the other; of a hosted
//! version it is written when its files are published.
//!
//! Members of a file whose names begin with `weir:` are Weir's own and are taken from no one else.

use crate::core_metadata::Info;
use crate::file_name;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use weir_core::error::Resource;
use weir_core::{Error, PackageName, Result};

/// SHA-256 of the metadata found in the file itself, in hex.
const OWN_METADATA: &str = "weir:metadata-sha256";
/// Whether its provenance is kept beside it.
const OWN_PROVENANCE: &str = "weir:provenance";

/// A version's document.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct VersionDocument<'a> {
    /// Its files, in the order in which they came.
    #[serde(borrow, default)]
    pub(crate) files: Vec<File<'a>>,
    /// What core metadata tells, once a file was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<Info>,
}

/// A file as an index describes it. Members of other names pass through as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct File<'a> {
    /// Its name.
    pub(crate) filename: Cow<'a, str>,
    /// Where it lies, absolute; empty of a hosted one.
    pub(crate) url: Cow<'a, str>,
    /// Algorithm and lower-case hex.
    pub(crate) hashes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// `Requires-Python`.
    pub(crate) requires_python: Option<Cow<'a, str>>,
    /// In bytes.
    pub(crate) size: Option<u64>,
    /// When it was published, as written.
    pub(crate) upload_time: Option<Cow<'a, str>>,
    /// Why it is yanked, possibly empty (PEP 592).
    pub(crate) yanked: Option<Cow<'a, str>>,
    /// SHA-256 of the `.metadata` that its registry promises, in hex (PEP 714).
    pub(crate) core_metadata: Option<Cow<'a, str>>,
    /// Where its registry keeps its provenance, absolute (PEP 740).
    pub(crate) provenance: Option<Cow<'a, str>>,
    /// SHA-256 of the metadata found in the file itself, in hex.
    pub(crate) own_metadata: Option<Cow<'a, str>>,
    /// Whether its provenance is kept beside it.
    pub(crate) own_provenance: bool,
    /// What else its index says.
    pub(crate) others: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> VersionDocument<'a> {
    /// Reads a document that Weir wrote. Errors: Internal.
    pub(crate) fn read(text: &'a str) -> Result<Self> {
        serde_json::from_str(text).map_err(Error::internal)
    }

    /// The document as it is stored.
    pub(crate) fn write(&self) -> Result<String> {
        serde_json::to_string(self).map_err(Error::internal)
    }

    /// The file of that name.
    pub(crate) fn file(&self, name: &str) -> Option<&File<'a>> {
        self.files.iter().find(|file| file.filename == name)
    }

    /// With the files of another, newer document of the same version. What is said here stays, but for where
    /// files lie; what the other says beside that is added. Metadata of a wheel goes before that of a source distribution.
    pub(crate) fn merged(mut self, other: VersionDocument<'a>) -> Self {
        let mut places: HashMap<Cow<'a, str>, usize> = HashMap::new();
        for (at, file) in self.files.iter().enumerate() {
            places.insert(file.filename.clone(), at);
        }
        for file in other.files {
            match places.get(&file.filename) {
                Some(at) => self.files[*at].complete(file),
                None => self.files.push(file),
            }
        }
        self.info = match (self.info, other.info) {
            (Some(here), Some(there)) if there.from_wheel && !here.from_wheel => Some(there),
            (here, there) => here.or(there),
        };
        self
    }

    /// Refuses a file that is another's in a different spelling of the same name: clients could not tell which
    /// they get. Errors: Conflict.
    pub(crate) fn check_spelling(&self, package: &PackageName, new: &VersionDocument<'_>) -> Result<()> {
        // Both are of one version, so what is left of a name tells its files apart.
        let rest = |file: &str| Some(file_name::read(package, file)?.rest.to_ascii_lowercase());
        let held: HashMap<String, &str> =
            self.files.iter().filter_map(|file| Some((rest(&file.filename)?, &*file.filename))).collect();
        for file in &new.files {
            let other = rest(&file.filename).and_then(|rest| held.get(&rest));
            if let Some(other) = other.filter(|other| **other != file.filename) {
                return Err(Error::conflict(
                    Resource::Asset,
                    &*file.filename,
                    format!("{} already exists in another spelling, as {other}", file.filename),
                ));
            }
        }
        Ok(())
    }
}

impl<'a> File<'a> {
    /// The digest of that algorithm, in hex.
    pub(crate) fn hash(&self, algorithm: &str) -> Option<&str> {
        self.hashes.iter().find(|(name, _)| name == algorithm).map(|(_, hex)| &**hex)
    }

    /// Takes over what is not said here yet, and where things lie now.
    fn complete(&mut self, other: File<'a>) {
        let File { url, hashes, requires_python, size, upload_time, core_metadata, provenance, .. } = other;
        if !url.is_empty() {
            self.url = url;
        }
        for (name, hex) in hashes {
            if self.hash(&name).is_none() {
                self.hashes.push((name, hex));
            }
        }
        self.requires_python = self.requires_python.take().or(requires_python);
        self.size = self.size.or(size);
        self.upload_time = self.upload_time.take().or(upload_time);
        self.core_metadata = core_metadata.or(self.core_metadata.take());
        self.provenance = provenance.or(self.provenance.take());
        self.own_metadata = self.own_metadata.take().or(other.own_metadata);
        self.own_provenance |= other.own_provenance;
        for (key, value) in other.others {
            if !self.others.iter().any(|(known, _)| *known == key) {
                self.others.push((key, value));
            }
        }
    }
}

impl Serialize for File<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("filename", &self.filename)?;
        if !self.url.is_empty() {
            map.serialize_entry("url", &self.url)?;
        }
        map.serialize_entry("hashes", &Hashes(&self.hashes))?;
        self.serialize_facts(&mut map)?;
        if let Some(reason) = &self.yanked {
            map.serialize_entry("yanked", reason)?;
        }
        if let Some(sha256) = &self.core_metadata {
            map.serialize_entry("core-metadata", sha256)?;
        }
        if let Some(url) = &self.provenance {
            map.serialize_entry("provenance", url)?;
        }
        if let Some(sha256) = &self.own_metadata {
            map.serialize_entry(OWN_METADATA, sha256)?;
        }
        if self.own_provenance {
            map.serialize_entry(OWN_PROVENANCE, &true)?;
        }
        map.end()
    }
}

impl File<'_> {
    /// What stands in a document and on a page alike.
    pub(crate) fn serialize_facts<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if let Some(requirement) = &self.requires_python {
            map.serialize_entry("requires-python", requirement)?;
        }
        if let Some(size) = self.size {
            map.serialize_entry("size", &size)?;
        }
        if let Some(time) = &self.upload_time {
            map.serialize_entry("upload-time", time)?;
        }
        for (key, value) in &self.others {
            let value: &RawValue = serde_json::from_str(value).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(key, value)?;
        }
        Ok(())
    }
}

/// Pairs as a JSON object.
pub(crate) struct Hashes<'h, 'a>(pub(crate) &'h [(Cow<'a, str>, Cow<'a, str>)]);

impl Serialize for Hashes<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, hex)| (name, hex)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for File<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor { own: true })
    }
}

/// A file on somebody else's page: the same members, but for Weir's own; what is of a wrong kind is passed
/// over.
#[derive(Debug, Clone, Default)]
pub(crate) struct ForeignFile<'a>(pub(crate) File<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for ForeignFile<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor { own: false }).map(Self)
    }
}

struct FileVisitor {
    own: bool,
}

impl<'de> Visitor<'de> for FileVisitor {
    type Value = File<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file of a simple index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File<'de>, A::Error> {
        let mut file = File::default();
        while let Some((Text(key), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            match &*key {
                "filename" => file.filename = text(value).unwrap_or_default(),
                "url" => file.url = text(value).unwrap_or_default(),
                "hashes" => file.hashes = hashes(value),
                "requires-python" => file.requires_python = text(value).filter(|text| !text.is_empty()),
                "size" => file.size = serde_json::from_str(value.get()).ok(),
                "upload-time" => file.upload_time = text(value),
                "yanked" => file.yanked = yanked(value),
                "core-metadata" => file.core_metadata = sha256(value).or(file.core_metadata),
                "dist-info-metadata" | "data-dist-info-metadata" if !self.own => {
                    file.core_metadata = file.core_metadata.or_else(|| sha256(value));
                }
                "provenance" => file.provenance = text(value),
                OWN_METADATA if self.own => file.own_metadata = text(value),
                OWN_PROVENANCE if self.own => file.own_provenance = value.get() == "true",
                own if own.starts_with("weir:") => {}
                // Signatures lie beside files and are served by nobody any more.
                "gpg-sig" => {}
                _ => file.others.push((key, Cow::Borrowed(value.get()))),
            }
        }
        if file.filename.is_empty() && self.own {
            return Err(de::Error::missing_field("filename"));
        }
        Ok(file)
    }
}

/// A key or text, borrowed where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

fn yanked(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get() {
        "true" => Some(Cow::Borrowed("")),
        _ => text(value),
    }
}

/// `{"sha256": HEX}`, or in Weir's own documents the digits alone.
fn sha256(value: &RawValue) -> Option<Cow<'_, str>> {
    let found = match value.get().starts_with('{') {
        true => hashes(value).into_iter().find(|(name, _)| name == "sha256").map(|(_, hex)| hex),
        false => text(value),
    };
    found.filter(|hex| hex.len() == 64 && is_hex(hex))
}

/// The digests of algorithms whose names and values look like such; in lower case.
fn hashes(value: &RawValue) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let pairs: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    let mut found: Vec<_> = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name, text(value)?)))
        .filter(|(name, hex)| is_algorithm(name) && is_hex(hex))
        .map(|(name, hex)| (name, lower(hex)))
        .collect();
    found.sort();
    found
}

/// Whether a text can be the name of a hash algorithm.
pub(crate) fn is_algorithm(name: &str) -> bool {
    (1..=16).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a text can be a digest.
pub(crate) fn is_hex(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// In lower case, borrowed where it is already.
pub(crate) fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(text: &str) -> File<'_> {
        serde_json::from_str::<ForeignFile<'_>>(text).unwrap().0
    }

    #[test]
    fn a_file_survives_the_round_trip_with_what_nobody_knows() {
        let sha = "AB".repeat(32);
        let page = format!(
            r#"{{"filename": "x-1.tar.gz", "url": "u", "hashes": {{"sha256": "{sha}", "md5": 3, "no name": "aa"}},
                "yanked": "bad\u0021", "size": 7, "requires-python": ">=3", "x-new": {{"a": [1, 2.50]}},
                "data-dist-info-metadata": {{"sha256": "{sha}"}}, "weir:metadata-sha256": "{sha}", "weir:provenance": true,
                "gpg-sig": true}}"#
        );
        let file = foreign(&page);
        assert_eq!(file.hash("sha256"), Some(&*sha.to_lowercase()));
        assert_eq!((file.hashes.len(), file.yanked.as_deref()), (1, Some("bad!")));
        assert_eq!(file.core_metadata.as_deref(), Some(&*sha.to_lowercase()));
        assert!(
            file.own_metadata.is_none() && !file.own_provenance,
            "Weir's own members come from nobody else"
        );
        let document = VersionDocument { files: vec![file], info: None }.write().unwrap();
        assert!(document.contains(r#""x-new":{"a": [1, 2.50]}"#), "{document}");
        let back = VersionDocument::read(&document).unwrap();
        assert_eq!(back.write().unwrap(), document);
        assert_eq!(back.files[0], foreign(&page));
    }

    #[test]
    fn members_of_a_wrong_kind_are_passed_over() {
        let file = foreign(
            r#"{"filename": 3, "url": null, "hashes": [], "yanked": false, "size": -1, "core-metadata": true,
                "requires-python": "", "upload-time": {}}"#,
        );
        assert_eq!(file, File::default());
        assert_eq!(foreign(r#"{"yanked": true}"#).yanked.as_deref(), Some(""));
    }

    #[test]
    fn what_is_held_stays_and_what_came_later_is_added() {
        let held = VersionDocument {
            files: vec![File { filename: "a".into(), size: Some(1), ..File::default() }],
            info: Some(Info { summary: "of the source".into(), ..Info::default() }),
        };
        let new = VersionDocument {
            files: vec![
                File {
                    filename: "a".into(),
                    size: Some(2),
                    own_metadata: Some("00".into()),
                    ..File::default()
                },
                File { filename: "b".into(), ..File::default() },
            ],
            info: Some(Info { from_wheel: true, ..Info::default() }),
        };
        let merged = held.clone().merged(new.clone());
        assert_eq!(merged.files.len(), 2);
        assert_eq!((merged.files[0].size, merged.files[0].own_metadata.as_deref()), (Some(1), Some("00")));
        assert!(merged.info.is_some_and(|info| info.from_wheel));
        assert!(new.merged(held).info.is_some_and(|info| info.from_wheel));
    }

    #[test]
    fn one_name_in_two_spellings_is_refused() {
        let package = crate::name::parse("weir-demo").unwrap();
        let of = |name: &'static str| VersionDocument {
            files: vec![File { filename: name.into(), ..File::default() }],
            info: None,
        };
        let held = of("weir_demo-1.0.tar.gz");
        assert!(held.check_spelling(&package, &of("weir-demo-1.0.tar.gz")).is_err());
        assert!(held.check_spelling(&package, &of("Weir_Demo-1.0.0.tar.gz")).is_err());
        for other in ["weir_demo-1.0.tar.gz", "weir_demo-1.0.zip", "weir_demo-1.0-py3-none-any.whl"] {
            assert!(held.check_spelling(&package, &of(other)).is_ok(), "{other}");
        }
    }
}
