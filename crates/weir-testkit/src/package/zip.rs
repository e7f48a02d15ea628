//! Zip archives entry by entry, the lying ones too: wrong checksums and sizes, two directories, names that
//! differ between the entry and the directory, links, bombs, and bytes where none belong.

use bytes::Bytes;
use flate2::read::DeflateEncoder;
use flate2::{Compression, Crc};
use std::io::Read;

/// 1980-01-01, the first day that the format knows.
const DATE: u16 = (1 << 5) | 1;

/// The bit of an entry whose bytes are encrypted.
const ENCRYPTED: u16 = 1;

/// The bit of an entry whose sizes come behind its bytes.
const STREAMED: u16 = 1 << 3;

/// The bit of an entry whose name is UTF-8.
const UTF8: u16 = 1 << 11;

/// A zip archive as a list of entries, written in the order they were added.
#[derive(Debug, Clone, Default)]
pub struct ZipArchive {
    entries: Vec<ZipEntry>,
    before: Vec<u8>,
    after: Vec<u8>,
    comment: Vec<u8>,
    second: Option<Vec<String>>,
}

/// One entry of a zip archive, with what is said of it.
#[derive(Debug, Clone)]
pub struct ZipEntry {
    path: String,
    local_path: Option<String>,
    contents: Vec<u8>,
    zeros: u64,
    stored: bool,
    mode: u32,
    flags: u16,
    crc: Option<u32>,
    announced: Option<u32>,
    in_directory: bool,
}

impl ZipArchive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// A deflated file; the path is written as given, be it `../x`, `/x` or one that is there already.
    pub fn file(self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.entry(ZipEntry::new(path, contents))
    }

    /// A file of `length` zero bytes: it shrinks a thousandfold on the wire.
    pub fn zeros(self, path: &str, length: u64) -> Self {
        self.entry(ZipEntry { zeros: length, ..ZipEntry::new(path, "") })
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(ZipEntry::new(path, target).stored().mode(0o120_777))
    }

    /// A folder.
    pub fn folder(self, path: &str) -> Self {
        self.entry(ZipEntry::new(&format!("{}/", path.trim_end_matches('/')), "").stored().mode(0o040_755))
    }

    /// Any entry.
    pub fn entry(mut self, entry: ZipEntry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Removes every entry of this path.
    pub fn without(mut self, path: &str) -> Self {
        self.entries.retain(|entry| entry.path != path);
        self
    }

    /// Puts a file in the place of the entries of this path.
    pub fn replace(self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.without(path).file(path, contents)
    }

    /// Writes bytes in front of the archive, which its offsets count.
    pub fn before(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.before = bytes.into();
        self
    }

    /// Writes bytes behind the archive: another archive, or nothing that belongs there.
    pub fn after(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.after = bytes.into();
        self
    }

    /// Ends the archive with a comment, which may itself look like an end; at most 65535 bytes.
    pub fn comment(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.comment = bytes.into();
        self
    }

    /// Writes a second directory and a second end behind the first, which list only these paths: who reads
    /// from the front sees other entries than who reads from the back.
    pub fn second_directory(mut self, paths: &[&str]) -> Self {
        self.second = Some(paths.iter().map(|path| (*path).to_owned()).collect());
        self
    }

    /// The archive's bytes.
    pub fn bytes(&self) -> Bytes {
        let mut out = self.before.clone();
        let written: Vec<_> = self.entries.iter().map(|entry| entry.write(&mut out)).collect();
        let pairs: Vec<_> =
            self.entries.iter().zip(&written).filter(|(entry, _)| entry.in_directory).collect();
        write_directory(&mut out, &pairs, &self.comment);
        if let Some(paths) = &self.second {
            let listed: Vec<_> =
                pairs.iter().filter(|(entry, _)| paths.contains(&entry.path)).copied().collect();
            write_directory(&mut out, &listed, &self.comment);
        }
        out.extend(&self.after);
        out.into()
    }
}

