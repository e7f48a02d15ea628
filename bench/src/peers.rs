//! The servers that are measured: nginx with the fixture, which is the limit of what is possible, Weir, and
//! its rivals. Each listens on the loopback interface alone and ends with this program.

mod nginx;
mod process;
mod rivals;
mod weir;

pub(crate) use nginx::CROWD_LOG;

use crate::fixture::{Fixture, NpmPackage, Project};
use crate::http::{ABBREVIATED, Connection, Request, SIMPLE_JSON, link};
use crate::meter::highest_memory;
use anyhow::{Context as _, Result};
use process::Process;
use std::path::{Path, PathBuf};
use url::Url;

pub(crate) use weir::start as start_weir;

/// What keeps a server running; dropping it ends it.
enum Running {
    Process(Process),
    Weir(Box<weir_testkit::Weir>),
}

/// How a server is started, so that it can be started again.
enum Kind {
    Nginx,
    NginxProxy,
    Verdaccio,
    Proxpi,
    Weir { binary: PathBuf },
}

/// A running server.
pub(crate) struct Peer {
    /// How tables name it.
    pub(crate) name: String,
    /// Its npm registry, ending in a slash, if it is one.
    pub(crate) npm: Option<String>,
    /// Its Python index, ending in a slash, if it is one.
    pub(crate) pypi: Option<String>,
    /// The token its requests carry.
    pub(crate) token: Option<String>,
    kind: Kind,
    folder: PathBuf,
    running: Option<Running>,
    /// The most memory of processes that were stopped, in bytes.
    peak_before: u64,
}

/// What every start needs to know.
pub(crate) struct Place<'a> {
    /// `target/bench`.
    pub(crate) bench: &'a Path,
    pub(crate) fixture: &'a Fixture,
}

impl Place<'_> {
    fn fixture_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.fixture.manifest.port)
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.bench.join("run").join(name);
        if folder.exists() {
            fs_err::remove_dir_all(&folder)?;
        }
        fs_err::create_dir_all(&folder)?;
        Ok(folder)
    }
}

impl Peer {
    /// nginx with the fixture.
    pub(crate) async fn nginx(place: &Place<'_>) -> Result<Self> {
        Self::start(place, "nginx", Kind::Nginx).await
    }

    /// Weir from this binary, under this name.
    pub(crate) async fn weir(place: &Place<'_>, name: &str, binary: &Path) -> Result<Self> {
        Self::start(place, name, Kind::Weir { binary: binary.to_owned() }).await
    }

    /// A rival by name.
    pub(crate) async fn rival(place: &Place<'_>, name: &str) -> Result<Self> {
        let kind = match name {
            "nginx-proxy" => Kind::NginxProxy,
            "verdaccio" => Kind::Verdaccio,
            "proxpi" => Kind::Proxpi,
            other => anyhow::bail!("no rival is named {other}"),
        };
        Self::start(place, name, kind).await
    }

    async fn start(place: &Place<'_>, name: &str, kind: Kind) -> Result<Self> {
        let folder = place.folder(name)?;
        let mut peer = Self {
            name: name.to_owned(),
            npm: None,
            pypi: None,
            token: None,
            kind,
            folder,
            running: None,
            peak_before: 0,
        };
        peer.run(place).await.with_context(|| format!("{name} could not be started"))?;
        eprintln!("peer {name}: {}", peer.npm.as_ref().or(peer.pypi.as_ref()).map_or("", String::as_str));
        Ok(peer)
    }

    async fn run(&mut self, place: &Place<'_>) -> Result<()> {
        match &self.kind {
            Kind::Nginx => {
                self.running = Some(Running::Process(nginx::serve(place, &self.folder).await?));
                self.npm = Some(format!("{}/npm/", place.fixture_url()));
                self.pypi = Some(format!("{}/pypi/simple/", place.fixture_url()));
            }
            Kind::NginxProxy => {
                let (process, url) = nginx::proxy(place, &self.folder).await?;
                self.running = Some(Running::Process(process));
                self.npm = Some(format!("{url}/npm/"));
                self.pypi = Some(format!("{url}/pypi/simple/"));
            }
            Kind::Verdaccio => {
                let (process, url) = rivals::verdaccio(place, &self.folder).await?;
                self.running = Some(Running::Process(process));
                self.npm = Some(format!("{url}/"));
            }
            Kind::Proxpi => {
                let (process, url) = rivals::proxpi(place, &self.folder).await?;
                self.running = Some(Running::Process(process));
                self.pypi = Some(format!("{url}/index/"));
            }
            Kind::Weir { binary } => {
                let started = weir::from_template(place, &self.folder, binary).await?;
                self.npm = Some(started.npm);
                self.pypi = Some(started.pypi);
                self.token = Some(started.token);
                self.running = Some(Running::Weir(Box::new(started.weir)));
            }
        }
        Ok(())
    }

