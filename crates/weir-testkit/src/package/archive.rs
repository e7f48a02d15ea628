//! Tar archives entry by entry, the hostile ones too: links, paths that leave, paths that come twice,
//! and bombs that are small on the wire.

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use std::io::Read;
use tar::{Builder, EntryType, Header};

/// A tar archive as a list of entries, written in the order they were added.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    kind: EntryType,
    link: Option<String>,
    contents: Vec<u8>,
    zeros: u64,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file; the path is written as given, be it `../x`, `/x` or one that is there already.
    /// At most 100 bytes of path.
    pub fn file(self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.entry(path, EntryType::Regular, None, contents.into(), 0)
    }

    /// A file of `length` zero bytes: it shrinks a thousandfold on the wire.
    pub fn zeros(self, path: &str, length: u64) -> Self {
        self.entry(path, EntryType::Regular, None, Vec::new(), length)
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, Some(target), Vec::new(), 0)
    }

    /// A hard link.
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, Some(target), Vec::new(), 0)
    }

    /// A character device.
    pub fn device(self, path: &str) -> Self {
        self.entry(path, EntryType::Char, None, Vec::new(), 0)
    }

    /// A folder.
    pub fn folder(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, None, Vec::new(), 0)
    }

    /// The archive as `.tar.gz`.
    pub fn gzip(&self) -> Bytes {
        let encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        let mut builder = Builder::new(encoder);
        for entry in &self.entries {
            let contents = entry.contents.as_slice().chain(std::io::repeat(0).take(entry.zeros));
            builder.append(&entry.header(), contents).expect("memory takes an archive");
        }
        let encoder = builder.into_inner().expect("memory takes an archive");
        Bytes::from(encoder.finish().expect("memory takes an archive"))
    }

    fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        link: Option<&str>,
        contents: Vec<u8>,
        zeros: u64,
    ) -> Self {
        let entry = Entry { path: path.to_owned(), kind, link: link.map(str::to_owned), contents, zeros };
        self.entries.push(entry);
        self
    }
}

impl Entry {
    fn header(&self) -> Header {
        let mut header = Header::new_ustar();
        // `Header::set_path` refuses what a hostile archive is made of, so the field is written as bytes.
        let field = &mut header.as_old_mut().name;
        field[..self.path.len()].copy_from_slice(self.path.as_bytes());
        if let Some(link) = &self.link {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(self.kind);
        header.set_size(self.contents.len() as u64 + self.zeros);
        header.set_mode(if self.kind == EntryType::Directory { 0o755 } else { 0o644 });
        // 1985-10-26T08:15:00Z, the time npm itself writes into its archives.
        header.set_mtime(499_162_500);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(archive: &Archive) -> Vec<(String, EntryType, u64)> {
        let bytes = archive.gzip();
        let mut reader = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let entries = reader.entries().unwrap().map(Result::unwrap);
        let read = entries.map(|entry| {
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            (path, entry.header().entry_type(), entry.size())
        });
        read.collect()
    }

    #[test]
    fn hostile_entries_are_written_as_asked() {
        let archive = Archive::new()
            .file("package/../../x", "1")
            .file("package/a", "1")
            .file("package/a", "22")
            .symlink("package/link", "/etc/passwd");
        let expected = vec![
            ("package/../../x".to_owned(), EntryType::Regular, 1),
            ("package/a".to_owned(), EntryType::Regular, 1),
            ("package/a".to_owned(), EntryType::Regular, 2),
            ("package/link".to_owned(), EntryType::Symlink, 0),
        ];
        assert_eq!(read(&archive), expected);
    }

    #[test]
    fn a_bomb_is_small_on_the_wire() {
        let bomb = Archive::new().zeros("package/zeros", 20 << 20);
        assert!(bomb.gzip().len() < 64 << 10);
        assert_eq!(read(&bomb)[0].2, 20 << 20);
    }
}
