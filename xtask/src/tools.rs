//! The clients that tests drive and the servers that benchmarks compare with, pinned, and installed below
//! `target/test-tools` by the package clients of this machine (npm, pip and go) from wherever these are set up to
//! fetch; PostgreSQL, nginx and wrk are the machine's own. A second run installs nothing.

use anyhow::{Context, Result, bail, ensure};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

/// Every tool and its version. The newest of each line that runs on node 20 and Python 3.11; the AWS tools
/// are of the release whose service model the API was written from.
const TOOLS: &[Tool] = &[
    Tool { name: "npm10", source: Source::Npm { package: "npm", version: "10.9.9" }, program: "npm" },
    Tool { name: "npm11", source: Source::Npm { package: "npm", version: "11.21.2" }, program: "npm" },
    Tool { name: "yarn1", source: Source::Npm { package: "yarn", version: "1.22.22" }, program: "yarn" },
    Tool {
        name: "yarn4",
        source: Source::Npm { package: "@yarnpkg/cli-dist", version: "4.18.1" },
        program: "yarn",
    },
    Tool { name: "pnpm", source: Source::Npm { package: "pnpm", version: "12.21.0" }, program: "pnpm" },
    Tool { name: "bun", source: Source::Npm { package: "bun", version: "1.4.5" }, program: "bun" },
    Tool {
        name: "aws",
        source: Source::Pip(&["awscli==1.45.11", "boto3==1.43.11", "botocore==1.43.11"]),
        program: "aws",
    },
    Tool { name: "python", source: Source::With("aws"), program: "python" },
    Tool { name: "pip", source: Source::Pip(&["pip==26.3"]), program: "pip" },
    Tool { name: "uv", source: Source::Pip(&["uv==0.13.9"]), program: "uv" },
    Tool { name: "poetry", source: Source::Pip(&["poetry==2.5.1"]), program: "poetry" },
    // With what it was released with: it does not run with the newest of what it needs.
    Tool { name: "pdm", source: Source::Pip(&["pdm[locked]==2.26.9"]), program: "pdm" },
    Tool { name: "twine", source: Source::Pip(&["twine==7.0.0"]), program: "twine" },
    Tool { name: "hatch", source: Source::Pip(&["hatch==1.18.2"]), program: "hatch" },
    Tool { name: "flit", source: Source::Pip(&["flit==4.2.0"]), program: "flit" },
    // The programs, of which tests need several, lie in one folder.
    Tool { name: "postgresql", source: Source::Debian("postgresql", newest_postgresql), program: "" },
    // An S3 server over a plain folder (Apache-2.0), so that tests can look at objects and damage them.
    Tool {
        name: "versitygw",
        source: Source::Go { module: "github.com/versity/versitygw/cmd/versitygw", version: "v1.8.0" },
        program: "versitygw",
    },
];

/// What benchmarks need beside some of the clients: the limit of what is possible, a load generator, rivals.
const BENCH_TOOLS: &[Tool] = &[
    Tool { name: "nginx", source: Source::Debian("nginx-light", nginx), program: "" },
    Tool { name: "wrk", source: Source::Debian("wrk", wrk), program: "" },
    Tool {
        name: "verdaccio",
        // A dependency names a tag of this package that not every registry carries.
        source: Source::NpmOverriding {
            package: "verdaccio",
            version: "6.10.4",
            overrides: r#"{ "node-fetch": "2.7.0" }"#,
        },
        program: "verdaccio",
    },
    // Verdaccio does not run with what other tools run with.
    Tool { name: "node22", source: Source::Npm { package: "node", version: "22.23.3" }, program: "node" },
    Tool { name: "proxpi", source: Source::Pip(&["proxpi==1.3.1", "gunicorn==27.0.1"]), program: "gunicorn" },
];
/// The clients that benchmarks install with.
const BENCH_CLIENTS: &[&str] = &["npm11", "pip", "uv"];

/// Where Debian and Ubuntu put the programs of each version of PostgreSQL.
const POSTGRESQL: &str = "/usr/lib/postgresql";

struct Tool {
    /// The folder, and the end of the variable `WEIR_TEST_NAME`.
    name: &'static str,
    source: Source,
    program: &'static str,
}

