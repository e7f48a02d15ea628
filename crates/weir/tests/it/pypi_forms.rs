//! Forms of an upload at their edges: fields that say nothing, boundaries that are none, names that would be
//! headers or paths, attestations of other files, and archives whose lies lie deeper.

use crate::pypi_hostile::refused;
use crate::pypi_index::{World, demo, entry};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write as _;
use weir_testkit::package::{ZipArchive, ZipEntry};
use weir_testkit::{Distribution, UploadForm};

const INFO: &str = "weir_demo-1.0.dist-info";

#[tokio::test]
async fn fields_that_say_nothing_and_fields_unheard_of_are_no_matter() {
    let world = World::start().await;
    let file = demo("1.0").wheel();
    // pdm sends every field that it knows, and most of them empty.
    let empty =
        ["author", "md5_digest", "sha256_digest", "blake2_256_digest", "attestations", "filetype", "comment"];
    let form = empty.iter().fold(file.form(), |form, field| form.set(field, "").add(field, ""));
    let form = form.add("x-unheard-of", "1").add("", "nameless").add("gpg_signature", "none");
    world.upload(&form).await.assert_status(200);
    assert_eq!(entry(&world.page("weir-demo").await, &file.file_name)["hashes"]["sha256"], file.sha256());
    // In capitals and before the form's name for it, a digest is a digest.
    let upper = file.sha256().to_uppercase();
    world.upload(&file.form().set("sha256_digest", &upper)).await.assert_status(200);
    // Of a field that comes twice the first that says something counts, for all that reads it.
    let twice = demo("2.0").wheel().form().set("name", "").add("name", "weir_demo").add("name", "other");
    world.upload(&twice).await.assert_status(200);
    assert_eq!(world.page("weir-demo").await["versions"], json!(["1.0", "2.0"]));
    world.get("simple/other/", &[]).await.assert_status(404);
}

#[tokio::test]
async fn a_name_becomes_neither_a_header_nor_a_path() {
    let world = World::start().await;
    let form = || demo("1.0").wheel().form();
    let long = format!("weir_demo-1.0-py3-none-{}.whl", "a".repeat(300));
    let deep = "weir_demo-1.0-py3-none-any.whl/../../x.whl";
    let evil = "x%0d%0aSet-Cookie: a=b%0d%0a%0d%0a<script>";
    for (what, form, word) in [
        ("a long file name", form().file_name(&long), "255"),
        ("a file name that climbs", form().file_name(deep), ""),
        ("a file name that is ..", form().file_name(".."), ""),
        ("a file name that is nothing", form().file_name(""), ""),
        (
            "a file name with escapes",
            form().file_name("%2e%2e%2fweir_demo-1.0-py3-none-any.whl"),
            "is not the name",
        ),
        ("a file name with a backslash", form().file_name("..\\\\weir_demo-1.0-py3-none-any.whl"), ""),
        ("a file name with a header", form().file_name(evil), "control character"),
        (
            "a file name with a zero",
            form().file_name("weir_demo-1.0\0-py3-none-any.whl"),
            "control character",
        ),
        ("a project with a header", form().set("name", "x\r\nSet-Cookie: a=b"), "is not a name"),
        ("a version with a header", form().set("version", "1.0\r\nSet-Cookie: a=b"), "PEP 440"),
        (
            "an action with a header",
            form().set(":action", "x\r\nSet-Cookie: a=b\r\n\r\n<b>"),
            "is not supported",
        ),
        ("a digest with a header", form().set("md5_digest", "x\r\nSet-Cookie: a=b"), "md5_digest"),
        ("a digest with escapes", form().set("sha256_digest", "\u{1b}[2J\u{1b}]0;x\u{7}"), "sha256_digest"),
    ] {
        let (kind, body) = form.build();
        let text = world.upload_raw(&kind, &body, body.len()).await.text();
        let (head, said) = text.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(!head.to_ascii_lowercase().contains("\r\nset-cookie"), "{what}: {text}");
        assert!(!said.trim_end().chars().any(char::is_control), "{what}: {said:?}");
        refused(&world, what, &form, 400, word).await;
    }
}

