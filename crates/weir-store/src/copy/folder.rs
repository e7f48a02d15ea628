//! The folder of an export, open for writing or for reading, and locked so that no two commands meet in it.

use super::CopyError;
use super::manifest::{self, Manifest, ROWS};
use crate::blob::Blobs;
use crate::lock::{LockError, StoreLock};
use crate::spool::Spool;
use std::io;
use std::path::{Path, PathBuf};
use weir_core::Timestamp;

/// What an export that was cut may have left besides rows, and what a new file system brings along.
const OWN: [&str; 6] = ["blobs", "lock", "lost+found", "manifest.json.new", "master.key", "work"];
/// The length of an identifier.
const ID: usize = 36;

/// A folder into which an export is written.
pub struct ExportFolder {
    pub(super) root: PathBuf,
    pub(super) blobs: Blobs,
    pub(super) spool: Spool,
    _lock: StoreLock,
}

impl ExportFolder {
    /// Opens it, made if it is missing. Who may enter it is the caller's to set: it will hold all there is.
    /// Errors: it holds something else, which an export must not be mixed with; another command uses it.
    pub fn open(root: &Path, at: Timestamp) -> Result<Self, CopyError> {
        if let Some(name) = stranger(root)? {
            return Err(CopyError::OtherFolder { folder: root.display().to_string(), name });
        }
        let lock = StoreLock::acquire(root, "weir export", at).map_err(readable)?;
        let below = root.join("blobs");
        let blobs = Blobs::folder(&below)?;
        let spool = Spool::open(&below, &lock)?;
        Ok(Self { root: root.to_owned(), blobs, spool, _lock: lock })
    }

    /// Removes folders of rows that no manifest names: what cut or earlier exports left.
    pub(super) fn sweep(&self, keep: Option<&Manifest>) -> io::Result<()> {
        for entry in fs_err::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if is_rows(&name) && keep.is_none_or(|manifest| manifest.rows != name) {
                fs_err::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The name of something in a folder that is neither an export nor the beginning of one.
fn stranger(root: &Path) -> io::Result<Option<String>> {
    if !root.is_dir() || root.join(manifest::NAME).is_file() {
        return Ok(None);
    }
    for entry in fs_err::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !OWN.contains(&&*name) && !is_rows(&name) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether it is the name of a folder of rows.
fn is_rows(name: &str) -> bool {
    name.strip_prefix(ROWS)
        .is_some_and(|id| id.len() == ID && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()))
}

/// A folder that holds an export.
pub struct ReadFolder {
    pub(super) root: PathBuf,
    pub(super) blobs: Blobs,
    manifest: Manifest,
    /// None where the folder cannot be written, such as a medium that only reads.
    _lock: Option<StoreLock>,
}

impl ReadFolder {
    /// Opens the export that is there. Errors: there is none; this version cannot read it; somebody writes it now.
    pub fn open(root: &Path, at: Timestamp) -> Result<Self, CopyError> {
        let none = || CopyError::NoExport { folder: root.display().to_string() };
        let locked =
            if root.is_dir() { StoreLock::acquire(root, "weir import", at) } else { return Err(none()) };
        let lock = match locked.map_err(readable) {
            Ok(lock) => Some(lock),
            Err(error @ CopyError::Lock(LockError::Held { .. })) => return Err(error),
            Err(_) => None,
        };
        let manifest = Manifest::read(root)?.ok_or_else(none)?;
        manifest.files()?;
        let blobs = Blobs::folder(&root.join("blobs"))?;
        Ok(Self { root: root.to_owned(), blobs, manifest, _lock: lock })
    }

    /// What the export consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder of its rows.
    pub(super) fn rows(&self) -> PathBuf {
        self.root.join(&self.manifest.rows)
    }
}

/// A folder that cannot be written is told as such, not as a lock.
fn readable(error: LockError) -> CopyError {
    match error {
        LockError::Held { .. } => CopyError::Lock(error),
        LockError::Io(error) => CopyError::Folder(error),
    }
}
