//! Publishes whose archive or document is a trap. Each is refused with a reason that npm prints, and leaves
//! nothing behind; what only looks odd is taken.

use crate::npm_world::World;
use crate::stored;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use std::io::Write as _;
use weir_testkit::package::integrity;
use weir_testkit::{Answer, Archive, NpmPackage};

const PUBLISHER: &str = "http://publisher.example.test";

fn widget() -> NpmPackage {
    NpmPackage::new("widget", "1.0.0")
}

/// An archive that begins with the right manifest.
fn honest() -> Archive {
    Archive::new().file("package/package.json", widget().manifest().to_string())
}

/// The document of `widget` around any bytes; it tells no lies about them.
fn document_of(tarball: &[u8]) -> Value {
    let mut document = widget().publish_document(PUBLISHER);
    let attachment = &mut document["_attachments"]["widget-1.0.0.tgz"];
    attachment["data"] = json!(STANDARD.encode(tarball));
    attachment["length"] = json!(tarball.len());
    document["versions"]["1.0.0"]["dist"]["integrity"] = json!(integrity(tarball));
    document["versions"]["1.0.0"]["dist"]["shasum"] = json!(hex::encode(Sha1::digest(tarball)));
    document
}

async fn put(world: &World, document: impl Into<Vec<u8>>) -> Answer {
    world.send("PUT", "widget", &[], document).await
}

/// Refused as a wrong or too large request, in npm's format, with these words in the reason.
#[track_caller]
fn refused(what: &str, answer: &Answer, words: &str) {
    let text = answer.text();
    assert!([400, 413].contains(&answer.status.as_u16()), "{what}: {} {text}", answer.status);
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: not npm's: {text}"));
    let reason = json["error"].as_str().unwrap_or_default();
    assert!(!reason.is_empty() && reason.contains(words), "{what}: {words:?} is not in: {reason}");
    assert!(reason.len() < 1000 && !reason.chars().any(char::is_control), "{what}: {reason:?}");
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(tar).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

/// A tar entry as the bytes it is made of, for archives that no library writes.
fn entry(kind: u8, path: &[u8], size: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..path.len()].copy_from_slice(path);
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..124 + size.len()].copy_from_slice(size.as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; content.len().wrapping_neg() % 512];
    [&header[..], content, &padding].concat()
}

fn file(path: &[u8], content: &[u8]) -> Vec<u8> {
    entry(b'0', path, &format!("{:011o}\0", content.len()), content)
}

/// A pax header for the entry after it.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (1..200).find(|length| length.to_string().len() + rest.len() == *length);
    let record = format!("{}{rest}", length.expect("the record is short"));
    entry(b'x', b"PaxHeader", &format!("{:011o}\0", record.len()), record.as_bytes())
}

#[tokio::test]
async fn archives_that_would_write_elsewhere_are_refused() {
    let world = World::start().await;
    let long = format!("package/{}", "a".repeat(90));
    for (what, archive, words) in [
        ("a symbolic link", honest().symlink("package/link", "/etc/passwd"), "link"),
        ("a link inside", honest().symlink("package/link", "index.js"), "link"),
        ("a hard link", honest().hardlink("package/link", "package/package.json"), "link"),
        ("a link as manifest", Archive::new().symlink("package/package.json", "/etc/passwd"), "link"),
        ("a device", honest().device("package/null"), "neither a file nor a folder"),
        ("a path upwards", honest().file("package/../../x", "1"), "'..'"),
        ("a path upwards at the end", honest().folder("package/.."), "'..'"),
        ("a path upwards at once", honest().file("../x", "1"), "'..'"),
        ("an absolute path", honest().file("/etc/cron.d/x", "1"), "absolute"),
        ("a drive", honest().file("C:/x", "1"), "absolute"),
        ("a backslash", honest().file("package\\..\\x", "1"), "backslash"),
        ("a control character", honest().file("package/a\u{1b}[2J", "1"), "control character"),
        ("a line break", honest().file("package/a\nb", "1"), "control character"),
        ("a path twice", honest().file("package/a", "1").file("package/a", "2"), "twice"),
        ("a path twice in disguise", honest().file("package/a", "1").file("package//./a", "2"), "twice"),
        ("a path twice in two folders", honest().file("package/a", "1").file("other/a", "2"), "twice"),
        ("the manifest twice", honest().file("package/package.json", "{}"), "twice"),
        ("the manifest in two folders", honest().file("other/package.json", "{}"), "twice"),
        ("a file that is a folder too", honest().file("package/a", "1").folder("package/a"), "twice"),
        ("a file with a folder's name", honest().file("package/a/", "1"), "name of a folder"),
        ("a folder behind a long name", honest().file(&long, "1").symlink("package/x", "../.."), "link"),
    ] {
        refused(what, &put(&world, document_of(&archive.gzip()).to_string()).await, words);
    }
    stored::nothing(&world, "a hostile archive").await;
    put(&world, document_of(&honest().gzip()).to_string()).await.assert_status(201);
}

