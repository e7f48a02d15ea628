//! What a Python index promises and does not keep, beyond its faults: other digests and sizes, metadata and
//! provenance that come wrong, markup that would reach clients, and pages too large to be looked at.

use crate::pypi_index::{AS_JSON, World, demo, entry, path_of};
use crate::stored;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write as _;
use weir_testkit::{Answer, Fault, PythonPackage, Upstream};

/// More than a server needs that is asked for pages of a hundred megabytes.
const MOST_KIB: u64 = 160 << 10;

/// A server that loses patience after a second.
async fn impatient() -> World {
    World::start_with(|builder| {
        let builder = builder.flag("--response-timeout", "1s").flag("--idle-timeout", "1s");
        builder.flag("--max-index-bytes", "1MiB")
    })
    .await
}

/// A refusal that names the connection in plain text.
#[track_caller]
fn refused(what: &str, answer: &Answer, status: u16) -> String {
    let text = answer.text();
    assert_eq!(answer.status, status, "{what}: {text}");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{what}");
    assert!(text.contains("public:pypi") && text.len() < 700, "{what}: {text}");
    assert!(!text.trim_end().chars().any(char::is_control), "{what}: {text:?}");
    text
}

#[tokio::test]
async fn a_page_of_a_hundred_megabytes_is_refused_before_it_costs_much() {
    let world = impatient().await;
    let large = || Fault::Body(vec![b' '; 100 << 20].into());
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    bomb.write_all(&vec![b' '; 100 << 20]).expect("memory can be written");
    let bomb = Fault::Body(bomb.finish().expect("memory can be written").into());
    for (what, faults) in [
        ("with a length", vec![large()]),
        ("without length", vec![large(), Fault::NoLength]),
        ("a bomb", vec![bomb, Fault::Header("content-encoding", "gzip".to_owned())]),
    ] {
        let file = demo("1.0").wheel();
        world.upstream.publish_distribution(&file);
        faults.into_iter().for_each(|fault| world.upstream.fail("/simple/", fault));
        for path in ["simple/weir-demo/", &path_of(&file)] {
            let text = refused(what, &world.get(path, &[AS_JSON]).await, 502);
            assert!(text.contains("max-index-bytes"), "{what}: {text}");
        }
        world.upstream.heal();
    }
    assert_eq!(world.files("weir-demo").await.len(), 1);
    let status = fs_err::read_to_string(format!("/proc/{}/status", world.weir.process_id()));
    let most = status.ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.to_owned();
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    assert!(most.is_none_or(|kib| kib < MOST_KIB), "{most:?} KiB were needed");
}

#[tokio::test]
async fn a_project_that_the_index_has_not_is_not_there_and_says_so() {
    let world = World::following().await;
    let file = demo("1.0").wheel();
    world.upstream.publish_distribution(&file);
    for status in [404, 410] {
        world.upstream.fail("/simple/", Fault::Status(status));
        for path in ["simple/weir-demo/".to_owned(), path_of(&file), format!("{}.metadata", path_of(&file))] {
            let text = world.get(&path, &[]).await.assert_status(404).text();
            assert!(text.contains("is not in repository 'main'"), "{status}: {path}: {text}");
        }
        world.upstream.heal();
        assert_eq!(world.files("weir-demo").await.len(), 1, "{status}");
    }
    world.fetch(&file).await;
    world.upstream.fail("/simple/", Fault::Status(404));
    assert_eq!(world.keeps_its_promises("weir-demo").await, [1, 1, 0], "what is held stays");
    // Credentials that the index wants are no absence.
    world.upstream.heal();
    world.upstream.require_token("secret");
    let refused = world.get("simple/unknown/", &[]).await;
    let text = refused.assert_status(502).text();
    assert!(text.contains("weir connections set public:pypi"), "{text}");
}

#[tokio::test]
async fn what_a_page_hides_or_smuggles_reaches_no_client() {
    let world = World::start().await;
    let (real, moved) = (demo("1.0").wheel(), demo("2.0").wheel());
    world.upstream.publish_distributions([&real, &moved, &demo("6.6").wheel()]);
    let evil = "weir_demo-6.6-py3-none-any.whl";
    let page = format!(
        "<!doctype html><!-- <a href=\"{evil}\">{evil}</a> --><html><head><base href=\"/files/weir-demo/\">\
         <script>document.write('<a href=\"{evil}\">x</a>');</script><style><a href=\"{evil}\"></style>\
         <meta name=\"pypi:project-status\" content=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\">\
         <title><a href=\"{evil}\"></title></head><body onload=\"alert(1)\">\
         <A HREF='{}#sha256={}' data-requires-python='&gt;=3&quot;&gt;&lt;script&gt;' onclick=alert(1)>{evil}</A>\
         <a href=\"weir_demo-3.0.tar.gz%22%3E%3Cscript%3E\">x</a><a href=\"weir_demo-..%2f..%2fx.tar.gz\">x</a>\
         <a href=\"%00weir_demo-4.0.tar.gz\">x</a><a href=\"x\" data-yanked=\"<script>\">x</a>\
         <a href={}#md5=zz data-yanked='\"><script>alert(2)</script>'>y</a><iframe src=\"{evil}\"></iframe>",
        real.file_name,
        real.sha256(),
        moved.file_name
    );
    world.upstream.set_project_page("weir-demo", "text/html; charset=utf-8", page);
    assert_eq!(world.files("weir-demo").await, [&*real.file_name, &*moved.file_name]);
    let html = world.html("weir-demo").await;
    for word in ["<script", "<iframe", "onclick", "onload", "6.6", "<!--", "md5=", "<base"] {
        assert!(!html.contains(word), "{word} is in {html}");
    }
    assert!(html.contains("data-requires-python=\"&gt;=3&quot;&gt;&lt;script&gt;\""), "{html}");
    assert!(html.contains("data-yanked=\"&quot;&gt;&lt;script&gt;alert(2)&lt;/script&gt;\""), "{html}");
    world.fetch(&real).await;
    world.fetch(&moved).await;
    world.get(&format!("simple/weir-demo/6.6/{evil}"), &[]).await.assert_status(404);
}

