//! The fake registry against a plain HTTP client and the real npm: what it serves is what npm wants, and
//! each fault is the fault it says.

use serde_json::json;
use std::time::{Duration, Instant};
use weir_testkit::http::{send, try_send};
use weir_testkit::{Client, Fault, NpmPackage, Upstream, fixture_project};

const INSTALL_V1: &str = "application/vnd.npm.install-v1+json";

async fn left_pad() -> (Upstream, NpmPackage) {
    let upstream = Upstream::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0").file("big.txt", noise(200_000));
    upstream.publish(&package);
    (upstream, package)
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

#[tokio::test]
async fn an_index_comes_full_or_abbreviated_and_is_not_sent_twice() {
    let (upstream, package) = left_pad().await;
    let url = format!("{}left-pad", upstream.url());
    let full = send("GET", &url, &[], "").await;
    let dist = &full.assert_status(200).json()["versions"]["1.3.0"]["dist"];
    assert_eq!(dist["integrity"], weir_testkit::package::integrity(&package.tarball()));
    assert!(full.json()["time"]["1.3.0"].is_string() && dist["signatures"].is_array());

    let short = send("GET", &url, &[("accept", INSTALL_V1), ("accept-encoding", "gzip")], "").await;
    assert_eq!((short.header("content-type"), short.header("content-encoding")), (INSTALL_V1, "gzip"));
    assert!(
        short.json().get("time").is_none() && short.json()["versions"]["1.3.0"].get("_npmUser").is_none()
    );
    assert_ne!(short.header("etag"), full.header("etag"));

    let again = send("GET", &url, &[("if-none-match", full.header("etag"))], "").await;
    again.assert_status(304);
    assert!(again.body.is_empty());
    send("HEAD", &url, &[], "").await.assert_status(200);
    send("GET", &format!("{}nothing", upstream.url()), &[], "").await.assert_status(404);
    assert_eq!((upstream.calls("/left-pad"), upstream.total_calls()), (4, 5));
}

#[tokio::test]
async fn a_scope_is_one_resource_however_its_slash_is_written() {
    let upstream = Upstream::start().await;
    upstream.publish(&NpmPackage::new("widget", "1.0.0").scope("acme"));
    for path in ["@acme/widget", "@acme%2fwidget", "@acme%2Fwidget"] {
        send("GET", &format!("{}{path}", upstream.url()), &[], "").await.assert_status(200);
    }
    assert_eq!(upstream.calls("/@acme/widget"), 3);
}

#[tokio::test]
async fn a_tarball_can_be_asked_for_from_the_middle() {
    let (upstream, package) = left_pad().await;
    let url = format!("{}{}", upstream.url(), package.tarball_path());
    let rest = send("GET", &url, &[("range", "bytes=1000-")], "").await;
    rest.assert_status(206);
    assert_eq!(rest.body, package.tarball().slice(1000..));
}

#[tokio::test]
async fn faults_of_the_answer() {
    let (upstream, package) = left_pad().await;
    let url = format!("{}{}", upstream.url(), package.tarball_path());
    let elsewhere = "http://127.0.0.1:9/elsewhere";
    let cases = [
        (Fault::Status(500), 500, "retry-after", ""),
        (Fault::RetryAfter(429, 7), 429, "retry-after", "7"),
        (Fault::Html, 200, "content-type", "text/html; charset=utf-8"),
        (Fault::Body("{".into()), 200, "content-length", "1"),
        (Fault::ContentType("text/plain"), 200, "content-type", "text/plain"),
        (Fault::Header("etag", "\"x\"".into()), 200, "etag", "\"x\""),
        (Fault::NoLength, 200, "transfer-encoding", "chunked"),
        (Fault::Redirect(elsewhere.into()), 302, "location", elsewhere),
    ];
    for (fault, status, header, value) in cases {
        upstream.fail("/left-pad/-/", fault.clone());
        let answer = send("GET", &url, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.header(header)), (status, value), "{fault:?}");
        upstream.heal();
    }
    upstream.fail("/", Fault::RedirectUnder("http://127.0.0.1:9/cdn/".into()));
    let answer = send("GET", &url, &[], "").await;
    assert_eq!(answer.header("location"), "http://127.0.0.1:9/cdn/left-pad/-/left-pad-1.3.0.tgz");
}

