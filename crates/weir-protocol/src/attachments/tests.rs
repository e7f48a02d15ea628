//! The scanner against samples, damage, and a naive reading by `serde_json` and `base64`.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[derive(Default)]
struct Collected {
    files: Vec<(String, Vec<u8>)>,
    ended: usize,
}

impl AttachmentSink for Collected {
    fn start(&mut self, name: &str) -> Result<()> {
        self.files.push((name.to_owned(), Vec::new()));
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.files.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.ended += 1;
        Ok(())
    }
}

type Scanned = (Document, Vec<(String, Vec<u8>)>);

fn scan_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: ScanLimits) -> Result<Scanned> {
    let mut scanner = Scanner::new(limits);
    let mut sink = Collected::default();
    for piece in pieces {
        scanner.feed(piece, &mut sink)?;
    }
    let document = scanner.finish()?;
    assert_eq!(sink.ended, sink.files.len());
    let told: Vec<_> = sink.files.iter().map(|(name, data)| (name.clone(), data.len() as u64)).collect();
    let infos: Vec<_> = document.attachments.iter().map(|a| (a.name.clone(), a.bytes)).collect();
    assert_eq!(told, infos);
    Ok((document, sink.files))
}

fn scan(text: impl AsRef<[u8]>) -> Result<Scanned> {
    scan_pieces([text.as_ref()], ScanLimits::default())
}

fn check_refused(text: impl AsRef<[u8]>, expected: &str) {
    let text = text.as_ref();
    let error = scan(text).expect_err(expected);
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(error.to_string().contains(expected), "wanted '{expected}', got '{error}'");
}

const SAMPLE: &str = r#" {"_id": "@acme/widget", "n": [-0.5e+10, 0, 12, {}, [], true, false, null],
 "_attachments": {"@acme\/widget-1.0.0.tgz": {"content_type": "a/b", "data": "d2\u0065pciB\u0068bmQg\/\/8=", "length": 11},
  "widget.\u0073igstore": {"data": "{\"a\":\"\u00e9é\ud83d\ude00\\n\"}", "length": 3}},
 "é": "\ud83d\ude00\t", "data": "kept", "versions": {"1.0.0": {"_attachments": {"x": {"data": "kept"}}}}} "#;

#[test]
fn attachments_are_lifted_out_and_the_rest_is_kept() {
    let (document, files) = scan(SAMPLE).unwrap();
    let tarball = STANDARD.decode("d2epciBhbmQg//8=").unwrap();
    let bundle = "{\"a\":\"éé😀\\n\"}".as_bytes().to_vec();
    assert_eq!(files, [("@acme/widget-1.0.0.tgz".into(), tarball), ("widget.sigstore".into(), bundle)]);
    let kept: Value = serde_json::from_slice(&document.json).unwrap();
    let mut expected: Value = serde_json::from_str(SAMPLE).unwrap();
    for attachment in expected["_attachments"].as_object_mut().unwrap().values_mut() {
        attachment["data"] = "".into();
    }
    assert_eq!(kept, expected);
    assert!(String::from_utf8(document.json).unwrap().contains("[-0.5e+10, 0, 12"), "written as it was");
}

#[test]
fn every_split_gives_the_same() {
    let whole = scan(SAMPLE).unwrap();
    let sample = SAMPLE.as_bytes();
    for at in 0..=sample.len() {
        let (head, tail) = sample.split_at(at);
        assert_eq!(scan_pieces([head, tail], ScanLimits::default()).unwrap(), whole, "split at {at}");
    }
    assert_eq!(scan_pieces(sample.chunks(1), ScanLimits::default()).unwrap(), whole);
}

