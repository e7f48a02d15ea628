//! A disk that is full or read-only, file descriptors that are used up, and two processes on one folder: refused
//! with a reason and for as long as it lasts, and what was acknowledged stays. Mounting needs root; without it these
//! tests are skipped with a visible line.

use crate::bad_world::tells_ready;
use crate::npm_world::World;
use crate::running::builder;
use crate::stored;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use weir_testkit::package::noise;
use weir_testkit::{Answer, NpmPackage, Weir};

/// A file system of its own, unmounted at the end.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// One of so many megabytes, or `None` after a skip line.
    fn new(megabytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let size = format!("size={megabytes}m");
        let mounted = mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], folder.path());
        if !mounted {
            eprintln!("skipped: a file system cannot be mounted here (needs root)");
        }
        mounted.then_some(Self { folder })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Leaves so many bytes, and none when `left` is 0.
    fn fill(&self, left: usize) {
        let path = self.folder.path().join("filler");
        let mut file = fs_err::File::create(&path).expect("it can be made");
        let block = vec![0; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        let size = file.metadata().expect("it is there").len();
        file.set_len(size.saturating_sub(left as u64)).expect("it can be cut");
    }

    fn free(&self) {
        fs_err::remove_file(self.folder.path().join("filler")).expect("it is there");
    }

    fn remount(&self, how: &str) -> bool {
        mount(&["-o", &format!("remount,{how}")], self.folder.path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still uses it keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).stderr(Stdio::null()).status();
    }
}

