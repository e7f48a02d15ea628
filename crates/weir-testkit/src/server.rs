//! A started `weir serve` on a free port with a data folder of its own. Its log is printed when the test
//! that holds it fails, and it is stopped by SIGTERM when the test is over.

mod aws;

pub use aws::{AwsCli, Python};

use crate::backend::{Bucket, Postgres};
use crate::http::Answer;
use crate::output::{Output, clean_command, run};
use crate::sign::sign;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take until it says that it listens, and until it has stopped.
const LIMIT: Duration = Duration::from_secs(45);
/// The master key of servers over a database that several share, which keep none in their data folder.
const MASTER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// An access key, as in an AWS shared-credentials file.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `aws_access_key_id`.
    pub access_key_id: String,
    /// `aws_secret_access_key`.
    pub secret_access_key: String,
    /// `aws_session_token`, of temporary credentials.
    pub session_token: Option<String>,
    /// `region`, used in the signature's scope.
    pub region: String,
}

impl Credentials {
    /// Reads the profile `default` of a shared-credentials file; panics when a key is absent.
    pub fn read(path: &Path) -> Self {
        let text = fs_err::read_to_string(path).unwrap_or_else(|error| panic!("{error}"));
        let get = |key: &str| {
            let lines = text.lines().skip_while(|line| line.trim() != "[default]").skip(1);
            let mut lines = lines.take_while(|line| !line.trim_start().starts_with('['));
            lines.find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key).then(|| value.trim().to_owned())
            })
        };
        let must = |key: &str| get(key).unwrap_or_else(|| panic!("no {key} under [default] in {path:?}"));
        Self {
            access_key_id: must("aws_access_key_id"),
            secret_access_key: must("aws_secret_access_key"),
            session_token: get("aws_session_token"),
            region: get("region").unwrap_or_else(|| "us-east-1".to_owned()),
        }
    }
}

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    listen: String,
    folder: Option<Arc<TempDir>>,
    data: Option<PathBuf>,
    path_variable: bool,
}

impl Builder {
    /// Adds a flag with its value: `flag("--max-index-bytes", "1000")`.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Adds one argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says where `public:npmjs` is: usually [`Upstream::url`](crate::Upstream::url).
    pub fn npmjs(self, url: &str) -> Self {
        self.flag("--external-connection", &format!("public:npmjs={url}"))
    }

    /// Says where `public:pypi` is: usually [`Upstream::pypi_url`](crate::Upstream::pypi_url).
    pub fn pypi(self, url: &str) -> Self {
        self.flag("--external-connection", &format!("public:pypi={url}"))
    }

    /// Keeps rows in this PostgreSQL database, as [`database_url`](Self::database_url).
    pub fn database(self, postgres: &Postgres) -> Self {
        self.database_url(postgres.url())
    }

    /// Keeps rows in the PostgreSQL database at this address, with a master key that all tests share.
    pub fn database_url(self, url: &str) -> Self {
        self.only_flag("--database-url", url).env("WEIR_MASTER_KEY", MASTER_KEY)
    }

    /// Keeps blobs in this bucket.
    pub fn objects(self, bucket: &Bucket) -> Self {
        self.objects_at(bucket, &bucket.blob_url())
    }

    /// Keeps blobs in this bucket, reached at [`Bucket::blob_url_through`] a proxy.
    pub fn objects_at(mut self, bucket: &Bucket, blob_url: &str) -> Self {
        for (name, value) in bucket.variables() {
            self = self.env(name, value);
        }
        self.only_flag("--blob-url", blob_url)
    }

    /// Sets a flag in place of the value it had.
    pub fn only_flag(mut self, name: &str, value: &str) -> Self {
        if let Some(at) = self.arguments.iter().position(|argument| argument == name) {
            self.arguments.drain(at..at + 2);
        }
        self.flag(name, value)
    }

    /// Uses this data folder, which stays when the server is gone.
    pub fn data(mut self, data: &Path) -> Self {
        self.data = Some(data.to_owned());
        self
    }

