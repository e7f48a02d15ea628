//! Signatures: what is accepted and what is refused, and by which name.

use super::*;
use http::{HeaderName, HeaderValue};

const KEY: &str = "AKIAEXAMPLE000000001";
const SECRET: &str = "a secret of forty characters, more or le";
const SIGNER: Signer<'static> =
    Signer { access_key: KEY, secret: SECRET, region: "eu-test-1", service: "codeartifact" };
const QUERY: &str = "domain=local&repository=main&package=%C3%A9%20b";

fn now() -> Timestamp {
    "2026-02-03T04:05:06Z".parse().expect("a time")
}

type Change = fn(&mut Sent);

/// A request that can be changed after it was signed.
#[derive(Clone)]
struct Sent {
    method: &'static str,
    path: String,
    query: String,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Sent {
    fn new() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:8090"));
        Self { method: "POST", path: "/v1/packages".into(), query: QUERY.into(), headers, body: b"{}" }
    }

    /// As Weir's own command line signs.
    fn signed() -> Self {
        let mut sent = Self::new();
        for (name, value) in SIGNER.headers(&sent.request(), now(), Digest::of(sent.body)) {
            sent.set(name, &value);
        }
        sent
    }

    /// As the AWS CLI signs: no payload hash among the headers.
    fn signed_as_by_the_cli() -> Self {
        let mut sent = Self::new();
        sent.set("x-amz-date", "20260203T040506Z");
        sent.sign_header("host;x-amz-date");
        sent
    }

    fn set(&mut self, name: &str, value: &str) {
        let name: HeaderName = name.parse().expect("a name");
        self.headers.insert(name, HeaderValue::from_str(value).expect("a value"));
    }

    fn request(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: self.method,
            path: &self.path,
            query: &self.query,
            host: None,
            headers: &self.headers,
        }
    }

    /// Signs what is there, naming these headers.
    fn sign_header(&mut self, signed_headers: &str) {
        let signature = self.signature(signed_headers, false);
        self.set(
            "authorization",
            &format!(
                "AWS4-HMAC-SHA256 Credential={KEY}/20260203/eu-test-1/codeartifact/aws4_request, \
                 SignedHeaders={signed_headers}, Signature={signature}"
            ),
        );
    }

    fn presign(&mut self, expires: &str) {
        self.query = format!(
            "{QUERY}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY}%2F20260203%2Feu-test-1%2Fcodeartifact\
             %2Faws4_request&X-Amz-Date=20260203T040506Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
        );
        let signature = self.signature("host", true);
        self.query.push_str(&format!("&X-Amz-Signature={signature}"));
    }

    fn signature(&self, signed_headers: &str, presigned: bool) -> String {
        let credential = format!("{KEY}/20260203/eu-test-1/codeartifact/aws4_request");
        let fields = Fields::parse(&credential, signed_headers, &"0".repeat(64), now()).expect("well formed");
        let payload = match self.headers.get("x-amz-content-sha256") {
            Some(value) => value.to_str().expect("text").to_owned(),
            None => Digest::of(self.body).hex(),
        };
        let canonical = canonical::request(&self.request(), &fields.signed_headers, presigned, &payload);
        hex::encode(key::sign(SECRET, &fields, key::string_to_sign(&fields, &canonical).as_bytes()))
    }

    fn verify_at(&self, now: Timestamp) -> Result<(), Refusal> {
        let claim = Claim::read(&self.request(), now)?;
        claim.require_service(&["codeartifact"])?;
        assert_eq!(claim.access_key(), KEY);
        claim.verify(&self.request(), SECRET, Some(Digest::of(self.body)))
    }

    fn verify(&self) -> Result<(), Refusal> {
        self.verify_at(now())
    }
}

fn check(what: &str, sent: &Sent, error_type: &str, part: &str) {
    let refusal = sent.verify().expect_err(what);
    assert_eq!(refusal.error_type(), error_type, "{what}: {refusal}");
    assert!(refusal.to_string().contains(part), "{what}: {refusal}");
}

#[test]
fn what_was_signed_is_accepted() {
    assert_eq!(Sent::signed().verify(), Ok(()));
    assert_eq!(Sent::signed_as_by_the_cli().verify(), Ok(()));
    let mut presigned = Sent::new();
    presigned.presign("604800");
    assert_eq!(presigned.verify(), Ok(()));
}

