//! Digests: four hashes in one pass; hex, base64 and SRI forms.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest as _;
use std::fmt;

/// A SHA-256: the name of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        Self(sha2::Sha256::digest(data).into())
    }

    /// Parses 64 lower-case hex digits.
    pub fn parse(hex_text: &str) -> Option<Self> {
        if hex_text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(hex_text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(2 * self.0.len());
        for byte in self.0 {
            hex.push(char::from(HEX[usize::from(byte >> 4)]));
            hex.push(char::from(HEX[usize::from(byte & 0x0f)]));
        }
        hex
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// The four digests AWS reports of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digests {
    /// MD5, 16 bytes.
    pub md5: [u8; 16],
    /// SHA-1, 20 bytes.
    pub sha1: [u8; 20],
    /// SHA-256.
    pub sha256: Digest,
    /// SHA-512, 64 bytes.
    pub sha512: [u8; 64],
}

impl Digests {
    /// The Subresource Integrity form npm uses: `sha512-BASE64`.
    pub fn integrity(&self) -> String {
        format!("sha512-{}", STANDARD.encode(self.sha512))
    }
}

/// Hashes bytes as they pass, all four in one pass, and counts them.
#[derive(Clone, Default)]
pub struct Hasher {
    md5: md5::Md5,
    sha1: sha1::Sha1,
    sha256: sha2::Sha256,
    sha512: sha2::Sha512,
    len: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        self.sha1.update(data);
        self.sha256.update(data);
        self.sha512.update(data);
        self.len += data.len() as u64;
    }

    /// How many bytes have passed.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether none have passed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digests of all that passed.
    pub fn finish(self) -> Digests {
        Digests {
            md5: self.md5.finalize().into(),
            sha1: self.sha1.finalize().into(),
            sha256: Digest(self.sha256.finalize().into()),
            sha512: self.sha512.finalize().into(),
        }
    }
}

/// Hashes bytes as they pass with SHA-256 alone: enough to tell whether they are what they are named.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of all that passed.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// What an index promised of a file: the strongest of these is compared, and the size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Expected {
    /// SHA-512.
    pub sha512: Option<[u8; 64]>,
    /// SHA-256.
    pub sha256: Option<Digest>,
    /// SHA-1.
    pub sha1: Option<[u8; 20]>,
    /// MD5; too weak to be trusted alone, compared all the same.
    pub md5: Option<[u8; 16]>,
    /// Size in bytes.
    pub size: Option<u64>,
}

impl Expected {
    /// Reads an SRI string (`sha512-… sha1-…`); unknown algorithms and options are passed over.
    pub fn add_integrity(&mut self, integrity: &str) {
        for part in integrity.split_ascii_whitespace() {
            let Some((algorithm, rest)) = part.split_once('-') else { continue };
            let encoded = rest.split('?').next().unwrap_or(rest);
            let Ok(bytes) = STANDARD.decode(encoded) else { continue };
            match algorithm {
                "sha512" => self.sha512 = bytes.try_into().ok().or(self.sha512),
                "sha256" => self.sha256 = bytes.try_into().ok().map(Digest).or(self.sha256),
                "sha1" => self.sha1 = bytes.try_into().ok().or(self.sha1),
                _ => {}
            }
        }
    }

    /// Whether any digest was promised.
    pub fn has_digest(&self) -> bool {
        self.sha512.is_some() || self.sha256.is_some() || self.sha1.is_some() || self.md5.is_some()
    }

    /// `None` when the bytes are as promised, else what differs, for an error text.
    pub fn mismatch(&self, digests: &Digests, size: u64) -> Option<String> {
        if let Some(promised) = self.size
            && promised != size
        {
            return Some(format!("{size} bytes arrived where {promised} were promised"));
        }
        fn differ(what: &str, promised: Option<&[u8]>, found: &[u8]) -> Option<String> {
            let promised = promised?;
            (promised != found).then(|| {
                format!("{what} is {} where {} was promised", hex::encode(found), hex::encode(promised))
            })
        }
        differ("SHA-512", self.sha512.as_ref().map(|d| d.as_slice()), &digests.sha512)
            .or_else(|| differ("SHA-256", self.sha256.as_ref().map(|d| d.0.as_slice()), &digests.sha256.0))
            .or_else(|| differ("SHA-1", self.sha1.as_ref().map(|d| d.as_slice()), &digests.sha1))
            .or_else(|| differ("MD5", self.md5.as_ref().map(|d| d.as_slice()), &digests.md5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integrity_string_is_read_and_compared() {
        let mut hasher = Hasher::new();
        hasher.update(b"weir");
        let digests = hasher.finish();
        let mut expected = Expected::default();
        expected.add_integrity(&format!("sha1-bogus {} md9-xx", digests.integrity()));
        assert_eq!(expected.sha512, Some(digests.sha512));
        assert_eq!(expected.mismatch(&digests, 4), None);
        expected.size = Some(5);
        assert!(expected.mismatch(&digests, 4).is_some());
    }

    #[test]
    fn a_digest_is_parsed_in_lower_case_only() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::parse(&digest.hex()), Some(digest));
        assert_eq!(Digest::parse(&digest.hex().to_uppercase()), None);
        assert_eq!(Digest::parse("ab"), None);
    }
}