#[tokio::test]
async fn faults_of_the_bytes() {
    let (upstream, package) = left_pad().await;
    let url = format!("{}{}", upstream.url(), package.tarball_path());

    upstream.fail_times("/left-pad/-/", Fault::Corrupt, 1);
    let corrupt = send("GET", &url, &[], "").await;
    assert_eq!(corrupt.body.len(), package.tarball().len());
    assert_ne!(corrupt.body, package.tarball());
    assert_eq!(send("GET", &url, &[], "").await.body, package.tarball(), "the rule was for one request");

    upstream.fail_times("/", Fault::WrongLength(-100), 1);
    assert_eq!(send("GET", &url, &[], "").await.body.len(), package.tarball().len() - 100);
    for fault in [Fault::Cut(1000), Fault::Close, Fault::WrongLength(5)] {
        upstream.fail_times("/", fault.clone(), 1);
        assert!(try_send("GET", &url, &[], "").await.is_err(), "{fault:?}");
    }
    for fault in [Fault::Hang, Fault::Stall(1000)] {
        upstream.fail_times("/", fault.clone(), 1);
        let patient = tokio::time::timeout(Duration::from_millis(300), try_send("GET", &url, &[], ""));
        assert!(patient.await.is_err(), "{fault:?}");
    }
    upstream.fail_times("/", Fault::Slow(package.tarball().len() * 4), 1);
    let start = Instant::now();
    assert_eq!(send("GET", &url, &[], "").await.body, package.tarball());
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn it_stops_and_starts_again_where_it_was() {
    let (upstream, _) = left_pad().await;
    let url = format!("{}left-pad", upstream.url());
    upstream.stop().await;
    assert!(try_send("GET", &url, &[], "").await.is_err());
    upstream.start_again().await;
    send("GET", &url, &[], "").await.assert_status(200);
    upstream.publish(&NpmPackage::new("left-pad", "1.4.0").published("2024-02-02T00:00:00.000Z"));
    assert_eq!(send("GET", &url, &[], "").await.json()["dist-tags"]["latest"], "1.4.0");
    upstream.unpublish("left-pad", "1.3.0");
    assert!(send("GET", &url, &[], "").await.json()["versions"].get("1.3.0").is_none());
    upstream.require_token("secret");
    send("GET", &url, &[], "").await.assert_status(401);
    send("GET", &url, &[("authorization", "Bearer secret")], "").await.assert_status(200);
}

#[tokio::test]
async fn npm_views_and_installs() {
    let Some(npm) = Client::npm11() else { return };
    let (upstream, _) = left_pad().await;
    upstream.publish(
        &NpmPackage::new("tool", "2.0.0").scope("acme").dependency("left-pad", "^1").bin("t", "t.js"),
    );
    npm.write_config(&upstream.url(), None);
    let seen = npm.run(&["view", "@acme/tool", "--json"]).await;
    assert_eq!(seen.assert_ok().json()["dist-tags"], json!({ "latest": "2.0.0" }));

    npm.write_manifest(&[]);
    npm.run(&["install", "@acme/tool"]).await.assert_ok();
    assert_eq!(npm.installed("left-pad").as_deref(), Some("1.3.0"));
    npm.run(&["exec", "--offline", "t"]).await.assert_ok().assert_says("t runs");

    upstream.advise("left-pad", "<2.0.0", "high", "it pads to the left");
    npm.run(&["audit"]).await.assert_fails().assert_says("it pads to the left");

    upstream.fail("/left-pad/-/", Fault::Corrupt);
    npm.forget();
    npm.run(&["ci"]).await.assert_fails().assert_says("EINTEGRITY");
}

#[tokio::test]
async fn every_client_installs() {
    let (upstream, _) = left_pad().await;
    upstream.publish(&NpmPackage::new("tool", "2.0.0").scope("acme").dependency("left-pad", "^1.0.0"));
    upstream.require_token("secret");
    for client in Client::npm_family() {
        client.write_config(&upstream.url(), Some("secret"));
        client.write_manifest(&[("@acme/tool", "2.0.0")]);
        client.run(&["install"]).await.assert_ok();
        assert_eq!(client.installed("@acme/tool").as_deref(), Some("2.0.0"), "{:?}", client.tool());
    }
}

#[tokio::test]
async fn the_fixture_project_installs_as_locked() {
    let Some(npm) = Client::npm11() else { return };
    let upstream = Upstream::start().await;
    let project = fixture_project(&upstream, &npm).await;
    assert!(project.packages.len() >= 60 && project.installed().len() >= 50, "{}", project.installed().len());
    for lock in [project.lock(), project.lock_at(&upstream.url())] {
        project.write(&npm, &lock);
        npm.forget();
        upstream.reset_calls();
        npm.run(&["ci", "--no-audit"]).await.assert_ok();
        assert_eq!(npm.installed("apple-pie").as_deref(), Some("2.1.0"));
        assert_eq!(npm.installed("cider").as_deref(), Some("2.0.0-alpha.7"));
        assert!(npm.installed("other-sky").is_none(), "it is for another system");
    }
    assert_eq!(upstream.calls("/apple-pie"), 0, "a lock with addresses needs no index");
}
