//! TLS of the listener: a certificate from files, read again when they change, or one of a local CA.

mod self_signed;

pub(crate) use self_signed::authority_path;

use crate::config::{Config, Tls};
use anyhow::{Context as _, Result, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often a certificate of the local CA is made anew.
const REISSUE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the listener secures connections with; follows its source.
pub(crate) struct Certificates {
    source: Source,
    current: RwLock<Arc<ServerConfig>>,
}

enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    Authority { folder: PathBuf, names: Vec<String> },
}

impl Certificates {
    /// Reads or makes the certificate; `None` when the settings ask for none.
    pub(crate) fn open(config: &Config) -> Result<Option<Arc<Self>>> {
        let source = match &config.tls {
            Tls::Off => return Ok(None),
            Tls::Files { certificate, key } => {
                Source::Files { certificate: certificate.clone(), key: key.clone() }
            }
            Tls::SelfSigned => {
                Source::Authority { folder: config.data.join("tls"), names: self_signed::names(config) }
            }
        };
        let current = RwLock::new(source.load()?);
        Ok(Some(Arc::new(Self { source, current })))
    }

    /// Accepts connections with the certificate of this moment.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone().into()
    }

    /// Follows the source for as long as the server runs. A certificate that cannot be used is logged and
    /// the one before is kept.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut seen = self.source.state();
        let interval = match self.source {
            Source::Files { .. } => LOOK,
            Source::Authority { .. } => REISSUE,
        };
        loop {
            tokio::time::sleep(interval).await;
            let now = self.source.state();
            if matches!(self.source, Source::Files { .. }) && now == seen {
                continue;
            }
            seen = now;
            match self.source.load() {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = config;
                    tracing::info!("the TLS certificate was read again");
                }
                Err(error) => {
                    tracing::error!("the new TLS certificate cannot be used, the one before stays: {error:#}")
                }
            }
        }
    }
}

impl Source {
    fn load(&self) -> Result<Arc<ServerConfig>> {
        let (chain, key) = match self {
            Self::Files { certificate, key } => read_files(certificate, key)?,
            Self::Authority { folder, names } => self_signed::issue(folder, names)?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("the certificate and the key of TLS do not go together")?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Changes when a file does.
    fn state(&self) -> Vec<Option<(SystemTime, u64)>> {
        let Self::Files { certificate, key } = self else { return Vec::new() };
        [certificate, key]
            .into_iter()
            .map(|path| {
                let metadata = fs_err::metadata(path).ok()?;
                Some((metadata.modified().ok()?, metadata.len()))
            })
            .collect()
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_files(certificate: &Path, key: &Path) -> Result<Identity> {
    let pem = fs_err::read(certificate).context("tls-cert cannot be read")?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("tls-cert: {} is not PEM", certificate.display()))?;
    if chain.is_empty() {
        bail!("tls-cert: {} holds no certificate", certificate.display());
    }
    let pem = fs_err::read(key).context("tls-key cannot be read")?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .with_context(|| format!("tls-key: {} holds no private key", key.display()))?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_authority_is_kept_and_issues_certificates_for_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let source = Source::Authority { folder: folder.path().join("tls"), names: names.clone() };
        source.load().unwrap();
        let authority = fs_err::read(authority_path(folder.path())).unwrap();
        let (first, _) = self_signed::issue(&folder.path().join("tls"), &names).unwrap();
        assert_eq!(fs_err::read(authority_path(folder.path())).unwrap(), authority);

        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .unwrap();
        use rustls::client::danger::ServerCertVerifier as _;
        let now = rustls::pki_types::UnixTime::now();
        for name in names {
            let name = rustls::pki_types::ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(&first[0], &first[1..], &name, &[], now).unwrap();
        }
        let other = rustls::pki_types::ServerName::try_from("other.example.test").unwrap();
        assert!(verifier.verify_server_cert(&first[0], &first[1..], &other, &[], now).is_err());
    }

    #[test]
    fn unusable_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        fs_err::write(&path, "").unwrap();
        let error = read_files(&path, &path).unwrap_err().to_string();
        assert!(error.contains("empty.pem"), "{error}");
    }
}
