//! The spool: incoming bytes on local disk, hashed as they pass, until they are kept or dropped. A spool
//! file has room for the blob's header at its front, so that keeping it is a rename.

use crate::blob::{BlobError, HEADER_BYTES, HEADER_LEN, Header, blocking};
use crate::lock::StoreLock;
use bytes::Bytes;
use fs_err::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_core::{Digests, Hasher};

/// Chunks up to this size are hashed and written where they come; larger ones off the async threads.
const INLINE: usize = 16 << 10;

/// The spool folder. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
    count: Arc<AtomicU64>,
}

impl Spool {
    /// Opens `ROOT/spool`, empty: what an earlier process left is removed. The lock shows that no other
    /// process uses it.
    pub fn open(root: &Path, _lock: &StoreLock) -> Result<Self, BlobError> {
        let folder = root.join("spool");
        match fs_err::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        fs_err::create_dir_all(&folder)?;
        Ok(Self { folder, count: Arc::default() })
    }

    /// A new, empty spool file.
    pub fn begin(&self) -> Result<SpoolWriter, BlobError> {
        let (mut file, place) = self.create()?;
        file.write_all(&[0; HEADER_LEN])?;
        Ok(SpoolWriter { place, state: Some(State { file, hasher: Hasher::new() }), written: 0 })
    }

    fn create(&self) -> io::Result<(File, SpoolFile)> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number:08}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok((file, SpoolFile { path, kept: false }))
    }

    /// Writes bytes that are known already, header included, without hashing them; blocks.
    pub(crate) fn write_out(&self, bytes: &[u8]) -> io::Result<SpoolFile> {
        let (mut file, place) = self.create()?;
        file.write_all(&Header { size: bytes.len() as u64 }.write())?;
        file.write_all(bytes)?;
        Ok(place)
    }

    /// Spools bytes that are in memory already.
    pub async fn take(&self, bytes: Bytes) -> Result<Spooled, BlobError> {
        let mut writer = self.begin()?;
        writer.write(bytes).await?;
        writer.finish().await
    }
}

/// A spool file that grows. Dropping it removes the file.
#[derive(Debug)]
pub struct SpoolWriter {
    place: SpoolFile,
    /// Away while a chunk is written; lost if that was given up.
    state: Option<State>,
    written: u64,
}

struct State {
    file: File,
    hasher: Hasher,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("file", &self.file).finish_non_exhaustive()
    }
}

impl State {
    fn write(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        for chunk in chunks {
            self.file.write_all(chunk)?;
            self.hasher.update(chunk);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Digests> {
        let header = Header { size: self.hasher.len() };
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header.write())?;
        Ok(self.hasher.finish())
    }
}

impl SpoolWriter {
    /// Appends bytes. After an error, and after this future was dropped before its end, the spool can
    /// only be dropped too.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        self.write_all(vec![chunk]).await
    }

    /// As `write`, for several chunks in one go.
    pub async fn write_all(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError> {
        let mut state = self.state.take().ok_or_else(given_up)?;
        let length: usize = chunks.iter().map(Bytes::len).sum();
        if length <= INLINE {
            state.write(&chunks)?;
        } else {
            state = blocking(move || state.write(&chunks).map(|()| state)).await?;
        }
        self.state = Some(state);
        self.written += length as u64;
        Ok(())
    }

    /// How many bytes can be read from the file, its header apart.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The file, for others who read while it grows; the bytes begin at `HEADER_BYTES`. Open it before it
    /// is kept: afterwards the blob store has it.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Ends the file; nothing is synced yet.
    pub async fn finish(mut self) -> Result<Spooled, BlobError> {
        let state = self.state.take().ok_or_else(given_up)?;
        let digests = state.finish()?;
        Ok(Spooled { size: self.written, digests, place: self.place })
    }
}

fn given_up() -> io::Error {
    io::Error::other("a write to this spool file failed or was given up")
}

/// A complete spool file. Dropping it without keeping it removes the file.
#[derive(Debug)]
pub struct Spooled {
    /// How many bytes it has, its header apart.
    pub size: u64,
    /// Their digests.
    pub digests: Digests,
    pub(crate) place: SpoolFile,
}

impl Spooled {
    /// The file; the bytes begin at `HEADER_BYTES`.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Opens it for blocking reads; position 0 is the first of its bytes.
    pub fn reader(&self) -> Result<SpoolReader, BlobError> {
        let mut file = File::open(self.path())?;
        file.seek(SeekFrom::Start(HEADER_BYTES))?;
        Ok(SpoolReader { file })
    }
}

/// Reads the bytes of a spool file without its header.
#[derive(Debug)]
pub struct SpoolReader {
    file: File,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for SpoolReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let position = match position {
            SeekFrom::Start(offset) => SeekFrom::Start(offset.saturating_add(HEADER_BYTES)),
            SeekFrom::End(_) | SeekFrom::Current(_) => position,
        };
        let reached = self.file.seek(position)?;
        reached.checked_sub(HEADER_BYTES).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
    }
}

/// The file itself: removed when dropped, unless it was kept.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    path: PathBuf,
    kept: bool,
}

impl SpoolFile {
    /// The whole file, header included, from its beginning.
    pub(crate) fn open(&self) -> io::Result<std::fs::File> {
        Ok(File::open(&self.path)?.into_parts().0)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    pub(crate) fn rename_to(&self, target: &Path) -> io::Result<()> {
        fs_err::rename(&self.path, target)
    }

    /// The file has another name now: there is nothing to remove.
    pub(crate) fn kept(mut self) {
        self.kept = true;
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs_err::remove_file(&self.path)
        {
            tracing::warn!(%error, "a spool file was not removed");
        }
    }
}
