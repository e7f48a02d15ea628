//! Limits: what one client may have in flight, answered with 429 in its own words; clients that go silent or take
//! nothing; and connections that give way. Whatever is warm is served beside all of it.

use crate::npm_world::World;
use crate::stored;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use weir_testkit::package::noise;
use weir_testkit::sign::sign;
use weir_testkit::{Answer, Fault, NpmPackage, Weir};

/// The path of `main` for npm.
const MAIN: &str = "/npm/d/local-000000000000/main";
/// How long to wait for what is to happen soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which a publish was begun and not ended.
async fn half_open(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.weir.authority()).await.expect("the server listens");
    let head = format!(
        "PUT {MAIN}/half HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 100000\r\n\r\n\
         {{\"_id\":\"half\",\"_attachments\":{{\"half-1.0.0.tgz\":{{\"data\":\"AAAA",
        world.weir.authority(),
        world.token
    );
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    stream
}

/// Waits until so many uploads lie in the spool.
async fn uploads_are(world: &World, count: usize) {
    let start = Instant::now();
    while stored::spooled(world.weir.data()).len() != count {
        assert!(start.elapsed() < PATIENCE, "{:?}", stored::spooled(world.weir.data()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A signed PublishPackageVersion.
async fn publish_generic(weir: &Weir, version: &str, body: &[u8]) -> Answer {
    let url = format!(
        "{}/v1/package/version/publish?domain=local&repository=main&format=generic&namespace=team&package=tool\
         &version={version}&asset=a",
        weir.url()
    );
    let digest = weir_core::Digest::of(body).hex();
    let mut headers = vec![("x-amz-content-sha256", digest.as_str())];
    let signature = sign("POST", &url, &headers, body, &weir.credentials());
    headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    weir_testkit::http::send("POST", &url, &headers, body.to_vec()).await
}

#[track_caller]
fn throttled(answer: &Answer, setting: &str) {
    let reason = answer.assert_status(429).json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains(setting), "{reason}");
    assert_eq!(answer.header("retry-after"), "1");
}

/// A token of another user.
async fn other_token(world: &World) -> String {
    world.weir.cli(&["user", "create", "robot", "--policy", "publish"]).await.assert_ok();
    world.weir.cli(&["token", "create", "--user", "robot"]).await.assert_ok().stdout.trim().to_owned()
}

#[tokio::test]
async fn uploads_of_one_client_are_counted_and_reads_are_not() {
    let world = World::start_with(|builder| builder.flag("--max-uploads-per-client", "2")).await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    world.publish(&package).await.assert_status(201);
    let held = [half_open(&world).await, half_open(&world).await];
    uploads_are(&world, 2).await;

    let next = NpmPackage::new("left-pad", "1.1.0");
    throttled(&world.publish(&next).await, "max-uploads-per-client");
    let refused = publish_generic(&world.weir, "1.0", b"bytes").await;
    assert_eq!(refused.assert_status(429).header("x-amzn-errortype"), "ThrottlingException");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.text().contains("max-uploads-per-client"), "{}", refused.text());
    // The limit of the address is another user's too, and that of reads is nobody's.
    let robot = World { token: other_token(&world).await, ..world };
    let refused = robot.publish(&next).await;
    throttled(&refused, "127.0.0.1");
    robot.get("left-pad", &[]).await.assert_status(200);
    robot.get(&package.tarball_path(), &[]).await.assert_status(200);

    drop(held);
    stored::spool_is_empty(robot.weir.data()).await;
    robot.publish(&next).await.assert_status(201);
    publish_generic(&robot.weir, "1.0", b"bytes").await.assert_status(200);
}

#[tokio::test]
async fn an_upload_that_goes_silent_is_answered_with_408_and_leaves_nothing() {
    let world = World::start_with(|builder| builder.flag("--client-timeout", "500ms")).await;
    let mut stream = half_open(&world).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the server answers in time").expect("and closes");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    for part in ["HTTP/1.1 408", "{\"error\":", "client-timeout", "nothing came"] {
        assert!(answer.contains(part), "{answer}");
    }
    stored::nothing(&world, "a silent upload").await;

    // A client that sends slowly is not silent.
    let document = NpmPackage::new("slow", "1.0.0").publish_document("http://x.example.test").to_string();
    let mut stream = TcpStream::connect(world.weir.authority()).await.expect("the server listens");
    let head = format!(
        "PUT {MAIN}/slow HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        world.weir.authority(),
        world.token,
        document.len()
    );
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    for piece in document.as_bytes().chunks(document.len().div_ceil(8)) {
        tokio::time::sleep(Duration::from_millis(150)).await;
        stream.write_all(piece).await.expect("the server reads");
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the server closes");
    assert!(answer.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn files_fetched_for_one_user_are_counted_and_held_ones_are_not() {
    let settings = ["--max-fetches-per-client", "2", "--max-fetches", "3"];
    let world =
        World::start_with(|builder| builder.flag(settings[0], settings[1]).flag(settings[2], settings[3]))
            .await;
    let packages: Vec<_> = (0..5).map(|at| NpmPackage::new(&format!("p-{at}"), "1.0.0")).collect();
    world.upstream.publish_all(&packages);
    world.get(&packages[0].tarball_path(), &[]).await.assert_status(200);
    let robot = other_token(&world).await;
    for package in &packages[1..] {
        world.get(&package.full_name(), &[]).await.assert_status(200);
        world.upstream.fail(&format!("/{}/-/", package.full_name()), Fault::Delay(Duration::from_secs(3)));
    }
    let fetch = |at: usize, token: &str| {
        let url = format!("{}{}", world.endpoint, packages[at].tarball_path());
        let bearer = format!("Bearer {token}");
        async move { weir_testkit::http::send("GET", &url, &[("authorization", &bearer)], Vec::new()).await }
    };
    let beside = async {
        let start = Instant::now();
        let flying = || world.upstream.requests().iter().filter(|r| r.path.ends_with(".tgz")).count();
        while flying() < 3 {
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        throttled(&fetch(3, &world.token).await, "max-fetches-per-client");
        // Joining what is on its way is free, and so is what is held.
        let joined = fetch(1, &world.token);
        fetch(0, &world.token).await.assert_status(200);
        let third = fetch(3, &robot);
        let fourth = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let full = fetch(4, &robot).await;
            assert!(full.assert_status(503).text().contains("max-fetches"), "{}", full.text());
            assert!(!full.header("retry-after").is_empty());
        };
        let (joined, third, ()) = tokio::join!(joined, third, fourth);
        joined.assert_status(200);
        third.assert_status(200);
    };
    let (one, two, ()) = tokio::join!(fetch(1, &world.token), fetch(2, &world.token), beside);
    one.assert_status(200);
    two.assert_status(200);
    fetch(4, &world.token).await.assert_status(200);
}

#[tokio::test]
async fn a_rate_is_of_one_user_and_is_told_in_every_clients_words() {
    let world = World::start_with(|builder| builder.flag("--rate-limit", "1")).await;
    world.publish(&NpmPackage::new("left-pad", "1.0.0")).await;
    let robot = other_token(&world).await;
    let mut last = world.get("left-pad", &[]).await;
    for _ in 0..30 {
        if last.status == 429 {
            break;
        }
        last = world.get("left-pad", &[]).await;
    }
    throttled(&last, "rate-limit");
    let refused = world.weir.api("GET", "/v1/domain?domain=local", "").await;
    assert_eq!(refused.assert_status(429).header("x-amzn-errortype"), "ThrottlingException");
    assert!(!refused.header("retry-after").is_empty());
    world.weir.cli(&["connections"]).await.assert_fails().assert_says("rate-limit");
    let page = world.weir.get("/pypi/d/local-000000000000/main/simple/x/", &world.token).await;
    assert!(page.assert_status(429).text().contains("rate-limit"), "{}", page.text());
    world.weir.get(&format!("{MAIN}/left-pad"), &robot).await.assert_status(200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.get("left-pad", &[]).await.assert_status(200);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() {
    let world = World::start_with(|builder| builder.flag("--client-timeout", "1s")).await;
    let package = NpmPackage::new("noise", "1.0.0").file("noise.bin", noise(16 << 20));
    world.publish(&package).await.assert_status(201);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("before it is connected");
    let address = world.weir.authority().parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the server listens");
    let request = format!(
        "GET {MAIN}/{} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
        package.tarball_path(),
        world.token
    );
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let start = Instant::now();
    let cut =
        |log: String| log.lines().any(|line| line.contains("noise-1.0.0.tgz") && line.contains("cut=true"));
    while !cut(world.weir.log()) {
        assert!(start.elapsed() < PATIENCE, "it is still being served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut rest = Vec::new();
    // What was under way may still come; the whole never does.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 16 << 20, "{}", rest.len());
    let whole = world.get(&package.tarball_path(), &[]).await;
    assert!(whole.assert_status(200).body == package.tarball());
}

#[tokio::test]
async fn idle_connections_give_way_to_new_ones_and_busy_ones_stay() {
    let world = World::start_with(|builder| builder.flag("--max-connections", "8")).await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    world.publish(&package).await.assert_status(201);
    let mut upload = half_open(&world).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(world.weir.authority()).await.expect("the server listens"));
    }
    let start = Instant::now();
    for _ in 0..20 {
        world.get(&package.tarball_path(), &[]).await.assert_status(200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    upload.write_all(b"AAAA").await.expect("a busy connection stays");
    uploads_are(&world, 1).await;

    // Where all are busy, the next one waits until one has ended.
    drop(idle);
    let mut busy = Vec::new();
    for _ in 0..7 {
        busy.push(half_open(&world).await);
    }
    uploads_are(&world, 8).await;
    let waits = tokio::time::timeout(Duration::from_millis(300), world.get("left-pad", &[])).await;
    assert!(waits.is_err(), "nobody had to leave for it");
    drop(busy);
    world.get("left-pad", &[]).await.assert_status(200);
}

#[tokio::test]
async fn connections_of_one_address_are_counted_where_a_setting_says_so() {
    let world = World::start_with(|builder| builder.flag("--max-connections-per-address", "2")).await;
    // The connections of what was asked before may still be open, and count until they are not.
    let (mut held, start) = (Vec::new(), Instant::now());
    while stored::spooled(world.weir.data()).len() < 2 {
        assert!(start.elapsed() < PATIENCE, "two connections are allowed");
        held.push(half_open(&world).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut refused = TcpStream::connect(world.weir.authority()).await.expect("the kernel accepts");
    let mut answer = Vec::new();
    refused.read_to_end(&mut answer).await.expect("the server answers and closes");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    for part in ["HTTP/1.1 429", "Retry-After: 1", "max-connections-per-address"] {
        assert!(answer.contains(part), "{answer}");
    }
    drop(held);
    stored::spool_is_empty(world.weir.data()).await;
    world.get("left-pad", &[]).await.assert_status(404);
}