    /// Lets the server see `PATH`, so that it can ask package managers where the public registries are.
    /// Without this no connection is known but the ones a test sets.
    pub fn with_path(mut self) -> Self {
        self.path_variable = true;
        self
    }

    /// The command as it would be run, for tests of servers that must not start.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().env("HOME", folder).current_dir(folder);
        // Without the variable the system's own folders would be searched.
        let path = std::env::var_os("PATH").filter(|_| self.path_variable);
        command.env("PATH", path.unwrap_or_else(|| folder.as_os_str().to_owned()));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("serve").arg("--data").arg(self.data.clone().unwrap_or_else(|| folder.join("data")));
        command.arg("--listen").arg(&self.listen).args(&self.arguments);
        command
    }

    /// Starts the server; panics with its log when it does not say within 45 s that it listens.
    pub async fn start(self) -> Weir {
        let started = tokio::task::spawn_blocking(move || self.start_blocking()).await;
        started.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Runs the server where it is expected to refuse to start, and gives what it said.
    pub async fn start_refused(self) -> Output {
        let folder = self.folder();
        let mut command = tokio::process::Command::from(self.command(folder.path()));
        command.kill_on_drop(true);
        let output = run(command).await;
        output.assert_fails();
        output
    }

    fn folder(&self) -> Arc<TempDir> {
        let new = || Arc::new(tempfile::tempdir().expect("a temporary folder can be made"));
        self.folder.clone().unwrap_or_else(new)
    }

    fn start_blocking(mut self) -> Weir {
        let folder = self.folder();
        self.folder = Some(folder.clone());
        let log = folder.path().join("stderr");
        let file =
            fs_err::OpenOptions::new().create(true).append(true).open(&log).expect("the log can be made");
        let mut command = self.command(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file.into_file());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{:?} could not be started: {error}", self.binary));
        let stdout = child.stdout.take().expect("standard output was piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more when the server is being dropped.
                let _ = sender.send(line);
            }
        });

        let data = self.data.clone().unwrap_or_else(|| folder.path().join("data"));
        let mut weir =
            Weir { child: Some(child), url: String::new(), data, log, folder, lines, builder: self };
        let line = match weir.lines.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(error) => panic!("weir did not say that it listens ({error})"),
        };
        let url = line.strip_prefix("listening on ");
        weir.url = url.unwrap_or_else(|| panic!("weir said {line:?} first")).trim_end_matches('/').to_owned();
        weir
    }
}

/// A running server.
pub struct Weir {
    child: Option<Child>,
    url: String,
    data: PathBuf,
    log: PathBuf,
    folder: Arc<TempDir>,
    lines: mpsc::Receiver<String>,
    builder: Builder,
}

