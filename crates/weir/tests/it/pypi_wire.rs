//! The simple index on the wire: forms of a page and how they are revalidated, files and parts of them, the
//! older interfaces, and what only looks.

use crate::pypi_index::{AS_HTML, AS_JSON, HTML, JSON, World, demo, names, path_of};
use serde_json::{Value, json};
use weir_testkit::{Distribution, PythonPackage};

const GZIP: (&str, &str) = ("accept-encoding", "gzip, br");

/// Wheels that make a page worth compressing.
fn wheels() -> Vec<Distribution> {
    (0..20).map(|minor| demo(&format!("1.{minor}")).wheel()).collect()
}

#[tokio::test]
async fn a_page_comes_in_the_form_that_is_asked_for() {
    let world = World::start().await;
    world.upstream.publish_distribution(&demo("1.0").wheel());
    let text_html = "text/html";
    for (accept, kind) in [
        (None, Some(text_html)),
        (Some(""), None),
        (Some("*/*"), Some(text_html)),
        (Some("text/*"), Some(text_html)),
        (Some(text_html), Some(text_html)),
        (Some(JSON), Some(JSON)),
        (Some("application/vnd.pypi.simple.latest+json"), Some(JSON)),
        (Some(HTML), Some(HTML)),
        (Some("application/vnd.pypi.simple.latest+html"), Some(HTML)),
        (Some("application/*"), Some(JSON)),
        (Some("text/html;q=0.01, application/vnd.pypi.simple.v1+json;q=0.02"), Some(JSON)),
        (Some("application/vnd.pypi.simple.v1+json;q=0, */*"), Some(text_html)),
        (Some("application/vnd.pypi.simple.v1+html, text/html;q=0.9"), Some(HTML)),
        (Some("application/json"), None),
        (Some("application/vnd.pypi.simple.v2+json"), None),
        (Some("image/png, text/html;q=0"), None),
    ] {
        let headers: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
        for path in ["simple/weir-demo/", "simple/"] {
            let answer = world.get(path, &headers).await;
            let got = (answer.status.as_u16(), answer.header("content-type"));
            match kind {
                Some(kind) => {
                    assert_eq!(got.0, 200, "{path} as {accept:?}: {}", answer.text());
                    assert_eq!(got.1.split(';').next(), Some(kind), "{path} as {accept:?}");
                }
                None => {
                    assert_eq!(got, (406, "text/plain; charset=utf-8"), "{path} as {accept:?}");
                    assert!(answer.text().contains(JSON), "{}", answer.text());
                }
            }
        }
    }
    for (format, kind) in [
        ("application/vnd.pypi.simple.v1%2Bjson", Some(JSON)),
        ("application/vnd.pypi.simple.latest%2Bhtml", Some(HTML)),
        ("text/html", Some(text_html)),
        ("application/json", None),
        ("", None),
    ] {
        let answer = world.get(&format!("simple/weir-demo/?format={format}"), &[AS_HTML]).await;
        let got = (answer.status == 200).then(|| answer.header("content-type").split(';').next());
        assert_eq!(got.flatten(), kind, "{format}: {}", answer.text());
        assert!(kind.is_some() || answer.status == 406, "{format}");
    }
    let page = world.page("weir-demo").await;
    assert_eq!((&page["meta"]["api-version"], &page["name"]), (&json!("1.4"), &json!("weir-demo")));
}

