//! Batches of versions: which are meant, which may be changed, and what is said of the others.

use crate::format::Format;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use weir_core::{Error, Result, VersionStatus, quota};
use weir_store::Session;
use weir_store::rows::{Id, VersionRow};

pub(super) const NOT_A_TARGET: &str = "must be Published, Unlisted or Archived";

/// Why one version of a batch was not changed (AWS per-version error codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchCode {
    /// The destination has other content.
    AlreadyExists,
    /// The revision is not the one named.
    MismatchedRevision,
    /// The status is not the one expected.
    MismatchedStatus,
    /// The change is not allowed from this status.
    NotAllowed,
    /// There is no such version.
    NotFound,
    /// Another version of the batch failed.
    Skipped,
}

impl BatchCode {
    /// The word AWS uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::MismatchedRevision => "MISMATCHED_REVISION",
            Self::MismatchedStatus => "MISMATCHED_STATUS",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotFound => "NOT_FOUND",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// The answer to a batch: both maps are keyed by version.
#[derive(Debug, Clone, Default)]
pub struct BatchResult {
    /// Revision and status of those changed (`Deleted` after a deletion).
    pub successful: BTreeMap<String, (String, &'static str)>,
    /// Code and text of those not changed.
    pub failed: BTreeMap<String, (BatchCode, String)>,
}

/// Which versions, and what must be true of them.
#[derive(Debug, Clone, Default)]
pub struct BatchTarget {
    /// The versions, at most 100.
    pub versions: Vec<String>,
    /// Revisions they must have; the same set of versions where given.
    pub revisions: Option<BTreeMap<String, String>>,
    /// Status they must have.
    pub expected_status: Option<VersionStatus>,
}

/// What becomes of one version: nothing against it, or why it is refused.
pub(super) type Judgement = std::result::Result<(), (BatchCode, String)>;

impl BatchTarget {
    /// Checks what can be checked without looking.
    pub(super) fn check(&self) -> Result<()> {
        check_count("versions", self.versions.len())?;
        let Some(revisions) = &self.revisions else { return Ok(()) };
        let named: BTreeSet<&String> = self.versions.iter().collect();
        if named != revisions.keys().collect() {
            return Err(Error::invalid("versionRevisions", "must name the same versions as 'versions'"));
        }
        Ok(())
    }

    /// What is to be said of one version: `asked` as the caller wrote it, `row` as it is held, `becomes`
    /// the status it is to have unless it is to be deleted.
    pub(super) fn judge(
        &self,
        asked: &str,
        row: Option<&VersionRow>,
        becomes: Option<VersionStatus>,
    ) -> Judgement {
        let Some(row) = row else {
            return Err((BatchCode::NotFound, format!("Could not find version {asked}")));
        };
        let revision = self.revisions.as_ref().and_then(|revisions| revisions.get(asked));
        check_revision(row, revision)?;
        if let Some(expected) = self.expected_status
            && expected != row.status
        {
            let text = format!("current status: {}, expected status: {expected}", row.status);
            return Err((BatchCode::MismatchedStatus, text));
        }
        match becomes {
            Some(status) if !row.status.may_become(status) => Err((
                BatchCode::NotAllowed,
                format!("version {} is {} and cannot become {status}", row.text, row.status),
            )),
            _ => Ok(()),
        }
    }
}

/// Refuses a version whose revision is not the one named.
pub(super) fn check_revision(row: &VersionRow, expected: Option<&String>) -> Judgement {
    match expected {
        Some(expected) if *expected != row.revision => Err((
            BatchCode::MismatchedRevision,
            format!("current revision: {}, expected revision: {expected}", row.revision),
        )),
        _ => Ok(()),
    }
}

/// 1 to 100 versions.
pub(super) fn check_count(field: &str, count: usize) -> Result<()> {
    if (1..=quota::VERSIONS_PER_CALL).contains(&count) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format_args!("{count} versions are named; it must be 1 to {}", quota::VERSIONS_PER_CALL),
    ))
}

/// What is held of each version named, in any spelling; a second spelling of one is passed over.
pub(super) async fn held_versions(
    session: &mut Session,
    format: &dyn Format,
    package: &Id,
    versions: &[String],
) -> Result<Vec<(String, Option<VersionRow>)>> {
    let mut seen = HashSet::new();
    let mut found = Vec::with_capacity(versions.len());
    for text in versions {
        let row = match format.parse_version(text) {
            Ok(version) if !seen.insert(version.key().clone()) => continue,
            Ok(version) => session.package_version(package, version.key()).await?,
            // What is no version is none that is held.
            Err(_) => None,
        };
        found.push((text.clone(), row));
    }
    Ok(found)
}