#[tokio::test]
async fn archives_that_two_readers_read_differently_are_refused() {
    let world = World::start().await;
    let manifest = widget().manifest().to_string();
    let good = file(b"package/package.json", manifest.as_bytes());
    let end = vec![0; 1024];
    let evil = file(b"package/evil.js", b"1");
    let evil_size = format!("{:011o}\0", evil.len());
    let tar = |parts: &[&[u8]]| parts.concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "two sizes",
            tar(&[&good, &pax("size", "0"), &entry(b'0', b"package/a", &evil_size, &evil), &end]),
            "two sizes",
        ),
        (
            "a path twice by a header",
            tar(&[&good, &pax("path", "package/package.json"), &evil, &end]),
            "twice",
        ),
        ("a path upwards by a header", tar(&[&good, &pax("path", "package/../../x"), &evil, &end]), "'..'"),
        ("a link by a header", tar(&[&good, &pax("linkpath", "/etc/passwd"), &evil, &end]), "link"),
        ("a header at the end", tar(&[&good, &pax("path", "package/x"), &end]), "belongs to no entry"),
        ("more after the end", tar(&[&good, &end, &evil, &end]), "follows the end"),
        ("no end", tar(&[&good]), "cut short"),
        ("a wrong checksum", tar(&[&good, &[b'x'; 512], &end]), "checksum"),
        ("a negative size", tar(&[&good, &entry(b'0', b"package/a", "\u{7f}-1", b""), &end]), ""),
        (
            "a folder with content",
            tar(&[&good, &entry(b'5', b"package/a", &evil_size, &evil), &end]),
            "folder",
        ),
        ("a size beyond the end", tar(&[&good, &entry(b'0', b"package/a", "77777777777", b"1"), &end]), ""),
        ("a path that is no text", tar(&[&good, &file(b"package/\xff\xfe", b"1"), &end]), "UTF-8"),
    ];
    for (what, tar, words) in &cases {
        refused(what, &put(&world, document_of(&gzip(tar)).to_string()).await, words);
    }
    let whole = gzip(&tar(&[&good, &end]));
    let mut damaged = whole.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 0xff;
    for (what, bytes) in [
        ("two streams in one file", [whole.clone(), gzip(&evil)].concat()),
        ("bytes after the stream", [&whole[..], b"more"].concat()),
        ("a stream that is cut", whole[..whole.len() - 9].to_vec()),
        ("a stream that is cut in its end", whole[..whole.len() - 1].to_vec()),
        ("a wrong checksum of the stream", damaged),
        ("a tar that is not compressed", tar(&[&good, &end])),
        ("no archive at all", b"PK\x03\x04 or so".to_vec()),
        ("no bytes", Vec::new()),
    ] {
        refused(what, &put(&world, document_of(&bytes).to_string()).await, "");
    }
    stored::nothing(&world, "an ambiguous archive").await;
    put(&world, document_of(&whole).to_string()).await.assert_status(201);
}

