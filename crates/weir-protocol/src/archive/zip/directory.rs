//! The records of a zip: the end record with its ZIP64 companions, the central directory, and the local
//! headers and data descriptors that must say the same. Nothing here reads more than it is given.

use super::{Method, ZipEntry};
use crate::archive::{ArchiveLimits, broken, normal_path, refused};
use weir_core::error::Result;

/// The fixed part of a local header, in bytes.
pub(super) const LOCAL_BYTES: usize = 30;

/// The longest data descriptor: a signature, a CRC-32 and two sizes of 64 bits.
pub(super) const MOST_DESCRIPTOR_BYTES: usize = 24;

/// The end record with the longest comment and what ZIP64 puts before it.
pub(super) const MOST_TAIL_BYTES: u64 =
    (WIDE_END_BYTES + LOCATOR_BYTES + END_BYTES + u16::MAX as usize) as u64;

const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
const WIDE_END_BYTES: usize = 56;
const CENTRAL_BYTES: usize = 46;

const END: &[u8; 4] = b"PK\x05\x06";
const LOCATOR: &[u8; 4] = b"PK\x06\x07";
const WIDE_END: &[u8; 4] = b"PK\x06\x06";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const DESCRIPTOR: &[u8; 4] = b"PK\x07\x08";

const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const DESCRIBED: u16 = 1 << 3;
const UTF_8: u16 = 1 << 11;
/// Two hints about how deflate was used, and what is understood here.
const KNOWN_FLAGS: u16 = 1 << 1 | 1 << 2 | DESCRIBED | UTF_8;

const WIDE_SIZES: u16 = 0x0001;
const UNICODE_PATH: u16 = 0x7075;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;
/// The folder bit of MS-DOS attributes.
const DOS_FOLDER: u32 = 0x10;

/// What the end record says of the central directory.
#[derive(Debug)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) size: u64,
    pub(super) offset: u64,
}

impl End {
    /// Finds the one end record in the last bytes of a zip of `size` bytes.
    pub(super) fn find(tail: &[u8], size: u64) -> Result<Self> {
        let signatures = || (0..tail.len()).rev().filter(|at| tail[*at..].starts_with(END));
        let reaches_end = |at: &usize| {
            let record = &tail[*at..];
            record.len() >= END_BYTES && record.len() == END_BYTES + usize::from(u16_at(record, 20))
        };
        let Some(at) = signatures().next() else {
            return Err(broken(
                "it is not a zip, or is cut short: it has no end of central directory record",
            ));
        };
        if signatures().filter(reaches_end).count() > 1 {
            return Err(broken("it has two end of central directory records"));
        }
        // Readers disagree on where a zip ends when its last record is not the one that fits.
        if !reaches_end(&at) {
            return Err(broken("its last end of central directory record does not end with the file"));
        }
        let (before, record) = tail.split_at(at);
        if record[END_BYTES..].windows(3).any(|bytes| bytes.starts_with(b"PK") && bytes[2] < 9) {
            return Err(broken("its comment has the signature of a zip record"));
        }
        let narrow = [u16_at(record, 8), u16_at(record, 10)].map(u64::from);
        let disks = [u16_at(record, 4), u16_at(record, 6)].map(u64::from);
        let mut end =
            Self { entries: narrow[1], size: u32_at(record, 12).into(), offset: u32_at(record, 16).into() };
        // No file is longer than i64::MAX bytes, and the tail is part of it.
        let mut directory_end = size - record.len() as u64;
        let wide = before
            .last_chunk::<LOCATOR_BYTES>()
            .filter(|locator| locator.starts_with(LOCATOR))
            .map(|locator| WideEnd::read(locator, &before[..before.len() - LOCATOR_BYTES], directory_end))
            .transpose()?;
        if let Some(wide) = wide {
            let agree = |narrow: u64, most: u64, wide: u64| narrow == most || narrow == wide;
            let half = u16::MAX.into();
            let word = u32::MAX.into();
            if !narrow.iter().all(|count| agree(*count, half, wide.entries))
                || !disks.iter().all(|disk| agree(*disk, half, 0))
                || !agree(end.size, word, wide.size)
                || !agree(end.offset, word, wide.offset)
            {
                return Err(broken("its end of central directory record and that of ZIP64 differ"));
            }
            directory_end -= (LOCATOR_BYTES + WIDE_END_BYTES) as u64;
            end = Self { entries: wide.entries, size: wide.size, offset: wide.offset };
        } else {
            check_one_disk(&disks, narrow)?;
        }
        if end.offset.checked_add(end.size) != Some(directory_end) {
            return Err(broken("its central directory does not lie right before its end record"));
        }
        Ok(end)
    }
}

