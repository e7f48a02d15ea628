//! Whether the document of a publish says what its tarball says ("manifest confusion"): both are brought
//! into one normal form, which undoes what npm, yarn, pnpm and bun do to a `package.json` when they make
//! a document of it, and then compared field by field.

use crate::tarball::Contents;
use crate::version;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use weir_core::name::shown;
use weir_core::{Error, Result};

type Manifest = Map<String, Value>;

/// Refuses a document whose manifest differs from the tarball's in what an installation acts on: name,
/// version, dependency maps, bin, engines, os, cpu, libc and install scripts. The error names the field
/// and both values.
pub(crate) fn check(document: &Manifest, tarball: &Contents) -> Result<()> {
    for (field, normal) in FIELDS {
        let (said, held) = (normal(document, field, tarball), normal(&tarball.manifest, field, tarball));
        if said == held || published_otherwise(field, *normal, &said, tarball) {
            continue;
        }
        return Err(Error::invalid_other(format!(
            "manifest confusion: '{field}' is {} in the document and {} in the tarball's package.json; \
             publish again with a client that takes both from one file",
            shown(&said.to_string()),
            shown(&held.to_string()),
        )));
    }
    Ok(())
}

/// Brings one field of a manifest into its normal form; `Null` where it says nothing.
type Normal = fn(&Manifest, &str, &Contents) -> Value;

const FIELDS: &[(&str, Normal)] = &[
    ("name", name),
    ("version", cleaned_version),
    ("dependencies", dependencies),
    ("devDependencies", ranges),
    ("optionalDependencies", ranges),
    ("peerDependencies", ranges),
    ("peerDependenciesMeta", as_written),
    ("bundleDependencies", bundled),
    ("acceptDependencies", as_written),
    ("bin", bin),
    ("engines", as_written),
    ("os", list),
    ("cpu", list),
    ("libc", list),
    ("scripts", install_scripts),
];

/// pnpm and yarn let `publishConfig` replace some fields of what they publish; and not every client adds
/// the script that npm adds for a `*.gyp` file.
fn published_otherwise(field: &str, normal: Normal, said: &Value, tarball: &Contents) -> bool {
    match field {
        "bin" | "engines" | "os" | "cpu" | "libc" => {
            let Some(Value::Object(config)) = tarball.manifest.get("publishConfig") else { return false };
            let Some(value) = config.get(field) else { return false };
            let mut manifest = tarball.manifest.clone();
            manifest.insert(field.to_owned(), value.clone());
            *said == normal(&manifest, field, tarball)
        }
        "scripts" => tarball.has_gyp && *said == own_scripts(&tarball.manifest),
        _ => false,
    }
}

fn name(manifest: &Manifest, field: &str, _: &Contents) -> Value {
    match manifest.get(field) {
        Some(Value::String(name)) => Value::from(name.trim()),
        other => other.cloned().unwrap_or_default(),
    }
}

fn cleaned_version(manifest: &Manifest, field: &str, _: &Contents) -> Value {
    match manifest.get(field) {
        Some(Value::String(text)) => Value::from(version::clean(text).unwrap_or_else(|| text.clone())),
        other => other.cloned().unwrap_or_default(),
    }
}

fn as_written(manifest: &Manifest, field: &str, _: &Contents) -> Value {
    match manifest.get(field) {
        Some(Value::Object(map)) if map.is_empty() => Value::Null,
        Some(Value::Array(list)) if list.is_empty() => Value::Null,
        Some(Value::Bool(false)) | None => Value::Null,
        Some(value) => value.clone(),
    }
}

fn list(manifest: &Manifest, field: &str, tarball: &Contents) -> Value {
    match as_written(manifest, field, tarball) {
        Value::String(one) => Value::from(vec![one]),
        value => value,
    }
}

/// A map of ranges without what npm drops from it: everything that is not text.
fn ranges(manifest: &Manifest, field: &str, _: &Contents) -> Value {
    from_ranges(range_map(manifest, field))
}

/// npm 10 and older copy optional dependencies into the ordinary ones, yarn 1 takes them out.
/// Old npm and npm 11 alike give a bundled dependency that is listed nowhere the range `*`.
fn dependencies(manifest: &Manifest, field: &str, _: &Contents) -> Value {
    let mut map = range_map(manifest, field);
    for bundled in bundled_names(manifest) {
        map.entry(bundled).or_insert_with(|| "*".to_owned());
    }
    for optional in range_map(manifest, "optionalDependencies").keys() {
        map.remove(optional);
    }
    from_ranges(map)
}

