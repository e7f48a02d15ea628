//! A TCP proxy in front of a database or an object store that can be told to misbehave while connections
//! are open. Bytes pass untouched, so signatures and the like still hold behind it.

mod exchange;

use exchange::{Direction, answer_in_place, copy, cut_body};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What happens to connections.
#[derive(Debug, Clone)]
enum Behaviour {
    Pass,
    Refuse,
    Hang,
    Delay(Duration),
    /// Answers HTTP requests of these methods (all when empty) itself.
    Answer {
        methods: Vec<String>,
        head: String,
        body: Vec<u8>,
    },
    CutBodies(u64),
}

impl Behaviour {
    /// Whether connections that are open when it begins go on under it; else they are cut.
    fn takes_over(&self) -> bool {
        matches!(self, Self::Pass | Self::Hang | Self::Delay(_))
    }
}

/// A proxy on a port of its own, which it keeps while it misbehaves. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    target: String,
    behaviour: watch::Sender<Behaviour>,
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// How many requests `Answer` answers still; then everything passes again.
    left: AtomicUsize,
}

impl Proxy {
    /// A proxy in front of `target` (`HOST:PORT`), through which everything passes.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            behaviour: watch::Sender::new(Behaviour::Pass),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, task }
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Lets everything pass; what hung goes on.
    pub fn pass(&self) {
        self.shared.behaviour.send_replace(Behaviour::Pass);
    }

    /// Cuts open connections and closes new ones as soon as they are made.
    pub fn refuse(&self) {
        self.shared.behaviour.send_replace(Behaviour::Refuse);
    }

    /// Takes connections and forwards nothing more, on open ones either.
    pub fn hang(&self) {
        self.shared.behaviour.send_replace(Behaviour::Hang);
    }

    /// Holds every piece of either direction back for so many milliseconds.
    pub fn delay(&self, milliseconds: u64) {
        self.shared.behaviour.send_replace(Behaviour::Delay(Duration::from_millis(milliseconds)));
    }

    /// Cuts open connections and answers HTTP requests itself: `head` is the status line and headers
    /// (`HTTP/1.1 503 Slow Down`), without those of the length.
    pub fn answer(&self, head: &str, body: impl Into<Vec<u8>>) {
        self.answer_times(usize::MAX, &[], head, body);
    }

    /// [`answer`](Self::answer) for the next `times` requests of these methods (`PUT`; all when empty); after
    /// them, and for other methods, everything passes. Of a connection only the first request is looked at.
    pub fn answer_times(&self, times: usize, methods: &[&str], head: &str, body: impl Into<Vec<u8>>) {
        self.shared.left.store(times, Ordering::SeqCst);
        let methods = methods.iter().map(|&method| method.to_owned()).collect();
        let answer = Behaviour::Answer { methods, head: head.to_owned(), body: body.into() };
        self.shared.behaviour.send_replace(answer);
    }

    /// Cuts open connections, and further ones after so many bytes of the body of their first answer.
    pub fn cut_bodies_after(&self, bytes: u64) {
        self.shared.behaviour.send_replace(Behaviour::CutBodies(bytes));
    }

    /// How many connections were made, refused ones too.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many HTTP requests came.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Ends with this task, and all connections with it.
    let mut open = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        open.spawn(async move {
            let mut changes = shared.behaviour.subscribe();
            let cut = async {
                // Marks what is current as seen; a later change is a reason to look again.
                while changes.changed().await.is_ok() {
                    if !changes.borrow_and_update().takes_over() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = serve(&shared, client) => {}
                () = cut => {}
            }
        });
        while open.try_join_next().is_some() {}
    }
}

async fn serve(shared: &Shared, mut client: TcpStream) {
    let behaviour = shared.behaviour.borrow().clone();
    match behaviour {
        Behaviour::Refuse => {}
        Behaviour::Answer { methods, head, body } => {
            // A request that is not answered here is passed on with what follows it.
            if let Some(begun) = answer_in_place(shared, &mut client, &methods, &head, &body).await {
                relay(shared, client, &begun).await;
            }
        }
        Behaviour::CutBodies(bytes) => cut_body(shared, client, bytes).await,
        Behaviour::Pass | Behaviour::Hang | Behaviour::Delay(_) => relay(shared, client, &[]).await,
    }
}

/// Passes bytes both ways until one side ends; `begun` was read from the client already.
async fn relay(shared: &Shared, client: TcpStream, begun: &[u8]) {
    exchange::let_through(shared).await;
    let Ok(server) = TcpStream::connect(&shared.target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(shared, Direction::ToServer, from_client, to_server, begun) => {}
        () = copy(shared, Direction::ToClient, from_server, to_client, &[]) => {}
    }
}
