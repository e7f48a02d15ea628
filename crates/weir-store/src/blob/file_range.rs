//! A part of a file that is to go out: sent by the kernel from its memory to a socket where that is possible,
//! else read in pieces.

use super::blocking;
use crate::cached::read_all_cached;
use bytes::Bytes;
use fs_err::File;
use fs_err::os::unix::fs::FileExt as _;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files are read in pieces of up to this size.
pub const PIECE: u64 = 256 << 10;
/// Beside so many other readers they are smaller: thousands of slow ones would hold much memory.
const MANY_READERS: usize = 64;
const SMALL_PIECE: u64 = 64 << 10;
/// Streams of files in this process.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// Some of the bytes of an open file.
#[derive(Debug, Clone)]
pub struct FileRange {
    file: Arc<File>,
    /// Offsets in the file.
    range: Range<u64>,
}

impl FileRange {
    /// The bytes between two offsets of a file.
    pub fn new(file: Arc<File>, range: Range<u64>) -> Self {
        Self { file, range }
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Takes up to `most` bytes from its beginning.
    pub fn split_to(&mut self, most: u64) -> Self {
        let middle = self.range.end.min(self.range.start + most);
        let first = Self { file: self.file.clone(), range: self.range.start..middle };
        self.range.start = middle;
        first
    }

    /// Whether its bytes are likely to be in the kernel's memory, by a look at the first and the last.
    pub fn is_in_memory(&self) -> bool {
        let Range { start, end } = self.range;
        self.is_empty() || [start, end - 1].iter().all(|at| read_all_cached(&self.file, *at, 1).is_some())
    }

    /// Reads all bytes, so that they are in the kernel's memory afterwards. Blocks.
    pub fn read_through(&self) -> io::Result<()> {
        let mut rest = self.range.clone();
        let mut buffer = vec![0; SMALL_PIECE.min(self.len()) as usize];
        while !rest.is_empty() {
            let length = buffer.len().min((rest.end - rest.start) as usize);
            self.file.read_exact_at(&mut buffer[..length], rest.start)?;
            rest.start += length as u64;
        }
        Ok(())
    }

    /// Whether [`FileRange::send_to`] works on this system.
    pub const fn can_be_sent() -> bool {
        cfg!(target_os = "linux")
    }

    /// Sends up to `most` bytes from its beginning to a socket without copying them through this process (sendfile),
    /// and takes from it what was sent. Blocks where they are not in the kernel's memory. Errors: WouldBlock while the
    /// socket takes nothing; UnexpectedEof where the file has become shorter; Unsupported.
    #[cfg(target_os = "linux")]
    pub fn send_to(&mut self, socket: impl std::os::fd::AsFd, most: usize) -> io::Result<usize> {
        let most = most.min(usize::try_from(self.len()).unwrap_or(usize::MAX));
        let mut offset = self.range.start;
        match rustix::fs::sendfile(socket, self.file.file(), Some(&mut offset), most)? {
            0 if most > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => {
                self.range.start += sent as u64;
                Ok(sent)
            }
        }
    }

    /// Sends nothing: this system has no such call.
    #[cfg(not(target_os = "linux"))]
    pub fn send_to<S>(&mut self, _socket: S, _most: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Its bytes, piece by piece. What the kernel has in memory is read where the stream is polled, the rest on a thread
    /// that may wait.
    pub fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        stream::try_unfold((self, Reader::new()), |(mut rest, reader)| async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let size = if READERS.load(Ordering::Relaxed) > MANY_READERS { SMALL_PIECE } else { PIECE };
            let piece = rest.split_to(size);
            Ok(Some((piece.read().await?, (rest, reader))))
        })
        .boxed()
    }

    async fn read(self) -> io::Result<Bytes> {
        if let Some(bytes) = read_all_cached(&self.file, self.range.start, self.len() as usize) {
            return Ok(bytes);
        }
        blocking(move || {
            let mut bytes = vec![0; self.len() as usize];
            self.file.read_exact_at(&mut bytes, self.range.start)?;
            Ok(Bytes::from(bytes))
        })
        .await
    }
}

/// Counts a stream of a file for as long as it lives.
struct Reader;

impl Reader {
    fn new() -> Self {
        READERS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt as _;

    fn range_of(bytes: &[u8], range: Range<u64>) -> FileRange {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs_err::write(&path, bytes).unwrap();
        FileRange::new(Arc::new(File::open(path).unwrap()), range)
    }

    #[tokio::test]
    async fn a_range_is_read_and_split() {
        let mut range = range_of(b"0123456789", 2..9);
        assert_eq!((range.len(), range.is_empty()), (7, false));
        range.read_through().unwrap();
        let first = range.split_to(3);
        let read =
            |range: FileRange| async move { range.stream().try_collect::<Vec<_>>().await.unwrap().concat() };
        assert_eq!(read(first).await, b"234");
        assert_eq!(read(range.clone()).await, b"5678");
        assert_eq!(range.split_to(100).len(), 4);
        assert!(range.is_empty() && range.is_in_memory());
        let too_long = range_of(b"0123", 2..9).stream().try_collect::<Vec<_>>().await;
        assert_eq!(too_long.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_range_is_sent_to_a_socket_and_a_shortened_file_is_told() {
        use std::io::Read as _;
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut range = range_of(b"0123456789", 2..9);
        assert_eq!(range.send_to(&near, 4).unwrap(), 4);
        assert_eq!(range.send_to(&near, 400).unwrap(), 3);
        assert_eq!(range.send_to(&near, 400).unwrap(), 0);
        let mut short = range_of(b"0123", 4..9);
        assert_eq!(short.send_to(&near, 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        drop(near);
        let mut sent = String::new();
        far.read_to_string(&mut sent).unwrap();
        assert_eq!(sent, "2345678");
    }
}
