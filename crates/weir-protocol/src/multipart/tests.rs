//! Forms as clients send them, and as they should not.

use super::*;
use crate::body::{Body, BodyError};
use futures_util::stream;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use proptest::prelude::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn headers(content_type: &str) -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())].into_iter().collect()
}

fn form_of(chunks: Vec<Bytes>, content_type: &str) -> Result<Multipart> {
    let chunks = chunks.into_iter().map(Ok::<_, BodyError>);
    let body = RequestBody::new(Body::from_stream(stream::iter(chunks), None), &HeaderMap::new());
    Multipart::new(
        body.limited(1 << 30, "max-test-bytes"),
        &headers(content_type),
        MultipartLimits::default(),
    )
}

/// A form with the boundary `b`.
fn form(chunks: Vec<Bytes>) -> Multipart {
    form_of(chunks, "multipart/form-data; boundary=b").unwrap()
}

async fn all(mut form: Multipart) -> Result<Vec<(Part, Vec<u8>)>> {
    let mut parts = Vec::new();
    while let Some(part) = form.next_part().await? {
        let mut content = Vec::new();
        while let Some(chunk) = form.next_chunk().await? {
            assert!(!chunk.is_empty());
            content.extend_from_slice(&chunk);
        }
        parts.push((part, content));
    }
    assert_eq!(form.next_part().await.unwrap(), None);
    assert_eq!(form.next_chunk().await.unwrap(), None);
    Ok(parts)
}

fn pieces(raw: &[u8], size: usize) -> Vec<Bytes> {
    raw.chunks(size).map(Bytes::copy_from_slice).collect()
}

fn read(raw: &[u8]) -> Result<Vec<(Part, Vec<u8>)>> {
    block_on(all(form(vec![Bytes::copy_from_slice(raw)])))
}

fn part(name: &str, file_name: Option<&str>, content_type: Option<&str>) -> Part {
    Part {
        name: name.into(),
        file_name: file_name.map(Into::into),
        content_type: content_type.map(Into::into),
    }
}

fn one(header: &str) -> Result<Part> {
    let raw = format!("--b\r\n{header}\r\n\r\ncontent\r\n--b--\r\n");
    let mut parts = read(raw.as_bytes())?;
    assert_eq!(parts.len(), 1);
    let (part, content) = parts.remove(0);
    assert_eq!(content, b"content");
    Ok(part)
}

fn check_refused<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
    let error = result.expect_err(expected);
    assert!(matches!(error, Error::Invalid { .. }), "{expected}: {error:?}");
    assert!(error.to_string().contains(expected), "wanted '{expected}', got '{error}'");
}

/// What twine and poetry send, by way of requests-toolbelt.
const UPLOAD: &[u8] = b"--b\r\nContent-Disposition: form-data; name=\":action\"\r\n\r\nfile_upload\r\n\
    --b\r\nContent-Disposition: form-data; name=\"description\"\r\n\r\nA line\r\n--and another\r\n\r\n\
    --b\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n\
    --b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"demo-1.0.tar.gz\"\r\n\
    Content-Type: application/octet-stream\r\n\r\n\x1f\x8b\r\n-\r\r\n--\r\n\r\n--a\xff\0\r\n\
    --b--\r\n";

fn uploaded() -> Vec<(Part, Vec<u8>)> {
    let octets = Some("application/octet-stream");
    vec![
        (part(":action", None, None), b"file_upload".to_vec()),
        (part("description", None, None), b"A line\r\n--and another\r\n".to_vec()),
        (part("empty", None, None), Vec::new()),
        (
            part("content", Some("demo-1.0.tar.gz"), octets),
            b"\x1f\x8b\r\n-\r\r\n--\r\n\r\n--a\xff\0".to_vec(),
        ),
    ]
}

#[test]
fn an_upload_is_the_same_however_it_is_cut() {
    for size in 1..=UPLOAD.len() {
        let parts = block_on(all(form(pieces(UPLOAD, size)))).unwrap();
        assert_eq!(parts, uploaded(), "in chunks of {size}");
    }
    for at in 0..=UPLOAD.len() {
        let (before, after) = UPLOAD.split_at(at);
        let halves = [before, after].into_iter().filter(|half| !half.is_empty());
        let parts = block_on(all(form(halves.map(Bytes::copy_from_slice).collect()))).unwrap();
        assert_eq!(parts, uploaded(), "in two at {at}");
    }
}