/// The end record of ZIP64, which the locator behind it points to.
struct WideEnd {
    entries: u64,
    size: u64,
    offset: u64,
}

impl WideEnd {
    /// `before` ends where the locator begins, and the locator where `locator_end` says.
    fn read(locator: &[u8; LOCATOR_BYTES], before: &[u8], locator_end: u64) -> Result<Self> {
        let position = locator_end.checked_sub((LOCATOR_BYTES + WIDE_END_BYTES) as u64);
        let record = before.last_chunk::<WIDE_END_BYTES>().filter(|record| record.starts_with(WIDE_END));
        let (Some(record), Some(position)) = (record, position) else {
            return Err(broken("its ZIP64 locator does not follow a ZIP64 end record"));
        };
        if u64_at(locator, 8) != position {
            return Err(broken("its ZIP64 locator points to another place than its ZIP64 end record"));
        }
        // The size leaves out itself and the signature.
        if u64_at(record, 4) != WIDE_END_BYTES as u64 - 12 {
            return Err(broken("its ZIP64 end record has a wrong size"));
        }
        let counts = [u64_at(record, 24), u64_at(record, 32)];
        let disks = [u32_at(locator, 4), u32_at(locator, 16) ^ 1, u32_at(record, 16), u32_at(record, 20)];
        check_one_disk(&disks.map(u64::from), counts)?;
        Ok(Self { entries: counts[1], size: u64_at(record, 40), offset: u64_at(record, 48) })
    }
}

/// All disks are the first, and the entries on it are all there are.
fn check_one_disk(disks: &[u64], counts: [u64; 2]) -> Result<()> {
    if disks.iter().any(|disk| *disk != 0) {
        return Err(broken("it is spread over more than one disk"));
    }
    if counts[0] != counts[1] {
        return Err(broken("its end of central directory record has two counts of entries"));
    }
    Ok(())
}

/// All entries of a central directory, in its order.
pub(super) fn entries(mut raw: &[u8], count: u64, limits: &ArchiveLimits) -> Result<Vec<ZipEntry>> {
    let mut entries = Vec::new();
    while !raw.is_empty() {
        if entries.len() as u64 == count {
            return Err(broken("its central directory is longer than its end record says"));
        }
        let (entry, rest) = entry(raw, limits)?;
        entries.push(entry);
        raw = rest;
    }
    if (entries.len() as u64) < count {
        return Err(broken("its central directory has fewer entries than its end record says"));
    }
    Ok(entries)
}

