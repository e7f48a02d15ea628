//! The body of an index document: gathered as it comes, unpacked and hashed in one go, off the async threads when that
//! takes long. The bytes end up in one piece of memory of their own length.

use super::client::FetchError;
use super::large::{LARGE, LARGE_PACKED};
use bytes::{Buf as _, Bytes};
use flate2::bufread::GzDecoder;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use weir_core::Digest;

/// Bodies up to this many bytes, as they come, are unpacked where they are.
const INLINE: usize = 8 << 10;
/// For how many times its own length gzip gets memory before it is unpacked; more comes as it is needed.
const USUAL_GAIN: usize = 32;

/// Whether the bytes of a body are those of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
}

impl Packing {
    /// Bodies of more bytes than this are those of large documents.
    pub(super) fn most_of_small(self) -> u64 {
        match self {
            Self::None => LARGE as u64,
            Self::Gzip => LARGE_PACKED as u64,
        }
    }

    /// What a `Content-Encoding` says.
    pub(super) fn of(encoding: Option<&str>) -> Result<Self, FetchError> {
        let Some(encoding) = encoding.map(str::trim) else { return Ok(Self::None) };
        if encoding.eq_ignore_ascii_case("identity") {
            Ok(Self::None)
        } else if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
            Ok(Self::Gzip)
        } else {
            Err(FetchError::Bad(format!("it answered with the encoding {encoding}")))
        }
    }
}

/// The pieces of a body, which are let go of as they are read.
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    packing: Packing,
    limit: u64,
}

impl Pieces {
    pub(super) fn new(packing: Packing, limit: u64) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, packing, limit }
    }

    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), FetchError> {
        self.bytes += piece.len();
        if self.bytes as u64 > self.limit {
            return Err(too_large(self.limit));
        }
        self.pieces.push_back(piece);
        Ok(())
    }

    /// Whether the document is large, by what its last bytes say.
    pub(super) fn is_told_to_be_large(&self) -> bool {
        self.packing == Packing::Gzip && self.last_word() > LARGE
    }

    /// The same, unless it is large after all.
    pub(super) async fn small_document(mut self) -> Result<Option<(Bytes, Digest)>, FetchError> {
        if self.limit <= LARGE as u64 {
            return self.document().await.map(Some);
        }
        self.limit = LARGE as u64;
        match self.document().await {
            // Nothing else makes it wrong.
            Err(FetchError::Bad(_)) => Ok(None),
            document => document.map(Some),
        }
    }

    /// The document and its digest.
    pub(super) async fn document(self) -> Result<(Bytes, Digest), FetchError> {
        if self.bytes <= INLINE {
            return self.unpack();
        }
        match tokio::task::spawn_blocking(|| self.unpack()).await {
            Ok(unpacked) => unpacked,
            Err(_) => Err(FetchError::unavailable("this server failed while it read the document")),
        }
    }

    fn unpack(self) -> Result<(Bytes, Digest), FetchError> {
        let document = match self.packing {
            Packing::None => joined(self.pieces),
            Packing::Gzip => self.gunzip()?,
        };
        let digest = Digest::of(&document);
        Ok((document, digest))
    }

    fn gunzip(mut self) -> Result<Bytes, FetchError> {
        let limit = self.limit;
        let broken = |error| FetchError::unavailable(format!("its gzip cannot be read ({error})"));
        let mut document = Vec::new();
        document
            .try_reserve_exact(self.told_length())
            .map_err(|_| FetchError::unavailable("this server has no memory for the document"))?;
        loop {
            let left = limit.saturating_add(1).saturating_sub(document.len() as u64);
            GzDecoder::new(&mut self).take(left).read_to_end(&mut document).map_err(broken)?;
            if document.len() as u64 > limit {
                return Err(too_large(limit));
            }
            if self.is_padding() {
                break;
            }
        }
        document.shrink_to_fit();
        Ok(Bytes::from(document))
    }

    /// Whether all that is left is nothing or zeros, which some senders fill their blocks with.
    fn is_padding(&self) -> bool {
        self.pieces.iter().all(|piece| piece.iter().all(|byte| *byte == 0))
    }

    /// What the last four bytes of gzip say of its length.
    fn last_word(&self) -> usize {
        let last: Vec<u8> =
            self.pieces.iter().rev().flat_map(|piece| piece.iter().rev()).take(4).copied().collect();
        last.iter().fold(0_usize, |told, byte| told << 8 | usize::from(*byte))
    }

    /// The same, as far as that can be.
    fn told_length(&self) -> usize {
        let told = self.last_word();
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        // One more, so that the end is seen without growing.
        told.min(self.bytes.saturating_mul(USUAL_GAIN)).min(most) + 1
    }
}

/// All of them in one piece of memory of their own, so that they keep no larger one alive.
pub(super) fn joined(pieces: impl IntoIterator<Item = Bytes, IntoIter: Clone>) -> Bytes {
    let pieces = pieces.into_iter();
    let mut bytes = Vec::with_capacity(pieces.clone().map(|piece| piece.len()).sum());
    for piece in pieces {
        bytes.extend_from_slice(&piece);
    }
    Bytes::from(bytes)
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.pieces.front().is_some_and(Bytes::is_empty) {
            self.pieces.pop_front();
        }
        Ok(self.pieces.front().map_or(&[], |piece| piece))
    }

    fn consume(&mut self, length: usize) {
        if let Some(piece) = self.pieces.front_mut() {
            piece.advance(length);
        }
    }
}

