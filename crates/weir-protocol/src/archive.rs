//! Reading a `.tgz` that a stranger made, once, in order, without writing anything: one gzip member
//! holding a tar of plain files and folders. Whatever two readers could understand differently is
//! refused rather than guessed. Blocking; call it where blocking is allowed. Zips are in `archive/zip.rs`.
//!
//! Formats: RFC 1952; POSIX.1-2001 pax; the GNU tar manual, "Basic Tar Format".

mod header;
pub mod zip;

use self::header::{BLOCK, Extensions, Header, Kind};
use flate2::bufread::GzDecoder;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use weir_core::Digest;
use weir_core::error::{Error, Result};
use weir_core::name::shown;

/// What an archive may have.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveLimits {
    /// Files and folders.
    pub entries: u64,
    /// Bytes of the whole tar, headers included; of a zip those of its files.
    pub unpacked_bytes: u64,
    /// Bytes of one path.
    pub path_bytes: usize,
    /// Bytes of one pax or long-name header; a zip has none.
    pub header_bytes: u64,
}

impl ArchiveLimits {
    /// The limits for an archive of this many compressed bytes: 100,000 entries; 100 times its size,
    /// at least 256 MiB and at most 10 GiB; paths of 1024 bytes; headers of 1 MiB.
    pub fn of(compressed_bytes: u64) -> Self {
        Self {
            entries: 100_000,
            unpacked_bytes: compressed_bytes.saturating_mul(100).clamp(256 << 20, 10 << 30),
            path_bytes: 1024,
            header_bytes: 1 << 20,
        }
    }
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its normal path: no `.` components, no repeated slashes.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Unix permission bits.
    pub mode: u32,
}

impl Entry {
    /// The path below the top folder, as npm and cargo strip it; `None` for a file beside it.
    pub fn inside(&self) -> Option<&str> {
        self.path.split_once('/').map(|(_, inside)| inside)
    }
}

/// What an archive had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files and folders.
    pub entries: u64,
    /// Bytes of the whole tar, headers included; of a zip those of its files.
    pub unpacked_bytes: u64,
}

/// Reads an archive from its first to its last byte and shows each file to `visit`, which may read it,
/// in part or not at all. Errors: `Invalid` names the entry and the rule; `TooLarge` the limit; those
/// of `visit` come back as they are; `Internal` when `source` itself cannot be read.
pub fn read_tgz(
    source: impl Read,
    limits: &ArchiveLimits,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<()>,
) -> Result<Summary> {
    read_tgz_until(source, limits, &mut |entry, content| visit(entry, content).map(ControlFlow::Continue))
}

/// Whether to go on after a file, or that it was refused.
pub type Visited = Result<ControlFlow<()>>;

/// [`read_tgz`] until `visit` answers `Break`: the rest of that file and all behind it is neither read
/// nor checked. The summary is of what came before. For archives whose digest vouches for them.
pub fn read_tgz_until(
    source: impl Read,
    limits: &ArchiveLimits,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visited,
) -> Result<Summary> {
    let mut tar = Unpacked {
        gzip: GzDecoder::new(BufReader::with_capacity(64 << 10, source)),
        read: 0,
        limit: limits.unpacked_bytes,
        failure: None,
    };
    let mut summary = Summary::default();
    let mut seen = Seen::default();
    let mut extensions = Extensions::default();
    loop {
        let mut block = [0; BLOCK];
        tar.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let header = Header::parse(&block)?;
        if let Some(field) = header.kind.extension() {
            if header.size > limits.header_bytes {
                let rule = format_args!("must not be larger than {} bytes", limits.header_bytes);
                return Err(refused(&header.path, format!("an extended header {rule}")));
            }
            let mut data = vec![0; usize::try_from(header.size).map_err(Error::internal)?];
            tar.fill(&mut data)?;
            tar.skip_padding(header.size)?;
            extensions.take(field, &data)?;
            continue;
        }
        summary.entries += 1;
        if summary.entries > limits.entries {
            return Err(Error::too_large(format!("the archive has more than {} entries", limits.entries)));
        }
        let entry = entry(&header, std::mem::take(&mut extensions), limits)?;
        if !seen.add(&entry, header.kind) {
            return Err(refused(entry.path.as_bytes(), "stands twice in the archive"));
        }
        if header.kind == Kind::File {
            let mut content = Content { tar: &mut tar, left: entry.size };
            let visited = visit(&entry, &mut content);
            let left = content.left;
            // A failure to read explains whatever the visitor made of it.
            if let Some(failure) = tar.failure.take() {
                return Err(failure);
            }
            if visited?.is_break() {
                summary.unpacked_bytes = tar.read;
                return Ok(summary);
            }
            tar.skip(left)?;
            tar.skip_padding(entry.size)?;
        }
    }
    if !extensions.is_empty() {
        return Err(broken("an extended header at its end belongs to no entry"));
    }
    tar.expect_end()?;
    summary.unpacked_bytes = tar.read;
    Ok(summary)
}

