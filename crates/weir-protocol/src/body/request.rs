//! The body of a request: decoded, limited, never stalled, whole.

use super::BodyError;
use bytes::Bytes;
use flate2::write::GzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body as HttpBody;
use std::io::Write;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use weir_core::error::{Error, Result};

type BoxedBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// How long a client may send nothing before its request is given up.
pub const IDLE: Duration = Duration::from_secs(60);

/// Compressed bytes are fed to the decoder in slices of this size, so that one slice of a bomb
/// becomes at most about 4 MiB in memory.
const SLICE_BYTES: usize = 4 << 10;

/// Up to here a compressed body may unpack to any ratio.
const FREE_UNPACKED_BYTES: u64 = 16 << 20;

/// Above it, to this many bytes for each byte received.
const UNPACK_RATIO: u64 = 100;

/// The body of a request: bytes after `Content-Encoding` is undone, under a limit, refused when
/// the client sends nothing for a while (there is no limit on the whole time) or stops short.
pub struct RequestBody {
    inner: Option<BoxedBody>,
    declared: Option<u64>,
    encoding: Encoding,
    pending: Bytes,
    received: u64,
    given: u64,
    limit: u64,
    setting: &'static str,
    ceiling: Option<(u64, &'static str)>,
    idle: Duration,
}

enum Encoding {
    Identity,
    Gzip(Option<Box<GzDecoder<Vec<u8>>>>),
    Unknown(String),
}

impl RequestBody {
    /// Wraps what the server received. Nothing is refused before the first byte is asked for, so a
    /// client that sent `Expect: 100-continue` keeps its body when the request fails earlier.
    pub fn new<B>(body: B, headers: &HeaderMap) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let inner: Option<BoxedBody> = (!body.is_end_stream()).then(|| {
            let body = http_body_util::BodyExt::map_err(body, Into::into);
            Box::pin(body) as BoxedBody
        });
        Self {
            inner,
            declared,
            encoding: Encoding::of(headers),
            pending: Bytes::new(),
            received: 0,
            given: 0,
            limit: 1 << 20,
            setting: "the limit of this request",
            ceiling: None,
            idle: IDLE,
        }
    }

