//! Runs a program in an environment that holds nothing but what the test says, and keeps what it printed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long any one program may run before the test is failed.
const LIMIT: Duration = Duration::from_secs(180);

/// How long a program is given to ask for the next line.
const TYPING: Duration = Duration::from_millis(1500);

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, lossily as UTF-8.
    pub stdout: String,
    /// Standard error, lossily as UTF-8.
    pub stderr: String,
}

impl Output {
    /// Whether the program exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Panics with everything it printed unless it exited with 0.
    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        assert!(self.success(), "this should have worked:\n{self}");
        self
    }

    /// Panics with everything it printed when it exited with 0.
    #[track_caller]
    pub fn assert_fails(&self) -> &Self {
        assert!(!self.success(), "this should have failed:\n{self}");
        self
    }

    /// Panics unless standard output or standard error contains `text`.
    #[track_caller]
    pub fn assert_says(&self, text: &str) -> &Self {
        assert!(self.says(text), "this should have said {text:?}:\n{self}");
        self
    }

    /// Whether standard output or standard error contains `text`.
    pub fn says(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }

    /// Standard output as JSON; panics when it is not.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON ({error}):\n{self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "$ {}\nexit code: {:?}", self.command, self.code)?;
        writeln!(out, "--- stdout\n{}--- stderr\n{}---", self.stdout, self.stderr)
    }
}

/// A command with an empty environment but `PATH`, a home of its own and a plain locale.
pub fn clean_command(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("LC_ALL", "C.UTF-8").env("TMPDIR", std::env::temp_dir());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.kill_on_drop(true);
    command
}

/// Runs a command to its end with nothing on standard input; panics when it cannot start or takes 3 minutes.
pub async fn run(mut command: Command) -> Output {
    let line = describe(&command);
    let running = command.stdin(Stdio::null()).output();
    let ended = tokio::time::timeout(LIMIT, running)
        .await
        .unwrap_or_else(|_| panic!("`{line}` did not end within {LIMIT:?}"))
        .unwrap_or_else(|error| panic!("`{line}` could not be started: {error}"));
    ended_as(line, ended)
}

/// [`run`] for a program that asks questions: each line is typed a moment after the one before, since some
/// programs drop what was typed before they asked.
pub async fn run_typing(mut command: Command, lines: &[&str]) -> Output {
    let line = describe(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("`{line}` could not be started: {error}"));
    let mut input = child.stdin.take().expect("standard input was piped");
    let typing = async move {
        for line in lines {
            tokio::time::sleep(TYPING).await;
            // A program that has given up asking tells why on its own.
            let _ = input.write_all(format!("{line}\n").as_bytes()).await;
        }
        tokio::time::sleep(TYPING).await;
    };
    let both = async { tokio::join!(typing, child.wait_with_output()) };
    let (_, ended) = tokio::time::timeout(LIMIT, both)
        .await
        .unwrap_or_else(|_| panic!("`{line}` did not end within {LIMIT:?}"));
    ended_as(line, ended.unwrap_or_else(|error| panic!("no output: {error}")))
}

fn ended_as(command: String, ended: std::process::Output) -> Output {
    Output {
        command,
        code: ended.status.code(),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

fn describe(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
