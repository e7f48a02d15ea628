//! What a proxy does with the bytes of one connection: pass, hold back, answer in the server's place, cut.

use super::{Behaviour, Shared};
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How much is read at once.
const PIECE: usize = 64 << 10;
/// The methods of HTTP, by which requests are counted.
const METHODS: [&str; 7] = ["GET ", "HEAD ", "PUT ", "POST ", "DELETE ", "PATCH ", "OPTIONS "];

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// Waits while nothing is to be forwarded, and as long as every piece is held back.
pub(super) async fn let_through(shared: &Shared) {
    let mut behaviour = shared.behaviour.subscribe();
    let delay = match behaviour.wait_for(|now| !matches!(now, Behaviour::Hang)).await.as_deref() {
        Ok(Behaviour::Delay(time)) => Some(*time),
        _ => None,
    };
    if let Some(time) = delay {
        tokio::time::sleep(time).await;
    }
}

/// Copies until the end, which is passed on.
pub(super) async fn copy(
    shared: &Shared,
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    begun: &[u8],
) {
    if !begun.is_empty() && to.write_all(begun).await.is_err() {
        return;
    }
    let mut piece = vec![0; PIECE];
    while let Ok(count) = from.read(&mut piece).await {
        let_through(shared).await;
        let bytes = &piece[..count];
        if direction == Direction::ToServer && begins_a_request(bytes) {
            shared.requests.fetch_add(1, Ordering::SeqCst);
        }
        if count == 0 || to.write_all(bytes).await.is_err() {
            break;
        }
    }
    // A client that only waits for its answer has ended its own side.
    let _ = to.shutdown().await;
    if direction == Direction::ToServer {
        std::future::pending::<()>().await;
    }
}

/// Whether a piece is the beginning of an HTTP request: clients send the head of one by itself.
fn begins_a_request(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method.as_bytes()))
}

/// Reads one request and answers it; gives back what was read when its method is not one of `methods`, or
/// when enough were answered. An answer ends its connection.
pub(super) async fn answer_in_place(
    shared: &Shared,
    client: &mut TcpStream,
    methods: &[String],
    head: &str,
    body: &[u8],
) -> Option<Vec<u8>> {
    let mut read = read_head(client).await?;
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let text = String::from_utf8_lossy(&read).into_owned();
    let method = text.split(' ').next().unwrap_or_default();
    let meant = methods.is_empty() || methods.iter().any(|one| one == method);
    let take = |left: usize| left.checked_sub(1);
    if !meant || shared.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
        return Some(read);
    }
    let head_length = end_of_head(&read).unwrap_or(read.len());
    let mut rest = content_length(&text).saturating_sub((read.len() - head_length) as u64);
    read.resize(PIECE, 0);
    while rest > 0 {
        match client.read(&mut read).await {
            Ok(count @ 1..) => rest = rest.saturating_sub(count as u64),
            _ => return None,
        }
    }
    let length = body.len();
    let head = format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let answer = [head.as_bytes(), if method == "HEAD" { b"" } else { body }].concat();
    let _ = client.write_all(&answer).await;
    let _ = client.shutdown().await;
    None
}

/// Passes one exchange, and of the answer its head and `bytes` of its body.
pub(super) async fn cut_body(shared: &Shared, client: TcpStream, bytes: u64) {
    let Ok(server) = TcpStream::connect(&shared.target).await else { return };
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let answering = async {
        let mut read = Vec::new();
        let mut end = usize::MAX;
        let mut sent = 0;
        while sent < end && matches!(from_server.read_buf(&mut read).await, Ok(1..)) {
            if let Some(head) = end_of_head(&read).filter(|_| end == usize::MAX) {
                end = head.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
            let upto = read.len().min(end);
            if to_client.write_all(&read[sent..upto]).await.is_err() {
                break;
            }
            sent = upto;
        }
    };
    tokio::select! {
        () = copy(shared, Direction::ToServer, from_client, to_server, &[]) => {}
        () = answering => {}
    }
}

/// The head of a request and what came with it; `None` when the client left first.
async fn read_head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while end_of_head(&read).is_none() {
        match client.read_buf(&mut read).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
    Some(read)
}

/// Where the body begins.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &str) -> u64 {
    let mut lines = head.lines().take_while(|line| !line.is_empty());
    let value = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().to_owned())
    });
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
