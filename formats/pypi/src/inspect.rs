//! What a file of a public registry tells beyond its index: its core metadata, which is then served beside a
//! wheel (PEP 658) and told by the control API, and what the index left out of size, digest and Python version.

use crate::distribution::Source;
use crate::document::VersionDocument;
use crate::file_name::{self, Kind};
use bytes::Bytes;
use weir_core::{AssetName, Digest, Error, Result};
use weir_registry::format::{FetchedFile, Inspection};

/// Whether files of this name are read.
pub(crate) fn reads(asset: &AssetName) -> bool {
    [".whl", ".tar.gz", ".tgz", ".zip"].iter().any(|ending| asset.as_str().ends_with(ending))
}

/// Reads one. Errors: Invalid and TooLarge, for what is no distribution of its project and version.
pub(crate) fn inspect(fetched: FetchedFile<'_>) -> Result<Option<Inspection>> {
    let FetchedFile { package, version, metadata, asset, size, digests, file } = fetched;
    let Some(read) = file_name::read(package, asset.as_str()) else { return Ok(None) };
    if read.version.key() != version.key() {
        return Err(Error::invalid("version", format_args!("{asset} is of {}, not {version}", read.version)));
    }
    let mut document = VersionDocument::read(metadata)?;
    let Some(entry) = document.files.iter_mut().find(|file| file.filename == asset.as_str()) else {
        return Ok(None);
    };
    let before = entry.clone();
    entry.size = Some(size);
    if entry.hash("sha256").is_none() {
        entry.hashes.push(("sha256".into(), digests.sha256.hex().into()));
        entry.hashes.sort();
    }
    let found = Source { package, name: (asset.as_str(), &read), file, size }.peek()?;
    let requires_python = || found.metadata.get("requires-python").map(|text| text.to_owned().into());
    entry.requires_python = entry.requires_python.take().or_else(requires_python);
    let mut changes_index = *entry != before;
    let mut derived = Vec::new();
    if let Ok(name) = AssetName::parse(&format!("{asset}.metadata")) {
        let sha256 = Digest::of(&found.bytes).hex();
        changes_index |= read.kind == Kind::Wheel && entry.core_metadata.as_deref() != Some(&*sha256);
        entry.own_metadata = Some(sha256.into());
        derived.push((name, Bytes::from(found.bytes)));
    }
    let info = found.metadata.info(read.kind == Kind::Wheel);
    let told = VersionDocument { files: Vec::new(), info: Some(info) };
    let document = document.merged(told).write()?;
    let readme = found.metadata.description().map(str::to_owned);
    Ok(Some(Inspection { metadata: document, readme, derived, changes_index }))
}
