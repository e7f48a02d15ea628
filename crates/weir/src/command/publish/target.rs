//! Where packages go: requests that are repeated while the server is busy, and its refusals as sentences.

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// How often a busy server is asked again.
const TRIES: u32 = 6;
/// Bytes read at once; a multiple of three, so that base64 needs no padding in the middle.
pub(super) const PIECE: usize = 192 << 10;

/// Where packages of one format go, and with what.
pub(super) struct Target {
    /// HTTP.
    pub(super) http: reqwest::Client,
    /// The repository's address for the format; ends in `/`.
    pub(super) endpoint: String,
    /// A token.
    pub(super) token: String,
}

impl Target {
    /// Sends; comes again when the server says that it is busy.
    pub(super) async fn patiently(
        &self,
        request: impl Fn(&Self) -> reqwest::RequestBuilder,
    ) -> Result<reqwest::Response> {
        let mut wait = Duration::from_secs(1);
        for attempt in 1.. {
            let answer = request(self).send().await;
            let busy = match &answer {
                Ok(answer) => matches!(answer.status().as_u16(), 429 | 503),
                Err(error) => error.is_connect() || error.is_timeout(),
            };
            if !busy || attempt == TRIES {
                return answer.map_err(|error| anyhow!("the server did not answer: {error}"));
            }
            let told = answer.ok().and_then(|answer| {
                answer.headers().get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs)
            });
            tokio::time::sleep(told.unwrap_or(wait).min(Duration::from_secs(60))).await;
            wait *= 2;
        }
        bail!("unreachable: the loop above ends by returning")
    }
}

/// A refusal as a sentence.
pub(super) async fn refusal(answer: reqwest::Response) -> anyhow::Error {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let what = body["error"].as_str().unwrap_or_else(|| text.trim());
    anyhow!("{what} ({})", status.as_u16())
}

/// The bytes of a file, in pieces of `PIECE`, the last one shorter.
pub(super) fn pieces(path: PathBuf) -> impl Stream<Item = io::Result<Bytes>> {
    let file = stream::once(async move {
        let file = tokio::fs::File::open(path).await?;
        Ok::<_, io::Error>(stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE];
            let mut filled = 0;
            while filled < PIECE {
                match file.read(&mut piece[filled..]).await? {
                    0 => break,
                    length => filled += length,
                }
            }
            piece.truncate(filled);
            Ok::<_, io::Error>((filled > 0).then(|| (Bytes::from(piece), file)))
        }))
    });
    let opened = file.map(|opened| match opened {
        Ok(pieces) => pieces.left_stream(),
        Err(error) => stream::once(async move { Err(error) }).right_stream(),
    });
    opened.flatten()
}
