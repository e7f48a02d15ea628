//! The Python half of the kit against a plain HTTP client, Python's own library and the real clients: what
//! the builders build is what they accept, and the fake index serves what they want.

use serde_json::json;
use weir_testkit::http::send;
use weir_testkit::output::{Output, clean_command, run};
use weir_testkit::{
    Distribution, Fault, PypiSpeaks, PythonClient, PythonPackage, Tool, UploadForm, Upstream,
};

const JSON: &str = "application/vnd.pypi.simple.v1+json";
const ACCEPT_JSON: &[(&str, &str)] = &[("accept", JSON)];

fn demo() -> PythonPackage {
    PythonPackage::new("Demo_Pkg", "1.0").requires("leaf>=1").requires_python(">=3.8").readme("# Demo\n")
}

/// `Demo_Pkg` as a wheel, and `leaf`, on which it depends, as a source distribution alone.
async fn stocked() -> (Upstream, Distribution) {
    let upstream = Upstream::start().await;
    let wheel = demo().wheel();
    upstream.publish_distributions([&wheel, &PythonPackage::new("leaf", "1.2").sdist()]);
    (upstream, wheel)
}

/// Runs a script with a file's path as its argument, in the Python of a tool.
async fn python(script: &str, distribution: &Distribution) -> Option<Output> {
    let python = Tool::Pip.find()?.with_file_name("python");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join(&distribution.file_name);
    fs_err::write(&path, &distribution.bytes).expect("a temporary folder can be written");
    let mut command = clean_command(python, folder.path());
    command.args(["-c", script]).arg(path);
    Some(run(command).await)
}

#[tokio::test]
async fn python_reads_the_archives() {
    let script = "
import base64, hashlib, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
for line in archive.read('demo_pkg-1.0.dist-info/RECORD').decode().splitlines():
    path, digest, size = line.split(',')
    data = archive.read(path)
    if digest:
        found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
        assert (digest, int(size)) == ('sha256=' + found, len(data)), line
print(sorted(archive.namelist()))
";
    let package = demo().file("demo_pkg/more.py", "x = 1\n");
    let wheel = package.wheel();
    let Some(read) = python(script, &wheel).await else { return };
    read.assert_ok().assert_says("demo_pkg/more.py").assert_says("demo_pkg-1.0.dist-info/WHEEL");

    let wrong = package.wheel().with_bytes(
        package
            .wheel_archive("py3-none-any")
            .entry(weir_testkit::ZipEntry::new("demo_pkg/bad.py", "x").crc(1))
            .bytes(),
    );
    python(script, &wrong).await.unwrap().assert_fails();
    let streamed = package.wheel_archive("py3-none-any");
    let streamed = streamed.entry(weir_testkit::ZipEntry::new("demo_pkg/late.py", "x = 2\n").streamed());
    python(script, &wheel.clone().with_bytes(streamed.bytes())).await.unwrap().assert_ok();
    let hidden = package.wheel_archive("py3-none-any").second_directory(&["demo_pkg/more.py"]);
    let names = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).namelist())";
    let seen = python(names, &wheel.with_bytes(hidden.bytes())).await.unwrap();
    assert_eq!(seen.assert_ok().stdout, "['demo_pkg/more.py']\n");
}

#[tokio::test]
async fn a_page_comes_as_json_or_html_and_is_not_sent_twice() {
    let (upstream, wheel) = stocked().await;
    let url = format!("{}demo-pkg/", upstream.pypi_url());
    let page = send("GET", &url, ACCEPT_JSON, "").await;
    assert_eq!(page.assert_status(200).header("content-type"), JSON);
    let file = &page.json()["files"][0];
    assert_eq!(file["hashes"]["sha256"], wheel.sha256());
    assert_eq!(file["upload-time"], weir_testkit::package::PUBLISHED);
    assert!(file["core-metadata"]["sha256"].is_string() && file["provenance"].is_null());
    assert_eq!(page.json()["versions"], json!(["1.0"]));

    let bytes = send("GET", file["url"].as_str().unwrap(), &[], "").await;
    assert_eq!(bytes.body, wheel.bytes);
    let metadata = send("GET", &format!("{}.metadata", file["url"].as_str().unwrap()), &[], "").await;
    assert_eq!(metadata.text(), wheel.metadata);

    let html = send("GET", &url, &[("accept-encoding", "gzip")], "").await;
    assert_eq!((html.header("content-type"), html.header("content-encoding")), ("text/html", "gzip"));
    assert!(html.text().contains("data-requires-python=\"&gt;=3.8\""), "{}", html.text());
    let again = send("GET", &url, &[("if-none-match", html.header("etag"))], "").await;
    again.assert_status(304);

    for path in ["demo-pkg", "Demo_Pkg/", "demo.PKG"] {
        let moved = send("GET", &format!("{}{path}", upstream.pypi_url()), &[], "").await;
        assert_eq!(moved.assert_status(301).header("location"), "/simple/demo-pkg/");
    }
    send("GET", &format!("{}nothing/", upstream.pypi_url()), &[], "").await.assert_status(404);
    let list = send("GET", &upstream.pypi_url(), ACCEPT_JSON, "").await.json();
    assert_eq!(
        (&list["projects"][0]["name"], &list["projects"][1]["name"]),
        (&json!("demo-pkg"), &json!("leaf"))
    );
    assert_eq!(upstream.calls("/simple/demo-pkg/"), 3);
}