#[test]
fn a_form_that_ends_too_early_is_cut() {
    // The line break behind the last boundary may be missing.
    let least = UPLOAD.len() - 2;
    for at in 0..least {
        for size in [1, 7, UPLOAD.len()] {
            let result = block_on(all(form(pieces(&UPLOAD[..at], size))));
            assert!(matches!(result, Err(Error::Invalid { .. })), "cut at {at}: {result:?}");
        }
    }
    check_refused(read(&UPLOAD[..least - 20]), "the form was cut");
    check_refused(read(b""), "the form was cut");
    assert_eq!(read(&UPLOAD[..least]).unwrap(), uploaded());
    let declared = [(CONTENT_LENGTH, HeaderValue::from(UPLOAD.len() + 1))].into_iter().collect();
    let body = RequestBody::new(Body::from(UPLOAD.to_vec()), &declared);
    let content_type = headers("multipart/form-data; boundary=b");
    let form = Multipart::new(body, &content_type, MultipartLimits::default()).unwrap();
    check_refused(block_on(all(form)), "cut after");
}

#[test]
fn parts_can_be_skipped_and_read_as_text() {
    for size in [1, 10, UPLOAD.len()] {
        block_on(async {
            let mut form = form(pieces(UPLOAD, size));
            assert_eq!(form.next_chunk().await.unwrap(), None, "before the first part");
            form.next_part().await.unwrap();
            assert_eq!(form.text(11).await.unwrap(), "file_upload");
            assert_eq!(form.text(0).await.unwrap(), "");
            form.next_part().await.unwrap();
            form.next_chunk().await.unwrap();
            assert_eq!(form.next_part().await.unwrap().unwrap().name, "empty");
            assert_eq!(form.next_part().await.unwrap().unwrap().name, "content");
            check_refused(form.text(100).await, "the field 'content' is not UTF-8");
            assert!(form.next_part().await.unwrap().is_none());
        });
        block_on(async {
            let mut form = form(pieces(UPLOAD, size));
            form.next_part().await.unwrap();
            let error = form.text(10).await.unwrap_err();
            assert!(
                matches!(&error, Error::TooLarge { message } if message.contains("':action'")),
                "{error}"
            );
        });
    }
}

#[test]
fn nothing_follows_an_error() {
    block_on(async {
        let mut form = form(vec![Bytes::from_static(b"--b\r\nX: y\r\n\r\n\r\n--b--")]);
        check_refused(form.next_part().await, "part 1 has no Content-Disposition");
        check_refused(form.next_part().await, "refused before");
        check_refused(form.next_chunk().await, "refused before");
    });
    block_on(async {
        let mut form = form(pieces(&UPLOAD[..60], 60));
        form.next_part().await.unwrap();
        while form.next_chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
        check_refused(form.next_chunk().await, "refused before");
        check_refused(form.next_part().await, "refused before");
    });
}