#[tokio::test]
async fn boundaries_that_readers_take_differently_are_refused() {
    let world = World::start().await;
    let file = demo("1.0").wheel();
    let (kind, body) = file.form().build();
    let (media, boundary) = kind.split_once("boundary=").expect("the kind names its boundary");
    let mark = format!("--{boundary}");
    let text = |from: &str, to: &str| -> Vec<u8> {
        // The archive is no text, so that only what stands before it is changed.
        let at = body.windows(2).position(|two| two == b"PK").expect("a wheel is a zip");
        let head = String::from_utf8_lossy(&body[..at]).replace(from, to);
        [head.as_bytes(), &body[at..]].concat()
    };
    let end = format!("{mark}--\r\n");
    let whole = body.strip_suffix(end.as_bytes()).expect("a form ends with its boundary");
    let disposition = "Content-Disposition: form-data; name=\"content\"";
    for (what, kind, body) in [
        ("lines that end with LF", kind.clone(), text("\r\n", "\n")),
        ("more behind a boundary", kind.clone(), text(&mark, &format!("{mark}x"))),
        ("two boundaries", format!("{kind}; boundary=other"), body.to_vec()),
        ("a long boundary", format!("{media}boundary={}", "x".repeat(71)), body.to_vec()),
        ("an empty boundary", format!("{media}boundary=\"\""), body.to_vec()),
        ("a boundary in another case", format!("{media}boundary={}", boundary.to_uppercase()), body.to_vec()),
        ("no end", kind.clone(), whole.to_vec()),
        ("half an end", kind.clone(), [whole, mark.as_bytes(), b"-"].concat()),
        ("a part without a name", kind.clone(), text(disposition, "Content-Disposition: form-data")),
        ("a part without a disposition", kind.clone(), text(disposition, "X-Content: y")),
        ("two names", kind.clone(), text(disposition, &format!("{disposition}; name=\"comment\""))),
        ("two file names", kind.clone(), text("; filename=", "; filename*=UTF-8''x.whl; filename=")),
        (
            "two dispositions",
            kind.clone(),
            text(disposition, &format!("{disposition}; filename=\"x\"\r\n{disposition}")),
        ),
        (
            "an encoded part",
            kind.clone(),
            text("Content-Type: app", "Content-Transfer-Encoding: base64\r\nContent-Type: app"),
        ),
        ("a folded header", kind.clone(), text("; filename=", ";\r\n filename=")),
        ("mixed in mixed", "multipart/mixed; boundary=x".to_owned(), body.to_vec()),
        ("half a form", kind.clone(), whole[..whole.len() / 2].to_vec()),
    ] {
        let answer = world.upload_raw(&kind, &body, body.len()).await;
        assert_eq!(answer.status(), Some(400), "{what}: {}", answer.text());
        world.holds_nothing(what).await;
    }
    // A length that says less than is sent ends the form there, and what follows is no second request.
    let answer = world.upload_raw(&kind, &body, body.len() / 2).await;
    assert_eq!(
        (answer.status(), answer.text().matches("HTTP/1.1 ").count()),
        (Some(400), 1),
        "{}",
        answer.text()
    );
    world.holds_nothing("a short length").await;
    // What is merely odd is taken: a preamble, an epilogue, and content that looks like a boundary.
    let near =
        demo("1.0").file("weir_demo/near.txt", format!("\r\n{mark}").as_bytes()[..20].to_vec()).wheel();
    let (kind, body) = near.form().build();
    let odd = [b"preamble\r\n", &body[..], b"epilogue"].concat();
    let answer = world.upload_raw(&kind, &odd, odd.len()).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    world.fetch(&near).await;
}

/// An attestation that says it is about this file with this digest.
fn attestation(name: &str, sha256: &str) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": name, "digest": { "sha256": sha256 } }],
        "predicateType": "https://example.test/attestation/publish/v1",
    });
    let (certificate, signature) = (STANDARD.encode("certificate"), STANDARD.encode("signature"));
    json!({
        "version": 1,
        "verification_material": { "certificate": certificate, "transparency_entries": [{}] },
        "envelope": { "statement": STANDARD.encode(statement.to_string()), "signature": signature },
    })
}

