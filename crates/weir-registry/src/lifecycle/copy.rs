//! CopyPackageVersions: rows move, bytes stay where they are.

use super::batch::{BatchCode, BatchResult, Judgement, Verdicts, check_count, check_revision};
use super::names;
use crate::Registry;
use crate::event::{Changes, Operation, record_event};
use crate::format::Format;
use crate::package::Place;
use crate::scope::{PackageRef, RepositoryRef};
use crate::view::{Freshness, PackageView};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use weir_core::verdict::{Outcome, Source};
use weir_core::{Action, Caller, Controls, Error, OriginKind, RepositoryName, Result, VersionStatus};
use weir_store::Session;
use weir_store::rows::{AssetRow, AssetState, Id, PackageRow, VersionRow};

/// CopyPackageVersions.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// The package in the source repository.
    pub source: PackageRef,
    /// The repository of the same domain it goes to.
    pub destination: RepositoryName,
    /// The versions; exclusive with `revisions`.
    pub versions: Option<Vec<String>>,
    /// Versions with the revisions they must have; exclusive with `versions`.
    pub revisions: Option<BTreeMap<String, String>>,
    /// Replace what differs in the destination.
    pub allow_overwrite: bool,
    /// Search the upstreams of the source too.
    pub include_from_upstream: bool,
}

/// A version to be copied: as asked, and the revision it must have.
struct Wanted {
    asked: String,
    key: Option<Arc<str>>,
    revision: Option<String>,
    holder: Holder,
}

/// Where a version was found.
enum Holder {
    Nowhere,
    /// In the record of this identifier.
    Record(Id),
    /// On a public registry, and not fetched since the batch fails anyway.
    NotFetched,
}

/// What the transaction needs to know.
struct Copy {
    destination: Place,
    wanted: Vec<Wanted>,
    /// Tag and version as the source has them.
    tags: Vec<(String, String)>,
    /// The format's facts of the package, for a record that is new.
    metadata: Option<String>,
    allow_overwrite: bool,
}

impl Registry {
    /// CopyPackageVersions. Status, revision and origin stay what they are; of a package that is new in the
    /// destination the controls are learned as if the version had been published or ingested.
    pub async fn copy_versions(&self, caller: &Caller, request: CopyRequest) -> Result<BatchResult> {
        let (read, write) = (Action::ReadFromRepository, Action::CopyPackageVersions);
        let (domain, repository) =
            self.find_repository(caller, &request.source.repository, read, None).await?;
        self.authorize_repository(caller, read, &domain, &repository)?;
        let target =
            RepositoryRef { repository: request.destination.clone(), ..request.source.repository.clone() };
        let (_, target) = self.find_repository(caller, &target, write, None).await?;
        self.authorize_repository(caller, write, &domain, &target)?;
        let package = request.source.package.clone();
        let destination = self.place_in(domain.clone(), target, package.clone());
        self.authorize_place(caller, &destination, write)?;
        let source = self.place_in(domain, repository, package);
        let format = self.format_of(&source)?;
        let mut copy = Copy {
            wanted: wanted_of(&request, format)?,
            allow_overwrite: request.allow_overwrite,
            destination: destination.clone(),
            tags: Vec::new(),
            metadata: None,
        };
        if request.include_from_upstream && format.has_upstreams() {
            self.find_along_the_chain(caller, &source, &mut copy).await?;
        } else {
            self.find_in_the_source(&source, &mut copy).await?;
        }
        let versions: Vec<&str> = copy.wanted.iter().map(|wanted| wanted.asked.as_str()).collect();
        let detail = json!({ "from": source.repository.row.name, "versions": versions });
        let audit = self.audit(caller, Action::CopyPackageVersions, &destination.arn, &detail);
        let registry = self.clone();
        let result = self
            .change(destination.outdated(), move |session| {
                Box::pin(async move {
                    let result = registry.copy_rows(session, &copy).await?;
                    if result.failed.is_empty() {
                        session.insert_audit(&audit).await?;
                    }
                    Ok::<_, Error>(result)
                })
            })
            .await?;
        Ok(result)
    }

