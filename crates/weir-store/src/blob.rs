//! Blobs: the bytes of files and index documents, named by their SHA-256 and kept per domain, in a folder
//! or in an object store. Each is preceded by a header of its own.

mod checked;
mod file_range;
mod folder;
mod handles;
mod header;
mod objects;
mod place;
mod read;

pub use checked::{CHECKED_FIRST, is_damage};
pub use file_range::{FileRange, PIECE};
pub use handles::handles_that_fit;
pub(crate) use header::Header;
pub use header::{HEADER_BYTES, HEADER_LEN};
pub use place::{BlobUrl, S3Place};
pub use read::{Blob, SMALL};

use crate::rows::Id;
use crate::spool::{Spool, Spooled};
use bytes::Bytes;
use checked::{Check, Checked, Known, Stamp};
use folder::Folder;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::ObjectStore;
use objects::{Objects, PART};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_core::{Digest, Error, Timestamp};

/// How long bytes that were found to be right count as right, unless a setting says otherwise.
const RECHECK_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Names a kept object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BlobKey {
    /// A file of a version.
    Asset {
        /// The domain that keeps it.
        domain: Id,
        /// Its SHA-256.
        digest: Digest,
    },
    /// The body of an index document of a public registry.
    Document {
        /// The domain that keeps it.
        domain: Id,
        /// Its SHA-256.
        digest: Digest,
    },
}

/// Which kind of object a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKind {
    /// Files of versions.
    Asset,
    /// Bodies of index documents.
    Document,
}

impl BlobKind {
    fn folder(self) -> &'static str {
        match self {
            Self::Asset => "sha256",
            Self::Document => "documents",
        }
    }

    /// The key of an object of this kind.
    pub fn key(self, domain: &Id, digest: Digest) -> BlobKey {
        let domain = domain.clone();
        match self {
            Self::Asset => BlobKey::Asset { domain, digest },
            Self::Document => BlobKey::Document { domain, digest },
        }
    }
}

/// An object that a listing found.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// Its name.
    pub digest: Digest,
    /// What the listing told besides; a folder's tells names alone.
    facts: Option<Facts>,
}

/// What is known of a kept object without opening it.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// How many bytes it has, its header apart.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
}

impl BlobKey {
    /// Where it lies below the root: `domains/ID/sha256/ab/cd…`, of 64 hex digits in all.
    pub fn path(&self) -> String {
        let (domain, kind, digest) = match self {
            Self::Asset { domain, digest } => (domain, BlobKind::Asset, digest),
            Self::Document { domain, digest } => (domain, BlobKind::Document, digest),
        };
        let hex = digest.hex();
        format!("{}/{}/{}", folder_of(domain, kind), &hex[..2], &hex[2..])
    }
}

fn folder_of(domain: &str, kind: BlobKind) -> String {
    format!("domains/{domain}/{}", kind.folder())
}

/// Where the mark of a blob store lies below its root.
const MARK: &str = "store-id";
impl BlobKey {
    /// The SHA-256 of its bytes.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Asset { digest, .. } | Self::Document { digest, .. } => digest,
        }
    }
}

/// When what is written must be safe from a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before the answer: a publish.
    Synced,
    /// Soon, a blob by `Blobs::sync`: what can be fetched again.
    Later,
}

