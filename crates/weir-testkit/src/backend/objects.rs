//! An S3 server for tests, whose buckets are folders that a test can look into and damage.

use super::process::{ACCESS_KEY, ObjectServer, SECRET_KEY};
use super::{blocking, variable};
use crate::proxy::Proxy;
use crate::tool::Tool;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The region that requests are signed for.
const REGION: &str = "us-east-1";

/// An S3 server.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    url: String,
    buckets: PathBuf,
    /// The process, where it is not another's.
    server: Option<Arc<Mutex<ObjectServer>>>,
}

impl ObjectStore {
    /// A fresh bucket in the server that all tests share; `None` after a skip line.
    pub async fn bucket() -> Option<Bucket> {
        blocking(Self::bucket_blocking).await
    }

    /// [`bucket`](Self::bucket) outside of async code.
    pub fn bucket_blocking() -> Option<Bucket> {
        static SHARED: OnceLock<ObjectStore> = OnceLock::new();
        // Here, so that every test that is skipped says so.
        let program = Tool::Versitygw.find()?;
        let shared = SHARED.get_or_init(|| {
            let folder = variable("WEIR_TEST_S3_FOLDER").map(PathBuf::from);
            match variable("WEIR_TEST_S3").zip(folder) {
                Some((url, buckets)) => Self { url, buckets, server: None },
                None => Self::started(&program),
            }
        });
        Some(shared.new_bucket())
    }

    /// A server of the test's own, without buckets; `None` after a skip line.
    pub async fn private() -> Option<Self> {
        blocking(|| Some(Self::started(&Tool::Versitygw.find()?))).await
    }

    fn started(program: &Path) -> Self {
        let mut server = ObjectServer::make(program).expect("a folder for an S3 server can be made");
        server.start().expect("the S3 server starts");
        let (url, buckets) = (server.url(), server.buckets());
        Self { url, buckets, server: Some(Arc::new(Mutex::new(server))) }
    }

    /// A fresh bucket, removed at the end.
    pub fn new_bucket(&self) -> Bucket {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{count}", std::process::id());
        fs_err::create_dir_all(self.buckets.join(&name)).expect("the folder of buckets can be written");
        Bucket { store: self.clone(), name }
    }

    /// Stops a private server; further requests find nobody there.
    pub async fn stop(&self) {
        self.with_server(ObjectServer::stop).await;
    }

    /// Starts a private server again, on the same port and buckets.
    pub async fn start(&self) {
        self.with_server(|server| server.start().expect("the S3 server starts")).await;
    }

    async fn with_server(&self, work: impl FnOnce(&mut ObjectServer) + Send + 'static) {
        let server = self.server.clone().expect("only a private S3 server is started and stopped");
        blocking(move || work(&mut server.lock().unwrap_or_else(PoisonError::into_inner))).await;
    }
}

/// A bucket of its own, removed when dropped.
#[derive(Debug)]
pub struct Bucket {
    store: ObjectStore,
    name: String,
}

impl Bucket {
    /// `s3://NAME?endpoint=URL&region=us-east-1`, for `--blob-url`.
    pub fn blob_url(&self) -> String {
        self.url_at(&self.store.url)
    }

    /// The same bucket through a proxy in front of [`authority`](Self::authority).
    pub fn blob_url_through(&self, proxy: &Proxy) -> String {
        self.url_at(&format!("http://{}", proxy.authority()))
    }

    fn url_at(&self, endpoint: &str) -> String {
        format!("s3://{}?endpoint={endpoint}&region={REGION}", self.name)
    }

    /// `127.0.0.1:PORT` of the server.
    pub fn authority(&self) -> &str {
        self.store.url.trim_start_matches("http://")
    }

    /// The variables that give a client the right to it.
    pub fn variables(&self) -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
    }

    /// The bucket on this machine's disk: an object is the file of its name.
    pub fn folder(&self) -> PathBuf {
        self.store.buckets.join(&self.name)
    }

    /// The names of all objects, sorted; what the server keeps for itself is left out.
    pub fn objects(&self) -> Vec<String> {
        let (root, mut open, mut found) = (self.folder(), vec![self.folder()], Vec::new());
        while let Some(folder) = open.pop() {
            for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
                match path.is_dir() {
                    true if name.starts_with(".sgwtmp") => {}
                    true => open.push(path),
                    false => found.push(name),
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // The folder of a private server is removed with it.
        let _ = fs_err::remove_dir_all(self.folder());
    }
}