    async fn find_in_the_source(&self, source: &Place, copy: &mut Copy) -> Result<()> {
        let mut session = self.inner.store.read().await?;
        let record = source.record(&mut session).await?;
        for wanted in &mut copy.wanted {
            wanted.holder = Holder::Record(record.id.clone());
        }
        let tags = session.tags_of(std::slice::from_ref(&record.id)).await?;
        copy.tags = tags.into_iter().map(|(_, tag, key)| (tag, key)).collect();
        copy.metadata = record.metadata;
        Ok(())
    }

    /// Finds each version where the source offers it from. Public ones are brought into the domain, unless
    /// the batch fails anyway.
    async fn find_along_the_chain(&self, caller: &Caller, source: &Place, copy: &mut Copy) -> Result<()> {
        let scope = source.scope(caller);
        let view = self.view(&scope, &source.package, Freshness::Usual).await?;
        for wanted in &mut copy.wanted {
            wanted.holder = wanted.key.as_deref().map_or(Holder::Nowhere, |key| find_in(&view, key));
        }
        if copy.wanted.iter().any(|wanted| matches!(wanted.holder, Holder::Nowhere)) {
            if let Some((_, why)) = view.verdict.unavailable.first() {
                return Err(Error::unavailable(why.clone()));
            }
        } else {
            for wanted in &mut copy.wanted {
                if let (Holder::NotFetched, Some(key)) = (&wanted.holder, &wanted.key) {
                    let row = self.ensure_held(&scope, &source.package, key).await?;
                    wanted.holder = Holder::Record(row.package);
                }
            }
        }
        copy.tags = view.verdict.tags.iter().map(|(tag, key)| (tag.to_string(), key.to_string())).collect();
        copy.metadata = view.records.iter().flatten().find_map(|(row, _)| row.metadata.clone());
        Ok(())
    }

    async fn copy_rows(&self, session: &mut Session, copy: &Copy) -> Result<BatchResult> {
        let place = &copy.destination;
        place.must_exist(session).await?;
        let existing = place.find_record(session).await?;
        let mut verdicts = Verdicts::default();
        let mut identical = HashSet::new();
        let mut replaced: HashMap<Arc<str>, VersionRow> = HashMap::new();
        for wanted in &copy.wanted {
            let Some(row) = wanted.row(session).await? else {
                verdicts.add(wanted.asked.clone(), None, Err(wanted.refusal()));
                continue;
            };
            let there = match &existing {
                Some(record) => session.package_version(&record.id, &row.key).await?,
                None => None,
            };
            let mut judgement = wanted.judge(&row);
            if let (Ok(()), Some(there)) = (&judgement, there) {
                if same(session, &there, &row).await? {
                    identical.insert(row.text.clone());
                } else if copy.allow_overwrite {
                    replaced.insert(row.key.clone(), there);
                } else {
                    let text = format!("Version {} already exists", row.text);
                    judgement = Err((BatchCode::AlreadyExists, text));
                }
            }
            verdicts.add(wanted.asked.clone(), Some(row), judgement);
        }
        let chosen = match verdicts.all_or_nothing(skipped) {
            Ok(chosen) => chosen,
            Err(mut refused) => {
                // Identical ones are in neither map.
                refused.failed.retain(|text, (code, _)| {
                    *code != BatchCode::Skipped || !identical.contains(text.as_str())
                });
                return Ok(refused);
            }
        };
        self.apply(session, copy, existing, chosen, &identical, &replaced).await
    }