/// The first entry of a central directory, and what follows it.
fn entry<'a>(raw: &'a [u8], limits: &ArchiveLimits) -> Result<(ZipEntry, &'a [u8])> {
    let malformed = || broken("its central directory is malformed");
    let Some((fixed, rest)) = raw.split_first_chunk::<CENTRAL_BYTES>() else { return Err(malformed()) };
    if !fixed.starts_with(CENTRAL) {
        return Err(malformed());
    }
    let take =
        |rest: &'a [u8], at: usize| rest.split_at_checked(u16_at(fixed, at).into()).ok_or_else(malformed);
    let (name, rest) = take(rest, 28)?;
    let (extra, rest) = take(rest, 30)?;
    let (comment, rest) = take(rest, 32)?;
    if [extra, comment].iter().any(|field| field.windows(END.len()).any(|bytes| bytes == END)) {
        return Err(refused(name, "hides an end of central directory record in its header"));
    }
    let flags = u16_at(fixed, 8);
    let method = method(name, flags, u16_at(fixed, 10))?;
    let extra = Extra::parse(name, extra)?;
    let fields = [u32_at(fixed, 24), u32_at(fixed, 20), u32_at(fixed, 42)];
    let Some([size, compressed_size, offset]) = widen(fields, extra.sizes) else {
        return Err(refused(name, "has a ZIP64 field that does not fit its header"));
    };
    if u16_at(fixed, 34) != 0 {
        return Err(refused(name, "is on another disk"));
    }
    if method == Method::Stored && size != compressed_size {
        return Err(refused(name, "is stored as it is, with two sizes that differ"));
    }
    let is_folder = is_folder(name, u32_at(fixed, 38))?;
    if is_folder && size != 0 {
        return Err(refused(name, "is a folder with content"));
    }
    if flags & UTF_8 == 0 && !name.is_ascii() {
        return Err(refused(name, "has a path that is neither ASCII nor marked as UTF-8"));
    }
    let path = normal_path(name, is_folder, limits)?;
    let (name, crc32) = (name.to_vec(), u32_at(fixed, 16));
    Ok((ZipEntry { path, size, compressed_size, crc32, is_folder, name, flags, method, offset }, rest))
}

fn method(name: &[u8], flags: u16, method: u16) -> Result<Method> {
    if flags & ENCRYPTED != 0 {
        return Err(refused(name, "is encrypted"));
    }
    if flags & !KNOWN_FLAGS != 0 {
        return Err(refused(name, format_args!("has flags that are not supported: {flags:#06x}")));
    }
    match method {
        0 => Ok(Method::Stored),
        8 => Ok(Method::Deflated),
        _ => {
            let rule = "of compression; an archive may be stored or deflated only";
            Err(refused(name, format_args!("has method {method} {rule}")))
        }
    }
}

/// Whether an entry is a folder, on which its name and both kinds of attributes must agree. The mode
/// counts whatever system the entry claims to come from, as readers differ on that.
fn is_folder(name: &[u8], attributes: u32) -> Result<bool> {
    let is_folder = name.ends_with(b"/");
    match (attributes >> 16) & TYPE_MASK {
        TYPE_LINK => return Err(refused(name, "is a link; an archive may hold files and folders only")),
        TYPE_FILE if is_folder => return Err(refused(name, "is a folder with the mode of a file")),
        TYPE_FOLDER if !is_folder => return Err(refused(name, "is a file with the mode of a folder")),
        0 | TYPE_FILE | TYPE_FOLDER => {}
        _ => return Err(refused(name, "is neither a file nor a folder; an archive may hold nothing else")),
    }
    if attributes & DOS_FOLDER != 0 && !is_folder {
        return Err(refused(name, "is a file with the attribute of a folder"));
    }
    Ok(is_folder)
}

/// What matters of the extra fields of a header.
struct Extra<'a> {
    sizes: Option<&'a [u8]>,
}

impl<'a> Extra<'a> {
    fn parse(name: &[u8], mut raw: &'a [u8]) -> Result<Self> {
        let (mut sizes, mut has_path) = (None, false);
        while !raw.is_empty() {
            let field = raw
                .split_first_chunk::<4>()
                .and_then(|(head, rest)| Some((head, rest.split_at_checked(u16_at(head, 2).into())?)));
            let Some((head, (data, rest))) = field else {
                return Err(refused(name, "has extra fields that are malformed"));
            };
            raw = rest;
            let is_second = match u16_at(head, 0) {
                WIDE_SIZES => sizes.replace(data).is_some(),
                UNICODE_PATH => {
                    // A version and the CRC-32 of the other name precede it.
                    if data.first() != Some(&1) || data.get(5..) != Some(name) {
                        return Err(refused(name, "has a second path that differs: its Unicode path field"));
                    }
                    std::mem::replace(&mut has_path, true)
                }
                _ => false,
            };
            if is_second {
                return Err(refused(name, "has an extra field twice"));
            }
        }
        Ok(Self { sizes })
    }
}

