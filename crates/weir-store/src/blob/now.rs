//! Files as far as the kernel has them in memory: opened and read without waiting for a disk, so that async
//! threads may do it. Where the kernel knows no such calls nothing is had, and a thread that may wait looks.

use fs_err::File;
use std::path::Path;

/// Opens a file whose path is in the kernel's memory; `None` in every other case, also where there is none.
#[cfg(target_os = "linux")]
pub(super) fn open(path: &Path) -> Option<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    Some(File::from_parts(opened.into(), path))
}

/// The bytes of a range, when all of them are in the kernel's memory.
#[cfg(target_os = "linux")]
pub(super) fn read(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut bytes = vec![0; length];
    let mut into = [std::io::IoSliceMut::new(&mut bytes)];
    let read = preadv2(file.file(), &mut into, offset, ReadWriteFlags::NOWAIT).ok()?;
    (read == length).then_some(bytes)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn open(_path: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn read(_file: &File, _offset: u64, _length: usize) -> Option<Vec<u8>> {
    None
}
