//! A Python package manager or uploader with a clean home, cache and configuration, a project folder, and a
//! virtual environment in it to install into.

mod config;

use crate::Distribution;
use crate::output::{Output, clean_command, run, run_typing};
use crate::python::normalized;
use crate::tool::Tool;
use config::Place;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::Command;

/// One Python client on one clean machine, as far as it can tell.
#[derive(Debug)]
pub struct PythonClient {
    tool: Tool,
    program: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
    index: Option<Place>,
    upload: Option<Place>,
}

impl PythonClient {
    /// pip, or `None` after a skip line; so are the others.
    pub fn pip() -> Option<Self> {
        Self::new(Tool::Pip)
    }

    /// uv.
    pub fn uv() -> Option<Self> {
        Self::new(Tool::Uv)
    }

    /// Poetry.
    pub fn poetry() -> Option<Self> {
        Self::new(Tool::Poetry)
    }

    /// PDM.
    pub fn pdm() -> Option<Self> {
        Self::new(Tool::Pdm)
    }

    /// twine.
    pub fn twine() -> Option<Self> {
        Self::new(Tool::Twine)
    }

    /// Hatch.
    pub fn hatch() -> Option<Self> {
        Self::new(Tool::Hatch)
    }

    /// flit.
    pub fn flit() -> Option<Self> {
        Self::new(Tool::Flit)
    }

    /// Every client that installs and is here; absent ones are skipped visibly.
    pub fn installers() -> Vec<Self> {
        [Tool::Pip, Tool::Uv, Tool::Poetry, Tool::Pdm].into_iter().filter_map(Self::new).collect()
    }

    /// Every client that uploads and is here; absent ones are skipped visibly.
    pub fn uploaders() -> Vec<Self> {
        let tools = [Tool::Twine, Tool::Uv, Tool::Poetry, Tool::Pdm, Tool::Hatch, Tool::Flit];
        tools.into_iter().filter_map(Self::new).collect()
    }