#[tokio::test]
async fn bombs_are_refused_before_they_cost_much() {
    let world = World::start().await;
    let many = (0..100_001).fold(honest(), |archive, n| archive.file(&format!("package/{n}"), ""));
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let manifest = |text: String| Archive::new().file("package/package.json", text);
    for (what, archive, words) in [
        ("one large file", honest().zeros("package/zeros", 300 << 20), "unpacks to more than"),
        ("a large readme", honest().zeros("package/README.md", 300 << 20), "unpacks to more than"),
        ("many files", many, "entries"),
        ("a large manifest", Archive::new().zeros("package/package.json", 300 << 20), "package.json has"),
        ("a deep manifest", manifest(format!("{{\"name\": {deep}}}")), "package.json"),
    ] {
        refused(what, &put(&world, document_of(&archive.gzip()).to_string()).await, words);
    }
    let mut deep_document = document_of(&honest().gzip()).to_string();
    deep_document.insert_str(1, &format!("\"x\": {deep},"));
    refused("a deep document", &put(&world, deep_document).await, "");
    let status = fs_err::read_to_string(format!("/proc/{}/status", world.weir.process_id()));
    let most = status.ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.to_owned();
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    assert!(most.is_none_or(|kib| kib < 200 << 10), "{most:?} KiB were needed");
    stored::nothing(&world, "a bomb").await;
}

#[tokio::test]
async fn a_document_that_differs_from_its_manifest_is_refused_whichever_of_them_says_more() {
    let world = World::start().await;
    let fields = [
        ("name", json!("gadget")),
        ("version", json!("2.0.0")),
        ("dependencies", json!({ "evil": "1" })),
        ("optionalDependencies", json!({ "evil": "1" })),
        ("peerDependencies", json!({ "evil": "1" })),
        ("devDependencies", json!({ "evil": "1" })),
        ("bundleDependencies", json!(["evil"])),
        ("bin", json!({ "widget": "evil.js" })),
        ("bin", json!("evil.js")),
        ("directories", json!({ "bin": "bin" })),
        ("scripts", json!({ "preinstall": "evil" })),
        ("scripts", json!({ "install": "evil" })),
        ("scripts", json!({ "postinstall": "evil" })),
        ("engines", json!({ "node": ">=99" })),
        ("os", json!(["linux"])),
        ("os", json!("!win32")),
        ("cpu", json!(["x64"])),
        ("libc", json!(["musl"])),
    ];
    for (field, value) in fields {
        let told = match field {
            "directories" => "bin",
            "bundleDependencies" => "dependencies",
            field => field,
        };
        // The tarball says more than the document, which is what a scanner reads.
        let mut inside = widget().manifest();
        inside[field] = value.clone();
        let archive =
            Archive::new().file("package/package.json", inside.to_string()).file("package/bin/a", "1");
        let answer = put(&world, document_of(&archive.gzip()).to_string()).await;
        refused(&format!("{field} inside"), &answer, told);
        // The document says more than the tarball, which is what an installation reads.
        let archive = honest().file("package/bin/a", "1");
        let mut document = document_of(&archive.gzip());
        document["versions"]["1.0.0"][field] = value;
        let answer = put(&world, document.to_string()).await;
        refused(&format!("{field} outside"), &answer, told);
    }
    // A key that comes twice, or is spelt otherwise, hides nothing: the last one counts, for all readers.
    let text = document_of(&honest().gzip()).to_string();
    for (what, from, to) in [
        (
            "twice",
            "\"license\":\"MIT\"",
            "\"scripts\":{},\"scripts\":{\"install\":\"evil\"},\"license\":\"MIT\"",
        ),
        ("escaped", "\"license\":\"MIT\"", "\"script\\u0073\":{\"install\":\"evil\"},\"license\":\"MIT\""),
        ("two names", "\"name\":\"widget\"", "\"name\":\"widget\",\"n\\u0061me\":\"gadget\""),
    ] {
        let document = text.replace(from, to);
        assert_ne!(document, text);
        refused(what, &put(&world, document).await, "");
    }
    for (what, archive) in [
        ("no manifest", Archive::new().file("package/index.js", "1")),
        (
            "a manifest beside the folder",
            Archive::new().file("package.json", widget().manifest().to_string()),
        ),
        (
            "a manifest too deep",
            Archive::new().file("package/lib/package.json", widget().manifest().to_string()),
        ),
        ("a manifest that is a list", Archive::new().file("package/package.json", "[]")),
        ("a manifest that is no JSON", Archive::new().file("package/package.json", "{\"name\": \"widget\"")),
        ("an empty manifest", Archive::new().file("package/package.json", "")),
        ("an empty archive", Archive::new()),
    ] {
        refused(what, &put(&world, document_of(&archive.gzip()).to_string()).await, "package.json");
    }
    stored::nothing(&world, "a document that lies").await;
}

