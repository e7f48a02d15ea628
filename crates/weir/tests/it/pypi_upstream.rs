//! A public simple index that is hostile, wrong or away. Clients get the right status and a reason, never a 404
//! for what merely failed; nothing wrong is kept; and all is well as soon as the index is.

use crate::pypi_index::{AS_HTML, AS_JSON, World, demo, entry, names, path_of};
use crate::stored;
use serde_json::json;
use std::time::{Duration, Instant};
use weir_testkit::package::noise;
use weir_testkit::{Answer, Distribution, Fault, PypiSpeaks, PythonPackage, Upstream};

/// What a client should see of a fault.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    /// 503 with `Retry-After`: it may work later.
    Later,
    /// 503 with `Retry-After` of so many seconds.
    After(u64),
    /// 502: what came is wrong.
    Wrong,
    /// 200: it is no fault.
    Well,
}

/// A server that loses patience after a second.
async fn impatient() -> World {
    World::start_with(|builder| {
        let builder = builder.flag("--response-timeout", "1s").flag("--idle-timeout", "1s");
        builder.flag("--connect-timeout", "1s").flag("--max-index-bytes", "1MiB")
    })
    .await
}

/// The wheel of version 1.0 of a project.
fn wheel(name: &str) -> Distribution {
    PythonPackage::new(name, "1.0").wheel()
}

/// Faults of any answer, and what a client sees of them.
fn faults(elsewhere: &Upstream, own: &Upstream) -> Vec<(&'static str, Fault, Seen)> {
    let redirect = |to: &str| Fault::Redirect(to.to_owned());
    vec![
        ("500", Fault::Status(500), Seen::Later),
        ("503", Fault::Status(503), Seen::Later),
        ("503 with a time", Fault::RetryAfter(503, 23), Seen::After(23)),
        ("429", Fault::Status(429), Seen::Later),
        ("429 with a time", Fault::RetryAfter(429, 17), Seen::After(17)),
        ("401", Fault::Status(401), Seen::Wrong),
        ("403", Fault::Status(403), Seen::Wrong),
        ("400", Fault::Status(400), Seen::Wrong),
        ("a captive portal", Fault::Html, Seen::Wrong),
        ("no answer", Fault::Hang, Seen::Later),
        ("a broken connection", Fault::Close, Seen::Later),
        ("a cut body", Fault::Cut(100), Seen::Later),
        ("a stalled body", Fault::Stall(100), Seen::Later),
        ("a length too long", Fault::WrongLength(5), Seen::Later),
        ("a redirect to itself", Fault::RedirectUnder(own.url()), Seen::Wrong),
        ("a redirect to this machine", Fault::RedirectUnder(elsewhere.url()), Seen::Wrong),
        ("a redirect to link-local", redirect("http://169.254.169.254/x"), Seen::Wrong),
        ("a redirect to a file", redirect("file:///etc/passwd"), Seen::Wrong),
        ("no length", Fault::NoLength, Seen::Well),
        ("a cookie", Fault::Header("set-cookie", "a=b".to_owned()), Seen::Well),
    ]
}