#[tokio::test]
async fn attestations_of_anything_but_the_file_are_refused() {
    let world = World::start().await;
    let file = demo("1.0").wheel();
    let good = attestation(&file.file_name, &file.sha256());
    let with = |list: Value| file.form().add("attestations", &list.to_string());
    let changed = |change: fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        json!([value])
    };
    for (what, list, word) in [
        (
            "of another file",
            json!([attestation("other-1.0.tar.gz", &file.sha256())]),
            "about 'other-1.0.tar.gz'",
        ),
        ("of other bytes", json!([attestation(&file.file_name, &"0".repeat(64))]), "other bytes"),
        (
            "of another file beside a good one",
            json!([good, attestation("x.whl", &file.sha256())]),
            "about 'x.whl'",
        ),
        ("one that is no list", good.clone(), "must be a JSON list"),
        ("seventeen", json!(vec![good.clone(); 17]), "must be 1 to 16"),
        ("of version 2", changed(|one| one["version"] = json!(2)), "version 1"),
        ("without a signature", changed(|one| one["envelope"]["signature"] = json!("")), "no signature"),
        (
            "without a log",
            changed(|one| one["verification_material"]["transparency_entries"] = json!([])),
            "no entry",
        ),
        (
            "with a statement that is none",
            changed(|one| one["envelope"]["statement"] = json!("AAAA")),
            "in-toto",
        ),
    ] {
        refused(&world, what, &with(list), 400, word).await;
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(&world, "deep ones", &file.form().add("attestations", &deep), 400, "JSON list").await;
    let large = file.form().add("attestations", &format!("[{}1]", " ".repeat(2 << 20)));
    refused(&world, "large ones", &large, 413, "attestations have").await;
    world.upload(&with(json!([good]))).await.assert_status(200);
    assert_eq!(world.keeps_its_promises("weir-demo").await, [1, 1, 1]);
}

#[tokio::test]
async fn wheels_whose_lies_lie_deeper_are_refused() {
    let world = World::start().await;
    let archive = || demo("1.0").wheel_archive("py3-none-any");
    let wheel = |archive: ZipArchive| demo("1.0").wheel().with_bytes(archive.bytes()).form();
    let record = |path: &str| format!("{path},sha256=AAAA,1\n");
    let metadata = demo("1.0").metadata();
    for (what, form, word) in [
        (
            "a bomb that says it is small",
            wheel(archive().entry(ZipEntry::new("x", vec![0; 50 << 20]).announced_size(10))),
            "",
        ),
        (
            "a folder of other spelling",
            wheel(archive().file("Weir.Demo-1.0.dist-info/METADATA", &*metadata)),
            "2 .dist-info",
        ),
        (
            "metadata in other letters",
            wheel(archive().file(&format!("{INFO}/metadata"), "x")),
            "does not name",
        ),
        ("metadata below a file", wheel(archive().file(&format!("{INFO}/METADATA/x"), "1")), "is a file"),
        ("the metadata twice", wheel(archive().file(&format!("{INFO}/METADATA"), &*metadata)), "twice"),
        (
            "the metadata twice in disguise",
            wheel(archive().file(&format!("{INFO}/./METADATA"), &*metadata)),
            "twice",
        ),
        (
            "a RECORD of paths upwards",
            demo("1.0").record_text(&record("../../evil.py")).wheel().form(),
            "does not",
        ),
        (
            "a RECORD with an old hash",
            demo("1.0").record_text("x.py,md5=AAAA,1\n").wheel().form(),
            "algorithm",
        ),
        ("another archive behind", wheel(archive().after(archive().bytes().to_vec())), ""),
        ("another archive before", wheel(archive().before(archive().bytes().to_vec())), ""),
        ("a control character in a path", wheel(archive().file("a\u{1b}[2J.py", "1")), "control character"),
        ("a drive", wheel(archive().file("C:/evil.py", "1")), "absolute"),
        ("no WHEEL version", wheel(archive().replace(&format!("{INFO}/WHEEL"), "Tag: x\n")), "WHEEL"),
        (
            "tomorrow's WHEEL",
            wheel(archive().replace(&format!("{INFO}/WHEEL"), "Wheel-Version: 2.0\n")),
            "'2.0'",
        ),
    ] {
        refused(&world, what, &form, 400, word).await;
    }
    // Parts written by programs that cannot seek are ordinary.
    let streamed = demo("2.0").record_text("weir_demo/__init__.py,,\nweir_demo-2.0.dist-info/METADATA,,\nweir_demo-2.0.dist-info/WHEEL,,\nx.py,,\n");
    let streamed = streamed.wheel_archive("py3-none-any").entry(ZipEntry::new("x.py", "1").streamed());
    world.upload(&demo("2.0").wheel().with_bytes(streamed.bytes()).form()).await.assert_status(200);
}

/// A tar entry as the bytes it is made of, for archives that no library writes.
fn member(kind: u8, path: &str, size: usize, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; content.len().wrapping_neg() % 512];
    [&header[..], content, &padding].concat()
}

