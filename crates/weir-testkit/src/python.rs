//! Builds Python packages: the metadata, wheels and source distributions, and the form in which a client
//! uploads them. Everything is deterministic: the same calls give the same bytes.

mod distribution;
mod form;

pub use distribution::Distribution;
pub use form::UploadForm;

use crate::package::{Archive, ZipArchive};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The build backend that every source distribution brings along.
const BACKEND: &str = include_str!("python/backend.py");

/// The tag of a wheel that runs everywhere.
const ANYWHERE: &str = "py3-none-any";

/// One version of a Python package.
#[derive(Debug, Clone)]
pub struct PythonPackage {
    name: String,
    version: String,
    metadata_version: String,
    summary: String,
    license: String,
    requires: Vec<String>,
    requires_python: Option<String>,
    readme: Option<String>,
    fields: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    published: String,
    yanked: Option<String>,
    metadata: Option<String>,
    record: Option<String>,
}

impl PythonPackage {
    /// A package with one module that knows its version, and nothing else.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            metadata_version: "2.1".to_owned(),
            summary: format!("The package {name}."),
            license: "MIT".to_owned(),
            requires: Vec::new(),
            requires_python: None,
            readme: None,
            fields: Vec::new(),
            files: Vec::new(),
            published: crate::package::PUBLISHED.to_owned(),
            yanked: None,
            metadata: None,
            record: None,
        }
    }

    /// Adds a `Requires-Dist`: `six>=1; extra == "old"`.
    pub fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    /// Sets `Requires-Python`.
    pub fn requires_python(mut self, range: &str) -> Self {
        self.requires_python = Some(range.to_owned());
        self
    }

    /// Sets `Summary`.
    pub fn summary(mut self, summary: &str) -> Self {
        self.summary = summary.to_owned();
        self
    }

    /// Sets the license; from metadata 2.4 on it is a `License-Expression`.
    pub fn license(mut self, license: &str) -> Self {
        self.license = license.to_owned();
        self
    }

    /// Sets the description, the body of the metadata, in Markdown.
    pub fn readme(mut self, text: &str) -> Self {
        self.readme = Some(text.to_owned());
        self
    }

    /// Adds any header to the metadata.
    pub fn field(mut self, header: &str, value: &str) -> Self {
        self.fields.push((header.to_owned(), value.to_owned()));
        self
    }

    /// Sets `Metadata-Version`, which is 2.1 otherwise.
    pub fn metadata_version(mut self, version: &str) -> Self {
        self.metadata_version = version.to_owned();
        self
    }

    /// Adds a file to the wheel and to the source distribution.
    pub fn file(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), contents.into()));
        self
    }

    /// When it was published, RFC 3339 in UTC.
    pub fn published(mut self, time: &str) -> Self {
        self.published = time.to_owned();
        self
    }

    /// Yanks it in the index; the reason may be empty.
    pub fn yanked(mut self, reason: &str) -> Self {
        self.yanked = Some(reason.to_owned());
        self
    }

    /// Writes this as `METADATA` and `PKG-INFO`, whatever else was said.
    pub fn metadata_text(mut self, text: &str) -> Self {
        self.metadata = Some(text.to_owned());
        self
    }

    /// Writes this as `RECORD`, right or wrong.
    pub fn record_text(mut self, text: &str) -> Self {
        self.record = Some(text.to_owned());
        self
    }

    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as indexes write it: `demo-pkg` for `Demo_Pkg`.
    pub fn normalized_name(&self) -> String {
        normalized(&self.name)
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What `Requires-Python` is.
    pub fn python_range(&self) -> Option<&str> {
        self.requires_python.as_deref()
    }

    /// When it was published, RFC 3339 in UTC.
    pub fn published_at(&self) -> &str {
        &self.published
    }

    /// Why it was yanked, if it was.
    pub fn yank_reason(&self) -> Option<&str> {
        self.yanked.as_deref()
    }

    /// The name of the module: `demo_pkg`.
    pub fn module(&self) -> String {
        self.normalized_name().replace('-', "_")
    }

    /// `demo_pkg-1.0`: how the names of its files and of the folders in them begin.
    pub fn stem(&self) -> String {
        format!("{}-{}", self.module(), self.version.replace('-', "_"))
    }

    /// The text of `METADATA` and of `PKG-INFO`.
    pub fn metadata(&self) -> String {
        if let Some(text) = &self.metadata {
            return text.clone();
        }
        let mut text: String =
            self.headers().iter().map(|(header, value)| format!("{header}: {value}\n")).collect();
        if let Some(readme) = &self.readme {
            text += &format!("\n{readme}");
        }
        text
    }

    /// The wheel `demo_pkg-1.0-py3-none-any.whl`.
    pub fn wheel(&self) -> Distribution {
        self.wheel_tagged(ANYWHERE)
    }

    /// The wheel for these tags: `cp312-cp312-manylinux_2_17_x86_64`.
    pub fn wheel_tagged(&self, tags: &str) -> Distribution {
        let file_name = format!("{}-{tags}.whl", self.stem());
        let python = tags.split('-').next().unwrap_or_default();
        self.distribution(file_name, self.wheel_archive(tags).bytes(), python)
    }

    /// The source distribution `demo_pkg-1.0.tar.gz`.
    pub fn sdist(&self) -> Distribution {
        self.distribution(format!("{}.tar.gz", self.stem()), self.sdist_archive().gzip(), "source")
    }

    /// The wheel's archive, to be changed: `Distribution::with_bytes` takes what becomes of it.
    pub fn wheel_archive(&self, tags: &str) -> ZipArchive {
        let info = format!("{}.dist-info", self.stem());
        let mut members = self.sources();
        members.push((format!("{info}/METADATA"), self.metadata().into_bytes()));
        members.push((format!("{info}/WHEEL"), wheel_text(tags).into_bytes()));
        let record = self.record.clone().unwrap_or_else(|| record_text(&members, &info));
        members.push((format!("{info}/RECORD"), record.into_bytes()));
        members.into_iter().fold(ZipArchive::new(), |archive, (path, contents)| archive.file(&path, contents))
    }

    /// The source distribution's archive, to be changed.
    pub fn sdist_archive(&self) -> Archive {
        let stem = self.stem();
        let members = self.source_members().into_iter();
        members.fold(Archive::new(), |archive, (path, contents)| {
            archive.file(&format!("{stem}/{path}"), contents)
        })
    }

    /// Writes what a source distribution holds into a folder, for a client to build from.
    pub fn write_source(&self, folder: &Path) {
        for (path, contents) in self.source_members() {
            let path = folder.join(path);
            let parent = path.parent().expect("a path below a folder has a parent");
            fs_err::create_dir_all(parent).expect("a temporary folder can be written");
            fs_err::write(path, contents).expect("a temporary folder can be written");
        }
    }

    /// The headers of the metadata, in order.
    fn headers(&self) -> Vec<(&str, &str)> {
        // Versions are compared as text: there is none with two digits behind the point.
        let license = if self.metadata_version.as_str() >= "2.4" { "License-Expression" } else { "License" };
        let mut headers = vec![
            ("Metadata-Version", self.metadata_version.as_str()),
            ("Name", &self.name),
            ("Version", &self.version),
            ("Summary", &self.summary),
            (license, &self.license),
        ];
        headers.extend(self.requires_python.iter().map(|range| ("Requires-Python", range.as_str())));
        headers.extend(self.requires.iter().map(|requirement| ("Requires-Dist", requirement.as_str())));
        headers.extend(self.fields.iter().map(|(header, value)| (header.as_str(), value.as_str())));
        if self.readme.is_some() {
            headers.push(("Description-Content-Type", "text/markdown"));
        }
        headers
    }

    /// The module and the added files.
    fn sources(&self) -> Vec<(String, Vec<u8>)> {
        let module = format!("{}/__init__.py", self.module());
        let mut sources = self.files.clone();
        if !sources.iter().any(|(path, _)| *path == module) {
            sources.insert(0, (module, format!("VERSION = {:?}\n", self.version).into_bytes()));
        }
        sources
    }

    /// The source distribution's files, without the folder that holds them.
    fn source_members(&self) -> Vec<(String, Vec<u8>)> {
        let sources = self.sources();
        let files: Vec<_> = sources.iter().map(|(path, _)| format!("{path:?}")).collect();
        let backend = BACKEND.replace("@NAME@", &self.stem()).replace("@FILES@", &files.join(", "));
        let project = self.project_text();
        let mut members = vec![
            ("PKG-INFO".to_owned(), self.metadata().into_bytes()),
            ("pyproject.toml".to_owned(), project.into_bytes()),
            ("backend.py".to_owned(), backend.into_bytes()),
        ];
        members.extend(sources);
        members
    }

    /// A `pyproject.toml` whose build needs nothing that is not beside it.
    fn project_text(&self) -> String {
        let mut text = format!("[project]\nname = {:?}\nversion = {:?}\n", self.name, self.version);
        if let Some(range) = &self.requires_python {
            text += &format!("requires-python = {range:?}\n");
        }
        if !self.requires.is_empty() {
            text += &format!("dependencies = {:?}\n", self.requires);
        }
        text + "\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n"
    }

    fn distribution(&self, file_name: String, bytes: Bytes, python_version: &str) -> Distribution {
        let (metadata, python_version) = (self.metadata(), python_version.to_owned());
        Distribution { file_name, bytes, metadata, python_version, package: self.clone() }
    }
}

