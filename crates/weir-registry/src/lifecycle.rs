//! Changes of what is held: status, dispose and delete. Copying is below, in `lifecycle/copy.rs`.

mod batch;
mod copy;

pub use batch::{BatchCode, BatchResult, BatchTarget};
pub use copy::CopyRequest;

use crate::Registry;
use crate::event::{Changes, Operation, record_event};
use crate::package::{Place, asset_counts};
use crate::scope::PackageRef;
use batch::{NOT_A_TARGET, Verdicts, held_versions};
use serde_json::json;
use weir_core::{Action, Caller, Error, Result, Timestamp, VersionStatus};
use weir_store::Session;
use weir_store::rows::{AssetRow, AssetState, ContentRow, Id, PackageRow, VersionRow};

impl Registry {
    /// UpdatePackageVersionsStatus: all or nothing, others SKIPPED.
    pub async fn update_versions_status(
        &self,
        caller: &Caller,
        package: &PackageRef,
        target: BatchTarget,
        status: VersionStatus,
    ) -> Result<BatchResult> {
        let place = self.place(caller, package, Action::UpdatePackageVersionsStatus).await?;
        if matches!(status, VersionStatus::Unfinished | VersionStatus::Disposed) {
            return Err(Error::invalid("targetStatus", NOT_A_TARGET));
        }
        self.change_status(caller, place, target, status, Action::UpdatePackageVersionsStatus).await
    }

    /// DisposePackageVersions: the bytes go, the record stays.
    pub async fn dispose_versions(
        &self,
        caller: &Caller,
        package: &PackageRef,
        target: BatchTarget,
    ) -> Result<BatchResult> {
        let place = self.place(caller, package, Action::DisposePackageVersions).await?;
        let (disposed, action) = (VersionStatus::Disposed, Action::DisposePackageVersions);
        self.change_status(caller, place, target, disposed, action).await
    }

    async fn change_status(
        &self,
        caller: &Caller,
        place: Place,
        target: BatchTarget,
        status: VersionStatus,
        action: Action,
    ) -> Result<BatchResult> {
        target.check()?;
        let format = self.format_of(&place)?;
        let detail = json!({ "versions": target.versions, "status": status.as_str() });
        let audit = self.audit(caller, action, &place.arn, &detail);
        let (registry, there) = (self.clone(), place.clone());
        let result = self
            .change(place.outdated(), move |session| {
                Box::pin(async move {
                    let record = there.record(session).await?;
                    let asked = held_versions(session, format, &record.id, &target.versions).await?;
                    let mut verdicts = Verdicts::default();
                    for (text, row) in asked {
                        let judgement = target.judge(&text, row.as_ref(), Some(status));
                        verdicts.add(text, row, judgement);
                    }
                    let chosen =
                        match verdicts.all_or_nothing(|version| format!("version {version} is skipped")) {
                            Ok(chosen) => chosen,
                            Err(refused) => return Ok(refused),
                        };
                    let mut result = BatchResult::default();
                    for row in chosen {
                        let row = registry.set_status(session, &there, &record, row, status).await?;
                        result.successful.insert(row.text.to_string(), (row.revision, status.as_str()));
                    }
                    session.insert_audit(&audit).await?;
                    Ok::<_, Error>(result)
                })
            })
            .await?;
        Ok(result)
    }

    async fn set_status(
        &self,
        session: &mut Session,
        place: &Place,
        record: &PackageRow,
        row: VersionRow,
        status: VersionStatus,
    ) -> Result<VersionRow> {
        if row.status == status {
            return Ok(row);
        }
        let now = self.now();
        let mut changes = Changes::status();
        let mut row = row;
        if status == VersionStatus::Disposed {
            let (content, erased) = erase(session, &row.content, self.new_id(), now).await?;
            session.set_version_content(&row.id, &content, &row.revision, now).await?;
            session.delete_content_if_unused(&row.content).await?;
            changes.assets_removed = erased;
            row.content = content;
        }
        session.set_version_status(&row.id, status, now).await?;
        row.status = status;
        let event = self.event(place, &record.id, &row, Operation::Updated, changes);
        record_event(session, event).await?;
        Ok(row)
    }

