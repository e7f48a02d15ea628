//! Many clients that want little: slow ones, half-open uploads, idle connections; and one that wants a lot. Others
//! are served beside them, and memory stays small. `WEIR_TEST_LONG` runs the full numbers and prints what it took.

use crate::npm_world::World;
use crate::stored;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use weir_core::digest::Sha256;
use weir_testkit::http::open;
use weir_testkit::package::noise;
use weir_testkit::sign::sign;
use weir_testkit::{NpmPackage, Weir, long};

const MAIN: &str = "/npm/d/local-000000000000/main";

/// The full number in the long form, but no more than this process may open connections.
fn crowd(small: usize, full: usize) -> usize {
    let wanted = if long() { full } else { small };
    let limits = fs_err::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(usize::MAX);
    let fit = wanted.min(most.saturating_sub(600));
    if fit < wanted {
        eprintln!("smaller: {fit} connections instead of {wanted}, because 'ulimit -n' is {most}");
    }
    fit
}

/// A connection from another loopback address, whose kernel takes few bytes that nobody reads.
async fn connect(from: [u8; 4], authority: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(authority.parse().expect("an address")).await
}

/// Kilobytes at the peak of the server's life.
fn peak(weir: &Weir) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{}/status", weir.process_id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("the kernel tells it")
}

/// Median and 99th percentile of how long something takes, done again and again for some time.
async fn timed(for_: Duration, mut action: impl AsyncFnMut(usize)) -> (Duration, Duration) {
    let (begin, mut took) = (Instant::now(), Vec::new());
    while begin.elapsed() < for_ {
        let start = Instant::now();
        action(took.len()).await;
        took.push(start.elapsed());
    }
    took.sort();
    (took[took.len() / 2], took[(took.len() * 99 / 100).min(took.len() - 1)])
}

/// Times warm reads and publishes, says what they took, and gives the slower 99th percentile.
async fn served(world: &World, when: &str) -> Duration {
    let for_ = Duration::from_secs(if long() { 15 } else { 2 });
    let package = NpmPackage::new("warm", "1.0.0");
    world.publish(&package).await;
    let path = package.tarball_path();
    let read = timed(for_, async |_| {
        world.get(&path, &[]).await.assert_status(200);
    })
    .await;
    let name = when.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let publish = timed(for_, async |at| {
        world.publish(&NpmPackage::new(&format!("{name}-{at}"), "1.0.0")).await.assert_status(201);
    })
    .await;
    eprintln!(
        "{when}: warm GET median {:?}, p99 {:?}; publish median {:?}, p99 {:?}; peak {} kB",
        read.0,
        read.1,
        publish.0,
        publish.1,
        peak(&world.weir)
    );
    read.1.max(publish.1)
}

