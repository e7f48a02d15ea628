//! The content of one entry of a zip: unpacked, counted and checked while it is read.

use super::{Method, ZipEntry, broken, refused};
use flate2::{Crc, Decompress, FlushDecompress, Status};
use std::io::{self, BufRead, Read};
use weir_core::error::{Error, Result};

/// The content of one entry, for the visitor. Its end is told only when all of it is right.
pub(super) struct Content<'a, S> {
    source: &'a mut S,
    inflate: &'a mut Decompress,
    entry: &'a ZipEntry,
    /// Packed bytes that were not taken from the source.
    left: u64,
    given: u64,
    crc: Crc,
    is_ended: bool,
    /// Why reading failed, in full.
    pub(super) failure: Option<Error>,
}

impl<'a, S: BufRead> Content<'a, S> {
    /// The content that begins where `source` stands.
    pub(super) fn new(source: &'a mut S, inflate: &'a mut Decompress, entry: &'a ZipEntry) -> Self {
        inflate.reset(false);
        let left = entry.compressed_size;
        Self { source, inflate, entry, left, given: 0, crc: Crc::new(), is_ended: false, failure: None }
    }

    /// Reads what is left, so that all of it is checked.
    pub(super) fn drain(mut self) -> Result<()> {
        let mut buffer = [0; 8 << 10];
        while self.read_some(&mut buffer)? > 0 {}
        Ok(())
    }

    /// The next bytes into a buffer that is not empty; none at the end.
    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.is_ended {
            return Ok(0);
        }
        let count = match self.entry.method {
            Method::Stored => self.copy(buffer)?,
            Method::Deflated => self.unpack(buffer)?,
        };
        self.crc.update(&buffer[..count]);
        self.given += count as u64;
        if self.given > self.entry.size {
            return Err(self.wrong("unpacks to more bytes than it declares"));
        }
        if count == 0 {
            self.check()?;
            self.is_ended = true;
        }
        Ok(count)
    }

    fn check(&self) -> Result<()> {
        if self.given < self.entry.size {
            return Err(self.wrong("unpacks to fewer bytes than it declares"));
        }
        if self.left > 0 {
            return Err(self.wrong("has bytes behind the end of its deflate stream"));
        }
        if self.crc.sum() != self.entry.crc32 {
            return Err(self.wrong("has a wrong CRC-32"));
        }
        Ok(())
    }

    fn copy(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let packed = packed(self.source, self.left)?;
        let count = packed.len().min(buffer.len());
        buffer[..count].copy_from_slice(&packed[..count]);
        self.source.consume(count);
        self.left -= count as u64;
        Ok(count)
    }

    fn unpack(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let packed = packed(self.source, self.left)?;
            let (taken_before, given_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(packed, buffer, FlushDecompress::None);
            // Neither is more than the length of a slice.
            let taken = (self.inflate.total_in() - taken_before) as usize;
            let given = (self.inflate.total_out() - given_before) as usize;
            self.source.consume(taken);
            self.left -= taken as u64;
            match status {
                Err(_) => return Err(self.wrong("has a broken deflate stream")),
                Ok(_) if given > 0 => return Ok(given),
                Ok(Status::StreamEnd) => return Ok(0),
                // Nothing in and nothing out: the stream wants bytes that the entry does not have.
                Ok(_) if taken == 0 => return Err(self.wrong("has a deflate stream that is cut short")),
                Ok(_) => {}
            }
        }
    }

    fn wrong(&self, rule: &str) -> Error {
        refused(&self.entry.name, rule)
    }
}

/// The next packed bytes, `left` at most; none only when none are left.
fn packed(source: &mut impl BufRead, left: u64) -> Result<&[u8]> {
    if left == 0 {
        return Ok(&[]);
    }
    // What an interrupted call leaves in the buffer cannot be borrowed across the retry.
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Error::internal(error));
        }
    }
    match source.fill_buf().map_err(Error::internal)? {
        [] => Err(broken("it is cut short")),
        bytes => Ok(&bytes[..usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())]),
    }
}

impl<S: BufRead> Read for Content<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_some(buffer).map_err(|failure| {
            let told = io::Error::other(failure.to_string());
            self.failure = Some(failure);
            told
        })
    }
}
