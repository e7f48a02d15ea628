//! Arbitrary bytes on a TCP connection, for requests that no HTTP client would send.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back on a raw connection.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// Every byte that was received.
    pub bytes: Vec<u8>,
    /// Whether the server closed the connection; else the time was over.
    pub closed: bool,
}

impl RawAnswer {
    /// The status code of the first answer, or `None` when there was none.
    pub fn status(&self) -> Option<u16> {
        let text = self.text();
        text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
    }

    /// Everything received, lossily as UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Sends `bytes` to `address` (`HOST:PORT`), then reads until the server closes or `patience` is over.
///
/// A write that the server refuses to take is no failure: what it answered before is returned.
pub async fn exchange(address: &str, bytes: &[u8], patience: Duration) -> RawAnswer {
    exchange_slowly(address, &[bytes], Duration::ZERO, patience).await
}

/// Sends the pieces with a pause between them (slow clients, split headers), then reads like [`exchange`].
pub async fn exchange_slowly(
    address: &str,
    pieces: &[&[u8]],
    pause: Duration,
    patience: Duration,
) -> RawAnswer {
    let stream = TcpStream::connect(address).await;
    let stream = stream.unwrap_or_else(|error| panic!("connect to {address}: {error}"));
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        for piece in pieces {
            if writer.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
    };
    let mut received = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..count]);
        }
    };
    let both = async { tokio::join!(sending, reading) };
    let closed = tokio::time::timeout(patience, both).await.is_ok();
    RawAnswer { bytes: received, closed }
}