    /// The client of this tool with a new home, an empty project, and an empty virtual environment.
    pub fn new(tool: Tool) -> Option<Self> {
        let program = tool.find()?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let client = Self { tool, program, folder, environment: Vec::new(), index: None, upload: None };
        for folder in [client.home(), client.project()] {
            fs_err::create_dir_all(folder).expect("a temporary folder can be written");
        }
        if client.installs() {
            client.make_environment();
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

    /// The Python that runs the tool: every one of them is installed into an environment of its own.
    pub fn python(&self) -> PathBuf {
        self.program.with_file_name("python")
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The project folder, in which commands run.
    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The virtual environment to install into; it has no pip.
    pub fn target(&self) -> PathBuf {
        self.project().join(".venv")
    }

    /// The Python of that environment.
    pub fn target_python(&self) -> PathBuf {
        self.target().join("bin/python")
    }

    /// Sets a variable for every later run.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Points the client at an index, and at no other, with a user and a password for it.
    pub fn write_config(&mut self, index_url: &str, credentials: Option<(&str, &str)>) {
        self.index = Some(Place::new(index_url, credentials));
        config::write(self);
    }

    /// Points the client at the place that its uploads go to, by the name `weir`.
    pub fn write_upload_config(&mut self, upload_url: &str, credentials: Option<(&str, &str)>) {
        self.upload = Some(Place::new(upload_url, credentials));
        if let (Tool::Uv, Some((user, password))) = (self.tool, credentials) {
            // Its file takes credentials in the address alone, and there uv leaves them percent-encoded.
            self.env("UV_PUBLISH_USERNAME", user).env("UV_PUBLISH_PASSWORD", password);
        }
        config::write(self);
    }

    /// Writes a `pyproject.toml` with these requirements, and the index when the tool reads it there.
    pub fn write_manifest(&self, requirements: &[&str]) {
        self.write("pyproject.toml", config::manifest(self, "project", "0.0.0", requirements));
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

    /// The version of a package in the virtual environment; `None` when it is not installed.
    pub fn installed(&self, package: &str) -> Option<String> {
        let pythons = fs_err::read_dir(self.target().join("lib")).ok()?.filter_map(Result::ok);
        let folders = pythons.filter_map(|python| fs_err::read_dir(python.path().join("site-packages")).ok());
        let names = folders.flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut versions = names.filter_map(|name| {
            let (name, version) = name.strip_suffix(".dist-info")?.rsplit_once('-')?;
            (normalized(name) == normalized(package)).then(|| version.to_owned())
        });
        versions.next()
    }

    /// Empties caches and the virtual environment; configuration, manifest and lock files stay.
    pub fn forget(&self) {
        for folder in [self.cache(), self.target()] {
            if folder.exists() {
                fs_err::remove_dir_all(folder).expect("a temporary folder can be emptied");
            }
        }
        if self.installs() {
            self.make_environment();
        }
    }

    /// Installs these requirements into the virtual environment: `pip install`, `uv pip install`, or a
    /// manifest with them and `install` for those that work on projects.
    pub async fn install(&self, requirements: &[&str]) -> Output {
        let command: &[&str] = match self.tool {
            Tool::Pip => &["install"],
            Tool::Uv => &["pip", "install"],
            Tool::Poetry | Tool::Pdm => {
                self.write_manifest(requirements);
                let only = if self.tool == Tool::Poetry { "--no-root" } else { "--no-self" };
                return self.run(&["install", only]).await;
            }
            other => panic!("{} does not install", other.name()),
        };
        self.run(&[command, requirements].concat()).await
    }

    /// Uploads files of one package to the place that was configured. flit uploads what it builds itself of
    /// the package, whatever the files are.
    pub async fn upload(&self, distributions: &[&Distribution]) -> Output {
        let package = &distributions.first().expect("there is something to upload").package;
        let mut files = Vec::new();
        for distribution in distributions {
            let path = format!("dist/{}", distribution.file_name);
            self.write(&path, &distribution.bytes);
            files.push(path);
        }
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        match self.tool {
            Tool::Twine => {
                let command = ["upload", "--non-interactive", "--disable-progress-bar", "--repository=weir"];
                self.run(&[&command, files.as_slice()].concat()).await
            }
            Tool::Uv => {
                self.run(&[&["publish", "--trusted-publishing=never"], files.as_slice()].concat()).await
            }
            Tool::Hatch => {
                self.run(&[&["publish", "--no-prompt", "-r", "weir"], files.as_slice()].concat()).await
            }
            Tool::Poetry | Tool::Pdm => {
                // Both upload what lies in `dist` and is of the project that they stand in.
                let manifest = config::manifest(self, package.name(), package.version(), &[]);
                self.write("pyproject.toml", manifest);
                let no_build: &[&str] = if self.tool == Tool::Pdm { &["--no-build"] } else { &[] };
                self.run(&[&["publish", "-r", "weir"], no_build].concat()).await
            }
            Tool::Flit => {
                package.write_source(&self.project());
                self.write("pyproject.toml", config::flit_project(package));
                self.run(&["publish", "--repository=weir"]).await
            }
            other => panic!("{} does not upload", other.name()),
        }
    }

    /// Runs the client in the project folder.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.run_in(&self.project(), arguments).await
    }

    /// Runs the client in another folder, such as one that holds a package to build.
    pub async fn run_in(&self, folder: &Path, arguments: &[&str]) -> Output {
        run(self.command(&self.program, folder, arguments)).await
    }

    /// Runs the client in the project folder and types these lines, one after another.
    pub async fn run_typing(&self, arguments: &[&str], lines: &[&str]) -> Output {
        run_typing(self.command(&self.program, &self.project(), arguments), lines).await
    }

    /// Runs a line of Python in the virtual environment.
    pub async fn run_python(&self, code: &str) -> Output {
        run(self.command(&self.target_python(), &self.project(), &["-c", code])).await
    }

    fn command(&self, program: &Path, folder: &Path, arguments: &[&str]) -> Command {
        let (home, cache) = (self.home(), self.cache());
        let mut command = clean_command(program, &home);
        command.current_dir(folder).args(arguments);
        for (name, below) in [
            ("XDG_CACHE_HOME", "xdg"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("PIP_CACHE_DIR", "pip"),
            ("UV_CACHE_DIR", "uv"),
            ("POETRY_CACHE_DIR", "poetry"),
            ("PDM_CACHE_DIR", "pdm"),
            ("PDM_LOG_DIR", "pdm-log"),
            ("HATCH_CACHE_DIR", "hatch"),
            ("HATCH_DATA_DIR", "hatch-data"),
        ] {
            command.env(name, cache.join(below));
        }
        for (name, below) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CONFIG_DIRS", "no-system-config"),
            ("POETRY_CONFIG_DIR", "poetry"),
            ("PDM_CONFIG_FILE", "pdm.toml"),
            ("HATCH_CONFIG", "hatch.toml"),
        ] {
            command.env(name, home.join(below));
        }
        keep_local(&mut command);
        for (name, value) in [
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_NO_INPUT", "1"),
            ("UV_PYTHON_DOWNLOADS", "never"),
            ("UV_NO_PROGRESS", "1"),
            ("POETRY_NO_INTERACTION", "1"),
            ("PDM_CHECK_UPDATE", "false"),
            ("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring"),
            ("NO_COLOR", "1"),
        ] {
            command.env(name, value);
        }
        if self.installs() {
            command.env("VIRTUAL_ENV", self.target()).env("PIP_PYTHON", self.target_python());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn installs(&self) -> bool {
        matches!(self.tool, Tool::Pip | Tool::Uv | Tool::Poetry | Tool::Pdm)
    }

    /// Without pip an environment is made in a moment; the tools bring their own.
    fn make_environment(&self) {
        let mut python = std::process::Command::new(self.python());
        let made =
            python.args(["-m", "venv", "--without-pip"]).arg(self.target()).stdin(Stdio::null()).output();
        let made = made.expect("the tool has a Python beside it");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "no virtual environment could be made: {said}");
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }
}

fn keep_local(command: &mut Command) {
    // Python's clients would ask plain addresses too.
    super::keep_local(
        command,
        &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    );
}
