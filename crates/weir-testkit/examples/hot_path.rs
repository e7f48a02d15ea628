//! Counts the instructions that the server spends on warm requests, under callgrind, and compares them with limits:
//! `cargo run -p weir-testkit --example hot_path -- BINARY LIMITS`. Counts are the same whatever else a machine does,
//! so a change that makes the hot path longer is seen where times would drown in noise.

use fs_err::os::unix::fs::OpenOptionsExt as _;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_testkit::package::noise;
use weir_testkit::{NpmPackage, Weir};

/// Requests before counting, so that every cache is warm.
const WARM_UP: usize = 50;
/// Requests that are counted, in runs of which the first is forgotten (a server that has just started has other work);
/// what lies between the others is the cost without what surrounds it.
const RUNS: [usize; 3] = [50, 100, 300];
/// Versions of the package with a large document.
const VERSIONS: usize = 300;

/// One kind of request.
struct Case {
    name: &'static str,
    path: String,
    headers: String,
    status: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, limits] = arguments.as_slice() else { panic!("usage: hot_path BINARY LIMITS") };
    let limits = limits_of(&fs_err::read_to_string(limits).expect("the limits can be read"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("data");

    // At full speed, for the packages.
    let binary = fs_err::canonicalize(binary).expect("the binary is there");
    let weir = Weir::builder(&binary).npmjs("http://127.0.0.1:9/").data(&data).start().await;
    let token = weir.token("local").await;
    publish(&weir, &token).await;
    assert_eq!(weir.stop().await, Some(0));

    let wrapper = wrapper(folder.path(), &binary);
    let weir = Weir::builder(wrapper).npmjs("http://127.0.0.1:9/").data(&data).with_path().start().await;
    let mut counts = BTreeMap::new();
    for case in cases(&weir, &token).await {
        counts.insert(case.name, count(&weir, folder.path(), &case).await);
    }
    drop(weir);
    report(&counts, &limits)
}

/// `NAME COUNT` on each line; `#` begins a comment.
fn limits_of(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let parse = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    lines.map(|line| parse(line).unwrap_or_else(|| panic!("'{line}' is not NAME COUNT"))).collect()
}

async fn publish(weir: &Weir, token: &str) {
    let endpoint = weir.endpoint("local", "main", "npm").await;
    let versions = (0..VERSIONS).map(|number| ("large", format!("1.0.{number}")));
    for (name, version) in versions.chain([("small", "1.0.0".to_owned())]) {
        let package = NpmPackage::new(name, &version).file("noise.bin", noise(9_500));
        let document = package.publish_document("http://publisher.example.test").to_string();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let url = format!("{endpoint}{name}");
        weir_testkit::http::send("PUT", &url, &headers, document.into_bytes()).await.assert_status(201);
    }
}

/// A program that runs the server under callgrind, not counting yet. The process is that of valgrind.
fn wrapper(folder: &Path, binary: &Path) -> std::path::PathBuf {
    let script = folder.join("weir-under-callgrind");
    let text = format!(
        "#!/bin/sh\n# With settings of its own for memory it does not start itself anew, out of valgrind's sight.\n\
         export GLIBC_TUNABLES=glibc.malloc.arena_max=2\nexec valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file={}/counts {} \"$@\"\n",
        folder.display(),
        binary.display()
    );
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o755).open(&script).expect("a script can be made");
    file.write_all(text.as_bytes()).expect("a script can be written");
    script
}

async fn cases(weir: &Weir, token: &str) -> Vec<Case> {
    let endpoint = weir.endpoint("local", "main", "npm").await;
    let path = endpoint.strip_prefix(weir.url()).expect("an endpoint of this server").to_owned();
    let bearer = format!("Bearer {token}");
    let large = weir_testkit::http::send(
        "GET",
        &format!("{endpoint}large"),
        &[("authorization", &bearer), ("accept-encoding", "gzip")],
        Vec::new(),
    )
    .await;
    let known = format!("accept-encoding: gzip\r\nif-none-match: {}\r\n", large.header("etag"));
    let case = |name, below: &str, headers: &str, status| Case {
        name,
        path: format!("{path}{below}"),
        headers: format!("authorization: {bearer}\r\n{headers}"),
        status,
    };
    vec![
        case("packument", "small", "accept-encoding: gzip\r\n", 200),
        case("packument-not-modified", "large", &known, 304),
        case("tarball", "small/-/small-1.0.0.tgz", "", 200),
    ]
}

/// Instructions of one request.
async fn count(weir: &Weir, folder: &Path, case: &Case) -> u64 {
    let mut stream = TcpStream::connect(weir.authority()).await.expect("the server listens");
    for _ in 0..WARM_UP {
        ask(&mut stream, weir.authority(), case).await;
    }
    let mut counts = Vec::new();
    for run in RUNS {
        control(weir, &["--instr=on"]);
        for _ in 0..run {
            ask(&mut stream, weir.authority(), case).await;
        }
        control(weir, &["--instr=off"]);
        control(weir, &["--dump"]);
        counts.push(newest_total(folder));
    }
    counts[2].saturating_sub(counts[1]) / (RUNS[2] - RUNS[1]) as u64
}

async fn ask(stream: &mut TcpStream, host: &str, case: &Case) {
    let request = format!("GET {} HTTP/1.1\r\nhost: {host}\r\n{}\r\n", case.path, case.headers);
    stream.write_all(request.as_bytes()).await.expect("it takes a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head of an answer"));
    }
    let head = String::from_utf8(head).expect("heads are ASCII").to_ascii_lowercase();
    assert!(head.starts_with(&format!("http/1.1 {} ", case.status)), "{}: {head}", case.name);
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("the body");
}

fn control(weir: &Weir, arguments: &[&str]) {
    let mut command = Command::new("callgrind_control");
    command.args(arguments).arg(weir.process_id().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().expect("callgrind_control can be started");
    assert!(status.success(), "callgrind_control {arguments:?}: {status}");
}

/// The sum of the last dump, which is removed.
fn newest_total(folder: &Path) -> u64 {
    let mut dumps: Vec<_> = fs_err::read_dir(folder)
        .expect("the folder is there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("counts.")))
        .collect();
    dumps.sort();
    let newest = dumps.last().expect("callgrind wrote a dump");
    let text = fs_err::read_to_string(newest).expect("a dump can be read");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    for dump in &dumps {
        fs_err::remove_file(dump).expect("a dump can be removed");
    }
    total.expect("a dump has its totals")
}

#[expect(clippy::print_stdout, reason = "this is its output")]
fn report(counts: &BTreeMap<&str, u64>, limits: &BTreeMap<String, u64>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    println!("{:24} {:>14} {:>10}", "warm request", "instructions", "limit");
    for (name, count) in counts {
        let limit = limits.get(*name).copied();
        let is_over = limit.is_none_or(|limit| *count > limit);
        let shown = limit.map_or("none".to_owned(), |limit| limit.to_string());
        println!("{name:24} {count:>14} {shown:>10}{}", if is_over { "  TOO MANY" } else { "" });
        if is_over {
            code = ExitCode::FAILURE;
        }
    }
    code
}
