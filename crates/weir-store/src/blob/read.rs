//! An open blob: its size, ranges of its bytes as a stream, and the file itself for who can send files.

use super::blocking;
use super::header::HEADER_BYTES;
use bytes::Bytes;
use fs_err::File;
use fs_err::os::unix::fs::FileExt as _;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Blobs up to this size are read when they are opened.
pub const SMALL: u64 = 64 << 10;
/// Larger ones are read in pieces of this size.
pub const PIECE: u64 = 256 << 10;

/// An open blob. A folder's stays readable when it is deleted meanwhile.
#[derive(Debug)]
pub struct Blob {
    size: u64,
    /// All bytes of a small one.
    held: Option<Bytes>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(Arc<File>),
    Object { store: Arc<dyn ObjectStore>, location: Path },
}

impl Blob {
    pub(crate) fn file(file: File, size: u64, held: Option<Bytes>) -> Self {
        Self { size, held, source: Source::File(Arc::new(file)) }
    }

    pub(crate) fn object(
        store: Arc<dyn ObjectStore>,
        location: Path,
        size: u64,
        held: Option<Bytes>,
    ) -> Self {
        Self { size, held, source: Source::Object { store, location } }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All of its bytes, where it is small enough to have been read already.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.held.as_ref()
    }

    /// The bytes of `range`, cut to what there is.
    pub fn read(&self, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let range = range.start..range.end.min(self.size);
        if range.is_empty() {
            return stream::empty().boxed();
        }
        if let Some(held) = &self.held {
            // Both ends are within a small blob.
            let part = held.slice(range.start as usize..range.end as usize);
            return stream::iter([Ok(part)]).boxed();
        }
        match &self.source {
            Source::File(file) => pieces(file.clone(), range).boxed(),
            Source::Object { store, location } => object(store.clone(), location.clone(), range).boxed(),
        }
    }

    /// The file and the offset at which the blob's bytes begin; `None` in an object store.
    pub fn into_file(self) -> Option<(std::fs::File, u64)> {
        let Source::File(file) = self.source else { return None };
        // A stream of `read` may still hold it.
        let file = Arc::try_unwrap(file).or_else(|file| file.try_clone()).ok()?;
        Some((file.into_parts().0, HEADER_BYTES))
    }
}

fn pieces(file: Arc<File>, range: Range<u64>) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((file, range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let end = range.end.min(range.start + PIECE);
        let reader = file.clone();
        let piece = blocking(move || {
            let mut piece = vec![0; (end - range.start) as usize];
            reader.read_exact_at(&mut piece, range.start + HEADER_BYTES)?;
            Ok::<_, io::Error>(Bytes::from(piece))
        })
        .await?;
        Ok(Some((piece, (file, end..range.end))))
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
