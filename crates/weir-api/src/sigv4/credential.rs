//! The `Authorization` header of a signed request, taken apart.

use super::{Refusal, single};
use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use weir_core::name::shown;

/// The only algorithm of Signature Version 4.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// More signed headers than any client sends.
const MAX_SIGNED_HEADERS: usize = 64;

/// What both forms of a signature consist of.
#[derive(Debug)]
pub(super) struct Fields {
    /// Who signed.
    pub(super) access_key: String,
    /// The day of the scope, `YYYYMMDD`.
    pub(super) date: String,
    /// The Region of the scope: part of the key, compared with nothing.
    pub(super) region: String,
    /// The service of the scope.
    pub(super) service: String,
    /// Lower-case names in the order sent.
    pub(super) signed_headers: Vec<String>,
    /// The signature itself.
    pub(super) signature: [u8; 32],
    /// When it was signed.
    pub(super) signed_at: Timestamp,
}

impl Fields {
    /// Checks and puts together what a header or a query gave.
    pub(super) fn parse(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        signed_at: Timestamp,
    ) -> Result<Self, Refusal> {
        let malformed =
            |what: &str, text: &str| Refusal::Incomplete(format!("{what} '{}' is malformed", shown(text)));
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = parts[..] else {
            return Err(Refusal::Incomplete(format!(
                "Credential '{}' is not of the form KEY/YYYYMMDD/REGION/SERVICE/aws4_request",
                shown(credential)
            )));
        };
        if access_key.is_empty()
            || access_key.len() > 128
            || !access_key.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Err(malformed("the access key", access_key));
        }
        if signed_at.strftime("%Y%m%d").to_string() != date {
            return Err(Refusal::Invalid(format!(
                "the date '{}' of Credential is not the date of the request",
                shown(date)
            )));
        }
        let signed_headers: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
        let lower_case = |name: &String| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
        if signed_headers.len() > MAX_SIGNED_HEADERS
            || !signed_headers.iter().all(lower_case)
            || !signed_headers.is_sorted_by(|left, right| left < right)
        {
            return Err(Refusal::Incomplete(
                "SignedHeaders must be lower-case names in order, each once, with ';' between them".into(),
            ));
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(signature, &mut bytes).map_err(|_| malformed("Signature", signature))?;
        Ok(Self {
            access_key: access_key.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers,
            signature: bytes,
            signed_at,
        })
    }

    /// `YYYYMMDD/REGION/SERVICE/aws4_request`
    pub(super) fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// Reads `Authorization: AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
pub(super) fn read(headers: &HeaderMap) -> Result<Fields, Refusal> {
    let text = single(headers, "authorization")?.unwrap_or_default();
    let Some(rest) = text.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
        return Err(Refusal::Incomplete(format!("the Authorization header must begin with {ALGORITHM}")));
    };
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',').map(str::trim) {
        let Some((name, value)) = part.split_once('=') else {
            return Err(Refusal::Incomplete(format!(
                "'{}' in the Authorization header has no '='",
                shown(part)
            )));
        };
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => {
                return Err(Refusal::Incomplete(format!(
                    "the Authorization header has an unknown '{}'",
                    shown(name)
                )));
            }
        };
        if place.replace(value).is_some() {
            return Err(Refusal::Incomplete(format!("the Authorization header names {name} twice")));
        }
    }
    let missing = |name: &str| Refusal::Incomplete(format!("the Authorization header names no {name}"));
    Fields::parse(
        credential.ok_or_else(|| missing("Credential"))?,
        signed_headers.ok_or_else(|| missing("SignedHeaders"))?,
        signature.ok_or_else(|| missing("Signature"))?,
        date_of(headers)?,
    )
}

/// The time in `X-Amz-Date`, or where there is none in `Date`.
fn date_of(headers: &HeaderMap) -> Result<Timestamp, Refusal> {
    if let Some(text) = single(headers, "x-amz-date")? {
        return parse_date(text);
    }
    let Some(text) = single(headers, "date")? else {
        return Err(Refusal::Incomplete("the request has neither X-Amz-Date nor Date".into()));
    };
    jiff::fmt::rfc2822::parse(text).map(|zoned| zoned.timestamp()).or_else(|_| parse_date(text))
}

/// Parses `YYYYMMDDTHHMMSSZ`.
pub(super) fn parse_date(text: &str) -> Result<Timestamp, Refusal> {
    DateTime::strptime("%Y%m%dT%H%M%SZ", text)
        .and_then(|time| time.to_zoned(TimeZone::UTC))
        .map(|zoned| zoned.timestamp())
        .map_err(|_| {
            Refusal::Incomplete(format!("the date '{}' is not of the form YYYYMMDDTHHMMSSZ", shown(text)))
        })
}
