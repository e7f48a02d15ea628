//! Kept files on their way out, of sizes around each bound between the ways in which they are sent: whole, in ranges,
//! one after the other on one connection, over HTTP/2, to slow readers, and from files that are cut meanwhile.

use crate::npm_world::World;
use crate::running_tls::client;
use crate::stored;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_testkit::NpmPackage;
use weir_testkit::http::{Answer, open};
use weir_testkit::package::noise;

/// Bytes of noise in a tarball; the tarball has some hundreds more.
const SIZES: &[usize] =
    &[100, 10_000, (64 << 10) - 700, 64 << 10, (1 << 20) - 700, 1 << 20, (2 << 20) + 12_345, 5 << 20];

fn package(size: usize) -> NpmPackage {
    NpmPackage::new(&format!("noise-{size}"), "1.0.0").file("noise.bin", noise(size))
}

/// Publishes files and gets each once: the first time a process serves a file it hashes it on its way.
async fn with_packages(world: &World, sizes: &[usize]) -> Vec<NpmPackage> {
    let mut packages = Vec::new();
    for size in sizes {
        let package = package(*size);
        world.publish(&package).await.assert_status(201);
        check(&world.get(&package.tarball_path(), &[]).await, 200, &package.tarball());
        packages.push(package);
    }
    packages
}

#[track_caller]
fn check(answer: &Answer, status: u16, expected: &[u8]) {
    answer.assert_status(status);
    assert_eq!(answer.header("content-length"), expected.len().to_string());
    assert!(
        answer.body == expected,
        "{} other bytes than the {} expected",
        answer.body.len(),
        expected.len()
    );
}

#[tokio::test]
async fn files_of_every_size_come_whole_and_in_ranges() {
    let world = World::start().await;
    for package in with_packages(&world, SIZES).await {
        let (path, bytes) = (package.tarball_path(), package.tarball());
        for _ in 0..2 {
            check(&world.get(&path, &[]).await, 200, &bytes);
        }
        let size = bytes.len();
        let middle = size / 2;
        for (first, last) in [(0, 0), (size - 1, size - 1), (1, middle), (middle, size - 1)] {
            let range = format!("bytes={first}-{last}");
            let answer = world.get(&path, &[("range", &range)]).await;
            check(&answer, 206, &bytes[first..=last]);
            assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{size}"));
        }
        let head = world.send("HEAD", &path, &[], Vec::new()).await;
        assert_eq!(head.assert_status(200).header("content-length"), size.to_string());
        let etag = head.header("etag").to_owned();
        world.get(&path, &[("if-none-match", &etag)]).await.assert_status(304);
    }
}

/// Reads one answer off a connection: status and body.
async fn read_answer(stream: &mut TcpStream, has_body: bool) -> (u16, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head of an answer"));
    }
    let head = String::from_utf8(head).expect("heads are ASCII").to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
    let length = length.and_then(|length| length.parse().ok()).filter(|_| has_body).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("the body");
    (status, body)
}

#[tokio::test]
async fn requests_that_are_sent_at_once_are_answered_in_their_order() {
    let world = World::start().await;
    let packages = with_packages(&world, &[10_000, 5 << 20, 100_000, (1 << 20) + 1, 64 << 10]).await;
    let mut requests = String::new();
    let host = world.weir.authority();
    let prefix = world.endpoint.strip_prefix(world.weir.url()).expect("an endpoint of this server");
    for package in &packages {
        for method in ["GET", "HEAD", "GET"] {
            let path = package.tarball_path();
            let token = &world.token;
            requests += &format!(
                "{method} {prefix}{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n"
            );
        }
    }
    let mut stream = TcpStream::connect(host).await.expect("the server listens");
    stream.write_all(requests.as_bytes()).await.expect("it takes requests");
    for package in &packages {
        for has_body in [true, false, true] {
            let (status, body) = read_answer(&mut stream, has_body).await;
            assert_eq!(status, 200);
            assert!(!has_body || body == package.tarball(), "{}", package.full_name());
        }
    }
}

#[tokio::test]
async fn clients_that_read_slowly_or_leave_disturb_nobody() {
    let world = World::start().await;
    let packages = with_packages(&world, &[5 << 20]).await;
    let url = format!("{}{}", world.endpoint, packages[0].tarball_path());
    let bearer = format!("Bearer {}", world.token);
    let headers = [("authorization", bearer.as_str())];
    for _ in 0..4 {
        let mut left = open("GET", &url, &headers, Vec::new()).await.expect("an answer");
        left.chunk().await.expect("the beginning");
    }
    let mut slow = open("GET", &url, &headers, Vec::new()).await.expect("an answer");
    let mut bytes = Vec::new();
    while let Some(chunk) = slow.chunk().await.expect("more") {
        bytes.extend_from_slice(&chunk);
        // Often enough that the socket is full at the end of many windows.
        if bytes.len() % 4 == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    assert!(bytes == packages[0].tarball());
    let was_cut = |line: &str| line.contains("noise-5242880") && line.contains(" cut=true");
    let start = std::time::Instant::now();
    while world.weir.log().lines().filter(|line| was_cut(line)).count() < 4 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "who left is not in the log:\n{}",
            world.weir.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn http_2_gets_the_same_bytes() {
    let world = World::start().await;
    let client = client().http2_prior_knowledge().build().expect("a client");
    for package in with_packages(&world, &[10_000, 2 << 20]).await {
        let url = format!("{}{}", world.endpoint, package.tarball_path());
        for _ in 0..2 {
            let answer = client.get(&url).bearer_auth(&world.token).send().await.expect("an answer");
            assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
            assert!(answer.bytes().await.expect("the body") == package.tarball());
        }
    }
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_sent_breaks_off() {
    let world = World::start().await;
    // More than the sockets of both sides hold.
    let packages = with_packages(&world, &[24 << 20]).await;
    let url = format!("{}{}", world.endpoint, packages[0].tarball_path());
    let bearer = format!("Bearer {}", world.token);
    let mut answer = open("GET", &url, &[("authorization", &bearer)], Vec::new()).await.expect("an answer");
    let mut received = answer.chunk().await.expect("more").expect("the beginning").len();
    let file = &stored::kept(world.weir.data())[0];
    fs_err::OpenOptions::new()
        .write(true)
        .open(file)
        .expect("it is there")
        .set_len(1 << 20)
        .expect("it is cut");
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(broken.is_some() && received < packages[0].tarball().len(), "{received} bytes, {broken:?}");
    // The file is of no use any more.
    world.get(&packages[0].tarball_path(), &[]).await.assert_status(503);
}
