//! The signing key, derived from the secret key for one day, Region and service, and the signature.

use super::credential::{ALGORITHM, Fields};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use weir_core::Digest;

/// The text that is signed: algorithm, time, scope and the hash of the canonical request.
pub(super) fn string_to_sign(fields: &Fields, canonical: &[u8]) -> String {
    format!(
        "{ALGORITHM}\n{}\n{}\n{}",
        fields.signed_at.strftime("%Y%m%dT%H%M%SZ"),
        fields.scope(),
        Digest::of(canonical)
    )
}

/// Signs `text` with the key derived from `secret`.
pub(super) fn sign(secret: &str, fields: &Fields, text: &[u8]) -> [u8; 32] {
    let mut key = keyed(format!("AWS4{secret}").as_bytes(), fields.date.as_bytes());
    for part in [fields.region.as_bytes(), fields.service.as_bytes(), b"aws4_request"] {
        key = keyed(&key, part);
    }
    keyed(&key, text)
}

fn keyed(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}
