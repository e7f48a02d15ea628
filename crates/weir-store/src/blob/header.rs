//! The header before a blob's bytes: fixed in size, with room for a domain key and compression, and with
//! the length of the bytes, so that a file cut short by a crash is seen.

use super::BlobError;

/// How many bytes precede a blob's own.
pub const HEADER_LEN: usize = 64;
/// `HEADER_LEN`, as an offset in a file.
pub const HEADER_BYTES: u64 = HEADER_LEN as u64;

const MAGIC: [u8; 8] = *b"weirblob";
/// 8 magic, 1 layout, 1 compression, 1 encryption, 5 unused, 8 length (little endian), 16 key id, 24 unused.
const LAYOUT: u8 = 1;

/// Why a header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What is wrong with it.
    Damage(&'static str),
    /// A later version wrote it.
    Newer,
}

impl Fault {
    /// The error for the object at `path`.
    pub(crate) fn of(self, path: &str) -> BlobError {
        let path = path.to_owned();
        match self {
            Self::Damage(problem) => BlobError::Corrupt { path, problem },
            Self::Newer => BlobError::Newer { path },
        }
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Length of the bytes after the header.
    pub(crate) size: u64,
}

impl Header {
    pub(crate) fn write(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = LAYOUT;
        bytes[16..24].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    /// Reads a header of an object of `object_size` bytes.
    pub(crate) fn read(bytes: &[u8], object_size: u64) -> Result<Self, Fault> {
        let bytes: &[u8; HEADER_LEN] = bytes
            .get(..HEADER_LEN)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Fault::Damage("is shorter than a header"))?;
        if bytes[..8] != MAGIC {
            return Err(Fault::Damage("does not begin with a blob's header"));
        }
        if bytes[8] != LAYOUT || bytes[9] != 0 || bytes[10] != 0 {
            return Err(Fault::Newer);
        }
        let mut size = [0; 8];
        size.copy_from_slice(&bytes[16..24]);
        let size = u64::from_le_bytes(size);
        if size.checked_add(HEADER_BYTES) != Some(object_size) {
            return Err(Fault::Damage("does not have the length that its header tells"));
        }
        Ok(Self { size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip_and_faults_are_seen() {
        let bytes = Header { size: 5 }.write();
        assert_eq!(Header::read(&bytes, 69), Ok(Header { size: 5 }));
        assert!(Header::read(&bytes, 68).is_err());
        assert!(Header::read(&bytes[..63], 69).is_err());
        assert!(Header::read(&[0; 64], 64).is_err());
        for position in 8..11 {
            let mut newer = bytes;
            newer[position] += 1;
            assert_eq!(Header::read(&newer, 69), Err(Fault::Newer));
        }
    }
}