#[tokio::test]
async fn attachments_that_are_not_what_the_document_says_are_refused() {
    let world = World::start().await;
    let tarball = honest().gzip();
    let name = "widget-1.0.0.tgz";
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut document = document_of(&tarball);
        change(&mut document);
        document.to_string()
    };
    let data = |data: Value| edit(&move |document| document["_attachments"][name]["data"] = data.clone());
    let dist = |field: &'static str, value: Value| {
        edit(&move |document| document["versions"]["1.0.0"]["dist"][field] = value.clone())
    };
    let base64 = STANDARD.encode(&tarball);
    let other = integrity(b"other");
    for (what, document, words) in [
        (
            "two tarballs",
            edit(&|document| {
                document["_attachments"]["other-1.0.0.tgz"] = document["_attachments"][name].clone();
            }),
            "one tarball",
        ),
        (
            "many attachments",
            edit(&|document| {
                for n in 0..50 {
                    document["_attachments"][format!("{n}.tgz")] = document["_attachments"][name].clone();
                }
            }),
            "attachments",
        ),
        (
            "a second bundle",
            edit(&|document| {
                for bundle in ["a.sigstore", "b.sigstore"] {
                    document["_attachments"][bundle] = json!({ "data": "{}", "length": 2 });
                }
            }),
            "attachments",
        ),
        ("no data", edit(&|document| document["_attachments"][name] = json!({ "length": 3 })), ""),
        ("data that is a number", data(json!(17)), ""),
        ("data that is an object", data(json!({ "a": base64 })), ""),
        ("data that is null", data(json!(null)), ""),
        ("no bytes", data(json!("")), ""),
        ("letters that are none", data(json!(format!("!{base64}"))), "base64"),
        ("padding in the middle", data(json!(format!("{}=={}", &base64[..10], &base64[10..]))), "base64"),
        ("no padding", data(json!(&base64[..base64.len() - base64.len() % 4 - 1])), ""),
        ("the other alphabet", data(json!(format!("-_{}", URL_SAFE_NO_PAD.encode(&tarball)))), "base64"),
        ("half of the data", data(json!(&base64[..base64.len() / 8 * 4])), ""),
        (
            "a length too long",
            edit(&|document| document["_attachments"][name]["length"] = json!(tarball.len() + 1)),
            "length",
        ),
        (
            "a length too short",
            edit(&|document| document["_attachments"][name]["length"] = json!(1)),
            "length",
        ),
        ("another integrity", dist("integrity", json!(other)), "dist"),
        ("another weak integrity", dist("integrity", json!("sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=")), "dist"),
        ("another shasum", dist("shasum", json!("0".repeat(40))), "dist"),
        ("another name in the document", edit(&|document| document["name"] = json!("gadget")), "gadget"),
        ("no versions", edit(&|document| document["versions"] = json!({})), "versions"),
        ("versions that are a list", edit(&|document| document["versions"] = json!(["1.0.0"])), "versions"),
        ("a version that is null", edit(&|document| document["versions"]["1.0.0"] = json!(null)), ""),
        (
            "another version",
            edit(&|document| {
                let manifest = document["versions"]["1.0.0"].clone();
                document["versions"] = json!({ "2.0.0": manifest });
            }),
            "",
        ),
        ("attachments that are a list", edit(&|document| document["_attachments"] = json!([base64])), ""),
        ("attachments that are a text", edit(&|document| document["_attachments"] = json!(base64)), ""),
    ] {
        refused(what, &put(&world, document).await, words);
    }
    let text = document_of(&tarball).to_string();
    let twice = text.replacen("\"_attachments\":", "\"_attachments\":{},\"_attachments\":", 1);
    let hidden = text.replacen("\"_attachments\":", "\"_attachment\\u0073\":{},\"_attachments\":", 1);
    let latin: Bytes = [&text.as_bytes()[..text.len() - 1], b",\"x\":\"\xe9\"}"].concat().into();
    for (what, document) in [
        ("attachments twice", Bytes::from(twice)),
        ("attachments twice in disguise", hidden.into()),
        ("letters that are not UTF-8", latin),
        ("half of a surrogate pair", text.replacen("\"MIT\"", "\"\\ud800\"", 1).into()),
        ("two documents", format!("{text}{text}").into()),
        ("a list", format!("[{text}]").into()),
        ("a text", "\"widget\"".into()),
        ("nothing", "".into()),
    ] {
        refused(what, &put(&world, document).await, "");
    }
    // Without any attachment it is no publish, and there is nothing to change.
    for none in [
        edit(&|document| document["_attachments"] = json!({})),
        edit(&|document| document["_attachments"] = json!(null)),
        edit(&|document| drop(document.as_object_mut().map(|members| members.remove("_attachments")))),
    ] {
        let answer = put(&world, none).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{}: {}", answer.status, answer.text());
        assert!(answer.json()["error"].is_string());
    }
    stored::nothing(&world, "a wrong attachment").await;
    put(&world, text).await.assert_status(201);
}

