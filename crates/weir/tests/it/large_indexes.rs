//! Indexes of many megabytes: a public one, one of hosted versions over a chain of three repositories, and several at
//! once. They are answered in every form, within a stated memory. 3,000 versions, or 20,000 with `WEIR_TEST_LONG`, of
//! 4 kB each, or 400 of 40 kB; what it took is printed.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_core::{
    Controls, Flags, Origin, OriginControls, PublishTime, RepositoryName, SystemClock, SystemSecrets,
    TimeSource, Timestamp, VersionStatus,
};
use weir_store::rows::{ContentRow, Id, PackageRow, VersionRow};
use weir_store::{DbError, Store, new_id};
use weir_testkit::{Answer, Fault, NpmPackage, Upstream, Weir, long};

/// What a request may take besides three times its document: the program itself, what it keeps, and room for the
/// allocator. Unoptimised programs take more.
const ROOM: u64 = 96 << 20;

fn versions() -> usize {
    if long() { 20_000 } else { 3_000 }
}

/// Parts of a manifest of about 4 kB, and of one of 40 kB.
const USUAL: usize = 55;
const LONG: usize = 620;

/// A manifest of so many parts that does not compress into nothing.
fn manifest(name: &str, number: usize, tarball: &str, parts: usize) -> String {
    let mut readme = String::new();
    for part in 0..parts {
        let digest = weir_core::Digest::of(format!("{name} {number} {part}").as_bytes());
        let _ = write!(readme, "{digest} ");
    }
    format!(
        r#"{{"name":"{name}","version":"1.0.{number}","description":"{readme}","dist":{{"tarball":"{tarball}","shasum":"{number:040x}"}}}}"#
    )
}

/// Kilobytes at the peak of the server's life.
fn peak(weir: &Weir) -> u64 {
    kilobytes(weir, "VmHWM:")
}

/// Kilobytes now.
fn resident(weir: &Weir) -> u64 {
    kilobytes(weir, "VmRSS:")
}

fn kilobytes(weir: &Weir, what: &str) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{}/status", weir.process_id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("the kernel tells it")
}

/// Seconds of processor time so far.
fn cpu(weir: &Weir) -> f64 {
    let text = fs_err::read_to_string(format!("/proc/{}/stat", weir.process_id())).unwrap_or_default();
    let fields: Vec<u64> = text
        .rsplit(')')
        .next()
        .into_iter()
        .flat_map(|rest| rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse().ok()))
        .collect();
    fields.iter().sum::<u64>() as f64 / 100.0
}

/// Asks for an index in every form, and gives the document.
async fn every_form(weir: &Weir, token: &str, path: &str) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let ask = async |method: &str, headers: &[(&str, &str)], status: u16| -> Answer {
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        let answer = weir.send(method, path, &all, &[]).await;
        answer.assert_status(status);
        answer
    };
    let (begun, before) = (Instant::now(), cpu(weir));
    let gzip = ask("GET", &[("accept-encoding", "gzip")], 200).await;
    eprintln!("large: {path}: {:.1?}, {:.2} s of processor time", begun.elapsed(), cpu(weir) - before);
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert_eq!(gzip.header("content-length"), gzip.body.len().to_string());
    let mut document = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut document).expect("it is gzip");
    let length = document.len().to_string();
    eprintln!("large: {path}: {length} bytes, {} in gzip, peak {} kB", gzip.body.len(), peak(weir));

    let base = &weir_core::Digest::of(&document).hex()[..32];
    let tag = format!("\"{base}\"");
    assert_eq!(gzip.header("etag"), format!("\"{base}-gz\""));
    let plain = ask("GET", &[], 200).await;
    assert!(plain.body == document);
    assert_eq!((plain.header("content-length"), plain.header("etag")), (&*length, &*tag));
    let head = ask("HEAD", &[], 200).await;
    assert_eq!((head.header("content-length"), head.header("etag")), (&*length, &*tag));
    let from = document.len() - 1000;
    let part = ask("GET", &[("range", &format!("bytes={from}-")), ("if-range", &tag)], 206).await;
    assert!(part.body == document[from..]);
    for held in [&tag, gzip.header("etag")] {
        ask("GET", &[("if-none-match", held), ("accept-encoding", "gzip")], 304).await;
    }
    document
}

