//! A package manager with a clean home, cache and configuration, in a project folder of its own.

mod config;
mod python;

pub use python::PythonClient;

use crate::output::{Output, clean_command, run, run_typing};
use crate::tool::Tool;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

/// One package manager on one clean machine, as far as it can tell.
#[derive(Debug)]
pub struct Client {
    tool: Tool,
    program: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Client {
    /// npm 10, or `None` after a skip line; so are the others.
    pub fn npm10() -> Option<Self> {
        Self::new(Tool::Npm10)
    }

    /// npm 11.
    pub fn npm11() -> Option<Self> {
        Self::new(Tool::Npm11)
    }

    /// yarn classic.
    pub fn yarn1() -> Option<Self> {
        Self::new(Tool::Yarn1)
    }

    /// yarn berry.
    pub fn yarn4() -> Option<Self> {
        Self::new(Tool::Yarn4)
    }

    /// pnpm.
    pub fn pnpm() -> Option<Self> {
        Self::new(Tool::Pnpm)
    }

    /// bun.
    pub fn bun() -> Option<Self> {
        Self::new(Tool::Bun)
    }

    /// Every npm-family client that is here; absent ones are skipped visibly.
    pub fn npm_family() -> Vec<Self> {
        let tools = [Tool::Npm10, Tool::Npm11, Tool::Yarn1, Tool::Yarn4, Tool::Pnpm, Tool::Bun];
        tools.into_iter().filter_map(Self::new).collect()
    }

    /// The package manager of this tool with a new home and an empty project.
    pub fn new(tool: Tool) -> Option<Self> {
        let program = tool.find()?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let client = Self { tool, program, folder, environment: Vec::new() };
        for folder in [client.home(), client.project()] {
            fs_err::create_dir_all(folder).expect("a temporary folder can be written");
        }
        if tool == Tool::Yarn4 {
            // Berry searches upwards for a project unless the folder has a lock file.
            client.write("yarn.lock", "");
        }
        Some(client)
    }

    /// Which tool this is.
    pub fn tool(&self) -> Tool {
        self.tool
    }

    /// The program file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The project folder, in which commands run.
    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Sets a variable for every later run.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Points the client at a registry in its user configuration, with a token for that address.
    pub fn write_config(&self, registry_url: &str, token: Option<&str>) {
        config::write(self, registry_url, token, None);
    }

    /// Points only the packages of a scope (without `@`) at a registry, all else at `registry_url`.
    pub fn write_scoped_config(&self, registry_url: &str, token: Option<&str>, scope: &str, scope_url: &str) {
        config::write(self, registry_url, token, Some((scope, scope_url)));
    }

    /// Writes a file below the project folder.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.project().join(path);
        let folder = path.parent().expect("a path below the project has a parent");
        fs_err::create_dir_all(folder).expect("a temporary folder can be written");
        fs_err::write(path, contents).expect("a temporary folder can be written");
    }

    /// Reads a file below the project folder; `None` when it is not there.
    pub fn read(&self, path: &str) -> Option<String> {
        fs_err::read_to_string(self.project().join(path)).ok()
    }

    /// The version of a package in `node_modules`; `None` when it is not installed.
    pub fn installed(&self, package: &str) -> Option<String> {
        let manifest = self.read(&format!("node_modules/{package}/package.json"))?;
        let manifest: serde_json::Value = serde_json::from_str(&manifest).ok()?;
        Some(manifest["version"].as_str()?.to_owned())
    }

    /// Writes a `package.json` with these dependencies.
    pub fn write_manifest(&self, dependencies: &[(&str, &str)]) {
        let dependencies: serde_json::Map<_, _> =
            dependencies.iter().map(|(name, range)| ((*name).to_owned(), (*range).into())).collect();
        let manifest = serde_json::json!({
            "name": "project", "version": "0.0.0", "private": true, "dependencies": dependencies,
        });
        self.write("package.json", manifest.to_string());
    }

    /// Empties caches and `node_modules`; configuration, manifest and lock files stay.
    pub fn forget(&self) {
        for folder in [self.cache(), self.project().join("node_modules"), self.home().join(".yarn")] {
            if folder.exists() {
                fs_err::remove_dir_all(folder).expect("a temporary folder can be emptied");
            }
        }
    }

    /// Runs the package manager in the project folder.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.run_in(&self.project(), arguments).await
    }

    /// Runs the package manager in another folder, such as one that holds a package to publish.
    pub async fn run_in(&self, folder: &Path, arguments: &[&str]) -> Output {
        run(self.command(folder, arguments)).await
    }

    /// Runs the package manager in the project folder and types these lines, one after another.
    pub async fn run_typing(&self, arguments: &[&str], lines: &[&str]) -> Output {
        run_typing(self.command(&self.project(), arguments), lines).await
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = clean_command(&self.program, &self.home());
        command.current_dir(folder).args(arguments);
        let cache = self.cache();
        for (name, below) in [
            ("XDG_CACHE_HOME", "xdg"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("npm_config_cache", "npm"),
            ("YARN_CACHE_FOLDER", "yarn"),
            ("BUN_INSTALL_CACHE_DIR", "bun"),
            ("BUN_INSTALL", "bun-home"),
        ] {
            command.env(name, cache.join(below));
        }
        keep_local(&mut command, &["HTTPS_PROXY", "https_proxy"]);
        command.env("npm_config_fund", "false").env("npm_config_update_notifier", "false");
        command.env("YARN_ENABLE_TELEMETRY", "0").env("YARN_IGNORE_PATH", "1").env("DO_NOT_TRACK", "1");
        command.env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }
}

/// Only what is on this machine can be reached, so that a client that was not pointed here fails.
fn keep_local(command: &mut Command, proxies: &[&str]) {
    command.envs(proxies.iter().map(|name| (name, "http://127.0.0.1:9")));
    command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
}