/// The answer is what a client should see of a fault; gives its reason.
#[track_caller]
fn check(what: &str, answer: &Answer, seen: Seen) -> String {
    let text = answer.text();
    let expected = match seen {
        Seen::Later | Seen::After(_) => 503,
        Seen::Wrong => 502,
        Seen::Well => 200,
    };
    assert_eq!(answer.status, expected, "{what}: {text}");
    assert!(answer.headers.get("set-cookie").is_none(), "{what}: {:?}", answer.headers);
    if seen == Seen::Well {
        return text;
    }
    let retry_after: Option<u64> = answer.header("retry-after").parse().ok();
    match seen {
        Seen::Later => {
            assert!(retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{what}: {text}");
        }
        Seen::After(seconds) => assert_eq!(retry_after, Some(seconds), "{what}: {text}"),
        Seen::Wrong | Seen::Well => {}
    }
    assert!(answer.header("content-type").starts_with("text/plain"), "{what}: {:?}", answer.headers);
    assert!(text.contains("public:pypi") && text.len() < 600, "{what}: {text}");
    assert!(!text.trim_end().chars().any(char::is_control), "{what}: {text:?}");
    text
}

#[tokio::test]
async fn a_page_that_fails_is_told_and_never_kept() {
    let world = impatient().await;
    let elsewhere = Upstream::start().await;
    let mut cases = faults(&elsewhere, &world.upstream);
    let body = |text: &str| Fault::Body(text.to_owned().into());
    cases.extend([
        ("nothing", body(""), Seen::Wrong),
        ("half a page", body("{\"meta\": {\"api-version\": \"1.0\"}, \"files\": ["), Seen::Wrong),
        ("a list", body("[]"), Seen::Wrong),
        ("an error with 200", body("{\"message\": \"not found\"}"), Seen::Wrong),
        (
            "another project",
            body(r#"{"meta": {"api-version": "1.0"}, "name": "other", "files": []}"#),
            Seen::Wrong,
        ),
        ("HTML of version 2", body("<meta name=pypi:repository-version content=2.0>"), Seen::Wrong),
    ]);
    for (at, (what, fault, seen)) in cases.into_iter().enumerate() {
        let file = wheel(&format!("project-{at}"));
        world.upstream.publish_distribution(&file);
        let (name, path) = (file.package.normalized_name(), path_of(&file));
        world.upstream.fail(&format!("/simple/{name}/"), fault);
        check(what, &world.get(&format!("simple/{name}/"), &[AS_JSON]).await, seen);
        check(what, &world.get(&path, &[]).await, seen);
        world.upstream.heal();
        assert_eq!(world.files(&name).await, [&*file.file_name], "{what}");
        world.fetch(&file).await;
    }
    assert_eq!(elsewhere.total_calls(), 0, "a private address was asked");

    let late = json!({ "meta": { "api-version": "2.0" }, "name": "late", "files": [] });
    world.upstream.set_project_page("late", "application/vnd.pypi.simple.v1+json", late.to_string());
    let reason = check("2.0", &world.get("simple/late/", &[]).await, Seen::Wrong);
    assert!(reason.contains("2.0"), "{reason}");
    world.upstream.set_project_page("huge", "text/html", vec![b' '; 2 << 20]);
    let reason = check("a large page", &world.get("simple/huge/", &[]).await, Seen::Wrong);
    assert!(reason.contains("max-index-bytes"), "{reason}");
}

#[tokio::test]
async fn a_project_that_is_not_there_is_not_found() {
    let world = World::following().await;
    for status in [404, 410] {
        world.upstream.fail("/simple/", Fault::Status(status));
        for path in ["simple/weir-demo/".to_owned(), path_of(&demo("1.0").wheel())] {
            world.get(&path, &[]).await.assert_status(404);
        }
        world.upstream.heal();
    }
}

#[tokio::test]
async fn a_small_file_that_fails_is_told_before_its_first_byte_and_never_kept() {
    let world = impatient().await;
    let elsewhere = Upstream::start().await;
    let mut cases = faults(&elsewhere, &world.upstream);
    cases.extend([
        ("404 of a listed file", Fault::Status(404), Seen::Wrong),
        ("410 of a listed file", Fault::Status(410), Seen::Wrong),
        ("other bytes", Fault::Corrupt, Seen::Wrong),
        ("an empty file", Fault::Body("".into()), Seen::Wrong),
        ("another file", Fault::Body(wheel("evil").bytes), Seen::Wrong),
    ]);
    for (at, (what, fault, seen)) in cases.into_iter().enumerate() {
        let name = format!("project-{at}");
        let file = wheel(&name);
        world.upstream.publish_distribution(&file);
        assert_eq!(world.files(&name).await.len(), 1, "{what}");
        world.upstream.fail(&format!("/files/{name}/"), fault);
        check(what, &world.get(&path_of(&file), &[]).await, seen);
        assert_eq!(world.held("main", &name).await.is_empty(), seen != Seen::Well, "{what}");
        stored::spool_is_empty(world.weir.data()).await;
        world.upstream.heal();
        world.fetch(&file).await;
        assert_eq!(world.held("pypi-store", &name).await, ["1.0"], "{what}");
    }
    assert_eq!(elsewhere.total_calls(), 0, "a private address was asked");

    // Its size is promised too.
    let file = wheel("sized");
    world.upstream.publish_distribution(&file);
    world.upstream.edit_project("sized", |page| page["files"][0]["size"] = json!(file.bytes.len() + 1));
    check("a wrong size", &world.get(&path_of(&file), &[]).await, Seen::Wrong);
    assert!(world.held("main", "sized").await.is_empty());
}

#[tokio::test]
async fn a_large_file_that_fails_is_cut_before_its_end_and_never_kept() {
    let world = impatient().await;
    for (at, (what, faults)) in [
        ("other bytes", vec![Fault::Corrupt]),
        ("a cut body", vec![Fault::Header("etag", "W/\"weak\"".to_owned()), Fault::Cut(2 << 20)]),
        ("more bytes", vec![Fault::Body(noise(4 << 20).into()), Fault::NoLength]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("large-{at}");
        let file = PythonPackage::new(&name, "1.0").file("noise", noise(3 << 20)).wheel();
        world.upstream.publish_distribution(&file);
        for fault in faults {
            world.upstream.fail(&format!("/files/{name}/"), fault);
        }
        let before = stored::kept(world.weir.data());
        let (bearer, url) =
            (format!("Bearer {}", world.token), format!("{}{}", world.endpoint, path_of(&file)));
        let opened = weir_testkit::http::open("GET", &url, &[("authorization", &bearer)], "").await;
        let mut answer = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, 200, "{what}");
        let complete = loop {
            match answer.chunk().await {
                Ok(Some(_)) => {}
                end => break end.is_ok(),
            }
        };
        assert!(!complete, "{what}: it ended as if it were whole");
        for repository in ["main", "pypi-store"] {
            assert!(world.held(repository, &name).await.is_empty(), "{what}");
        }
        stored::spool_is_empty(world.weir.data()).await;
        assert_eq!(stored::kept(world.weir.data()), before, "{what}");
        world.upstream.heal();
        world.fetch(&file).await;
    }
}

#[tokio::test]
async fn of_a_page_in_html_only_links_to_files_are_taken() {
    let world = World::start().await;
    let versions = ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0"];
    let files = versions.map(|version| demo(version).wheel());
    world.upstream.publish_distributions(&files);
    let name = |at: usize| &*files[at].file_name;
    let link = |href: &str, text: &str| format!("<a href='{href}' onclick='evil()'>{text}</a>");
    let (host, evil) = (world.upstream.address(), "weir_demo-9.9-py3-none-any.whl");
    let page = [
        "<!doctype html><html><head><base href='/files/weir-demo/'><title>evil()</title>".to_owned(),
        format!("<script>evil(\"{}\")</script>", link(evil, evil)),
        format!(
            "<!-- {} evil() --><style>{}</style></head><body onload=evil()>",
            link(evil, evil),
            link(evil, evil)
        ),
        link(&format!("{}#sha256={}", name(0), files[0].sha256()), "<script>evil()</script>"),
        link(&format!("//{host}/files/weir-demo/{}", name(1)), name(1)),
        link(&format!("/files/weir-demo/{}", name(2)), name(2)),
        link(&format!("../../files/weir-demo/{}", name(3)), name(3)),
        link(&format!("http://{host}/files/weir-demo/{}?evil()", name(4)), name(4)),
        link(&format!("HTTP://{host}/files/weir-demo/{}", name(5)), name(5)),
        link(&format!("javascript:evil()//{evil}"), evil),
        link(&format!("data:text/html,evil()/{evil}"), evil),
        link(&format!("file:///etc/{evil}"), evil),
        link(&format!("ftp://{host}/{evil}"), evil),
        format!("<iframe src='{evil}'></iframe><a name=x>{evil}</a></body>"),
    ];
    world.upstream.set_project_page("weir-demo", "text/html; charset=utf-8", page.concat());
    let html = world.html("weir-demo").await;
    let page = world.page("weir-demo").await;
    let told = names(&page);
    assert_eq!(told, files.each_ref().map(|file| &*file.file_name));
    for text in [html, page.to_string()] {
        for part in ["evil", "9.9", "<script", "onclick", "javascript:", "data:", &host.to_string()] {
            assert!(!text.contains(part), "{part} in {text}");
        }
    }
    for file in &files {
        world.fetch(file).await;
    }
    world.get(&format!("simple/weir-demo/9.9/{evil}"), &[]).await.assert_status(404);
}

#[tokio::test]
async fn addresses_on_a_page_lead_nowhere_private_and_carry_no_credentials() {
    let world = World::start().await;
    let elsewhere = Upstream::start().await;
    let port = elsewhere.address().port();
    let hosts = [
        "169.254.169.254".to_owned(),
        "10.0.0.1".to_owned(),
        "100.64.0.1".to_owned(),
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("2130706433:{port}"),
        format!("user:secret@{}", world.upstream.address()),
    ];
    for (at, host) in hosts.iter().enumerate() {
        let name = format!("project-{at}");
        let file = wheel(&name);
        world.upstream.publish_distribution(&file);
        let address = format!("http://{host}/files/{name}/{}", file.file_name);
        world.upstream.edit_project(&name, |page| page["files"][0]["url"] = json!(address));
        let html = world.html(&name).await;
        assert!(!html.contains(host) && !html.contains("secret"), "{html}");
        let start = Instant::now();
        for path in [path_of(&file), format!("{}.metadata", path_of(&file))] {
            let reason = check(host, &world.get(&path, &[]).await, Seen::Wrong);
            assert!(reason.contains("allowed-hosts") || host.contains('@'), "{host}: {reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{host} took {:?}", start.elapsed());
        assert!(world.held("main", &name).await.is_empty(), "{host}");
    }
    assert_eq!(elsewhere.total_calls(), 0, "a private address was asked");
    assert_eq!(world.upstream.calls_under("/files/"), 0, "credentials went out");
    assert!(!world.weir.log().contains("secret"));
}

#[tokio::test]
async fn a_page_of_twenty_thousand_files_is_shown() {
    const FILES: usize = 20_000;
    let world = World::start().await;
    for (name, speaks) in [("many-json", PypiSpeaks::Json), ("many-html", PypiSpeaks::Html)] {
        world.upstream.pypi_settings(|settings| settings.speaks = speaks);
        let file = wheel(name);
        world.upstream.publish_distribution(&file);
        world.upstream.edit_project(name, |page| {
            let first = page["files"][0].clone();
            let more = (1..FILES).map(|at| {
                let mut entry = first.clone();
                let changed = |text: &str| json!(text.replace("-1.0-", &format!("-0.{at}-")));
                for member in ["filename", "url"] {
                    entry[member] = changed(first[member].as_str().unwrap_or_default());
                }
                entry
            });
            page["files"].as_array_mut().expect("it is a list").extend(more);
        });
        assert_eq!(world.files(name).await.len(), FILES, "{name}");
        assert_eq!(world.html(name).await.matches("<a ").count(), FILES, "{name}");
        world.fetch(&file).await;
    }
}

#[tokio::test]
async fn while_the_index_fails_the_last_page_and_held_files_are_served() {
    let world = World::start_with(|builder| {
        builder.flag("--response-timeout", "1s").flag("--idle-timeout", "1s").flag("--freshness", "1s")
    })
    .await;
    let cases = [
        ("500", Fault::Status(500)),
        ("429", Fault::RetryAfter(429, 30)),
        ("403", Fault::Status(403)),
        ("a page", Fault::Html),
        ("half a page", Fault::Body("{\"files\":".into())),
        ("a cut body", Fault::Cut(20)),
        ("no answer", Fault::Hang),
    ];
    let package = |name: &str, version: &str| PythonPackage::new(name, version).wheel();
    let mut before = Vec::new();
    for (at, (what, fault)) in cases.iter().enumerate() {
        let name = format!("project-{at}");
        world.upstream.publish_distributions([&wheel(&name), &package(&name, "1.1")]);
        world.fetch(&wheel(&name)).await;
        let page = world.get(&format!("simple/{name}/"), &[AS_JSON]).await;
        assert_eq!((page.header("warning"), page.header("x-weir-stale")), ("", ""), "{what}");
        before.push(page.assert_status(200).json());
        // Were it unchanged, the index would have no body to cut.
        world.upstream.publish_distribution(&package(&name, "1.3"));
        for place in ["simple", "files"] {
            world.upstream.fail(&format!("/{place}/{name}/"), fault.clone());
        }
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for (at, (what, _)) in cases.iter().enumerate() {
        let name = format!("project-{at}");
        for form in [AS_JSON, AS_HTML] {
            let during = world.get(&format!("simple/{name}/"), &[form]).await;
            during.assert_status(200);
            assert!(during.header("warning").starts_with("110 "), "{what}: {:?}", during.headers);
            assert!(during.header("x-weir-stale").parse::<u64>().is_ok_and(|age| age >= 1), "{what}");
            if form == AS_JSON {
                assert_eq!(during.json(), before[at], "{what}");
            }
        }
        world.fetch(&wheel(&name)).await;
        // Whether there is such a file, nobody knows now.
        for version in ["1.2", "1.1"] {
            let status = world.get(&path_of(&package(&name, version)), &[]).await.status.as_u16();
            assert!([502, 503].contains(&status), "{what}: {status}");
        }
        // Other projects are all right, and close the breaker.
        let next = wheel(&format!("next-{at}"));
        world.upstream.publish_distribution(&next);
        world.fetch(&next).await;
    }
    world.upstream.heal();
    // What was stale is asked for again after five seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for at in 0..cases.len() {
        let healed = world.get(&format!("simple/project-{at}/"), &[AS_JSON]).await;
        assert_eq!((healed.header("warning"), healed.header("x-weir-stale")), ("", ""));
        assert_eq!(names(&healed.json()).len(), 3);
    }
}

#[tokio::test]
async fn metadata_that_is_not_as_promised_is_refused_and_no_longer_advertised() {
    for (what, fault) in [
        ("404", Fault::Status(404)),
        ("other bytes", Fault::Corrupt),
        ("another text", Fault::Body("Metadata-Version: 2.1\nName: evil\nVersion: 1\n".into())),
    ] {
        let world = World::start().await;
        let [bad, good] = [demo("1.0").wheel(), demo("2.0").wheel()];
        world.upstream.publish_distributions([&bad, &good]);
        world.upstream.fail(&format!("/files/weir-demo/{}.metadata", bad.file_name), fault);
        let advertised = async |file: &Distribution| {
            let page = world.page("weir-demo").await;
            entry(&page, &file.file_name)["core-metadata"].is_object()
        };
        assert!(advertised(&bad).await, "{what}");
        let path = format!("{}.metadata", path_of(&bad));
        check(what, &world.get(&path, &[]).await, Seen::Wrong);
        assert!(!advertised(&bad).await, "{what}: still advertised");
        assert!(advertised(&good).await, "{what}: another file's is");
        assert_eq!(world.keeps_its_promises("weir-demo").await, [2, 1, 0], "{what}");
        // Now that the wheel is here, its metadata is what the wheel itself says.
        assert_eq!(world.get(&path, &[]).await.assert_status(200).body, bad.metadata.as_bytes(), "{what}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_but_is_what_was_promised_is_served() {
    let world = World::start().await;
    for at in 0..2 {
        let file = PythonPackage::new(&format!("odd-{at}"), "1.0");
        let file = if at == 0 { file.wheel() } else { file.sdist() };
        let file = file.with_bytes("no archive at all");
        world.upstream.publish_distribution(&file);
        world.fetch(&file).await;
        world.upstream.stop().await;
        world.fetch(&file).await;
        world.upstream.start_again().await;
        assert_eq!(world.held("main", &file.package.normalized_name()).await, ["1.0"]);
    }
}
