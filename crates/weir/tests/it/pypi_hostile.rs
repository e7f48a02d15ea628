//! Uploads that no honest client sends: forms, names and archives. Each is refused in words, and leaves nothing.

use crate::pypi_index::{World, demo};
use serde_json::json;
use weir_testkit::package::{Archive, ZipArchive, ZipEntry};
use weir_testkit::{Distribution, PythonPackage, UploadForm};

const ANY: &str = "py3-none-any";

/// Refused with this status and these words in body and status line, and nothing is left.
pub(crate) async fn refused(world: &World, what: &str, form: &UploadForm, status: u16, word: &str) {
    let (kind, body) = form.build();
    let answer = world.upload_raw(&kind, &body, body.len()).await;
    let text = answer.text();
    assert_eq!(answer.status(), Some(status), "{what}: {text}");
    assert!(text.contains("content-type: text/plain"), "{what}: {text}");
    let (head, said) = text.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(said.contains(word), "{what}: should have said {word:?}: {said}");
    let line = head.lines().next().unwrap_or_default();
    let first: String = said.chars().take(20).take_while(char::is_ascii).collect();
    assert!(line.contains(first.trim()), "{what}: the status line does not say why: {line}");
    world.holds_nothing(what).await;
}

/// The wheel of `demo` 1.0 with another archive.
fn wheel(archive: &ZipArchive) -> UploadForm {
    demo("1.0").wheel().with_bytes(archive.bytes()).form()
}

fn archive() -> ZipArchive {
    demo("1.0").wheel_archive(ANY)
}

#[tokio::test]
async fn a_form_that_says_too_little_or_too_much_is_refused() {
    let world = World::start().await;
    let form = || demo("1.0").wheel().form();
    let long = "x".repeat(300);
    let cases = [
        ("no file", form().without_content(), 400, "brings no file"),
        ("no action", form().remove(":action"), 400, ":action"),
        ("another action", form().set(":action", "submit"), 400, "'submit' is not supported"),
        ("another protocol", form().set("protocol_version", "2"), 400, "protocol_version"),
        ("no version", form().remove("version"), 400, "version: the form has none"),
        ("no version by PEP 440", form().set("version", "one"), 400, "PEP 440"),
        ("another version", form().set("version", "1.1"), 400, "the file's name says 1.0"),
        ("another project", form().set("name", "other"), 400, "is not the name of a wheel"),
        ("no name of a project", form().set("name", "../x"), 400, "is not a name"),
        ("a long name", form().set("name", &long), 400, "is not a name"),
        ("another kind of file", form().set("filetype", "sdist"), 400, "filetype"),
        ("a wrong md5", form().set("md5_digest", &"0".repeat(32)), 400, "md5_digest"),
        ("a wrong sha256", form().set("sha256_digest", &"0".repeat(64)), 400, "sha256_digest"),
        ("a wrong blake2", form().add("blake2_256_digest", &"0".repeat(64)), 400, "blake2_256_digest"),
        ("attestations of nothing", form().add("attestations", "[]"), 400, "attestations"),
        ("attestations that are none", form().add("attestations", "[{}]"), 400, "no attestation object"),
        (
            "a file name with a path",
            form().file_name("../weir_demo-1.0-py3-none-any.whl"),
            400,
            "must not contain",
        ),
        ("another project's file", form().file_name("other-1.0-py3-none-any.whl"), 400, "is not the name"),
        ("a file name that is none", form().file_name("weir_demo.txt"), 400, "is not the name"),
        ("an egg", form().remove("filetype").file_name("weir_demo-1.0-py2.7.egg"), 400, "are taken"),
        ("a control character in the name", form().file_name("weir_demo-1.0\u{1}-py3-none-any.whl"), 400, ""),
        ("a name beyond ASCII", form().file_name("weir_demö-1.0-py3-none-any.whl"), 400, "is not the name"),
        ("a huge field", form().add("description", &"y".repeat(17 << 20)), 413, "bytes"),
    ];
    for (what, form, status, word) in cases {
        refused(&world, what, &form, status, word).await;
    }
    let many = (0..5_100).fold(form(), |form, number| form.add("classifiers", &number.to_string()));
    let (kind, body) = many.build();
    let answer = world.upload_raw(&kind, &body, body.len()).await;
    assert!(matches!(answer.status(), Some(400 | 413)), "{}", answer.text());
    world.holds_nothing("too many fields").await;
    let twice = {
        let (kind, body) = form().build();
        let (_, boundary) = kind.split_once("boundary=").expect("the kind names its boundary");
        let end = format!("--{}--\r\n", boundary.trim_matches('"'));
        let again = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"content\"; filename=\"weir_demo-1.0-py3-none-any.whl\"\
             \r\n\r\nx\r\n{end}",
            boundary.trim_matches('"')
        );
        let body = body.strip_suffix(end.as_bytes()).expect("a form ends with its boundary");
        (kind, [body, again.as_bytes()].concat())
    };
    let answer = world.upload_raw(&twice.0, &twice.1, twice.1.len()).await;
    assert_eq!(answer.status(), Some(400), "{}", answer.text());
    world.holds_nothing("two files").await;
    world.publish(&demo("1.0").wheel()).await.assert_status(200);
}

