//! Publishes many npm packages at once and tells how many were acknowledged in a second and how long each took:
//! `cargo run --release -p weir-testkit --example publish_load -- ENDPOINT TOKEN [CLIENTS [COUNT [BYTES]]]`.
//! `ENDPOINT` is a repository's address for npm, with its slash at the end.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use weir_testkit::NpmPackage;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, token, rest @ ..] = arguments.as_slice() else {
        panic!("usage: publish_load ENDPOINT TOKEN [CLIENTS [COUNT [BYTES]]]")
    };
    let number =
        |at: usize, default: usize| rest.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (clients, count, size) = (number(0, 16), number(1, 3000), number(2, 10_000));
    let run = std::process::id();
    let documents: VecDeque<(String, Bytes)> = (0..count)
        .map(|at| {
            let name = format!("load-{run}-{at}");
            let mut contents = weir_testkit::package::noise(size);
            contents.extend_from_slice(name.as_bytes());
            let package = NpmPackage::new(&name, "1.0.0").file("data.bin", contents);
            (name, package.publish_document("http://publisher.example.test").to_string().into())
        })
        .collect();
    let queue = Arc::new(Mutex::new(documents));
    let start = Instant::now();
    let tasks: Vec<_> =
        (0..clients).map(|_| tokio::spawn(client(endpoint.clone(), token.clone(), queue.clone()))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client does not panic"));
    }
    let seconds = start.elapsed().as_secs_f64();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    #[expect(clippy::print_stdout, reason = "this is its output")]
    {
        println!(
            "{} publishes of {size} bytes by {clients} clients: {:.0}/s, median {:.1} ms, p99 {:.1} ms",
            times.len(),
            times.len() as f64 / seconds,
            at(0.5),
            at(0.99)
        );
    }
}

async fn client(
    endpoint: String,
    token: String,
    queue: Arc<Mutex<VecDeque<(String, Bytes)>>>,
) -> Vec<Duration> {
    let (authority, path) = endpoint
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("an address that begins with http://");
    let mut sender = connect(authority).await;
    let mut times = Vec::new();
    loop {
        let Some((name, document)) = queue.lock().expect("nobody panics with it").pop_front() else {
            return times;
        };
        let request = Request::put(format!("/{path}{name}"))
            .header("host", authority)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::new(document))
            .expect("a request");
        let begun = Instant::now();
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        assert!(status.is_success(), "{status} {}", String::from_utf8_lossy(&body));
        times.push(begun.elapsed());
    }
}

async fn connect(authority: &str) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(authority).await.expect("the server listens");
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    sender
}
