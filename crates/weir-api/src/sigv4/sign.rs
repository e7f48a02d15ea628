//! The other side: signs a request of Weir's own command line.

use super::credential::{ALGORITHM, Fields};
use super::{SignedRequest, canonical, key};
use http::HeaderValue;
use jiff::Timestamp;
use weir_core::Digest;

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// `AKIA…`.
    pub access_key: &'a str,
    /// Its secret.
    pub secret: &'a str,
    /// The Region of the scope; servers of Weir take any.
    pub region: &'a str,
    /// `codeartifact` or `sts`.
    pub service: &'a str,
}

impl Signer<'_> {
    /// The headers to add to a request: date, payload hash and signature. The request must know its
    /// host, by a header or by [`SignedRequest::host`]. Of its headers `host` alone is signed, so it must
    /// have no `x-amz-` header but the session token. `body` is the body's digest.
    pub fn headers(
        &self,
        request: &SignedRequest<'_>,
        now: Timestamp,
        body: Digest,
    ) -> [(&'static str, String); 3] {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let body = body.hex();
        let mut headers = request.headers.clone();
        for (name, value) in [("x-amz-date", &date), ("x-amz-content-sha256", &body)] {
            headers
                .insert(name, HeaderValue::from_str(value).expect("digits and letters are a header's value"));
        }
        let fields = Fields {
            access_key: self.access_key.to_owned(),
            date: date[..8].to_owned(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
            signed_headers: ["host", "x-amz-content-sha256", "x-amz-date"].map(str::to_owned).into(),
            signature: [0; 32],
            signed_at: now,
        };
        let signed = SignedRequest { headers: &headers, ..*request };
        let canonical = canonical::request(&signed, &fields.signed_headers, false, &body);
        let signature = key::sign(self.secret, &fields, key::string_to_sign(&fields, &canonical).as_bytes());
        let authorization = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
            self.access_key,
            fields.scope(),
            fields.signed_headers.join(";"),
            hex::encode(signature)
        );
        [("x-amz-date", date), ("x-amz-content-sha256", body), ("authorization", authorization)]
    }
}
