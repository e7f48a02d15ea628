//! Wheels and sdists: name and version come from the file's name, as their specifications have it; all else
//! the server reads in the archive itself.

mod form;

use super::summary::Summary;
use super::target::{Target, refusal};
use crate::command::login;
use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use weir_core::Digest;

/// A wheel or an sdist to be published.
#[derive(Debug)]
pub(super) struct Distribution {
    path: PathBuf,
    file_name: String,
    project: FileName,
    sha256: Digest,
    size: u64,
}

/// What the name of a file tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileName {
    name: String,
    version: String,
    kind: Kind,
}

/// What kind of distribution it is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// With the tag of the Pythons it runs on.
    Wheel(String),
    Sdist,
}

impl FileName {
    /// `NAME-VERSION(-BUILD)-PYTHON-ABI-PLATFORM.whl`, `NAME-VERSION.tar.gz`, `NAME-VERSION.zip`.
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        // What stands in the form and in the address must need no quoting there.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b);
        if !file_name.bytes().all(allowed) {
            return None;
        }
        let (name, version, kind) = if let Some(stem) = file_name.strip_suffix(".whl") {
            let parts: Vec<&str> = stem.split('-').collect();
            match parts[..] {
                [name, version, python, _, _] | [name, version, _, python, _, _] => {
                    (name, version.replace('_', "-"), Kind::Wheel(python.to_owned()))
                }
                _ => return None,
            }
        } else {
            let stem = [".tar.gz", ".zip"].iter().find_map(|end| file_name.strip_suffix(end))?;
            // Old sdists have dashes in the name too; a version begins with a digit.
            let begins = |(at, _): &(usize, &str)| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit());
            let (at, _) = stem.rmatch_indices('-').find(begins)?;
            (&stem[..at], stem[at + 1..].to_owned(), Kind::Sdist)
        };
        let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_one = begins(name) && version.starts_with(|c: char| c.is_ascii_digit());
        is_one.then(|| Self { name: name.to_owned(), version, kind })
    }

    /// The name as the index has it: lower case, and one `-` for each run of `-`, `_` and `.`.
    fn normalized(&self) -> String {
        let parts = self.name.split(['-', '_', '.']).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
    }
}

impl Distribution {
    /// Reads a file; blocking.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let project = FileName::parse(&file_name)
            .context("its name is not NAME-VERSION-PYTHON-ABI-PLATFORM.whl, as build tools name wheels")?;
        let mut hasher = sha2::Sha256::new();
        let mut file = fs_err::File::open(path)?;
        let mut buffer = vec![0; 128 << 10];
        let mut size = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                length => {
                    hasher.update(&buffer[..length]);
                    size += length as u64;
                }
            }
        }
        let sha256 = Digest::from_bytes(hasher.finalize().into());
        Ok(Self { path: path.to_owned(), file_name, project, sha256, size })
    }
}

/// By project; the order of the files stays.
pub(super) fn by_project(files: Vec<Distribution>) -> impl Iterator<Item = Vec<Distribution>> {
    let mut projects: BTreeMap<String, Vec<Distribution>> = BTreeMap::new();
    for file in files {
        projects.entry(file.project.normalized()).or_default().push(file);
    }
    projects.into_values()
}

/// Publishes the files of one project.
pub(super) async fn project(target: &Target, files: Vec<Distribution>, summary: &Summary) {
    let there = match files.first() {
        Some(first) => index(target, &first.project.normalized()).await,
        None => return,
    };
    let there = match there {
        Ok(there) => there,
        Err(error) => {
            for file in files {
                summary.fail(file.path, &error);
            }
            return;
        }
    };
    for file in files {
        summary.begin(file.file_name.clone());
        match digest_of(&there, &file.file_name) {
            Some(digest) if digest == file.sha256.hex() => summary.present(),
            Some(_) => {
                let error = anyhow!("{} is there with other bytes; give it another version", file.file_name);
                summary.fail(file.path, &error);
            }
            None => match form::publish(target, &file).await {
                Ok(()) => summary.published(),
                Err(error) => summary.fail(file.path, &error),
            },
        }
    }
}

/// The project as the repository shows it; null when it shows none.
async fn index(target: &Target, name: &str) -> Result<Value> {
    let request = |target: &Target| {
        let request = target.http.get(format!("{}simple/{name}/", target.endpoint));
        let request = request.basic_auth(login::USER, Some(&target.token));
        request.header("accept", "application/vnd.pypi.simple.v1+json")
    };
    let answer = target.patiently(request).await?;
    match answer.status().as_u16() {
        200 => serde_json::from_slice(&answer.bytes().await?).context("the server's index is not JSON"),
        404 => Ok(Value::Null),
        _ => Err(refusal(answer).await),
    }
}

/// The SHA-256 of a file in an index.
fn digest_of<'a>(index: &'a Value, file_name: &str) -> Option<&'a str> {
    let files = index["files"].as_array()?;
    let file = files.iter().find(|file| file["filename"] == file_name)?;
    // A file without one is there all the same, and is no file of ours.
    Some(file["hashes"]["sha256"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_name_tells_name_version_and_kind() {
        let check = |file_name: &str, name: &str, version: &str, kind: Kind| {
            let expected = FileName { name: name.to_owned(), version: version.to_owned(), kind };
            assert_eq!(FileName::parse(file_name), Some(expected), "{file_name}");
        };
        let wheel = |python: &str| Kind::Wheel(python.to_owned());
        check("Acme_Widget-1.0.0-py3-none-any.whl", "Acme_Widget", "1.0.0", wheel("py3"));
        check("widget-1.0+x_1-2b-cp311-abi3-linux_x86_64.whl", "widget", "1.0+x-1", wheel("cp311"));
        check("widget-1!2.0rc1.tar.gz", "widget", "1!2.0rc1", Kind::Sdist);
        check("my-old-widget-1.0.zip", "my-old-widget", "1.0", Kind::Sdist);
        check("widget-2-1.0-beta.tar.gz", "widget-2", "1.0-beta", Kind::Sdist);
        for wrong in [
            "widget.tar.gz",
            "widget-1.0.tar.bz2",
            "widget-x.tar.gz",
            "-1.0.tar.gz",
            "widget-1.0.whl",
            "widget-x-py3-none-any.whl",
            "wid get-1.0.zip",
            "widget\"-1.0.zip",
        ] {
            assert_eq!(FileName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_project_has_one_name_in_all_spellings() {
        let normalized = |file_name: &str| FileName::parse(file_name).unwrap().normalized();
        assert_eq!(normalized("Acme_Widget-1.0-py3-none-any.whl"), "acme-widget");
        assert_eq!(normalized("acme.-_widget-1.0.tar.gz"), "acme-widget");
    }

    #[test]
    fn what_is_there_is_found_by_its_file_name() {
        let index = json!({ "files": [
            { "filename": "a-1.0.tar.gz", "hashes": { "sha256": "00" } },
            { "filename": "a-1.1.tar.gz", "hashes": {} },
        ] });
        assert_eq!(digest_of(&index, "a-1.0.tar.gz"), Some("00"));
        assert_eq!(digest_of(&index, "a-1.1.tar.gz"), Some(""));
        assert_eq!(digest_of(&index, "a-1.2.tar.gz"), None);
        assert_eq!(digest_of(&Value::Null, "a-1.0.tar.gz"), None);
    }
}