#[test]
fn whatever_is_changed_after_signing_is_refused() {
    let changes: [(&str, Change); 7] = [
        ("method", |sent| sent.method = "GET"),
        ("path", |sent| sent.path = "/v1/package".into()),
        ("query", |sent| sent.query.push_str("&format=npm")),
        ("order of values", |sent| sent.query = sent.query.replace("local", "other")),
        ("host", |sent| sent.set("host", "example.test")),
        ("date", |sent| sent.set("x-amz-date", "20260203T040507Z")),
        ("body", |sent| sent.body = b"[]"),
    ];
    for (what, change) in changes {
        let mut sent = Sent::signed_as_by_the_cli();
        change(&mut sent);
        check(what, &sent, "InvalidSignatureException", "not the one this server calculates");
    }
    let mut presigned = Sent::new();
    presigned.presign("900");
    presigned.query = presigned.query.replace("Expires=900", "Expires=90000");
    check("lifetime", &presigned, "InvalidSignatureException", "not the one this server calculates");
}

#[test]
fn another_secret_or_service_is_refused() {
    let sent = Sent::signed();
    let claim = Claim::read(&sent.request(), now()).expect("well formed");
    let refusal = claim.verify(&sent.request(), "another", None).expect_err("another secret");
    assert_eq!(refusal.error_type(), "InvalidSignatureException");
    let refusal = claim.require_service(&["sts"]).expect_err("another service");
    assert!(refusal.to_string().contains("'codeartifact'; it must be for sts"), "{refusal}");
}

#[test]
fn the_order_and_encoding_of_parameters_do_not_matter() {
    let mut sent = Sent::signed();
    sent.query = "repository=main&package=%c3%a9%20b&&domain=%6cocal".into();
    assert_eq!(sent.verify(), Ok(()));
}

#[test]
fn a_clock_may_be_off_by_a_quarter_of_an_hour() {
    let sent = Sent::signed();
    for (seconds, accepted) in [(900, true), (901, false), (-900, true), (-901, false)] {
        let result = sent.verify_at(now() + SignedDuration::from_secs(seconds));
        assert_eq!(result.is_ok(), accepted, "{seconds} s: {result:?}");
        if let Err(refusal) = result {
            assert_eq!(refusal.error_type(), "InvalidSignatureException");
            assert!(refusal.to_string().contains("15 minutes"), "{refusal}");
        }
    }
}

#[test]
fn a_presigned_request_ends() {
    let mut sent = Sent::new();
    sent.presign("3600");
    assert_eq!(sent.verify_at(now() + SignedDuration::from_secs(3600)), Ok(()));
    let refusal = sent.verify_at(now() + SignedDuration::from_secs(3601)).expect_err("expired");
    assert!(refusal.to_string().contains("has expired"), "{refusal}");
    for wrong in ["604801", "0", "-1", "soon", "99999999999999999999"] {
        sent.presign(wrong);
        check(wrong, &sent, "IncompleteSignature", "X-Amz-Expires");
    }
}

