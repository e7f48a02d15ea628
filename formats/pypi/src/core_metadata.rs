//! The core metadata of a distribution: `METADATA` of a wheel, `PKG-INFO` of a source distribution. Read as
//! the core metadata specification says: headers in the manner of RFC 822, UTF-8, a body that is the
//! description.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_core::name::shown;
use weir_core::{Error, Result};

/// More than any metadata with a long readme.
pub(crate) const MAX_BYTES: u64 = 8 << 20;

/// Fields of one; a project with a thousand dependencies has not a tenth of it.
const MOST_FIELDS: usize = 20_000;

/// Core metadata, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CoreMetadata {
    fields: Vec<(String, String)>,
    body: String,
}

/// What is kept of core metadata in a version's document, the description apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Info {
    /// Whether it comes from a wheel, whose metadata is final.
    pub(crate) from_wheel: bool,
    /// One line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) summary: String,
    /// `Home-page`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) home_page: String,
    /// `Project-URL`: label and address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) project_urls: Vec<(String, String)>,
    /// `License-Expression`, else `License`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) license: String,
    /// Of the classifiers those of licences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) license_classifiers: Vec<String>,
    /// Words to be found by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keywords: Vec<String>,
    /// `Requires-Dist`, as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) requires_dist: Vec<String>,
}

/// Fields that may stand several times, in the words of the JSON API.
const MULTIPLE: [&str; 14] = [
    "classifier",
    "dynamic",
    "import-name",
    "import-namespace",
    "license-file",
    "obsoletes",
    "obsoletes-dist",
    "platform",
    "project-url",
    "provides",
    "provides-dist",
    "provides-extra",
    "requires-dist",
    "supported-platform",
];

impl CoreMetadata {
    /// Reads `METADATA` or `PKG-INFO`; `what` names it in errors. Invalid for what is no such text, has no
    /// name or version, or is of a major version of the specification that nobody knows yet.
    pub(crate) fn parse(what: &str, bytes: &[u8]) -> Result<Self> {
        let refused = |rule: &str| Error::invalid(what, rule);
        let text = std::str::from_utf8(bytes).map_err(|_| refused("is not UTF-8 text"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut found = Self::default();
        let mut rest = text;
        loop {
            let (line, after) = match rest.find('\n') {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, ""),
            };
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                found.body = after.to_owned();
                break;
            }
            rest = after;
            if line.starts_with([' ', '\t']) {
                let Some((_, value)) = found.fields.last_mut() else {
                    return Err(refused("begins with the continuation of a line"));
                };
                value.push('\n');
                // Old descriptions are folded with seven spaces and a bar.
                value.push_str(line.strip_prefix("       |").unwrap_or(line.trim_start()));
            } else {
                let Some((name, value)) = line.split_once(':') else {
                    return Err(Error::invalid(
                        what,
                        format_args!("has a line without a field: '{}'", shown(line)),
                    ));
                };
                if found.fields.len() >= MOST_FIELDS {
                    return Err(Error::invalid(what, format_args!("has more than {MOST_FIELDS} fields")));
                }
                found.fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        for field in ["metadata-version", "name", "version"] {
            match found.all(field).count() {
                1 => {}
                0 => return Err(Error::invalid(what, format_args!("has no field '{field}'"))),
                _ => return Err(Error::invalid(what, format_args!("has the field '{field}' twice"))),
            }
        }
        let major = found.get("metadata-version").unwrap_or_default().split('.').next();
        if !matches!(major, Some("1" | "2")) {
            return Err(Error::invalid(
                what,
                format_args!(
                    "is of metadata version '{}'; 1.0 to 2.x are understood",
                    shown(found.get("metadata-version").unwrap_or_default())
                ),
            ));
        }
        Ok(found)
    }

    /// The first field of that name (lower case), unless it is empty or `UNKNOWN`, which says the same.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty() && *value != "UNKNOWN")
    }

    /// Every field of that name (lower case).
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The description: the body, or the field of older versions.
    pub(crate) fn description(&self) -> Option<&str> {
        let body = Some(self.body.as_str()).filter(|body| !body.trim().is_empty());
        body.or_else(|| self.get("description")).filter(|text| text.trim() != "UNKNOWN")
    }

    /// What a version's document keeps of it.
    pub(crate) fn info(&self, from_wheel: bool) -> Info {
        let text = |name: &str| self.get(name).unwrap_or_default().to_owned();
        let license = match self.get("license-expression") {
            Some(expression) => expression.to_owned(),
            None => text("license"),
        };
        let licences = self.all("classifier").filter(|classifier| classifier.starts_with("License ::"));
        Info {
            from_wheel,
            summary: text("summary"),
            home_page: text("home-page"),
            project_urls: self.all("project-url").filter_map(labelled).collect(),
            license,
            license_classifiers: licences.map(str::to_owned).collect(),
            keywords: keywords(self.get("keywords").unwrap_or_default()),
            requires_dist: self.all("requires-dist").map(str::to_owned).collect(),
        }
    }

    /// `info` of the JSON API: every field by its name there, an absent one as null.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut info = Map::new();
        for name in [
            "author",
            "author-email",
            "description-content-type",
            "download-url",
            "home-page",
            "keywords",
            "license",
            "license-expression",
            "maintainer",
            "maintainer-email",
            "name",
            "requires-python",
            "summary",
            "version",
        ] {
            info.insert(name.replace('-', "_"), self.get(name).into());
        }
        for name in MULTIPLE {
            let key = match name {
                "classifier" => "classifiers".to_owned(),
                "license-file" => "license_files".to_owned(),
                "import-name" => "import_names".to_owned(),
                "import-namespace" => "import_namespaces".to_owned(),
                "project-url" => continue,
                other => other.replace('-', "_"),
            };
            let values: Vec<&str> = self.all(name).collect();
            info.insert(key, if values.is_empty() { Value::Null } else { values.into() });
        }
        let urls: Map<String, Value> =
            self.all("project-url").filter_map(labelled).map(|(label, url)| (label, url.into())).collect();
        info.insert("project_urls".into(), if urls.is_empty() { Value::Null } else { urls.into() });
        info.insert("description".into(), self.description().unwrap_or_default().into());
        info
    }
}

