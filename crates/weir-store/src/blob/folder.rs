//! Blobs in a folder. Keeping is a rename, so a key names either nothing or whole bytes; what must
//! survive a power cut is synced file first, then its folder, then the folders above it, once each.

use super::checked::Stamp;
use super::handles::{Handle, Handles, handles_that_fit};
use super::header::{HEADER_BYTES, HEADER_LEN, Header};
use super::read::{Blob, SMALL};
use super::{BlobError, BlobKey, Durability, Facts, Listed, MARK};
use crate::cached::{open_cached, read_all_cached};
use crate::rows::Id;
use crate::spool::SpoolFile;
use bytes::Bytes;
use fs_err::File;
use std::collections::{BTreeSet, HashSet};
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use weir_core::{Digest, Timestamp};

/// From so many files on it takes less to sync the whole file system than one after another: each of them waits for a
/// commit of its journal. With fewer, whose bytes count for more, that makes others wait who write.
const MANY: usize = 128;
/// Bytes of a probe: a disk that has room for a few only is full.
const PROBE: usize = 64 << 10;

/// All methods block, but for [`Folder::open_now`].
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Folders whose entries in the folders above are synced; in memory only, so learned anew at each start.
    settled: Mutex<HashSet<PathBuf>>,
    probes: AtomicU64,
    handles: Handles,
}

