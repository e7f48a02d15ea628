//! What a refused request must not leave behind: rows, kept files, and files in the spool.

use crate::npm_world::World;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a given-up request may take to clear its spool file away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files of versions in the blob folder.
pub(crate) fn kept(data: &Path) -> Vec<PathBuf> {
    blobs(data, "sha256")
}

/// Index documents in the blob folder, as soon as there are so many: clients have them before they are written.
#[track_caller]
pub(crate) fn documents(data: &Path, count: usize) -> impl Future<Output = Vec<PathBuf>> {
    documents_below(&data.join("blobs").join("domains"), count)
}

/// The same of a folder in which they lie somewhere.
#[track_caller]
pub(crate) fn documents_below(folder: &Path, count: usize) -> impl Future<Output = Vec<PathBuf>> + use<> {
    let (folder, caller) = (folder.to_owned(), std::panic::Location::caller());
    async move {
        let start = std::time::Instant::now();
        loop {
            let found = of_kind(&folder, "documents");
            if found.len() == count {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "{caller}: {found:?} are kept instead of {count}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn blobs(data: &Path, kind: &str) -> Vec<PathBuf> {
    of_kind(&data.join("blobs").join("domains"), kind)
}

fn of_kind(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let is_of_kind = |path: &PathBuf| path.components().any(|part| part.as_os_str() == kind);
    let mut found = files(folder);
    found.retain(is_of_kind);
    found.sort();
    found
}

/// Files in the spool.
pub(crate) fn spooled(data: &Path) -> Vec<PathBuf> {
    files(&data.join("blobs").join("spool"))
}

/// Panics unless the spool is empty within a moment.
#[track_caller]
pub(crate) fn spool_is_empty(data: &Path) -> impl Future<Output = ()> {
    let (data, caller) = (data.to_owned(), std::panic::Location::caller());
    async move {
        let start = std::time::Instant::now();
        while !spooled(&data).is_empty() {
            assert!(start.elapsed() < PATIENCE, "{caller}: the spool still holds {:?}", spooled(&data));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Panics unless neither files nor packages nor spool files are there, in any repository.
pub(crate) async fn nothing(world: &World, after: &str) {
    spool_is_empty(world.weir.data()).await;
    let kept = kept(world.weir.data());
    assert!(kept.is_empty(), "{after} left {kept:?}");
    for repository in ["main", "npm-store"] {
        let path = format!("/v1/packages?domain=local&repository={repository}");
        let answer = world.weir.api("POST", &path, "").await;
        let packages = answer.assert_status(200).json()["packages"].clone();
        assert_eq!(packages, serde_json::json!([]), "{after} left packages in {repository}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("the data folder can be read").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