/// Replaces what is all ones by what a ZIP64 field has for it. The field has just those, in their order,
/// or, as some write it, the first ones whether needed or not, which must then agree.
fn widen<const N: usize>(fields: [u32; N], wide: Option<&[u8]>) -> Option<[u64; N]> {
    let mut values = fields.map(u64::from);
    let Some(wide) = wide else { return Some(values) };
    let (words, rest) = wide.as_chunks::<8>();
    let is_missing = |field: u32| field == u32::MAX;
    let missing = fields.iter().filter(|field| is_missing(**field)).count();
    if !rest.is_empty() || words.len() > N {
        return None;
    }
    let is_exact = words.len() == missing;
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    for (value, field) in values.iter_mut().zip(fields) {
        if is_missing(field) {
            *value = words.next()?;
        } else if !is_exact && words.next().is_some_and(|word| word != *value) {
            return None;
        }
    }
    Some(values)
}

/// How many bytes of name and extra fields follow the fixed part of a local header; below 128 KiB.
pub(super) fn local_variable_bytes(fixed: &[u8; LOCAL_BYTES]) -> usize {
    usize::from(u16_at(fixed, 26)) + usize::from(u16_at(fixed, 28))
}

/// Compares a local header with what the central directory says. `variable` is as long as
/// [`local_variable_bytes`] says.
pub(super) fn check_local(fixed: &[u8; LOCAL_BYTES], variable: &[u8], entry: &ZipEntry) -> Result<()> {
    let refused = |rule: &str| Err(refused(&entry.name, rule));
    if !fixed.starts_with(LOCAL) {
        return refused("has no local header where the central directory says");
    }
    let (name, extra) = variable.split_at(u16_at(fixed, 26).into());
    if name != entry.name {
        return refused("has two names: its local header and the central directory differ");
    }
    if u16_at(fixed, 6) != entry.flags {
        return refused("has two sets of flags: its local header and the central directory differ");
    }
    let method = match entry.method {
        Method::Stored => 0,
        Method::Deflated => 8,
    };
    if u16_at(fixed, 8) != method {
        return refused("has two methods of compression: its local header and the central directory differ");
    }
    let extra = Extra::parse(name, extra)?;
    let Some(sizes) = widen([u32_at(fixed, 22), u32_at(fixed, 18)], extra.sizes) else {
        return refused("has a ZIP64 field that does not fit its local header");
    };
    // Who writes a descriptor did not know them yet.
    let agrees = |local: u64, central| local == central || (entry.has_descriptor() && local == 0);
    if !agrees(sizes[0], entry.size) || !agrees(sizes[1], entry.compressed_size) {
        return refused("has two sizes: its local header and the central directory differ");
    }
    if !agrees(u32_at(fixed, 14).into(), entry.crc32.into()) {
        return refused("has two CRC-32s: its local header and the central directory differ");
    }
    Ok(())
}

impl ZipEntry {
    /// Whether a data descriptor follows the content.
    pub(super) fn has_descriptor(&self) -> bool {
        self.flags & DESCRIBED != 0
    }
}

/// Whether a descriptor can have so many bytes: none, or with sizes of 32 or 64 bits, with or without a
/// signature.
pub(super) fn is_descriptor_length(length: usize) -> bool {
    matches!(length, 0 | 12 | 16 | 20 | MOST_DESCRIPTOR_BYTES)
}

/// Compares a data descriptor, whose length [`is_descriptor_length`], with the central directory.
pub(super) fn check_descriptor(descriptor: &[u8], entry: &ZipEntry) -> Result<()> {
    let (signature, values) = match descriptor.len() {
        0 => return Ok(()),
        12 | 20 => descriptor.split_at(0),
        _ => descriptor.split_at(4),
    };
    let is_wide = values.len() == 20;
    let sizes = if is_wide {
        [u64_at(values, 4), u64_at(values, 12)]
    } else {
        [u32_at(values, 4).into(), u32_at(values, 8).into()]
    };
    // Where none was written, a CRC-32 must not look like one.
    let has_signature =
        if signature.is_empty() { !values.starts_with(DESCRIPTOR) } else { signature == DESCRIPTOR };
    if !has_signature || u32_at(values, 0) != entry.crc32 || sizes != [entry.compressed_size, entry.size] {
        return Err(refused(&entry.name, "has a data descriptor that differs from the central directory"));
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