fn plain(path: &str, content: &str) -> Vec<u8> {
    member(b'0', path, content.len(), content.as_bytes())
}

/// A pax header for the entry after it, or with `g` for all that follow.
fn pax(kind: u8, key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (1..200).find(|length| length.to_string().len() + rest.len() == *length);
    let record = format!("{}{rest}", length.expect("the record is short"));
    member(kind, "PaxHeader", record.len(), record.as_bytes())
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(tar).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

#[tokio::test]
async fn source_distributions_that_two_readers_read_differently_are_refused() {
    let world = World::start().await;
    let info = "weir_demo-1.0/PKG-INFO";
    let other = demo("1.0").metadata_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n").metadata();
    let (good, evil, end) =
        (plain(info, &demo("1.0").metadata()), plain("weir_demo-1.0/x", "1"), vec![0; 1024]);
    let sdist = |bytes: Vec<u8>| -> UploadForm {
        let whole: Distribution = demo("1.0").sdist();
        whole.with_bytes(bytes).form()
    };
    let tar = |parts: &[&[u8]]| sdist(gzip(&parts.concat()));
    let whole = gzip(&[&good[..], &end].concat());
    for (what, form, word) in [
        ("two sizes", tar(&[&good, &pax(b'x', "size", "0"), &evil, &end]), "two sizes"),
        ("PKG-INFO twice by a header", tar(&[&good, &pax(b'x', "path", info), &evil, &end]), "twice"),
        (
            "a path upwards by a header",
            tar(&[&good, &pax(b'x', "path", "weir_demo-1.0/../../x"), &evil, &end]),
            "'..'",
        ),
        (
            "another folder by a header",
            tar(&[&good, &pax(b'x', "path", "other/x"), &evil, &end]),
            "outside of",
        ),
        ("a link by a header", tar(&[&good, &pax(b'x', "linkpath", "/etc/passwd"), &evil, &end]), "link"),
        ("a header for all", tar(&[&good, &pax(b'g', "path", "weir_demo-1.0/y"), &evil, &end]), ""),
        ("a size beyond the end", tar(&[&good, &member(b'0', "weir_demo-1.0/x", 1 << 30, b"1"), &end]), ""),
        ("more behind the end", tar(&[&good, &end, &evil, &end]), "follows the end"),
        ("no end", tar(&[&good]), "cut short"),
        ("PKG-INFO of another project", tar(&[&plain(info, &other), &end]), "its name is 'other'"),
        (
            "PKG-INFO too deep",
            tar(&[&plain("weir_demo-1.0/a/PKG-INFO", &demo("1.0").metadata()), &end]),
            "no PKG-INFO",
        ),
        ("PKG-INFO as a link", tar(&[&member(b'2', info, 0, b""), &end]), "link"),
        ("two streams", sdist([whole.clone(), gzip(&evil)].concat()), ""),
        ("bytes behind the stream", sdist([&whole[..], b"more"].concat()), ""),
        ("a cut stream", sdist(whole[..whole.len() - 5].to_vec()), ""),
        ("a zip", sdist(demo("1.0").wheel().bytes.to_vec()), ""),
    ] {
        refused(&world, what, &form, 400, word).await;
    }
    world.upload(&sdist(whole)).await.assert_status(200);
}

#[tokio::test]
async fn a_zipped_source_distribution_is_held_to_the_same() {
    let world = World::start().await;
    let file =
        |archive: &ZipArchive| demo("1.0").sdist().named("weir_demo-1.0.zip").with_bytes(archive.bytes());
    let archive = || ZipArchive::new().file("weir_demo-1.0/PKG-INFO", demo("1.0").metadata());
    for (what, archive, word) in [
        ("a second folder", archive().file("other/x", "1"), "outside of"),
        ("a file beside the folder", archive().file("x", "1"), "outside of"),
        ("a folder of other spelling", archive().file("Weir-Demo-1.0/x", "1"), "outside of"),
        ("no PKG-INFO", ZipArchive::new().file("weir_demo-1.0/x", "1"), "PKG-INFO"),
        ("nothing", ZipArchive::new(), "empty"),
        ("a link", archive().symlink("weir_demo-1.0/x", "/etc/passwd"), "is a link"),
    ] {
        refused(&world, what, &file(&archive).form(), 400, word).await;
    }
    let good = file(&archive().file("weir_demo-1.0/setup.py", "1"));
    world.upload(&good.form()).await.assert_status(200);
    world.fetch(&good).await;
}
