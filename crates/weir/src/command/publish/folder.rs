//! Which files of a folder are packages, and of which format: their names tell.

use super::python::FileName;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The packages of a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// npm tarballs.
    pub(super) npm: Vec<PathBuf>,
    /// Wheels and sdists.
    pub(super) python: Vec<PathBuf>,
}

impl Found {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.npm.len() + self.python.len()
    }
}

/// All packages in a folder and the folders below it, by path; links are not followed. Blocking.
pub(super) fn find(folder: &Path) -> Result<Found> {
    let mut found = Found::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if kind.is_dir() && name != "node_modules" {
                folders.push(path);
            } else if kind.is_file() && name.ends_with(".tgz") {
                found.npm.push(path);
            } else if kind.is_file() && (name.ends_with(".whl") || FileName::parse(&name).is_some()) {
                // A wheel with a wrong name is meant to be one, and is told of; other archives are not ours.
                found.python.push(path);
            }
        }
    }
    found.npm.sort();
    found.python.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs_err::create_dir_all(root.join("dist/below")).unwrap();
        fs_err::create_dir(root.join("node_modules")).unwrap();
        for name in [
            "a-1.0.0.tgz",
            "dist/below/b-1.0-py3-none-any.whl",
            "dist/c-1.0.tar.gz",
            "dist/d-1.0.zip",
            "dist/wrong.whl",
            "dist/source.tar.gz",
            "dist/e-1.0.txt",
            "node_modules/f-1.0.0.tgz",
        ] {
            fs_err::write(root.join(name), "").unwrap();
        }
        let found = find(root).unwrap();
        assert_eq!(found.npm, [root.join("a-1.0.0.tgz")]);
        let python = ["below/b-1.0-py3-none-any.whl", "c-1.0.tar.gz", "d-1.0.zip", "wrong.whl"];
        assert_eq!(found.python, python.map(|name| root.join("dist").join(name)));
        assert_eq!(found.len(), 5);
    }
}