#[track_caller]
fn check_memory(weir: &Weir, idle: u64, document: usize) {
    check_peak(weir, idle * 1024 + 3 * document as u64 + ROOM);
}

#[track_caller]
fn check_peak(weir: &Weir, most: u64) {
    let peak = peak(weir) * 1024;
    assert!(peak <= most, "peak {} MiB, of {} MiB", peak >> 20, most >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_public_index_takes_little_more_memory_than_its_document() {
    let upstream = Upstream::start().await;
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()).start().await;
    let token = weir.token("local").await;
    let versions = versions();
    let mut document = r#"{"name":"wide","dist-tags":{"latest":"1.0.0"},"versions":{"#.to_owned();
    for number in 0..versions {
        let tarball = format!("{}wide/-/wide-1.0.{number}.tgz", upstream.url());
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(document, r#"{comma}"1.0.{number}":{}"#, manifest("wide", number, &tarball, USUAL));
    }
    document.push_str(r#"},"time":{"created":"2024-01-01T00:00:00.000Z"}}"#);
    let size = document.len();
    upstream.set_document("wide", document);
    let idle = peak(&weir);
    let shown = every_form(&weir, &token, "/npm/d/local-000000000000/main/wide").await;
    check_memory(&weir, idle, size);
    let shown: serde_json::Value = serde_json::from_slice(&shown).expect("JSON");
    assert_eq!(shown["versions"].as_object().map(serde_json::Map::len), Some(versions));
    weir.stop().await;
}

/// Repositories of a chain, the asked one first.
const CHAIN: [&str; 3] = ["main", "middle", "far"];

/// Spreads the versions over these repositories, as publishing them would.
async fn fill(data: &Path, chain: &'static [&str], versions: usize, parts: usize) {
    let store = Store::open_folder(data, &SystemClock).await.expect("nobody has it open");
    let mut session = store.read().await.expect("a session");
    let domain = session.list_domains(None).await.expect("domains").remove(0).id;
    let repositories = session.repositories(&domain).await.expect("repositories");
    drop(session);
    for (at, name) in chain.iter().enumerate() {
        let name = RepositoryName::parse("repository", name).expect("a name");
        let repository = repositories.iter().find(|row| row.name == name).expect("it was made").id.clone();
        let domain = domain.clone();
        let numbers: Vec<usize> = (at..versions).step_by(chain.len()).collect();
        let written = store.write(move |session| {
            Box::pin(async move {
                let package = session.insert_package(&package_row(&repository)).await?.id;
                for number in numbers {
                    let content = ContentRow {
                        id: id(),
                        domain: domain.clone(),
                        metadata: manifest("deep", number, "", parts),
                        description: "{}".to_owned(),
                        parser: 1,
                        created_at: now(),
                    };
                    session.insert_content(&content, &[]).await?;
                    session.insert_version(&version_row(&package, &content.id, &name, number)).await?;
                }
                Ok::<_, DbError>(())
            })
        });
        written.await.expect("rows");
    }
    store.close().await;
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("in range")
}

fn id() -> Id {
    new_id(&SystemClock, &SystemSecrets)
}

fn package_row(repository: &Id) -> PackageRow {
    PackageRow {
        id: id(),
        repository: repository.clone(),
        format: "npm".to_owned(),
        namespace: String::new(),
        name: "deep".to_owned(),
        controls: OriginControls { put: Some(Controls::ALLOW), ..OriginControls::default() },
        first_internal_at: Some(now()),
        first_external_at: None,
        metadata: None,
        sequence: 1,
        created_at: now(),
    }
}

fn version_row(package: &Id, content: &Id, repository: &RepositoryName, number: usize) -> VersionRow {
    let text: Arc<str> = format!("1.0.{number}").into();
    VersionRow {
        id: id(),
        package: package.clone(),
        content: content.clone(),
        key: text.clone(),
        text,
        status: VersionStatus::Published,
        revision: "revision".to_owned(),
        origin: Origin::Internal { repository: repository.clone() },
        flags: Flags::default(),
        publish_time: PublishTime { at: now(), source: TimeSource::Published },
        published_at: now(),
        updated_at: now(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosted_versions_over_a_chain_take_little_more_memory_than_their_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).data(&data);
    let weir = builder.clone().start().await;
    for name in &CHAIN[1..] {
        let path = format!("/v1/repository?domain=local&repository={name}");
        weir.api("POST", &path, "{}").await.assert_status(200);
    }
    for pair in CHAIN.windows(2) {
        let body = serde_json::json!({ "upstreams": [{ "repositoryName": pair[1] }] }).to_string();
        let path = format!("/v1/repository?domain=local&repository={}", pair[0]);
        weir.api("PUT", &path, &body).await.assert_status(200);
    }
    assert_eq!(weir.stop().await, Some(0));
    let versions = versions();
    fill(&data, &CHAIN, versions, USUAL).await;
    let weir = builder.start().await;
    let (token, idle) = (weir.token("local").await, peak(&weir));
    let path = "/npm/d/local-000000000000/main/deep";
    let shown = every_form(&weir, &token, path).await;
    check_memory(&weir, idle, shown.len());
    let count = |document: &[u8]| {
        let document: serde_json::Value = serde_json::from_slice(document).expect("JSON");
        document["versions"].as_object().map(serde_json::Map::len)
    };
    assert_eq!(count(&shown), Some(versions));

    // One more version: what a publish and the next index take.
    let package = NpmPackage::new("deep", "2.0.0");
    let document = package.publish_document("http://publisher.example.test").to_string();
    let (begun, before, bearer) = (Instant::now(), cpu(&weir), format!("Bearer {token}"));
    let put = weir.send("PUT", path, &[("authorization", &bearer)], document.as_bytes()).await;
    put.assert_status(201);
    eprintln!("large: publish: {:.1?}, {:.2} s of processor time", begun.elapsed(), cpu(&weir) - before);
    let shown = every_form(&weir, &token, path).await;
    assert_eq!(count(&shown), Some(versions + 1));
    check_memory(&weir, idle, shown.len());
    weir.stop().await;
}

/// The estimate of a package with few and long manifests is far below what they take, so its requests wait twice.
#[tokio::test(flavor = "multi_thread")]
async fn large_indexes_asked_for_at_once_take_the_memory_of_two() {
    const VERSIONS: usize = 400;
    const HOSTS: [&str; 8] = ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test", "h.test"];
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).data(&data);
    assert_eq!(builder.clone().start().await.stop().await, Some(0));
    fill(&data, &CHAIN[..1], VERSIONS, LONG).await;
    let weir = builder.start().await;
    let (token, idle) = (weir.token("local").await, peak(&weir));
    let bearer = format!("Bearer {token}");
    let path = "/npm/d/local-000000000000/main/deep";
    let begun = Instant::now();
    // Each host has an index of its own, since addresses in it are those the client sees.
    for hosts in [&HOSTS[..2], &HOSTS[2..]] {
        let asked = hosts.iter().map(|host| {
            let headers = [("authorization", bearer.as_str()), ("host", host), ("accept-encoding", "gzip")];
            let (weir, path) = (&weir, path);
            async move { weir.send("GET", path, &headers, &[]).await }
        });
        let answers = futures_util::future::join_all(asked).await;
        let mut length = 0;
        for (answer, host) in answers.iter().zip(hosts) {
            answer.assert_status(200);
            let mut document = Vec::new();
            flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut document).expect("it is gzip");
            let shown: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
            let versions = shown["versions"].as_object().expect("versions");
            assert_eq!(versions.len(), VERSIONS);
            let tarball = versions["1.0.7"]["dist"]["tarball"].as_str().expect("an address");
            assert!(tarball.contains(host), "{tarball} for {host}");
            length = document.len();
        }
        assert!(length > VERSIONS * 40_000);
        let (took, peak) = (begun.elapsed(), peak(&weir));
        eprintln!(
            "large: {} at once: {length} bytes, {took:.1?}, idle {idle} kB, peak {peak} kB",
            hosts.len()
        );
        // Half of the room: the documents of those that wait would not fit.
        check_peak(&weir, idle * 1024 + 2 * 3 * length as u64 + ROOM / 2);
    }
    weir.stop().await;
}

/// Each of them is an index of its own, so nobody who waits may have the bytes of one already.
#[tokio::test(flavor = "multi_thread")]
async fn large_public_indexes_asked_for_at_once_take_the_memory_of_two() {
    const VERSIONS: usize = 400;
    let packages = if long() { 32 } else { 9 };
    let upstream = Upstream::start().await;
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()).start().await;
    let (token, idle) = (weir.token("local").await, peak(&weir));
    let bearer = format!("Bearer {token}");
    let mut length = 0;
    for package in 0..packages {
        let name = format!("wide-{package:02}");
        let mut document = format!(r#"{{"name":"{name}","dist-tags":{{"latest":"1.0.0"}},"versions":{{"#);
        for number in 0..VERSIONS {
            let tarball = format!("{}{name}/-/{name}-1.0.{number}.tgz", upstream.url());
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(document, r#"{comma}"1.0.{number}":{}"#, manifest(&name, number, &tarball, LONG));
        }
        document.push_str(r#"},"time":{"created":"2024-01-01T00:00:00.000Z"}}"#);
        length = document.len();
        upstream.set_document(&name, document);
        // In gzip, as it is and announced, and not announced.
        if package % 3 > 0 {
            upstream.fail(&format!("/{name}"), Fault::NoGzip);
        }
        if package % 3 > 1 {
            upstream.fail(&format!("/{name}"), Fault::NoLength);
        }
    }
    let begun = Instant::now();
    for (packages, hosts) in [(packages, &["a.test"][..]), (packages / 3, &["b.test", "c.test"])] {
        let asked = (0..packages).flat_map(|package| hosts.iter().map(move |host| (package, *host)));
        let asked = asked.map(|(package, host)| {
            let headers = [("authorization", bearer.as_str()), ("host", host), ("accept-encoding", "gzip")];
            let (weir, path) = (&weir, format!("/npm/d/local-000000000000/main/wide-{package:02}"));
            async move { (package, host, weir.send("GET", &path, &headers, &[]).await) }
        });
        for (package, host, answer) in futures_util::future::join_all(asked).await {
            answer.assert_status(200);
            let mut document = Vec::new();
            flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut document).expect("it is gzip");
            let shown: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
            let versions = shown["versions"].as_object().expect("versions");
            assert_eq!((&shown["name"], versions.len()), (&format!("wide-{package:02}").into(), VERSIONS));
            let tarball = versions["1.0.7"]["dist"]["tarball"].as_str().expect("an address");
            assert!(tarball.contains(host), "{tarball} for {host}");
        }
        let (took, peak) = (begun.elapsed(), peak(&weir));
        let asked = hosts.len() * packages;
        eprintln!(
            "large: {asked} public ones at once: {length} bytes, {took:.1?}, idle {idle} kB, peak {peak} kB"
        );
        // Half of the room, and less than the contract: those of all that wait would not fit.
        check_peak(&weir, idle * 1024 + 2 * 2 * length as u64 + ROOM / 2);
    }
    weir.stop().await;
}

/// A packument of 9 MiB, nearly all of it space.
fn spacious(upstream: &Upstream, name: &str) -> Vec<u8> {
    let tarball = format!("{}{name}/-/{name}-1.0.0.tgz", upstream.url());
    let space = " ".repeat(9 << 20);
    let document = format!(
        r#"{{"name":"{name}","dist-tags":{{"latest":"1.0.0"}},{space}"versions":{{"1.0.0":{}}},"time":{{"created":"2024-01-01T00:00:00.000Z"}}}}"#,
        manifest(name, 0, &tarball, 1)
    );
    document.into_bytes()
}

/// A page of a Python project of 9 MiB, nearly all of it space.
fn spacious_page(upstream: &Upstream, name: &str) -> String {
    let (space, digest) = (" ".repeat(9 << 20), "0".repeat(64));
    let url = format!("{}files/{name}-1.0.tar.gz", upstream.url());
    format!(
        r#"{{"meta":{{"api-version":"1.1"}},"name":"{name}",{space}"versions":["1.0"],"files":[{{"filename":"{name}-1.0.tar.gz","url":"{url}","size":1,"hashes":{{"sha256":"{digest}"}}}}]}}"#
    )
}

/// Asks as a client that has no more patience than for what nobody holds up.
async fn soon(weir: &Weir, token: &str, path: &str) -> Answer {
    let asked = weir.get(path, token);
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap_or_else(|_| panic!("{path} waits"))
}

/// Asks for these, and lets `meanwhile` be while none of them ends.
async fn while_they_wait(
    (upstream, weir, token): (&Upstream, &Weir, &str),
    names: [&str; 2],
    least: usize,
    meanwhile: impl Future<Output = ()>,
) {
    upstream.reset_calls();
    let paths = names.map(|name| format!("/npm/d/local-000000000000/main/{name}"));
    let asked = futures_util::future::join_all(paths.iter().map(|path| weir.get(path, token)));
    let then = async {
        while names.iter().map(|name| upstream.calls(&format!("/{name}"))).sum::<usize>() < least {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Until the first bytes have come, and what they take is taken.
        tokio::time::sleep(Duration::from_millis(300)).await;
        meanwhile.await;
    };
    tokio::select! {
        _ = asked => panic!("they were to wait"),
        () = then => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_documents_that_are_slow_hold_up_neither_another_connection_nor_what_is_kept() {
    let upstream = Upstream::start().await;
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url());
    let weir = builder.pypi(&upstream.pypi_url()).start().await;
    let token = weir.token("local").await;
    for name in ["slow-a", "slow-b", "kept"] {
        upstream.set_document(name, spacious(&upstream, name));
    }
    upstream.set_project_page(
        "wide",
        "application/vnd.pypi.simple.v1+json",
        spacious_page(&upstream, "wide"),
    );
    soon(&weir, &token, "/npm/d/local-000000000000/main/kept").await.assert_status(200);
    // In memory nothing is known of it any more.
    let weir = weir.restart().await;
    let token = weir.token("local").await;
    upstream.fail("/slow", Fault::NoGzip);
    upstream.fail("/slow", Fault::Stall(1 << 20));
    while_they_wait((&upstream, &weir, &token), ["slow-a", "slow-b"], 2, async {
        soon(&weir, &token, "/pypi/d/local-000000000000/main/simple/wide/").await.assert_status(200);
        soon(&weir, &token, "/npm/d/local-000000000000/main/kept").await.assert_status(200);
        assert_eq!(upstream.calls("/kept"), 0, "it is fresh");
    })
    .await;
    weir.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_documents_are_confirmed_without_being_read_and_asked_for_again_where_they_are_gone() {
    let upstream = Upstream::start().await;
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()).flag("--freshness", "0s");
    let weir = builder.start().await;
    let token = weir.token("local").await;
    let path = |name: &str| format!("/npm/d/local-000000000000/main/{name}");
    for name in ["kept-a", "kept-b", "kept-c"] {
        upstream.set_document(name, spacious(&upstream, name));
        soon(&weir, &token, &path(name)).await.assert_status(200);
    }
    let weir = weir.restart().await;
    let token = weir.token("local").await;
    for name in ["/kept-a", "/kept-b"] {
        upstream.fail(name, Fault::Hang);
    }
    while_they_wait((&upstream, &weir, &token), ["kept-a", "kept-b"], 2, async {
        soon(&weir, &token, &path("kept-c")).await.assert_status(200);
        let seen = upstream.requests();
        let seen: Vec<_> = seen.iter().filter(|seen| seen.path == "/kept-c").collect();
        assert!(seen.len() == 1 && !seen[0].header("if-none-match").is_empty(), "{seen:?}");
    })
    .await;

    // Neither confirmed nor refused: the one that is kept.
    let weir = weir.restart().await;
    let token = weir.token("local").await;
    upstream.heal();
    upstream.fail("/kept-c", Fault::Status(503));
    soon(&weir, &token, &path("kept-c")).await.assert_status(200);

    upstream.heal();
    let domains = weir.data().join("blobs/domains");
    for domain in fs_err::read_dir(domains).expect("a folder") {
        let _ = fs_err::remove_dir_all(domain.expect("an entry").path().join("documents"));
    }
    let weir = weir.restart().await;
    let token = weir.token("local").await;
    upstream.reset_calls();
    soon(&weir, &token, &path("kept-c")).await.assert_status(200);
    let seen = upstream.requests();
    let conditions: Vec<bool> = seen.iter().map(|seen| !seen.header("if-none-match").is_empty()).collect();
    assert_eq!(conditions[..2], [true, false], "{seen:?}");
    weir.stop().await;
}

/// Their bytes are lost, so they are fetched again as what their indexes promise.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_fetched_again_keep_no_large_index_in_memory() {
    const PACKAGES: usize = 8;
    let upstream = Upstream::start().await;
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()).start().await;
    let token = weir.token("local").await;
    let packages: Vec<_> = (0..PACKAGES).map(|at| NpmPackage::new(&format!("held-{at}"), "9.0.0")).collect();
    let path = |package: &NpmPackage| format!("/npm/d/local-000000000000/main/{}", package.tarball_path());
    for package in &packages {
        let name = package.full_name();
        upstream.publish(package);
        upstream.edit(&name, |document| {
            for number in 0..300 {
                let other = manifest(&name, number, "", LONG);
                document["versions"][format!("1.0.{number}")] = serde_json::from_str(&other).expect("JSON");
            }
        });
        weir.get(&path(package), &token).await.assert_status(200);
    }
    for domain in fs_err::read_dir(weir.data().join("blobs/domains")).expect("a folder") {
        for folder in fs_err::read_dir(domain.expect("an entry").path()).expect("a folder") {
            let folder = folder.expect("an entry").path();
            if !folder.ends_with("documents") {
                fs_err::remove_dir_all(folder).expect("it can be removed");
            }
        }
    }
    let weir = weir.restart().await;
    let token = weir.token("local").await;
    let idle = resident(&weir);
    upstream.reset_calls();
    for package in &packages {
        upstream.fail(&format!("/{}/-/", package.full_name()), Fault::Hang);
    }
    let paths: Vec<String> = packages.iter().map(path).collect();
    let asked = futures_util::future::join_all(paths.iter().map(|path| weir.get(path, &token)));
    let measured = async {
        while upstream.total_calls() < PACKAGES {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        resident(&weir) - idle
    };
    let grown = tokio::select! {
        _ = asked => panic!("they were to wait"),
        grown = measured => grown,
    };
    eprintln!("large: {PACKAGES} files fetched again: {grown} kB more");
    assert_eq!(upstream.calls_under("/held-"), PACKAGES, "files alone");
    // They are 12 MB each.
    assert!(grown < 60 << 10, "{grown} kB");
    weir.stop().await;
}

/// Its last four bytes, and its length, say that it is small.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_index_whose_gzip_says_that_it_is_small_is_asked_for_twice_at_most() {
    let upstream = Upstream::start().await;
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()).start().await;
    let bearer = format!("Bearer {}", weir.token("local").await);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&spacious(&upstream, "padded")).expect("memory");
    let mut packed = gzip.finish().expect("memory");
    packed.extend([0; 512]);
    assert!(packed.len() < 1 << 20);
    upstream.fail("/padded", Fault::Body(packed.into()));
    upstream.fail("/padded", Fault::Header("content-encoding", "gzip".to_owned()));
    let path = "/npm/d/local-000000000000/main/padded";
    let headers = [("authorization", bearer.as_str())];
    let asked = weir.send("GET", path, &headers, &[]);
    let answer = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it ends");
    answer.assert_status(200);
    assert!(answer.json()["versions"]["1.0.0"].is_object());
    assert!(upstream.calls("/padded") <= 2, "{} times", upstream.calls("/padded"));
    weir.stop().await;
}
