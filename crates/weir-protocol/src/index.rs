//! Answers with rendered indexes: compressed once, when somebody first likes that, and told of their age.

use crate::accept::prefers_gzip;
use crate::respond::{Representation, Response, index_response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{HeaderValue, WARNING};
use http::{HeaderMap, Method};
use std::io::Write;
use weir_core::{Error, Result};
use weir_registry::view::Index;

/// Documents below this many bytes are not worth compressing.
const SMALL: usize = 1 << 10;
/// Documents up to this many bytes are compressed where they are, larger ones off the async threads.
const INLINE: usize = 64 << 10;

/// The answer to a request for an index, with what must be said of its age.
/// Errors: Internal, when the compressor fails.
pub async fn answer(index: Index, method: &Method, headers: &HeaderMap) -> Result<Response> {
    let rendered = index.rendered;
    if prefers_gzip(headers) && rendered.identity.len() >= SMALL && rendered.gzip.get().is_none() {
        let identity = rendered.identity.clone();
        let compressed = match identity.len() {
            ..=INLINE => compress(&identity),
            _ => tokio::task::spawn_blocking(move || compress(&identity)).await.map_err(Error::internal)?,
        };
        // Another request may have been faster; its bytes are the same.
        let _ = rendered.gzip.set(compressed?);
    }
    let representation = Representation {
        identity: rendered.identity.clone(),
        gzip: rendered.gzip.get().cloned(),
        etag_base: rendered.etag.clone(),
        content_type: rendered.content_type,
    };
    let mut response = index_response(&representation, method, headers);
    if let Some(seconds) = index.stale_s {
        let headers = response.headers_mut();
        headers.insert("x-weir-stale", HeaderValue::from(seconds));
        headers.insert(WARNING, HeaderValue::from_static("110 - \"Response is Stale\""));
    }
    Ok(response)
}

fn compress(bytes: &[u8]) -> Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).map_err(Error::internal)?;
    Ok(encoder.finish().map_err(Error::internal)?.into())
}
