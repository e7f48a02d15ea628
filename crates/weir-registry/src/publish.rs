//! Takes a new version, or new files of one that is there, or says why not; and the other changes that
//! package managers make: tags, flags, unpublish.

mod change;

use crate::Registry;
use crate::change::Outdated;
use crate::event::{Changes, Operation, VersionEvent, record_event};
use crate::format::{AssetRule, Description, Format};
use crate::keep::{held_blobs, name_blobs};
use crate::retain::{Context, revision};
use crate::scope::{PackageRef, Scope};
use crate::version::{AssetInfo, VersionSummary};
use crate::view::{Freshness, PackageView};
use weir_core::digest::Digests;
use weir_core::error::Resource;
use weir_core::verdict::{Outcome, Rule, Source};
use weir_core::{
    Action, AssetName, Caller, Control, Controls, Digest, Error, Flags, Origin, OriginKind, PackageName,
    PublishTime, Result, TimeSource, Version, VersionStatus, quota,
};
use weir_store::rows::{AssetRow, AssetState, ContentRow, PackageRow, VersionRow};
use weir_store::{BlobKey, Durability, Session, Spooled};

/// What a client brings.
pub struct Publication {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The format's document of the version, verbatim.
    pub metadata: String,
    /// Package-level facts, if the client sent any.
    pub package_metadata: Option<String>,
    /// What the control API tells of it.
    pub description: Description,
    /// Its files, hashed.
    pub assets: Vec<NewAsset>,
    /// Tags to set on it.
    pub tags: Vec<String>,
    /// Flags it is published with.
    pub flags: Flags,
    /// Whether the version is left open for more files.
    pub unfinished: bool,
}

/// A file a client brings.
pub struct NewAsset {
    /// Its name.
    pub name: AssetName,
    /// Its bytes, in the spool.
    pub file: Spooled,
    /// Whether it was made out of another file, or says something of one: it is served beside that, is no
    /// asset for the control API, and one that is there already stays as it is.
    pub derived: bool,
}

/// What became of a publication.
#[derive(Debug, Clone)]
pub struct Published {
    /// The version as it stands now.
    pub summary: VersionSummary,
    /// Whether anything changed; a publish of the same bytes changes nothing.
    pub changed: bool,
    /// What its publisher should know: that public versions of the name stay visible beside it.
    pub notice: Option<String>,
}

impl Registry {
    /// A place for incoming bytes, hashed as they pass.
    pub fn spool(&self) -> Result<weir_store::SpoolWriter> {
        Ok(self.inner.store.spool().begin()?)
    }

    /// Publishes (`weir.md` 5): authorization, origin controls, reachability, then one transaction. The same
    /// files again change nothing and succeed.
    pub async fn publish(&self, scope: &Scope, publication: Publication) -> Result<Published> {
        let package = &publication.package;
        self.authorize_package(scope, Action::PublishPackageVersion, package)?;
        let format = self.format_named(package.format)?;
        check_sizes(&publication, self.inner.settings.max_asset_bytes)?;
        // The publisher may not be allowed to read, and still must not publish over what can be read.
        let view = self.view_unchecked(scope, package, Freshness::Usual).await?;
        check_controls(&view)?;
        let held = own_version(&view, publication.version.key());
        if held.is_none() {
            check_reachable(&view, &publication.version)?;
            self.check_immutable(&view, &publication).await?;
        }
        let names: Vec<Digests> = publication.assets.iter().map(|asset| asset.file.digests.clone()).collect();
        let Publication {
            version,
            metadata,
            package_metadata,
            description,
            assets,
            tags,
            flags,
            unfinished,
            ..
        } = publication;
        let domain = scope.domain.row.id.clone();
        let mut rows = Vec::with_capacity(assets.len());
        for (asset, digests) in assets.into_iter().zip(names) {
            let size = asset.file.size;
            let key = BlobKey::Asset { domain: domain.clone(), digest: digests.sha256 };
            self.inner.store.blobs().keep(&key, asset.file, Durability::Synced).await?;
            let state = AssetState::Held { size, digests };
            rows.push(AssetRow {
                content: "".into(),
                name: asset.name.to_string(),
                state,
                derived: asset.derived,
            });
        }
        let kept: Vec<Digest> = held_blobs(&rows).into_iter().map(|(digest, _)| digest).collect();
        self.ready_to_name(&domain, &kept).await?;
        let work = Work {
            context: Context::new(self, &scope.domain.row, &view.package),
            display_name: view.display_name.clone(),
            repository: scope.repository.row.clone(),
            format,
            version,
            metadata,
            package_metadata,
            description,
            assets: rows,
            tags,
            flags,
            unfinished,
            audit: self.audit(
                &scope.caller,
                Action::PublishPackageVersion,
                &scope.repository.arn,
                &serde_json::json!({ "package": view.package.to_string(), "format": view.package.format.as_str() }),
            ),
        };
        let outdated = Outdated::Content(scope.domain.row.id.clone(), view.package.clone());
        let published =
            self.change(outdated, move |session| Box::pin(async move { work.commit(session).await })).await?;
        if published.changed {
            self.metrics().versions_published.inc();
        }
        Ok(Published { notice: merge_notice(&view), ..published })
    }