    /// DeletePackageVersions: each version by itself; the record and its controls stay.
    pub async fn delete_versions(
        &self,
        caller: &Caller,
        package: &PackageRef,
        target: BatchTarget,
    ) -> Result<BatchResult> {
        let place = self.place(caller, package, Action::DeletePackageVersions).await?;
        target.check()?;
        let format = self.format_of(&place)?;
        let detail = json!({ "versions": target.versions });
        let audit = self.audit(caller, Action::DeletePackageVersions, &place.arn, &detail);
        let (registry, there) = (self.clone(), place.clone());
        let result = self
            .change(place.outdated(), move |session| {
                Box::pin(async move {
                    let record = there.record(session).await?;
                    let asked = held_versions(session, format, &record.id, &target.versions).await?;
                    let mut verdicts = Verdicts::default();
                    for (text, row) in asked {
                        let judgement = target.judge(&text, row.as_ref(), None);
                        verdicts.add(text, row, judgement);
                    }
                    let (chosen, failed) = verdicts.each_by_itself();
                    let mut result = BatchResult { failed, ..BatchResult::default() };
                    registry.delete_rows(session, &there, &record, &chosen).await?;
                    for row in chosen {
                        result.successful.insert(row.text.to_string(), (row.revision, "Deleted"));
                    }
                    if !result.successful.is_empty() {
                        session.insert_audit(&audit).await?;
                    }
                    Ok::<_, Error>(result)
                })
            })
            .await?;
        Ok(result)
    }

    /// Deletes versions with the tags that name them and with contents that nobody else has, and writes
    /// their events. The caller writes the audit row.
    pub(crate) async fn delete_rows(
        &self,
        session: &mut Session,
        place: &Place,
        record: &PackageRow,
        rows: &[VersionRow],
    ) -> Result<()> {
        let assets = asset_counts(session, rows).await?;
        let tags = session.tags_of(std::slice::from_ref(&record.id)).await?;
        for row in rows {
            for (_, tag, _) in tags.iter().filter(|(_, _, version)| names(version, row)) {
                session.delete_tag(&record.id, tag).await?;
            }
            session.note_deleted_version(row, self.now()).await?;
            session.delete_version(&row.id).await?;
            session.delete_content_if_unused(&row.content).await?;
            let assets_removed = assets.get(&row.content).copied().unwrap_or_default();
            let changes = Changes { assets_removed, status_changed: true, ..Changes::default() };
            record_event(session, self.event(place, &record.id, row, Operation::Deleted, changes)).await?;
        }
        Ok(())
    }
}

/// Whether a tag's target, as published or in normal form, is this version.
fn names(target: &str, row: &VersionRow) -> bool {
    *target == *row.text || *target == *row.key
}

/// A content like this one whose bytes are gone; others may still have the old one. Gives its identifier
/// and how many files were erased.
async fn erase(session: &mut Session, content: &Id, id: Id, now: Timestamp) -> Result<(Id, usize)> {
    let gone = || Error::internal(format!("content {content} is gone"));
    let old = session.content(content).await?.ok_or_else(gone)?;
    let mut erased = 0;
    let mut assets = Vec::new();
    for asset in session.assets_of(std::slice::from_ref(content)).await? {
        let state = match asset.state {
            AssetState::Held { size, digests } => {
                erased += usize::from(!asset.derived);
                AssetState::Evicted { size, digests }
            }
            other @ (AssetState::Promised { .. } | AssetState::Evicted { .. }) => other,
        };
        assets.push(AssetRow { content: id.clone(), name: asset.name, state, derived: asset.derived });
    }
    let new = ContentRow { id: id.clone(), created_at: now, ..old };
    session.insert_content(&new, &assets).await?;
    Ok((id, erased))
}