#[tokio::test]
async fn provenance_lies_at_public_addresses_too() {
    let world = World::start().await;
    let elsewhere = Upstream::start().await;
    let file = demo("1.0").wheel();
    world.upstream.publish_distribution(&file);
    let url = format!("{}provenance", elsewhere.url());
    world.upstream.edit_project("weir-demo", |page| page["files"][0]["provenance"] = json!(url));
    assert!(entry(&world.page("weir-demo").await, &file.file_name)["provenance"].is_string());
    refused("provenance", &world.get(&format!("{}.provenance", path_of(&file)), &[]).await, 502);
    assert_eq!(elsewhere.total_calls(), 0);
    assert!(entry(&world.page("weir-demo").await, &file.file_name).get("provenance").is_none());
    world.fetch(&file).await;
}

#[tokio::test]
async fn what_the_page_promises_of_a_file_is_compared() {
    let world = World::start().await;
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change, Option<&str>); 9] = [
        ("another sha256", |file| file["hashes"]["sha256"] = json!("0".repeat(64)), Some("SHA-256")),
        ("another md5", |file| file["hashes"] = json!({ "md5": "0".repeat(32) }), Some("MD5")),
        ("another sha512", |file| file["hashes"]["sha512"] = json!("0".repeat(128)), Some("SHA-512")),
        ("another size", |file| file["size"] = json!(7), Some("7 were promised")),
        ("no size", |file| file["size"] = json!(null), None),
        ("a size that is none", |file| file["size"] = json!("large"), None),
        (
            "a digest in capitals",
            |file| {
                let digest = file["hashes"]["sha256"].as_str().unwrap_or_default().to_uppercase();
                file["hashes"]["sha256"] = json!(digest);
            },
            None,
        ),
        ("an unknown digest", |file| file["hashes"] = json!({ "sha3_256": "0".repeat(64) }), None),
        ("no digests", |file| file["hashes"] = json!(null), None),
    ];
    for (at, (what, change, refusal)) in cases.into_iter().enumerate() {
        let name = format!("package-{at}");
        let file = PythonPackage::new(&name, "1.0").wheel();
        world.upstream.publish_distribution(&file);
        world.upstream.edit_project(&name, |page| change(&mut page["files"][0]));
        assert_eq!(world.files(&name).await.len(), 1, "{what}");
        let answer = world.get(&path_of(&file), &[]).await;
        match refusal {
            Some(word) => {
                let text = refused(what, &answer, 502);
                assert!(text.contains(word), "{what}: {text}");
                assert!(world.held("main", &name).await.is_empty(), "{what}");
            }
            None => {
                assert_eq!(answer.assert_status(200).body, file.bytes, "{what}");
                let told = entry(&world.page(&name).await, &file.file_name);
                assert_eq!(told["hashes"]["sha256"], file.sha256(), "{what}: {told}");
                assert_eq!(told["size"], file.bytes.len(), "{what}: {told}");
            }
        }
        stored::spool_is_empty(world.weir.data()).await;
    }
}

#[tokio::test]
async fn metadata_that_comes_wrong_is_refused_once_and_advertised_no_more() {
    let world = impatient().await;
    let elsewhere = Upstream::start().await;
    let private = Fault::RedirectUnder(elsewhere.url());
    for (at, (what, fault, status)) in [
        ("404", Fault::Status(404), 502),
        ("410", Fault::Status(410), 502),
        ("other bytes", Fault::Corrupt, 502),
        ("a page", Fault::Html, 502),
        ("nothing", Fault::Body("".into()), 502),
        ("403", Fault::Status(403), 502),
        ("a large document", Fault::Body(vec![b' '; 2 << 20].into()), 502),
        ("a private redirect", private, 502),
        ("503", Fault::RetryAfter(503, 23), 503),
        ("no answer", Fault::Hang, 503),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("package-{at}");
        let file = PythonPackage::new(&name, "1.0").wheel();
        world.upstream.publish_distribution(&file);
        let told = async || entry(&world.page(&name).await, &file.file_name)["core-metadata"].is_object();
        assert!(told().await, "{what}");
        let (path, place) =
            (format!("{}.metadata", path_of(&file)), format!("/files/{name}/{}.metadata", file.file_name));
        world.upstream.fail(&place, fault);
        refused(what, &world.get(&path, &[]).await, status);
        // Pip goes by the page: without metadata there it takes the wheel. What may come later stays.
        assert_eq!(told().await, status == 503, "{what}");
        assert_eq!(world.html(&name).await.contains("metadata"), status == 503, "{what}");
        world.fetch(&file).await;
        assert!(told().await, "{what}: the wheel itself has told it");
        assert_eq!(world.keeps_its_promises(&name).await, [1, 1, 0], "{what}");
        world.upstream.heal();
    }
    assert_eq!(elsewhere.total_calls(), 0, "a private address was asked");
}