    /// Starts it anew with nothing of the fixture in it. nginx, which serves it, stays as it is.
    pub(crate) async fn reset(&mut self, place: &Place<'_>) -> Result<()> {
        if matches!(self.kind, Kind::Nginx) {
            return Ok(());
        }
        self.peak_before = self.peak_before.max(highest_memory(&self.roots()));
        self.stop().await;
        if !matches!(self.kind, Kind::Weir { .. }) {
            // What it wrote is all below its folder; Weir's template is there too, and knows what to drop.
            fs_err::remove_dir_all(&self.folder)?;
            fs_err::create_dir_all(&self.folder)?;
        }
        self.run(place).await.with_context(|| format!("{} could not be started again", self.name))
    }

    /// Stops it and starts it on what it holds, so that nothing is in its memory; only Weir can.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        if self.is_weir()
            && let Some(Running::Weir(weir)) = self.running.take()
        {
            self.running = Some(Running::Weir(Box::new(weir.restart().await)));
        }
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(Running::Weir(weir)) = self.running.take() {
            weir.stop().await;
        }
    }

    /// The process from which its processes are counted.
    pub(crate) fn roots(&self) -> Vec<u32> {
        match &self.running {
            Some(Running::Process(process)) => vec![process.id()],
            Some(Running::Weir(weir)) => vec![weir.process_id()],
            None => Vec::new(),
        }
    }

    /// Whether it is a Weir.
    pub(crate) fn is_weir(&self) -> bool {
        matches!(self.kind, Kind::Weir { .. })
    }

    /// A request for a packument, if it has any.
    pub(crate) fn packument(&self, package: &str, abbreviated: bool) -> Option<Request> {
        let url = format!("{}{}", self.npm.as_ref()?, package.replace('/', "%2f"));
        let accept = if abbreviated { ABBREVIATED } else { "application/json" };
        Some(Request::new(&url, self.token.as_deref(), &[("accept", accept), ("accept-encoding", "gzip")]))
    }

    /// A request for an index page, if it has any.
    pub(crate) fn page(&self, project: &str) -> Option<Request> {
        let url = format!("{}{project}/", self.pypi.as_ref()?);
        let headers = [("accept", SIMPLE_JSON), ("accept-encoding", "gzip")];
        Some(Request::new(&url, self.token.as_deref(), &headers))
    }

    /// A request for a file, from the index in which it stands.
    pub(crate) fn file(&self, index: &Request, document: &[u8], file: &str) -> Result<Request> {
        let mut url = Url::parse(&link(document, &index.url, file)?)?;
        if matches!(self.kind, Kind::NginxProxy) {
            // It passes documents on as they are, with the addresses of the fixture.
            let asked = Url::parse(&index.url)?;
            url.set_port(asked.port()).ok().context("the proxy has a port")?;
        }
        Ok(Request::new(url.as_str(), self.token.as_deref(), &[]))
    }

    /// A request for a tarball, which asks for the packument first.
    pub(crate) async fn tarball(&self, package: &NpmPackage, file: &str) -> Result<Option<Request>> {
        let Some(index) = self.packument(&package.name, true) else { return Ok(None) };
        let document = Connection::default().get(&index).await?;
        self.file(&index, &document, file).map(Some)
    }

    /// A request for a wheel, which asks for the page first.
    pub(crate) async fn wheel(&self, project: &Project, file: &str) -> Result<Option<Request>> {
        let Some(index) = self.page(&project.name) else { return Ok(None) };
        let document = Connection::default().get(&index).await?;
        self.file(&index, &document, file).map(Some)
    }
}