#[tokio::test]
async fn an_address_without_its_slash_leads_to_the_one_with_it() {
    let world = World::start().await;
    world.upstream.publish_distribution(&demo("1.0").wheel());
    for (path, to) in [
        ("simple", "simple/"),
        ("simple/weir-demo", "simple/weir-demo/"),
        ("simple/Weir_Demo", "simple/weir-demo/"),
        ("simple/absent", "simple/absent/"),
        ("simple/weir-demo?format=text%2Fhtml", "simple/weir-demo/?format=text%2Fhtml"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = world.send(method, path, &[AS_JSON], "").await;
            let place = answer.assert_status(308).header("location").to_owned();
            assert_eq!(place, format!("{}{to}", world.endpoint), "{method} {path}");
        }
    }
    // Every spelling has the page, and its addresses are right there too.
    let page = world.get("simple/WEIR.__demo/", &[AS_JSON]).await.assert_status(200).json();
    assert_eq!(page, world.page("weir-demo").await);
    for path in ["simple/-x/", "simple/a%20b/", "simple/%2e%2e/", "simple/weir-demo/one/x.whl"] {
        let status = world.get(path, &[]).await.status.as_u16();
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn a_page_is_revalidated_by_a_tag_for_each_form() {
    let world = World::start().await;
    world.upstream.publish_distributions(&wheels());
    let html = ("accept", HTML);
    let forms = [
        vec![AS_JSON],
        vec![AS_JSON, GZIP],
        vec![AS_HTML],
        vec![AS_HTML, GZIP],
        vec![html],
        vec![html, GZIP],
    ];
    let mut tags = Vec::new();
    for form in &forms {
        let answer = world.get("simple/weir-demo/", form).await;
        answer.assert_status(200);
        let encoding = if form.contains(&GZIP) { "gzip" } else { "" };
        assert_eq!(answer.header("content-encoding"), encoding, "{form:?}");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        let vary = answer.header("vary").to_ascii_lowercase();
        assert!(vary.contains("accept,") && vary.contains("accept-encoding"), "{vary}");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{form:?}");
        assert_eq!(answer.text().matches("-py3-none-any.whl\"").count() > 0, form.contains(&AS_JSON));
        let tag = answer.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag} is strong");
        tags.push(tag);
        let head = world.send("HEAD", "simple/weir-demo/", form, "").await;
        assert_eq!((head.status, head.body.len()), (answer.status, 0));
        for name in ["etag", "content-length", "content-type", "content-encoding", "cache-control", "vary"] {
            assert_eq!(head.header(name), answer.header(name), "{name} of {form:?}");
        }
    }
    for (form, tag) in [(0, 0), (0, 1), (1, 0), (2, 2), (3, 2), (4, 4), (5, 5)] {
        for condition in [tags[tag].clone(), format!("\"x\", W/{}", tags[tag]), "*".to_owned()] {
            let headers = [&forms[form][..], &[("if-none-match", condition.as_str())]].concat();
            let answer = world.get("simple/weir-demo/", &headers).await;
            assert_eq!(answer.assert_status(304).body.len(), 0);
            assert!(!answer.header("etag").is_empty() && !answer.header("vary").is_empty());
        }
    }
    // The JSON is no HTML page, whatever tag a client has.
    let other = [AS_HTML, ("if-none-match", tags[0].as_str())];
    world.get("simple/weir-demo/", &other).await.assert_status(200);
    let whole = world.get("simple/weir-demo/", &[AS_JSON]).await.body;
    let part = world.get("simple/weir-demo/", &[AS_JSON, GZIP, ("range", "bytes=10-29")]).await;
    assert_eq!(part.assert_status(206).body, whole.slice(10..30));
    assert_eq!(part.header("content-range"), format!("bytes 10-29/{}", whole.len()));
    // Whatever is published counts at once.
    world.publish(&demo("2.0").sdist()).await.assert_status(200);
    let condition = [AS_JSON, ("if-none-match", tags[0].as_str())];
    let changed = world.get("simple/weir-demo/", &condition).await.assert_status(200).json();
    assert!(names(&changed).contains(&"weir_demo-2.0.tar.gz".to_owned()), "{changed}");
}

#[tokio::test]
async fn files_are_given_whole_and_in_parts_and_may_be_kept_for_ever() {
    let world = World::start().await;
    let public = demo("1.0").published("2024-01-02T03:04:05.678901Z").wheel();
    world.upstream.publish_distribution(&public);
    let own = PythonPackage::new("own-demo", "1.0").sdist();
    world.publish(&own).await.assert_status(200);
    for file in [&public, &own] {
        let (path, bytes) = (path_of(file), &file.bytes);
        let length = bytes.len();
        // The first range finds nothing held and starts the download.
        let last = world.get(&path, &[("range", "bytes=-22")]).await;
        assert_eq!(last.assert_status(206).body, bytes.slice(length - 22..));
        assert_eq!(
            last.header("content-range"),
            format!("bytes {}-{}/{length}", length - 22, length - 1),
            "{path}"
        );
        let answer = world.get(&path, &[]).await;
        assert_eq!(answer.assert_status(200).body, *bytes);
        assert_eq!(answer.header("cache-control"), "private, max-age=31536000, immutable");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-disposition").starts_with("attachment"));
        let (tag, date) = (answer.header("etag"), answer.header("last-modified"));
        let head = world.send("HEAD", &path, &[], "").await;
        assert_eq!((head.assert_status(200).body.len(), head.header("etag")), (0, tag));
        assert_eq!(head.header("content-length"), length.to_string());
        assert_eq!((head.header("accept-ranges"), head.header("last-modified")), ("bytes", date));
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=5-", 5..length),
            ("bytes=0-99999999", 0..length),
            ("bytes=-99999999", 0..length),
        ] {
            let answer = world.get(&path, &[("range", range)]).await;
            assert_eq!(answer.assert_status(206).body, bytes.slice(part), "{range}");
        }
        let beyond = world.get(&path, &[("range", "bytes=99999999-")]).await;
        assert_eq!(beyond.assert_status(416).header("content-range"), format!("bytes */{length}"));
        world.get(&path, &[("if-none-match", tag)]).await.assert_status(304);
        world.get(&path, &[("if-modified-since", date)]).await.assert_status(304);
        let range = ("range", "bytes=0-0");
        world.get(&path, &[range, ("if-range", tag)]).await.assert_status(206);
        world.get(&path, &[range, ("if-range", "\"other\"")]).await.assert_status(200);
        let metadata = world.get(&format!("{path}.metadata"), &[]).await;
        assert_eq!(metadata.assert_status(200).text(), file.metadata);
        assert_eq!(metadata.header("cache-control"), "private, max-age=31536000, immutable");
        assert!(!metadata.header("etag").is_empty());
    }
    let answer = world.get(&path_of(&public), &[]).await;
    assert_eq!(answer.header("last-modified"), "Tue, 02 Jan 2024 03:04:05 GMT");
}