#[tokio::test]
async fn an_upload_that_is_cut_or_is_no_form_leaves_nothing() {
    let world = World::start().await;
    let (kind, body) =
        demo("1.0").file("big.bin", weir_testkit::package::noise(300_000)).wheel().form().build();
    let cut = world.upload_raw(&kind, &body[..body.len() / 2], body.len()).await;
    assert!(cut.status().is_none_or(|status| status == 400), "{}", cut.text());
    world.holds_nothing("a cut body").await;
    let short = world.upload_raw(&kind, &body[..body.len() / 2], body.len() / 2).await;
    assert_eq!(short.status(), Some(400), "{}", short.text());
    world.holds_nothing("a form without its end").await;
    for (kind, body) in [
        ("application/json", &b"{}"[..]),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
    ] {
        let answer = world.upload_raw(kind, body, body.len()).await;
        assert_eq!(answer.status(), Some(400), "{kind}: {}", answer.text());
        world.holds_nothing(kind).await;
    }
    let header = format!(
        "--x\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n1\r\n--x--\r\n",
        "n".repeat(100_000)
    );
    let answer = world.upload_raw("multipart/form-data; boundary=x", header.as_bytes(), header.len()).await;
    assert!(matches!(answer.status(), Some(400 | 413)), "{}", answer.text());
    world.holds_nothing("a long header").await;
    world.publish(&demo("1.0").wheel()).await.assert_status(200);
}

#[tokio::test]
async fn a_wheel_that_says_otherwise_than_its_name_is_refused() {
    let world = World::start().await;
    let metadata =
        |name: &str, version: &str| format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    let info = "weir_demo-1.0.dist-info";
    let told = |package: PythonPackage| package.wheel().form().set("name", "weir-demo").set("version", "1.0");
    let record = |text: &str| told(demo("1.0").record_text(text));
    let good = archive();
    let cases = [
        ("another name", told(demo("1.0").metadata_text(&metadata("other", "1.0"))), "its name is 'other'"),
        (
            "another version",
            told(demo("1.0").metadata_text(&metadata("weir-demo", "2.0"))),
            "its version is '2.0'",
        ),
        ("no metadata", told(demo("1.0").metadata_text("")), "metadata-version"),
        (
            "metadata of tomorrow",
            told(demo("1.0").metadata_text("Metadata-Version: 9.0\nName: weir-demo\nVersion: 1.0\n")),
            "9.0",
        ),
        (
            "two names",
            told(
                demo("1.0").metadata_text("Metadata-Version: 2.1\nName: weir-demo\nName: x\nVersion: 1.0\n"),
            ),
            "twice",
        ),
        ("an empty RECORD", record(""), "does not name"),
        ("a RECORD of other files", record("gone.py,,\n"), "RECORD"),
        ("a RECORD that is none", record("\"\n"), "PATH,HASH,SIZE"),
        ("no RECORD", wheel(&good.clone().without(&format!("{info}/RECORD"))), "RECORD"),
        ("no WHEEL", wheel(&good.clone().without(&format!("{info}/WHEEL"))), "WHEEL"),
        ("a file more", wheel(&archive().file("evil.py", "1")), "does not name 'evil.py'"),
        (
            "other bytes",
            wheel(&archive().replace("weir_demo/__init__.py", "evil")),
            "its size or digest differs",
        ),
        (
            "two dist-info folders",
            wheel(&archive().file("other-1.0.dist-info/METADATA", "x")),
            "2 .dist-info folders",
        ),
        ("no archive", demo("1.0").wheel().with_bytes("PK no zip").form(), ""),
        ("an empty file", demo("1.0").wheel().with_bytes("").form(), ""),
    ];
    for (what, form, word) in cases {
        refused(&world, what, &form, 400, word).await;
    }
    world.publish(&demo("1.0").wheel()).await.assert_status(200);
}

