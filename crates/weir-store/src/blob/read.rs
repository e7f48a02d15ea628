//! An open blob: its size and ranges of its bytes as a stream, checked on their way where that is still to be
//! done; and the file itself for who can send files.

use super::checked::{CHECKED_FIRST, Check, HELD_BACK, damaged};
use super::file_range::FileRange;
use super::header::HEADER_BYTES;
use super::{BlobError, blocking};
use bytes::{Bytes, BytesMut};
use fs_err::File;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use weir_core::digest::Sha256;

/// The bytes of a blob, piece by piece.
pub(super) type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// Blobs up to this size are read when they are opened.
pub const SMALL: u64 = 64 << 10;

/// An open blob. A folder's stays readable when it is deleted meanwhile.
#[derive(Debug)]
pub struct Blob {
    size: u64,
    /// All bytes of a small one.
    held: Option<Bytes>,
    source: Source,
    /// What must be found out before all of its bytes go out.
    check: Option<Check>,
}

#[derive(Debug)]
enum Source {
    File(Arc<File>),
    Object { store: Arc<dyn ObjectStore>, location: Path },
}

impl Blob {
    pub(crate) fn file(file: Arc<File>, size: u64, held: Option<Bytes>) -> Self {
        Self { size, held, source: Source::File(file), check: None }
    }

    pub(crate) fn object(
        store: Arc<dyn ObjectStore>,
        location: Path,
        size: u64,
        held: Option<Bytes>,
    ) -> Self {
        Self { size, held, source: Source::Object { store, location }, check: None }
    }

    /// The same, whose bytes are hashed on their way out.
    pub(crate) fn unchecked(self, check: Check) -> Self {
        Self { check: Some(check), ..self }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All of its bytes, where it is small enough to have been read already and they are known to be right.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.held.as_ref().filter(|_| self.check.is_none())
    }

    /// Checks now what is checked before its first byte goes out anyway (up to [`CHECKED_FIRST`]), so that a
    /// damaged blob is known before the answer begins. Errors: Damaged.
    pub async fn check_first(mut self) -> Result<Self, BlobError> {
        let Some(check) = self.check.take() else { return Ok(self) };
        if self.size > CHECKED_FIRST {
            return Ok(Self { check: Some(check), ..self });
        }
        // An object is not asked for twice.
        if self.held.is_none() && matches!(self.source, Source::Object { .. }) {
            let pieces: Vec<Bytes> = self.raw(0..self.size).try_collect().await?;
            self.held = Some(pieces.concat().into());
        }
        let found = match &self.held {
            Some(held) => weir_core::Digest::of(held),
            None => self.digest().await?,
        };
        check.conclude(found)?;
        Ok(self)
    }

    /// SHA-256 of all of its bytes, read and hashed off the async threads; dropping the future ends the reading.
    pub async fn digest(&self) -> Result<weir_core::Digest, BlobError> {
        Ok(hash_all(self.raw(0..self.size)).await?)
    }

    /// The bytes of `range`, cut to what there is. Damaged ones never come whole: the stream ends with an error of
    /// which [`is_damage`](super::is_damage) is true.
    pub fn read(&self, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let range = range.start..range.end.min(self.size);
        if range.is_empty() {
            return stream::empty().boxed();
        }
        let raw = self.raw(range.clone());
        let Some(check) = self.check.clone().filter(|check| !check.is_passed()) else { return raw };
        if range == (0..self.size) {
            return checked(raw, self.size, check).boxed();
        }
        match &self.source {
            // Of a part nothing can be told, and the whole is not fetched for it.
            Source::Object { .. } => raw,
            Source::File(_) => {
                let whole = check.read_whole(self.raw(0..self.size));
                stream::once(async move { whole.await.map(|()| raw) }).try_flatten().boxed()
            }
        }
    }

    fn raw(&self, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        if let Some(held) = &self.held {
            // Both ends are within a small blob.
            let part = held.slice(range.start as usize..range.end as usize);
            return stream::iter([Ok(part)]).boxed();
        }
        match &self.source {
            Source::File(file) => in_file(file, range).stream(),
            Source::Object { store, location } => object(store.clone(), location.clone(), range).boxed(),
        }
    }

    /// The file it lies in, header and all.
    pub(super) fn whole_file(&self) -> Option<&Arc<File>> {
        match &self.source {
            Source::File(file) => Some(file),
            Source::Object { .. } => None,
        }
    }

    /// The bytes of `range`, cut to what there is, as a part of a file; `None` in an object store, and where the bytes are
    /// still to be checked.
    pub fn in_file(&self, range: Range<u64>) -> Option<FileRange> {
        let Source::File(file) = &self.source else { return None };
        if self.check.as_ref().is_some_and(|check| !check.is_passed()) {
            return None;
        }
        Some(in_file(file, range.start..range.end.min(self.size)))
    }
}

fn in_file(file: &Arc<File>, range: Range<u64>) -> FileRange {
    FileRange::new(file.clone(), range.start + HEADER_BYTES..range.end.max(range.start) + HEADER_BYTES)
}

/// Hashes the whole of a stream.
pub(super) async fn hash_all(mut pieces: Pieces) -> io::Result<weir_core::Digest> {
    let mut hasher = Sha256::new();
    while let Some(piece) = pieces.try_next().await? {
        hasher = hash(hasher, piece).await?.0;
    }
    Ok(hasher.finish())
}

/// Hashes a piece, off the async threads where it is large.
async fn hash(mut hasher: Sha256, piece: Bytes) -> io::Result<(Sha256, Bytes)> {
    if piece.len() < 16 << 10 {
        hasher.update(&piece);
        return Ok((hasher, piece));
    }
    blocking(move || {
        hasher.update(&piece);
        Ok((hasher, piece))
    })
    .await
}

/// A whole blob, of which the last bytes wait until all are hashed.
struct Checking {
    raw: Pieces,
    hasher: Sha256,
    /// Hashed and not yet given.
    waiting: BytesMut,
    held_back: usize,
    check: Option<Check>,
}

/// `raw` is the whole blob; its end comes only if it is what it is named.
fn checked(
    raw: Pieces,
    size: u64,
    check: Check,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    let held_back = if size > CHECKED_FIRST { HELD_BACK } else { CHECKED_FIRST } as usize;
    let start =
        Checking { raw, hasher: Sha256::new(), waiting: BytesMut::new(), held_back, check: Some(check) };
    stream::try_unfold(start, |mut state| async move {
        loop {
            let Some(check) = &state.check else { return Ok(None) };
            let Some(piece) = state.raw.try_next().await? else {
                check.conclude(state.hasher.clone().finish()).map_err(damaged)?;
                state.check = None;
                let rest = state.waiting.split().freeze();
                return Ok(Some((rest, state)));
            };
            let (hasher, piece) = hash(state.hasher, piece).await?;
            state.hasher = hasher;
            state.waiting.extend_from_slice(&piece);
            if state.waiting.len() > state.held_back {
                let free = state.waiting.len() - state.held_back;
                let bytes = state.waiting.split_to(free).freeze();
                return Ok(Some((bytes, state)));
            }
        }
    })
}

fn object(
    store: Arc<dyn ObjectStore>,
    location: Path,
    range: Range<u64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    let range = GetRange::Bounded(range.start + HEADER_BYTES..range.end + HEADER_BYTES);
    let options = GetOptions { range: Some(range), ..GetOptions::default() };
    stream::once(async move { store.get_opts(&location, options).await.map(|found| found.into_stream()) })
        .try_flatten()
        .map_err(io::Error::other)
}