    /// Refuses before an upload what [`Registry::publish_asset`] would refuse after it.
    pub async fn may_publish(&self, caller: &Caller, package: &PackageRef) -> Result<()> {
        self.place(caller, package, Action::PublishPackageVersion).await.map(drop)
    }

    /// PublishPackageVersion of generic packages.
    pub async fn publish_asset(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: &str,
        asset: NewAsset,
        unfinished: bool,
    ) -> Result<(VersionSummary, AssetInfo)> {
        let format = self.format(package.package.format.as_str());
        let format = format.filter(|format| format.published_by_api()).ok_or_else(|| {
            Error::invalid(
                "format",
                format_args!(
                    "{} packages are published with their own package manager; PublishPackageVersion takes generic",
                    package.package.format
                ),
            )
        })?;
        let scope = self.scope_for(caller, package, Action::PublishPackageVersion).await?;
        let info = AssetInfo {
            name: asset.name.to_string(),
            size: Some(asset.file.size),
            digests: Some(asset.file.digests.clone()),
        };
        let publication = Publication {
            package: package.package.clone(),
            version: format.parse_version(version)?,
            metadata: "{}".to_owned(),
            package_metadata: None,
            description: Description::default(),
            assets: vec![asset],
            tags: Vec::new(),
            flags: Flags::default(),
            unfinished,
        };
        let published = self.publish(&scope, publication).await?;
        Ok((published.summary, info))
    }

    /// The scope of a control call that changes a package.
    async fn scope_for(&self, caller: &Caller, package: &PackageRef, action: Action) -> Result<Scope> {
        let name = &package.package;
        let (domain, repository) =
            self.find_repository(caller, &package.repository, action, Some(name)).await?;
        Ok(Scope { domain, repository, format: name.format, caller: caller.clone(), token: None })
    }

    /// `immutable-versions`: other bytes are refused for a deleted version too.
    async fn check_immutable(&self, view: &PackageView, publication: &Publication) -> Result<()> {
        let Some(record) = view.own_record().filter(|_| self.inner.settings.immutable_versions) else {
            return Ok(());
        };
        let mut session = self.inner.store.read().await?;
        let before = session.deleted_version(&record.id, publication.version.key()).await?;
        let files = publication.assets.iter().filter(|asset| !asset.derived);
        let mut now = files.map(|asset| asset.file.digests.sha256);
        // Files of one version may come back one by one.
        if before.is_none_or(|before| now.all(|digest| before.contains(&digest))) {
            return Ok(());
        }
        Err(Error::conflict(
            Resource::PackageVersion,
            publication.version.as_str(),
            format!(
                "{}@{} was published before with other bytes and deleted; immutable-versions = true forbids that: \
                 publish another version",
                view.display_name, publication.version
            ),
        ))
    }
}

fn check_sizes(publication: &Publication, most: u64) -> Result<()> {
    if publication.assets.is_empty() {
        return Err(Error::invalid("asset", "a version needs at least one file"));
    }
    for asset in &publication.assets {
        if asset.file.size > most {
            return Err(Error::too_large(format!(
                "{} has {} bytes; at most {most} are taken (max-asset-bytes)",
                asset.name, asset.file.size
            )));
        }
    }
    Ok(())
}

fn check_controls(view: &PackageView) -> Result<()> {
    let Some(record) = view.own_record() else { return Ok(()) };
    if record.controls.effective().publish == Control::Allow {
        return Ok(());
    }
    let repository = &view.nodes[0].repository;
    Err(Error::denied(format!(
        "the origin control publish=BLOCK of {} {} in repository '{repository}' ({}) refuses the publish; to publish \
         it and hide the versions of public registries: aws codeartifact put-package-origin-configuration … \
         --restrictions publish=ALLOW,upstream=BLOCK",
        view.package.format,
        view.display_name,
        record.controls.source(),
    )))
}

/// Of a name that the path knew as public before it was published here, the versions of both are merged.
fn merge_notice(view: &PackageView) -> Option<String> {
    let records = || view.nodes.iter().filter_map(|node| node.record.as_ref());
    let public = records().filter_map(|record| record.first_external_at).min()?;
    let internal = records().filter_map(|record| record.first_internal_at).min();
    if internal.is_some_and(|internal| internal <= public) {
        return None;
    }
    Some(format!(
        "public versions of {} were here before, so its name is not reserved and they stay visible; to hide them: \
         put-package-origin-configuration with publish=ALLOW,upstream=BLOCK",
        view.display_name
    ))
}