impl Info {
    /// Where the source code lies: the project's address whose label says so.
    pub(crate) fn source_code(&self) -> Option<&str> {
        self.address_labelled(&["source", "sourcecode", "repository", "github", "code"])
    }

    /// The home page, by the field or by its label.
    pub(crate) fn home(&self) -> Option<&str> {
        Some(self.home_page.as_str())
            .filter(|address| !address.is_empty())
            .or_else(|| self.address_labelled(&["homepage"]))
    }

    /// Labels are compared as the specification of well-known ones says: without punctuation and spaces.
    fn address_labelled(&self, labels: &[&str]) -> Option<&str> {
        let plain = |label: &str| -> String {
            label.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
        };
        let found = self.project_urls.iter().find(|(label, _)| labels.contains(&&*plain(label)));
        found.map(|(_, address)| address.as_str())
    }
}

/// `LABEL, ADDRESS`.
fn labelled(text: &str) -> Option<(String, String)> {
    let (label, address) = text.split_once(',')?;
    Some((label.trim().to_owned(), address.trim().to_owned()))
}

/// Separated by commas, or in old metadata by spaces.
fn keywords(text: &str) -> Vec<String> {
    let separated: Vec<&str> =
        if text.contains(',') { text.split(',').collect() } else { text.split_whitespace().collect() };
    separated.into_iter().map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METADATA: &str = "Metadata-Version: 2.4\nName: Weir_Demo\nVersion: 1.0\nSummary: A demo\n\
        Home-page: UNKNOWN\nProject-URL: Home Page, https://example.test/home\n\
        Project-URL: Source Code, https://example.test/code\nLicense-Expression: MIT\n\
        Classifier: Programming Language :: Python\nClassifier: License :: OSI Approved :: MIT License\n\
        Keywords: dam,river\nRequires-Dist: six>=1\nRequires-Dist: tomli; python_version < \"3.11\"\n\
        Description-Content-Type: text/markdown\n\n# Demo\n\ntext: not a field\n";

    #[test]
    fn fields_and_description_are_read() {
        let metadata = CoreMetadata::parse("METADATA", METADATA.as_bytes()).unwrap();
        assert_eq!(metadata.get("name"), Some("Weir_Demo"));
        assert_eq!(metadata.get("home-page"), None);
        assert_eq!(metadata.description(), Some("# Demo\n\ntext: not a field\n"));
        let info = metadata.info(true);
        assert_eq!(info.home(), Some("https://example.test/home"));
        assert_eq!(info.source_code(), Some("https://example.test/code"));
        assert_eq!((info.license.as_str(), info.keywords.len(), info.requires_dist.len()), ("MIT", 2, 2));
        let json = metadata.json();
        assert_eq!(json["requires_dist"][0], "six>=1");
        assert_eq!(json["project_urls"]["Source Code"], "https://example.test/code");
        assert_eq!((&json["author"], &json["home_page"]), (&Value::Null, &Value::Null));
        let back: Info = serde_json::from_value(serde_json::to_value(&info).unwrap()).unwrap();
        assert_eq!(back, info);
    }

    #[test]
    fn old_metadata_is_read() {
        let old = "Metadata-Version: 1.0\r\nName: x\r\nVersion: 1\r\nDescription: first\r\n        second\r\n\
                   \x20      |third\r\nKeywords: a b\r\n";
        let metadata = CoreMetadata::parse("PKG-INFO", old.as_bytes()).unwrap();
        assert_eq!(metadata.description(), Some("first\nsecond\nthird"));
        assert_eq!(metadata.info(false).keywords, ["a", "b"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = CoreMetadata::parse("METADATA", &bytes);
        }

        #[test]
        fn any_lines_are_read_or_refused(text in "([A-Za-z:| \\t\\r\\n-]|Name: x\\n|Version: 1\\n){0,60}") {
            if let Ok(metadata) = CoreMetadata::parse("METADATA", text.as_bytes()) {
                let info = metadata.info(true);
                prop_assert!(metadata.json().contains_key("name") && info.keywords.len() <= text.len());
            }
        }
    }

    #[test]
    fn what_is_no_core_metadata_is_refused() {
        let check = |text: &[u8], word: &str| {
            let error = CoreMetadata::parse("METADATA", text).unwrap_err().to_string();
            assert!(error.contains("METADATA") && error.contains(word), "{error}");
        };
        check(b"", "metadata-version");
        check(b"\xff\xfe", "UTF-8");
        check(b" Name: x\n", "continuation");
        check(b"Name x\n", "without a field");
        check(b"Metadata-Version: 2.1\nName: x\n", "'version'");
        check(b"Metadata-Version: 2.1\nName: x\nName: y\nVersion: 1\n", "twice");
        check(b"Metadata-Version: 3.0\nName: x\nVersion: 1\n", "3.0");
    }
}