enum Source {
    Npm {
        package: &'static str,
        version: &'static str,
    },
    /// With versions of what it needs that are not those it asks for, as JSON.
    NpmOverriding {
        package: &'static str,
        version: &'static str,
        overrides: &'static str,
    },
    Pip(&'static [&'static str]),
    Go {
        module: &'static str,
        version: &'static str,
    },
    /// A package of the machine, at whatever version its release has, and where it is when it is there.
    Debian(&'static str, fn() -> Option<PathBuf>),
    /// Comes with another tool.
    With(&'static str),
}

/// What is installed, and what could not be.
pub(crate) struct Installed {
    present: Vec<(&'static str, PathBuf)>,
    absent: Vec<&'static str>,
}

impl Installed {
    /// Where a tool is, if it is here.
    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        let mut named = self.present.iter();
        named.find(|(other, _)| *other == name).map(|(_, path)| path.as_path())
    }

    /// The variables by which tests find the tools.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let named = self.present.iter();
        let mut variables: Vec<_> = named
            .map(|(name, path)| (format!("WEIR_TEST_{}", name.to_uppercase()), path.display().to_string()))
            .collect();
        variables.push(("WEIR_TEST_ABSENT".to_owned(), self.absent.join(",")));
        variables
    }
}

/// Installs the tools of the tests, and leaves a list of them for a plain `cargo test`.
pub(crate) fn install_all(root: &Path) -> Result<Installed> {
    let (folder, installed) = install(root, &TOOLS.iter().collect::<Vec<_>>())?;
    let list = installed.present.iter().map(|(name, path)| format!("{name}={}\n", path.display()));
    fs_err::write(folder.join("list"), list.collect::<String>())?;
    Ok(installed)
}

/// Installs the tools of the benchmarks.
pub(crate) fn install_for_benchmarks(root: &Path) -> Result<Installed> {
    let clients = TOOLS.iter().filter(|tool| BENCH_CLIENTS.contains(&tool.name));
    install(root, &clients.chain(BENCH_TOOLS).collect::<Vec<_>>()).map(|(_, installed)| installed)
}

/// Installs what is not there at its version, all at once, with one line for each tool.
fn install(root: &Path, tools: &[&Tool]) -> Result<(PathBuf, Installed)> {
    let folder = root.join("target/test-tools");
    fs_err::create_dir_all(&folder)?;
    // It may be a link to a folder that several clones share.
    let folder = fs_err::canonicalize(folder)?;
    let mut installed = Installed { present: Vec::new(), absent: Vec::new() };
    std::thread::scope(|scope| {
        let running: Vec<_> =
            tools.iter().map(|tool| (tool, scope.spawn(|| tool.install(&folder)))).collect();
        for (tool, thread) in running {
            match thread.join().expect("installing does not panic") {
                Ok(()) => installed.present.push((tool.name, tool.path(&folder))),
                Err(error) => {
                    eprintln!("tool {}: ABSENT, what needs it is skipped: {error:#}", tool.name);
                    installed.absent.push(tool.name);
                }
            }
        }
    });
    installed.present.retain(|(name, path)| {
        let there = path.exists();
        if !there {
            installed.absent.push(name);
        }
        there
    });
    Ok((folder, installed))
}

impl Tool {
    fn folder(&self, tools: &Path) -> PathBuf {
        tools.join(if let Source::With(other) = self.source { other } else { self.name })
    }

    fn path(&self, tools: &Path) -> PathBuf {
        let below = match self.source {
            Source::Debian(_, find) => return find().unwrap_or_default(),
            Source::Npm { .. } | Source::NpmOverriding { .. } => "node_modules/.bin",
            Source::Pip(_) | Source::Go { .. } | Source::With(_) => "bin",
        };
        self.folder(tools).join(below).join(self.program)
    }

    /// What is to be installed, as one line; also written down when it is.
    fn wanted(&self) -> String {
        match &self.source {
            Source::Npm { package, version } | Source::NpmOverriding { package, version, .. } => {
                format!("{package}@{version}")
            }
            Source::Pip(packages) => packages.join(" "),
            Source::Go { module, version } => format!("{module}@{version}"),
            Source::Debian(package, _) => format!("{package} of this machine"),
            Source::With(other) => format!("with {other}"),
        }
    }