    /// A body in memory, without encoding: for tests and for requests that have none.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::new(http_body_util::Full::new(bytes.into()), &HeaderMap::new())
    }

    /// Sets how many decoded bytes may come, and the setting that says so (before it, 1 MiB).
    pub fn limited(mut self, bytes: u64, setting: &'static str) -> Self {
        let lowest = self.ceiling.filter(|(ceiling, _)| *ceiling < bytes);
        (self.limit, self.setting) = lowest.unwrap_or((bytes, setting));
        self
    }

    /// [`limited`](Self::limited), and whoever reads the body can only lower it.
    pub fn never_over(mut self, bytes: u64, setting: &'static str) -> Self {
        self.ceiling = Some((bytes, setting));
        self.limited(bytes, setting)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inner.is_none() && self.pending.is_empty()
    }

    /// Sets how long the client may be silent (before it, 60 s).
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// What Content-Length promised, in bytes before decoding.
    pub fn declared_length(&self) -> Option<u64> {
        self.declared
    }

    /// The next bytes, never empty; `None` at the end. Errors: `TooLarge` over the limit, `Stalled`
    /// when the client is silent, `Invalid` for a cut body and for an encoding that is unknown or broken. After an error, and
    /// after the end, it gives `None`.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        let result = self.advance().await;
        if !matches!(result, Ok(Some(_))) {
            self.inner = None;
            self.pending = Bytes::new();
            self.encoding = Encoding::Identity;
        }
        result
    }

    /// All of the body, which may have `limit` bytes by `setting`.
    pub async fn collect(self, limit: u64, setting: &'static str) -> Result<Bytes> {
        let mut body = self.limited(limit, setting);
        let Some(first) = body.next_chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = body.next_chunk().await? else { return Ok(first) };
        let mut whole = Vec::with_capacity((first.len() + second.len()) * 2);
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(chunk) = body.next_chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    async fn advance(&mut self) -> Result<Option<Bytes>> {
        if self.inner.is_none() && self.pending.is_empty() {
            return Ok(None);
        }
        match &self.encoding {
            Encoding::Identity if self.declared.is_some_and(|length| length > self.limit) => {
                return Err(self.too_large());
            }
            Encoding::Unknown(name) => {
                return Err(Error::invalid(
                    "Content-Encoding",
                    format_args!("'{name}' is not supported; send the body as it is, or as gzip"),
                ));
            }
            _ => {}
        }
        loop {
            if self.pending.is_empty() {
                match self.receive().await? {
                    Some(bytes) => self.pending = bytes,
                    None => return self.finish(),
                }
            }
            let chunk = match &mut self.encoding {
                Encoding::Gzip(Some(decoder)) => {
                    let slice = self.pending.split_to(self.pending.len().min(SLICE_BYTES));
                    decode(decoder, &slice)?
                }
                _ => std::mem::take(&mut self.pending),
            };
            if !chunk.is_empty() {
                return self.give(chunk).map(Some);
            }
        }
    }

    /// The next bytes as they came over the wire, never empty; `None` at the end.
    async fn receive(&mut self) -> Result<Option<Bytes>> {
        let Some(inner) = &mut self.inner else { return Ok(None) };
        let deadline = Instant::now() + self.idle;
        loop {
            let frame = timeout_at(deadline, http_body_util::BodyExt::frame(inner)).await;
            let frame = match frame {
                Err(_) => {
                    return Err(Error::stalled(format!(
                        "request body stalled: nothing came for {:?} after {} bytes (client-timeout)",
                        self.idle, self.received
                    )));
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(cut(self.received, self.declared, &error.to_string())),
                Ok(Some(Ok(frame))) => frame,
            };
            // Empty frames are no progress: the deadline stays.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.received += data.len() as u64;
                // Compression adds little; a stream of empty blocks would otherwise never end.
                if self.received > self.limit.saturating_add(self.limit / 64 + (64 << 10)) {
                    return Err(self.too_large());
                }
                return Ok(Some(data));
            }
        }
        self.inner = None;
        match self.declared {
            Some(declared) if declared != self.received => {
                Err(cut(self.received, self.declared, "the client stopped"))
            }
            _ => Ok(None),
        }
    }

    fn finish(&mut self) -> Result<Option<Bytes>> {
        let Encoding::Gzip(decoder) = &mut self.encoding else { return Ok(None) };
        let Some(mut decoder) = decoder.take() else { return Ok(None) };
        decoder
            .try_finish()
            .map_err(|_| Error::invalid("body", "the gzip stream is cut short or its checksum is wrong"))?;
        let rest = std::mem::take(decoder.get_mut());
        if rest.is_empty() { Ok(None) } else { self.give(rest.into()).map(Some) }
    }

    fn give(&mut self, chunk: Bytes) -> Result<Bytes> {
        self.given += chunk.len() as u64;
        if self.given > self.limit {
            return Err(self.too_large());
        }
        let bomb =
            self.given > FREE_UNPACKED_BYTES && self.given > self.received.saturating_mul(UNPACK_RATIO);
        if matches!(self.encoding, Encoding::Gzip(_)) && bomb {
            return Err(Error::too_large(format!(
                "the request body unpacks to more than {UNPACK_RATIO} times its size"
            )));
        }
        Ok(chunk)
    }

    fn too_large(&self) -> Error {
        Error::too_large(format!(
            "the request body is larger than {} bytes, which is the limit by {}",
            self.limit, self.setting
        ))
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestBody({} bytes received of {:?})", self.received, self.declared)
    }
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(first) = values.next() else { return Self::Identity };
        let name = first.to_str().unwrap_or("(not text)").trim();
        if values.next().is_some() {
            return Self::Unknown("more than one".into());
        }
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Self::Identity,
            "gzip" | "x-gzip" => Self::Gzip(Some(Box::new(GzDecoder::new(Vec::new())))),
            _ => Self::Unknown(weir_core::name::shown(name)),
        }
    }
}

fn decode(decoder: &mut GzDecoder<Vec<u8>>, mut slice: &[u8]) -> Result<Bytes> {
    while !slice.is_empty() {
        let taken = decoder.write(slice).map_err(|_| Error::invalid("body", "the gzip stream is broken"))?;
        if taken == 0 {
            return Err(Error::invalid("body", "bytes follow the end of the gzip stream"));
        }
        slice = &slice[taken..];
    }
    Ok(std::mem::take(decoder.get_mut()).into())
}

