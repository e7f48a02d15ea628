//! An index document as it is kept: in gzip, which is what clients ask for, made once and on one pass with its tag.
//! The document itself is kept beside it only where it is small, else unpacked for who asks for it; a large one
//! lies in a file.

use crate::topology::lock;
use bytes::{Buf as _, Bytes};
use flate2::{Compress, Compression, FlushCompress, Status};
use fs_err::File;
use fs_err::os::unix::fs::FileExt as _;
use futures_util::stream::{BoxStream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use weir_core::{Error, Result};

/// Documents below this many bytes are not worth compressing.
const SMALL: usize = 1 << 10;
/// Documents up to this many bytes are kept as they are, too.
const KEPT: usize = 16 << 10;
/// What is longer than this in gzip goes to a file.
const IN_MEMORY: usize = 4 << 20;
/// How much of a document is read from a file, or unpacked, at a time.
const STEP: usize = 128 << 10;
/// How much of the bound on memory a byte in a file takes, and what an open file does.
const FILE_SHARE: u64 = 16;
const FILE_WEIGHT: usize = 64 << 10;

/// An index document, rendered and kept.
#[derive(Debug)]
pub struct Rendered {
    /// Its media type.
    pub content_type: &'static str,
    /// Its strong tag, with quotes.
    pub etag: Bytes,
    /// The strong tag of its gzip form, with quotes.
    pub gzip_etag: Bytes,
    /// Its length in bytes.
    pub length: u64,
    /// The same in digits.
    pub length_digits: Bytes,
    /// The length of its gzip form in digits, where there is one.
    pub gzip_length_digits: Option<Bytes>,
    /// One of the two is always there.
    identity: Option<Bytes>,
    gzip: Option<Packed>,
    /// Turns to unpack a step, shared by all indexes.
    unpacking: Arc<Semaphore>,
}

#[derive(Debug)]
enum Packed {
    Memory(Bytes),
    File(Arc<File>, u64),
}

/// Bytes of an index, to be sent.
pub enum Payload {
    /// From memory.
    Memory(Bytes),
    /// So many, as they are read or unpacked.
    Stream(u64, BoxStream<'static, io::Result<Bytes>>),
}

impl Rendered {
    /// Keeps a document that is in memory.
    pub fn of(content_type: &'static str, document: &[u8]) -> Result<Self> {
        Packers::new(1, None).pack(content_type, |out| out.write_all(document).map_err(Error::internal))
    }

    /// The document in gzip, unless it is too small for that.
    pub fn gzip(&self) -> Option<Payload> {
        Some(match self.gzip.as_ref()? {
            Packed::Memory(bytes) => Payload::Memory(bytes.clone()),
            Packed::File(file, length) => in_steps(FileReader::of(file), 0, *length, None),
        })
    }

    /// The document, or a range of it that lies within.
    pub fn identity(&self, range: Option<Range<u64>>) -> Payload {
        let range = range.unwrap_or(0..self.length);
        let length = range.end - range.start;
        let turns = Some(self.unpacking.clone());
        match (&self.identity, &self.gzip) {
            // Both ends lie within a length that is a `usize`.
            (Some(bytes), _) => Payload::Memory(bytes.slice(range.start as usize..range.end as usize)),
            (None, Some(Packed::Memory(bytes))) => {
                let unpacked = flate2::bufread::GzDecoder::new(bytes.clone().reader());
                in_steps(unpacked, range.start, length, turns)
            }
            (None, Some(Packed::File(file, _))) => {
                let unpacked = flate2::read::GzDecoder::new(FileReader::of(file));
                in_steps(unpacked, range.start, length, turns)
            }
            (None, None) => Payload::Memory(Bytes::new()),
        }
    }

    /// Bytes it takes of the bound on memory.
    pub(super) fn weight(&self) -> usize {
        let gzip = match &self.gzip {
            None => 0,
            Some(Packed::Memory(bytes)) => bytes.len(),
            Some(Packed::File(_, length)) => {
                FILE_WEIGHT.saturating_add(usize::try_from(length / FILE_SHARE).unwrap_or(usize::MAX))
            }
        };
        self.identity.as_ref().map_or(0, Bytes::len).saturating_add(gzip)
    }
}

/// A file read from its beginning by one of several readers.
struct FileReader {
    file: Arc<File>,
    at: u64,
}

impl FileReader {
    fn of(file: &Arc<File>) -> Self {
        Self { file: file.clone(), at: 0 }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// So many bytes behind those that are skipped, step by step off the async threads: a slow client holds none of them,
/// nor a turn. Each step takes a turn where there are any, so that clients share the cores.
fn in_steps(
    reader: impl Read + Send + 'static,
    skipped: u64,
    length: u64,
    turns: Option<Arc<Semaphore>>,
) -> Payload {
    let steps =
        futures_util::stream::try_unfold((reader, skipped, length), move |(reader, skipped, left)| {
            let turns = turns.clone();
            async move {
                let mut reader = reader;
                let mut to_skip = skipped;
                while to_skip > 0 {
                    let size = to_skip.min(STEP as u64);
                    let skip = move || {
                        io::copy(&mut reader.by_ref().take(size), &mut io::sink())?;
                        Ok(reader)
                    };
                    reader = step(turns.clone(), skip).await?;
                    to_skip -= size;
                }
                if left == 0 {
                    return Ok(None);
                }
                let read = move || {
                    let size = usize::try_from(left).unwrap_or(STEP).min(STEP);
                    let mut bytes = vec![0; size];
                    reader.read_exact(&mut bytes)?;
                    Ok((Bytes::from(bytes), (reader, 0, left - size as u64)))
                };
                step(turns, read).await.map(Some)
            }
        });
    Payload::Stream(length, steps.boxed())
}

/// Does a step off the async threads. Its turn is held until it is done, also when nobody waits for it any more.
async fn step<T: Send + 'static>(
    turns: Option<Arc<Semaphore>>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let Some(turns) = turns else {
        return tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
    };
    // A task of its own uses its turn when it comes; a client's may not be polled for as long as the client likes.
    let in_turn = async move {
        let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
        let work = move || {
            let _held = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    };
    tokio::spawn(in_turn).await.map_err(io::Error::other)?
}

/// What compresses: its tables are large, so a few are kept for the next index.
pub(super) struct Packers {
    idle: Mutex<Vec<Compress>>,
    most_idle: usize,
    /// Where large documents go.
    folder: Option<PathBuf>,
    /// Whether it was said that they cannot.
    has_warned: Arc<AtomicBool>,
    /// Turns to unpack a step of what was packed.
    unpacking: Arc<Semaphore>,
}

impl Packers {
    /// As many may work at once as there are cores.
    pub(super) fn new(cores: usize, folder: Option<PathBuf>) -> Self {
        Self {
            idle: Mutex::default(),
            most_idle: cores,
            folder,
            has_warned: Arc::default(),
            unpacking: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Keeps what `render` writes.
    pub(super) fn pack(
        &self,
        content_type: &'static str,
        render: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Rendered> {
        let idle = lock(&self.idle).pop();
        let compress = idle.unwrap_or_else(|| Compress::new_gzip(Compression::new(LEVEL), 15));
        let mut sink = Sink {
            hash: Sha256::new(),
            length: 0,
            head: Vec::new(),
            has_begun: false,
            compress,
            packed: Out {
                folder: self.folder.clone(),
                has_warned: self.has_warned.clone(),
                bytes: Vec::new(),
                file: None,
            },
        };
        render(&mut sink)?;
        let (rendered, mut compress) =
            sink.finish(content_type, self.unpacking.clone()).map_err(Error::internal)?;
        let mut idle = lock(&self.idle);
        if idle.len() < self.most_idle {
            compress.reset();
            idle.push(compress);
        }
        Ok(rendered)
    }
}

/// How hard is compressed: as small as nginx makes it within a twentieth, at a third of the time. The lowest level of
/// zlib-rs 0.6 panics when its output is short of room.
const LEVEL: u32 = 5;

/// Takes a document as it is rendered.
struct Sink {
    hash: Sha256,
    length: u64,
    /// The document, while it is small.
    head: Vec<u8>,
    /// Whether it is not, so that compressing has begun.
    has_begun: bool,
    compress: Compress,
    packed: Out,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        if self.has_begun {
            pack(&mut self.compress, bytes, FlushCompress::None, &mut self.packed)?;
        } else {
            self.head.extend_from_slice(bytes);
            if self.head.len() > KEPT {
                self.has_begun = true;
                let head = std::mem::take(&mut self.head);
                pack(&mut self.compress, &head, FlushCompress::None, &mut self.packed)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn finish(
        mut self,
        content_type: &'static str,
        unpacking: Arc<Semaphore>,
    ) -> io::Result<(Rendered, Compress)> {
        let base = hex::encode(&self.hash.finalize()[..16]);
        let gzip = if self.has_begun || self.head.len() >= SMALL {
            pack(&mut self.compress, &self.head, FlushCompress::Finish, &mut self.packed)?;
            Some(self.packed.end())
        } else {
            None
        };
        let gzip_length = gzip.as_ref().map(|packed| match packed {
            Packed::Memory(bytes) => bytes.len() as u64,
            Packed::File(_, length) => *length,
        });
        self.head.shrink_to_fit();
        let rendered = Rendered {
            content_type,
            etag: format!("\"{base}\"").into(),
            gzip_etag: format!("\"{base}-gz\"").into(),
            length: self.length,
            length_digits: self.length.to_string().into(),
            gzip_length_digits: gzip_length.map(|length| length.to_string().into()),
            identity: (!self.has_begun).then(|| Bytes::from(self.head)),
            gzip,
            unpacking,
        };
        Ok((rendered, self.compress))
    }
}

fn pack(compress: &mut Compress, mut input: &[u8], flush: FlushCompress, out: &mut Out) -> io::Result<()> {
    let mut chunk = [0; 16 << 10];
    loop {
        let (read, written) = (compress.total_in(), compress.total_out());
        let status = compress.compress(input, &mut chunk, flush)?;
        let read = usize::try_from(compress.total_in() - read).unwrap_or(input.len());
        let written = usize::try_from(compress.total_out() - written).unwrap_or(chunk.len());
        input = &input[read..];
        out.push(&chunk[..written])?;
        let is_done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => input.is_empty() && written < chunk.len(),
        };
        if is_done {
            return Ok(());
        }
    }
}

/// Compressed bytes, in memory while they are few. A file has no name, so it is gone with its last reader, and after
/// a crash.
struct Out {
    folder: Option<PathBuf>,
    has_warned: Arc<AtomicBool>,
    bytes: Vec<u8>,
    file: Option<(File, u64)>,
}

impl Out {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((file, length)) = &mut self.file {
            match file.write_all(bytes) {
                Ok(()) => {
                    *length += bytes.len() as u64;
                    return Ok(());
                }
                Err(error) => self.back_to_memory(&error)?,
            }
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > IN_MEMORY
            && let Some(folder) = &self.folder
        {
            match to_file(folder, &self.bytes) {
                Ok(file) => {
                    self.file = Some((file, self.bytes.len() as u64));
                    self.bytes = Vec::new();
                }
                Err(error) => self.back_to_memory(&error)?,
            }
        }
        Ok(())
    }

    /// A full disk keeps nobody from reading an index.
    fn back_to_memory(&mut self, error: &io::Error) -> io::Result<()> {
        // Said once: every large index would say it again.
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %error,
                "large indexes stay in memory, and the largest are made anew for each request, since they cannot be \
                 written to files in the cache folder; make room there, or let weir write to it"
            );
        }
        self.folder = None;
        if let Some((file, length)) = self.file.take() {
            let mut written = FileReader::of(&Arc::new(file)).take(length);
            written.read_to_end(&mut self.bytes)?;
        }
        Ok(())
    }

    fn end(mut self) -> Packed {
        match self.file {
            Some((file, length)) => Packed::File(Arc::new(file), length),
            None => {
                self.bytes.shrink_to_fit();
                Packed::Memory(self.bytes.into())
            }
        }
    }
}

fn to_file(folder: &PathBuf, bytes: &[u8]) -> io::Result<File> {
    fs_err::create_dir_all(folder)?;
    let mut file = File::from_parts(tempfile::tempfile_in(folder)?, folder.join("rendered"));
    file.write_all(bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    /// Text that does not compress well, so that its gzip form is long.
    fn document(bytes: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b' ' + (state >> 58) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    fn bytes_of(payload: Payload) -> Vec<u8> {
        match payload {
            Payload::Memory(bytes) => bytes.to_vec(),
            Payload::Stream(_, chunks) => {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let chunks: Vec<_> = runtime.block_on(chunks.collect());
                chunks.into_iter().flat_map(|chunk| chunk.unwrap()).collect()
            }
        }
    }

    fn unpacked(gzip: &[u8]) -> Vec<u8> {
        let mut document = Vec::new();
        flate2::read::GzDecoder::new(gzip).read_to_end(&mut document).unwrap();
        document
    }

    #[test]
    fn every_form_is_that_of_the_document_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        for (size, is_kept, in_file) in [
            (0, true, false),
            (SMALL, true, false),
            (KEPT, true, false),
            (KEPT + 1, false, false),
            (300 << 10, false, false),
            (8 << 20, false, true),
        ] {
            let text = document(size);
            let packers = Packers::new(1, Some(folder.path().join("cache")));
            for _ in 0..2 {
                let pieces = |out: &mut dyn Write| {
                    text.chunks(5000).try_for_each(|piece| out.write_all(piece)).map_err(Error::internal)
                };
                let rendered = packers.pack("a/b", pieces).unwrap();
                assert_eq!(rendered.length, size as u64);
                assert_eq!(rendered.identity.is_some(), is_kept, "{size}");
                assert_eq!(matches!(rendered.gzip, Some(Packed::File(..))), in_file, "{size}");
                assert!(bytes_of(rendered.identity(None)) == text, "{size}");
                let etag = format!("\"{}\"", &weir_core::Digest::of(&text).hex()[..32]);
                assert_eq!(rendered.etag, etag);
                if size > 100 {
                    let range = size as u64 / 3..size as u64 - 7;
                    let part = &text[range.start as usize..range.end as usize];
                    assert!(bytes_of(rendered.identity(Some(range))) == part, "{size}");
                }
                if let Some(gzip) = rendered.gzip() {
                    let gzip = bytes_of(gzip);
                    assert_eq!(
                        rendered.gzip_length_digits.as_deref(),
                        Some(gzip.len().to_string().as_bytes())
                    );
                    assert!(unpacked(&gzip) == text, "{size}");
                    assert!(rendered.weight() <= size + 200 + (64 << 10), "{}", rendered.weight());
                } else {
                    assert!(size < SMALL);
                }
            }
        }
        assert_eq!(fs_err::read_dir(folder.path().join("cache")).unwrap().count(), 0, "files have no names");
    }

    #[test]
    fn a_large_document_is_kept_in_memory_where_no_file_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("cache");
        fs_err::write(&occupied, "no folder").unwrap();
        let text = document(8 << 20);
        let packers = Packers::new(1, Some(occupied));
        for _ in 0..2 {
            let rendered = packers.pack("a/b", |out| out.write_all(&text).map_err(Error::internal)).unwrap();
            assert!(matches!(rendered.gzip, Some(Packed::Memory(_))));
            assert!(rendered.weight() > IN_MEMORY, "it counts whole");
            assert!(bytes_of(rendered.identity(None)) == text);
            assert!(packers.has_warned.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn a_client_that_does_not_read_holds_no_turn_to_unpack() {
        let text = document(5 * STEP);
        let rendered = Rendered::of("a/b", &text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let begun = || {
            let Payload::Stream(_, mut chunks) = rendered.identity(Some(1..text.len() as u64)) else {
                panic!("it is not kept as it is")
            };
            let first = runtime.block_on(chunks.next()).unwrap().unwrap();
            assert!(first == text[1..=STEP]);
            chunks
        };
        let slow: Vec<_> = (0..10).map(|_| begun()).collect();
        assert_eq!(rendered.unpacking.available_permits(), 1);
        let held = runtime.block_on(rendered.unpacking.acquire()).unwrap();
        let Payload::Stream(_, mut chunks) = rendered.identity(None) else { panic!("nor is it here") };
        let waiting = runtime.block_on(async { chunks.next().now_or_never().is_none() });
        assert!(waiting, "another step waits for its turn");
        drop(held);
        drop(chunks);
        for chunks in slow {
            let rest: Vec<_> = runtime.block_on(chunks.collect());
            assert!(rest.into_iter().flat_map(|chunk| chunk.unwrap()).eq(text[1 + STEP..].iter().copied()));
        }
    }
}