impl ZipEntry {
    /// A deflated file of mode 0644.
    pub fn new(path: &str, contents: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.to_owned(),
            local_path: None,
            contents: contents.into(),
            zeros: 0,
            stored: false,
            mode: 0o100_644,
            flags: UTF8,
            crc: None,
            announced: None,
            in_directory: true,
        }
    }

    /// Stores it as it is.
    pub fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// Its Unix mode with the kind of file: `0o120_777` is a link.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Says this checksum of it.
    pub fn crc(mut self, crc: u32) -> Self {
        self.crc = Some(crc);
        self
    }

    /// Says this uncompressed size of it.
    pub fn announced_size(mut self, size: u32) -> Self {
        self.announced = Some(size);
        self
    }

    /// Gives it another name in front of its bytes than in the directory.
    pub fn local_path(mut self, path: &str) -> Self {
        self.local_path = Some(path.to_owned());
        self
    }

    /// Says that it is encrypted, which it is not.
    pub fn encrypted(mut self) -> Self {
        self.flags |= ENCRYPTED;
        self
    }

    /// Writes its sizes behind its bytes, as programs do that cannot seek.
    pub fn streamed(mut self) -> Self {
        self.flags |= STREAMED;
        self
    }

    /// Leaves it out of the directory.
    pub fn unlisted(mut self) -> Self {
        self.in_directory = false;
        self
    }

    /// Writes the header and the bytes.
    fn write(&self, out: &mut Vec<u8>) -> Written {
        let offset = out.len();
        let mut crc = Crc::new();
        crc.update(&self.contents);
        let mut left = self.zeros;
        while left > 0 {
            let piece = left.min(1 << 16);
            crc.update(&[0; 1 << 16][..piece as usize]);
            left -= piece;
        }
        let mut plain = self.contents.as_slice().chain(std::io::repeat(0).take(self.zeros));
        let mut packed = Vec::new();
        let read = if self.stored {
            plain.read_to_end(&mut packed)
        } else {
            DeflateEncoder::new(plain, Compression::default()).read_to_end(&mut packed)
        };
        read.expect("memory can be read");
        let size = self.contents.len() as u64 + self.zeros;
        let written = Written {
            offset: number(offset),
            crc: self.crc.unwrap_or_else(|| crc.sum()),
            packed: number(packed.len()),
            size: self.announced.unwrap_or_else(|| number(size as usize)),
        };
        let path = self.local_path.as_ref().unwrap_or(&self.path);
        let streamed = self.flags & STREAMED != 0;
        out.extend(b"PK\x03\x04");
        short(out, &[20, self.flags, self.method(), 0, DATE]);
        long(out, &if streamed { [0; 3] } else { written.sums() });
        short(out, &[path.len() as u16, 0]);
        out.extend(path.as_bytes());
        out.extend(packed);
        if streamed {
            out.extend(b"PK\x07\x08");
            long(out, &written.sums());
        }
        written
    }

    fn method(&self) -> u16 {
        if self.stored { 0 } else { 8 }
    }
}

/// What the directory says of a written entry.
struct Written {
    offset: u32,
    crc: u32,
    packed: u32,
    size: u32,
}

impl Written {
    fn sums(&self) -> [u32; 3] {
        [self.crc, self.packed, self.size]
    }
}

fn write_directory(out: &mut Vec<u8>, entries: &[(&ZipEntry, &Written)], comment: &[u8]) {
    let start = out.len();
    for (entry, written) in entries {
        out.extend(b"PK\x01\x02");
        // Made by version 2.0 on Unix, so that the upper half of the attributes is the mode.
        short(out, &[(3 << 8) | 20, 20, entry.flags, entry.method(), 0, DATE]);
        long(out, &written.sums());
        short(out, &[entry.path.len() as u16, 0, 0, 0, 0]);
        long(out, &[entry.mode << 16, written.offset]);
        out.extend(entry.path.as_bytes());
    }
    let (length, count) = (out.len() - start, entries.len() as u16);
    out.extend(b"PK\x05\x06");
    short(out, &[0, 0, count, count]);
    long(out, &[number(length), number(start)]);
    short(out, &[comment.len() as u16]);
    out.extend(comment);
}

fn short(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn long(out: &mut Vec<u8>, values: &[u32]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("tests build archives below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(bytes: &[u8]) -> usize {
        bytes.windows(4).filter(|window| window == b"PK\x05\x06").count()
    }

    #[test]
    fn an_archive_is_deterministic_and_a_bomb_is_small() {
        let build = || ZipArchive::new().file("a/b.txt", "hello").zeros("zeros", 20 << 20);
        assert_eq!(build().bytes(), build().bytes());
        assert!(build().bytes().len() < 64 << 10);
    }

    #[test]
    fn lies_are_written_as_asked() {
        let archive = ZipArchive::new().file("a", "1").file("a", "22").symlink("link", "/etc/passwd");
        assert_eq!(ends(&archive.bytes()), 1);
        assert_eq!(ends(&archive.clone().second_directory(&["a"]).bytes()), 2);
        let framed = archive.before("front").after("behind").bytes();
        assert!(framed.starts_with(b"frontPK\x03\x04") && framed.ends_with(b"behind"));
        let entry = ZipEntry::new("listed", "x").stored().local_path("local").crc(7).announced_size(9);
        let bytes = ZipArchive::new().entry(entry).bytes();
        assert_eq!(&bytes[14..26], &[7, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(&bytes[30..36], b"localx");
    }
}
