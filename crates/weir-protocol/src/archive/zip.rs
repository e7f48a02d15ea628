//! Reading a zip that a stranger made: plain files and folders, stored or deflated, one behind the
//! other from the first byte to the last. Whatever two readers could understand differently, whether
//! they begin at the front or at the central directory, is refused rather than guessed. Blocking.
//!
//! Formats: PKWARE APPNOTE 6.3.10 with ZIP64 (4.5.3); RFC 1951.

mod content;
mod directory;

use self::content::Content;
use self::directory::{End, LOCAL_BYTES, MOST_TAIL_BYTES};
use super::{ArchiveLimits, Summary, broken, refused};
use flate2::Decompress;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use weir_core::error::{Error, Result};

/// The most bytes a central directory may have; it is in memory while it is read.
pub const MOST_DIRECTORY_BYTES: u64 = 32 << 20;

/// Bytes that are allocated at once for a declared size; beyond it memory grows with what comes.
const MOST_RESERVED_BYTES: u64 = 1 << 20;

/// One entry of a zip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipEntry {
    /// Its normal path: no `.` components, no repeated slashes, none at the end of a folder.
    pub path: String,
    /// In bytes, unpacked.
    pub size: u64,
    /// In bytes, as it stands in the zip.
    pub compressed_size: u64,
    /// Of the unpacked bytes.
    pub crc32: u32,
    /// Whether it is a folder; all else is a file.
    pub is_folder: bool,
    /// The path as it is written.
    name: Vec<u8>,
    flags: u16,
    method: Method,
    /// Where its local header begins.
    offset: u64,
}

/// How the bytes of an entry are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored,
    Deflated,
}

/// Called with each file and its content.
type Visit<'a> = &'a mut dyn FnMut(&ZipEntry, &mut dyn Read) -> Result<()>;

/// A zip whose central directory was read and found sound.
pub struct Zip<R> {
    source: BufReader<R>,
    inflate: Decompress,
    /// In the order of the file.
    entries: Vec<ZipEntry>,
    /// Where the central directory begins, and thus the last entry ends.
    directory: u64,
}