#[test]
fn names_are_understood_as_clients_write_them() {
    let named = |disposition: &str| {
        let part = one(&format!("Content-Disposition: {disposition}")).unwrap();
        (part.name, part.file_name)
    };
    let file = |file_name: &str| ("c".to_owned(), Some(file_name.to_owned()));
    // urllib3 and browsers, httpx, reqwest, old urllib3, curl, hand-written.
    assert_eq!(named(r#"form-data; name="c"; filename="dé%22m.whl""#), file("dé\"m.whl"));
    assert_eq!(named(r#"form-data; name="c"; filename="d%22m\\o.whl""#), file("d\"m\\o.whl"));
    assert_eq!(named(r#"form-data; name="c"; filename="a\"b\\c.whl""#), file("a\"b\\c.whl"));
    assert_eq!(named("form-data; name*=utf-8''c; filename=\"a.whl\""), file("a.whl"));
    assert_eq!(named("form-data; name=\"c\"; filename*=UTF-8'en'd%C3%A9.whl"), file("dé.whl"));
    assert_eq!(named("form-data; name=\"c\"; filename=\"a b\"; filename*=utf-8''a%20b"), file("a b"));
    assert_eq!(named("Form-Data;name=c;FileName=a.whl;"), file("a.whl"));
    assert_eq!(named("form-data ; name = c ; other=\"x;y\"; filename=a.whl ;"), file("a.whl"));
    assert_eq!(named(r#"form-data; name="c"; filename="a\b.whl""#), file("a\\b.whl"));
    assert_eq!(named(r#"form-data; name="c"; filename="100%25;%20%.whl""#), file("100%25;%20%.whl"));
    assert_eq!(named(r#"form-data; name="c"; filename="""#), file(""));
    let cased = "CONTENT-TYPE:text/plain; charset=utf-8\r\ncontent-disposition:\tform-data; name=c \r\n\
        Content-Transfer-Encoding: binary\r\nContent-Length: 7";
    assert_eq!(one(cased).unwrap(), part("c", None, Some("text/plain; charset=utf-8")));
}

#[test]
fn headers_that_mislead_are_refused() {
    let disposition = "Content-Disposition: form-data; name=\"a\"";
    let cases = [
        ("Content-Type: text/plain".to_owned(), "part 1 has no Content-Disposition"),
        (format!("{disposition}\r\n{disposition}"), "two Content-Dispositions"),
        (format!("{disposition}\r\nContent-Type: a/b\r\ncontent-type: a/b"), "two Content-Types"),
        (format!("{disposition}; name=\"b\""), "twice"),
        (format!("{disposition}; NAME=\"a\""), "twice"),
        (format!("{disposition}; name*=utf-8''b"), "two names that differ"),
        (format!("{disposition}; filename=a; filename*=utf-8''b"), "two names that differ"),
        (format!("{disposition}; filename*=b"), "RFC 8187"),
        (format!("{disposition}; filename*=latin1''b"), "instead of UTF-8"),
        (format!("{disposition}; filename*=utf-8''%zz"), "hex digits"),
        (format!("{disposition}; filename*=utf-8''%ff"), "UTF-8"),
        (format!("{disposition}; filename*=utf-8''%0a"), "control character"),
        (format!("{disposition}; filename=\"a%0D%0Ab\""), "control character in its name"),
        (format!("{disposition}; filename=\"a\0b\""), "control character in its header"),
        (format!("{disposition}; filename=\"a\rb\""), "control character in its header"),
        (format!("{disposition}; filename=\"a\tb\""), "control character in its name"),
        (format!("{disposition}; filename=\"a"), "malformed parameter"),
        (format!("{disposition}; filename=\"a\"b"), "malformed parameter"),
        (format!("{disposition}; filename"), "malformed parameter"),
        (format!("{disposition}; filename="), "malformed parameter"),
        (format!("{disposition}; =a"), "malformed parameter"),
        (format!("{disposition}; filename=a b"), "malformed parameter"),
        (format!("{disposition};\r\n filename=a"), "more than one line"),
        (format!("{disposition}\r\nContent-Transfer-Encoding: base64"), "Content-Transfer-Encoding"),
        (format!("{disposition}\r\nno field"), "malformed header: 'no field'"),
        (format!("{disposition}\r\nA field: x"), "malformed header"),
        (format!("{disposition}\nX: y"), "does not end with CR LF"),
        ("Content-Disposition: attachment; name=\"a\"".into(), "'attachment' instead of form-data"),
        ("Content-Disposition: form-data; filename=\"a\"".into(), "no name"),
    ];
    for (header, expected) in cases {
        check_refused(one(&header), expected);
    }
    check_refused(
        read(b"--b\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\n\r\n--b--"),
        "not UTF-8",
    );
}

#[test]
fn boundaries_are_lines_of_their_own() {
    let header = "Content-Disposition: form-data; name=a\r\n\r\n";
    let contents = |raw: String| {
        read(raw.as_bytes()).map(|parts| parts.into_iter().map(|(_, content)| content).collect::<Vec<_>>())
    };
    let ok = |raw: String, expected: &[&str]| {
        assert_eq!(contents(raw).unwrap(), expected.iter().map(|c| c.as_bytes()).collect::<Vec<_>>())
    };
    ok(format!("--b\r\n{header}x\r\n--b--"), &["x"]);
    ok(format!("\r\n--b\r\n{header}x\r\n--b--\r\n"), &["x"]);
    ok(format!("preamble --b\r\n--b \t\r\n{header}x\r\n--b-- \r\nepilogue\r\n--b\r\n"), &["x"]);
    ok(format!("--b\r\n{header}--b\r\n{header}--\r\n--b--"), &["", "--"]);
    ok(format!("--b\r\n{header}x--b--\r\n\r\n\r\n--b--"), &["x--b--\r\n\r\n"]);
    ok(format!("--b\r\n{header}x\n--b--\n\r\n--b--"), &["x\n--b--\n"]);
    ok("--b--".into(), &[]);
    check_refused(contents(format!("--b\n{header}x\r\n--b--")), "does not end with CR LF");
    check_refused(contents(format!("--bc\r\n{header}x\r\n--b--")), "begins with the boundary and is none");
    check_refused(contents(format!("--b\r\n{header}x\r\n--bc\r\n--b--")), "begins with the boundary");
    check_refused(contents(format!("--b\r\n{header}x\r\n--b--c")), "begins with the last boundary");
    check_refused(contents(format!("--b\r\n{header}x\n--b--")), "cut");
}

#[test]
fn the_content_type_has_one_boundary() {
    let accepted = [
        "multipart/form-data; boundary=b",
        "Multipart/Form-Data;BOUNDARY=\"b\"",
        "multipart/form-data; charset=utf-8; boundary=b;",
    ];
    for content_type in accepted {
        let parts = block_on(all(form_of(pieces(UPLOAD, 50), content_type).unwrap()));
        assert_eq!(parts.unwrap(), uploaded(), "{content_type}");
    }
    let long = "x".repeat(70);
    let raw = Bytes::from(format!("--{long}--"));
    let form = form_of(vec![raw], &format!("multipart/form-data; boundary={long}")).unwrap();
    assert_eq!(block_on(all(form)).unwrap(), []);
    for boundary in ["----=_Part_1?", "\"a b:c/d\"", "'()+_,-./:=?"] {
        assert!(form_of(vec![], &format!("multipart/form-data; boundary={boundary}")).is_ok(), "{boundary}");
    }
    let too_long = format!("multipart/form-data; boundary={long}x");
    let refused = [
        ("multipart/mixed; boundary=b", "'multipart/mixed' is not multipart/form-data"),
        ("application/json", "is not multipart/form-data"),
        ("multipart/form-data", "has no boundary"),
        ("multipart/form-data; boundary=\"\"", "1 to 70"),
        ("multipart/form-data; boundary=\"b \"", "1 to 70"),
        ("multipart/form-data; boundary=b@", "1 to 70"),
        (&too_long, "1 to 70"),
        ("multipart/form-data; boundary=b; boundary=c", "two boundaries"),
        ("multipart/form-data; boundary", "malformed parameter"),
        ("multipart/form-data; boundary=", "malformed parameter"),
    ];
    for (content_type, expected) in refused {
        check_refused(form_of(vec![], content_type), expected);
    }
    let mut twice = headers("multipart/form-data; boundary=b");
    twice.append(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=c"));
    for headers in [twice, HeaderMap::new()] {
        let form = Multipart::new(RequestBody::full(""), &headers, MultipartLimits::default());
        check_refused(form, "must be given once");
    }
}

#[test]
fn parts_and_headers_and_surroundings_are_limited() {
    let header = "Content-Disposition: form-data; name=a\r\n\r\n";
    let is_too_large = |raw: String, size: usize| {
        let result = block_on(all(form(pieces(raw.as_bytes(), size))));
        assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
    };
    let most = MultipartLimits::default();
    let filler = "x".repeat(most.header_bytes);
    for size in [100, 1 << 20] {
        is_too_large(format!("{filler}x\r\n--b\r\n{header}x\r\n--b--"), size);
        is_too_large(format!("--b\r\n{header}x\r\n--b--\r\n{filler}x"), size);
        is_too_large(format!("--b\r\nX: {filler}\r\n{header}x\r\n--b--"), size);
        is_too_large(format!("--b\r\n{}{header}x\r\n--b--", "X: y\r\n".repeat(2000)), size);
        is_too_large(format!("--b{}\r\n{header}x\r\n--b--", " ".repeat(9000)), size);
        is_too_large(filler.repeat(2), size);
        is_too_large(format!("{}--b--", format!("--b\r\n{header}x\r\n").repeat(most.parts + 1)), size);
    }
    // Content has no limit but that of the body, read or skipped.
    let long = form(vec![Bytes::from(format!("--b\r\n{header}{}\r\n--b--", filler.repeat(3)))]);
    block_on(async {
        let mut form = long;
        assert!(form.next_part().await.unwrap().is_some());
        assert!(form.next_part().await.unwrap().is_none());
    });
    let many = format!("{}--b--", format!("--b\r\n{header}x\r\n").repeat(most.parts));
    assert_eq!(read(many.as_bytes()).unwrap().len(), most.parts);
}

#[test]
fn content_is_passed_on_and_not_copied() {
    let head = Bytes::from_static(b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n");
    let chunk = Bytes::from(vec![b'\r'; 1 << 20]);
    block_on(async {
        let mut form = form(vec![head, chunk.clone(), Bytes::from_static(b"\r\n--b--")]);
        form.next_part().await.unwrap();
        let given = form.next_chunk().await.unwrap().unwrap();
        assert_eq!((given.as_ptr(), given.len()), (chunk.as_ptr(), chunk.len() - 1));
        assert_eq!(form.next_chunk().await.unwrap().unwrap(), "\r");
        assert_eq!(form.next_chunk().await.unwrap(), None);
    });
}

proptest! {
    #[test]
    fn any_content_in_any_chunking_comes_back(
        contents in proptest::collection::vec("(\r|\n|-|b|x|\r\n--|\r\n--a|--b){0,20}", 0..5),
        sizes in proptest::collection::vec(1usize..20, 1..20),
    ) {
        // What looks like the boundary cannot be content.
        let contents: Vec<String> = contents
            .into_iter()
            .map(|content| format!("\r\n{content}").replace("\r\n--b", "\r\n--a")[2..].to_owned())
            .collect();
        let mut raw = String::new();
        for content in &contents {
            raw += &format!("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n{content}\r\n");
        }
        raw += "--b--";
        let mut rest = raw.as_bytes();
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            if chunk.is_empty() {
                break;
            }
            chunks.push(Bytes::copy_from_slice(chunk));
            rest = after;
        }
        let parts = block_on(all(form(chunks))).unwrap();
        let found: Vec<_> = parts.into_iter().map(|(_, content)| String::from_utf8(content).unwrap()).collect();
        prop_assert_eq!(found, contents);
    }

    #[test]
    fn no_damaged_form_panics_and_all_chunkings_agree(
        changes in proptest::collection::vec((0..UPLOAD.len(), any::<u8>()), 1..6),
        size in 1usize..100,
    ) {
        let mut raw = UPLOAD.to_vec();
        for (at, value) in changes {
            raw[at] = value;
        }
        let in_pieces = block_on(all(form(pieces(&raw, size))));
        match (read(&raw), in_pieces) {
            (Ok(whole), Ok(in_pieces)) => prop_assert_eq!(whole, in_pieces),
            (Err(_), Err(_)) => {}
            (whole, in_pieces) => prop_assert!(false, "{:?} but {:?}", whole, in_pieces),
        }
    }

    #[test]
    fn no_header_panics(value in "(;|=|\"|\\\\|%|name|filename|\\*|utf-8''|\\PC){0,30}") {
        let _ = one(&format!("Content-Disposition: form-data{value}"));
        if let Ok(value) = HeaderValue::from_str(&format!("multipart/form-data{value}")) {
            let headers = [(CONTENT_TYPE, value)].into_iter().collect();
            let _ = Multipart::new(RequestBody::full(""), &headers, MultipartLimits::default());
        }
    }
}