#[test]
fn members_come_in_any_order_and_attachments_may_be_missing() {
    let (_, files) =
        scan(r#"{"_attachments":{"a":{"data":"eA==","x":1},"b":{"y":[{}]}},"_id":"a"}"#).unwrap();
    assert_eq!(files, [("a".into(), b"x".to_vec())]);
    for text in [
        "{}",
        r#"{"_attachments":{}}"#,
        r#"{"_attachments":null,"a":{"data":1}}"#,
        r#"{"x":{"_attachments":5}}"#,
    ] {
        assert_eq!(scan(text).unwrap(), (Document { json: text.into(), attachments: vec![] }, vec![]));
    }
    let (_, files) = scan(r#"{"_attachments":{"a":{"data":""}}}"#).unwrap();
    assert_eq!(files, [("a".into(), vec![])]);
}

#[test]
fn a_document_cut_anywhere_is_refused() {
    let sample = SAMPLE.trim_end().as_bytes();
    for at in 0..sample.len() {
        assert!(matches!(scan(&sample[..at]), Err(Error::Invalid { .. })), "cut at {at}");
    }
}

#[test]
fn what_is_not_the_grammar_is_refused() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "ends too early"),
        (b"[]", "not a JSON object"),
        (b"\"a\"", "not a JSON object"),
        (b"\xef\xbb\xbf{}", "not a JSON object"),
        (b"{} x", "something follows"),
        (b"{}{}", "something follows"),
        (b"{,}", "a key was expected"),
        (b"{\"a\":1,}", "a key was expected"),
        (b"{a:1}", "a key was expected"),
        (b"{\"a\" 1}", "':' was expected"),
        (b"{\"a\":}", "a value was expected"),
        (b"{\"a\":'b'}", "a value was expected"),
        (b"{\"a\":+1}", "a value was expected"),
        (b"{\"a\":1 2}", "',' or the end"),
        (b"{\"a\":[1,]}", "a value was expected"),
        (b"{\"a\":[1}", "not open"),
        (b"{\"a\":1]", "not open"),
        (b"{\"a\":01}", "',' or the end"),
        (b"{\"a\":-}", "number is malformed"),
        (b"{\"a\":1.}", "number is malformed"),
        (b"{\"a\":1e}", "number is malformed"),
        (b"{\"a\":1e+}", "number is malformed"),
        (b"{\"a\":.5}", "a value was expected"),
        (b"{\"a\":nul}", "neither true"),
        (b"{\"a\":trUe}", "neither true"),
        (b"{\"a\":NaN}", "a value was expected"),
        (b"{\"a\":\"\n\"}", "control character"),
        (b"{\"a\":\"\\x\"}", "unknown escape"),
        (b"{\"a\":\"\\u12g4\"}", "four hex digits"),
        (b"{\"a\":\"\\ud800\"}", "surrogate"),
        (b"{\"a\":\"\\ud800x\"}", "surrogate"),
        (b"{\"a\":\"\\ud800\\n\"}", "surrogate"),
        (b"{\"a\":\"\\ud800\\u0041\"}", "surrogate"),
        (b"{\"a\":\"\\udc00\"}", "surrogate"),
        (b"{\"a\":\"\xff\"}", "not UTF-8"),
        (b"{\"\xff\":1}", "a key is not UTF-8"),
        (b"{\"a\":1\x00}", "',' or the end"),
        (b"{/**/}", "a key was expected"),
    ];
    for (text, expected) in cases {
        check_refused(text, expected);
    }
}

