//! The one log line of a request, written when the body of its answer has ended, and the body that
//! notices that end. Tokens and login names never stand in it.

use super::HttpMetrics;
use crate::http::RequestId;
use bytes::Bytes;
use http::{Method, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use weir_core::Principal;
use weir_protocol::{Body, BodyError, Files};

/// What is known of a request; it grows as the request is understood.
#[derive(Debug)]
pub(crate) struct RequestLine {
    /// Its identifier, also in the answer.
    pub(crate) id: RequestId,
    /// When its head was read.
    pub(crate) began: Instant,
    /// The address of the client.
    pub(crate) client: IpAddr,
    /// The method.
    pub(crate) method: Method,
    /// The target as sent.
    pub(crate) uri: Uri,
    /// The decoded path, where it must not be logged as sent.
    pub(crate) redacted_path: Option<String>,
    /// The format spoken.
    pub(crate) format: Option<&'static str>,
    /// `DOMAIN/REPOSITORY` as the client wrote it.
    pub(crate) repository: Option<String>,
    /// The package asked, as the client wrote it.
    pub(crate) package: Option<String>,
    /// Who asked.
    pub(crate) principal: Option<Arc<Principal>>,
    /// The status of the answer.
    pub(crate) status: u16,
    /// How old the public index was that the answer was made of, in seconds, if it was not confirmed.
    pub(crate) stale_s: Option<u64>,
    /// Why it was refused, for the log.
    pub(crate) error: Option<String>,
    /// Of the body, as far as they were sent.
    pub(super) bytes: u64,
    /// Whether the body reached its end.
    pub(super) ended: bool,
}

/// The status in the log when the client left before there was an answer.
const CLIENT_LEFT: u16 = 499;

impl RequestLine {
    /// The line of a request whose head was just read. It is written when it is dropped.
    pub(crate) fn new(client: IpAddr, method: Method, uri: Uri) -> Box<Self> {
        HttpMetrics::get().in_flight.inc();
        Box::new(Self {
            id: RequestId::new(),
            began: Instant::now(),
            client,
            method,
            uri,
            redacted_path: None,
            format: None,
            repository: None,
            package: None,
            principal: None,
            status: CLIENT_LEFT,
            stale_s: None,
            error: None,
            bytes: 0,
            ended: false,
        })
    }

    /// A path that may be logged: nothing behind `-/user/`, which is where names and tokens stand, and no
    /// token anywhere. `None` when the path may be logged as it was sent.
    pub(crate) fn redact(segments: &[String]) -> Option<String> {
        let user = segments.windows(2).position(|pair| pair[0] == "-" && pair[1] == "user");
        let has_token = segments.iter().any(|segment| segment.contains("weir_"));
        if user.is_none() && !has_token {
            return None;
        }
        let mut path = String::new();
        for (index, segment) in segments.iter().enumerate() {
            path.push('/');
            let hidden = user.is_some_and(|user| index > user + 1);
            match segment.find("weir_").filter(|_| !hidden) {
                Some(at) => path.extend([&segment[..at], "(redacted)"]),
                None => path.push_str(if hidden { "(redacted)" } else { segment }),
            }
        }
        Some(path)
    }

    /// The path as it may be logged.
    pub(crate) fn path(&self) -> &str {
        self.redacted_path.as_deref().unwrap_or_else(|| self.uri.path())
    }

    fn write(&self) {
        let elapsed = self.began.elapsed();
        HttpMetrics::get().ended(self.format, self.status, elapsed.as_secs_f64(), self.bytes);
        if tracing::enabled!(target: "weir::request", tracing::Level::INFO) {
            super::write_request_line(self, elapsed.as_micros() as f64 / 1000.0);
        }
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        HttpMetrics::get().in_flight.dec();
        self.write();
    }
}

/// The body of an answer; the log line goes with it, so it is written when the body has ended or was
/// given up.
pub(crate) struct Logged {
    body: Body,
    line: Box<RequestLine>,
}

impl Logged {
    /// Takes the body of an answer and the line to write at its end.
    pub(crate) fn new(body: Body, mut line: Box<RequestLine>) -> Self {
        // hyper does not ask a body of no bytes for its end.
        line.ended = body.is_end_stream() || line.method == Method::HEAD;
        Self { body, line }
    }

    /// What lies in files, for who sends these without reading them, and then says so by [`Logged::passed`].
    pub(crate) fn take_files(&mut self) -> Option<Files> {
        self.body.take_files()
    }

    /// Bytes of its files were sent.
    pub(crate) fn passed(&mut self, bytes: u64, all: bool) {
        self.line.bytes += bytes;
        self.line.ended |= all;
    }

    /// Its files cannot be read, or do not come.
    pub(crate) fn failed(&mut self, error: &std::io::Error) {
        self.line.error = Some(error.to_string());
    }
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                this.line.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                // With a known length hyper stops asking at the last byte.
                this.line.ended |= this.body.is_end_stream() || this.body.length() == Some(0);
            }
            Some(Err(error)) => this.line.error = Some(error.to_string()),
            None => this.line.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(path: &str) -> Option<String> {
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        RequestLine::redact(&segments)
    }

    #[test]
    fn names_and_tokens_are_redacted_and_other_paths_are_left_alone() {
        assert_eq!(redacted("npm/d/local-000000000000/main/left-pad"), None);
        assert_eq!(
            redacted("npm/main/-/user/token/weir_abc").as_deref(),
            Some("/npm/main/-/user/(redacted)/(redacted)")
        );
        assert_eq!(
            redacted("npm/main/-/user/org.couchdb.user:alice").as_deref(),
            Some("/npm/main/-/user/(redacted)")
        );
        assert_eq!(redacted("npm/x-weir_abc/y").as_deref(), Some("/npm/x-(redacted)/y"));
    }
}
