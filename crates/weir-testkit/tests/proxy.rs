//! The proxy that stands in front of databases and object stores: each way to misbehave, on new and on open
//! connections.

use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use weir_testkit::http::{send, try_send};
use weir_testkit::{NpmPackage, Proxy, Upstream};

/// A server that sends back what it gets.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                // Ends with the connection.
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address
}

async fn said_back(stream: &mut TcpStream, text: &str) -> Option<String> {
    stream.write_all(text.as_bytes()).await.ok()?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await.ok()?;
    Some(String::from_utf8_lossy(&back).into_owned())
}

#[tokio::test]
async fn open_connections_hang_go_on_and_are_cut() {
    let proxy = Proxy::start(&echo().await).await;
    let mut stream = TcpStream::connect(proxy.authority()).await.expect("it listens");
    assert_eq!(said_back(&mut stream, "one").await.as_deref(), Some("one"));
    proxy.delay(60);
    let begun = Instant::now();
    assert_eq!(said_back(&mut stream, "two").await.as_deref(), Some("two"));
    assert!(begun.elapsed() >= Duration::from_millis(120), "both ways are held back");
    proxy.hang();
    let hung = tokio::time::timeout(Duration::from_millis(100), said_back(&mut stream, "three")).await;
    assert!(hung.is_err(), "{hung:?}");
    let mut new = TcpStream::connect(proxy.authority()).await.expect("it takes connections");
    assert!(tokio::time::timeout(Duration::from_millis(50), said_back(&mut new, "four")).await.is_err());
    proxy.pass();
    let mut rest = [0; 5];
    stream.read_exact(&mut rest).await.expect("what hung goes on");
    assert_eq!(&rest, b"three");
    proxy.refuse();
    assert_eq!(said_back(&mut stream, "five").await, None, "it is cut");
    let mut refused = TcpStream::connect(proxy.authority()).await.expect("it listens");
    assert_eq!(said_back(&mut refused, "six").await, None);
    proxy.pass();
    let mut again = TcpStream::connect(proxy.authority()).await.expect("it listens");
    assert_eq!(said_back(&mut again, "seven").await.as_deref(), Some("seven"));
    assert_eq!(proxy.connections(), 4);
}

#[tokio::test]
async fn http_answers_are_given_in_the_servers_place_or_cut() {
    let upstream = Upstream::start().await;
    let package = NpmPackage::new("left-pad", "1.0.0");
    upstream.publish(&package);
    let target = upstream.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let proxy = Proxy::start(&target).await;
    let url = format!("http://{}/{}", proxy.authority(), package.tarball_path());
    let whole = send("GET", &url, &[], "").await;
    assert_eq!(whole.assert_status(200).body, package.tarball());

    proxy.answer_times(
        2,
        &["PUT", "GET"],
        "HTTP/1.1 503 Slow Down\r\nRetry-After: 1",
        "<Code>SlowDown</Code>",
    );
    let body = vec![b'x'; 300_000];
    let answer = send("PUT", &url, &[], body).await;
    assert_eq!(answer.assert_status(503).header("retry-after"), "1");
    send("HEAD", &url, &[], "").await.assert_status(200);
    assert_eq!(send("GET", &url, &[], "").await.assert_status(503).text(), "<Code>SlowDown</Code>");
    send("GET", &url, &[], "").await.assert_status(200);

    proxy.cut_bodies_after(10);
    let cut = try_send("GET", &url, &[], "").await;
    assert!(cut.as_ref().is_err_and(|error| error.contains("broke off")), "{cut:?}");
    proxy.pass();
    assert_eq!(send("GET", &url, &[], "").await.body, package.tarball());
    assert_eq!(proxy.requests(), 7);
}