/// A failure of the blob store.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The folder or the spool.
    #[error("the blob folder: {0}")]
    Io(#[source] io::Error),
    /// The object store.
    #[error("the object store: {0}")]
    Objects(#[from] object_store::Error),
    /// A stored object is not a blob.
    #[error("blob {path}: {problem}")]
    Corrupt {
        /// Where it lies below the root.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A later version of Weir wrote it; for that one it is as good as any.
    #[error("blob {path} was written by a newer weir and needs one: finish the upgrade of this node")]
    Newer {
        /// Where it lies below the root.
        path: String,
    },
    /// The bytes of a blob are not what it is named.
    #[error("blob {path}: its bytes are damaged")]
    Damaged {
        /// Where it lies below the root.
        path: String,
    },
}

impl BlobError {
    /// Whether what is stored can never be given to anybody: its bytes or its header are damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Corrupt { .. })
    }
}

/// An error of the object store may come wrapped as one of input and output.
impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<object_store::Error>() {
            Ok(error) => Self::Objects(error),
            Err(error) => Self::Io(error),
        }
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull, TimedOut};
        match &error {
            BlobError::Io(cause)
                if matches!(cause.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | TimedOut) =>
            {
                Self::unavailable(format!("the blob store takes no bytes now: {}", cause.kind()))
            }
            BlobError::Objects(_) => Self::unavailable("the blob store does not answer now"),
            BlobError::Newer { .. } => {
                Self::unavailable("the file was stored by a newer version of weir than this node runs")
            }
            BlobError::Io(cause) if is_out_of_files(cause) => {
                Self::unavailable("this server has too many files open now (ulimit -n, max-connections)")
            }
            BlobError::Io(_) | BlobError::Corrupt { .. } | BlobError::Damaged { .. } => Self::internal(error),
        }
    }
}

/// Whether the process or the machine has no file descriptors left; the error may be wrapped by who named the path.
fn is_out_of_files(error: &io::Error) -> bool {
    // EMFILE and ENFILE, which are these numbers on every Unix.
    if matches!(error.raw_os_error(), Some(23 | 24)) {
        return true;
    }
    let source = error.get_ref().and_then(|inner| inner.source());
    source.and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(is_out_of_files)
}

/// The blob store. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Blobs {
    place: Place,
    checked: Arc<Checked>,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(Arc<Folder>),
    Objects(Objects),
}

impl Blobs {
    /// Blobs in a folder of this machine, made if it is missing. The spool must lie in the same file
    /// system, so that keeping is a rename.
    pub fn folder(root: &Path) -> Result<Self, BlobError> {
        Ok(Self::at(Place::Folder(Arc::new(Folder::open(root)?))))
    }

    /// Blobs where a setting says. An object store is not asked before the first use.
    pub fn open_at(url: &BlobUrl) -> Result<Self, BlobError> {
        match url {
            BlobUrl::Folder(root) => Self::folder(root),
            BlobUrl::S3(place) => Ok(Self::objects(place.open()?)),
        }
    }

    /// Whether a blob is safe from a power cut as soon as it is kept, whatever was asked for.
    pub fn is_safe_when_kept(&self) -> bool {
        matches!(self.place, Place::Objects(_))
    }

    /// Blobs in an object store, such as S3.
    pub fn objects(store: Arc<dyn ObjectStore>) -> Self {
        Self::at(Place::Objects(Objects::new(store)))
    }

    fn at(place: Place) -> Self {
        Self { place, checked: Arc::new(Checked::new(RECHECK_AFTER)) }
    }

    /// The same, where bytes that were found to be right are checked again after this time.
    pub fn recheck_after(self, time: Duration) -> Self {
        Self { checked: Arc::new(Checked::new(time)), ..self }
    }

