//! The registries that all servers are measured in front of, as files that nginx serves: packuments and
//! tarballs, index pages and wheels, and a manifest of them. Built once, from the ordinary clients' caches.

mod cacache;
mod npm;
mod packument;
mod pypi;

pub(crate) use npm::{SIZES, sized};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// Raised when fixtures of an earlier build are of no use any more.
const FORMAT: u32 = 2;

/// The generated package of which one file is 32 MB.
pub(crate) const BLOB: &str = "weir-bench-blob";
/// The generated package of which one file is 100 MB, and which no server holds before it is asked for.
pub(crate) const CROWD: &str = "weir-bench-crowd";
/// Larger documents are left out where memory is measured, as their own size would be all that shows.
pub(crate) const LARGE_DOCUMENT: u64 = 8 << 20;

/// What there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// Where nginx serves it, since the documents name it.
    pub(crate) port: u16,
    /// Of what it holds, the port left out: results are compared with results of the same fixture alone.
    pub(crate) id: String,
    pub(crate) npm: Vec<NpmPackage>,
    pub(crate) pypi: Vec<Project>,
}

/// One packument and those of its tarballs that are here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NpmPackage {
    pub(crate) name: String,
    /// Bytes of the full document.
    pub(crate) full: u64,
    /// Bytes of the abbreviated one.
    pub(crate) abbreviated: u64,
    pub(crate) tarballs: Vec<NpmFile>,
    /// Whether it was made up, and belongs to no installation.
    pub(crate) generated: bool,
}

/// A tarball.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NpmFile {
    pub(crate) file: String,
    pub(crate) size: u64,
    /// `sha512-…`.
    pub(crate) integrity: String,
}

/// One index page and those of its files that are here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Project {
    pub(crate) name: String,
    /// Bytes of the JSON form.
    pub(crate) json: u64,
    pub(crate) files: Vec<Wheel>,
}

/// A wheel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wheel {
    pub(crate) file: String,
    pub(crate) size: u64,
    /// SHA-256 in hexadecimal digits.
    pub(crate) sha256: String,
}

/// The folders of the fixture.
#[derive(Debug, Clone)]
pub(crate) struct Fixture {
    /// `target/bench`.
    bench: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Fixture {
    /// Takes the fixture that is there, or builds it: downloads only what the clients' caches do not have.
    pub(crate) async fn prepare(bench: &Path) -> Result<Self> {
        let folder = bench.join("fixtures");
        if let Some(manifest) = load(&folder).filter(|manifest| is_free(manifest.port)) {
            let fixture = Self { bench: bench.to_owned(), manifest };
            fixture.tell("is there");
            return Ok(fixture);
        }
        if folder.exists() {
            fs_err::remove_dir_all(&folder)?;
        }
        let port = free_port()?;
        let base = format!("http://127.0.0.1:{port}");
        let npm = npm::build(bench, &folder.join("npm"), &format!("{base}/npm/")).await?;
        let pypi = pypi::build(bench, &folder.join("pypi"), &format!("{base}/pypi/")).await?;
        let id = Sha256::digest(serde_json::to_vec(&(&npm, &pypi))?);
        let manifest = Manifest { format: FORMAT, port, id: hex::encode(&id[..8]), npm, pypi };
        // Written last: a build that was cut begins anew.
        fs_err::write(folder.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
        let fixture = Self { bench: bench.to_owned(), manifest };
        fixture.tell("was built");
        Ok(fixture)
    }

    fn tell(&self, how: &str) {
        let Manifest { npm, pypi, id, .. } = &self.manifest;
        let tarballs: Vec<_> = npm.iter().flat_map(|package| &package.tarballs).collect();
        let wheels: Vec<_> = pypi.iter().flat_map(|project| &project.files).collect();
        let megabytes = |sizes: u64| sizes / 1_000_000;
        eprintln!(
            "fixture {id} {how}: {} packuments ({} MB), {} tarballs ({} MB), {} pages, {} wheels ({} MB)",
            npm.len(),
            megabytes(npm.iter().map(|package| package.full).sum()),
            tarballs.len(),
            megabytes(tarballs.iter().map(|file| file.size).sum()),
            pypi.len(),
            wheels.len(),
            megabytes(wheels.iter().map(|file| file.size).sum()),
        );
    }

    /// The folder that nginx serves.
    pub(crate) fn folder(&self) -> PathBuf {
        self.bench.join("fixtures")
    }

    /// The project of which `npm ci` is measured: the manifest, and the lock file for a registry.
    pub(crate) fn npm_project(&self, registry: &str) -> Result<(Vec<u8>, String)> {
        let project = npm::project(&self.bench);
        let lock = fs_err::read_to_string(project.join("package-lock.json"))?;
        Ok((fs_err::read(project.join("package.json"))?, npm::locked_at(&lock, registry)?))
    }

    /// What is installed with pip and uv.
    pub(crate) fn requirements() -> &'static [&'static str] {
        pypi::REQUIREMENTS
    }
}

impl Manifest {
    /// The real package whose full packument is nearest to this size.
    pub(crate) fn packument_near(&self, bytes: u64) -> Result<&NpmPackage> {
        let real = self.npm.iter().filter(|package| !package.generated);
        real.min_by_key(|package| package.full.abs_diff(bytes)).context("the fixture has no packuments")
    }

    /// The real tarball nearest to this size, with its package.
    pub(crate) fn tarball_near(&self, bytes: u64) -> Result<(&NpmPackage, &NpmFile)> {
        let real = self.npm.iter().filter(|package| !package.generated);
        let files = real.flat_map(|package| package.tarballs.iter().map(move |file| (package, file)));
        files.min_by_key(|(_, file)| file.size.abs_diff(bytes)).context("the fixture has no tarballs")
    }

    /// The page nearest to this size.
    pub(crate) fn page_near(&self, bytes: u64) -> Result<&Project> {
        self.pypi.iter().min_by_key(|page| page.json.abs_diff(bytes)).context("the fixture has no pages")
    }

    /// The wheel nearest to this size, with its project.
    pub(crate) fn wheel_near(&self, bytes: u64) -> Result<(&Project, &Wheel)> {
        let files = self.pypi.iter().flat_map(|page| page.files.iter().map(move |file| (page, file)));
        files.min_by_key(|(_, file)| file.size.abs_diff(bytes)).context("the fixture has no wheels")
    }

    /// The generated package of this name.
    pub(crate) fn generated(&self, name: &str) -> Result<&NpmPackage> {
        let mut named = self.npm.iter().filter(|package| package.name == name);
        named.next().with_context(|| format!("the fixture has no {name}"))
    }
}

fn load(folder: &Path) -> Option<Manifest> {
    let manifest: Manifest =
        serde_json::from_slice(&fs_err::read(folder.join("manifest.json")).ok()?).ok()?;
    (manifest.format == FORMAT).then_some(manifest)
}

fn is_free(port: u16) -> bool {
    let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
    if !free {
        eprintln!("fixture: port {port}, which its documents name, is taken; they are written again");
    }
    free
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Writes a file, and beside it what nginx sends to clients that take gzip.
fn write_compressed(path: &Path, contents: &[u8]) -> Result<()> {
    let mut compressed = path.as_os_str().to_owned();
    compressed.push(".gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(contents)?;
    fs_err::write(PathBuf::from(compressed), encoder.finish()?)?;
    fs_err::write(path, contents)?;
    Ok(())
}