fn mount(arguments: &[&str], on: &Path) -> bool {
    let done = Command::new("mount").args(arguments).arg(on).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

async fn world_on(disk: &Disk) -> World {
    World::start_with(|builder| builder.data(&disk.data())).await
}

/// A package of about so many bytes.
fn package(name: &str, bytes: usize) -> NpmPackage {
    NpmPackage::new(name, "1.0.0").file("noise.bin", noise(bytes))
}

#[track_caller]
fn unavailable(answer: &Answer, words: &[&str]) {
    let text = answer.assert_status(503).text();
    assert!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
    assert!(words.iter().any(|word| text.contains(word)), "{text}");
    assert!(!text.contains("/tmp"), "{text}");
}

/// Waits until an answer is 2xx, for what heals by itself within seconds.
async fn heals(mut ask: impl AsyncFnMut() -> Answer) -> Answer {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        if answer.status.is_success() || start.elapsed() > Duration::from_secs(15) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const FULL: &[&str] = &["takes no bytes now", "does not answer now", "could not keep", "disk is full"];

#[tokio::test]
async fn a_disk_that_fills_up_refuses_uploads_and_keeps_what_it_has() {
    let Some(disk) = Disk::new(32) else { return };
    let world = world_on(&disk).await;
    let small = NpmPackage::new("small", "1.0.0");
    world.publish(&small).await.assert_status(201);

    // Room for rows, not for the file.
    disk.fill(1 << 20);
    let large = package("large", 4 << 20);
    unavailable(&world.publish(&large).await, FULL);
    stored::spool_is_empty(world.weir.data()).await;
    assert_eq!(stored::kept(world.weir.data()).len(), 1);
    world.get(&small.tarball_path(), &[]).await.assert_status(200);

    // No room at all.
    disk.fill(0);
    let next = NpmPackage::new("small", "2.0.0");
    for _ in 0..3 {
        unavailable(&world.publish(&next).await, FULL);
    }
    let refused = world.weir.api("POST", "/v1/repository?domain=local&repository=other", "{}").await;
    refused.assert_status(503);
    assert_eq!(world.get(&small.tarball_path(), &[]).await.assert_status(200).body, small.tarball());
    let versions = world.document("small").await["versions"].clone();
    assert_eq!(versions.as_object().map(serde_json::Map::len), Some(1), "{versions}");
    tells_ready(&world.weir, 503).await;
    assert_eq!(world.weir.send("GET", "/healthz", &[], b"").await.status, 200);

    disk.free();
    heals(async || world.publish(&next).await).await.assert_status(201);
    heals(async || world.publish(&large).await).await.assert_status(201);
    tells_ready(&world.weir, 200).await;
    stored::spool_is_empty(world.weir.data()).await;
    // What was acknowledged is there after a start, too.
    let world = World { weir: world.weir.restart().await, ..world };
    for package in [&small, &next, &large] {
        let answer = world.get(&package.tarball_path(), &[]).await;
        assert!(answer.assert_status(200).body == package.tarball());
    }
}

#[tokio::test]
async fn a_disk_that_is_full_fetches_nothing_and_heals() {
    let Some(disk) = Disk::new(32) else { return };
    let world = world_on(&disk).await;
    let (held, small, large) = (package("held", 10), package("small", 10), package("large", 4 << 20));
    world.upstream.publish_all([&held, &small, &large]);
    world.get(&held.tarball_path(), &[]).await.assert_status(200);

    disk.fill(1 << 20);
    world.get("large", &[]).await.assert_status(200);
    // Beyond the first megabyte the answer has begun and can only break off.
    let url = format!("{}{}", world.endpoint, large.tarball_path());
    let bearer = format!("Bearer {}", world.token);
    let got = weir_testkit::http::try_send("GET", &url, &[("authorization", &bearer)], Vec::new()).await;
    if let Ok(answer) = got {
        unavailable(&answer, FULL);
    }
    stored::spool_is_empty(world.weir.data()).await;
    assert!(world.held("main", &large).await.is_empty());

    disk.fill(0);
    world.get("small", &[]).await;
    let refused = world.get(&small.tarball_path(), &[]).await;
    unavailable(&refused, FULL);
    assert!(!refused.text().contains("does not give"), "the registry did: {}", refused.text());
    assert_eq!(world.get(&held.tarball_path(), &[]).await.assert_status(200).body, held.tarball());
    world.get("held", &[]).await.assert_status(200);

    disk.free();
    for package in [&small, &large] {
        let answer = heals(async || world.get(&package.tarball_path(), &[]).await).await;
        assert!(answer.assert_status(200).body == package.tarball());
        assert_eq!(world.held("main", package).await, ["1.0.0"]);
    }
}

#[tokio::test]
async fn a_server_does_not_start_on_a_full_disk_and_starts_when_there_is_room() {
    let Some(disk) = Disk::new(8) else { return };
    fs_err::create_dir(disk.data()).expect("it can be made");
    // Before, in the middle of and after the migrations; what was written of them is no hindrance.
    for kilobytes in [16, 128, 400] {
        disk.fill(kilobytes << 10);
        let refused = builder().data(&disk.data()).start_refused().await;
        assert!(refused.says("full"), "{refused}");
        disk.free();
    }
    let weir = builder().data(&disk.data()).npmjs("http://127.0.0.1:9/").start().await;
    weir.send("GET", "/readyz", &[], b"").await.assert_status(200);
    assert!(!weir.token("local").await.is_empty(), "the administrator's key was written");
}

#[tokio::test]
async fn a_read_only_data_folder_is_refused_at_start() {
    let Some(disk) = Disk::new(32) else { return };
    let world = world_on(&disk).await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    world.publish(&package).await.assert_status(201);
    assert_eq!(world.weir.stop().await, Some(0));
    assert!(disk.remount("ro"), "nobody writes");
    let refused = builder().data(&disk.data()).start_refused().await;
    assert!(refused.says("ead-only"), "{refused}");
    assert!(refused.says(&disk.data().display().to_string()), "{refused}");
    assert!(disk.remount("rw"));
    let weir = builder().data(&disk.data()).npmjs("http://127.0.0.1:9/").start().await;
    let token = weir.token("local").await;
    let path = format!("/npm/d/local-000000000000/main/{}", package.tarball_path());
    assert_eq!(weir.get(&path, &token).await.assert_status(200).body, package.tarball());
}

#[tokio::test]
async fn a_blob_folder_that_becomes_read_only_takes_nothing_and_gives_what_it_has() {
    let Some(disk) = Disk::new(32) else { return };
    let world = world_on(&disk).await;
    let (package, next) = (NpmPackage::new("left-pad", "1.0.0"), NpmPackage::new("left-pad", "2.0.0"));
    world.publish(&package).await.assert_status(201);
    let spool = world.weir.data().join("blobs/spool");
    assert!(mount(&["-t", "tmpfs", "-o", "ro", "tmpfs"], &spool));
    unavailable(&world.publish(&next).await, FULL);
    world.upstream.publish(&NpmPackage::new("other", "1.0.0"));
    unavailable(&world.get("other/-/other-1.0.0.tgz", &[]).await, FULL);
    assert_eq!(world.get(&package.tarball_path(), &[]).await.assert_status(200).body, package.tarball());
    let unmounted = Command::new("umount").arg(&spool).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    world.publish(&next).await.assert_status(201);
    heals(async || world.get("other/-/other-1.0.0.tgz", &[]).await).await.assert_status(200);
}

/// The server under test where no more than so many files may be open.
fn with_few_files(folder: &Path, files: usize) -> PathBuf {
    let script = folder.join("weir");
    let binary = env!("CARGO_BIN_EXE_weir");
    fs_err::write(&script, format!("#!/bin/sh\nulimit -n {files}\nexec {binary} \"$@\"\n"))
        .expect("it can be written");
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    script
}

#[tokio::test]
async fn few_file_descriptors_are_warned_of_and_shared() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let script = with_few_files(folder.path(), 64);
    let weir = Weir::builder(script).npmjs("http://127.0.0.1:9/").start().await;
    let log = weir.log();
    assert!(log.contains("at most 64 files may be open") && log.contains("max-connections"), "{log}");
    let token = weir.token("local").await;
    let main = "/npm/d/local-000000000000/main";
    let package = package("noise", 1 << 20);
    let publish = async |package: &NpmPackage| {
        let document = package.publish_document("http://publisher.example.test").to_string();
        let bearer = format!("Bearer {token}");
        let path = format!("{main}/{}", package.full_name());
        weir.send("PUT", &path, &[("authorization", &bearer)], document.as_bytes()).await
    };
    publish(&package).await.assert_status(201);
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(weir.authority()).await.expect("the kernel accepts"));
    }
    let path = format!("{main}/{}", package.tarball_path());
    let read = futures_util::future::join_all((0..60).map(|_| weir.get(&path, &token)));
    for answer in read.await {
        assert!(answer.assert_status(200).body == package.tarball());
    }
    publish(&NpmPackage::new("other", "1.0.0")).await.assert_status(201);
    drop(idle);
}

