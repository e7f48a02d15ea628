//! A fake public registry on a loopback port, of npm and beside it of Python. It answers from tables in
//! memory, remembers every request, and fails by rule; it can be stopped and started again on its port.

mod answer;
mod fault;
mod pypi;
mod table;

pub use fault::Fault;
pub use pypi::{PypiSettings, PypiSpeaks};

use crate::{Distribution, NpmPackage};
use answer::Seen;
use bytes::Bytes;
use fault::Rules;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pypi::Pypi;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use table::Table;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use answer::Seen as SeenRequest;

/// The fake registry. Its methods take `&self`, so that a test changes it while clients run.
pub struct Upstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What the connections and the test's handle both see.
#[derive(Default)]
struct Shared {
    base: String,
    table: Mutex<Table>,
    pypi: Mutex<Pypi>,
    rules: Mutex<Rules>,
    seen: Mutex<Vec<Seen>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Upstream {
    /// Starts an empty registry on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { base: format!("http://{address}"), ..Shared::default() });
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self { shared, address, server: Mutex::new(Some(server)) }
    }

    /// The registry's root, as a client would be configured with it: `http://127.0.0.1:PORT/`.
    pub fn url(&self) -> String {
        format!("{}/", self.shared.base)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and breaks every connection.
    pub async fn stop(&self) {
        let server = lock(&self.server).take();
        if let Some(server) = server {
            server.abort();
            // Cancelled is how it is meant to end; what counts is that the port is free afterwards.
            let _ = server.await;
        }
    }

    /// Listens again on the same port, with the table and the counters it had.
    pub async fn start_again(&self) {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await.expect("the port is still free");
        *lock(&self.server) = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    /// Adds one version to its package, or replaces it; a public index that changes under its clients.
    pub fn publish(&self, package: &NpmPackage) {
        lock(&self.shared.table).publish(package, &self.shared.base);
    }

    /// [`publish`](Self::publish) for many.
    pub fn publish_all<'a>(&self, packages: impl IntoIterator<Item = &'a NpmPackage>) {
        packages.into_iter().for_each(|package| self.publish(package));
    }

    /// Removes one version from the index and its tarball with it.
    pub fn unpublish(&self, name: &str, version: &str) {
        lock(&self.shared.table).unpublish(name, version);
    }

    /// Removes a package and all of its tarballs.
    pub fn remove(&self, name: &str) {
        lock(&self.shared.table).remove(name);
    }

    /// Changes a package's full index document in place (any member, known to npm or not).
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        change(lock(&self.shared.table).document(name));
    }

    /// Serves these bytes as the package's index from now on, whatever is asked for: malformed documents.
    pub fn set_document(&self, name: &str, bytes: impl Into<Bytes>) {
        lock(&self.shared.table).set_raw(name, bytes.into());
    }

    /// Serves these bytes as a tarball while the index still promises the old ones; `file` is `x-1.0.0.tgz`.
    pub fn set_tarball(&self, name: &str, file: &str, bytes: impl Into<Bytes>) {
        lock(&self.shared.table).set_tarball(name, file, bytes.into());
    }

    /// Makes the audit endpoints report this package; `range` is what is vulnerable, like `<1.3.1`.
    pub fn advise(&self, name: &str, range: &str, severity: &str, title: &str) {
        lock(&self.shared.table).advise(name, range, severity, title);
    }

    /// The Python index, as a client would be configured with it: `http://127.0.0.1:PORT/simple/`.
    pub fn pypi_url(&self) -> String {
        format!("{}/simple/", self.shared.base)
    }

    /// Where Python clients upload to. Every upload is answered with 200 and kept with the requests alone.
    pub fn pypi_upload_url(&self) -> String {
        format!("{}/legacy/", self.shared.base)
    }

    /// Changes what the Python index tells, and in which form.
    pub fn pypi_settings(&self, change: impl FnOnce(&mut PypiSettings)) {
        change(&mut lock(&self.shared.pypi).settings);
    }