fn cut(received: u64, declared: Option<u64>, why: &str) -> Error {
    let of = declared.map_or_else(String::new, |declared| format!(" of {declared}"));
    Error::invalid("body", format_args!("the request body was cut after {received}{of} bytes: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::stream;
    use http::HeaderValue;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn chunked(data: &[u8], size: usize) -> Body {
        let chunks: Vec<_> =
            data.chunks(size).map(|c| Ok::<_, BodyError>(Bytes::copy_from_slice(c))).collect();
        Body::from_stream(stream::iter(chunks), None)
    }

    #[test]
    fn a_request_body_is_refused_over_its_limit_before_and_while_it_comes() {
        let declared = RequestBody::new(Body::from("12345"), &headers(&[(CONTENT_LENGTH, "5")]));
        let error = block_on(declared.collect(4, "max-test-bytes")).unwrap_err();
        assert!(matches!(&error, Error::TooLarge { message } if message.contains("4 bytes")
            && message.contains("max-test-bytes")));
        let undeclared = RequestBody::new(chunked(b"12345", 2), &HeaderMap::new());
        assert!(matches!(block_on(undeclared.collect(4, "x")), Err(Error::TooLarge { .. })));
        let fits = RequestBody::new(chunked(b"12345", 2), &HeaderMap::new());
        assert_eq!(block_on(fits.collect(5, "x")).unwrap(), "12345");
    }

    #[test]
    fn a_ceiling_is_not_lifted_by_whoever_reads() {
        let body = |ceiling| RequestBody::full("12345").never_over(ceiling, "max-test-bytes");
        let error = block_on(body(4).collect(100, "x")).unwrap_err();
        assert!(error.to_string().contains("max-test-bytes"), "{error}");
        assert!(matches!(block_on(body(100).collect(4, "x")), Err(Error::TooLarge { .. })));
        assert_eq!(block_on(body(5).collect(100, "x")).unwrap(), "12345");
    }

    #[test]
    fn a_body_shorter_than_its_content_length_is_cut() {
        let body = RequestBody::new(Body::from("1234"), &headers(&[(CONTENT_LENGTH, "5")]));
        let error = block_on(body.collect(100, "x")).unwrap_err();
        assert!(error.to_string().contains("cut after 4 of 5 bytes"), "{error}");
    }

    #[test]
    fn a_broken_connection_is_a_cut_body() {
        let chunks = [Ok(Bytes::from_static(b"12")), Err(BodyError::from("connection reset"))];
        let body = RequestBody::new(Body::from_stream(stream::iter(chunks), None), &HeaderMap::new());
        let error = block_on(body.collect(100, "x")).unwrap_err();
        assert!(error.to_string().contains("cut after 2 bytes: connection reset"), "{error}");
    }

    #[test]
    fn a_silent_client_is_given_up_even_if_it_sends_empty_frames() {
        let frames = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, BodyError>(Bytes::new()), ()))
        });
        let body = RequestBody::new(Body::from_stream(frames, None), &HeaderMap::new())
            .idle_timeout(Duration::from_millis(30));
        let error = block_on(body.collect(100, "x")).unwrap_err();
        assert!(error.to_string().contains("request body stalled"), "{error}");
    }

    #[test]
    fn a_slow_client_may_take_longer_than_the_idle_timeout_in_all() {
        let frames = stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (n < 6).then_some((Ok::<_, BodyError>(Bytes::from_static(b"x")), n + 1))
        });
        let body = RequestBody::new(Body::from_stream(frames, None), &HeaderMap::new())
            .idle_timeout(Duration::from_millis(90));
        assert_eq!(block_on(body.collect(100, "x")).unwrap(), "xxxxxx");
    }

    #[test]
    fn gzip_is_undone_in_every_chunking() {
        let data: Vec<u8> =
            (0..20_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let packed = gzip(&data);
        for size in [1, 7, 4096, packed.len()] {
            let body = RequestBody::new(chunked(&packed, size), &headers(&[(CONTENT_ENCODING, "gzip")]));
            assert_eq!(block_on(body.collect(1 << 20, "x")).unwrap(), data, "chunks of {size}");
        }
    }

    #[test]
    fn a_gzip_bomb_is_refused_by_the_limit_and_by_its_ratio() {
        let bomb = gzip(&vec![0; 64 << 20]);
        let received = |limit| {
            let body = RequestBody::new(Body::from(bomb.clone()), &headers(&[(CONTENT_ENCODING, "gzip")]));
            block_on(body.collect(limit, "max-test-bytes"))
        };
        let error = received(1 << 20).unwrap_err();
        assert!(error.to_string().contains("max-test-bytes"), "{error}");
        let error = received(1 << 40).unwrap_err();
        assert!(error.to_string().contains("100 times"), "{error}");
    }

    #[test]
    fn a_gzip_stream_that_never_says_anything_is_refused() {
        let header = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
        let empty_blocks = b"\0\0\0\xff\xff".repeat(20_000);
        let sent = [&header[..], &empty_blocks].concat();
        let body = RequestBody::new(chunked(&sent, 4096), &headers(&[(CONTENT_ENCODING, "gzip")]));
        assert!(matches!(block_on(body.collect(1000, "x")), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn broken_and_foreign_encodings_are_refused() {
        let packed = gzip(b"some text");
        let mut trailing = packed.clone();
        trailing.extend(b"more");
        let cases: [(&'static str, &[u8], &str); 5] = [
            ("gzip", &packed[..packed.len() - 3], "cut short"),
            ("gzip", &trailing, "follow the end"),
            ("gzip", b"not gzip at all", "broken"),
            ("br", b"x", "not supported"),
            ("gzip, gzip", b"x", "not supported"),
        ];
        for (encoding, data, expected) in cases {
            let body = RequestBody::new(chunked(data, 5), &headers(&[(CONTENT_ENCODING, encoding)]));
            let error = block_on(body.collect(1 << 20, "x")).unwrap_err();
            assert!(matches!(&error, Error::Invalid { .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{encoding}: {error}");
        }
    }

    #[test]
    fn nothing_follows_an_error_or_the_end() {
        let mut body = RequestBody::full("12345").limited(2, "x");
        block_on(async {
            assert!(body.next_chunk().await.is_err());
            assert!(body.next_chunk().await.unwrap().is_none());
            let mut empty = RequestBody::full("");
            assert!(empty.next_chunk().await.unwrap().is_none());
        });
    }
}
