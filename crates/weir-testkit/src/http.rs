//! A small HTTP/1.1 client for assertions: one connection for each request, no redirects, no decoding.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long one exchange may take.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came, still encoded if it was.
    pub body: Bytes,
}

impl Answer {
    /// A header's value, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text, lossily; gunzipped when it says it is gzip.
    pub fn text(&self) -> String {
        if self.header("content-encoding") == "gzip" {
            let mut text = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(&self.body[..]);
            std::io::Read::read_to_end(&mut reader, &mut text).expect("the body is gzip, as it says");
            return String::from_utf8_lossy(&text).into_owned();
        }
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the whole answer when it is not.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {text}", self.status))
    }

    /// Panics with the whole answer unless the status is `status`.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        let text = self.text();
        assert!(self.status == status, "expected {status}, got {}\n{:?}\n{text}", self.status, self.headers);
        self
    }
}

/// Sends one request; panics when the exchange fails.
pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let answer = try_send(method, url, headers, body).await;
    answer.unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// Sends one request; `Err` says what broke: no connection, no answer, or a body that ended too early.
pub async fn try_send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, String> {
    let exchange = exchange(method, url, headers, body.into());
    tokio::time::timeout(LIMIT, exchange).await.map_err(|_| format!("no end within {LIMIT:?}"))?
}

async fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, String> {
    let Opened { status, headers, body } = open(method, url, headers, body).await?;
    let body = body.collect().await.map_err(|error| format!("the body broke off: {error:?}"))?.to_bytes();
    Ok(Answer { status, headers, body })
}

/// An answer whose body is still to come. Dropping it closes the connection.
#[derive(Debug)]
pub struct Opened {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Opened {
    /// The next bytes; `None` at the end, `Err` when the body broke off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| format!("the body broke off: {error:?}"))?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Sends one request and waits for the head of its answer only, however long that takes.
pub async fn open(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Opened, String> {
    let (authority, target) = split_url(url);
    let stream =
        TcpStream::connect(authority).await.map_err(|error| format!("connect to {authority}: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);

    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let mut request = Request::builder().method(method).uri(target);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", authority);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).map_err(|error| error.to_string())?;

    let answer = sender.send_request(request).await.map_err(|error| format!("no answer: {error:?}"))?;
    let (parts, body) = answer.into_parts();
    Ok(Opened { status: parts.status, headers: parts.headers, body })
}

/// Splits `http://AUTHORITY/TARGET`.
pub(crate) fn split_url(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not a plain http address: {url}"));
    match rest.find('/') {
        Some(slash) => (&rest[..slash], &rest[slash..]),
        None => (rest, "/"),
    }
}
