//! Rows for versions that come from upstream: the asked repository gets one, and so does the repository
//! that holds the connection the bytes came through. They share one content, so no byte is copied.

use crate::Registry;
use crate::change::Outdated;
use crate::event::{Changes, Operation, VersionEvent, record_numbered};
use crate::topology::{DomainState, RepositoryState};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use weir_core::digest::Digests;
use weir_core::{
    Clock, Controls, Digest, OriginControls, OriginKind, PackageName, Result, Secrets, Timestamp,
    VersionStatus,
};
use weir_store::rows::{DomainRow, Id, PackageRow, RepositoryRow, VersionRow};
use weir_store::{Durability, Session};

/// What is the same for every row a request writes.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) region: String,
    pub(crate) at: Timestamp,
    pub(crate) domain: DomainRow,
    pub(crate) package: PackageName,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
}

impl Context {
    pub(crate) fn new(registry: &Registry, domain: &DomainRow, package: &PackageName) -> Self {
        Self {
            region: registry.inner.settings.region.clone(),
            at: registry.now(),
            domain: domain.clone(),
            package: package.clone(),
            clock: registry.inner.clock.clone(),
            secrets: registry.inner.secrets.clone(),
        }
    }

    pub(crate) fn new_id(&self) -> Id {
        weir_store::new_id(&*self.clock, &*self.secrets)
    }

    /// The record of the package in a repository, made where there is none.
    pub(crate) async fn ensure_record(&self, session: &mut Session, repository: &Id) -> Result<PackageRow> {
        Ok(self.record_of(session, repository).await?.0)
    }

    /// As `ensure_record`, with whether it was made now and so has no versions.
    pub(crate) async fn record_of(
        &self,
        session: &mut Session,
        repository: &Id,
    ) -> Result<(PackageRow, bool)> {
        let package = &self.package;
        let row = PackageRow {
            id: self.new_id(),
            repository: repository.clone(),
            format: package.format.as_str().to_owned(),
            namespace: package.namespace_or_empty().to_owned(),
            name: package.name.to_string(),
            controls: OriginControls::default(),
            first_internal_at: None,
            first_external_at: None,
            metadata: None,
            sequence: 0,
            created_at: self.at,
        };
        let found = session.insert_package(&row).await?;
        let is_new = found.id == row.id;
        Ok((found, is_new))
    }

    /// Writes a version that is new to a repository, with what its record learns from it and its event.
    pub(crate) async fn add_version(
        &self,
        session: &mut Session,
        repository: &RepositoryRow,
        record: &PackageRow,
        version: &VersionRow,
        learned: Controls,
        assets: usize,
    ) -> Result<()> {
        session.insert_version(version).await?;
        let sequence = session.note_version(&record.id, learned, version.origin.kind(), self.at).await?;
        let event = VersionEvent {
            region: &self.region,
            at: self.at,
            domain: &self.domain,
            repository,
            package: &self.package,
            record: &record.id,
            version,
            operation: Operation::Created,
            changes: Changes::created(assets),
        };
        record_numbered(session, event, sequence).await
    }

    /// Retains `original` in a repository that has no such version; true when a row was written.
    pub(crate) async fn retain(
        &self,
        session: &mut Session,
        repository: &RepositoryRow,
        original: &VersionRow,
        assets: usize,
    ) -> Result<bool> {
        let (record, is_new) = self.record_of(session, &repository.id).await?;
        if !is_new && session.package_version(&record.id, &original.key).await?.is_some() {
            return Ok(false);
        }
        let version = VersionRow {
            id: self.new_id(),
            package: record.id.clone(),
            // Any status but Unlisted that could be fetched becomes that of a normal version.
            status: match original.status {
                VersionStatus::Unlisted => VersionStatus::Unlisted,
                _ => VersionStatus::Published,
            },
            published_at: self.at,
            updated_at: self.at,
            ..original.clone()
        };
        self.add_version(session, repository, &record, &version, Controls::INGESTED, assets).await?;
        Ok(true)
    }
}

/// A revision: Base64 of 32 bytes that name metadata and files.
pub(crate) fn revision(metadata: &str, assets: impl IntoIterator<Item = (String, Digests)>) -> String {
    let mut text = Digest::of(metadata.as_bytes()).hex();
    let mut assets: Vec<_> = assets.into_iter().map(|(name, d)| (name, d.sha256)).collect();
    assets.sort();
    for (name, digest) in assets {
        text.push_str(&format!("\n{name}\n{digest}"));
    }
    STANDARD.encode(Digest::of(text.as_bytes()).as_bytes())
}

impl Registry {
    /// Retains a version that another repository of the chain holds in the asked one.
    pub(crate) async fn retain_held(
        &self,
        domain: &DomainState,
        repository: &RepositoryState,
        package: &PackageName,
        original: &VersionRow,
    ) -> Result<()> {
        let context = Context::new(self, &domain.row, package);
        let repository = repository.row.clone();
        let original = original.clone();
        let internal = original.origin.kind() == OriginKind::Internal;
        // An INTERNAL version that is new to a repository may reserve the name for those behind it.
        let outdated = if internal {
            Outdated::Content(domain.row.id.clone(), package.clone())
        } else {
            Outdated::Holdings(domain.row.id.clone(), package.clone())
        };
        let durability = if internal { Durability::Synced } else { Durability::Later };
        let added = self
            .change_for(durability, outdated, move |session| {
                Box::pin(async move {
                    let assets = session.files_of(std::slice::from_ref(&original.content)).await?.len();
                    context.retain(session, &repository, &original, assets).await
                })
            })
            .await?;
        if added {
            self.metrics().versions_retained.inc();
        }
        Ok(())
    }
}
