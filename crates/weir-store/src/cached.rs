//! Opening and reading what the system has in memory already, without leaving the async thread. Nothing here waits for
//! a disk; where the system knows no such calls nothing is had, and a thread that may wait looks.

use std::fs::File;
use std::path::Path;

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
pub(crate) fn read_all_cached(file: &fs_err::File, offset: u64, length: usize) -> Option<Vec<u8>> {
    if length == 0 {
        return Some(Vec::new());
    }
    read_cached(file.file(), offset, length).filter(|bytes| bytes.len() == length)
}

/// Reads bytes at an offset as far as they can be had at once, at most `length`; `None` when none can, the file ends
/// there, or the system cannot tell. An error is left to whoever reads the file in earnest.
#[cfg(target_os = "linux")]
pub fn read_cached(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    use rustix::io::ReadWriteFlags;
    let mut buffer = vec![0; length];
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let came = rustix::io::preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT).ok()?;
    buffer.truncate(came);
    (came > 0).then_some(buffer)
}

/// On this system nobody tells: everything is read off the async threads.
#[cfg(not(target_os = "linux"))]
pub fn read_cached(_file: &File, _offset: u64, _length: usize) -> Option<Vec<u8>> {
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
}
