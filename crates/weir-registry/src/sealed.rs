//! Secrets at rest: sealed with the master key (AES-256-GCM, a fresh nonce each).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use weir_core::{Digest, Error, Result, Secrets};

/// The key that seals access-key secrets and connection credentials.
#[derive(Clone)]
pub struct MasterKey {
    cipher: Aes256Gcm,
    fingerprint: String,
}

impl MasterKey {
    /// Takes the 32 bytes of the key file.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut named = b"weir master key ".to_vec();
        named.extend_from_slice(&bytes);
        let fingerprint = Digest::of(&named).hex()[..16].to_owned();
        Self { cipher: Aes256Gcm::new(&bytes.into()), fingerprint }
    }

    /// Sixteen hex digits that tell keys apart and nothing of the key.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Seals `plain` so that it opens only for the same `purpose` (such as the access key's id).
    pub(crate) fn seal(&self, secrets: &dyn Secrets, purpose: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; 12];
        secrets.fill(&mut nonce);
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: purpose.as_bytes() })
            .map_err(|_| Error::internal("sealing failed"))?;
        let mut out = nonce.to_vec();
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what [`MasterKey::seal`] sealed.
    pub(crate) fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let broken =
            || Error::internal(format!("the sealed secret of {purpose} does not open with this master key"));
        let (nonce, body) = sealed.split_first_chunk::<12>().ok_or_else(broken)?;
        self.cipher
            .decrypt(&Nonce::from(*nonce), Payload { msg: body, aad: purpose.as_bytes() })
            .map_err(|_| broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::SystemSecrets;

    #[test]
    fn a_sealed_secret_opens_for_its_purpose_only() {
        let key = MasterKey::from_bytes([7; 32]);
        let sealed = key.seal(&SystemSecrets, "AKIA1", b"secret").expect("seals");
        assert_eq!(key.open("AKIA1", &sealed).expect("opens"), b"secret");
        assert!(key.open("AKIA2", &sealed).is_err());
        assert!(MasterKey::from_bytes([8; 32]).open("AKIA1", &sealed).is_err());
        assert!(key.open("AKIA1", b"short").is_err());
    }
}
