//! The AWS CLI and boto3, pointed at a server, with a home of their own.

use crate::output::{Output, clean_command, run};
use crate::tool::Tool;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The AWS CLI.
#[derive(Debug, Clone)]
pub struct AwsCli(Program);

/// A Python with boto3 and botocore.
#[derive(Debug, Clone)]
pub struct Python(Program);

#[derive(Debug, Clone)]
struct Program {
    path: PathBuf,
    home: Arc<TempDir>,
    environment: Vec<(String, String)>,
}

impl AwsCli {
    /// The installed CLI with these variables added, or `None` after a skip line.
    pub fn find(environment: Vec<(String, String)>) -> Option<Self> {
        Program::find(Tool::Aws, environment).map(Self)
    }

    /// Sets a variable, or replaces one; `HOME` of a [`Client`](crate::Client) lets `login` set that one up.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs `aws ARGUMENTS`; answers come as JSON: `cli.run(&["codeartifact", "list-domains"]).await.json()`.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.0.run(arguments).await
    }

    /// Runs `aws codeartifact ARGUMENTS` and panics unless it worked; an answer without a body is `null`.
    pub async fn ok(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[&["codeartifact"], arguments].concat()).await;
        output.assert_ok();
        if output.stdout.trim().is_empty() { serde_json::Value::Null } else { output.json() }
    }

    /// The home folder, where `aws codeartifact login` writes `.npmrc` and the like.
    pub fn home(&self) -> &Path {
        self.0.home.path()
    }

    /// Lets the CLI find this program (`npm`, for `login`) before others on `PATH`.
    pub fn with_program(mut self, program: &Path) -> Self {
        let folder = program.parent().map(Path::to_owned).unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = format!("{}:{}", folder.display(), path.to_string_lossy());
        self.0.environment.push(("PATH".to_owned(), path));
        self
    }
}

impl Python {
    /// The installed Python with these variables added, or `None` after a skip line.
    pub fn find(environment: Vec<(String, String)>) -> Option<Self> {
        Program::find(Tool::Python, environment).map(Self)
    }

    /// Runs a script; `arguments` are its `sys.argv[1:]`.
    pub async fn run(&self, script: &str, arguments: &[&str]) -> Output {
        self.0.run(&[&["-c", script], arguments].concat()).await
    }
}

impl Program {
    fn find(tool: Tool, environment: Vec<(String, String)>) -> Option<Self> {
        let home = Arc::new(tempfile::tempdir().expect("a temporary folder can be made"));
        Some(Self { path: tool.find()?, home, environment })
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = clean_command(&self.path, self.home.path());
        command.current_dir(self.home.path()).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        run(command).await
    }
}
