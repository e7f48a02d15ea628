//! `weir publish FOLDER`: publishes all npm tarballs of a folder. What is there already with the same bytes
//! is passed over, so a run that was cut is simply repeated.

mod tarball;
mod upload;

use super::login;
use super::output::{Out, print};
use crate::cli::Publish;
use crate::config::Variables;
use anyhow::{Result, bail};
use futures_util::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use semver::Version;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use tarball::Tarball;
use upload::Target;

/// Packages published at once; the versions of one go one after another.
const AT_ONCE: usize = 4;

/// What became of the tarballs.
#[derive(Default)]
struct Summary {
    published: u64,
    present: u64,
    failed: Vec<(PathBuf, String)>,
}

/// Publishes and prints a summary; exit code 1 when a tarball failed.
pub(super) async fn run(arguments: Publish, variables: &Variables) -> Result<ExitCode> {
    let folder = arguments.folder.clone();
    let paths = tokio::task::spawn_blocking(move || tarball::find(&folder)).await??;
    if paths.is_empty() {
        bail!("{} holds no npm tarballs (*.tgz); 'npm pack' makes them", arguments.folder.display());
    }
    let client = arguments.remote.client(variables)?;
    let target = Target {
        http: client.http().clone(),
        endpoint: login::endpoint(&client, &arguments.place, "npm").await?,
        token: login::token(&client, &arguments.place, None).await?,
    };
    let mut summary = Summary::default();
    let bar = bar(paths.len() as u64);
    let packages = read(paths, &mut summary, &bar).await?;
    let tag = arguments.tag.as_deref();
    let mut done = stream::iter(packages.into_values().map(|tarballs| package(&target, tarballs, tag, &bar)))
        .buffer_unordered(AT_ONCE);
    while let Some(one) = done.next().await {
        summary.published += one.published;
        summary.present += one.present;
        summary.failed.extend(one.failed);
    }
    bar.finish_and_clear();
    summary.failed.sort();
    print(&Out::new(arguments.json, || summary.json(), || summary.text()));
    Ok(if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)");
    let bar = ProgressBar::new(length);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Reads all tarballs, so that what is broken is known before anything is sent; by package, lowest version
/// first.
async fn read(
    paths: Vec<PathBuf>,
    summary: &mut Summary,
    bar: &ProgressBar,
) -> Result<BTreeMap<String, Vec<Tarball>>> {
    let mut packages: BTreeMap<String, Vec<Tarball>> = BTreeMap::new();
    for path in paths {
        bar.set_message("reading");
        let place = path.clone();
        match tokio::task::spawn_blocking(move || Tarball::read(&place)).await? {
            Ok(tarball) => packages.entry(tarball.name.clone()).or_default().push(tarball),
            Err(error) => summary.fail(path, &error, bar),
        }
    }
    for tarballs in packages.values_mut() {
        tarballs.sort_by(|left, right| left.version.cmp(&right.version));
    }
    Ok(packages)
}

/// Publishes the versions of one package.
async fn package(target: &Target, tarballs: Vec<Tarball>, tag: Option<&str>, bar: &ProgressBar) -> Summary {
    let mut summary = Summary::default();
    let there = match tarballs.first() {
        Some(first) => target.packument(&first.name).await,
        None => return summary,
    };
    let there = match there {
        Ok(there) => there.unwrap_or_default(),
        Err(error) => {
            for tarball in tarballs {
                summary.fail(tarball.path, &error, bar);
            }
            return summary;
        }
    };
    let mut latest = there["dist-tags"]["latest"].as_str().and_then(|text| Version::parse(text).ok());
    for tarball in tarballs {
        bar.set_message(format!("{}@{}", tarball.name, tarball.version));
        match presence(&there, &tarball) {
            Presence::Same => {
                summary.present += 1;
                bar.inc(1);
                continue;
            }
            Presence::Different => {
                let error = anyhow::anyhow!(
                    "{}@{} is there with other bytes; give it another version",
                    tarball.name,
                    tarball.version
                );
                summary.fail(tarball.path, &error, bar);
                continue;
            }
            Presence::Absent => {}
        }
        let is_latest = is_latest(&tarball.version, latest.as_ref());
        match target.publish(&tarball, tag.or(is_latest.then_some("latest"))).await {
            Ok(()) => {
                summary.published += 1;
                bar.inc(1);
                if is_latest {
                    latest = Some(tarball.version);
                }
            }
            Err(error) => summary.fail(tarball.path, &error, bar),
        }
    }
    summary
}

/// Whether a version takes the tag `latest`: a release above the one that has it, or the first of all.
fn is_latest(version: &Version, latest: Option<&Version>) -> bool {
    match latest {
        None => true,
        Some(latest) => version > latest && (version.pre.is_empty() || !latest.pre.is_empty()),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    Absent,
    Same,
    Different,
}

fn presence(packument: &Value, tarball: &Tarball) -> Presence {
    let dist = &packument["versions"][tarball.version.to_string()]["dist"];
    match (dist["integrity"].as_str(), dist["shasum"].as_str()) {
        (Some(integrity), _) if integrity.contains("sha512-") => {
            if integrity.contains(&tarball.digests.integrity()) {
                Presence::Same
            } else {
                Presence::Different
            }
        }
        (_, Some(shasum)) => {
            if shasum == hex::encode(tarball.digests.sha1) {
                Presence::Same
            } else {
                Presence::Different
            }
        }
        _ => Presence::Absent,
    }
}

impl Summary {
    fn fail(&mut self, path: PathBuf, error: &anyhow::Error, bar: &ProgressBar) {
        bar.suspend(|| eprintln!("weir: {}: {error:#}", path.display()));
        bar.inc(1);
        self.failed.push((path, format!("{error:#}")));
    }

    fn json(&self) -> Value {
        let failed: Vec<Value> =
            self.failed.iter().map(|(path, error)| json!({ "file": path, "error": error })).collect();
        json!({ "published": self.published, "present": self.present, "failed": failed })
    }

    fn text(&self) -> String {
        let failed = self.failed.len();
        let hint = if failed > 0 {
            "; the reasons are above, a repeated run sends only what is missing"
        } else {
            ""
        };
        format!("published {}, already there {}, failed {failed}{hint}\n", self.published, self.present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Hasher;

    fn tarball(version: &str) -> Tarball {
        Tarball {
            path: PathBuf::new(),
            name: "widget".into(),
            version: version.parse().unwrap(),
            manifest: json!({}),
            digests: Hasher::new().finish(),
            size: 0,
        }
    }

    #[test]
    fn what_is_there_with_the_same_bytes_is_passed_over() {
        let same = tarball("1.0.0").digests.integrity();
        let there = json!({ "versions": {
            "1.0.0": { "dist": { "integrity": same } },
            "1.1.0": { "dist": { "integrity": "sha512-AAAA", "shasum": "00" } },
        } });
        assert_eq!(presence(&there, &tarball("1.0.0")), Presence::Same);
        assert_eq!(presence(&there, &tarball("1.1.0")), Presence::Different);
        assert_eq!(presence(&there, &tarball("2.0.0")), Presence::Absent);
        assert_eq!(presence(&Value::Null, &tarball("2.0.0")), Presence::Absent);
    }

    #[test]
    fn latest_goes_to_the_highest_release() {
        let check = |version: &str, latest: Option<&str>| {
            is_latest(&version.parse().unwrap(), latest.map(|latest| latest.parse().unwrap()).as_ref())
        };
        assert!(check("1.0.0", None) && check("1.1.0", Some("1.0.0")) && check("2.0.0-b", None));
        assert!(!check("1.0.0", Some("1.1.0")) && !check("2.0.0-rc.1", Some("1.1.0")));
        assert!(check("2.0.0", Some("2.0.0-rc.1")));
    }
}