pub(super) fn too_large(limit: u64) -> FetchError {
    FetchError::Bad(format!("the document is larger than {limit} bytes (max-index-bytes)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn read(
        packing: Packing,
        limit: u64,
        body: &[u8],
        piece: usize,
    ) -> Result<(Bytes, Digest), FetchError> {
        let mut pieces = Pieces::new(packing, limit);
        for piece in body.chunks(piece) {
            pieces.push(Bytes::copy_from_slice(piece))?;
        }
        pieces.document().await
    }

    #[tokio::test]
    async fn a_document_is_the_same_however_it_comes() {
        for length in [0, 10, 300_000] {
            let document: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            let packed = gzip(&document);
            for piece in [1, 1000, usize::MAX] {
                for (packing, body) in [(Packing::None, &document), (Packing::Gzip, &packed)] {
                    let (found, digest) = read(packing, 1 << 20, body, piece).await.unwrap();
                    assert!(found == document, "{length} {piece}");
                    assert_eq!(digest, Digest::of(&document));
                }
            }
        }
    }

    #[tokio::test]
    async fn gzip_may_have_several_members_and_zeros_behind_the_last() {
        let two = [gzip(&[b'a'; 300]), gzip(&[b'b'; 200])].concat();
        let padded = [&two[..], &[0; 700]].concat();
        for body in [&two, &padded] {
            for piece in [1, 600, usize::MAX] {
                let (found, _) = read(Packing::Gzip, 1 << 20, body, piece).await.unwrap();
                assert!(found == [&[b'a'; 300][..], &[b'b'; 200]].concat(), "{piece}");
            }
        }
        let followed = [&padded[..], b"x"].concat();
        assert!(read(Packing::Gzip, 1 << 20, &followed, 600).await.is_err());
        assert!(read(Packing::Gzip, 499, &two, 600).await.is_err(), "the limit is that of all members");
        assert!(read(Packing::Gzip, 500, &two, 600).await.is_ok());
    }

    #[test]
    fn encodings_are_told_without_case() {
        for (encoding, packing) in [
            (None, Packing::None),
            (Some("Identity"), Packing::None),
            (Some("GZIP"), Packing::Gzip),
            (Some("X-Gzip"), Packing::Gzip),
        ] {
            assert_eq!(Packing::of(encoding).unwrap(), packing, "{encoding:?}");
        }
        assert!(Packing::of(Some("br")).is_err());
    }

    #[tokio::test]
    async fn a_large_document_is_known_by_its_last_bytes_and_else_when_it_is_unpacked() {
        let gather = |body: &[u8]| {
            let mut pieces = Pieces::new(Packing::Gzip, 100 << 20);
            pieces.push(Bytes::copy_from_slice(body)).unwrap();
            pieces
        };
        // One that shrinks by far more than is usual.
        let large = gzip(&vec![b' '; LARGE + 1]);
        assert!(gather(&large).is_told_to_be_large());
        let lying = [&large[..], &gzip(b"{}")].concat();
        assert!(!gather(&lying).is_told_to_be_large());
        assert!(gather(&lying).small_document().await.unwrap().is_none());
        let small = gather(&gzip(&vec![b' '; LARGE]));
        assert!(!small.is_told_to_be_large());
        assert_eq!(small.small_document().await.unwrap().unwrap().0.len(), LARGE);
    }

    #[tokio::test]
    async fn memory_is_not_taken_on_the_word_of_the_last_four_bytes() {
        let mut pieces = Pieces::new(Packing::Gzip, u64::MAX);
        pieces.push(Bytes::from_static(&[0xff; 100])).unwrap();
        assert_eq!(pieces.told_length(), 100 * USUAL_GAIN + 1);
    }

    #[tokio::test]
    async fn neither_large_nor_broken_nor_lying_gzip_is_taken() {
        let packed = gzip(&vec![0; 100_000]);
        assert!(packed.len() < 5000);
        let large = read(Packing::Gzip, 99_999, &packed, 4096).await.unwrap_err();
        assert!(large.to_string().contains("max-index-bytes"), "{large}");
        assert!(read(Packing::Gzip, 100_000, &packed, 4096).await.is_ok());
        assert!(read(Packing::None, 10, b"eleven bytes", 4096).await.is_err());
        assert!(read(Packing::Gzip, 1 << 20, &packed[..packed.len() / 2], 4096).await.is_err());
        assert!(read(Packing::Gzip, 1 << 20, b"no gzip at all", 4096).await.is_err());
        let mut lying = packed;
        let end = lying.len();
        lying[end - 4..].copy_from_slice(&[0xff; 4]);
        assert!(read(Packing::Gzip, u64::MAX, &lying, 4096).await.is_err());
    }
}
