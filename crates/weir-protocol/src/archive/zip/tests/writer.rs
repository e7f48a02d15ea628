//! A writer of zips that does as it is told, also where that is wrong.

use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;

pub(super) const END: &[u8] = b"PK\x05\x06";
pub(super) const DESCRIBED: u16 = 8;

/// What a header says; the local and the central one of an entry can say different things.
#[derive(Clone, Default)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) compressed: u32,
    pub(super) size: u32,
    pub(super) extra: Vec<u8>,
    pub(super) comment: Vec<u8>,
    pub(super) attributes: u32,
    pub(super) disk: u16,
    pub(super) offset: Option<u32>,
}

/// An entry under construction; every field can be wrong on purpose.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) local: Header,
    pub(super) central: Header,
    pub(super) data: Vec<u8>,
    /// What follows the data: a descriptor, or what should not be there.
    pub(super) behind: Vec<u8>,
}

pub(super) fn checksum(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}

pub(super) fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn field(id: u16, data: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &(data.len() as u16).to_le_bytes(), data].concat()
}

pub(super) fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn stored(name: &str, data: &str) -> Item {
    item(name, 0, data.as_bytes(), data.as_bytes().to_vec())
}

pub(super) fn deflated(name: &str, data: &str) -> Item {
    item(name, 8, data.as_bytes(), deflate(data.as_bytes()))
}

pub(super) fn item(name: &str, method: u16, data: &[u8], packed: Vec<u8>) -> Item {
    let header = Header {
        name: name.into(),
        method,
        crc32: checksum(data),
        compressed: packed.len() as u32,
        size: data.len() as u32,
        ..Header::default()
    };
    Item { local: header.clone(), central: header, data: packed, behind: Vec::new() }
}

impl Item {
    pub(super) fn local(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.local);
        self
    }

    pub(super) fn central(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.central);
        self
    }

    pub(super) fn both(self, change: impl Fn(&mut Header)) -> Self {
        self.local(&change).central(&change)
    }

    pub(super) fn behind(mut self, bytes: &[u8]) -> Self {
        self.behind = bytes.to_vec();
        self
    }

    pub(super) fn descriptor(&self, signature: &[u8], is_wide: bool) -> Vec<u8> {
        let Header { crc32, compressed, size, .. } = self.central;
        let mut bytes = [signature, &crc32.to_le_bytes()].concat();
        for size in [compressed, size] {
            let wide = u64::from(size).to_le_bytes();
            bytes.extend(&wide[..if is_wide { 8 } else { 4 }]);
        }
        bytes
    }

    /// As who cannot go back writes it.
    pub(super) fn streamed(self, signature: &[u8], is_wide: bool) -> Self {
        let descriptor = self.descriptor(signature, is_wide);
        let zeros = |header: &mut Header| (header.crc32, header.compressed, header.size) = (0, 0, 0);
        self.both(|header| header.flags |= DESCRIBED).local(zeros).behind(&descriptor)
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, halves: &[u16]) {
    bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
}

pub(super) fn put_sizes(bytes: &mut Vec<u8>, header: &Header) {
    for word in [header.crc32, header.compressed, header.size] {
        bytes.extend(word.to_le_bytes());
    }
}

pub(super) fn zip(items: &[Item]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for Item { local, central, data, behind } in items {
        let offset = central.offset.unwrap_or(bytes.len() as u32);
        bytes.extend(b"PK\x03\x04");
        put(&mut bytes, &[20, local.flags, local.method, 0, 33]);
        put_sizes(&mut bytes, local);
        put(&mut bytes, &[local.name.len() as u16, local.extra.len() as u16]);
        for part in [&local.name, &local.extra, data, behind] {
            bytes.extend(part);
        }
        directory.extend(b"PK\x01\x02");
        put(&mut directory, &[0x0314, 20, central.flags, central.method, 0, 33]);
        put_sizes(&mut directory, central);
        let lengths = [&central.name, &central.extra, &central.comment].map(|part| part.len() as u16);
        put(&mut directory, &lengths);
        put(&mut directory, &[central.disk, 0]);
        directory.extend(central.attributes.to_le_bytes());
        directory.extend(offset.to_le_bytes());
        for part in [&central.name, &central.extra, &central.comment] {
            directory.extend(part);
        }
    }
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(END);
    put(&mut bytes, &[0, 0, items.len() as u16, items.len() as u16]);
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    put(&mut bytes, &[0]);
    bytes
}

/// Puts the records of ZIP64 before an end record without comment, and its values out of that.
pub(super) fn widened(mut bytes: Vec<u8>, entries: u64) -> Vec<u8> {
    let end = bytes.split_off(bytes.len() - 22);
    let word = |at: usize| u64::from(u32::from_le_bytes(end[at..at + 4].try_into().unwrap()));
    let position = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44u64.to_le_bytes());
    put(&mut bytes, &[45, 45, 0, 0, 0, 0]);
    bytes.extend(words(&[entries, entries, word(12), word(16)]));
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(position.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(END);
    bytes.extend([0, 0, 0, 0]);
    bytes.extend([0xff; 12]);
    bytes.extend([0, 0]);
    bytes
}

/// Overwrites bytes at a distance from the end.
pub(super) fn patched(bytes: &[u8], from_end: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.len() - from_end;
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}
