//! A project with about sixty packages behind it: scopes, nested and optional dependencies, peers, bins,
//! prereleases, several versions of one name. Made to be installed from the fake registry and through Weir.

use crate::{Client, NpmPackage, Upstream};
use serde_json::{Value, json};

/// The project's files, and the packages that its registry holds.
#[derive(Debug, Clone)]
pub struct FixtureProject {
    /// Every version in the registry, also those that the project does not take.
    pub packages: Vec<NpmPackage>,
    /// `package.json`.
    pub manifest: String,
    lock: Value,
}

impl FixtureProject {
    /// The `package-lock.json` without addresses: `npm ci` then asks for each index and each tarball.
    pub fn lock(&self) -> String {
        let mut lock = self.lock.clone();
        for entry in packages_of(&mut lock) {
            entry.as_object_mut().map(|entry| entry.remove("resolved"));
        }
        pretty(&lock)
    }

    /// The `package-lock.json` with every tarball below a registry's address, which ends in `/`:
    /// `npm ci` then asks for the tarballs alone.
    pub fn lock_at(&self, registry_url: &str) -> String {
        let mut lock = self.lock.clone();
        for entry in packages_of(&mut lock) {
            let Some(path) = entry["resolved"].as_str().and_then(path_of) else { continue };
            entry["resolved"] = json!(format!("{registry_url}{path}"));
        }
        pretty(&lock)
    }

    /// The packages `npm ci` installs, as (place below the project, version).
    pub fn installed(&self) -> Vec<(String, String)> {
        let entries = self.lock["packages"].as_object().into_iter().flatten();
        let named = entries.filter(|(place, _)| !place.is_empty());
        let pairs =
            named.filter_map(|(place, entry)| Some((place.clone(), entry["version"].as_str()?.to_owned())));
        pairs.collect()
    }

    /// Writes `package.json` and a lock file into a client's project folder.
    pub fn write(&self, client: &Client, lock: &str) {
        client.write("package.json", &self.manifest);
        client.write("package-lock.json", lock);
    }
}

/// Puts the packages into the fake registry and has npm make the lock file from there.
pub async fn fixture_project(upstream: &Upstream, npm: &Client) -> FixtureProject {
    let packages = packages();
    upstream.publish_all(&packages);
    let manifest = manifest();
    npm.write("package.json", &manifest);
    npm.write_config(&upstream.url(), None);
    npm.run(&["install", "--package-lock-only", "--no-audit"]).await.assert_ok();
    let lock = npm.read("package-lock.json").expect("npm install wrote a lock file");
    let lock = serde_json::from_str(&lock).expect("npm writes its lock file as JSON");
    FixtureProject { packages, manifest, lock }
}

/// The project's `package.json`.
pub fn manifest() -> String {
    let manifest = json!({
        "name": "orchard",
        "version": "1.0.0",
        "private": true,
        "dependencies": {
            "apple-pie": "^2.0.0",
            "@orchard/press": "~1.4.0",
            "grater": "*",
            "cider": "next",
            "leaf-0": "^1.0.0",
        },
        "devDependencies": { "@orchard/shears": "^3.0.0" },
        "optionalDependencies": { "hail-net": "^1.0.0", "other-sky": "^1.0.0" },
    });
    pretty(&manifest)
}

