//! Attestations that come with an upload (PEP 740): checked to be about the file they come with, and kept as
//! the provenance document that is served beside it. Who signed them is for clients to verify: Weir has no
//! publisher to hold a certificate against, and says so by naming none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_core::name::shown;
use weir_core::{Digest, Error, Result};

/// More than any file's attestations.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Media type of the provenance document, without its address.
pub(crate) const CONTENT_TYPE: &str = "application/json";
const MOST: usize = 16;

#[derive(Deserialize)]
struct Attestation {
    version: u64,
    verification_material: Material,
    envelope: Envelope,
}

#[derive(Deserialize)]
struct Material {
    certificate: String,
    transparency_entries: Vec<Value>,
}

#[derive(Deserialize)]
struct Envelope {
    statement: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: std::collections::BTreeMap<String, String>,
}

/// The provenance document of a file that came with these attestations (a JSON list). Errors: Invalid, for one
/// that is not of the specification's shape or is about another file.
pub(crate) fn provenance(text: &str, file: &str, sha256: &Digest) -> Result<Vec<u8>> {
    let refused = |rule: &str| Error::invalid("attestations", rule);
    let all: Vec<Value> = serde_json::from_str(text).map_err(|_| refused("must be a JSON list"))?;
    if all.is_empty() || all.len() > MOST {
        return Err(Error::invalid("attestations", format_args!("must be 1 to {MOST}, not {}", all.len())));
    }
    for value in &all {
        check(value, file, sha256)?;
    }
    let bundle = json!({ "publisher": { "kind": "none", "claims": null }, "attestations": all });
    serde_json::to_vec(&json!({ "version": 1, "attestation_bundles": [bundle] })).map_err(Error::internal)
}

fn check(value: &Value, file: &str, sha256: &Digest) -> Result<()> {
    let refused = |rule: &str| Error::invalid("attestations", rule);
    let attestation = Attestation::deserialize(value).map_err(|error| {
        Error::invalid("attestations", format_args!("one is no attestation object: {error}"))
    })?;
    if attestation.version != 1 {
        return Err(refused("one is not of version 1"));
    }
    let material = &attestation.verification_material;
    let decoded = |text: &str| STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty());
    if decoded(&material.certificate).is_none() || material.transparency_entries.is_empty() {
        return Err(refused("one has no certificate or no entry of a transparency log"));
    }
    if decoded(&attestation.envelope.signature).is_none() {
        return Err(refused("one has no signature"));
    }
    let statement =
        decoded(&attestation.envelope.statement).ok_or_else(|| refused("one has no statement"))?;
    let statement: Statement = serde_json::from_slice(&statement)
        .map_err(|_| refused("the statement of one is no in-toto statement"))?;
    let [subject] = &statement.subject[..] else {
        return Err(refused("a statement must be about exactly one file"));
    };
    if statement.predicate_type.is_empty() {
        return Err(refused("a statement must say what it states (predicateType)"));
    }
    if subject.name != file {
        return Err(Error::invalid(
            "attestations",
            format_args!("one is about '{}', not about {file}", shown(&subject.name)),
        ));
    }
    if subject.digest.get("sha256").is_none_or(|digest| !digest.eq_ignore_ascii_case(&sha256.hex())) {
        return Err(Error::invalid("attestations", format_args!("one is about other bytes than {file} has")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attestation(file: &str, sha256: &str) -> Value {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": file, "digest": { "sha256": sha256 } }],
            "predicateType": "https://example.test/publish/v1", "predicate": null,
        });
        json!({
            "version": 1,
            "verification_material": { "certificate": "AAAA", "transparency_entries": [{ "logIndex": 1 }] },
            "envelope": { "statement": STANDARD.encode(statement.to_string()), "signature": "AAAA" },
        })
    }

    #[test]
    fn attestations_of_the_file_become_its_provenance() {
        let digest = Digest::of(b"wheel");
        let list = json!([attestation("x-1.whl", &digest.hex())]);
        let document = provenance(&list.to_string(), "x-1.whl", &digest).unwrap();
        let document: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(document["attestation_bundles"][0]["attestations"], list);
    }

    #[test]
    fn attestations_of_anything_else_are_refused() {
        let digest = Digest::of(b"wheel");
        let good = attestation("x-1.whl", &digest.hex());
        let changed = |change: fn(&mut Value)| {
            let mut value = good.clone();
            change(&mut value);
            json!([value]).to_string()
        };
        for (text, word) in [
            ("{}".to_owned(), "list"),
            ("[]".to_owned(), "1 to"),
            ("[3]".to_owned(), "no attestation"),
            (json!([attestation("y-1.whl", &digest.hex())]).to_string(), "about 'y-1.whl'"),
            (json!([attestation("x-1.whl", &"00".repeat(32))]).to_string(), "other bytes"),
            (changed(|value| value["version"] = 2.into()), "version 1"),
            (
                changed(|value| value["verification_material"]["transparency_entries"] = json!([])),
                "transparency",
            ),
            (changed(|value| value["envelope"]["signature"] = "".into()), "signature"),
            (changed(|value| value["envelope"]["statement"] = "AAAA".into()), "in-toto"),
        ] {
            let error = provenance(&text, "x-1.whl", &digest).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