impl Folder {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(root)?;
        let handles = Handles::new(handles_that_fit());
        Ok(Self { root: root.to_owned(), settled: Mutex::default(), probes: AtomicU64::new(0), handles })
    }

    /// Keeps a file; tells its state where that can be had.
    pub(crate) fn keep(
        &self,
        key: &BlobKey,
        spooled: SpoolFile,
        durability: Durability,
    ) -> Result<Option<Stamp>, BlobError> {
        let target = self.root.join(key.path());
        let folder = parent(&target);
        // A file that replaces another may replace one that is relied on after a power cut. Nobody relies on a
        // document: whoever reads one hashes it.
        let may_be_relied_on = matches!(key, BlobKey::Asset { .. });
        let synced = durability == Durability::Synced || may_be_relied_on && fs_err::exists(&target)?;
        if synced {
            spooled.sync()?;
        }
        if let Err(error) = spooled.rename_to(&target) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error.into());
            }
            fs_err::create_dir_all(folder)?;
            spooled.rename_to(&target)?;
        }
        spooled.kept();
        self.handles.forget(key);
        if synced {
            self.settle(folder)?;
        }
        Ok(fs_err::metadata(&target).ok().map(|metadata| stamp(&metadata)))
    }

    pub(crate) fn sync(&self, paths: &[String]) -> Result<(), BlobError> {
        if paths.len() >= MANY && self.sync_file_system()? {
            let folders = paths.iter().map(|path| self.root.join(path));
            let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
            for folder in folders.map(|path| parent(&path).to_owned()) {
                settled.extend(self.above(&folder));
            }
            return Ok(());
        }
        let mut folders = BTreeSet::new();
        for path in paths {
            let path = self.root.join(path);
            match File::open(&path) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            }
            folders.insert(parent(&path).to_owned());
        }
        for folder in &folders {
            self.settle(folder)?;
        }
        Ok(())
    }

    /// Syncs a folder, and the entries of it and of those above it up to the root where that is not
    /// known to be done.
    fn settle(&self, folder: &Path) -> io::Result<()> {
        sync_folder(folder)?;
        let mut below = folder;
        while below != self.root {
            if self.settled.lock().unwrap_or_else(PoisonError::into_inner).contains(below) {
                break;
            }
            sync_folder(parent(below))?;
            below = parent(below);
        }
        // Only now: somebody who finds a folder in the set relies on all above it.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.extend(self.above(folder));
        Ok(())
    }

    /// A folder and those above it up to the root.
    fn above(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        folder.ancestors().take_while(|above| *above != self.root).map(Path::to_owned)
    }

    /// Syncs everything at once, where the system can; whether it did.
    #[cfg(target_os = "linux")]
    fn sync_file_system(&self) -> io::Result<bool> {
        rustix::fs::syncfs(File::open(&self.root)?)?;
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn open_blob(&self, path: &str) -> Result<Option<(Blob, Stamp)>, BlobError> {
        let mut file = match File::open(self.root.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let object_size = metadata.len();
        let mut bytes = vec![0; first_read(object_size)];
        file.read_exact(&mut bytes)?;
        let (size, held) = begin(bytes.into(), object_size, path)?;
        Ok(Some((Blob::file(Arc::new(file), size, held), stamp(&metadata))))
    }

    /// Opens a blob that is likely to be opened again soon, and keeps it open.
    pub(crate) fn open_to_serve(&self, key: &BlobKey) -> Result<Option<(Blob, Stamp)>, BlobError> {
        let opened = self.open_blob(&key.path())?;
        if let Some((blob, _)) = &opened
            && let Some(file) = blob.whole_file()
        {
            self.handles.put(key, Handle::new(file.clone(), blob.size()));
        }
        Ok(opened)
    }

    /// Opens a blob that is kept open, or that the kernel has in memory, without waiting for a disk; `None` when only
    /// [`Folder::open_blob`] can tell.
    pub(crate) fn open_now(&self, key: &BlobKey) -> Option<(Blob, Stamp)> {
        if let Some(Handle { file, size, .. }) = self.handles.get(key) {
            let metadata = file.metadata().ok()?;
            if metadata.nlink() > 0 && metadata.len() == size + HEADER_BYTES {
                let held = match size {
                    ..=SMALL => Some(read_all_cached(&file, HEADER_BYTES, size as usize)?),
                    _ => None,
                };
                return Some((Blob::file(file, size, held), stamp(&metadata)));
            }
            self.handles.forget(key);
        }
        let path = key.path();
        let file = open_cached(&self.root.join(&path))?;
        let metadata = file.metadata().ok()?;
        let bytes = read_all_cached(&file, 0, first_read(metadata.len()))?;
        let (size, held) = begin(bytes, metadata.len(), &path).ok()?;
        let file = Arc::new(file);
        self.handles.put(key, Handle::new(file.clone(), size));
        Some((Blob::file(file, size, held), stamp(&metadata)))
    }

    pub(crate) fn exists(&self, path: &str) -> Result<bool, BlobError> {
        Ok(fs_err::exists(self.root.join(path))?)
    }

    pub(crate) fn file_size(&self, path: &str) -> Result<Option<u64>, BlobError> {
        match fs_err::metadata(self.root.join(path)) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let removed = fs_err::remove_file(self.root.join(key.path()));
        self.handles.forget(key);
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The names of the folders in a folder.
    pub(crate) fn folders(&self, path: &str) -> Result<Vec<Id>, BlobError> {
        let mut names = Vec::new();
        for entry in self.entries(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && let Some(name) = entry.file_name().to_str()
            {
                names.push(Id::from(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The blobs below a folder whose digest begins with `shard`. To look at each of a million files takes long, so
    /// only their names are read.
    pub(crate) fn list(&self, path: &str, shard: u8) -> Result<Vec<Listed>, BlobError> {
        let first = format!("{shard:02x}");
        let mut found = Vec::new();
        for entry in self.entries(&format!("{path}/{first}"))? {
            let name = entry?.file_name();
            let digest = name.to_str().and_then(|rest| Digest::parse(&format!("{first}{rest}")));
            found.extend(digest.map(|digest| Listed { digest, facts: None }));
        }
        Ok(found)
    }

    /// What is known of a blob; `None` if there is none.
    pub(crate) fn facts(&self, path: &str) -> Result<Option<Facts>, BlobError> {
        let told = match fs_err::metadata(self.root.join(path)) {
            Ok(told) => told,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let modified = told.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        let modified = modified.unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Some(Facts { size: told.len().saturating_sub(HEADER_BYTES), modified }))
    }

    fn entries(&self, path: &str) -> io::Result<impl Iterator<Item = io::Result<fs_err::DirEntry>>> {
        match fs_err::read_dir(self.root.join(path)) {
            Ok(entries) => Ok(Some(entries).into_iter().flatten()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn delete_all(&self, path: &str) -> Result<(), BlobError> {
        let removed = fs_err::remove_dir_all(self.root.join(path));
        self.handles.forget_all();
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn mark(&self) -> Result<Option<String>, BlobError> {
        match fs_err::read_to_string(self.root.join(MARK)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever sets it has the lock of the folder, so nobody else does between the look and the rename.
    pub(crate) fn set_mark(&self, mark: &str) -> Result<String, BlobError> {
        if let Some(found) = self.mark()? {
            return Ok(found);
        }
        let beside = self.root.join(format!("{MARK}.new"));
        fs_err::write(&beside, mark)?;
        File::open(&beside)?.sync_all()?;
        fs_err::rename(&beside, self.root.join(MARK))?;
        sync_folder(&self.root)?;
        Ok(mark.to_owned())
    }

    pub(crate) fn health(&self) -> Result<(), BlobError> {
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(format!("probe-{}-{number}", std::process::id()));
        let written = fs_err::write(&path, [0; PROBE]);
        fs_err::remove_file(&path).and(written)?;
        Ok(())
    }
}

/// How much of an object is read when it is opened: all of a small one, else its header.
fn first_read(object_size: u64) -> usize {
    if object_size <= SMALL + HEADER_BYTES { object_size as usize } else { HEADER_LEN }
}

/// The size of a blob by its header, and all of its bytes where they were read.
fn begin(bytes: Bytes, object_size: u64, path: &str) -> Result<(u64, Option<Bytes>), BlobError> {
    let header = Header::read(&bytes, object_size).map_err(|fault| fault.of(path))?;
    let all = bytes.len() as u64 == object_size;
    Ok((header.size, all.then(|| bytes.slice(HEADER_LEN..))))
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp(metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a path below the root has a parent")
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