#[tokio::test]
async fn a_file_is_found_at_its_own_address_alone() {
    let world = World::start().await;
    let (public, other) = (demo("1.0").wheel(), PythonPackage::new("other", "1.0").wheel());
    world.upstream.publish_distributions([&public, &demo("2.0").wheel(), &other]);
    let own = PythonPackage::new("own-demo", "1.0").wheel();
    world.publish(&own).await.assert_status(200);
    world.fetch(&public).await;
    world.fetch(&other).await;
    for (project, version, file, why) in [
        ("weir-demo", "2.0", "weir_demo-1.0-py3-none-any.whl", "of another version"),
        ("weir-demo", "3.0", "weir_demo-1.0-py3-none-any.whl", "of a version that is not there"),
        ("weir-demo", "1.0", "other-1.0-py3-none-any.whl", "of another project"),
        ("own-demo", "1.0", "weir_demo-1.0-py3-none-any.whl", "of a public project"),
        ("other", "1.0", "own_demo-1.0-py3-none-any.whl", "of a hosted project"),
        ("weir-demo", "1.0", "weir_demo-1.0.tar.gz", "that was never there"),
        ("weir-demo", "1.0", "weir_demo-1.0-py3-none-any.whl.asc", "a signature"),
        ("weir-demo", "1.0", "weir_demo-1.0-py3-none-any.whl.metadata.metadata", "metadata of metadata"),
        ("weir-demo", "1.0", "weir_demo-1.0-py3-none-any.whl.provenance", "provenance of none"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = world.send(method, &format!("simple/{project}/{version}/{file}"), &[], "").await;
            assert_eq!(answer.status, 404, "{why}: {}", answer.text());
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{why}");
        }
    }
    // A version is one in every spelling.
    for version in ["1", "1.0.0", "v1.0"] {
        let path = format!("simple/Weir.Demo/{version}/{}", public.file_name);
        assert_eq!(world.get(&path, &[]).await.assert_status(200).body, public.bytes, "{version}");
    }
}