/// A project's name as indexes write it: lower case, each run of `-`, `_` and `.` one `-`.
pub fn normalized(name: &str) -> String {
    let mut normalized = String::new();
    for character in name.chars() {
        if !matches!(character, '-' | '_' | '.') {
            normalized.extend(character.to_lowercase());
        } else if !normalized.ends_with('-') {
            normalized.push('-');
        }
    }
    normalized
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The MD5 of some bytes in hexadecimal.
pub fn md5(bytes: &[u8]) -> String {
    hex::encode(md5::Md5::digest(bytes))
}

/// The text of `WHEEL`, which names every combination of compressed tags.
fn wheel_text(tags: &str) -> String {
    let mut text = "Wheel-Version: 1.0\nGenerator: weir-testkit\nRoot-Is-Purelib: true\n".to_owned();
    let mut parts = tags.split('-').map(|part| part.split('.').collect::<Vec<_>>());
    let (pythons, abis, platforms) = (parts.next(), parts.next(), parts.next());
    for python in pythons.iter().flatten() {
        for abi in abis.iter().flatten() {
            for platform in platforms.iter().flatten() {
                text += &format!("Tag: {python}-{abi}-{platform}\n");
            }
        }
    }
    text
}

/// The text of `RECORD` for these members.
fn record_text(members: &[(String, Vec<u8>)], info: &str) -> String {
    let line = |(path, contents): &(String, Vec<u8>)| {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(contents));
        format!("{path},sha256={digest},{}\n", contents.len())
    };
    members.iter().map(line).collect::<String>() + &format!("{info}/RECORD,,\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_indexes_write_them() {
        let package = PythonPackage::new("Demo__Pkg.Sub", "1.0");
        assert_eq!(package.normalized_name(), "demo-pkg-sub");
        assert_eq!(package.wheel().file_name, "demo_pkg_sub-1.0-py3-none-any.whl");
        assert_eq!(package.sdist().file_name, "demo_pkg_sub-1.0.tar.gz");
    }

    #[test]
    fn the_metadata_holds_what_was_said() {
        let package = PythonPackage::new("demo-pkg", "1.0")
            .requires("six>=1")
            .requires_python(">=3.8")
            .readme("# Demo\n")
            .metadata_version("2.4");
        let expected = "Metadata-Version: 2.4\nName: demo-pkg\nVersion: 1.0\nSummary: The package demo-pkg.\n\
            License-Expression: MIT\nRequires-Python: >=3.8\nRequires-Dist: six>=1\n\
            Description-Content-Type: text/markdown\n\n# Demo\n";
        assert_eq!(package.metadata(), expected);
        assert_eq!(package.wheel().bytes, package.wheel().bytes);
        assert_ne!(package.wheel().bytes, package.file("demo_pkg/more.py", "").wheel().bytes);
    }

    #[test]
    fn a_wheel_names_each_of_its_tags() {
        let text = wheel_text("py2.py3-none-any");
        assert!(text.ends_with("Tag: py2-none-any\nTag: py3-none-any\n"), "{text}");
    }
}
