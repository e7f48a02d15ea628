//! Bodies of answers: in memory or streamed. Those of requests are in `body/request.rs`.

mod request;

pub use self::request::{IDLE, RequestBody};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use weir_registry::FileRange;
use weir_registry::open::{Content, Part, Parts, bytes_of};

/// What a body can fail with; the connection is cut and the text goes to the log.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

type BoxedChunks = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// The body of an answer. One in memory costs no allocation and tells its exact length.
#[derive(Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes in memory.
    Full(Bytes),
    /// Bytes of a file, which who sends them may take as such ([`Body::take_files`]).
    File(FileRange),
    /// Bytes to come that lie in a file for the most part, to be taken alike.
    Parts {
        /// The parts; an error among them cuts the connection.
        parts: Parts,
        /// How many bytes are still to come, where that is known.
        remaining: Option<u64>,
    },
    /// Bytes to come.
    Stream {
        /// The chunks; an error among them cuts the connection, so that nobody takes it for the end.
        chunks: BoxedChunks,
        /// How many bytes are still to come, where that is known.
        remaining: Option<u64>,
    },
}

impl Body {
    /// A body of chunks; `length` in bytes becomes Content-Length.
    pub fn from_stream<S, E>(chunks: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BodyError>,
    {
        Self::Stream { chunks: Box::pin(chunks.map(|chunk| chunk.map_err(Into::into))), remaining: length }
    }

    /// A file's bytes as they were found; `length` in bytes, where it is known, is that of a stream.
    pub fn of(content: Content, length: Option<u64>) -> Self {
        match content {
            Content::Bytes(bytes) => bytes.into(),
            Content::File(part) if part.is_empty() => Self::Empty,
            Content::File(part) => Self::File(part),
            Content::Stream(chunks) => Self::from_stream(chunks, length),
            Content::Parts(_) if length == Some(0) => Self::Empty,
            Content::Parts(parts) => Self::Parts { parts, remaining: length },
        }
    }

    /// What lies in files, for who can send these without reading them; the body is empty then.
    pub fn take_files(&mut self) -> Option<Files> {
        match std::mem::take(self) {
            Self::File(part) => Some(Files { remaining: Some(part.len()), first: Some(part), more: None }),
            Self::Parts { parts, remaining } => Some(Files { first: None, more: Some(parts), remaining }),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The exact length in bytes, where it is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::File(part) => Some(part.len()),
            Self::Parts { remaining, .. } | Self::Stream { remaining, .. } => *remaining,
        }
    }
}

/// A body that lies in files: some of it, and what is still to come.
pub struct Files {
    /// What comes first.
    pub first: Option<FileRange>,
    /// What comes then; an error among the parts cuts the connection.
    pub more: Option<Parts>,
    /// How many bytes all of it has, where that is known.
    pub remaining: Option<u64>,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({:?} bytes)", self.length())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(Files { first, more, remaining }) = this.take_files() {
            let first = stream::iter(first.map(|part| Ok(Part::File(part))));
            *this = Self::from_stream(bytes_of(first.chain(stream::iter(more).flatten()).boxed()), remaining);
        }
        match this {
            Self::Empty | Self::File(_) | Self::Parts { .. } => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream { chunks, remaining } => {
                let chunk = ready!(chunks.as_mut().poll_next(context));
                Poll::Ready(match chunk {
                    Some(Ok(bytes)) => {
                        if let Some(remaining) = remaining {
                            *remaining = remaining.saturating_sub(bytes.len() as u64);
                        }
                        Some(Ok(Frame::data(bytes)))
                    }
                    Some(Err(error)) => Some(Err(error)),
                    None => match remaining {
                        Some(missing) if *missing > 0 => {
                            let text = format!("a body ended {missing} bytes before its length");
                            *remaining = None;
                            Some(Err(text.into()))
                        }
                        _ => None,
                    },
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::File(part) => part.is_empty(),
            // A stream of known length may still have an error to tell after its last byte.
            Self::Parts { .. } | Self::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn streamed(chunks: &'static [&[u8]], length: u64) -> Body {
        let chunks = chunks.iter().map(|chunk| Ok::<_, BodyError>(Bytes::from_static(chunk)));
        Body::from_stream(futures_util::stream::iter(chunks), Some(length))
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn a_body_in_memory_tells_its_length_and_a_stream_what_it_was_told() {
        assert_eq!(Body::from("weir").size_hint().exact(), Some(4));
        assert_eq!(Body::Empty.size_hint().exact(), Some(0));
        let body = streamed(&[b"ab", b"c"], 3);
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(block_on(body.collect()).unwrap().to_bytes(), "abc");
    }

    #[test]
    fn a_stream_that_ends_before_its_length_is_an_error() {
        let body = streamed(&[b"ab"], 3);
        let error = block_on(body.collect()).unwrap_err();
        assert!(error.to_string().contains("1 bytes before"), "{error}");
    }
}
