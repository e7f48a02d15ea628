//! Opening and reading what the system has in memory already, without leaving the async thread. Nothing here waits for
//! a disk; where the system knows no such calls nothing is had, and a thread that may wait looks.

use bytes::Bytes;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Opens a file whose path is in the system's memory; `None` in every other case, also where there is none.
#[cfg(target_os = "linux")]
pub(crate) fn open_cached(path: &Path) -> Option<fs_err::File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    Some(fs_err::File::from_parts(opened.into(), path))
}

/// On this system nobody tells.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open_cached(_path: &Path) -> Option<fs_err::File> {
    None
}

/// The bytes of a range, when all of them can be had at once.
pub(crate) fn read_all_cached(file: &fs_err::File, offset: u64, length: usize) -> Option<Bytes> {
    if length == 0 {
        return Some(Bytes::new());
    }
    if !(FEWEST..=LARGEST).contains(&length) {
        return read_cached(file.file(), offset, length)
            .filter(|bytes| bytes.len() == length)
            .map(Bytes::from);
    }
    let mut buffer = Reused::take(length);
    let came = read_now(file.file(), offset, &mut buffer.0)?;
    (came == length).then(|| Bytes::from_owner(buffer))
}

/// Buffers of these sizes are used again: the allocator, asked for one with every small file, puts its books in order
/// each time that one comes back.
const FEWEST: usize = 2 << 10;
const LARGEST: usize = 80 << 10;
/// Up to this size they are of this size, so that a slow client does not hold a large one for a small file.
const SMALLER: usize = 24 << 10;
/// How many of each size wait at most.
const MOST: usize = 64;
static SMALL_WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static LARGE_WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer that goes back to those that wait.
struct Reused(Vec<u8>);

impl Reused {
    fn take(length: usize) -> Self {
        let capacity = if length <= SMALLER { SMALLER } else { LARGEST };
        let waiting = Self::waiting(capacity).pop();
        let mut buffer = waiting.unwrap_or_else(|| Vec::with_capacity(capacity));
        buffer.resize(length, 0);
        Self(buffer)
    }

    fn waiting(capacity: usize) -> MutexGuard<'static, Vec<Vec<u8>>> {
        let waiting = if capacity < LARGEST { &SMALL_WAITING } else { &LARGE_WAITING };
        waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Reused {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Reused {
    fn drop(&mut self) {
        let mut waiting = Self::waiting(self.0.capacity());
        if waiting.len() < MOST {
            waiting.push(std::mem::take(&mut self.0));
        }
    }
}

/// Reads bytes at an offset as far as they can be had at once, at most `length`; `None` when none can, the file ends
/// there, or the system cannot tell. An error is left to whoever reads the file in earnest.
fn read_cached(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; length];
    let came = read_now(file, offset, &mut buffer)?;
    buffer.truncate(came);
    Some(buffer)
}

/// Fills the beginning of a buffer with what can be had at once; how much that is, and never nothing.
#[cfg(target_os = "linux")]
fn read_now(file: &File, offset: u64, buffer: &mut [u8]) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let came = preadv2(file, &mut [std::io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT).ok()?;
    (came > 0).then_some(came)
}

/// On this system nobody tells: everything is read off the async threads.
#[cfg(not(target_os = "linux"))]
fn read_now(_file: &File, _offset: u64, _buffer: &mut [u8]) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_written_is_there_or_nothing_is_said() -> std::io::Result<()> {
        use std::io::Write as _;
        let mut file = tempfile::tempfile()?;
        file.write_all(b"0123456789")?;
        if let Some(bytes) = read_cached(&file, 2, 3) {
            assert_eq!(bytes, b"234");
            assert_eq!(read_cached(&file, 8, 100).as_deref(), Some(&b"89"[..]));
        }
        assert_eq!(read_cached(&file, 10, 5), None);
        Ok(())
    }

    #[test]
    fn buffers_are_used_again_and_hold_what_was_read_into_them() {
        let file = fs_err::File::from_parts(tempfile::tempfile().unwrap(), "file");
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
        std::io::Write::write_all(&mut file.file(), &bytes).unwrap();
        let mut held = Vec::new();
        for round in 0..200_u64 {
            for length in [0, 1, FEWEST, 10_000, LARGEST, LARGEST + 1] {
                let Some(read) = read_all_cached(&file, round, length) else { continue };
                assert!(read == bytes[round as usize..round as usize + length]);
                held.push((round, read));
            }
            if round % 50 == 49 {
                assert!(held.iter().all(|(round, read)| bytes[*round as usize..].starts_with(read)));
                held.clear();
            }
        }
        assert!(read_all_cached(&file, 199_999, FEWEST).is_none(), "the file ends there");
        assert!([0, LARGEST].iter().all(|capacity| Reused::waiting(*capacity).len() <= MOST));
    }
}
