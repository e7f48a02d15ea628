//! PostgreSQL for tests: a fresh database in a server that others use too, or a server of the test's own.

use super::process::Cluster;
use super::{blocking, variable};
use crate::proxy::Proxy;
use crate::tool::Tool;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The database that every server has.
const MAINTENANCE: &str = "postgres";
/// What the shared server is started with: tests that run at once use many connections.
const SHARED: &str = "max_connections=300";

/// The URL of a database in a shared server, for tests that make schemas of their own in it; `None` after a
/// skip line. Blocks while the server starts.
pub fn shared_postgres_url() -> Option<String> {
    Shared::get().map(|shared| shared.url.clone())
}

/// The server that all tests of a run, or of this process, share.
struct Shared {
    url: String,
    programs: PathBuf,
    /// Kept by this process when nobody else did; ends with it.
    _cluster: Option<Mutex<Cluster>>,
}

impl Shared {
    fn get() -> Option<&'static Self> {
        static SHARED_SERVER: OnceLock<Shared> = OnceLock::new();
        // Here, so that every test that is skipped says so.
        let programs = programs()?;
        Some(SHARED_SERVER.get_or_init(|| match variable("WEIR_TEST_POSTGRES") {
            Some(url) => Self { url, programs, _cluster: None },
            None => {
                let mut cluster = Cluster::make(&programs).expect("a PostgreSQL cluster can be made");
                cluster.start(&[SHARED.to_owned()]).expect("PostgreSQL starts");
                let url = cluster.url("weir");
                psql(&programs, &cluster.url(MAINTENANCE), "create database weir");
                Self { url, programs, _cluster: Some(Mutex::new(cluster)) }
            }
        }))
    }
}

/// The folder of PostgreSQL's programs, or `None` after a skip line.
fn programs() -> Option<PathBuf> {
    Tool::Postgresql.find()
}

/// A PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    programs: PathBuf,
    /// The server, where it is this test's own. Shared with the thread that starts it.
    cluster: Option<Arc<Mutex<Cluster>>>,
    settings: Vec<String>,
    /// How to drop the database in a shared server: the address of another one, and the name.
    dropped: Option<(String, String)>,
}

impl Postgres {
    /// A fresh database in the shared server, dropped at the end; `None` after a skip line.
    pub async fn shared_database() -> Option<Self> {
        blocking(|| {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let shared = Shared::get()?;
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("test_{}_{count}", std::process::id());
            psql(&shared.programs, &shared.url, &format!("create database {name}"));
            Some(Self {
                url: with_database(&shared.url, &name),
                programs: shared.programs.clone(),
                cluster: None,
                settings: Vec::new(),
                dropped: Some((shared.url.clone(), name)),
            })
        })
        .await
    }

    /// A server of the test's own with an empty database; `None` after a skip line.
    pub async fn private() -> Option<Self> {
        Self::private_with(&[]).await
    }

    /// [`private`](Self::private) with settings of the server: `max_connections=10`.
    pub async fn private_with(settings: &[&str]) -> Option<Self> {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        blocking(move || {
            let programs = programs()?;
            let mut cluster = Cluster::make(&programs).expect("a PostgreSQL cluster can be made");
            cluster.start(&settings).expect("PostgreSQL starts");
            let url = cluster.url("weir");
            psql(&programs, &cluster.url(MAINTENANCE), "create database weir");
            let cluster = Some(Arc::new(Mutex::new(cluster)));
            Some(Self { url, programs, cluster, settings, dropped: None })
        })
        .await
    }

    /// `postgres://…`, for `--database-url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same database through a proxy in front of [`authority`](Self::authority).
    pub fn url_through(&self, proxy: &Proxy) -> String {
        self.url.replacen(self.authority(), &proxy.authority(), 1)
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> &str {
        let rest = self.url.split_once('@').map_or(&*self.url, |(_, rest)| rest);
        rest.split_once('/').map_or(rest, |(authority, _)| authority)
    }

    /// The folder of PostgreSQL's programs: `pg_dump` and the like.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Runs SQL and gives what it printed, one row a line, columns parted by `|`; panics when it fails.
    pub async fn psql(&self, sql: &str) -> String {
        let (programs, url, sql) = (self.programs.clone(), self.url.clone(), sql.to_owned());
        blocking(move || psql(&programs, &url, &sql)).await
    }

    /// Sets what a private server is started with from the next start on: `max_connections=10`.
    pub fn set(&mut self, setting: &str) {
        self.settings.push(setting.to_owned());
    }

    /// Stops a private server: open transactions are undone, connections closed, further ones refused.
    pub async fn stop(&self) {
        self.with_cluster(|cluster, _| cluster.stop()).await;
    }

    /// Starts a private server again, on the same port and data.
    pub async fn start(&self) {
        self.with_cluster(|cluster, settings| cluster.start(settings).expect("PostgreSQL starts")).await;
    }

    /// Stops and starts a private server.
    pub async fn restart(&self) {
        self.stop().await;
        self.start().await;
    }

    async fn with_cluster(&self, work: impl FnOnce(&mut Cluster, &[String]) + Send + 'static) {
        let cluster = self.cluster.clone().expect("only a private PostgreSQL is started and stopped");
        let settings = self.settings.clone();
        blocking(move || {
            work(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner), &settings);
        })
        .await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some((url, name)) = &self.dropped {
            let sql = format!("drop database if exists {name} with (force)");
            // A failing test must tell its own story.
            let _ = try_psql(&self.programs, url, &sql);
        }
    }
}

/// The address of another database of the same server.
fn with_database(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').unwrap_or_else(|| panic!("{url} names no database"));
    format!("{server}/{name}")
}

fn psql(programs: &Path, url: &str, sql: &str) -> String {
    try_psql(programs, url, sql).unwrap_or_else(|error| panic!("psql: {sql}: {error}"))
}

fn try_psql(programs: &Path, url: &str, sql: &str) -> Result<String, String> {
    let mut command = Command::new(programs.join("psql"));
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    command.args(["--command", sql, url]).stdin(Stdio::null());
    let ended = command.output().map_err(|error| error.to_string())?;
    if !ended.status.success() {
        return Err(String::from_utf8_lossy(&ended.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&ended.stdout).trim_end().to_owned())
}