impl<R: Read + Seek> Zip<R> {
    /// Reads and checks the end record and the central directory of a zip of `size` bytes: paths,
    /// kinds, methods, and that no two entries overlap. The directory may have
    /// [`MOST_DIRECTORY_BYTES`]. Errors: `Invalid` names the entry and the rule; `TooLarge` the limit;
    /// `Internal` when `source` itself cannot be read.
    pub fn open(source: R, size: u64, limits: &ArchiveLimits) -> Result<Self> {
        if i64::try_from(size).is_err() {
            return Err(Error::too_large("the archive is larger than any zip can be"));
        }
        let mut source = BufReader::with_capacity(64 << 10, source);
        let tail_bytes = size.min(MOST_TAIL_BYTES);
        let tail = read_at(&mut source, size - tail_bytes, tail_bytes)?;
        let end = End::find(&tail, size)?;
        if end.entries > limits.entries {
            return Err(Error::too_large(format!("the archive has more than {} entries", limits.entries)));
        }
        if end.size > MOST_DIRECTORY_BYTES {
            let rule = "the central directory of the archive is larger than";
            return Err(Error::too_large(format!("{rule} {MOST_DIRECTORY_BYTES} bytes")));
        }
        let raw = read_at(&mut source, end.offset, end.size)?;
        let mut entries = directory::entries(&raw, end.entries, limits)?;
        check_unpacked(&entries, limits)?;
        check_paths(&entries)?;
        entries.sort_by_key(|entry| entry.offset);
        check_order(&entries, end.offset)?;
        Ok(Self { source, inflate: Decompress::new(false), entries, directory: end.offset })
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> &[ZipEntry] {
        &self.entries
    }

    /// The bytes of the entry at this place of [`entries`](Self::entries), which may be `limit` at most.
    /// Its local header, size, CRC-32 and end are checked. Errors as of [`open`](Self::open), and
    /// `Internal` when there is no such entry.
    pub fn read(&mut self, index: usize, limit: u64) -> Result<Vec<u8>> {
        let Some(entry) = self.entries.get(index) else {
            return Err(Error::internal(format!("a zip has no entry {index}")));
        };
        if entry.size > limit {
            let path = weir_core::name::shown(&entry.path);
            return Err(Error::too_large(format!("archive: entry '{path}' is larger than {limit} bytes")));
        }
        // At most as many as the constant says.
        let mut bytes = Vec::with_capacity(entry.size.min(MOST_RESERVED_BYTES) as usize);
        let mut take = |_: &ZipEntry, content: &mut dyn Read| {
            content.read_to_end(&mut bytes).map(drop).map_err(Error::internal)
        };
        self.visit(index, &mut take)?;
        Ok(bytes)
    }

    /// Shows every file, in the order of the file, to `visit`, which may read it, in part or not at all.
    /// All local headers, sizes and CRC-32s are checked, and that no byte lies before, between or behind
    /// the entries. Errors as of [`open`](Self::open); those of `visit` come back as they are.
    pub fn read_all(
        &mut self,
        visit: &mut dyn FnMut(&ZipEntry, &mut dyn Read) -> Result<()>,
    ) -> Result<Summary> {
        let mut summary = Summary::default();
        for index in 0..self.entries.len() {
            summary.entries += 1;
            summary.unpacked_bytes += self.entries[index].size;
            if self.entries[index].is_folder {
                self.visit(index, &mut |_, _| Ok(()))?;
            } else {
                self.visit(index, visit)?;
            }
        }
        Ok(summary)
    }

    fn visit(&mut self, index: usize, visit: Visit<'_>) -> Result<()> {
        let next = self.entries.get(index + 1).map_or(self.directory, |entry| entry.offset);
        let entry = &self.entries[index];
        let descriptor_bytes = enter(&mut self.source, entry, next)?;
        let mut content = Content::new(&mut self.source, &mut self.inflate, entry);
        let visited = visit(entry, &mut content);
        // A failure to read explains whatever the visitor made of it.
        if let Some(failure) = content.failure.take() {
            return Err(failure);
        }
        visited?;
        content.drain()?;
        let mut descriptor = [0; directory::MOST_DESCRIPTOR_BYTES];
        let descriptor = &mut descriptor[..descriptor_bytes];
        fill(&mut self.source, descriptor)?;
        directory::check_descriptor(descriptor, entry)
    }
}

/// Checks the local header of an entry that ends at `next`, leaves the source at the first byte of its
/// content and answers how many bytes of data descriptor follow that.
fn enter<R: Read + Seek>(source: &mut BufReader<R>, entry: &ZipEntry, next: u64) -> Result<usize> {
    go_to(source, entry.offset)?;
    let mut fixed = [0; LOCAL_BYTES];
    fill(source, &mut fixed)?;
    let variable_bytes = directory::local_variable_bytes(&fixed);
    let mut variable = vec![0; variable_bytes];
    fill(source, &mut variable)?;
    directory::check_local(&fixed, &variable, entry)?;
    // No sum overflows: the size of the content was compared with that of the file.
    let end = entry.offset + (LOCAL_BYTES + variable_bytes) as u64 + entry.compressed_size;
    let Some(left) = next.checked_sub(end) else { return Err(overlaps(entry)) };
    match usize::try_from(left) {
        Ok(left) if entry.has_descriptor() == (left > 0) && directory::is_descriptor_length(left) => Ok(left),
        _ if left == 0 => Err(refused(&entry.name, "announces a data descriptor that is not there")),
        _ => Err(refused(&entry.name, "is followed by bytes that belong to no entry")),
    }
}

/// Together the files may not be larger than the limit, whatever each turns out to be.
fn check_unpacked(entries: &[ZipEntry], limits: &ArchiveLimits) -> Result<()> {
    let total = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    if total > limits.unpacked_bytes {
        return Err(Error::too_large(format!(
            "the archive unpacks to more than {} bytes, which is the limit for its size",
            limits.unpacked_bytes
        )));
    }
    Ok(())
}

/// No path comes twice, and none leads through a file.
fn check_paths(entries: &[ZipEntry]) -> Result<()> {
    let mut sorted: Vec<&ZipEntry> = entries.iter().collect();
    // By components, so that all that is below a path follows it at once.
    sorted.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
    for pair in sorted.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let Some(rest) = after.path.strip_prefix(&before.path) else { continue };
        if rest.is_empty() {
            return Err(refused(&after.name, "stands twice in the archive"));
        }
        if !before.is_folder && rest.starts_with('/') {
            return Err(refused(&after.name, "lies below another entry that is a file"));
        }
    }
    Ok(())
}

/// The entries begin with the file and none reaches into the next. Local headers may be longer than is
/// known here; that comes out when they are read.
fn check_order(entries: &[ZipEntry], directory: u64) -> Result<()> {
    if entries.first().map_or(directory, |entry| entry.offset) != 0 {
        return Err(broken("data precedes its first entry"));
    }
    for (index, entry) in entries.iter().enumerate() {
        let next = entries.get(index + 1).map_or(directory, |entry| entry.offset);
        let least = (LOCAL_BYTES + entry.name.len()) as u64;
        let end = entry.offset.checked_add(least).and_then(|end| end.checked_add(entry.compressed_size));
        if end.is_none_or(|end| end > next) {
            return Err(overlaps(entry));
        }
    }
    Ok(())
}

fn overlaps(entry: &ZipEntry) -> Error {
    refused(&entry.name, "overlaps what follows it")
}

/// `length` bytes, which the caller has bounded.
fn read_at<R: Read + Seek>(source: &mut BufReader<R>, offset: u64, length: u64) -> Result<Vec<u8>> {
    go_to(source, offset)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(Error::internal)?];
    fill(source, &mut bytes)?;
    Ok(bytes)
}

/// Moves without losing what is buffered.
fn go_to<R: Read + Seek>(source: &mut BufReader<R>, offset: u64) -> Result<()> {
    let here = source.stream_position().map_err(Error::internal)?;
    match i64::try_from(i128::from(offset) - i128::from(here)) {
        Ok(distance) => source.seek_relative(distance).map_err(Error::internal),
        Err(_) => source.seek(SeekFrom::Start(offset)).map(drop).map_err(Error::internal),
    }
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    source.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => broken("it is cut short"),
        _ => Error::internal(error),
    })
}

#[cfg(test)]
mod tests;