#[tokio::test]
async fn used_up_file_descriptors_are_a_503_and_pass() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    // Fewer than the server is told to need beside its connections.
    let script = with_few_files(folder.path(), 40);
    let weir = Weir::builder(script).npmjs("http://127.0.0.1:9/").start().await;
    let token = weir.token("local").await;
    let main = "/npm/d/local-000000000000/main";
    let package = NpmPackage::new("left-pad", "1.0.0");
    let document = package.publish_document("http://publisher.example.test").to_string();
    let bearer = format!("Bearer {token}");
    weir.send("PUT", &format!("{main}/left-pad"), &[("authorization", &bearer)], document.as_bytes())
        .await
        .assert_status(201);
    // Every upload is a connection and a spool file; they are more than there are descriptors.
    let mut uploads = Vec::new();
    for at in 0..3 {
        let mut stream = TcpStream::connect(weir.authority()).await.expect("the kernel accepts");
        let head = format!(
            "PUT {main}/half-{at} HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nContent-Length: 100000\r\n\r\n\
             {{\"_attachments\":{{\"half-1.0.0.tgz\":{{\"data\":\"AAAA",
            weir.authority()
        );
        stream.write_all(head.as_bytes()).await.expect("the server reads");
        uploads.push(stream);
    }
    let path = format!("{main}/{}", package.tarball_path());
    let answers = futures_util::future::join_all((0..20).map(|_| weir.get(&path, &token))).await;
    for answer in &answers {
        assert!([200, 503].contains(&answer.status.as_u16()), "{} {}", answer.status, answer.text());
    }
    drop(uploads);
    let answer = heals(async || weir.get(&path, &token).await).await;
    assert_eq!(answer.assert_status(200).body, package.tarball());
    stored::spool_is_empty(weir.data()).await;
}

#[tokio::test]
async fn one_blob_folder_belongs_to_one_process() {
    let blobs = tempfile::tempdir().expect("a temporary folder can be made");
    let url = format!("file://{}", blobs.path().display());
    let first = builder().npmjs("http://127.0.0.1:9/").flag("--blob-url", &url).start().await;
    let pid = format!("pid {}", first.process_id());
    let refused = builder().flag("--blob-url", &url).start_refused().await;
    assert!(refused.says(&pid) && refused.says(&blobs.path().display().to_string()), "{refused}");

    // Also where it is part of the first one's data folder.
    let second = builder().npmjs("http://127.0.0.1:9/").start().await;
    let spool = second.data().join("blobs/spool/00000000");
    fs_err::write(&spool, b"on its way").expect("it can be written");
    let url = format!("file://{}", second.data().join("blobs").display());
    let refused = builder().flag("--blob-url", &url).start_refused().await;
    assert!(refused.says(&format!("pid {}", second.process_id())), "{refused}");
    assert!(fs_err::exists(&spool).expect("it can be looked at"), "what the first receives is untouched");
}
