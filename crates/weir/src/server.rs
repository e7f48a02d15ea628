//! The listener: accepts connections, secures them, speaks HTTP/1.1 and HTTP/2 with limits, and ends in an
//! orderly way.

mod answering;
mod open_files;
mod outgoing;
mod patient;
mod room;
mod wire;

pub(crate) use open_files::connections_that_fit;

use crate::http::{Http, Peer, group};
use crate::telemetry::HttpMetrics;
use crate::tls::Certificates;
use answering::Places;
use futures_util::future::{Either, select};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use outgoing::Outgoing;
use patient::Patient;
use room::{Busy, Room, Stay};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use wire::{Lane, Wire};

/// How long a client may take over the head of a request.
const HEADER_READ: Duration = Duration::from_secs(30);
/// How long a client may take over the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Streams of one HTTP/2 connection; npm and cargo stay far below.
const MAX_STREAMS: u32 = 250;
/// Against rapid reset: this many streams may be reset before they were answered.
const MAX_RESETS: usize = 50;

/// An open listener and what it serves with.
pub(crate) struct Server {
    /// The socket.
    pub(crate) listener: TcpListener,
    /// TLS, if any.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// What requests meet.
    pub(crate) http: Arc<Http>,
    /// `max-connections`
    pub(crate) max_connections: usize,
    /// `max-connections-per-address`; 0 for none.
    pub(crate) max_connections_per_address: usize,
    /// `client-timeout`
    pub(crate) client_timeout: Duration,
    /// `shutdown-grace`
    pub(crate) grace: Duration,
}

impl Server {
    /// Serves until `stop` is ready, then finishes what is in flight.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, certificates, http, grace, client_timeout, .. } = self;
        let room = Room::new(self.max_connections, self.max_connections_per_address);
        let builder = Arc::new(builder());
        let places = Places::default();
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        let (running, stopping) = tokio::sync::watch::channel(());
        loop {
            let next = async {
                // The place after the connection: only one that has come makes an idle one leave.
                let accepted = listener.accept().await;
                (accepted, room.place().await)
            };
            let (accepted, place) = tokio::select! {
                next = next => next,
                () = &mut stop => break,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors: others will be closed in a moment.
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(stay) = room.enter(group(remote.ip()), place) else {
                refuse(&stream, certificates.is_some());
                continue;
            };
            let watcher = graceful.watcher();
            let (builder, http, certificates) = (builder.clone(), http.clone(), certificates.clone());
            let (places, stopping) = (places.clone(), stopping.clone());
            tokio::spawn(async move {
                let _open = Open::new();
                let serving = Serving { builder: &builder, http, places, watcher, stopping, client_timeout };
                let connection = serving.connection(stream, remote, certificates.as_deref(), &stay);
                let leaving = stay.asked_to_leave();
                if let Either::Right(_) = select(std::pin::pin!(connection), std::pin::pin!(leaving)).await {
                    HttpMetrics::get().connections_closed_idle.inc();
                }
            });
        }
        drop(listener);
        drop(running);
        let in_flight = graceful.count();
        tracing::info!(connections = in_flight, "stopping: no new connections, finishing what is in flight");
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end within shutdown-grace and are cut");
        }
    }
}

struct Serving<'a> {
    builder: &'a Builder<TokioExecutor>,
    http: Arc<Http>,
    places: Places,
    watcher: hyper_util::server::graceful::Watcher,
    /// Closed when the server stops.
    stopping: tokio::sync::watch::Receiver<()>,
    client_timeout: Duration,
}

impl Serving<'_> {
    async fn connection(
        mut self,
        stream: TcpStream,
        remote: SocketAddr,
        certificates: Option<&Certificates>,
        stay: &Stay,
    ) {
        // Answers are written whole; waiting for more to send only delays them.
        let no_delay = stream.set_nodelay(true);
        let (Ok(()), Ok(local)) = (no_delay, stream.local_addr()) else { return };
        let peer = Peer { remote: remote.ip().to_canonical(), local, secure: certificates.is_some() };
        let lane = Lane::default();
        let stream = Wire::new(stream, lane.clone());
        let stream = Patient::new(stream, self.client_timeout, stay.guest.clone());
        let Some(certificates) = certificates else {
            return self.speak(stream, peer, stay, Some(lane)).await;
        };
        let handshake = tokio::time::timeout(HANDSHAKE, certificates.acceptor().accept(stream));
        let secured = tokio::select! {
            secured = handshake => secured,
            // No request is in flight before the handshake has ended.
            _ = self.stopping.changed() => return,
        };
        match secured {
            Ok(Ok(stream)) => self.speak(stream, peer, stay, None).await,
            Ok(Err(error)) => tracing::debug!(client.address = %peer.remote, "TLS handshake failed: {error}"),
            Err(_) => tracing::debug!(client.address = %peer.remote, "TLS handshake took too long"),
        }
    }

    /// Speaks HTTP; with a lane files may be sent as such.
    async fn speak<S>(self, stream: S, peer: Peer, stay: &Stay, lane: Option<Lane>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (http, host) = (self.http, stay.host());
        let places = self.places;
        let service = service_fn(move |request: Request<Incoming>| {
            // Frames of HTTP/2 are made of bytes.
            let lane = lane.clone().filter(|_| request.version() < Version::HTTP_2);
            places.put(answer(http.clone(), peer, request, host.request(), lane))
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = self.watcher.watch(connection.into_owned()).await {
            tracing::debug!(client.address = %peer.remote, "connection ended: {error}");
        }
    }
}

async fn answer(
    http: Arc<Http>,
    peer: Peer,
    request: Request<Incoming>,
    busy: Busy,
    lane: Option<Lane>,
) -> Response<Outgoing> {
    http.answer(peer, request).await.map(|body| Outgoing::new(body, busy, lane.as_ref()))
}

/// Tells a client at whose address there are too many connections, as far as it can be told.
fn refuse(stream: &TcpStream, secure: bool) {
    let text = "too many connections from your address (max-connections-per-address); try again when one has ended\n";
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    );
    if !secure && stream.try_write(answer.as_bytes()).is_err() {
        tracing::debug!("a client was refused without a word");
    }
}

/// Counts a connection for as long as it lives.
struct Open;

impl Open {
    fn new() -> Self {
        HttpMetrics::get().connections.inc();
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        HttpMetrics::get().connections.dec();
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .adaptive_window(true)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Is ready when the process is asked to stop: SIGTERM or SIGINT. It listens from the call on.
pub(crate) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