    /// Keeps spooled bytes under a key; whatever was there has the same bytes and is replaced.
    pub async fn keep(
        &self,
        key: &BlobKey,
        spooled: Spooled,
        durability: Durability,
    ) -> Result<(), BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, key, checked) = (folder.clone(), key.clone(), self.checked.clone());
                blocking(move || {
                    let stamp = folder.keep(&key, spooled.place, durability)?;
                    if spooled.digests.sha256 == *key.digest() {
                        checked.kept(&key, stamp);
                    }
                    Ok(())
                })
                .await
            }
            Place::Objects(objects) => objects.keep(&key.path(), spooled.place).await,
        }
    }

    /// As `keep`, for bytes that are in memory and were hashed there; all of them in one go, by way of `spool`.
    pub async fn keep_bytes(
        &self,
        spool: &Spool,
        all: Vec<(BlobKey, Bytes)>,
        durability: Durability,
    ) -> Result<(), BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, spool, checked) = (folder.clone(), spool.clone(), self.checked.clone());
                blocking(move || {
                    all.iter().try_for_each(|(key, bytes)| {
                        checked.kept(key, folder.keep(key, spool.write_out(bytes)?, durability)?);
                        Ok(())
                    })
                })
                .await
            }
            Place::Objects(objects) => {
                for (key, bytes) in all {
                    if bytes.len() <= PART {
                        objects.keep_bytes(&key.path(), bytes).await?;
                        continue;
                    }
                    let spool = spool.clone();
                    let written = blocking(move || spool.write_out(&bytes)).await?;
                    objects.keep(&key.path(), written).await?;
                }
                Ok(())
            }
        }
    }

    /// Makes blobs kept for `Later` safe from a power cut. Those that are gone are passed over.
    pub async fn sync(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                let paths: Vec<String> = keys.iter().map(BlobKey::path).collect();
                let synced = blocking(move || folder.sync(&paths)).await;
                if synced.is_err() {
                    // The system may have dropped what it could not write.
                    self.checked.forget(keys);
                }
                synced
            }
            // An object store answers a put when it is safe.
            Place::Objects(_) => Ok(()),
        }
    }

    /// Opens a blob; `None` if there is none. Nobody checks whether its bytes are right: who reads them hashes them.
    pub async fn open(&self, key: &BlobKey) -> Result<Option<Blob>, BlobError> {
        Ok(self.open_stamped(key).await?.map(|(blob, _)| blob))
    }

    /// Opens a blob that is to be served: unless this process knows its bytes to be right, they are hashed when they
    /// are read. `None` if there is none. Errors: Damaged when they are known to be wrong.
    pub async fn open_to_serve(&self, key: &BlobKey) -> Result<Option<Blob>, BlobError> {
        let opened = match &self.place {
            Place::Folder(folder) => match folder.open_now(key) {
                Some(opened) => Some(opened),
                None => {
                    let (folder, key) = (folder.clone(), key.clone());
                    blocking(move || folder.open_to_serve(&key)).await?
                }
            },
            Place::Objects(_) => self.open_stamped(key).await?,
        };
        let Some((blob, stamp)) = opened else { return Ok(None) };
        match self.checked.known(key, stamp, Instant::now()) {
            Known::Sound => Ok(Some(blob)),
            Known::Damaged => Err(BlobError::Damaged { path: key.path() }),
            Known::Nothing => {
                let check = Check { key: key.clone(), stamp, checked: self.checked.clone() };
                Ok(Some(blob.unchecked(check)))
            }
        }
    }

    async fn open_stamped(&self, key: &BlobKey) -> Result<Option<(Blob, Stamp)>, BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (folder.clone(), key.path());
                blocking(move || folder.open_blob(&path)).await
            }
            Place::Objects(objects) => objects.open(&key.path()).await,
        }
    }

    /// Whether there is one.
    pub async fn exists(&self, key: &BlobKey) -> Result<bool, BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (folder.clone(), key.path());
                blocking(move || folder.exists(&path)).await
            }
            Place::Objects(objects) => objects.exists(&key.path()).await,
        }
    }

    /// How many bytes it has, by the size of what is stored; `None` if there is none. Its header is not read.
    pub(crate) async fn stored_size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        let stored = match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (folder.clone(), key.path());
                blocking(move || folder.file_size(&path)).await?
            }
            Place::Objects(objects) => objects.object_size(&key.path()).await?,
        };
        Ok(stored.and_then(|size| size.checked_sub(HEADER_BYTES)))
    }

    /// Removes one; nothing happens if there is none.
    pub async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, key) = (folder.clone(), key.clone());
                blocking(move || folder.delete(&key)).await
            }
            Place::Objects(objects) => objects.delete(&key.path()).await,
        }
    }

    /// Removes all that a domain keeps.
    pub async fn delete_domain(&self, domain: &Id) -> Result<(), BlobError> {
        let path = format!("domains/{domain}");
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.delete_all(&path)).await
            }
            Place::Objects(objects) => objects.delete_all(&path).await,
        }
    }

    /// The domains of which anything is kept, those included that are no more.
    pub async fn domains(&self) -> Result<Vec<Id>, BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.folders("domains")).await
            }
            Place::Objects(objects) => objects.folders("domains").await,
        }
    }

    /// All objects of one kind that a domain keeps, some hundreds at a time. What is kept or removed meanwhile may be
    /// among them or not.
    pub fn list(&self, domain: &Id, kind: BlobKind) -> BoxStream<'static, Result<Vec<Listed>, BlobError>> {
        let path = folder_of(domain, kind);
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                let shards = futures_util::stream::iter(0..=u8::MAX);
                let listed = shards.then(move |shard| {
                    let (folder, path) = (folder.clone(), path.clone());
                    blocking(move || folder.list(&path, shard))
                });
                listed.boxed()
            }
            Place::Objects(objects) => objects.list(&path),
        }
    }

    /// What is known of an object that a listing found; `None` when it was removed since.
    pub async fn facts(
        &self,
        domain: &Id,
        kind: BlobKind,
        listed: &Listed,
    ) -> Result<Option<Facts>, BlobError> {
        match (&self.place, listed.facts) {
            (_, Some(facts)) => Ok(Some(facts)),
            (Place::Folder(folder), None) => {
                let (folder, path) = (folder.clone(), kind.key(domain, listed.digest).path());
                blocking(move || folder.facts(&path)).await
            }
            (Place::Objects(_), None) => Ok(None),
        }
    }

    /// The mark that tells this blob store from others; `None` where none was set.
    pub(crate) async fn mark(&self) -> Result<Option<String>, BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.mark()).await
            }
            Place::Objects(objects) => objects.mark().await,
        }
    }

    /// Sets the mark if there is none; gives the one that holds.
    pub(crate) async fn set_mark(&self, mark: &str) -> Result<String, BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, mark) = (folder.clone(), mark.to_owned());
                blocking(move || folder.set_mark(&mark)).await
            }
            Place::Objects(objects) => objects.set_mark(mark).await,
        }
    }

    /// Whether it takes bytes: writes a probe and removes it.
    pub async fn health(&self) -> Result<(), BlobError> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.health()).await
            }
            Place::Objects(objects) => objects.health().await,
        }
    }
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static, E: From<io::Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(io::Error::other(error).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_blob_has_its_own_place_in_its_domain() {
        let digest = Digest::of(b"weir");
        let hex = digest.hex();
        let asset = BlobKey::Asset { domain: "d1".into(), digest };
        assert_eq!(asset.path(), format!("domains/d1/sha256/{}/{}", &hex[..2], &hex[2..]));
        let document = BlobKey::Document { domain: "d1".into(), digest };
        assert_eq!(document.path(), format!("domains/d1/documents/{}/{}", &hex[..2], &hex[2..]));
    }

    #[test]
    fn a_full_disk_is_told_as_unavailable_without_paths() {
        let full = io::Error::new(io::ErrorKind::StorageFull, "/secret/path");
        let Error::Unavailable { message, .. } = Error::from(BlobError::Io(full)) else { panic!() };
        assert!(!message.contains("secret"), "{message}");
        let descriptors = BlobError::Io(io::Error::from_raw_os_error(24));
        assert!(matches!(Error::from(descriptors), Error::Unavailable { .. }));
        let broken = BlobError::Io(io::Error::other("broken"));
        assert!(matches!(Error::from(broken), Error::Internal(_)));
    }
}
