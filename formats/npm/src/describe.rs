//! What the control API and explain tell of a version, read from its manifest; and the file it promises.

use crate::name;
use serde_json::Value;
use weir_core::digest::Expected;
use weir_core::{AssetName, Error, PackageName, Result, Version};
use weir_protocol::RawObject;
use weir_registry::format::{Dependency, Description, License, RemoteAsset};

/// Summary, licences, links, readme and dependencies of a manifest; empty for what is none.
pub(crate) fn describe(manifest: &str) -> Description {
    let Ok(manifest) = RawObject::parse("the manifest", manifest.as_bytes()) else {
        return Description::default();
    };
    let text =
        |key: &str| manifest.get_str(key).map(|text| text.into_owned()).filter(|text| !text.is_empty());
    Description {
        summary: text("description"),
        home_page: text("homepage"),
        source_code_repository: address(&value(&manifest, "repository")),
        licenses: licenses(&manifest),
        readme: crate::publish::readme(&manifest),
        dependencies: dependencies(&manifest),
        keywords: match value(&manifest, "keywords") {
            Value::Array(words) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::String(words) => words.split(',').map(|word| word.trim().to_owned()).collect(),
            _ => Vec::new(),
        },
    }
}

/// The tarball of a public version and what the index promises of it.
pub(crate) fn remote_assets(
    package: &PackageName,
    version: &Version,
    manifest: &str,
) -> Result<Vec<RemoteAsset>> {
    let what = || format!("the public registry's manifest of npm package {}@{version}", name::full(package));
    let manifest = RawObject::parse("it", manifest.as_bytes())
        .map_err(|_| Error::bad_upstream(format!("{} is not a JSON object", what())))?;
    let dist = manifest.get_object("dist").unwrap_or_default();
    let url = dist.get_str("tarball").and_then(|text| url::Url::parse(&text).ok());
    let Some(url) = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host()) else {
        return Err(Error::bad_upstream(format!("{} has no address of a tarball", what())));
    };
    let mut expected = Expected::default();
    if let Some(integrity) = dist.get_str("integrity") {
        expected.add_integrity(&integrity);
    }
    if expected.sha1.is_none() {
        expected.sha1 = dist.get_str("shasum").and_then(|text| sha1(&text));
    }
    Ok(vec![RemoteAsset { name: tarball_asset(), url: url.into(), expected }])
}

/// The one file of a version, as AWS names it.
pub(crate) fn tarball_asset() -> AssetName {
    AssetName::parse("package.tgz").expect("a constant that is a valid name")
}

fn sha1(hex: &str) -> Option<[u8; 20]> {
    if hex.len() != 40 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; 20];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn value(manifest: &RawObject<'_>, key: &str) -> Value {
    manifest.get(key).and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
}

/// An address given as text or in an object's `url`.
fn address(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value.get("url")?.as_str())?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn licenses(manifest: &RawObject<'_>) -> Vec<License> {
    let one = |value: &Value| {
        let name = value.as_str().or_else(|| value.get("type").or_else(|| value.get("name"))?.as_str())?;
        let url = value.get("url").and_then(Value::as_str).map(str::to_owned);
        (!name.is_empty()).then(|| License { name: name.to_owned(), url })
    };
    match (value(manifest, "license"), value(manifest, "licenses")) {
        (Value::Null, Value::Array(all)) | (Value::Array(all), _) => all.iter().filter_map(one).collect(),
        (Value::Null, licence) | (licence, _) => one(&licence).into_iter().collect(),
    }
}

fn dependencies(manifest: &RawObject<'_>) -> Vec<Dependency> {
    let kinds = [
        ("dependencies", "regular"),
        ("devDependencies", "dev"),
        ("peerDependencies", "peer"),
        ("optionalDependencies", "optional"),
    ];
    let optional = value(manifest, "optionalDependencies");
    let mut found = Vec::new();
    for (field, kind) in kinds {
        let Value::Object(map) = value(manifest, field) else { continue };
        for (full, range) in map {
            // npm's registry repeats optional dependencies among the ordinary ones.
            if kind == "regular" && optional.get(&full).is_some() {
                continue;
            }
            let scoped = full.strip_prefix('@').and_then(|rest| rest.split_once('/'));
            let (namespace, package) = match scoped {
                Some((scope, name)) => (Some(scope.to_owned()), name.to_owned()),
                None => (None, full),
            };
            let requirement = range.as_str().map(str::to_owned);
            found.push(Dependency { namespace, package, kind: Some(kind.to_owned()), requirement });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_described() {
        let found = describe(
            r#"{"description": "d", "homepage": "https://example.test", "repository": {"url": "git+https://example.test/r"},
                "license": "MIT", "readme": "r", "keywords": ["a", 1, "b"],
                "dependencies": {"@s/x": "^1", "o": "2"}, "optionalDependencies": {"o": "2"}, "devDependencies": {"d": "*"},
                "peerDependencies": {"p": {}}}"#,
        );
        assert_eq!(found.summary.as_deref(), Some("d"));
        assert_eq!(found.source_code_repository.as_deref(), Some("git+https://example.test/r"));
        assert_eq!(found.licenses, [License { name: "MIT".into(), url: None }]);
        assert_eq!(found.keywords, ["a", "b"]);
        let dependencies: Vec<_> = found
            .dependencies
            .iter()
            .map(|d| {
                (d.namespace.as_deref(), &*d.package, d.kind.as_deref().unwrap(), d.requirement.as_deref())
            })
            .collect();
        assert_eq!(
            dependencies,
            [
                (Some("s"), "x", "regular", Some("^1")),
                (None, "d", "dev", Some("*")),
                (None, "p", "peer", None),
                (None, "o", "optional", Some("2")),
            ]
        );
    }

    #[test]
    fn old_and_odd_manifests_are_described_as_far_as_they_go() {
        let old = describe(
            r#"{"licenses": [{"type": "BSD", "url": "u"}, 7], "repository": "a/b", "keywords": "a, b"}"#,
        );
        assert_eq!(old.licenses, [License { name: "BSD".into(), url: Some("u".into()) }]);
        assert_eq!((old.source_code_repository.as_deref(), old.keywords.len()), (Some("a/b"), 2));
        for text in ["null", "", r#"{"description": 3, "license": {}, "dependencies": []}"#] {
            assert_eq!(describe(text), Description::default(), "{text}");
        }
    }

    #[test]
    fn a_tarball_is_promised_with_its_digests() {
        let package = name::parse_full("widget").unwrap();
        let version = Version::verbatim("1.0.0").unwrap();
        let check = |dist: &str| remote_assets(&package, &version, &format!("{{\"dist\": {dist}}}"));
        let shasum = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let assets =
            check(&format!(r#"{{"tarball": "https://example.test/w-1.tgz", "shasum": "{shasum}"}}"#))
                .unwrap();
        assert_eq!(assets[0].name.as_str(), "package.tgz");
        assert_eq!(assets[0].url, "https://example.test/w-1.tgz");
        assert_eq!(assets[0].expected.sha1.unwrap()[0], 0xa9);
        for dist in ["{}", r#"{"tarball": "file:///etc/passwd"}"#, r#"{"tarball": "w.tgz"}"#, "3"] {
            assert!(matches!(check(dist), Err(Error::BadUpstream { .. })), "{dist}");
        }
        assert!(
            !check(r#"{"tarball": "https://example.test/w", "shasum": "+9"}"#).unwrap()[0]
                .expected
                .has_digest()
        );
    }
}