/// The judgements on a batch, gathered.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    chosen: Vec<VersionRow>,
    failed: BTreeMap<String, (BatchCode, String)>,
}

impl Verdicts {
    pub(super) fn add(&mut self, asked: String, row: Option<VersionRow>, judgement: Judgement) {
        match (judgement, row) {
            (Ok(()), Some(row)) => self.chosen.push(row),
            (Ok(()), None) => {}
            (Err(why), row) => {
                self.failed.insert(row.map_or(asked, |row| row.text.to_string()), why);
            }
        }
    }

    /// Those to be changed and those refused.
    pub(super) fn each_by_itself(self) -> (Vec<VersionRow>, BTreeMap<String, (BatchCode, String)>) {
        (self.chosen, self.failed)
    }

    /// All of them, or the answer in which one failure makes all others SKIPPED.
    pub(super) fn all_or_nothing(
        self,
        skipped: impl Fn(&str) -> String,
    ) -> std::result::Result<Vec<VersionRow>, BatchResult> {
        if self.failed.is_empty() {
            return Ok(self.chosen);
        }
        let mut failed = self.failed;
        for row in self.chosen {
            failed.insert(row.text.to_string(), (BatchCode::Skipped, skipped(&row.text)));
        }
        Err(BatchResult { failed, ..BatchResult::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::version::{PublishTime, TimeSource};
    use weir_core::{Flags, Origin, RepositoryName, Timestamp};

    fn row(text: &str, status: VersionStatus) -> VersionRow {
        let at = Timestamp::UNIX_EPOCH;
        VersionRow {
            id: text.into(),
            package: "p".into(),
            content: "c".into(),
            key: text.into(),
            text: text.into(),
            status,
            revision: "R1".to_owned(),
            origin: Origin::Internal { repository: RepositoryName::parse("r", "main").expect("valid") },
            flags: Flags::default(),
            publish_time: PublishTime { at, source: TimeSource::Published },
            published_at: at,
            updated_at: at,
        }
    }

    fn target(versions: &[&str]) -> BatchTarget {
        BatchTarget { versions: versions.iter().map(|v| (*v).to_owned()).collect(), ..BatchTarget::default() }
    }

    #[test]
    fn each_rule_has_its_code_and_text() {
        use VersionStatus::{Archived, Disposed, Published, Unlisted};
        let mut strict = target(&["1"]);
        strict.expected_status = Some(Published);
        strict.revisions = Some(BTreeMap::from([("1".to_owned(), "R1".to_owned())]));
        let mut other = strict.clone();
        other.revisions = Some(BTreeMap::from([("1".to_owned(), "R2".to_owned())]));
        let check =
            |target: &BatchTarget, held: Option<VersionStatus>, expected: Option<(BatchCode, &str)>| {
                let held = held.map(|status| row("1", status));
                let said = target.judge("1", held.as_ref(), Some(Unlisted)).err();
                assert_eq!(said.as_ref().map(|(code, text)| (*code, text.as_str())), expected);
            };
        check(&strict, Some(Published), None);
        check(&strict, None, Some((BatchCode::NotFound, "Could not find version 1")));
        let text = "current status: Archived, expected status: Published";
        check(&strict, Some(Archived), Some((BatchCode::MismatchedStatus, text)));
        let text = "current revision: R1, expected revision: R2";
        check(&other, Some(Published), Some((BatchCode::MismatchedRevision, text)));
        let text = "version 1 is Disposed and cannot become Unlisted";
        check(&target(&["1"]), Some(Disposed), Some((BatchCode::NotAllowed, text)));
    }

    #[test]
    fn one_failure_skips_the_others() {
        let mut verdicts = Verdicts::default();
        verdicts.add("1".to_owned(), Some(row("1", VersionStatus::Published)), Ok(()));
        verdicts.add("2".to_owned(), None, Err((BatchCode::NotFound, "Could not find version 2".to_owned())));
        let refused = verdicts.all_or_nothing(|version| format!("version {version} is skipped"));
        let refused = refused.expect_err("one failed");
        assert!(refused.successful.is_empty());
        assert_eq!(refused.failed["1"], (BatchCode::Skipped, "version 1 is skipped".to_owned()));
        assert_eq!(refused.failed["2"].0, BatchCode::NotFound);
    }

    #[test]
    fn a_batch_names_1_to_100_versions_and_the_same_in_both_places() {
        assert!(target(&[]).check().is_err());
        assert!(target(&["x"; 101]).check().is_err());
        let mut both = target(&["1", "2"]);
        both.revisions = Some(BTreeMap::from([("1".to_owned(), "R".to_owned())]));
        assert!(both.check().is_err());
        both.revisions.get_or_insert_default().insert("2".to_owned(), "R".to_owned());
        assert!(both.check().is_ok());
    }
}
