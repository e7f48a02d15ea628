//! The listener: accepts connections, secures them, speaks HTTP/1.1 and HTTP/2 with limits, and ends in an
//! orderly way.

use crate::http::{Http, Peer};
use crate::telemetry::HttpMetrics;
use crate::tls::Certificates;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

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
    /// `shutdown-grace`
    pub(crate) grace: Duration,
}

impl Server {
    /// Serves until `stop` is ready, then finishes what is in flight.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, certificates, http, max_connections, grace } = self;
        let builder = Arc::new(builder());
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(max_connections));
        let mut stop = std::pin::pin!(stop);
        let (running, stopping) = tokio::sync::watch::channel(());
        loop {
            let next = async {
                let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
                (listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
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
            let watcher = graceful.watcher();
            let (builder, http, certificates) = (builder.clone(), http.clone(), certificates.clone());
            let stopping = stopping.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let _open = Open::new();
                let serving = Serving { builder: &builder, http, watcher, stopping };
                serving.connection(stream, remote, certificates.as_deref()).await;
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
    watcher: hyper_util::server::graceful::Watcher,
    /// Closed when the server stops.
    stopping: tokio::sync::watch::Receiver<()>,
}

impl Serving<'_> {
    async fn connection(
        mut self,
        stream: TcpStream,
        remote: SocketAddr,
        certificates: Option<&Certificates>,
    ) {
        // Answers are written whole; waiting for more to send only delays them.
        let no_delay = stream.set_nodelay(true);
        let (Ok(()), Ok(local)) = (no_delay, stream.local_addr()) else { return };
        let peer = Peer { remote: remote.ip().to_canonical(), local, secure: certificates.is_some() };
        let Some(certificates) = certificates else { return self.speak(stream, peer).await };
        let handshake = tokio::time::timeout(HANDSHAKE, certificates.acceptor().accept(stream));
        let secured = tokio::select! {
            secured = handshake => secured,
            // No request is in flight before the handshake has ended.
            _ = self.stopping.changed() => return,
        };
        match secured {
            Ok(Ok(stream)) => self.speak(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(client.address = %peer.remote, "TLS handshake failed: {error}"),
            Err(_) => tracing::debug!(client.address = %peer.remote, "TLS handshake took too long"),
        }
    }

    async fn speak<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let http = self.http;
        let service = service_fn(move |request| {
            let http = http.clone();
            async move { Ok::<_, Infallible>(http.answer(peer, request).await) }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = self.watcher.watch(connection.into_owned()).await {
            tracing::debug!(client.address = %peer.remote, "connection ended: {error}");
        }
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