#[tokio::test]
async fn looking_retains_nothing_and_fetching_does() {
    let world = World::start().await;
    let (wheel, sdist) = (demo("1.0").wheel(), demo("1.0").sdist());
    world.upstream.publish_distributions([&wheel, &sdist]);
    let path = path_of(&wheel);
    for (method, path) in [
        ("GET", "simple/weir-demo/".to_owned()),
        ("GET", "simple/".to_owned()),
        ("GET", "pypi/weir-demo/json".to_owned()),
        ("GET", "pypi/weir-demo/1.0/json".to_owned()),
        ("GET", format!("{path}.metadata")),
        ("HEAD", format!("{path}.metadata")),
        ("HEAD", path.clone()),
    ] {
        world.send(method, &path, &[AS_JSON], "").await;
        assert_eq!(world.held("main", "weir-demo").await, [""; 0], "{method} {path}");
        assert_eq!(world.held("pypi-store", "weir-demo").await, [""; 0], "{method} {path}");
    }
    world.get(&path, &[("range", "bytes=0-0")]).await.assert_status(206);
    for repository in ["main", "pypi-store"] {
        assert_eq!(world.held(repository, "weir-demo").await, ["1.0"], "{repository}");
    }
    assert_eq!(world.upstream.calls(&format!("/files/weir-demo/{}", sdist.file_name)), 0);
    let assets = "/v1/package/version/assets?domain=local&repository=main&format=pypi&package=weir-demo";
    let assets = world.weir.api("POST", &format!("{assets}&version=1.0"), "").await.assert_status(200).json();
    let names: Vec<_> = assets["assets"].as_array().into_iter().flatten().map(|one| &one["name"]).collect();
    assert_eq!(names, [&json!(wheel.file_name), &json!(sdist.file_name)], "{assets}");
}