    async fn apply(
        &self,
        session: &mut Session,
        copy: &Copy,
        existing: Option<PackageRow>,
        chosen: Vec<VersionRow>,
        identical: &HashSet<Arc<str>>,
        replaced: &HashMap<Arc<str>, VersionRow>,
    ) -> Result<BatchResult> {
        let (place, now) = (&copy.destination, self.now());
        let record = match existing {
            Some(record) => record,
            None => {
                let fresh = place.fresh_record(self.new_id(), now);
                session.insert_package(&PackageRow { metadata: copy.metadata.clone(), ..fresh }).await?
            }
        };
        let mut learned = record.controls.learned;
        let mut result = BatchResult::default();
        for row in chosen.iter().filter(|row| !identical.contains(&row.text)) {
            let assets = session.files_of(std::slice::from_ref(&row.content)).await?;
            let (operation, changes) = match replaced.get(&row.key) {
                None => (Operation::Created, Changes::created(assets.len())),
                Some(old) => {
                    let before = session.files_of(std::slice::from_ref(&old.content)).await?;
                    session.delete_version(&old.id).await?;
                    let mut changes = difference(&before, &assets);
                    changes.metadata_updated = true;
                    changes.status_changed = old.status != row.status;
                    (Operation::Updated, changes)
                }
            };
            let kind = row.origin.kind();
            if learned.is_none() {
                let controls = match kind {
                    OriginKind::Internal => Controls::PUBLISHED,
                    OriginKind::External => Controls::INGESTED,
                };
                session.set_learned_controls(&record.id, controls).await?;
                learned = Some(controls);
            }
            session.note_first(&record.id, kind, now).await?;
            let copied = VersionRow {
                id: self.new_id(),
                package: record.id.clone(),
                published_at: now,
                updated_at: now,
                ..row.clone()
            };
            session.insert_version(&copied).await?;
            if let Some(old) = replaced.get(&row.key) {
                session.delete_content_if_unused(&old.content).await?;
            }
            record_event(session, self.event(place, &record.id, &copied, operation, changes)).await?;
            result.successful.insert(row.text.to_string(), (copied.revision, copied.status.as_str()));
        }
        for (tag, target) in &copy.tags {
            if let Some(row) = chosen.iter().find(|row| names(target, row)) {
                session.put_tag(&record.id, tag, &row.text).await?;
            }
        }
        Ok(result)
    }
}

impl Wanted {
    /// The version as its holder has it now.
    async fn row(&self, session: &mut Session) -> Result<Option<VersionRow>> {
        match (&self.holder, &self.key) {
            (Holder::Record(record), Some(key)) => Ok(session.package_version(record, key).await?),
            _ => Ok(None),
        }
    }

    /// Why there is no row to copy.
    fn refusal(&self) -> (BatchCode, String) {
        match self.holder {
            Holder::NotFetched => (BatchCode::Skipped, skipped(&self.asked)),
            Holder::Nowhere | Holder::Record(_) => {
                (BatchCode::NotFound, format!("Could not find version {}", self.asked))
            }
        }
    }

    fn judge(&self, row: &VersionRow) -> Judgement {
        check_revision(row, self.revision.as_ref())?;
        match row.status {
            VersionStatus::Published | VersionStatus::Unlisted | VersionStatus::Archived => Ok(()),
            VersionStatus::Unfinished | VersionStatus::Disposed => Err((
                BatchCode::NotAllowed,
                format!("Version {} is {} and cannot be copied", row.text, row.status),
            )),
        }
    }
}

/// The versions a request names, each once.
fn wanted_of(request: &CopyRequest, format: &dyn Format) -> Result<Vec<Wanted>> {
    let named: Vec<(String, Option<String>)> = match (&request.versions, &request.revisions) {
        (Some(versions), None) => versions.iter().map(|version| (version.clone(), None)).collect(),
        (None, Some(revisions)) => {
            revisions.iter().map(|(version, revision)| (version.clone(), Some(revision.clone()))).collect()
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "versions",
                "exactly one of versions and versionRevisions must be given",
            ));
        }
    };
    check_count("versions", named.len())?;
    let mut seen = HashSet::new();
    let wanted = named.into_iter().map(|(asked, revision)| {
        let key = format.parse_version(&asked).ok().map(|version| version.key().clone());
        Wanted { asked, key, revision, holder: Holder::Nowhere }
    });
    Ok(wanted.filter(|wanted| wanted.key.as_ref().is_none_or(|key| seen.insert(key.clone()))).collect())
}

