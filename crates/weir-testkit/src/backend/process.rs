//! PostgreSQL and the S3 server as child processes on the loopback interface. `cargo xtask test` starts
//! its shared ones from this very file, so it needs nothing but the standard library.
//!
//! A child ends with the process that started it, however that ends: no killed run leaves servers behind.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long a server may take to be ready, and to stop.
const LIMIT: Duration = Duration::from_secs(60);
/// What every folder of servers is called, before the identifier of the process that made it.
const PREFIX: &str = "weir-servers-";

/// The access key of the S3 server.
pub(crate) const ACCESS_KEY: &str = "weirtest";
/// Its secret.
pub(crate) const SECRET_KEY: &str = "weirtestsecret";

/// A folder of this process for one server, removed when dropped, or by a later run.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Self> {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let parent = std::env::temp_dir();
        sweep(&parent);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(parent.join(format!("{PREFIX}{}-{count}", std::process::id())));
        fs_err::create_dir_all(&folder.0)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is removed by the next run.
        let _ = fs_err::remove_dir_all(&self.0);
    }
}

/// Removes the folders of processes that are gone: those that were killed, and those whose servers lived as
/// long as they.
fn sweep(parent: &Path) {
    for entry in fs_err::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(id, _)| id);
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}

/// A port that is free now, below those which the system gives to outgoing connections: a server that is
/// stopped for a while finds its port free again.
fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 997 * 12) as u16;
    for _ in 0..12_000 {
        let port = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no port is free between 20000 and 32000"))
}

/// A PostgreSQL cluster in a folder of its own, which trusts everybody who reaches it.
#[derive(Debug)]
pub(crate) struct Cluster {
    child: Option<Child>,
    programs: PathBuf,
    port: u16,
    /// The user and group to run as: PostgreSQL refuses the administrator of a machine.
    owner: Option<(u32, u32)>,
    folder: Folder,
}

impl Cluster {
    /// Makes a cluster with the programs of this folder; it is not started.
    pub(crate) fn make(programs: &Path) -> io::Result<Self> {
        let owner = match fs_err::metadata("/proc/self")?.uid() {
            0 => Some((account("-u")?, account("-g")?)),
            _ => None,
        };
        let folder = Folder::make()?;
        if let Some((user, group)) = owner {
            fs_err::os::unix::fs::chown(&folder.0, Some(user), Some(group))?;
        }
        fs_err::set_permissions(&folder.0, PermissionsExt::from_mode(0o700))?;
        let cluster = Self { child: None, programs: programs.to_owned(), port: free_port()?, owner, folder };
        let mut command = cluster.command("initdb");
        // Sorted as people do, so that whoever relies on the order of bytes must say so.
        command.args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en"]);
        command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--pgdata"]);
        let ended = command.arg(cluster.data()).output()?;
        if !ended.status.success() {
            return Err(io::Error::other(format!("initdb: {}", String::from_utf8_lossy(&ended.stderr))));
        }
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.folder.0.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = bound_to_this_thread();
        if let Some((user, group)) = self.owner {
            command.args(["--clear-groups", &format!("--reuid={user}"), &format!("--regid={group}")]);
        }
        command.arg(self.programs.join(program)).current_dir(&self.folder.0);
        command
    }

    /// `postgres://postgres@127.0.0.1:PORT/NAME`
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts it with these settings (`max_connections=10`) and waits until it takes connections.
    pub(crate) fn start(&mut self, settings: &[String]) -> io::Result<()> {
        let mut command = self.command("postgres");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-c", "unix_socket_directories="]);
        command.args(settings.iter().flat_map(|setting| ["-c", setting])).arg("-D").arg(self.data());
        let log = self.folder.0.join("log");
        self.child = Some(spawn(command, &log)?);
        // The file in which it tells its own tools how far it is.
        let state = self.data().join("postmaster.pid");
        wait(self.child.as_mut(), "postgres", &log, || {
            let text = fs_err::read_to_string(&state).unwrap_or_default();
            text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
        })
    }

    /// Stops it: open transactions are undone and connections closed.
    pub(crate) fn stop(&mut self) {
        end(self.child.take(), "INT");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The number of the user or group `postgres`.
fn account(kind: &str) -> io::Result<u32> {
    let ended = Command::new("id").args([kind, "postgres"]).output()?;
    let text = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    text.parse().map_err(|_| io::Error::other("this machine has no user 'postgres' to run PostgreSQL as"))
}

/// An S3 server whose buckets are the folders of a folder.
#[derive(Debug)]
pub(crate) struct ObjectServer {
    child: Option<Child>,
    program: PathBuf,
    port: u16,
    folder: Folder,
}

impl ObjectServer {
    /// Prepares a server that has no buckets; it is not started.
    pub(crate) fn make(program: &Path) -> io::Result<Self> {
        let made =
            Self { child: None, program: program.to_owned(), port: free_port()?, folder: Folder::make()? };
        fs_err::create_dir_all(made.buckets())?;
        fs_err::create_dir_all(made.folder.0.join("metadata"))?;
        Ok(made)
    }

    /// The folder of buckets.
    pub(crate) fn buckets(&self) -> PathBuf {
        self.folder.0.join("buckets")
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let mut command = bound_to_this_thread();
        command.arg(&self.program).args(["--quiet", "--port", &format!("127.0.0.1:{}", self.port)]);
        // What the server remembers of objects lies beside them: not every file system can attach it to them.
        command.args(["posix", "--sidecar"]).arg(self.folder.0.join("metadata")).arg(self.buckets());
        command.env("ROOT_ACCESS_KEY_ID", ACCESS_KEY).env("ROOT_SECRET_ACCESS_KEY", SECRET_KEY);
        let log = self.folder.0.join("log");
        self.child = Some(spawn(command, &log)?);
        let port = self.port;
        wait(self.child.as_mut(), "the S3 server", &log, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })
    }

    /// Stops it, with whatever it was about to answer.
    pub(crate) fn stop(&mut self) {
        end(self.child.take(), "TERM");
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command whose arguments are a program that is interrupted when the thread that starts it ends.
fn bound_to_this_thread() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]).stdin(Stdio::null());
    command
}

/// A command to start, and whom to tell.
type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command on a thread that lives as long as this process.
fn spawn(mut command: Command, log: &Path) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let log = fs_err::OpenOptions::new().create(true).append(true).open(log)?.into_file();
    command.stdout(log.try_clone()?).stderr(log);
    let starter = STARTER.get_or_init(|| {
        let (orders, taken) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, told) in taken {
                let _ = told.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (told, answer) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts servers is gone");
    starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, told)).map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}

fn wait(
    child: Option<&mut Child>,
    name: &str,
    log: &Path,
    mut ready: impl FnMut() -> bool,
) -> io::Result<()> {
    let Some(child) = child else { return Err(io::Error::other(format!("{name} is not started"))) };
    let begun = Instant::now();
    while !ready() {
        let ended = child.try_wait()?;
        if ended.is_some() || begun.elapsed() > LIMIT {
            let mut said = String::new();
            fs_err::File::open(log)?.take(4000).read_to_string(&mut said)?;
            return Err(io::Error::other(format!("{name} did not become ready ({ended:?}): {said}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks a child to end, and kills one that does not.
fn end(child: Option<Child>, signal: &str) {
    let Some(mut child) = child else { return };
    let begun = Instant::now();
    let asked = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    while asked.as_ref().is_ok_and(|status| status.success()) && begun.elapsed() < LIMIT {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill().and_then(|()| child.wait());
}