fn entry(header: &Header, extensions: Extensions, limits: &ArchiveLimits) -> Result<Entry> {
    let path = extensions.path.as_deref().unwrap_or(&header.path);
    match header.kind {
        Kind::File | Kind::Folder => {}
        Kind::Link => return Err(refused(path, "is a link; an archive may hold files and folders only")),
        Kind::Other => {
            return Err(refused(path, "is neither a file nor a folder; an archive may hold nothing else"));
        }
        Kind::Extension(_) => return Err(refused(path, "is an extended header")),
    }
    if extensions.link {
        return Err(refused(path, "has the target of a link although it is none"));
    }
    if extensions.size.is_some_and(|size| size != header.size) {
        return Err(refused(path, "has two sizes: its pax header and its tar header differ"));
    }
    if header.kind == Kind::Folder && header.size != 0 {
        return Err(refused(path, "is a folder with content"));
    }
    let path = normal_path(path, header.kind == Kind::Folder, limits)?;
    Ok(Entry { path, size: header.size, mode: header.mode })
}

fn normal_path(raw: &[u8], is_folder: bool, limits: &ArchiveLimits) -> Result<String> {
    if raw.len() > limits.path_bytes {
        return Err(refused(raw, format!("has a path longer than {} bytes", limits.path_bytes)));
    }
    let Ok(path) = std::str::from_utf8(raw) else { return Err(refused(raw, "has a path that is not UTF-8")) };
    if path.chars().any(char::is_control) {
        return Err(refused(raw, "has a control character in its path"));
    }
    if path.contains('\\') {
        return Err(refused(raw, "has a backslash in its path"));
    }
    if path.starts_with('/') || path.as_bytes().get(1) == Some(&b':') {
        return Err(refused(raw, "has an absolute path"));
    }
    if path.split('/').any(|component| component == "..") {
        return Err(refused(raw, "has a '..' in its path"));
    }
    if !is_folder && (path.ends_with('/') || path.ends_with("/.")) {
        return Err(refused(raw, "is a file with the name of a folder"));
    }
    let components: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if components.is_empty() && !is_folder {
        return Err(refused(raw, "has an empty path"));
    }
    Ok(components.join("/"))
}

/// The paths that were seen, by their digests, so that long ones cost no memory.
#[derive(Default)]
struct Seen(HashMap<Digest, Kind>);

impl Seen {
    /// Whether the path is new. It is compared without its top folder, as npm unpacks it. A folder may
    /// come again.
    fn add(&mut self, entry: &Entry, kind: Kind) -> bool {
        let key = match entry.inside() {
            Some(inside) => Digest::of(inside.as_bytes()),
            // No path below a top folder begins with a slash.
            None => Digest::of(format!("/{}", entry.path).as_bytes()),
        };
        match self.0.insert(key, kind) {
            None => true,
            Some(before) => before == Kind::Folder && kind == Kind::Folder,
        }
    }
}

/// The tar inside the gzip, counted and limited.
struct Unpacked<R: Read> {
    gzip: GzDecoder<BufReader<R>>,
    read: u64,
    limit: u64,
    failure: Option<Error>,
}

impl<R: Read> Unpacked<R> {
    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = loop {
            match self.gzip.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => break count,
                Err(error) => return Err(read_error(error)),
            }
        };
        self.read += count as u64;
        if self.read > self.limit {
            return Err(Error::too_large(format!(
                "the archive unpacks to more than {} bytes, which is the limit for its size",
                self.limit
            )));
        }
        Ok(count)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            match self.read_some(buffer)? {
                0 => return Err(broken("it is cut short")),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        let mut buffer = [0; 8 << 10];
        while count > 0 {
            let step = count.min(buffer.len() as u64);
            self.fill(&mut buffer[..step as usize])?;
            count -= step;
        }
        Ok(())
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        self.skip(size.wrapping_neg() % BLOCK as u64)
    }

    /// After the first empty block nothing but zeros may come, and after the gzip nothing at all.
    fn expect_end(&mut self) -> Result<()> {
        let mut buffer = [0; 8 << 10];
        loop {
            let count = self.read_some(&mut buffer)?;
            if count == 0 {
                break;
            }
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(broken("data follows the end of the tar"));
            }
        }
        match self.gzip.get_mut().fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(broken("data follows the end of the gzip stream")),
            Err(error) => Err(read_error(error)),
        }
    }
}

/// The content of one file, for the visitor.
struct Content<'a, R: Read> {
    tar: &'a mut Unpacked<R>,
    left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let failure = match self.tar.read_some(&mut buffer[..most]) {
            Ok(0) => broken("it is cut short"),
            Ok(count) => {
                self.left -= count as u64;
                return Ok(count);
            }
            Err(error) => error,
        };
        let told = io::Error::other(failure.to_string());
        self.tar.failure = Some(failure);
        Err(told)
    }
}

/// What the decoder says of bytes that are no gzip is the archive's fault, all else the machine's.
fn read_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => broken("it is cut short"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            broken("it is not a gzip stream, or its checksum is wrong")
        }
        _ => Error::internal(error),
    }
}

fn broken(rule: &str) -> Error {
    Error::invalid("archive", rule)
}

fn refused(path: &[u8], rule: impl std::fmt::Display) -> Error {
    let path = String::from_utf8_lossy(path);
    Error::invalid("archive", format_args!("entry '{}' {rule}", shown(&path)))
}

#[cfg(test)]
mod tests;
