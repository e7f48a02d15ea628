//! The configuration of each Python client: which index it asks, where it uploads, and as whom.

use super::PythonClient;
use crate::PythonPackage;
use crate::tool::Tool;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// An address and who is known there.
#[derive(Debug)]
pub(super) struct Place {
    url: String,
    credentials: Option<(String, String)>,
}

impl Place {
    pub(super) fn new(url: &str, credentials: Option<(&str, &str)>) -> Self {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Self { url: url.to_owned(), credentials }
    }

    /// `http://USER:PASSWORD@HOST/`.
    fn with_credentials(&self) -> String {
        let (Some((user, password)), Some((scheme, rest))) = (&self.credentials, self.url.split_once("://"))
        else {
            return self.url.clone();
        };
        let [user, password] = [user, password].map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC));
        format!("{scheme}://{user}:{password}@{rest}")
    }

    /// The user and the password as lines under these names.
    fn lines(&self, user: &str, password: &str, quote: &str) -> String {
        let Some((name, secret)) = &self.credentials else { return String::new() };
        format!("{user} = {quote}{name}{quote}\n{password} = {quote}{secret}{quote}\n")
    }
}

/// Writes the configuration into the client's home, in place of what was there.
pub(super) fn write(client: &PythonClient) {
    let (index, upload) = (client.index.as_ref(), client.upload.as_ref());
    let files = match client.tool() {
        Tool::Pip => vec![("config/pip/pip.conf", pip(index))],
        Tool::Uv => vec![("config/uv/uv.toml", uv(index, upload))],
        Tool::Poetry => {
            vec![("poetry/config.toml", poetry(upload)), ("poetry/auth.toml", logins(index, upload))]
        }
        Tool::Pdm => vec![("pdm.toml", pdm(index, upload))],
        Tool::Twine | Tool::Flit => vec![(".pypirc", pypirc(upload))],
        Tool::Hatch => vec![("hatch.toml", hatch(upload))],
        other => panic!("{} is no Python client", other.name()),
    };
    for (file, text) in files {
        let path = client.home().join(file);
        let folder = path.parent().expect("a path below the home has a parent");
        fs_err::create_dir_all(folder).expect("a temporary folder can be written");
        fs_err::write(path, text).expect("a temporary folder can be written");
    }
}

/// A manifest of a project that is not to be installed itself.
pub(super) fn manifest(client: &PythonClient, name: &str, version: &str, requirements: &[&str]) -> String {
    let mut text =
        format!("[project]\nname = {name:?}\nversion = {version:?}\ndescription = \"A project.\"\n");
    text += &format!("requires-python = \">=3.9\"\ndependencies = {requirements:?}\n");
    match (client.tool(), &client.index) {
        (Tool::Poetry, index) => {
            text += "\n[tool.poetry]\n";
            // Only a package can be published, and only what is none needs no files.
            text += if client.upload.is_some() { "" } else { "package-mode = false\n" };
            if let Some(index) = index {
                let url = &index.url;
                text += "\n[[tool.poetry.source]]\nname = \"weir\"\npriority = \"primary\"\n";
                text += &format!("url = {url:?}\n");
            }
        }
        (Tool::Pdm, _) if client.upload.is_none() => text += "\n[tool.pdm]\ndistribution = false\n",
        (Tool::Uv, _) => text += "\n[tool.uv]\npackage = false\n",
        _ => {}
    }
    text
}

/// The manifest from which flit builds a package.
pub(super) fn flit_project(package: &PythonPackage) -> String {
    format!(
        "[build-system]\nrequires = [\"flit_core\"]\nbuild-backend = \"flit_core.buildapi\"\n\n\
         [project]\nname = {:?}\nversion = {:?}\ndescription = \"The package {}.\"\n\
         requires-python = {:?}\n\n\
         [tool.flit.module]\nname = {:?}\n",
        package.name(),
        package.version(),
        package.name(),
        // Without a range the wheel would also be for Python 2.
        package.python_range().unwrap_or(">=3.8"),
        package.module(),
    )
}

fn pip(index: Option<&Place>) -> String {
    // What the machine's own configuration adds is taken away again.
    let nothing_else = "extra-index-url =\nfind-links =\n";
    let index = index.map(|index| format!("index-url = {}\n", index.with_credentials()));
    format!("[global]\n{}{nothing_else}", index.unwrap_or_default())
}

fn uv(index: Option<&Place>, upload: Option<&Place>) -> String {
    let mut text = String::new();
    if let Some(upload) = upload {
        text += &format!("publish-url = {:?}\n", upload.url);
    }
    if let Some(index) = index {
        text +=
            &format!("[[index]]\nname = \"weir\"\nurl = {:?}\ndefault = true\n", index.with_credentials());
    }
    text
}

fn poetry(upload: Option<&Place>) -> String {
    let mut text = "[keyring]\nenabled = false\n\n".to_owned();
    if let Some(upload) = upload {
        text += &format!("[repositories.weir]\nurl = {:?}\n", upload.url);
    }
    text
}

/// Poetry knows credentials by the name of a source or of a place to upload to; here that is one name.
fn logins(index: Option<&Place>, upload: Option<&Place>) -> String {
    let place = [index, upload].into_iter().flatten().find(|place| place.credentials.is_some());
    place
        .map(|place| format!("[http-basic.weir]\n{}", place.lines("username", "password", "\"")))
        .unwrap_or_default()
}

fn pdm(index: Option<&Place>, upload: Option<&Place>) -> String {
    let mut text = "check_update = false\n".to_owned();
    if let Some(index) = index {
        let login = index.lines("username", "password", "\"");
        text += &format!("[pypi]\nurl = {:?}\nverify_ssl = true\n{login}", index.url);
    }
    if let Some(upload) = upload {
        let login = upload.lines("username", "password", "\"");
        text += &format!("[repository.weir]\nurl = {:?}\n{login}", upload.url);
    }
    text
}

fn pypirc(upload: Option<&Place>) -> String {
    let Some(upload) = upload else { return String::new() };
    let login = upload.lines("username", "password", "");
    format!("[distutils]\nindex-servers = weir\n\n[weir]\nrepository = {}\n{login}", upload.url)
}

fn hatch(upload: Option<&Place>) -> String {
    let Some(upload) = upload else { return String::new() };
    let login = upload.lines("user", "auth", "\"");
    format!("[publish.index.repos.weir]\nurl = {:?}\n{login}", upload.url)
}