fn from_ranges(map: BTreeMap<String, String>) -> Value {
    if map.is_empty() {
        return Value::Null;
    }
    Value::Object(map.into_iter().map(|(name, range)| (name, Value::from(git_reference(&range)))).collect())
}

/// Reads a map of ranges; old manifests also have text (`"a b@1"`) or lists of such.
fn range_map(manifest: &Manifest, field: &str) -> BTreeMap<String, String> {
    let words = |text: &str| -> Vec<(String, String)> {
        let separators = |c: char| c.is_whitespace() || c == ',';
        text.split(separators).filter(|word| !word.is_empty()).map(name_and_range).collect()
    };
    match manifest.get(field) {
        Some(Value::Object(map)) => {
            let texts =
                map.iter().filter_map(|(name, range)| Some((name.clone(), range.as_str()?.to_owned())));
            texts.collect()
        }
        Some(Value::String(text)) => words(text).into_iter().collect(),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(|t| name_and_range(t.trim())).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// `name@range`, `name>=1`, `name 1.x` or `name`.
fn name_and_range(word: &str) -> (String, String) {
    let ends_name = |c: char| matches!(c, '@' | '>' | '<' | '=') || c.is_whitespace();
    let at = word.char_indices().skip(1).find(|(_, c)| ends_name(*c)).map_or(word.len(), |(at, _)| at);
    let (name, range) = word.split_at(at);
    (name.to_owned(), range.strip_prefix('@').unwrap_or(range).trim().to_owned())
}

/// npm rewrites a reference to a git host (`user/repo`, `git://github.com/user/repo.git#v1`) into another
/// spelling of the same; only what all spellings share is compared.
fn git_reference(range: &str) -> String {
    let (address, reference) = range.split_once('#').map_or((range, None), |(a, r)| (a, Some(r)));
    let plain = address.trim();
    let local =
        ["npm:", "file:", "link:", "workspace:", "catalog:", "portal:", "patch:", "./", "../", "/", "~/"];
    if !plain.contains('/') || local.iter().any(|prefix| plain.starts_with(prefix)) {
        return range.trim().to_owned();
    }
    let mut rest = plain.strip_prefix("git+").unwrap_or(plain);
    rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
    rest = rest.strip_prefix("git@").unwrap_or(rest);
    for (shortcut, host) in
        [("github:", "github.com"), ("gitlab:", "gitlab.com"), ("bitbucket:", "bitbucket.org")]
    {
        let path = rest.strip_prefix(shortcut).or_else(|| rest.strip_prefix(host));
        if let Some(path) = path {
            return joined(host, path.trim_start_matches([':', '/']), reference);
        }
    }
    let is_shortcut = !plain.contains(':') && !plain.contains('@') && plain.matches('/').count() == 1;
    if is_shortcut { joined("github.com", rest, reference) } else { range.trim().to_owned() }
}

fn joined(host: &str, path: &str, reference: Option<&str>) -> String {
    let path = path.strip_suffix(".git").unwrap_or(path);
    match reference {
        Some(reference) => format!("{host}/{path}#{reference}"),
        None => format!("{host}/{path}"),
    }
}

fn bundled(manifest: &Manifest, _: &str, _: &Contents) -> Value {
    let names = bundled_names(manifest);
    if names.is_empty() { Value::Null } else { Value::from(names.into_iter().collect::<Vec<_>>()) }
}

/// Either spelling; `true` bundles all ordinary dependencies; an object its keys.
fn bundled_names(manifest: &Manifest) -> BTreeSet<String> {
    match manifest.get("bundleDependencies").or_else(|| manifest.get("bundledDependencies")) {
        Some(Value::Bool(true)) => range_map(manifest, "dependencies").into_keys().collect(),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        Some(Value::Object(map)) => map.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

/// A map from command to cleaned path; `bin` as text is a command of the package's own name, and
/// `directories.bin` is every file in that folder.
fn bin(manifest: &Manifest, field: &str, tarball: &Contents) -> Value {
    let mut commands = Map::new();
    match manifest.get(field) {
        Some(Value::String(path)) => {
            let name = manifest.get("name").and_then(Value::as_str).unwrap_or_default();
            commands.insert(name.to_owned(), Value::from(path.as_str()));
        }
        Some(Value::Array(paths)) => {
            for path in paths.iter().filter_map(Value::as_str) {
                commands.insert(base_name(&clean_path(path)).to_owned(), Value::from(path));
            }
        }
        Some(Value::Object(map)) => commands = map.clone(),
        _ => commands = commands_of_folder(manifest, tarball),
    }
    let cleaned: Map<_, _> = commands
        .into_iter()
        .filter_map(|(command, path)| {
            let (command, path) = (clean_path(&command), clean_path(path.as_str()?));
            let command = base_name(&command);
            (!command.is_empty() && !path.is_empty()).then(|| (command.to_owned(), Value::from(path)))
        })
        .collect();
    if cleaned.is_empty() { Value::Null } else { Value::Object(cleaned) }
}

fn commands_of_folder(manifest: &Manifest, tarball: &Contents) -> Manifest {
    let folder = manifest.get("directories").and_then(|d| d.get("bin")).and_then(Value::as_str);
    let Some(folder) = folder.map(clean_path) else { return Map::new() };
    let inside = |path: &&String| match path.strip_prefix(&*folder) {
        Some(rest) if folder.is_empty() || rest.starts_with('/') => {
            !rest.trim_start_matches('/').split('/').any(|part| part.starts_with('.'))
        }
        _ => false,
    };
    let files = tarball.paths.iter().filter(inside);
    files.map(|path| (base_name(path).to_owned(), Value::from(path.as_str()))).collect()
}

/// The path as npm leaves it: inside the package, with slashes, without `.` and `..`.
fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split(['/', '\\', ':']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn base_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn install_scripts(manifest: &Manifest, _: &str, tarball: &Contents) -> Value {
    let scripts = own_scripts(manifest);
    let compiles = |script: &str| scripts.get(script).is_none();
    let wants_gyp = tarball.has_gyp && manifest.get("gypfile") != Some(&Value::Bool(false));
    if wants_gyp && compiles("install") && compiles("preinstall") {
        let mut with_gyp = scripts.as_object().cloned().unwrap_or_default();
        with_gyp.insert("install".to_owned(), Value::from("node-gyp rebuild"));
        return Value::Object(with_gyp);
    }
    scripts
}

/// The scripts that run when others install the package, without the path that npm strips.
fn own_scripts(manifest: &Manifest) -> Value {
    let Some(Value::Object(scripts)) = manifest.get("scripts") else { return Value::Null };
    let events = ["preinstall", "install", "postinstall"];
    let kept: Map<_, _> = events
        .iter()
        .filter_map(|event| {
            let command = scripts.get(*event)?.as_str()?;
            (!command.is_empty()).then(|| ((*event).to_owned(), Value::from(without_bin_folder(command))))
        })
        .collect();
    if kept.is_empty() { Value::Null } else { Value::Object(kept) }
}

fn without_bin_folder(command: &str) -> &str {
    let rest = command.strip_prefix("./").or_else(|| command.strip_prefix(".\\")).unwrap_or(command);
    let inside = |rest: &'_ str| -> Option<usize> {
        let rest = rest.strip_prefix("node_modules")?.strip_prefix(['/', '\\'])?;
        let rest = rest.strip_prefix(".bin")?.strip_prefix(['/', '\\'])?;
        Some(rest.len())
    };
    inside(rest).map_or(command, |length| &rest[rest.len() - length..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn contents(manifest: Value, paths: &[&str]) -> Contents {
        Contents {
            manifest: manifest.as_object().unwrap().clone(),
            has_gyp: paths.iter().any(|path| path.ends_with(".gyp")),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            ..Contents::default()
        }
    }

    fn agree(document: &Value, tarball: &Value, paths: &[&str]) -> Result<()> {
        check(document.as_object().unwrap(), &contents(tarball.clone(), paths))
    }

    #[test]
    fn what_clients_do_to_a_manifest_is_no_confusion() {
        let cases = [
            (json!({"version": "1.2.3"}), json!({"version": " v1.2.3+b"})),
            (json!({"name": "a", "readme": "x", "_id": "a@1"}), json!({"name": "a", "private": false})),
            (json!({"bin": {"w": "cli.js"}, "name": "@a/w"}), json!({"bin": "./cli.js", "name": "@a/w"})),
            (
                json!({"bin": {"a": "x/a", "b": "b"}}),
                json!({"bin": {"a": "/x/../x/a", "c/b": ".\\b", "n": 3}}),
            ),
            (
                json!({}),
                json!({"bin": {}, "engines": {}, "os": [], "dependencies": {}, "scripts": {"test": "x"}}),
            ),
            (json!({"os": ["linux"]}), json!({"os": "linux"})),
            (
                json!({"dependencies": {"a": "1", "b": "2"}, "optionalDependencies": {"b": "2"}}),
                json!({"dependencies": {"a": "1"}, "optionalDependencies": {"b": "2"}}),
            ),
            (
                json!({"dependencies": {"a": "1", "c": "*"}, "bundleDependencies": ["a", "c"]}),
                json!({"dependencies": {"a": "1"}, "bundledDependencies": {"c": 1, "a": 1}}),
            ),
            (
                json!({"dependencies": {"a": "1"}, "bundleDependencies": ["a"]}),
                json!({"dependencies": {"a": "1"}, "bundleDependencies": true}),
            ),
            (
                json!({"dependencies": {"a": "", "b": "1", "@c/d": "2"}}),
                json!({"dependencies": "a, b@1 @c/d@2"}),
            ),
            (json!({"dependencies": {"a": ">=1"}}), json!({"dependencies": ["a >=1", 3]})),
            (
                json!({"dependencies": {"a": "github:u/r#v1", "b": "git+ssh://git@github.com/u/r.git"}}),
                json!({"dependencies": {"a": "u/r#v1", "b": "git@github.com:u/r", "c": null}}),
            ),
            (
                json!({"scripts": {"install": "tsc", "x": "1"}}),
                json!({"scripts": {"install": "./node_modules/.bin/tsc"}}),
            ),
            (
                json!({"os": ["linux"], "bin": {"x": "d/x"}}),
                json!({"publishConfig": {"os": ["linux"], "bin": {"x": "d/x"}}}),
            ),
        ];
        for (document, tarball) in cases {
            agree(&document, &tarball, &[]).unwrap_or_else(|error| panic!("{document} {tarball}: {error}"));
        }
    }

    #[test]
    fn a_gyp_file_may_add_its_script_or_not() {
        let gyp = ["package.json", "binding.gyp"];
        let added = json!({"scripts": {"install": "node-gyp rebuild"}, "gypfile": true});
        agree(&added, &json!({}), &gyp).unwrap();
        agree(&json!({}), &json!({}), &gyp).unwrap();
        agree(&json!({"scripts": {"preinstall": "x"}}), &json!({"scripts": {"preinstall": "x"}}), &gyp)
            .unwrap();
        assert!(agree(&added, &json!({}), &["package.json"]).is_err());
        assert!(agree(&added, &json!({"gypfile": false}), &gyp).is_err());
        assert!(agree(&json!({"scripts": {"install": "evil"}}), &json!({}), &gyp).is_err());
    }

    #[test]
    fn the_files_of_a_bin_folder_are_commands() {
        let paths = ["package.json", "bin/a", "bin/deep/b", "bin/.hidden", "binary/c"];
        let document = json!({"bin": {"a": "bin/a", "b": "bin/deep/b"}, "directories": {"bin": "./bin"}});
        agree(&document, &json!({"directories": {"bin": "./bin"}}), &paths).unwrap();
    }

    #[test]
    fn a_document_that_says_something_else_is_refused_with_both_values() {
        let cases = [
            ("name", json!({"name": "a"}), json!({"name": "b"})),
            ("version", json!({"version": "1.0.0"}), json!({"version": "1.0.1"})),
            ("dependencies", json!({}), json!({"dependencies": {"evil": "1"}})),
            ("dependencies", json!({"dependencies": {"a": "1"}}), json!({"dependencies": {"a": "2"}})),
            ("dependencies", json!({"dependencies": {"a": "u/r"}}), json!({"dependencies": {"a": "evil/r"}})),
            ("devDependencies", json!({"devDependencies": {"a": "1"}}), json!({})),
            ("optionalDependencies", json!({}), json!({"optionalDependencies": {"evil": "1"}})),
            ("peerDependencies", json!({}), json!({"peerDependencies": {"evil": "1"}})),
            (
                "bundleDependencies",
                json!({}),
                json!({"dependencies": {"a": "1"}, "bundleDependencies": ["b"]}),
            ),
            ("bin", json!({}), json!({"bin": {"npm": "evil.js"}})),
            ("engines", json!({"engines": {"node": ">=1"}}), json!({"engines": {"node": ">=2"}})),
            ("os", json!({}), json!({"os": ["win32"]})),
            ("cpu", json!({}), json!({"cpu": "arm"})),
            ("scripts", json!({}), json!({"scripts": {"postinstall": "evil"}})),
            ("scripts", json!({"scripts": {"preinstall": "a"}}), json!({"scripts": {"preinstall": "b"}})),
        ];
        for (field, document, tarball) in cases {
            let error = agree(&document, &tarball, &[]).unwrap_err().to_string();
            let named = error.contains(&format!("'{field}'"));
            assert!(
                named || field == "bundleDependencies" && error.contains("'dependencies'"),
                "{field}: {error}"
            );
        }
        let error =
            agree(&json!({"version": "1.0.0"}), &json!({"version": "2.0.0"}), &[]).unwrap_err().to_string();
        assert!(
            error.contains("\"1.0.0\" in the document") && error.contains("\"2.0.0\" in the tarball"),
            "{error}"
        );
    }
}
