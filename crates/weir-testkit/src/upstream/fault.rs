//! The ways in which the fake registry fails, and the answers that can carry them.

use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use std::io::{self, Read as _};
use std::time::Duration;

/// One way to fail.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers with this status and a short text.
    Status(u16),
    /// Answers with this status and `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// Answers 200 with an HTML page, as captive portals do.
    Html,
    /// Answers 200 with these bytes and the right length.
    Body(Bytes),
    /// Closes the connection after so many bytes of the body; the length was announced in full.
    Cut(usize),
    /// Flips one byte in the middle of the body.
    Corrupt,
    /// Sends so many bytes of the body per second.
    Slow(usize),
    /// Sends so many bytes of the body and then nothing more, the connection open.
    Stall(usize),
    /// Takes the request and never answers.
    Hang,
    /// Takes the request and closes the connection without an answer.
    Close,
    /// Redirects to exactly this address.
    Redirect(String),
    /// Redirects to this prefix with the request's path behind it.
    RedirectUnder(String),
    /// Announces a body longer or shorter than it is by so many bytes. Shorter cuts what is sent to match.
    WrongLength(i64),
    /// Announces no length at all.
    NoLength,
    /// Sends as it is what it would send in gzip.
    NoGzip,
    /// Says another content type.
    ContentType(&'static str),
    /// Sets or replaces a header.
    Header(&'static str, String),
    /// Leaves a header out.
    NoHeader(&'static str),
    /// Waits before it answers.
    Delay(Duration),
}

/// Which paths fail, how, and how often still.
#[derive(Default)]
pub(super) struct Rules(Vec<Rule>);

struct Rule {
    prefix: String,
    fault: Fault,
    left: usize,
}

impl Rules {
    pub(super) fn add(&mut self, prefix: &str, fault: Fault, times: usize) {
        self.0.push(Rule { prefix: prefix.to_owned(), fault, left: times });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The faults of one request, in order; each counts down.
    pub(super) fn take(&mut self, path: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        for rule in self.0.iter_mut().filter(|rule| rule.left > 0 && path.starts_with(&rule.prefix)) {
            rule.left -= 1;
            faults.push(rule.fault.clone());
        }
        faults
    }
}

/// The body type of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer before it is sent: what a healthy registry would say, and how it is sent.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    announced_change: i64,
    sized: bool,
    pace: Pace,
}

#[derive(Default)]
struct Pace {
    cut: Option<usize>,
    stall: Option<usize>,
    bytes_per_second: Option<usize>,
}

impl Reply {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let body = body.into();
        Self { status, headers, body, announced_change: 0, sized: true, pace: Pace::default() }
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("tests set only visible characters"));
        self
    }

    /// The answer with a fault in it; `Err` closes the connection instead.
    pub(super) async fn fail(mut self, fault: &Fault, path: &str) -> io::Result<Self> {
        match fault {
            Fault::Status(status) => Ok(Self::failure(*status)),
            Fault::RetryAfter(status, seconds) => {
                Ok(Self::failure(*status).header(header::RETRY_AFTER, &seconds.to_string()))
            }
            Fault::Html => {
                let page = "<!doctype html><html><body>Please sign in to this network.</body></html>";
                Ok(Self::new(StatusCode::OK, "text/html; charset=utf-8", page))
            }
            Fault::Body(bytes) => Ok(Self::new(StatusCode::OK, "application/json", bytes.clone())),
            Fault::Cut(after) => {
                self.pace.cut = Some(*after);
                Ok(self)
            }
            Fault::Corrupt => {
                let mut bytes = self.body.to_vec();
                let middle = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 0xff;
                }
                self.body = bytes.into();
                Ok(self)
            }
            Fault::Slow(rate) => {
                self.pace.bytes_per_second = Some(*rate);
                Ok(self)
            }
            Fault::Stall(after) => {
                self.pace.stall = Some(*after);
                Ok(self)
            }
            Fault::Hang => std::future::pending().await,
            Fault::Close => Err(io::Error::other("closed by rule")),
            Fault::Redirect(to) => Ok(Self::redirect(to)),
            Fault::RedirectUnder(prefix) => {
                Ok(Self::redirect(&format!("{}{path}", prefix.trim_end_matches('/'))))
            }
            Fault::WrongLength(change) => {
                self.announced_change = *change;
                Ok(self)
            }
            Fault::NoLength => {
                self.sized = false;
                Ok(self)
            }
            Fault::NoGzip => {
                if self.headers.remove(header::CONTENT_ENCODING).is_some() {
                    let mut document = Vec::new();
                    GzDecoder::new(&self.body[..]).read_to_end(&mut document)?;
                    self.body = document.into();
                }
                Ok(self)
            }
            Fault::ContentType(kind) => Ok(self.header(header::CONTENT_TYPE, kind)),
            Fault::Header(name, value) => Ok(self.header(HeaderName::from_static(name), value)),
            Fault::NoHeader(name) => {
                self.headers.remove(*name);
                Ok(self)
            }
            Fault::Delay(time) => {
                tokio::time::sleep(*time).await;
                Ok(self)
            }
        }
    }

    /// The answer as hyper sends it.
    pub(super) fn send(mut self, method: &Method) -> Response<Body> {
        if self.sized {
            let length = (self.body.len() as i64 + self.announced_change).max(0);
            self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body = if method == Method::HEAD { Bytes::new() } else { self.body };
        let mut response = Response::new(self.pace.body(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    fn failure(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("tests fail with real status codes");
        Self::new(status, "text/plain", "failing by rule\n")
    }

    fn redirect(to: &str) -> Self {
        Self::new(StatusCode::FOUND, "text/plain", "").header(header::LOCATION, to)
    }
}

impl Pace {
    /// The bytes in pieces, with the pauses and the end that the faults ask for.
    fn body(self, bytes: Bytes) -> Body {
        // Twenty pieces a second are slow enough to be seen as a drip and fast enough for a test.
        let piece = self.bytes_per_second.map_or(64 * 1024, |rate| (rate / 20).max(1));
        let stream = stream::unfold((self, bytes, 0), move |(pace, mut bytes, sent)| async move {
            if pace.cut.is_some_and(|after| sent >= after) {
                // What was written before has to leave the buffers first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Some((Err(io::Error::other("cut by rule")), (pace, Bytes::new(), sent)));
            }
            if pace.stall.is_some_and(|after| sent >= after) {
                std::future::pending::<()>().await;
            }
            if bytes.is_empty() {
                return None;
            }
            if pace.bytes_per_second.is_some() && sent > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let border = [pace.cut, pace.stall].into_iter().flatten().min().unwrap_or(usize::MAX);
            let next = bytes.split_to(piece.min(border - sent).min(bytes.len()));
            let sent = sent + next.len();
            Some((Ok(Frame::data(next)), (pace, bytes, sent)))
        });
        UnsyncBoxBody::new(StreamBody::new(stream))
    }
}
