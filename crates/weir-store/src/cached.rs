//! Reading what the system has in memory already, without leaving the async thread. Nothing here waits for a disk.

use std::fs::File;

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