#[tokio::test]
async fn an_archive_that_two_readers_could_understand_differently_is_refused() {
    let world = World::start().await;
    let with = |entry: ZipEntry| wheel(&archive().entry(entry));
    let cases = [
        ("a link", wheel(&archive().symlink("link", "/etc/passwd"))),
        ("a name twice", wheel(&archive().file("weir_demo/__init__.py", "2"))),
        ("two directories", wheel(&archive().second_directory(&["weir_demo/__init__.py"]))),
        ("bytes before", wheel(&archive().before("#!/bin/sh\n"))),
        ("bytes after", wheel(&archive().after("more"))),
        (
            "an end record in the comment",
            wheel(&archive().comment([b"PK\x05\x06".as_slice(), &[0; 18]].concat())),
        ),
        ("a path that leaves", wheel(&archive().file("../evil.py", "1"))),
        ("an absolute path", wheel(&archive().file("/etc/evil", "1"))),
        ("a backslash", wheel(&archive().file("a\\b", "1"))),
        ("a wrong checksum", with(ZipEntry::new("x.py", "1").crc(7))),
        ("two names of one entry", with(ZipEntry::new("x.py", "1").local_path("y.py"))),
        ("an encrypted entry", with(ZipEntry::new("x.py", "1").encrypted())),
        ("a hidden entry", with(ZipEntry::new("x.py", "1").unlisted())),
        ("a device", with(ZipEntry::new("x.py", "1").mode(0o020_644))),
        ("a size that is none", with(ZipEntry::new("x.py", "12345").announced_size(3))),
    ];
    for (what, form) in cases {
        refused(&world, what, &form, 400, "").await;
    }
    let bomb = wheel(&archive().zeros("bomb", 300 << 20));
    let (kind, body) = bomb.build();
    let answer = world.upload_raw(&kind, &body, body.len()).await;
    assert_eq!(answer.status(), Some(413), "{}", answer.text());
    world.holds_nothing("a bomb").await;
    world.publish(&demo("1.0").wheel()).await.assert_status(200);
}

#[tokio::test]
async fn a_source_distribution_is_one_folder_of_plain_files() {
    let world = World::start().await;
    let sdist = |archive: Archive| -> UploadForm {
        let whole: Distribution = demo("1.0").sdist();
        whole.with_bytes(archive.gzip()).form()
    };
    let good = || demo("1.0").sdist_archive();
    let cases = [
        ("a symbolic link", sdist(good().symlink("weir_demo-1.0/link", "/etc/passwd")), "is a link"),
        ("a hard link", sdist(good().hardlink("weir_demo-1.0/link", "weir_demo-1.0/PKG-INFO")), "is a link"),
        ("a device", sdist(good().device("weir_demo-1.0/null")), "neither a file nor a folder"),
        ("a path that leaves", sdist(good().file("weir_demo-1.0/../../evil", "1")), "'..'"),
        ("a second folder", sdist(good().file("other/evil", "1")), "outside of the one top folder"),
        ("a file beside the folder", sdist(good().file("evil", "1")), "outside of the one top folder"),
        ("a name twice", sdist(good().file("weir_demo-1.0/PKG-INFO", "1")), "twice"),
        ("no PKG-INFO", sdist(Archive::new().file("weir_demo-1.0/x", "1")), "PKG-INFO"),
        ("no archive", demo("1.0").sdist().with_bytes("no gzip").form(), ""),
    ];
    for (what, form, word) in cases {
        refused(&world, what, &form, 400, word).await;
    }
    let bomb = sdist(good().zeros("weir_demo-1.0/bomb", 300 << 20));
    let (kind, body) = bomb.build();
    let answer = world.upload_raw(&kind, &body, body.len()).await;
    assert_eq!(answer.status(), Some(413), "{}", answer.text());
    world.holds_nothing("a bomb").await;
    world.publish(&demo("1.0").sdist()).await.assert_status(200);
}

#[tokio::test]
async fn every_spelling_of_a_name_is_one_project_for_files_and_for_policies() {
    let world = World::start().await;
    world.publish(&PythonPackage::new("Weir_Demo", "1.0").wheel()).await.assert_status(200);
    world.publish(&PythonPackage::new("weir.demo", "1.1").sdist()).await.assert_status(200);
    assert_eq!(world.page("WEIR-_.demo").await["versions"], json!(["1.0", "1.1"]));
    let other =
        PythonPackage::new("weir-demo", "1.0").wheel().form().file_name("Weir_Demo-1.0-py3-none-any.whl");
    let again = world.upload(&other).await;
    assert!([200, 409].contains(&again.status.as_u16()), "{}", again.text());

    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["codeartifact:PublishPackageVersion"],
            "Resource": ["arn:aws:codeartifact:us-east-1:000000000000:package/local/main/pypi//weir-demo"],
        }, {
            "Effect": "Allow", "Action": ["codeartifact:ReadFromRepository"], "Resource": ["*"],
        }],
    });
    let user = json!({ "name": "robot", "policy": policy }).to_string();
    world.weir.api("POST", "/weir/v1/users", &user).await.assert_status(200);
    let token = json!({ "domain": "local", "user": "robot" }).to_string();
    let token = world.weir.api("POST", "/weir/v1/tokens", &token).await.assert_status(200).json();
    let token = format!("Bearer {}", token["token"].as_str().expect("a token"));
    let send = async |file: Distribution| {
        let (kind, body) = file.form().build();
        let headers = [("authorization", token.as_str()), ("content-type", kind.as_str())];
        weir_testkit::http::send("POST", &world.endpoint, &headers, body.to_vec()).await
    };
    send(PythonPackage::new("Weir__Demo", "2.0").wheel()).await.assert_status(200);
    for name in ["weir-demo2", "weir", "weir-demo-x"] {
        let answer = send(PythonPackage::new(name, "1.0").wheel()).await;
        assert_eq!(answer.status.as_u16(), 403, "{name}: {}", answer.text());
    }
}