/// The packages of its registry, always the same.
pub fn packages() -> Vec<NpmPackage> {
    let mut packages = vec![
        NpmPackage::new("apple-pie", "1.0.0").deprecated("burnt; take 2").dependency("crust", "^1.0.0"),
        NpmPackage::new("apple-pie", "2.0.0").dependency("crust", "^1.0.0").dependency("filling", "1.x"),
        NpmPackage::new("apple-pie", "2.1.0")
            .dependency("crust", "^2.0.0")
            .dependency("filling", "1.x")
            .bin("bake", "bin/bake.js"),
        NpmPackage::new("apple-pie", "3.0.0-beta.1").tag("beta").dependency("crust", "^2.0.0"),
        NpmPackage::new("crust", "1.9.0").dependency("flour", "^1.0.0"),
        NpmPackage::new("crust", "2.0.1").dependency("flour", "^2.0.0").dependency("butter", ">=0.1"),
        NpmPackage::new("flour", "1.0.0"),
        NpmPackage::new("flour", "2.0.0"),
        NpmPackage::new("butter", "0.9.9").dependency("flour", "^1.0.0"),
        NpmPackage::new("filling", "1.2.3")
            .dependency("@orchard/apple", "^1.0.0")
            .dependency("sugar", "^1.0.0")
            .peer_dependency("crust", ">=1"),
        NpmPackage::new("sugar", "1.0.0").field("engines", json!({ "node": ">=6" })),
        NpmPackage::new("apple", "1.1.0").scope("orchard").dependency("seed", "^1.0.0"),
        NpmPackage::new("press", "1.4.2")
            .scope("orchard")
            .dependency("@orchard/apple", "^1.0.0")
            .dependency("@forge/bolt", "^5.0.0")
            .bin("press", "cli.js"),
        NpmPackage::new("press", "1.5.0").scope("orchard").dependency("@orchard/apple", "^1.0.0"),
        NpmPackage::new("shears", "3.2.1").scope("orchard").dependency("@forge/blade", "^1.0.0"),
        NpmPackage::new("bolt", "5.0.5").scope("forge").dependency("@forge/iron", "^1.0.0"),
        NpmPackage::new("blade", "1.0.1").scope("forge").dependency("@forge/iron", "^2.0.0"),
        NpmPackage::new("iron", "1.8.0").scope("forge"),
        NpmPackage::new("iron", "2.0.0").scope("forge"),
        NpmPackage::new("seed", "1.0.0"),
        NpmPackage::new("seed", "1.0.1-rc.1").tag("rc"),
        NpmPackage::new("grater", "0.0.3").dependency("@forge/blade", "1"),
        NpmPackage::new("cider", "1.0.0"),
        NpmPackage::new("cider", "2.0.0-alpha.7").tag("next").dependency("sugar", "^1.0.0"),
        NpmPackage::new("hail-net", "1.0.0").dependency("seed", "^1.0.0"),
        NpmPackage::new("other-sky", "1.0.0").field("os", json!(["no-such-system"])),
        NpmPackage::new("optional-friend", "1.0.0"),
    ];
    // A long chain of small ones, every third in a scope, as real trees have them.
    let count = 36;
    for index in 0..count {
        let (scope, name) = leaf(index);
        let mut package = NpmPackage::new(&name, &format!("1.{index}.0"));
        if let Some(scope) = scope {
            package = package.scope(scope);
        }
        for next in [index * 2 + 1, index * 2 + 2].into_iter().filter(|next| *next < count) {
            let (scope, name) = leaf(next);
            let name = scope.map_or(name.clone(), |scope| format!("@{scope}/{name}"));
            package = package.dependency(&name, "^1.0.0");
        }
        if index == 5 {
            package = package.optional_dependency("optional-friend", "^1.0.0");
        }
        let filler = format!("exports.text = {:?};\n", "leaf ".repeat(200 * index));
        packages.push(package.file("lib/filler.js", filler));
    }
    packages
}

fn leaf(index: usize) -> (Option<&'static str>, String) {
    let scope = (index % 3 == 2).then_some("leaves");
    (scope, format!("leaf-{index}"))
}

fn packages_of(lock: &mut Value) -> impl Iterator<Item = &mut Value> {
    lock["packages"].as_object_mut().into_iter().flatten().map(|(_, entry)| entry)
}

/// `name/-/file.tgz` of `http://HOST/name/-/file.tgz`.
fn path_of(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split_once('/').map(|(_, path)| path)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a JSON value can be written")
}
