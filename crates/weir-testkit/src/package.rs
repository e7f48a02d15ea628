//! Builds npm packages: the manifest, the tarball, and the documents in which a registry or a client
//! carries them. Everything is deterministic: the same calls give the same bytes.

mod archive;
mod zip;

pub use archive::Archive;
pub use zip::{ZipArchive, ZipEntry};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha512};

/// When a package was published unless it says otherwise.
pub const PUBLISHED: &str = "2024-01-02T03:04:05.678Z";

/// One version of an npm package.
#[derive(Debug, Clone)]
pub struct NpmPackage {
    scope: Option<String>,
    name: String,
    version: String,
    manifest: Map<String, Value>,
    files: Vec<(String, Vec<u8>)>,
    archive: Option<Archive>,
    deprecated: Option<String>,
    tags: Vec<String>,
    published: String,
    dist: Map<String, Value>,
}

impl NpmPackage {
    /// A package with an `index.js` and nothing else, tagged `latest`.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            scope: None,
            name: name.to_owned(),
            version: version.to_owned(),
            manifest: Map::new(),
            files: Vec::new(),
            archive: None,
            deprecated: None,
            tags: Vec::new(),
            published: PUBLISHED.to_owned(),
            dist: Map::new(),
        }
    }

    /// Puts it into a scope, given without `@`.
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.to_owned());
        self
    }

    /// Adds to `dependencies`.
    pub fn dependency(self, name: &str, range: &str) -> Self {
        self.entry("dependencies", name, json!(range))
    }

    /// Adds to `devDependencies`.
    pub fn dev_dependency(self, name: &str, range: &str) -> Self {
        self.entry("devDependencies", name, json!(range))
    }

    /// Adds to `peerDependencies`.
    pub fn peer_dependency(self, name: &str, range: &str) -> Self {
        self.entry("peerDependencies", name, json!(range))
    }

    /// Adds to `optionalDependencies`.
    pub fn optional_dependency(self, name: &str, range: &str) -> Self {
        self.entry("optionalDependencies", name, json!(range))
    }

    /// Adds a command and, when it is not there, the script behind it.
    pub fn bin(self, command: &str, path: &str) -> Self {
        let script = format!("#!/usr/bin/env node\nconsole.log({:?});\n", format!("{command} runs"));
        let known = self.files.iter().any(|(file, _)| file == path);
        let package = if known { self } else { self.file(path, script) };
        package.entry("bin", command, json!(path))
    }

    /// Adds an entry to `scripts`.
    pub fn script(self, event: &str, command: &str) -> Self {
        self.entry("scripts", event, json!(command))
    }

    /// Adds a file below `package/`.
    pub fn file(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), contents.into()));
        self
    }

    /// Sets any member of the manifest.
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.manifest.insert(name.to_owned(), value);
        self
    }

    /// Sets any member of `dist` in the index (a wrong `integrity`, a foreign field).
    pub fn dist_field(mut self, name: &str, value: Value) -> Self {
        self.dist.insert(name.to_owned(), value);
        self
    }

    /// Deprecates it in the index.
    pub fn deprecated(mut self, message: &str) -> Self {
        self.deprecated = Some(message.to_owned());
        self
    }

    /// Publishes it under this tag instead of `latest`; repeats.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    /// When it was published, RFC 3339 in UTC.
    pub fn published(mut self, time: &str) -> Self {
        self.published = time.to_owned();
        self
    }

    /// Uses this archive instead of one made from the files: hostile ones, or ones whose manifest lies.
    pub fn archive(mut self, archive: Archive) -> Self {
        self.archive = Some(archive);
        self
    }

    /// `@scope/name` or `name`.
    pub fn full_name(&self) -> String {
        match &self.scope {
            Some(scope) => format!("@{scope}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The tags it is published under.
    pub fn tags(&self) -> Vec<&str> {
        if self.tags.is_empty() { vec!["latest"] } else { self.tags.iter().map(String::as_str).collect() }
    }

    /// When it was published, RFC 3339 in UTC.
    pub fn published_at(&self) -> &str {
        &self.published
    }

    /// `name-1.0.0.tgz`: the file name, without the scope.
    pub fn file_name(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// `full-name/-/file-name`: where a registry serves the tarball.
    pub fn tarball_path(&self) -> String {
        format!("{}/-/{}", self.full_name(), self.file_name())
    }

    /// The `package.json` inside the tarball.
    pub fn manifest(&self) -> Value {
        let mut manifest = Map::new();
        manifest.insert("name".into(), json!(self.full_name()));
        manifest.insert("version".into(), json!(self.version));
        manifest.insert("description".into(), json!(format!("The package {}.", self.full_name())));
        manifest.insert("license".into(), json!("MIT"));
        manifest.extend(self.manifest.clone());
        Value::Object(manifest)
    }

    /// The tarball.
    pub fn tarball(&self) -> Bytes {
        if let Some(archive) = &self.archive {
            return archive.gzip();
        }
        let manifest = serde_json::to_vec_pretty(&self.manifest()).expect("a JSON value can be written");
        let mut archive = Archive::new().file("package/package.json", manifest);
        if !self.files.iter().any(|(path, _)| path == "index.js") {
            let script =
                format!("module.exports = {:?};\n", format!("{}@{}", self.full_name(), self.version));
            archive = archive.file("package/index.js", script);
        }
        for (path, contents) in &self.files {
            archive = archive.file(&format!("package/{path}"), contents.clone());
        }
        archive.gzip()
    }

    /// Writes the manifest and the files into a folder, for a client to publish from.
    pub fn write_source(&self, folder: &std::path::Path) {
        let manifest = serde_json::to_string_pretty(&self.manifest()).expect("a JSON value can be written");
        let files = self.files.iter().map(|(path, contents)| (path.as_str(), contents.as_slice()));
        for (path, contents) in files.chain([("package.json", manifest.as_bytes())]) {
            let path = folder.join(path);
            let parent = path.parent().expect("a path below a folder has a parent");
            fs_err::create_dir_all(parent).expect("a temporary folder can be written");
            fs_err::write(path, contents).expect("a temporary folder can be written");
        }
    }

    /// The `dist` member for a tarball at `url`, as a public registry writes it.
    pub fn dist(&self, url: &str) -> Value {
        let tarball = self.tarball();
        let mut dist = Map::new();
        dist.insert("integrity".into(), json!(integrity(&tarball)));
        dist.insert("shasum".into(), json!(hex::encode(Sha1::digest(&tarball))));
        dist.insert("tarball".into(), json!(url));
        dist.insert("fileCount".into(), json!(self.files.len() + 2));
        dist.insert("unpackedSize".into(), json!(tarball.len() * 3));
        dist.extend(self.dist.clone());
        Value::Object(dist)
    }

    /// The version's object in an index whose tarballs lie at `base` (no trailing slash).
    pub fn index_entry(&self, base: &str) -> Value {
        let mut entry = self.manifest();
        entry["_id"] = json!(format!("{}@{}", self.full_name(), self.version));
        entry["dist"] = self.dist(&format!("{base}/{}", self.tarball_path()));
        if let Some(message) = &self.deprecated {
            entry["deprecated"] = json!(message);
        }
        entry
    }

    /// The document `npm publish` sends with PUT.
    pub fn publish_document(&self, base: &str) -> Value {
        let (name, tarball) = (self.full_name(), self.tarball());
        let attachment = format!("{name}-{}.tgz", self.version);
        let tags: Map<_, _> =
            self.tags().into_iter().map(|tag| (tag.to_owned(), json!(self.version))).collect();
        let mut entry = self.index_entry(base);
        entry["dist"]["tarball"] = json!(format!("{base}/{name}/-/{attachment}"));
        json!({
            "_id": name,
            "name": name,
            "dist-tags": tags,
            "versions": { self.version.as_str(): entry },
            "access": null,
            "_attachments": { attachment: {
                "content_type": "application/octet-stream",
                "data": STANDARD.encode(&tarball),
                "length": tarball.len(),
            }},
        })
    }

    fn entry(mut self, map: &str, key: &str, value: Value) -> Self {
        let map = self.manifest.entry(map).or_insert_with(|| json!({}));
        map.as_object_mut().expect("only objects are set under these names").insert(key.to_owned(), value);
        self
    }
}

/// The `sha512-…` integrity of some bytes.
pub fn integrity(bytes: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(Sha512::digest(bytes)))
}

/// So many bytes that do not compress, always the same.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_calls_give_the_same_bytes() {
        let build = || NpmPackage::new("left-pad", "1.3.0").bin("pad", "cli.js").file("a/b.txt", "x");
        assert_eq!(build().tarball(), build().tarball());
        assert_ne!(build().tarball(), build().file("more", "y").tarball());
    }

    #[test]
    fn a_scope_is_in_the_name_and_the_path_but_not_in_the_file_name() {
        let package = NpmPackage::new("widget", "1.0.0").scope("acme").dependency("x", "^1");
        assert_eq!(package.tarball_path(), "@acme/widget/-/widget-1.0.0.tgz");
        assert_eq!(package.manifest()["dependencies"]["x"], "^1");
        let document = package.publish_document("http://127.0.0.1:1");
        assert!(document["_attachments"]["@acme/widget-1.0.0.tgz"]["length"].is_u64());
    }
}
