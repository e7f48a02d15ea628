//! Headers of a tar: the block of 512 bytes, and the pax and GNU headers that add to the next one.

use super::{broken, refused};
use weir_core::error::Result;

/// The size of a tar block in bytes.
pub(super) const BLOCK: usize = 512;

/// What a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Extension(Extension),
    Other,
}

/// A header about the next header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    Pax,
    PaxGlobal,
    LongName,
    LongLink,
}

impl Kind {
    pub(super) fn extension(self) -> Option<Extension> {
        match self {
            Self::Extension(extension) => Some(extension),
            Self::File | Self::Folder | Self::Link | Self::Other => None,
        }
    }
}

/// A tar header as far as it matters here.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) kind: Kind,
}

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self> {
        let name = until_nul(&block[..100]);
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) })
            .sum();
        if number(&block[148..156]) != Some(sum) {
            return Err(broken("a tar header has a wrong checksum"));
        }
        let Some(size) = number(&block[124..136]) else {
            return Err(refused(name, "has a size that is no number"));
        };
        let Some(mode) = number(&block[100..108]) else {
            return Err(refused(name, "has a mode that is no number"));
        };
        // Only the POSIX form has a prefix; GNU keeps times there.
        let prefix = if &block[257..265] == b"ustar\x0000" { until_nul(&block[345..500]) } else { b"" };
        let path = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
        let kind = match block[156] {
            b'0' | 0 => Kind::File,
            b'5' => Kind::Folder,
            b'1' | b'2' => Kind::Link,
            b'x' => Kind::Extension(Extension::Pax),
            b'g' => Kind::Extension(Extension::PaxGlobal),
            b'L' => Kind::Extension(Extension::LongName),
            b'K' => Kind::Extension(Extension::LongLink),
            _ => Kind::Other,
        };
        // The mask leaves twelve bits.
        Ok(Self { path, size, mode: (mode & 0o7777) as u32, kind })
    }
}

/// What extended headers said of the next entry.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) link: bool,
    seen_pax: bool,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.path.is_none() && self.size.is_none() && !self.link && !self.seen_pax
    }

    /// Takes the content of an extended header.
    pub(super) fn take(&mut self, kind: Extension, data: &[u8]) -> Result<()> {
        match kind {
            Extension::LongName => self.set_path(data.strip_suffix(b"\0").unwrap_or(data)),
            Extension::LongLink => {
                self.link = true;
                Ok(())
            }
            Extension::Pax if self.seen_pax => Err(broken("two pax headers precede one entry")),
            Extension::Pax => {
                self.seen_pax = true;
                self.take_records(data)
            }
            Extension::PaxGlobal => {
                let mut global = Self::default();
                global.take_records(data)?;
                if global.path.is_some() || global.size.is_some() || global.link {
                    return Err(broken("a global pax header sets a path, size or link for all entries"));
                }
                Ok(())
            }
        }
    }

    fn take_records(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or_else(|| broken("a pax header is malformed"))?;
            data = rest;
            match key {
                b"path" => self.set_path(value)?,
                b"size" => {
                    let size = decimal(value).ok_or_else(|| broken("a pax size is no number"))?;
                    if self.size.replace(size).is_some() {
                        return Err(broken("a pax header has two sizes"));
                    }
                }
                b"linkpath" => self.link = true,
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(broken("sparse files are not supported"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set_path(&mut self, path: &[u8]) -> Result<()> {
        match self.path.replace(path.to_vec()) {
            None => Ok(()),
            Some(before) => Err(refused(&before, "has more than one long path")),
        }
    }
}

/// One pax record, `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &data[length..]))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A number field: octal digits between spaces and NULs, or GNU's base-256 form. Nothing counts as 0.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first().map(|(first, rest)| (*first, rest)) {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let fits = high.iter().all(|byte| *byte == 0);
        return fits.then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    // Twelve octal digits are 36 bits.
    digits.iter().try_fold(0, |sum: u64, byte| match byte {
        b'0'..=b'7' => Some(sum << 3 | u64::from(byte - b'0')),
        _ => None,
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}
