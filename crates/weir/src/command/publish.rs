//! `weir publish FOLDER`: publishes all packages of a folder, of npm and of Python. What is there already
//! with the same bytes is passed over, so a run that was cut is simply repeated.

mod folder;
mod npm;
mod python;
mod summary;
mod target;

use super::login;
use super::output::{Out, print};
use crate::cli::Publish;
use crate::config::Variables;
use anyhow::{Result, bail};
use futures_util::stream::{self, StreamExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use summary::Summary;
use target::Target;

/// Packages published at once; the versions of one go one after another.
const AT_ONCE: usize = 4;

/// Files of one package.
enum Package {
    Npm(Vec<npm::Tarball>),
    Python(Vec<python::Distribution>),
}

/// Publishes and prints a summary; exit code 1 when a file failed.
pub(super) async fn run(arguments: Publish, variables: &Variables) -> Result<ExitCode> {
    let folder = arguments.folder.clone();
    let found = tokio::task::spawn_blocking(move || folder::find(&folder)).await??;
    if found.len() == 0 {
        bail!(
            "{} holds no packages: npm tarballs (*.tgz; 'npm pack' makes them), Python wheels (*.whl) or \
             sdists (NAME-VERSION.tar.gz)",
            arguments.folder.display()
        );
    }
    let client = arguments.remote.client(variables)?;
    let token = login::token(&client, &arguments.place, None).await?.text;
    let target = async |format| {
        let endpoint = login::endpoint(&client, &arguments.place, format).await?;
        Ok::<_, anyhow::Error>(Arc::new(Target {
            http: client.http().clone(),
            endpoint,
            token: token.clone(),
        }))
    };
    let summary = Summary::of(found.len());
    let mut packages = Vec::new();
    if !found.npm.is_empty() {
        let target = target("npm").await?;
        let tarballs = read(found.npm, npm::Tarball::read, &summary).await?;
        packages.extend(npm::by_package(tarballs).map(|files| (Arc::clone(&target), Package::Npm(files))));
    }
    if !found.python.is_empty() {
        let target = target("pypi").await?;
        let files = read(found.python, python::Distribution::read, &summary).await?;
        packages.extend(python::by_project(files).map(|files| (Arc::clone(&target), Package::Python(files))));
    }
    let tag = arguments.tag.as_deref();
    let publish = async |(target, package): (Arc<Target>, Package)| match package {
        Package::Npm(files) => npm::package(&target, files, tag, &summary).await,
        Package::Python(files) => python::project(&target, files, &summary).await,
    };
    stream::iter(packages).map(publish).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    let all_good = summary.end();
    print(&Out::new(arguments.json, || summary.json(), || summary.text()));
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Reads all files, so that what is broken is known before anything is sent.
async fn read<T: Send + 'static>(
    paths: Vec<PathBuf>,
    read: fn(&Path) -> Result<T>,
    summary: &Summary,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for path in paths {
        summary.begin("reading");
        let place = path.clone();
        match tokio::task::spawn_blocking(move || read(&place)).await? {
            Ok(one) => all.push(one),
            Err(error) => summary.fail(path, &error),
        }
    }
    Ok(all)
}
