//! npm tarballs: read, compared with what is there, and published from the lowest version to the highest.

mod document;
mod tarball;

use super::summary::Summary;
use super::target::Target;
use anyhow::anyhow;
use document::{packument, publish};
use semver::Version;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) use tarball::Tarball;

/// By package, lowest version first.
pub(super) fn by_package(tarballs: Vec<Tarball>) -> impl Iterator<Item = Vec<Tarball>> {
    let mut packages: BTreeMap<String, Vec<Tarball>> = BTreeMap::new();
    for tarball in tarballs {
        packages.entry(tarball.name.clone()).or_default().push(tarball);
    }
    packages.into_values().map(|mut tarballs| {
        tarballs.sort_by(|left, right| left.version.cmp(&right.version));
        tarballs
    })
}

/// Publishes the versions of one package.
pub(super) async fn package(target: &Target, tarballs: Vec<Tarball>, tag: Option<&str>, summary: &Summary) {
    let there = match tarballs.first() {
        Some(first) => packument(target, &first.name).await,
        None => return,
    };
    let there = match there {
        Ok(there) => there.unwrap_or_default(),
        Err(error) => {
            for tarball in tarballs {
                summary.fail(tarball.path, &error);
            }
            return;
        }
    };
    let mut latest = there["dist-tags"]["latest"].as_str().and_then(|text| Version::parse(text).ok());
    for tarball in tarballs {
        summary.begin(format!("{}@{}", tarball.name, tarball.version));
        match presence(&there, &tarball) {
            Presence::Same => {
                summary.present();
                continue;
            }
            Presence::Different => {
                let error = anyhow!(
                    "{}@{} is there with other bytes; give it another version",
                    tarball.name,
                    tarball.version
                );
                summary.fail(tarball.path, &error);
                continue;
            }
            Presence::Absent => {}
        }
        let is_latest = is_latest(&tarball.version, latest.as_ref());
        match publish(target, &tarball, tag.or(is_latest.then_some("latest"))).await {
            Ok(()) => {
                summary.published();
                if is_latest {
                    latest = Some(tarball.version);
                }
            }
            Err(error) => summary.fail(tarball.path, &error),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;
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