#[tokio::test]
async fn an_index_tells_what_its_settings_say() {
    let (upstream, wheel) = stocked().await;
    let url = format!("{}demo-pkg/", upstream.pypi_url());
    upstream.attest(&wheel.file_name, json!({ "version": 1, "attestation_bundles": [] }));
    upstream.yank("demo.pkg", "1.0", "it \"leaks\"");
    let file = send("GET", &url, ACCEPT_JSON, "").await.json()["files"][0].clone();
    assert_eq!(file["yanked"], "it \"leaks\"");
    let provenance = send("GET", file["provenance"].as_str().unwrap(), &[], "").await;
    assert_eq!(provenance.json()["version"], 1);
    let html = send("GET", &url, &[], "").await.text();
    assert!(
        html.contains("data-yanked=\"it &quot;leaks&quot;\"") && html.contains("data-provenance="),
        "{html}"
    );

    upstream.pypi_settings(|settings| {
        settings.core_metadata = false;
        settings.sizes_and_times = false;
        settings.hashes = false;
        settings.project_status = false;
        settings.provenance = false;
        settings.relative_urls = true;
    });
    let page = send("GET", &url, ACCEPT_JSON, "").await.json();
    let file = &page["files"][0];
    assert_eq!(file["url"], format!("../../files/demo-pkg/{}", wheel.file_name));
    assert_eq!(file["hashes"], json!({}));
    for member in ["size", "upload-time", "core-metadata", "data-dist-info-metadata", "provenance"] {
        assert!(file.get(member).is_none(), "{member}");
    }
    assert!(page.get("versions").is_none() && page.get("project-status").is_none());
    let metadata = format!("{}files/demo-pkg/{}.metadata", upstream.url(), wheel.file_name);
    send("GET", &metadata, &[], "").await.assert_status(404);
}

#[tokio::test]
async fn a_project_changes_under_its_clients() {
    let (upstream, wheel) = stocked().await;
    let url = format!("{}demo-pkg/", upstream.pypi_url());
    let place = format!("{}files/demo-pkg/{}", upstream.url(), wheel.file_name);
    let ranges = [("bytes=1-3", 1..4), ("bytes=-5", wheel.bytes.len() - 5..wheel.bytes.len())];
    for (header, range) in ranges {
        let part = send("GET", &place, &[("range", header)], "").await;
        assert_eq!(part.assert_status(206).body, wheel.bytes.slice(range));
    }
    upstream.edit_project("demo-pkg", |page| page["project-status"]["status"] = json!("archived"));
    assert_eq!(send("GET", &url, ACCEPT_JSON, "").await.json()["project-status"]["status"], "archived");
    upstream.set_file(&wheel.file_name, "other");
    assert_eq!(send("GET", &place, &[], "").await.text(), "other");
    upstream.set_project_page("demo-pkg", "text/plain", "<a");
    let page = send("GET", &url, ACCEPT_JSON, "").await;
    assert_eq!((page.header("content-type"), page.text().as_str()), ("text/plain", "<a"));
    upstream.fail_times("/files/demo-pkg/", Fault::Status(503), 1);
    send("GET", &place, &[], "").await.assert_status(503);

    upstream.require_token("secret");
    let refused = send("GET", &url, &[], "").await;
    assert_eq!(refused.assert_status(401).header("www-authenticate"), "Basic realm=\"pypi\"");
    for header in ["Bearer secret", "Basic X190b2tlbl9fOnNlY3JldA=="] {
        send("GET", &url, &[("authorization", header)], "").await.assert_status(200);
    }
    let allowed = [("authorization", "Bearer secret")];
    upstream.unpublish_file(&wheel.file_name);
    send("GET", &place, &allowed, "").await.assert_status(404);
    upstream.remove_project("Demo_Pkg");
    send("GET", &url, &allowed, "").await.assert_status(404);
}

