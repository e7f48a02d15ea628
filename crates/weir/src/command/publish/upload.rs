//! One npm publish: the document around the tarball's base64, streamed from the file.

use super::tarball::Tarball;
use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// How often a busy server is asked again.
const TRIES: u32 = 6;
/// Bytes read at once; a multiple of three, so that base64 needs no padding in the middle.
const PIECE: usize = 192 << 10;

/// Where packages go, and with what.
pub(super) struct Target {
    /// HTTP.
    pub(super) http: reqwest::Client,
    /// The repository's address for npm; ends in `/`.
    pub(super) endpoint: String,
    /// A token.
    pub(super) token: String,
}

impl Target {
    /// The package as the repository shows it; `None` when it shows none.
    pub(super) async fn packument(&self, name: &str) -> Result<Option<Value>> {
        let answer = self
            .patiently(|| Ok(self.http.get(self.address(name)).header("accept", "application/json")))
            .await?;
        match answer.status().as_u16() {
            200 => Ok(Some(
                serde_json::from_slice(&answer.bytes().await?).context("the server's index is not JSON")?,
            )),
            404 => Ok(None),
            _ => Err(refusal(answer).await),
        }
    }

    /// Publishes; `tags` point at the version.
    pub(super) async fn publish(&self, tarball: &Tarball, tag: Option<&str>) -> Result<()> {
        let (before, after) = document(tarball, &self.endpoint, tag)?;
        let encoded = tarball.size.div_ceil(3) * 4;
        let length = (before.len() + after.len()) as u64 + encoded;
        let answer = self
            .patiently(|| {
                let body =
                    reqwest::Body::wrap_stream(content(before.clone(), tarball.path.clone(), after.clone()));
                let request = self.http.put(self.address(&tarball.name)).body(body);
                Ok(request.header("content-type", "application/json").header("content-length", length))
            })
            .await?;
        if answer.status().is_success() { Ok(()) } else { Err(refusal(answer).await) }
    }

    fn address(&self, name: &str) -> String {
        format!("{}{}", self.endpoint, name.replace('/', "%2f"))
    }

    /// Sends; comes again when the server says that it is busy.
    async fn patiently(
        &self,
        request: impl Fn() -> Result<reqwest::RequestBuilder>,
    ) -> Result<reqwest::Response> {
        let mut wait = Duration::from_secs(1);
        for attempt in 1.. {
            let answer = request()?.bearer_auth(&self.token).send().await;
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

/// The document before and after the base64.
fn document(tarball: &Tarball, endpoint: &str, tag: Option<&str>) -> Result<(Bytes, Bytes)> {
    let (name, version, attachment) = (&tarball.name, tarball.version.to_string(), tarball.attachment());
    let mut manifest = tarball.manifest.clone();
    manifest["_id"] = format!("{name}@{version}").into();
    manifest["version"] = version.clone().into();
    manifest["dist"] = json!({
        "integrity": tarball.digests.integrity(),
        "shasum": hex::encode(tarball.digests.sha1),
        "tarball": format!("{endpoint}{name}/-/{attachment}"),
    });
    let tags = tag.map_or_else(|| json!({}), |tag| json!({ tag: version }));
    let document = json!({
        "_id": name,
        "name": name,
        "description": tarball.manifest["description"].as_str().unwrap_or(""),
        "dist-tags": tags,
        "versions": { &version: manifest },
        "access": null,
    });
    let text = document.to_string();
    let open = text.strip_suffix('}').context("an object ends in a brace")?;
    let head = json!({ "content_type": "application/octet-stream", "length": tarball.size }).to_string();
    let head = head.strip_suffix('}').context("an object ends in a brace")?;
    let before = format!("{open},\"_attachments\":{{{}:{head},\"data\":\"", json!(attachment));
    Ok((before.into(), Bytes::from_static(b"\"}}}")))
}

fn content(before: Bytes, path: PathBuf, after: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
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
            let encoded = STANDARD.encode(&piece[..filled]);
            Ok::<_, io::Error>((filled > 0).then(|| (Bytes::from(encoded), file)))
        }))
    });
    let encoded = file.map(|opened| match opened {
        Ok(pieces) => pieces.left_stream(),
        Err(error) => stream::once(async move { Err(error) }).right_stream(),
    });
    let (before, after) = (stream::once(async { Ok(before) }), stream::once(async { Ok(after) }));
    before.chain(encoded.flatten()).chain(after)
}

async fn refusal(answer: reqwest::Response) -> anyhow::Error {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let what = body["error"].as_str().unwrap_or_else(|| text.trim());
    anyhow!("{what} ({})", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Hasher;

    #[tokio::test]
    async fn the_document_holds_the_file_and_its_digests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tgz");
        let bytes: Vec<u8> = (0..PIECE as u32 + 1000).map(|n| n as u8).collect();
        fs_err::write(&path, &bytes).unwrap();
        let mut hasher = Hasher::new();
        hasher.update(&bytes);
        let tarball = Tarball {
            path: path.clone(),
            name: "@acme/widget".into(),
            version: "1.2.0".parse().unwrap(),
            manifest: json!({ "name": "@acme/widget", "version": "1.2.0" }),
            digests: hasher.finish(),
            size: bytes.len() as u64,
        };
        let (before, after) = document(&tarball, "http://127.0.0.1/npm/", Some("latest")).unwrap();
        let expected = before.len() + after.len() + bytes.len().div_ceil(3) * 4;
        let sent: Vec<Bytes> = content(before, path, after).map(Result::unwrap).collect().await;
        let sent = sent.concat();
        assert_eq!(sent.len(), expected);
        let document: Value = serde_json::from_slice(&sent).unwrap();
        let attachment = &document["_attachments"]["@acme/widget-1.2.0.tgz"];
        assert_eq!(STANDARD.decode(attachment["data"].as_str().unwrap()).unwrap(), bytes);
        assert_eq!(document["dist-tags"], json!({ "latest": "1.2.0" }));
        assert_eq!(document["versions"]["1.2.0"]["dist"]["integrity"], json!(tarball.digests.integrity()));
    }
}
