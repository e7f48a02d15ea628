//! What a npm tarball says of itself: its `package.json`, and the digests of its bytes.

use anyhow::{Context as _, Result, bail};
use semver::Version;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use weir_core::{Digests, Hasher};
use weir_protocol::archive::{ArchiveLimits, read_tgz};

/// More than any `package.json`.
const MOST_MANIFEST_BYTES: u64 = 16 << 20;

/// A tarball to be published.
#[derive(Debug)]
pub(in crate::command::publish) struct Tarball {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// The package, with its scope.
    pub(super) name: String,
    /// The version.
    pub(super) version: Version,
    /// Its `package.json`.
    pub(super) manifest: Value,
    /// Its digests.
    pub(super) digests: Digests,
    /// Its size in bytes.
    pub(super) size: u64,
}

impl Tarball {
    /// Reads a file; blocking.
    pub(in crate::command::publish) fn read(path: &Path) -> Result<Self> {
        let mut hasher = Hasher::new();
        let mut file = fs_err::File::open(path)?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                length => hasher.update(&buffer[..length]),
            }
        }
        let size = hasher.len();
        let digests = hasher.finish();
        let manifest = manifest(path, size)?;
        let text =
            |name: &str| manifest[name].as_str().with_context(|| format!("its package.json has no {name}"));
        let name = text("name")?.to_owned();
        let version = text("version")?;
        let version = Version::parse(version.trim_start_matches(['v', '=']))
            .with_context(|| format!("its version '{version}' is not one that npm takes"))?;
        Ok(Self { path: path.to_owned(), name, version, manifest, digests, size })
    }

    /// The name of the attachment: `@scope/name-1.0.0.tgz`.
    pub(super) fn attachment(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }
}

fn manifest(path: &Path, size: u64) -> Result<Value> {
    let mut found = None;
    let mut visit = |entry: &weir_protocol::archive::Entry, content: &mut dyn std::io::Read| {
        if entry.inside() == Some("package.json") {
            let mut text = Vec::new();
            content.take(MOST_MANIFEST_BYTES).read_to_end(&mut text).map_err(weir_core::Error::internal)?;
            found = Some(text);
        }
        Ok(())
    };
    read_tgz(fs_err::File::open(path)?, &ArchiveLimits::of(size), &mut visit)?;
    let Some(text) = found else { bail!("it holds no package.json: is it made by 'npm pack'?") };
    // Editors of some platforms put a byte order mark in front, which npm passes over.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let manifest: Value = serde_json::from_slice(text).context("its package.json is not JSON")?;
    if !manifest.is_object() {
        bail!("its package.json is not an object");
    }
    Ok(manifest)
}
