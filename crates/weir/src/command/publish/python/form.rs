//! The upload form that twine made: a few fields, then the file, streamed from the disk.

use super::{Distribution, Kind};
use crate::command::login;
use crate::command::publish::target::{Target, pieces, refusal};
use anyhow::Result;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use std::io;
use std::path::PathBuf;

/// Uploads one file.
pub(super) async fn publish(target: &Target, file: &Distribution) -> Result<()> {
    let form = Form::of(file);
    let request = |target: &Target| {
        let content = content(form.before.clone(), file.path.clone(), form.after.clone());
        let request = target.http.post(&target.endpoint).basic_auth(login::USER, Some(&target.token));
        let request =
            request.header("content-type", &form.content_type).header("content-length", form.length);
        request.body(reqwest::Body::wrap_stream(content))
    };
    let answer = target.patiently(request).await?;
    if answer.status().is_success() { Ok(()) } else { Err(refusal(answer).await) }
}

/// What goes around the bytes of the file.
struct Form {
    content_type: String,
    before: Bytes,
    after: Bytes,
    length: u64,
}

impl Form {
    fn of(file: &Distribution) -> Self {
        let digest = file.sha256.hex();
        // No file holds its own digest, so this stands nowhere within.
        let boundary = format!("weir-{digest}");
        let (filetype, python) = match &file.project.kind {
            Kind::Wheel(python) => ("bdist_wheel", python.as_str()),
            Kind::Sdist => ("sdist", "source"),
        };
        let mut before = String::new();
        for (name, value) in [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("metadata_version", "2.1"),
            ("name", file.project.name.as_str()),
            ("version", &file.project.version),
            ("filetype", filetype),
            ("pyversion", python),
            ("sha256_digest", &digest),
        ] {
            before += &format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
        before += &format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"content\"; filename=\"{}\"\r\n\
             content-type: application/octet-stream\r\n\r\n",
            file.file_name
        );
        let after = format!("\r\n--{boundary}--\r\n");
        let length = (before.len() + after.len()) as u64 + file.size;
        let content_type = format!("multipart/form-data; boundary={boundary}");
        Self { content_type, before: before.into(), after: after.into(), length }
    }
}

fn content(before: Bytes, path: PathBuf, after: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    let (before, after) = (stream::once(async { Ok(before) }), stream::once(async { Ok(after) }));
    before.chain(pieces(path)).chain(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a form: name, file name, content.
    fn parse(content_type: &str, mut body: &[u8]) -> Vec<(String, Option<String>, Vec<u8>)> {
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert!(boundary.len() <= 70, "more than a boundary may have");
        let delimiter = format!("--{boundary}");
        let find = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|at| at == what).unwrap();
        let mut parts = Vec::new();
        body = body.strip_prefix(delimiter.as_bytes()).unwrap();
        while body != b"--\r\n" {
            body = body.strip_prefix(b"\r\n").unwrap();
            let head = find(body, b"\r\n\r\n");
            let headers = String::from_utf8(body[..head].to_vec()).unwrap();
            let parameter = |name: &str| {
                let (_, after) = headers.split_once(&format!("; {name}=\""))?;
                Some(after.split_once('"').unwrap().0.to_owned())
            };
            body = &body[head + 4..];
            let end = find(body, format!("\r\n{delimiter}").as_bytes());
            parts.push((parameter("name").unwrap(), parameter("filename"), body[..end].to_vec()));
            body = &body[end + 2 + delimiter.len()..];
        }
        parts
    }

    async fn sent(file_name: &str, bytes: &[u8]) -> Vec<(String, Option<String>, Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file_name);
        fs_err::write(&path, bytes).unwrap();
        let file = Distribution::read(&path).unwrap();
        let form = Form::of(&file);
        let body: Vec<Bytes> = content(form.before, path, form.after).map(Result::unwrap).collect().await;
        let body = body.concat();
        assert_eq!(body.len() as u64, form.length);
        parse(&form.content_type, &body)
    }

    #[tokio::test]
    async fn the_form_holds_the_fields_and_the_file() {
        let bytes: Vec<u8> = b"\r\n--weir-\r\n".iter().copied().cycle().take(500_001).collect();
        let parts = sent("Acme_Widget-1.0-1-py3-none-any.whl", &bytes).await;
        let (fields, files): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, file, _)| file.is_none());
        let digest = weir_core::Digest::of(&bytes).hex();
        let expected = [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("metadata_version", "2.1"),
            ("name", "Acme_Widget"),
            ("version", "1.0"),
            ("filetype", "bdist_wheel"),
            ("pyversion", "py3"),
            ("sha256_digest", &digest),
        ];
        let told: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, _, value)| (name.as_str(), std::str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(told, expected);
        let wheel = "Acme_Widget-1.0-1-py3-none-any.whl".to_owned();
        assert_eq!(files, [("content".to_owned(), Some(wheel), bytes)]);
    }

    #[tokio::test]
    async fn an_sdist_is_named_as_one_and_may_be_empty() {
        let parts = sent("widget-1.0.tar.gz", b"").await;
        let value = |name: &str| &parts.iter().find(|(there, ..)| there == name).unwrap().2;
        assert_eq!(
            (value("filetype").as_slice(), value("pyversion").as_slice()),
            (&b"sdist"[..], &b"source"[..])
        );
        assert!(value("content").is_empty());
    }
}