fn own_version<'a>(view: &'a PackageView, key: &str) -> Option<&'a VersionRow> {
    view.records.first()?.as_ref()?.1.iter().find(|version| *version.key == *key)
}

/// A version that can be reached upstream, or that the last known public index lists, must not be published.
fn check_reachable(view: &PackageView, version: &Version) -> Result<()> {
    let Some(decision) = view.verdict.version(version.key()) else { return Ok(()) };
    if matches!(decision.outcome, Outcome::Withheld { rule: Rule::Reserved(_), .. }) {
        return Ok(());
    }
    let place = match decision.source {
        Source::Held { node: 0, .. } => return Ok(()),
        Source::Held { .. } => "an upstream repository holds it".to_owned(),
        Source::Public { node, .. } => match &view.nodes[node].connection {
            Some(connection) => format!("{connection} has it"),
            None => "a public registry has it".to_owned(),
        },
    };
    Err(Error::conflict(
        Resource::PackageVersion,
        version.as_str(),
        format!(
            "cannot publish {}@{version}: {place}; publish another version, or cut the upstreams off for this \
             package with put-package-origin-configuration (publish=ALLOW,upstream=BLOCK)",
            view.display_name
        ),
    ))
}

/// What one transaction writes.
struct Work {
    context: Context,
    display_name: String,
    repository: weir_store::rows::RepositoryRow,
    format: &'static dyn Format,
    version: Version,
    metadata: String,
    package_metadata: Option<String>,
    description: Description,
    assets: Vec<AssetRow>,
    tags: Vec<String>,
    flags: Flags,
    unfinished: bool,
    audit: weir_store::rows::AuditRow,
}

impl Work {
    async fn commit(self, session: &mut Session) -> Result<Published> {
        let record = self.context.ensure_record(session, &self.repository.id).await?;
        if record.controls.effective().publish == Control::Block {
            return Err(Error::denied("its origin controls were just changed to publish=BLOCK"));
        }
        match session.package_version(&record.id, self.version.key()).await? {
            None => self.create(session, record).await,
            Some(version) => self.add(session, record, version).await,
        }
    }

    /// A content of its own for the version.
    fn content(&self, metadata: String, description: &Description) -> Result<ContentRow> {
        Ok(ContentRow {
            id: self.context.new_id(),
            domain: self.context.domain.id.clone(),
            metadata,
            description: serde_json::to_string(description).map_err(Error::internal)?,
            parser: self.format.parser_version(),
            created_at: self.context.at,
        })
    }

    async fn create(mut self, session: &mut Session, record: PackageRow) -> Result<Published> {
        name_blobs(session, &self.context.domain.id, &self.assets, true, self.context.at).await?;
        let content = self.content(self.metadata.clone(), &self.description)?;
        for asset in &mut self.assets {
            asset.content = content.id.clone();
        }
        session.insert_content(&content, &self.assets).await?;
        let at = self.context.at;
        let version = VersionRow {
            id: self.context.new_id(),
            package: record.id.clone(),
            content: content.id.clone(),
            key: self.version.key().clone(),
            text: self.version.as_str().into(),
            status: if self.unfinished { VersionStatus::Unfinished } else { VersionStatus::Published },
            revision: revision(&self.metadata, digests_of(&self.assets)),
            origin: Origin::Internal { repository: self.repository.name.clone() },
            flags: self.flags.clone(),
            publish_time: PublishTime { at, source: TimeSource::Published },
            published_at: at,
            updated_at: at,
        };
        let count = files(&self.assets);
        self.context
            .add_version(session, &self.repository, &record, &version, Controls::PUBLISHED, count)
            .await?;
        self.finish(session, &record, &version).await?;
        Ok(Published { summary: summary(&version), changed: true, notice: None })
    }

