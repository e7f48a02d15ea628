//! A tiny SigV4 signer, for requests that no SDK can be made to send. Written from AWS's public description
//! of Signature Version 4 and apart from the verifier under test, so that the two check each other.

use crate::server::Credentials;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use weir_core::{Clock, SystemClock};

const SERVICE: &str = "codeartifact";
/// What SigV4 leaves as it is: `A-Za-z0-9-._~`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// Signs a request as of now; gives the headers to add (`x-amz-date`, `authorization`, and
/// `x-amz-security-token` when the credentials are temporary). All of `headers` and `host` are signed.
pub fn sign(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    key: &Credentials,
) -> Vec<(String, String)> {
    sign_at(SystemClock.now(), method, url, headers, body, key)
}

/// Signs as of any time, for tests of clock skew.
pub fn sign_at(
    now: Timestamp,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    key: &Credentials,
) -> Vec<(String, String)> {
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let scope = format!("{}/{}/{SERVICE}/aws4_request", &time[..8], key.region);
    let (authority, target) = crate::http::split_url(url);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));

    let mut added = vec![("x-amz-date".to_owned(), time.clone())];
    if let Some(token) = &key.session_token {
        added.push(("x-amz-security-token".to_owned(), token.clone()));
    }
    let mut signed: Vec<(String, String)> = added.clone();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        signed.push(("host".to_owned(), authority.to_owned()));
    }
    for (name, value) in headers {
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        signed.push((name.to_ascii_lowercase(), value));
    }
    signed.sort();
    let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let payload = match headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-content-sha256")) {
        Some((_, claimed)) => (*claimed).to_owned(),
        None => hex::encode(Sha256::digest(body)),
    };

    // Every service but S3 encodes the path as sent once more.
    let path = utf8_percent_encode(path, ESCAPED_IN_PATH);
    let canonical = format!("{method}\n{path}\n{}\n{lines}\n{names}\n{payload}", canonical_query(query));
    let hashed = hex::encode(Sha256::digest(canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
    let mut signing_key = format!("AWS4{}", key.secret_access_key).into_bytes();
    for part in scope.split('/') {
        signing_key = mac(&signing_key, part);
    }
    let signature = hex::encode(mac(&signing_key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        key.access_key_id
    );
    added.push(("authorization".to_owned(), authorization));
    added
}

fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let decoded: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&decoded, ESCAPED).to_string()
    };
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
