//! Checks of the text of the tree: marks of unfinished work, file headers, public registries' addresses.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// One file of the tree that is text.
pub(super) struct File {
    /// The path from the workspace's folder.
    pub(super) path: String,
    /// What it holds.
    pub(super) text: String,
}

/// Every text file that git tracks, or would when it is added.
pub(super) fn tracked(root: &Path) -> Result<Vec<File>> {
    let mut git = Command::new("git");
    git.current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]);
    let ended = git.output().context("git could not be started")?;
    ensure!(ended.status.success(), "git ls-files: {}", String::from_utf8_lossy(&ended.stderr));
    let list = String::from_utf8_lossy(&ended.stdout).into_owned();
    let paths = list.split('\0').filter(|path| !path.is_empty());
    // A file that is deleted but still in the index, or is no text, has nothing to check.
    let files = paths.filter_map(|path| {
        let text = fs_err::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    });
    Ok(files.collect())
}

/// Marks of unfinished work. They are put together here so that this file does not find itself.
pub(super) fn marks(files: &[File]) -> Vec<String> {
    let marks = [["to", "do!("], ["unimple", "mented!("], ["#[ign", "ore"], ["FIX", "ME"]]
        .map(|parts| parts.concat());
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for (number, line) in file.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(mark.as_str())) {
                problems.push(format!("{}:{}: unfinished: {mark}", file.path, number + 1));
            }
        }
    }
    problems
}

/// Every Rust file says first what it is; a crate may say it with its README.
pub(super) fn headers(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    let silent =
        rust.filter(|file| !file.text.starts_with("//!") && !file.text.starts_with("#![doc = include_str!("));
    silent.map(|file| format!("{}: does not begin with `//!` and what it is", file.path)).collect()
}

/// No public registry's address stands in the tree. Which those are is asked of the machine's own clients.
pub(super) fn addresses(files: &[File]) -> Vec<String> {
    found(&public_hosts(), files)
}

fn found(hosts: &[String], files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        for host in hosts.iter().filter(|host| file.text.contains(host.as_str())) {
            problems.push(format!("{}: holds the address of a public registry ({host})", file.path));
        }
    }
    problems
}

/// The hosts of npm's and pip's registries, as these clients know them; loopback mirrors are not public.
fn public_hosts() -> Vec<String> {
    let npm = output("npm", &["config", "get", "registry"]);
    let script =
        "from pip._internal.models.index import PyPI as p; print(p.netloc); print(p.file_storage_domain)";
    let pip = output("python3", &["-c", script]);
    let said = format!("{npm}\n{pip}");
    let hosts = said.lines().filter_map(host_of);
    let mut hosts: Vec<_> = hosts.map(str::to_owned).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The host of an address or of `HOST/…`; nothing for loopback names and for what is no host.
fn host_of(line: &str) -> Option<&str> {
    let rest = line.trim().split_once("://").map_or(line.trim(), |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    let public = host.contains('.') && !host.starts_with("127.") && host.chars().any(char::is_alphabetic);
    public.then_some(host)
}

/// What a command prints; nothing when it is not on this machine, which then has no address to compare.
fn output(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).output();
    ended.map(|ended| String::from_utf8_lossy(&ended.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn what_is_wrong_is_found() {
        let unfinished = format!("//! x\nfn x() {{ {}) }}", ["to", "do!("].concat());
        assert_eq!(marks(&[file("a.rs", &unfinished)]).len(), 1);
        assert_eq!(headers(&[file("a.rs", "fn x() {}"), file("b.rs", "//! b"), file("c.md", "c")]).len(), 1);
        let hosts = ["packages.example.test".to_owned()];
        assert_eq!(found(&hosts, &[file("a.md", "see https://packages.example.test/x")]).len(), 1);
    }

    #[test]
    fn only_public_hosts_count() {
        assert_eq!(host_of("https://packages.example.test/"), Some("packages.example.test"));
        assert_eq!(host_of("files.example.test"), Some("files.example.test"));
        assert_eq!(host_of("http://127.0.0.1:8090/npm/"), None);
        assert_eq!(host_of("undefined"), None);
    }
}