    async fn add(self, session: &mut Session, record: PackageRow, version: VersionRow) -> Result<Published> {
        let held = session.assets_of(std::slice::from_ref(&version.content)).await?;
        let mut fresh = Vec::new();
        for asset in &self.assets {
            match held.iter().find(|other| other.name == asset.name) {
                None => fresh.push(asset.clone()),
                Some(other) if asset.derived || same_bytes(other, asset) => {}
                Some(_) => return Err(self.taken(&version, "with other bytes")),
            }
        }
        let finishing = version.status == VersionStatus::Unfinished && !self.unfinished;
        if !matches!(
            version.status,
            VersionStatus::Published | VersionStatus::Unlisted | VersionStatus::Unfinished
        ) {
            return Err(self.taken(&version, &format!("and has the status {}", version.status)));
        }
        // Also of a version that stays as it is: its bytes may have been lost, and are back now.
        name_blobs(session, &self.context.domain.id, &self.assets, true, self.context.at).await?;
        if fresh.is_empty() && !finishing {
            return Ok(Published { summary: summary(&version), changed: false, notice: None });
        }
        let open = match self.format.asset_rule() {
            _ if version.origin.kind() == OriginKind::External => false,
            AssetRule::One => false,
            AssetRule::WhileUnfinished => version.status == VersionStatus::Unfinished,
            AssetRule::Any => true,
        };
        if !fresh.is_empty() && !open {
            return Err(self.taken(&version, "and takes no more files"));
        }
        let added = files(&fresh);
        if files(&held) + added > quota::ASSETS_PER_VERSION {
            return Err(Error::QuotaExceeded {
                resource: Resource::PackageVersion,
                id: version.text.to_string(),
                message: format!("a version has at most {} files", quota::ASSETS_PER_VERSION),
            });
        }
        let at = self.context.at;
        let gone = || Error::internal(format!("version {} has no content", version.id));
        let old = session.content(&version.content).await?.ok_or_else(gone)?;
        self.format.check_addition(&self.context.package, &old.metadata, &self.metadata)?;
        let metadata = self.format.merge_metadata(&old.metadata, &self.metadata)?;
        let told: Description = serde_json::from_str(&old.description).map_err(Error::internal)?;
        let description = Description {
            readme: told.readme.or_else(|| self.description.readme.clone()),
            ..self.format.describe(&self.context.package, &metadata)
        };
        let content = self.content(metadata, &description)?;
        // Others may share the old content, so the version gets a new one.
        let mut assets: Vec<AssetRow> = held.into_iter().chain(fresh.iter().cloned()).collect();
        for asset in &mut assets {
            asset.content = content.id.clone();
        }
        session.insert_content(&content, &assets).await?;
        let revision = revision(&content.metadata, digests_of(&assets));
        session.set_version_content(&version.id, &content.id, &revision, at).await?;
        session.delete_content_if_unused(&version.content).await?;
        let mut version = VersionRow { content: content.id, revision, updated_at: at, ..version };
        if finishing {
            session.set_version_status(&version.id, VersionStatus::Published, at).await?;
            version.status = VersionStatus::Published;
        }
        let event = VersionEvent {
            region: &self.context.region,
            at,
            domain: &self.context.domain,
            repository: &self.repository,
            package: &self.context.package,
            record: &record.id,
            version: &version,
            operation: Operation::Updated,
            changes: Changes {
                assets_added: added,
                metadata_updated: true,
                status_changed: finishing,
                ..Changes::default()
            },
        };
        record_event(session, event).await?;
        self.finish(session, &record, &version).await?;
        Ok(Published { summary: summary(&version), changed: true, notice: None })
    }

    async fn finish(&self, session: &mut Session, record: &PackageRow, version: &VersionRow) -> Result<()> {
        if let Some(metadata) = &self.package_metadata {
            session.set_package_metadata(&record.id, metadata).await?;
        }
        for tag in &self.tags {
            session.put_tag(&record.id, tag, &version.text).await?;
        }
        session.insert_audit(&self.audit).await?;
        Ok(())
    }

    fn taken(&self, version: &VersionRow, how: &str) -> Error {
        Error::conflict(
            Resource::PackageVersion,
            version.text.as_ref(),
            format!(
                "cannot publish over {}@{}: it already exists in repository '{}' {how}; publish another version, or \
                 delete this one first (aws codeartifact delete-package-versions)",
                self.display_name, version.text, self.repository.name
            ),
        )
    }
}

/// How many are files of their own.
fn files(assets: &[AssetRow]) -> usize {
    assets.iter().filter(|asset| !asset.derived).count()
}

fn digests_of(assets: &[AssetRow]) -> Vec<(String, Digests)> {
    assets
        .iter()
        .filter_map(|asset| match &asset.state {
            AssetState::Held { digests, .. } | AssetState::Evicted { digests, .. } => {
                Some((asset.name.clone(), digests.clone()))
            }
            AssetState::Promised { .. } => None,
        })
        .collect()
}

fn same_bytes(left: &AssetRow, right: &AssetRow) -> bool {
    match (&left.state, &right.state) {
        (AssetState::Held { digests: left, .. }, AssetState::Held { digests: right, .. }) => left == right,
        _ => false,
    }
}

pub(crate) fn summary(version: &VersionRow) -> VersionSummary {
    VersionSummary {
        version: version.text.to_string(),
        revision: version.revision.clone(),
        status: version.status,
        origin: version.origin.clone(),
    }
}
