//! The local CA of `--tls-self-signed`: made once, kept in `DIR/tls`, trusted by hand; and the
//! certificates it issues for this server, which live in memory only.

use super::Identity;
use crate::config::Config;
use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use std::path::{Path, PathBuf};
use weir_core::{Clock, SystemClock};

const AUTHORITY_YEARS: i16 = 10;
/// Apple's and others' limit is 825 days.
const SERVER_DAYS: i64 = 398;

/// The CA's certificate, to be trusted by clients.
pub(crate) fn authority_path(data: &Path) -> PathBuf {
    data.join("tls").join("ca.pem")
}

/// The names of this server: loopback, the machine's name, the host of `listen` and of `public-url`.
pub(crate) fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = |authority: &str| {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    };
    if let Some(name) = host_name() {
        names.push(name);
    }
    names.push(host(&config.listen));
    if let Some(face) = &config.faces.public_url {
        let has_port = face.authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        names.push(if has_port { host(&face.authority) } else { face.authority.clone() });
    }
    names.retain(|name| !name.is_empty() && name != "0.0.0.0" && name != "::");
    names.extend(config.faces.host_suffixes.iter().map(|suffix| format!("*.d.{suffix}")));
    names.sort();
    names.dedup();
    names
}

/// The machine's name, where it is known.
pub(crate) fn host_name() -> Option<String> {
    let text = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| fs_err::read_to_string(path).ok())?;
    let name = text.trim().to_ascii_lowercase();
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    is_name.then_some(name)
}

/// Issues a certificate for `names`; makes the CA when there is none in `folder`.
pub(crate) fn issue(folder: &Path, names: &[String]) -> Result<Identity> {
    let issuer = authority(folder)?;
    let key = KeyPair::generate().context("no key for TLS can be made")?;
    let mut params = CertificateParams::new(names).context("a certificate for these names cannot be made")?;
    params.distinguished_name = distinguished("Weir");
    let (from, until) = (day(-1)?, day(SERVER_DAYS)?);
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer).context("the local CA cannot sign")?;
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| anyhow::anyhow!("the key just made cannot be used: {error}"))?;
    Ok((vec![certificate.der().clone()], key))
}

fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>> {
    let (certificate_path, key_path) = (folder.join("ca.pem"), folder.join("ca.key"));
    if certificate_path.exists() && key_path.exists() {
        let pem = fs_err::read_to_string(&key_path)?;
        let key = KeyPair::from_pem(&pem)
            .with_context(|| format!("{} is not a private key", key_path.display()))?;
        // Its name and the identifier of its key are all that what it issues takes from it.
        return Ok(Issuer::new(authority_params()?, key));
    }
    crate::app::make_private_folder(folder)?;
    let key = KeyPair::generate().context("no key for the local CA can be made")?;
    let params = authority_params()?;
    let certificate = params.self_signed(&key).context("the local CA cannot sign itself")?;
    crate::app::write_private_file(&key_path, key.serialize_pem().as_bytes())?;
    fs_err::write(&certificate_path, certificate.pem())?;
    Ok(Issuer::new(params, key))
}

fn authority_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new()).context("the local CA cannot be made")?;
    params.distinguished_name = distinguished("Weir local CA");
    let ((year, month, date), from) = (day(0)?, day(-1)?);
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    // The 28th exists in every February.
    params.not_after = rcgen::date_time_ymd(year + i32::from(AUTHORITY_YEARS), month, date.min(28));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Year, month and day so many days from today.
fn day(days: i64) -> Result<(i32, u8, u8)> {
    let at = SystemClock
        .now()
        .checked_add(jiff::SignedDuration::from_hours(days * 24))
        .context("the clock is off")?;
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let (month, day) = (u8::try_from(date.month())?, u8::try_from(date.day())?);
    Ok((i32::from(date.year()), month, day))
}
