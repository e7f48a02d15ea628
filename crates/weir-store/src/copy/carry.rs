//! Carries bytes from one blob store to another: hashed on the way, passed over where they are already.

use super::line::{Cell, cells_of};
use super::row_file::RowReader;
use super::table::Column;
use super::{CopyError, Progress, Step};
use crate::blob::{Blob, BlobError, BlobKey, Blobs, Durability};
use crate::rows::Id;
use crate::spool::{Spool, Spooled};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::io;
use std::path::Path;
use tokio::sync::Semaphore;
use weir_core::Digest;

/// Blobs on their way at once, so that their syncs to disk share the waiting.
const AT_ONCE: u32 = 8;
/// Above this a blob goes alone: an object store is sent several parts at a time, which are in memory.
const LARGE: u64 = 4 << 20;
/// How often a blob is read whose reading an object store breaks off.
const TRIES: u32 = 3;
/// Too many open files, here or in the whole system; no memory.
const OF_THE_MACHINE: [i32; 3] = [24, 23, 12];

/// What became of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carried {
    /// It is there now.
    Copied,
    /// It was there.
    Present,
    /// It is not where it should come from, or not what it is named: what is wrong.
    Lost(String),
}

/// A blob that a row names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) key: BlobKey,
    pub(super) domain: Id,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// The columns that name blobs.
struct Naming {
    domain: usize,
    sha256: usize,
    size: usize,
    documents: bool,
}

impl Naming {
    fn of(table: &str, columns: &[Column]) -> Option<Self> {
        let position = |name: &str| columns.iter().position(|column| column.name == name);
        Some(Self {
            domain: position("domain_id")?,
            sha256: position("sha256")?,
            size: position("size")?,
            documents: table == "documents",
        })
    }

    /// The blob that a row names, if it names one. `Err` when the row is not one that Weir writes.
    fn read(&self, cells: &[Cell]) -> Result<Option<Named>, ()> {
        let Some(bytes) = cells[self.sha256].bytes() else { return Ok(None) };
        let digest = Digest::from_bytes(bytes.try_into().map_err(drop)?);
        let size = cells[self.size].integer().and_then(|size| u64::try_from(size).ok()).ok_or(())?;
        let domain: Id = cells[self.domain].text().into();
        // It becomes a part of a path.
        if domain.is_empty() || !domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(());
        }
        let key = match self.documents {
            true => BlobKey::Document { domain: domain.clone(), digest },
            false => BlobKey::Asset { domain: domain.clone(), digest },
        };
        Ok(Some(Named { key, domain, digest, size }))
    }
}

/// Counts what was looked at, over several files of rows.
pub(super) struct Count<'a> {
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) bytes: u64,
    pub(super) total_bytes: u64,
    pub(super) progress: Progress<'a>,
}

impl Count<'_> {
    fn add(&mut self, size: u64) {
        self.done += 1;
        self.bytes += size;
        let Self { done, total, bytes, total_bytes, .. } = *self;
        (self.progress)(Step::Blobs { done, total, bytes, total_bytes });
    }
}

/// From where to where.
pub(super) struct Carrier<'a> {
    from: &'a Blobs,
    to: &'a Blobs,
    spool: &'a Spool,
    permits: Semaphore,
}

impl<'a> Carrier<'a> {
    /// `spool` lies in the file system of `to`.
    pub(super) fn new(from: &'a Blobs, to: &'a Blobs, spool: &'a Spool) -> Self {
        Self { from, to, spool, permits: Semaphore::new(AT_ONCE as usize) }
    }

    /// Carries all blobs that a file of rows names; `told` hears of each, in the order of the rows.
    pub(super) async fn carry_all(
        &self,
        path: &Path,
        table: &str,
        columns: &[Column],
        count: &mut Count<'_>,
        mut told: impl FnMut(Named, Carried) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        let broken = || CopyError::Export {
            file: path.display().to_string(),
            problem: "has a line that is no row of its table".to_owned(),
        };
        let naming = Naming::of(table, columns).ok_or_else(broken)?;
        let mut reader = RowReader::open(path, 0)?;
        let named = std::iter::from_fn(|| {
            loop {
                let line = match reader.next() {
                    Ok(line) => line?,
                    Err(error) => return Some(Err(error.into())),
                };
                let cells = cells_of(&line, columns);
                match cells.ok_or(()).and_then(|cells| naming.read(&cells)) {
                    Ok(None) => {}
                    Ok(Some(named)) => return Some(Ok(named)),
                    Err(()) => return Some(Err(broken())),
                }
            }
        });
        let mut carried = stream::iter(named)
            .map(|named: Result<Named, CopyError>| async {
                let named = named?;
                let carried = self.carry(&named).await?;
                Ok::<_, CopyError>((named, carried))
            })
            .buffered(AT_ONCE as usize);
        while let Some((named, carried)) = carried.try_next().await? {
            count.add(named.size);
            told(named, carried)?;
        }
        Ok(())
    }

    async fn carry(&self, named: &Named) -> Result<Carried, BlobError> {
        let share = if named.size > LARGE { AT_ONCE } else { 1 };
        let _permit = self.permits.acquire_many(share).await.map_err(io::Error::other)?;
        // Blobs are renamed into their place when they are whole and safe, so a size tells enough.
        if self.to.stored_size(&named.key).await? == Some(named.size) {
            return Ok(Carried::Present);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let blob = match self.from.open(&named.key).await {
                Ok(Some(blob)) => blob,
                Ok(None) => return Ok(Carried::Lost("is missing".to_owned())),
                Err(BlobError::Corrupt { problem, .. }) => return Ok(Carried::Lost(problem.to_owned())),
                Err(BlobError::Io(error)) if !is_of_the_machine(&error) => {
                    return Ok(Carried::Lost(format!("cannot be read: {error}")));
                }
                Err(error) => return Err(error),
            };
            if blob.size() != named.size {
                return Ok(Carried::Lost(format!("has {} bytes, not {}", blob.size(), named.size)));
            }
            let spooled = match self.spool(&blob).await? {
                Ok(spooled) => spooled,
                Err(error) if is_of_the_machine(&error) => return Err(error.into()),
                Err(error) if error.raw_os_error().is_some() || tries == TRIES => {
                    return Ok(Carried::Lost(format!("cannot be read: {error}")));
                }
                Err(_) => continue,
            };
            if spooled.digests.sha256 != named.digest {
                return Ok(Carried::Lost("does not have the SHA-256 that it is named by".to_owned()));
            }
            self.to.keep(&named.key, spooled, Durability::Synced).await?;
            return Ok(Carried::Copied);
        }
    }

    /// The outer error is one of writing, the inner one of reading.
    async fn spool(&self, blob: &Blob) -> Result<io::Result<Spooled>, BlobError> {
        let mut writer = self.spool.begin()?;
        let mut pieces = blob.read(0..blob.size());
        loop {
            match pieces.try_next().await {
                Ok(Some(piece)) => writer.write(piece).await?,
                Ok(None) => return Ok(Ok(writer.finish().await?)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

fn is_of_the_machine(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| OF_THE_MACHINE.contains(&code))
}
