//! What npm sends and asks: the package, and the document around the tarball's base64, streamed from the file.

use super::tarball::Tarball;
use crate::command::publish::target::{Target, pieces, refusal};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;

/// The package as the repository shows it; `None` when it shows none.
pub(super) async fn packument(target: &Target, name: &str) -> Result<Option<Value>> {
    let request = |target: &Target| {
        let request = target.http.get(address(target, name)).bearer_auth(&target.token);
        request.header("accept", "application/json")
    };
    let answer = target.patiently(request).await?;
    match answer.status().as_u16() {
        200 => Ok(Some(
            serde_json::from_slice(&answer.bytes().await?).context("the server's index is not JSON")?,
        )),
        404 => Ok(None),
        _ => Err(refusal(answer).await),
    }
}

/// Publishes; `tag` points at the version.
pub(super) async fn publish(target: &Target, tarball: &Tarball, tag: Option<&str>) -> Result<()> {
    let (before, after) = document(tarball, &target.endpoint, tag)?;
    let encoded = tarball.size.div_ceil(3) * 4;
    let length = (before.len() + after.len()) as u64 + encoded;
    let request = |target: &Target| {
        let content = content(before.clone(), tarball.path.clone(), after.clone());
        let request = target.http.put(address(target, &tarball.name)).bearer_auth(&target.token);
        let request = request.header("content-type", "application/json").header("content-length", length);
        request.body(reqwest::Body::wrap_stream(content))
    };
    let answer = target.patiently(request).await?;
    if answer.status().is_success() { Ok(()) } else { Err(refusal(answer).await) }
}

fn address(target: &Target, name: &str) -> String {
    format!("{}{}", target.endpoint, name.replace('/', "%2f"))
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
    let encoded = pieces(path).map(|piece| Ok(Bytes::from(STANDARD.encode(piece?))));
    let (before, after) = (stream::once(async { Ok(before) }), stream::once(async { Ok(after) }));
    before.chain(encoded).chain(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::publish::target::PIECE;
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