#[test]
fn attachments_that_cannot_be_meant_are_refused() {
    let with = |attachments: &str| format!(r#"{{"_attachments":{attachments}}}"#);
    let data = |data: &str| with(&format!(r#"{{"a.tgz":{{"data":"{data}"}}}}"#));
    let bundle = |data: &[u8]| [br#"{"_attachments":{"a.sigstore":{"data":""#, data, b"\"}}}"].concat();
    check_refused(with("[]"), "_attachments is not an object");
    check_refused(with("\"x\""), "_attachments is not an object");
    check_refused(with(r#"{"a":1}"#), "an attachment is not an object");
    check_refused(with(r#"{"a":{"data":null}}"#), "not a string");
    check_refused(with(r#"{"a":{"data":{"data":"eA=="}}}"#), "not a string");
    check_refused(r#"{"_attachments":{},"_\u0061ttachments":{}}"#, "_attachments stands twice");
    check_refused(r#"{"_attachments":null,"_attachments":{}}"#, "_attachments stands twice");
    check_refused(with(r#"{"a":{},"\u0061":{}}"#), "attachment 'a' stands twice");
    check_refused(with(r#"{"a":{"data":"","d\u0061ta":""}}"#), "data twice");
    check_refused(with(r#"{"a":{},"b":{},"c":{}}"#), "more than 2 attachments");
    check_refused(with(&format!(r#"{{"{}":{{}}}}"#, "a".repeat(5000))), "longer than 4096");
    assert!(scan(data("eA==")).is_ok());
    for wrong in
        ["e", "eA", "eA=", "eB==", "e===", "====", "eA==eA==", "eA== ", "e-_=", "é", "eA\\n==", "eA\\u00e9="]
    {
        check_refused(data(wrong), "the data of attachment 'a.tgz'");
    }
    check_refused(data(&format!("eA=={}", "eHh4".repeat(5000))), "'a.tgz' is not base64");
    check_refused(bundle(b"{\xff}"), "'a.sigstore' is not UTF-8");
    check_refused(bundle(b"{\xc3"), "'a.sigstore' is not UTF-8");
    check_refused(bundle(b"{\xc3\\n"), "'a.sigstore' is not UTF-8");
}

#[test]
fn limits_hold_and_are_named() {
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(scan(deep(63)).is_ok());
    check_refused(deep(64), "nested more than 64 levels");
    check_refused("{\"a\":".repeat(1_000_000), "nested more than 64 levels");

    let limits = ScanLimits { document_bytes: 100, attachment_bytes: 6, ..ScanLimits::default() };
    let refused = |text: String, setting: &str| {
        let error = scan_pieces([text.as_bytes()], limits).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains(setting), "{error}");
    };
    refused(format!("{{\"a\":\"{}\"}}", "x".repeat(100)), "max-document-bytes");
    refused(format!("{{{}}}", " ".repeat(100)), "max-document-bytes");
    refused(r#"{"_attachments":{"a":{"data":"eHh4"},"b":{"data":"eHh4eA=="}}}"#.into(), "max-asset-bytes");
    let fits = r#"{"_attachments":{"a":{"data":"eHh4"},"b":{"data":"eHh4"}}}"#;
    assert!(scan_pieces([fits.as_bytes()], limits).is_ok());
}

#[test]
fn after_an_error_every_call_fails() {
    let mut scanner = Scanner::new(ScanLimits::default());
    let mut sink = Collected::default();
    assert!(scanner.feed(br#"{"_attachments":{"a":{"data":"!!!!"#, &mut sink).is_err());
    assert!(scanner.feed(br#"eA=="}}}"#, &mut sink).is_err());
    assert!(scanner.finish().is_err());
}

#[test]
fn the_error_of_a_sink_comes_back() {
    struct Full;
    impl AttachmentSink for Full {
        fn start(&mut self, _: &str) -> Result<()> {
            Ok(())
        }
        fn bytes(&mut self, _: &[u8]) -> Result<()> {
            Err(Error::unavailable("the disk is full"))
        }
        fn end(&mut self) -> Result<()> {
            Ok(())
        }
    }
    let text = br#"{"_attachments":{"a":{"data":"eHh4"}}}"#;
    let result = Scanner::new(ScanLimits::default()).feed(text, &mut Full);
    assert!(matches!(result, Err(Error::Unavailable { .. })));
}

/// Splits text at pseudo-random places.
fn pieces(text: &[u8], seed: usize) -> Vec<&[u8]> {
    let mut rest = text;
    let mut size = seed;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        size = (size * 31 + 7) % 97;
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((key(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("data".to_owned()), Just("_attachments".to_owned()), any::<String>()]
}

/// Writes JSON as some clients do, with every non-ASCII character and slash escaped.
fn escaped(value: &Value) -> String {
    let mut out = String::new();
    for character in serde_json::to_string(value).unwrap().chars() {
        match character {
            '/' => out.push_str("\\/"),
            c if c.is_ascii() => out.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out
}

proptest! {
    #[test]
    fn it_reads_what_a_naive_reader_reads(
        members in proptest::collection::vec((any::<String>(), any_json()), 0..6),
        tarball in proptest::collection::vec(any::<u8>(), 0..30_000),
        bundle in any::<String>(),
        extra in any_json(),
        seed in 0usize..97,
        escape in any::<bool>(),
    ) {
        let mut document: Map<String, Value> = members.into_iter().filter(|(key, _)| key != "_attachments").collect();
        let attachments = |data: &str, bundle: &str| json!({
            "é/a.tgz": {"data": data, "extra": extra},
            "a.sigstore": {"data": bundle},
        });
        document.insert("_attachments".into(), attachments(&STANDARD.encode(&tarball), &bundle));
        let sent = Value::Object(document.clone());
        document.insert("_attachments".into(), attachments("", ""));
        let text = if escape { escaped(&sent) } else { sent.to_string() };
        let (kept, mut files) = scan_pieces(pieces(text.as_bytes(), seed), ScanLimits::default()).unwrap();
        files.sort();
        prop_assert_eq!(files, [("a.sigstore".to_owned(), bundle.into_bytes()), ("é/a.tgz".to_owned(), tarball)]);
        // Read back from text, as some numbers change a little on that way.
        let expected: Value = serde_json::from_str(&Value::Object(document).to_string()).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&kept.json).unwrap(), expected);
    }

    #[test]
    fn what_it_accepts_is_json_and_damage_does_not_panic(
        changes in proptest::collection::vec((0usize..1000, any::<u8>()), 0..3),
        seed in 0usize..97,
    ) {
        let mut sample = SAMPLE.as_bytes().to_vec();
        for (at, value) in changes {
            let at = at % sample.len();
            sample[at] = value;
        }
        if let Ok((document, _)) = scan_pieces(pieces(&sample, seed), ScanLimits::default()) {
            prop_assert!(std::str::from_utf8(&sample).is_ok());
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&sample).is_ok());
            prop_assert!(crate::RawObject::parse("it", &document.json).is_ok());
        }
    }

    #[test]
    fn no_bytes_panic(raw in any::<Vec<u8>>(), text in "[\\[\\]{}:,\"\\\\0-9a-z. ]{0,60}") {
        let _ = scan(raw);
        let accepted = scan(&text).is_ok();
        let is_object = serde_json::from_str::<Map<String, Value>>(&text).is_ok();
        prop_assert!(!is_object || accepted, "refused {text}");
    }
}
