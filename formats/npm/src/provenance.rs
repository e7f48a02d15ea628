//! Provenance bundles (sigstore) that come with a publish: kept as they are and served as attestations.
//! Their signatures are the client's to verify; what they speak of is checked here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use weir_core::{AssetName, Digests, Error, PackageName, Result};

/// A bundle above this many bytes is refused.
pub(crate) const MAX_BUNDLE_BYTES: u64 = 4 << 20;

/// A provenance bundle, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// What kind of statement it holds.
    pub(crate) predicate_type: String,
    subjects: Vec<Subject>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

impl Bundle {
    /// Reads the JSON text of a bundle with a DSSE envelope around an in-toto statement.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Outer {
            dsse_envelope: Envelope,
        }
        #[derive(Deserialize)]
        struct Envelope {
            payload: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Statement {
            predicate_type: String,
            subject: Vec<Subject>,
        }
        let wrong = |what: &str| Error::invalid("_attachments", format_args!("the provenance bundle {what}"));
        let outer: Outer = serde_json::from_slice(text).map_err(|_| wrong("is not a sigstore bundle"))?;
        let payload =
            STANDARD.decode(outer.dsse_envelope.payload).map_err(|_| wrong("has no base64 payload"))?;
        let statement: Statement =
            serde_json::from_slice(&payload).map_err(|_| wrong("does not hold an in-toto statement"))?;
        Ok(Self { predicate_type: statement.predicate_type, subjects: statement.subject })
    }

    /// Refuses a bundle that speaks of another file.
    pub(crate) fn check_subject(&self, tarball: &Digests) -> Result<()> {
        let sha512: String = tarball.sha512.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.subjects.iter().any(|subject| subject.digest.get("sha512") == Some(&sha512)) {
            return Ok(());
        }
        Err(Error::invalid(
            "_attachments",
            "the provenance bundle is about another tarball than the one published",
        ))
    }
}

/// The file in which the bundle of a version is kept.
pub(crate) fn asset_name(package: &PackageName, version: &str) -> Result<AssetName> {
    AssetName::parse(&format!("{}-{version}.sigstore", package.name))
}

/// The answer that npm reads attestations from.
pub(crate) fn attestations(bundle: &[u8]) -> Result<Vec<u8>> {
    let predicate_type = Bundle::parse(bundle)?.predicate_type;
    let bundle: &RawValue = serde_json::from_slice(bundle).map_err(Error::internal)?;
    let answer = Attestations { attestations: [Attestation { predicate_type, bundle }] };
    serde_json::to_vec(&answer).map_err(Error::internal)
}

#[derive(serde::Serialize)]
struct Attestations<'a> {
    attestations: [Attestation<'a>; 1],
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Attestation<'a> {
    predicate_type: String,
    bundle: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use weir_core::Hasher;

    fn digests(bytes: &[u8]) -> Digests {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    fn bundle(bytes: &[u8]) -> String {
        let sha512: String = digests(bytes).sha512.iter().map(|b| format!("{b:02x}")).collect();
        let statement = json!({"predicateType": "https://example.test/provenance",
            "subject": [{"name": "pkg:npm/widget@1.0.0", "digest": {"sha512": sha512}}]});
        let payload = STANDARD.encode(statement.to_string());
        json!({"mediaType": "x", "dsseEnvelope": {"payload": payload, "signatures": []}, "odd": 1})
            .to_string()
    }

    #[test]
    fn a_bundle_must_be_about_the_tarball() {
        let read = Bundle::parse(bundle(b"a").as_bytes()).unwrap();
        assert_eq!(read.predicate_type, "https://example.test/provenance");
        read.check_subject(&digests(b"a")).unwrap();
        assert!(read.check_subject(&digests(b"b")).is_err());
        for text in
            ["", "{}", r#"{"dsseEnvelope": {"payload": "!"}}"#, r#"{"dsseEnvelope": {"payload": "e30="}}"#]
        {
            assert!(matches!(Bundle::parse(text.as_bytes()), Err(Error::Invalid { .. })), "{text}");
        }
    }

    #[test]
    fn attestations_hold_the_bundle_as_it_came() {
        let answer: Value = serde_json::from_slice(&attestations(bundle(b"a").as_bytes()).unwrap()).unwrap();
        assert_eq!(answer["attestations"][0]["predicateType"], "https://example.test/provenance");
        assert_eq!(answer["attestations"][0]["bundle"]["odd"], 1);
    }
}