#[tokio::test]
async fn the_list_of_projects_names_what_is_held_along_the_chain() {
    let world = World::start().await;
    let (first, second) = (PythonPackage::new("First.Demo", "1.0"), PythonPackage::new("second", "1.0"));
    world.upstream.publish_distributions([&first.wheel(), &second.wheel()]);
    world.publish(&demo("1.0").wheel()).await.assert_status(200);
    let team = world.repository("team", &["main"]).await;
    let list = async |endpoint: &str| {
        let page = world.get(&format!("{endpoint}simple/"), &[AS_JSON]).await.assert_status(200).json();
        page["projects"].as_array().into_iter().flatten().map(|one| one["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(list(&team).await, ["weir-demo"], "public names are no answer");
    world.fetch(&first.wheel()).await;
    assert_eq!(list(&team).await, ["first-demo", "weir-demo"]);
    let html = world.get("simple/", &[]).await.assert_status(200).text();
    assert!(html.contains("<a href=\"first-demo/\">first-demo</a>") && !html.contains("second"), "{html}");
}

#[tokio::test]
async fn the_json_interface_tells_of_hosted_and_public_projects() {
    let world = World::start().await;
    let text = |name: &str| {
        let package = PythonPackage::new(name, "1.0").requires("six>=1").requires_python(">=3.8");
        package.summary("Sums up.").field("Project-URL", "Home, https://example.test/").readme("# Read me\n")
    };
    let both = text("both");
    world.publish(&both.sdist()).await.assert_status(200);
    world.publish(&both.wheel()).await.assert_status(200);
    world.publish(&text("source-only").sdist()).await.assert_status(200);
    let public = text("public");
    world.upstream.publish_distributions([&public.wheel(), &public.sdist()]);
    let promised = text("promised").wheel();
    world.upstream.pypi_settings(|settings| settings.core_metadata = false);
    world.upstream.publish_distribution(&promised);

    let check = async |name: &str, kinds: &[&str], is_told: bool| {
        let project = world.get(&format!("pypi/{name}/json"), &[]).await.assert_status(200).json();
        let version = world.get(&format!("pypi/{name}/1.0.0/json"), &[]).await.assert_status(200).json();
        assert_eq!(project["info"], version["info"], "{name}");
        assert_eq!(project["urls"], version["urls"], "{name}");
        assert_eq!(project["releases"], json!({ "1.0": project["urls"] }), "{name}");
        assert!(version.get("releases").is_none(), "{name}");
        let info = &project["info"];
        assert_eq!((&info["name"], &info["version"]), (&json!(name), &json!("1.0")));
        assert_eq!((&info["requires_python"], &info["yanked"]), (&json!(">=3.8"), &json!(false)));
        let told = |value: Value| if is_told { value } else { Value::Null };
        assert_eq!(info["summary"], told(json!("Sums up.")), "{name}: {info}");
        assert_eq!(info["requires_dist"], told(json!(["six>=1"])), "{name}: {info}");
        assert_eq!(info["project_urls"], told(json!({ "Home": "https://example.test/" })), "{name}: {info}");
        let description = if is_told { "# Read me\n" } else { "" };
        assert_eq!(info["description"], description, "{name}: {info}");
        let urls = project["urls"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<_> = urls.iter().map(|url| url["packagetype"].as_str().unwrap_or("")).collect();
        found.sort_unstable();
        assert_eq!(found, kinds, "{name}");
        for url in &urls {
            let body = world.get(url["url"].as_str().unwrap_or_default(), &[]).await.body;
            assert_eq!(url["digests"]["sha256"], weir_testkit::python::sha256(&body), "{name}: {url}");
            assert_eq!(url["size"], body.len(), "{name}: {url}");
        }
    };
    check("both", &["bdist_wheel", "sdist"], true).await;
    check("source-only", &["sdist"], true).await;
    check("promised", &["bdist_wheel"], false).await;
    check("promised", &["bdist_wheel"], true).await;
    world.upstream.pypi_settings(|settings| settings.core_metadata = true);
    check("public", &["bdist_wheel", "sdist"], true).await;
    for path in ["pypi/absent/json", "pypi/both/2.0/json"] {
        let answer = world.get(path, &[]).await;
        assert!(answer.assert_status(404).text().contains("is not in repository 'main'"));
    }
}

#[tokio::test]
async fn what_is_no_request_of_an_index_is_told_what_is() {
    let world = World::start().await;
    let call = "<?xml version='1.0'?><methodCall><methodName>search</methodName></methodCall>";
    for (method, path, status, words) in [
        ("POST", "pypi", 404, "XML-RPC"),
        ("POST", "RPC2", 404, "pip search"),
        ("POST", "simple/", 404, "multipart form"),
        ("PUT", "", 404, "multipart form"),
        ("POST", "", 400, "Content-Type"),
        ("DELETE", "simple/weir-demo/", 404, "is not a request"),
        ("GET", "packages/x", 404, "is not a request"),
    ] {
        let answer = world.send(method, path, &[("content-type", "text/xml")], call).await;
        let text = answer.assert_status(status).text();
        assert!(text.contains(words), "{method} {path}: {text}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    let answer = world.get("", &[]).await;
    assert!(answer.assert_status(200).text().contains("--index-url"), "{}", answer.text());
}