    /// Adds one file to its Python project, or replaces it.
    pub fn publish_distribution(&self, distribution: &Distribution) {
        lock(&self.shared.pypi).publish(distribution, &self.shared.base);
    }

    /// [`publish_distribution`](Self::publish_distribution) for many.
    pub fn publish_distributions<'a>(&self, distributions: impl IntoIterator<Item = &'a Distribution>) {
        distributions.into_iter().for_each(|distribution| self.publish_distribution(distribution));
    }

    /// Removes a Python project and all of its files.
    pub fn remove_project(&self, name: &str) {
        lock(&self.shared.pypi).remove(name);
    }

    /// Removes one file of a Python project, from the page too.
    pub fn unpublish_file(&self, file_name: &str) {
        lock(&self.shared.pypi).unpublish(file_name);
    }

    /// Yanks the files of one version; the reason may be empty.
    pub fn yank(&self, name: &str, version: &str, reason: &str) {
        lock(&self.shared.pypi).yank(name, version, reason);
    }

    /// Gives a file this provenance.
    pub fn attest(&self, file_name: &str, provenance: Value) {
        lock(&self.shared.pypi).attest(file_name, provenance, &self.shared.base);
    }

    /// Changes the JSON document of a Python project in place; its HTML page is made from the same.
    pub fn edit_project(&self, name: &str, change: impl FnOnce(&mut Value)) {
        change(lock(&self.shared.pypi).document(name));
    }

    /// Serves these bytes as the page of a Python project from now on: malformed pages.
    pub fn set_project_page(&self, name: &str, content_type: &str, bytes: impl Into<Bytes>) {
        lock(&self.shared.pypi).set_page(name, content_type, bytes.into());
    }

    /// Serves these bytes as a Python file while the page still promises the old ones.
    pub fn set_file(&self, file_name: &str, bytes: impl Into<Bytes>) {
        lock(&self.shared.pypi).set_file(file_name, bytes.into());
    }

    /// Answers 401 to whoever does not bring `Bearer TOKEN`; Python paths also take it as a password.
    pub fn require_token(&self, token: &str) {
        lock(&self.shared.table).token = Some(token.to_owned());
    }

    /// Answers every request whose path begins with `prefix` (`/` is all, `/x/-/` the tarballs of `x`)
    /// with a fault, until [`heal`](Self::heal). Faults of several rules add up, in order.
    pub fn fail(&self, prefix: &str, fault: Fault) {
        lock(&self.shared.rules).add(prefix, fault, usize::MAX);
    }

    /// [`fail`](Self::fail) for the next `times` requests only.
    pub fn fail_times(&self, prefix: &str, fault: Fault, times: usize) {
        lock(&self.shared.rules).add(prefix, fault, times);
    }

    /// Removes every fault.
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
    }

    /// How often exactly this path was asked for (any method, without the query, `%2f` as `/`).
    pub fn calls(&self, path: &str) -> usize {
        lock(&self.shared.seen).iter().filter(|seen| seen.path == path).count()
    }

    /// How often a path that begins with `prefix` was asked for.
    pub fn calls_under(&self, prefix: &str) -> usize {
        lock(&self.shared.seen).iter().filter(|seen| seen.path.starts_with(prefix)).count()
    }

    /// How many requests came in all.
    pub fn total_calls(&self) -> usize {
        lock(&self.shared.seen).len()
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<SeenRequest> {
        lock(&self.shared.seen).clone()
    }

    /// Forgets the requests so far.
    pub fn reset_calls(&self) {
        lock(&self.shared.seen).clear();
        self.shared.most_in_flight.store(0, Ordering::SeqCst);
    }

    /// The most requests that were being answered at one moment.
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(server) = lock(&self.server).take() {
            server.abort();
        }
    }
}

/// Accepts until aborted; the connections live in the set, so they end with it.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = shared.clone();
                let service = service_fn(move |request| answer::answer(shared.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new();
                connections.spawn(async move {
                    // A broken connection is what the faults are for; the client's side tells of it.
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}