fn skipped(version: &str) -> String {
    format!("Version {version} was skipped")
}

/// Where the source has a version from. What it withholds is not there, but for what it holds itself.
fn find_in(view: &PackageView, key: &str) -> Holder {
    let Some(decision) = view.verdict.version(key) else { return Holder::Nowhere };
    let offered = matches!(decision.outcome, Outcome::Offered { .. });
    match decision.source {
        Source::Held { node, .. } if offered || node == 0 => match view.records.get(node) {
            Some(Some((record, _))) => Holder::Record(record.id.clone()),
            _ => Holder::Nowhere,
        },
        Source::Public { .. } if offered => Holder::NotFetched,
        Source::Held { .. } | Source::Public { .. } => Holder::Nowhere,
    }
}

/// Whether two versions have the same document and the same files, whose bytes are still there.
async fn same(session: &mut Session, there: &VersionRow, here: &VersionRow) -> Result<bool> {
    if there.content == here.content {
        return Ok(true);
    }
    let (Some(left), Some(right)) =
        (session.content(&there.content).await?, session.content(&here.content).await?)
    else {
        return Ok(false);
    };
    if left.metadata != right.metadata {
        return Ok(false);
    }
    let left = session.files_of(std::slice::from_ref(&there.content)).await?;
    let right = session.files_of(std::slice::from_ref(&here.content)).await?;
    let erased = left.iter().any(|asset| matches!(asset.state, AssetState::Evicted { .. }));
    Ok(!erased && difference(&left, &right) == Changes::default())
}

/// What must be done to the files of one content to have those of another.
fn difference(before: &[AssetRow], after: &[AssetRow]) -> Changes {
    let old: HashMap<&str, &AssetState> =
        before.iter().map(|asset| (asset.name.as_str(), &asset.state)).collect();
    let mut changes = Changes::default();
    for asset in after {
        match old.get(asset.name.as_str()) {
            None => changes.assets_added += 1,
            Some(state) if !same_bytes(state, &asset.state) => changes.assets_updated += 1,
            Some(_) => {}
        }
    }
    changes.assets_removed = before.len() + changes.assets_added - after.len();
    changes
}

fn same_bytes(left: &AssetState, right: &AssetState) -> bool {
    use AssetState::{Evicted, Held, Promised};
    match (left, right) {
        (Held { digests: left, .. } | Evicted { digests: left, .. }, Held { digests: right, .. })
        | (Held { digests: left, .. } | Evicted { digests: left, .. }, Evicted { digests: right, .. }) => {
            left.sha256 == right.sha256
        }
        (Promised { expected: left, .. }, Promised { expected: right, .. }) => left == right,
        (Promised { expected, .. }, Held { size, digests } | Evicted { size, digests })
        | (Held { size, digests } | Evicted { size, digests }, Promised { expected, .. }) => {
            expected.has_digest() && expected.mismatch(digests, *size).is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Hasher;

    fn asset(name: &str, bytes: &[u8]) -> AssetRow {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        let state = AssetState::Held { size: bytes.len() as u64, digests: hasher.finish() };
        AssetRow { content: "c".into(), name: name.to_owned(), state, derived: false }
    }

    #[test]
    fn the_files_of_two_versions_are_compared_by_name_and_bytes() {
        let before = [asset("a", b"1"), asset("b", b"1"), asset("c", b"1")];
        let after = [asset("a", b"1"), asset("b", b"2"), asset("d", b"1")];
        assert_eq!(difference(&before, &before), Changes::default());
        let changes = difference(&before, &after);
        assert_eq!((changes.assets_added, changes.assets_updated, changes.assets_removed), (1, 1, 1));
    }
}