#[tokio::test]
async fn what_only_looks_odd_is_taken() {
    let world = World::start().await;
    let manifest = |name: &str| NpmPackage::new(name, "1.0.0").manifest().to_string();
    let nested = |name: &str| Archive::new().file("package/package.json", manifest(name));
    let long = "a".repeat(80);
    for (name, archive) in [
        ("nested", nested("nested").file("package/lib/package.json", "{\"type\": \"module\"}")),
        ("bundled", nested("bundled").file("package/node_modules/x/package.json", "not even JSON")),
        ("renamed", Archive::new().file("my folder/package.json", manifest("renamed"))),
        (
            "folders",
            Archive::new()
                .folder("package")
                .folder("package")
                .file("package/package.json", manifest("folders")),
        ),
        ("dots", Archive::new().file("./package/package.json", manifest("dots")).file("package/a..b", "1")),
        ("late", Archive::new().file("package/a", "1").file("package/package.json", manifest("late"))),
        ("accents", nested("accents").file("package/Übung/é.txt", "1").file(&format!("package/{long}"), "1")),
        ("marked", Archive::new().file("package/package.json", format!("\u{feff}{}", manifest("marked")))),
        ("zeros", nested("zeros").zeros("package/zeros", 20 << 20)),
    ] {
        let package = NpmPackage::new(name, "1.0.0").archive(archive);
        let answer = world.publish(&package).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        let file = world.get(&package.tarball_path(), &[]).await;
        assert_eq!(file.assert_status(200).body, package.tarball(), "{name}");
    }
}

/// The public registry vouches for its files by their digests; npm unpacks them with rules of its own.
#[tokio::test]
async fn a_public_tarball_is_passed_on_as_its_digest_says() {
    let world = World::start().await;
    let archive = honest().symlink("package/link", "index.js").file("package/a", "1").file("package/a", "2");
    let package = widget().archive(archive).script("postinstall", "x");
    world.upstream.publish(&package);
    let file = world.get(&package.tarball_path(), &[]).await;
    assert_eq!(file.assert_status(200).body, package.tarball());
}

#[tokio::test]
async fn weir_publish_names_the_file_and_the_reason() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let write = |name: &str, bytes: &[u8]| {
        fs_err::write(folder.path().join(name), bytes).expect("a temporary folder can be written");
    };
    write("link-1.0.0.tgz", &honest().symlink("package/link", "/etc/passwd").gzip());
    write("cut-1.0.0.tgz", &honest().gzip()[..40]);
    let path = folder.path().to_str().expect("a temporary folder has a plain name");
    let output = world.weir.cli(&["publish", path]).await;
    output.assert_fails().assert_says("link-1.0.0.tgz").assert_says("cut-1.0.0.tgz").assert_says("link");
    stored::nothing(&world, "a folder of hostile archives").await;
}