impl Weir {
    /// A server from this binary: `Weir::builder(env!("CARGO_BIN_EXE_weir"))`.
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder {
            binary: binary.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            folder: None,
            data: None,
            path_variable: false,
        }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        self.url.split_once("://").map_or(&self.url, |(_, authority)| authority)
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The server's process, for tests that read its memory or send it signals.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What the server has written to standard error so far.
    pub fn log(&self) -> String {
        let bytes = fs_err::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Lines on standard output after the one that says the server listens; there should be none.
    pub fn further_output(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// The administrator's key from the data folder.
    pub fn credentials(&self) -> Credentials {
        Credentials::read(&self.data.join("credentials"))
    }

    /// The variables that point an AWS SDK or CLI at this server.
    pub fn aws_env(&self) -> Vec<(String, String)> {
        let region = self.credentials().region;
        let pairs = [
            ("AWS_ENDPOINT_URL_CODEARTIFACT", self.url.clone()),
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_SHARED_CREDENTIALS_FILE", self.data.join("credentials").display().to_string()),
            ("AWS_REGION", region.clone()),
            ("AWS_DEFAULT_REGION", region),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_PAGER", String::new()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The AWS CLI set up for this server, or `None` after a skip line.
    pub fn aws_cli(&self) -> Option<AwsCli> {
        AwsCli::find(self.aws_env())
    }

    /// A Python with boto3 set up for this server, or `None` after a skip line.
    pub fn python(&self) -> Option<Python> {
        Python::find(self.aws_env())
    }

    /// Runs `weir ARGUMENTS` against this server, as its administrator.
    pub async fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = clean_command(&self.builder.binary, self.folder.path());
        command.current_dir(self.folder.path()).args(arguments).envs(self.aws_env());
        command.env("WEIR_ENDPOINT", &self.url);
        run(command).await
    }

    /// Sends a plain request; `path` begins with `/`.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        crate::http::send(method, &format!("{}{path}", self.url), headers, body.to_vec()).await
    }

    /// Sends a GET with a bearer token; `path` begins with `/`, or is a whole address.
    pub async fn get(&self, path: &str, token: &str) -> Answer {
        let url = if path.starts_with('/') { format!("{}{path}", self.url) } else { path.to_owned() };
        crate::http::send("GET", &url, &[("authorization", &format!("Bearer {token}"))], Vec::new()).await
    }

    /// Sends a request signed by the administrator; a body that is not empty goes as JSON.
    pub async fn api(&self, method: &str, path: &str, body: &str) -> Answer {
        self.api_as(&self.credentials(), method, path, body).await
    }

    /// Sends a request signed by someone else.
    pub async fn api_as(&self, key: &Credentials, method: &str, path: &str, body: &str) -> Answer {
        let url = format!("{}{path}", self.url);
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        let signature = sign(method, &url, &headers, body.as_bytes(), key);
        headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        crate::http::send(method, &url, &headers, body.as_bytes().to_vec()).await
    }

    /// A 12-hour token of the administrator for one domain.
    pub async fn token(&self, domain: &str) -> String {
        let answer = self.api("POST", &format!("/v1/authorization-token?domain={domain}"), "").await;
        text_member(&answer, "authorizationToken")
    }

    /// Where clients of a format find a repository; ends in `/`.
    pub async fn endpoint(&self, domain: &str, repository: &str, format: &str) -> String {
        let query = format!("domain={domain}&repository={repository}&format={format}");
        let answer = self.api("GET", &format!("/v1/repository/endpoint?{query}"), "").await;
        text_member(&answer, "repositoryEndpoint")
    }

    /// Stops the server by SIGTERM and gives its exit code; `None` when a signal ended it.
    pub async fn stop(mut self) -> Option<i32> {
        let child = self.child.take();
        let stopped = tokio::task::spawn_blocking(move || terminate(child)).await;
        stopped.expect("waiting for a process does not panic")
    }

    /// Ends the server by SIGKILL, as a power cut would, and gives how to start it again on its data.
    pub async fn kill(mut self) -> Builder {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("a child of ours can be killed");
        }
        self.again()
    }

    /// Stops the server and starts it again on the same data and port, with the same flags.
    pub async fn restart(mut self) -> Self {
        let child = self.child.take();
        let builder = self.again();
        let stopped = tokio::task::spawn_blocking(move || terminate(child)).await;
        assert_eq!(
            stopped.expect("waiting for a process does not panic"),
            Some(0),
            "weir stops with exit code 0"
        );
        builder.start().await
    }

    /// How to start it again: same data, port and flags.
    fn again(&self) -> Builder {
        Builder { listen: self.authority().to_owned(), ..self.builder.clone() }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        terminate(self.child.take());
        if std::thread::panicking() {
            eprintln!("--- the log of weir at {}\n{}---", self.url, self.log());
        }
    }
}

/// Sends SIGTERM and waits; a server that does not stop is killed, so that no test leaves one behind.
fn terminate(child: Option<Child>) -> Option<i32> {
    let mut child = child?;
    // The standard library sends no signal but SIGKILL, and unsafe code is forbidden here.
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).stderr(Stdio::null()).status();
    let patience = if asked.is_ok_and(|status| status.success()) { LIMIT } else { Duration::ZERO };
    let start = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return status.code();
        }
        if start.elapsed() >= patience {
            // It may have ended in this moment; either way it is gone after `wait`.
            let _ = child.kill();
            return child.wait().ok().and_then(|status| status.code());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn text_member(answer: &Answer, name: &str) -> String {
    answer.assert_status(200);
    let json = answer.json();
    json[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}")).to_owned()
}