#[tokio::test]
async fn pip_and_uv_install_from_each_kind_of_index() {
    let (upstream, wheel) = stocked().await;
    for client in [PythonClient::pip(), PythonClient::uv()] {
        let Some(mut client) = client else { continue };
        client.write_config(&upstream.pypi_url(), None);
        let kinds = [PypiSpeaks::Json, PypiSpeaks::Html, PypiSpeaks::Both];
        for (speaks, core_metadata) in kinds.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
            upstream.pypi_settings(|settings| {
                settings.speaks = speaks;
                settings.relative_urls = speaks == PypiSpeaks::Html;
                settings.core_metadata = core_metadata;
            });
            client.forget();
            upstream.reset_calls();
            client.install(&["demo-pkg"]).await.assert_ok();
            let tool = client.tool();
            assert_eq!(client.installed("demo-pkg").as_deref(), Some("1.0"), "{tool:?} {speaks:?}");
            assert_eq!(client.installed("leaf").as_deref(), Some("1.2"), "{tool:?} {speaks:?}");
            let ran = client.run_python("import demo_pkg, leaf; print(demo_pkg.VERSION, leaf.VERSION)").await;
            assert_eq!(ran.assert_ok().stdout, "1.0 1.2\n");
            let metadata = format!("/files/demo-pkg/{}.metadata", wheel.file_name);
            assert_eq!(upstream.calls(&metadata), usize::from(core_metadata), "{tool:?}");
        }
        upstream.fail("/files/demo-pkg/", Fault::Corrupt);
        client.forget();
        client.install(&["demo-pkg"]).await.assert_fails();
        upstream.heal();
    }
}

#[tokio::test]
async fn every_client_installs_with_a_password() {
    let (upstream, _) = stocked().await;
    upstream.require_token("s3cret-%");
    for mut client in PythonClient::installers() {
        client.write_config(&upstream.pypi_url(), Some(("__token__", "s3cret-%")));
        client.install(&["demo-pkg==1.0"]).await.assert_ok();
        assert_eq!(client.installed("Demo.Pkg").as_deref(), Some("1.0"), "{:?}", client.tool());
        assert_eq!(client.installed("leaf").as_deref(), Some("1.2"), "{:?}", client.tool());
    }
}

#[tokio::test]
async fn a_client_reaches_nothing_that_it_was_not_pointed_to() {
    for client in [PythonClient::pip(), PythonClient::uv()] {
        let Some(mut client) = client else { continue };
        client.env("PIP_RETRIES", "0").env("UV_HTTP_RETRIES", "0");
        client.install(&["demo-pkg"]).await.assert_fails();
    }
}

#[tokio::test]
async fn every_client_uploads_the_form_that_the_kit_builds() {
    let upstream = Upstream::start().await;
    upstream.require_token("s3cret-%");
    let wheel = demo().wheel();
    for mut client in PythonClient::uploaders() {
        let tool = client.tool();
        client.write_upload_config(&upstream.pypi_upload_url(), Some(("__token__", "s3cret-%")));
        upstream.reset_calls();
        client.upload(&[&wheel]).await.assert_ok();
        let uploads = upstream.requests().into_iter().filter(|seen| seen.method == "POST");
        let uploads = uploads.inspect(|seen| {
            assert_eq!(seen.header("authorization"), "Basic X190b2tlbl9fOnMzY3JldC0l", "{tool:?}");
        });
        let forms: Vec<_> =
            uploads.map(|seen| UploadForm::read(seen.header("content-type"), &seen.body)).collect();
        let form = forms.iter().find(|form| form.values("filetype") == ["bdist_wheel"]);
        let form = form.unwrap_or_else(|| panic!("{tool:?} uploads no wheel: {forms:?}"));
        let (file_name, bytes) = form.file().unwrap();
        assert_eq!(file_name, wheel.file_name, "{tool:?}");
        if tool != Tool::Flit {
            assert_eq!(bytes, &wheel.bytes, "{tool:?}");
        }
        let ours = wheel.form();
        for field in [":action", "protocol_version", "metadata_version", "version", "filetype", "pyversion"] {
            if tool == Tool::Flit && field == "metadata_version" {
                continue;
            }
            assert_eq!(form.values(field), ours.values(field), "{tool:?} {field}");
        }
    }
}
