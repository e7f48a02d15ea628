//! The real AWS CLI, kept in one process: starting it takes longer than most calls. Its own checks of
//! parameters are off, so that what a test sees refused was refused by the server.

use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use weir_testkit::output::clean_command;
use weir_testkit::{Output, Tool, Weir};

/// Reads a command line per line, runs it as `aws` would, and answers with one line of JSON.
const DRIVER: &str = r#"
import contextlib, io, json, shlex, sys
from awscli.clidriver import create_clidriver

answers = sys.stdout
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = create_clidriver().main(shlex.split(json.loads(line)))
        except SystemExit as end:
            code = end.code
    answers.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\n")
    answers.flush()
"#;

/// An AWS CLI that stays.
pub(crate) struct AwsSession {
    pipe: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    folder: tempfile::TempDir,
    _process: Child,
}

impl AwsSession {
    /// Starts it for a server and its administrator; `None` after a skip line.
    pub(crate) fn start(weir: &Weir) -> Option<Self> {
        Self::start_as(weir, &[])
    }

    /// Starts it with more variables, such as another key.
    pub(crate) fn start_as(weir: &Weir, environment: &[(&str, &str)]) -> Option<Self> {
        let python = Tool::Python.find()?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let config = folder.path().join("config");
        fs_err::write(&config, "[default]\nparameter_validation = false\n").expect("the folder is ours");
        let mut command = clean_command(python, folder.path());
        command.current_dir(folder.path()).args(["-c", DRIVER]).envs(weir.aws_env());
        command.env("AWS_CONFIG_FILE", config).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the AWS CLI's Python starts");
        let stdin = process.stdin.take().expect("standard input was piped");
        let stdout = process.stdout.take().expect("standard output was piped");
        let pipe = Mutex::new((stdin, BufReader::new(stdout).lines()));
        Some(Self { pipe, folder, _process: process })
    }

    /// The folder the CLI runs in, for files it reads and writes.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Runs `aws COMMAND`, a line as a shell would take it.
    pub(crate) async fn run(&self, command: &str) -> Output {
        let mut pipe = self.pipe.lock().await;
        let line = format!("{}\n", json!(command));
        pipe.0.write_all(line.as_bytes()).await.expect("the AWS CLI reads");
        let answer = pipe.1.next_line().await.expect("the AWS CLI writes").expect("the AWS CLI lives");
        let (code, stdout, stderr): (Option<i32>, String, String) =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        Output { command: format!("aws {command}"), code, stdout, stderr }
    }

    /// Runs `aws codeartifact COMMAND`, which must work; an answer without a body is `null`.
    pub(crate) async fn ok(&self, command: &str) -> Value {
        let output = self.run(&format!("codeartifact {command}")).await;
        output.assert_ok();
        if output.stdout.trim().is_empty() { Value::Null } else { output.json() }
    }

    /// Runs `aws codeartifact COMMAND`, which must fail with this exception; gives what was printed.
    pub(crate) async fn fails(&self, command: &str, exception: &str) -> String {
        let output = self.run(&format!("codeartifact {command}")).await;
        output.assert_fails().assert_says(&format!("({exception})"));
        output.stderr
    }
}

/// The members called `field` of the objects in a list: `names(&answer["packages"], "package")`.
#[track_caller]
pub(crate) fn names(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().unwrap_or_else(|| panic!("not a list: {list}"));
    let name =
        |item: &Value| item[field].as_str().unwrap_or_else(|| panic!("no {field} in {item}")).to_owned();
    items.iter().map(name).collect()
}
