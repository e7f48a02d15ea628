//! A small HTTP/1.1 client with connections that stay open: light enough not to be what a measurement
//! shows. Also finds the address of a file in an index. No redirects, no TLS.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::io::Read as _;
use tokio::net::TcpStream;
use url::Url;

/// npm's Accept header for an abbreviated packument.
pub(crate) const ABBREVIATED: &str =
    "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*";
/// The JSON form of a Python index page.
pub(crate) const SIMPLE_JSON: &str = "application/vnd.pypi.simple.v1+json";

/// A GET.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The whole address.
    pub(crate) url: String,
    /// Its headers.
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    /// A request with a bearer token, if any, and these further headers.
    pub(crate) fn new(url: &str, token: Option<&str>, headers: &[(&str, &str)]) -> Self {
        let mut all: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.extend(token.map(|token| ("authorization".to_owned(), format!("Bearer {token}"))));
        Self { url: url.to_owned(), headers: all }
    }
}

/// One connection at a time to one server; opened again when the server closed it.
#[derive(Default)]
pub(crate) struct Connection {
    open: Option<(String, SendRequest<Empty<Bytes>>)>,
}

/// An answer, its body still to be read.
pub(crate) struct Answer {
    /// Status and headers.
    pub(crate) head: http::response::Parts,
    body: Incoming,
}

impl Connection {
    /// Sends a request and waits for the head of its answer. The body must be read before the next one.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Answer> {
        let url = Url::parse(&request.url).with_context(|| format!("{} is no address", request.url))?;
        let authority = url.authority().to_owned();
        let mut ready = match self.usable(&authority).await {
            Some(sender) => sender,
            None => connect(&authority).await?,
        };
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut message = hyper::Request::get(target).header("host", &authority);
        for (name, value) in &request.headers {
            message = message.header(name, value);
        }
        let answer = ready.send_request(message.body(Empty::new())?).await;
        let (head, body) = answer.with_context(|| format!("{} was not answered", request.url))?.into_parts();
        self.open = Some((authority, ready));
        Ok(Answer { head, body })
    }

    /// The open connection, if it is to this server and still good.
    async fn usable(&mut self, authority: &str) -> Option<SendRequest<Empty<Bytes>>> {
        let (to, mut sender) = self.open.take()?;
        (to == authority && sender.ready().await.is_ok()).then_some(sender)
    }

    /// Sends a request and gives its whole body, which must have come with 200, inflated.
    pub(crate) async fn get(&mut self, request: &Request) -> Result<Vec<u8>> {
        let mut answer = self.send(request).await?;
        let compressed = answer.header("content-encoding") == "gzip";
        let status = answer.head.status;
        let mut body = Vec::new();
        while let Some(piece) = answer.piece().await? {
            body.extend_from_slice(&piece);
        }
        ensure!(status == 200, "{} was answered with {status}", request.url);
        if !compressed {
            return Ok(body);
        }
        let mut inflated = Vec::with_capacity(body.len() * 6);
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut inflated)?;
        Ok(inflated)
    }
}

async fn connect(authority: &str) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(authority).await;
    let stream = stream.with_context(|| format!("{authority} does not accept a connection"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Answer {
    /// A header's value, or the empty string.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame.context("the body broke off")?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// The address of a file in an index document that came from `page`: what stands in quotes as a link and ends in
/// the file's name. Reading the document as JSON or HTML would cost the client more than the server.
pub(crate) fn link(document: &[u8], page: &str, file: &str) -> Result<String> {
    for at in memchr::memmem::find_iter(document, file) {
        let end = at + file.len();
        if !document.get(end).is_some_and(|next| b"\"'#?".contains(next)) {
            continue;
        }
        let Some(quote) = memchr::memrchr2(b'"', b'\'', &document[..at]) else { continue };
        let address = std::str::from_utf8(&document[quote + 1..end])?;
        // A name alone may be a link to a neighbour of the page, or no link at all.
        let before = document[..quote].trim_ascii_end();
        let is_link = before.ends_with(b"\"url\":") || before.ends_with(b"href=");
        if address.ends_with(&format!("/{file}")) || (address == file && is_link) {
            return Ok(Url::parse(page)?.join(address)?.into());
        }
    }
    bail!("{page} does not name {file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_every_kind_of_index() {
        let cases = [
            (
                r#"{"dist":{"tarball":"http://h/npm/x/-/x-1.0.tgz","shasum":"0"}}"#,
                "x-1.0.tgz",
                "http://h/npm/x/-/x-1.0.tgz",
            ),
            (
                r#"{"files":[{"filename":"x-1.whl","url":"../../files/x-1.whl"}]}"#,
                "x-1.whl",
                "http://h/pypi/files/x-1.whl",
            ),
            (
                r#"{"files":[{"filename": "x-1.whl", "url": "x-1.whl"}]}"#,
                "x-1.whl",
                "http://h/pypi/simple/x/x-1.whl",
            ),
            (r##"<a href="/f/x-1.whl#sha256=00">x-1.whl</a>"##, "x-1.whl", "http://h/f/x-1.whl"),
            (
                r##"<a href="/f/x-1.whl.metadata"></a><a href='/f/x-1.whl#sha256=00'>x</a>"##,
                "x-1.whl",
                "http://h/f/x-1.whl",
            ),
        ];
        for (document, file, expected) in cases {
            let found = link(document.as_bytes(), "http://h/pypi/simple/x/", file).expect("it is there");
            assert_eq!(found, expected);
        }
        assert!(link(br#"{"filename":"x.tgz"}"#, "http://h/", "x.tgz").is_err());
        assert!(link(b"{}", "http://h/", "x.tgz").is_err());
    }
}