    fn install(&self, tools: &Path) -> Result<()> {
        match self.source {
            Source::With(_) => return Ok(()),
            Source::Debian(package, find) => return install_with_apt(self.name, package, find),
            Source::Npm { .. } | Source::NpmOverriding { .. } | Source::Pip(_) | Source::Go { .. } => {}
        }
        let (folder, wanted) = (self.folder(tools), self.wanted());
        let stamp = folder.join("installed");
        if fs_err::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
            eprintln!("tool {}: {wanted} is there", self.name);
            return Ok(());
        }
        let start = Instant::now();
        if folder.exists() {
            fs_err::remove_dir_all(&folder)?;
        }
        fs_err::create_dir_all(&folder)?;
        match &self.source {
            Source::Npm { .. } => install_with_npm(&folder, &wanted, "{}")?,
            Source::NpmOverriding { overrides, .. } => install_with_npm(&folder, &wanted, overrides)?,
            Source::Pip(packages) => install_with_pip(&folder, packages)?,
            Source::Go { .. } => install_with_go(&folder, &wanted)?,
            Source::Debian(..) | Source::With(_) => {}
        }
        // Verdaccio runs with another node than the machine's.
        if !matches!(self.source, Source::NpmOverriding { .. }) {
            run(Command::new(self.path(tools)).arg("--version"))
                .context("it is installed but does not run")?;
        }
        fs_err::write(&stamp, &wanted)?;
        eprintln!("tool {}: {wanted} installed in {:.1} s", self.name, start.elapsed().as_secs_f32());
        Ok(())
    }
}

fn install_with_npm(folder: &Path, package: &str, overrides: &str) -> Result<()> {
    // A manifest keeps npm from climbing to a project above.
    let manifest = format!("{{ \"private\": true, \"overrides\": {overrides} }}\n");
    fs_err::write(folder.join("package.json"), manifest)?;
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args(["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"]);
    run(npm.arg("--prefix").arg(folder).arg(package))
}

fn install_with_pip(folder: &Path, packages: &[&str]) -> Result<()> {
    // The machine's pip fills an environment that has none: most of the time would go into giving it one.
    run(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(folder))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--python"]).arg(folder.join("bin/python"));
    // Python compiles what is used when it is used, which is a part of it.
    pip.args(["install", "--quiet", "--no-compile", "--disable-pip-version-check"]);
    run(pip.args(packages))
}

fn install_with_go(folder: &Path, package: &str) -> Result<()> {
    // In a folder of its own, so that no module of the machine's owner decides on anything.
    let mut go = Command::new("go");
    go.current_dir(folder).env("GOBIN", folder.join("bin")).env("GOWORK", "off");
    run(go.args(["install", "-trimpath", package]))
}

/// The folder of the programs of the newest PostgreSQL on this machine.
fn newest_postgresql() -> Option<PathBuf> {
    let versions = fs_err::read_dir(POSTGRESQL).ok()?.flatten();
    let complete = versions.filter(|version| version.path().join("bin/initdb").exists());
    let number = |version: &fs_err::DirEntry| version.file_name().to_string_lossy().parse::<u32>().ok();
    complete.max_by_key(number).map(|version| version.path().join("bin"))
}

/// Makes sure that this machine has valgrind.
pub(crate) fn install_valgrind() -> Result<()> {
    if run(Command::new("valgrind").arg("--version")).is_ok() {
        return Ok(());
    }
    apt_get("valgrind")?;
    run(Command::new("valgrind").arg("--version")).context("valgrind is installed but does not run")
}

fn nginx() -> Option<PathBuf> {
    // Not in the PATH of every user.
    program("nginx").or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.exists()))
}

fn wrk() -> Option<PathBuf> {
    program("wrk")
}

/// A program in the folders of `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// One at a time, because apt holds a lock.
static APT: Mutex<()> = Mutex::new(());

fn install_with_apt(name: &str, package: &str, find: fn() -> Option<PathBuf>) -> Result<()> {
    if let Some(there) = find() {
        eprintln!("tool {name}: {} is there", there.display());
        return Ok(());
    }
    let start = Instant::now();
    apt_get(package)?;
    let there = find().context("it is installed but its programs are not where they should be")?;
    eprintln!("tool {name}: {} installed in {:.1} s", there.display(), start.elapsed().as_secs_f32());
    Ok(())
}

/// Installs a package of the machine.
fn apt_get(package: &str) -> Result<()> {
    ensure!(
        fs_err::metadata("/proc/self")?.uid() == 0,
        "it is not here; `apt-get install {package}` brings it, which only root may run"
    );
    let _turn = APT.lock();
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    if apt(&install).is_err() {
        // A machine that never looked knows no packages.
        apt(&["update"])?;
        apt(&install)?;
    }
    Ok(())
}

/// Runs a command quietly; the error holds what it said was wrong.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = match command.stdin(Stdio::null()).output() {
        Ok(ended) => ended,
        Err(error) => bail!("{program} could not be started: {error}"),
    };
    let said = String::from_utf8_lossy(&ended.stderr);
    let errors: Vec<_> = said.lines().filter(|line| line.to_lowercase().contains("error")).take(4).collect();
    ensure!(ended.status.success(), "{program} failed ({}): {}", ended.status, errors.join(" / "));
    Ok(())
}