#[test]
fn the_payload_is_told_by_its_header() {
    let payload = |sent: &Sent| Claim::read(&sent.request(), now()).map(|claim| claim.payload());
    assert_eq!(payload(&Sent::signed_as_by_the_cli()), Ok(ExpectedPayload::Compute));
    assert_eq!(payload(&Sent::signed()), Ok(ExpectedPayload::Sha256(Digest::of(b"{}"))));
    let mut sent = Sent::signed_as_by_the_cli();
    sent.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    sent.sign_header("host;x-amz-content-sha256;x-amz-date");
    assert_eq!(payload(&sent), Ok(ExpectedPayload::Unsigned));
    sent.body = b"anything";
    assert_eq!(sent.verify(), Ok(()));
    sent.set("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    check("a chunked signature", &sent, "InvalidSignatureException", "UNSIGNED-PAYLOAD");
}

#[test]
fn what_must_be_signed_is_demanded() {
    let mut sent = Sent::signed_as_by_the_cli();
    sent.sign_header("x-amz-date");
    check("host", &sent, "IncompleteSignature", "'host' must be among");
    let mut sent = Sent::signed_as_by_the_cli();
    sent.set("x-amz-meta", "added");
    check("x-amz-meta", &sent, "IncompleteSignature", "'x-amz-meta' is there");
    let mut sent = Sent::signed_as_by_the_cli();
    sent.sign_header("content-type;host;x-amz-date");
    check("a header taken away", &sent, "InvalidSignatureException", "'content-type' did not arrive");
    let mut sent = Sent::signed_as_by_the_cli();
    sent.set("x-amz-security-token", "session");
    assert_eq!(sent.verify(), Ok(()));
    let claim = Claim::read(&sent.request(), now()).expect("well formed");
    assert_eq!(claim.session_token(), Some("session"));
}

#[test]
fn the_host_of_http_2_and_of_a_proxy_is_handed_in() {
    let sent = Sent::signed();
    let mut headers = sent.headers.clone();
    headers.remove("host");
    let request = SignedRequest { host: Some("127.0.0.1:8090"), headers: &headers, ..sent.request() };
    let claim = Claim::read(&request, now()).expect("well formed");
    assert_eq!(claim.verify(&request, SECRET, None), Ok(()));
}

#[test]
fn malformed_signatures_are_refused_by_name() {
    check("nothing", &Sent::new(), "MissingAuthenticationTokenException", "not signed");
    let good = Sent::signed_as_by_the_cli();
    let authorization = good.headers["authorization"].to_str().expect("text").to_owned();
    let changes = [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", "must begin with"),
        ("AWS4-HMAC-SHA256 ", "Bearer ", "must begin with"),
        ("/20260203/", "/", "Credential"),
        ("aws4_request", "aws4", "Credential"),
        ("SignedHeaders=host", "SignedHeaders=Host", "SignedHeaders"),
        ("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date;host", "SignedHeaders"),
        ("SignedHeaders=host;x-amz-date", "SignedHeaders=host;host", "SignedHeaders"),
        ("SignedHeaders=host;x-amz-date,", "", "no SignedHeaders"),
        (", Signature=", ", Signature=x", "Signature"),
        (", Signature=", ", Signature=00, Signature=", "twice"),
        (", Signature=", ", Other=1, Signature=", "unknown 'Other'"),
        (", Signature=", ", Signature", "no '='"),
        ("Credential=AKIA", "Credential=A.K", "access key"),
    ];
    for (from, to, part) in changes {
        let mut sent = good.clone();
        sent.set("authorization", &authorization.replace(from, to));
        check(to, &sent, "IncompleteSignature", part);
    }
    let mut sent = good.clone();
    sent.set("authorization", &authorization.replace("/20260203/", "/20260204/"));
    check("another day", &sent, "InvalidSignatureException", "is not the date of the request");
    let mut sent = good.clone();
    sent.headers.append("authorization", HeaderValue::from_static("twice"));
    check("two headers", &sent, "IncompleteSignature", "more than once");
    let mut sent = good.clone();
    sent.set("x-amz-date", "2026-02-03");
    check("a date of another form", &sent, "IncompleteSignature", "YYYYMMDDTHHMMSSZ");
    let mut sent = good.clone();
    sent.headers.remove("x-amz-date");
    check("no date", &sent, "IncompleteSignature", "neither X-Amz-Date nor Date");
}

#[test]
fn a_date_header_is_enough() {
    let mut sent = Sent::new();
    sent.set("date", "Tue, 03 Feb 2026 04:05:06 GMT");
    sent.sign_header("date;host");
    assert_eq!(sent.verify(), Ok(()));
}

#[test]
fn a_parameter_of_a_presigned_request_is_given_once() {
    let mut sent = Sent::new();
    sent.presign("60");
    for name in ["X-Amz-Signature", "X-Amz-Expires", "domain"] {
        let mut twice = sent.clone();
        twice.query.push_str(&format!("&{name}=1"));
        check(name, &twice, "IncompleteSignature", "more than once");
    }
    for name in
        ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"]
    {
        let mut without = sent.clone();
        without.query = without.query.replace(name, "x");
        check(name, &without, "IncompleteSignature", name);
    }
    let mut both = sent;
    both.set("authorization", "AWS4-HMAC-SHA256 x");
    check("both forms", &both, "IncompleteSignature", "both");
}

#[test]
fn the_path_is_normalised_and_encoded_twice() {
    for (raw, expected) in [
        ("/", "/"),
        ("", "/"),
        ("//a//", "/a/"),
        ("/a/./b/../c", "/a/c"),
        ("/..", "/"),
        ("/a%20b/%2F@c", "/a%2520b/%252F%40c"),
    ] {
        assert_eq!(canonical::path(raw), expected, "{raw}");
    }
}