async fn robot(world: &World) -> String {
    world.weir.cli(&["user", "create", "robot", "--policy", "publish"]).await.assert_ok();
    world.weir.cli(&["token", "create", "--user", "robot"]).await.assert_ok().stdout.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_and_half_open_uploads_keep_nobody_out() {
    let world = World::start().await;
    let large = NpmPackage::new("noise", "1.0.0").file("noise.bin", noise(4 << 20));
    world.publish(&large).await.assert_status(201);
    world.get(&large.tarball_path(), &[]).await.assert_status(200);
    served(&world, "alone").await;

    let token = robot(&world).await;
    let (slow, uploads) = (crowd(200, 2000), crowd(20, 100));
    let authority = world.weir.authority().to_owned();
    let mut clients = JoinSet::new();
    for at in 0..slow {
        let (authority, token, path) = (authority.clone(), token.clone(), large.tarball_path());
        clients.spawn(async move {
            let head = format!(
                "GET {MAIN}/{path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let Ok(mut stream) = connect([127, 0, 0, 2], &authority).await else { return };
            if at % 2 == 0 {
                // Asks at once and takes the answer byte by byte.
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.read_u8().await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            } else {
                for byte in head.into_bytes() {
                    if stream.write_u8(byte).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        });
    }
    let mut half_open = Vec::new();
    for _ in 0..uploads {
        let mut stream = connect([127, 0, 0, 3], &authority).await.expect("the server listens");
        let head = format!(
            "PUT {MAIN}/half HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 100000\r\n\r\n{{\"_attachments\":{{\"half-1.0.0.tgz\":{{\"data\":\"AAAA"
        );
        stream.write_all(head.as_bytes()).await.expect("the server reads");
        half_open.push(stream);
    }
    // Those beyond what one client may have in flight were refused.
    let begin = Instant::now();
    while stored::spooled(world.weir.data()).len() < uploads.min(64) {
        assert!(begin.elapsed() < Duration::from_secs(30), "the uploads do not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let slowest = served(&world, "beside slow clients").await;
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let most = 60_000 + slow as u64 * 512;
    assert!(peak(&world.weir) < most, "{} kB for {slow} slow clients", peak(&world.weir));
    clients.shutdown().await;
    drop(half_open);
    stored::spool_is_empty(world.weir.data()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_keep_nobody_out() {
    let count = crowd(1000, 10_000);
    // In the small form too there are more of them than places.
    let places = if long() { 4096 } else { 400 };
    let world = World::start_with(|builder| builder.flag("--max-connections", &places.to_string())).await;
    served(&world, "alone").await;
    let mut idle = Vec::new();
    let begin = Instant::now();
    for at in 0..count {
        let from = [127, 0, 1, u8::try_from(at % 200).expect("below 200") + 1];
        let mut stream = connect(from, world.weir.authority()).await.expect("the kernel accepts");
        // Some have begun a head.
        if at % 3 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n").await;
        }
        idle.push(stream);
    }
    eprintln!("{count} connections were made in {:?}", begin.elapsed());
    let slowest = served(&world, "beside idle connections").await;
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(peak(&world.weir) < 150_000 + 20 * places, "{} kB", peak(&world.weir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_gigabytes_goes_in_and_out_in_little_memory() {
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/").start().await;
    let block = noise(1 << 20);
    let blocks = if long() { 5_000_000_000 / block.len() } else { 200 };
    let size = blocks * block.len();
    let mut hasher = Sha256::new();
    (0..blocks).for_each(|_| hasher.update(&block));
    let digest = hasher.finish();
    let place =
        "domain=local&repository=main&format=generic&namespace=team&package=tool&version=1.0&asset=big";

    let url = format!("{}/v1/package/version/publish?{place}", weir.url());
    let text = digest.hex();
    let headers = [("x-amz-content-sha256", text.as_str())];
    let signature = sign("POST", &url, &headers, b"", &weir.credentials());
    let mut head = format!(
        "POST /v1/package/version/publish?{place} HTTP/1.1\r\nHost: {}\r\nContent-Length: {size}\r\n\
         x-amz-content-sha256: {text}\r\nConnection: close\r\n",
        weir.authority()
    );
    for (name, value) in &signature {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let begin = Instant::now();
    let mut stream = TcpStream::connect(weir.authority()).await.expect("the server listens");
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    for _ in 0..blocks {
        stream.write_all(&block).await.expect("the server reads");
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the server answers");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let (up, up_peak) = (begin.elapsed(), peak(&weir));

    let url = format!("{}/v1/package/version/asset?{place}", weir.url());
    for turn in ["first", "again"] {
        let signature = sign("GET", &url, &[], b"", &weir.credentials());
        let headers: Vec<_> = signature.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let begin = Instant::now();
        let mut got = open("GET", &url, &headers, Vec::new()).await.expect("an answer");
        assert_eq!(got.status, 200);
        let (mut hasher, mut came) = (Sha256::new(), 0);
        while let Some(bytes) = got.chunk().await.expect("the whole body") {
            hasher.update(&bytes);
            came += bytes.len();
        }
        assert!(came == size && hasher.finish() == digest, "{came} bytes came of {size}");
        eprintln!(
            "{} MB: up in {up:?} (peak {up_peak} kB), down ({turn}) in {:?}; peak {} kB",
            size / 1_000_000,
            begin.elapsed(),
            peak(&weir)
        );
    }
    assert!(peak(&weir) < 150_000, "{} kB at its peak", peak(&weir));
}
