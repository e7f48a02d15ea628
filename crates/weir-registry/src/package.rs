//! Package records: list, describe, origin configuration, delete.

use crate::Registry;
use crate::change::Outdated;
use crate::event::{Changes, Operation, VersionEvent, record_event};
use crate::format::NamespaceRule;
use crate::repository::check_format;
use crate::scope::{PackageRef, RepositoryRef};
use crate::topology::{DomainState, RepositoryState, absent_domain, absent_repository};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use weir_core::error::Resource;
use weir_core::{
    Action, Arn, Caller, Controls, Error, OriginControls, PackageName, Page, PageRequest, Result, Timestamp,
};
use weir_store::Session;
pub use weir_store::rows::PackageFilter;
use weir_store::rows::{Id, PackageRow, VersionRow};

/// A package record as the control API shows it.
#[derive(Debug, Clone)]
pub struct PackageInfo {
    /// Its format's name.
    pub format: String,
    /// Namespace, if its format has them.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Effective origin controls of the record.
    pub controls: Controls,
}

/// A package of a repository, found and authorized.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) domain: Arc<DomainState>,
    pub(crate) repository: Arc<RepositoryState>,
    pub(crate) package: PackageName,
    pub(crate) arn: Arn,
}

impl Registry {
    /// ListPackages: what the repository itself holds, by format, namespace and name.
    pub async fn list_packages(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        filter: PackageFilter,
        page: &PageRequest,
    ) -> Result<Page<PackageInfo>> {
        let (domain, found) = self.find_repository(caller, repository, Action::ListPackages, None).await?;
        self.authorize_repository(caller, Action::ListPackages, &domain, &found)?;
        match &filter.format {
            Some(format) => check_format(format)?,
            None if filter.namespace_prefix.is_some() => {
                return Err(Error::invalid("namespace", "needs format beside it"));
            }
            None => {}
        }
        let rows = self.inner.store.read().await?.list_packages(&found.row.id, &filter, page).await?;
        Ok(rows.map(package_info))
    }

    /// DescribePackage.
    pub async fn describe_package(&self, caller: &Caller, package: &PackageRef) -> Result<PackageInfo> {
        let place = self.place(caller, package, Action::DescribePackage).await?;
        let mut session = self.inner.store.read().await?;
        Ok(package_info(place.record(&mut session).await?))
    }

    /// PutPackageOriginConfiguration: makes the record where there is none.
    pub async fn put_origin_configuration(
        &self,
        caller: &Caller,
        package: &PackageRef,
        controls: Controls,
    ) -> Result<Controls> {
        let place = self.place(caller, package, Action::PutPackageOriginConfiguration).await?;
        let detail = json!({ "publish": controls.publish.as_str(), "upstream": controls.upstream.as_str() });
        let audit = self.audit(caller, Action::PutPackageOriginConfiguration, &place.arn, &detail);
        let fresh = place.fresh_record(self.new_id(), self.now());
        let there = place.clone();
        self.change(place.outdated(), move |session| {
            Box::pin(async move {
                there.must_exist(session).await?;
                let record = session.insert_package(&fresh).await?;
                session.set_put_controls(&record.id, controls).await?;
                Ok::<_, Error>(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(controls)
    }

    /// DeletePackage: all versions, the record and its controls.
    pub async fn delete_package(&self, caller: &Caller, package: &PackageRef) -> Result<PackageInfo> {
        let place = self.place(caller, package, Action::DeletePackage).await?;
        let audit = self.audit(caller, Action::DeletePackage, &place.arn, &json!({}));
        let (there, registry) = (place.clone(), self.clone());
        let row = self
            .change(place.outdated(), move |session| {
                Box::pin(async move {
                    let record = there.record(session).await?;
                    let versions = session.versions_of(std::slice::from_ref(&record.id)).await?;
                    let assets = asset_counts(session, &versions).await?;
                    for version in &versions {
                        let removed = assets.get(&version.content).copied().unwrap_or_default();
                        let changes =
                            Changes { assets_removed: removed, status_changed: true, ..Changes::default() };
                        let event = registry.event(&there, &record.id, version, Operation::Deleted, changes);
                        record_event(session, event).await?;
                    }
                    session.delete_package(&record.id).await?;
                    session.insert_audit(&audit).await?;
                    Ok::<_, Error>(record)
                })
            })
            .await?;
        Ok(package_info(row))
    }

    /// Reads format, namespace and name of the control API into a package name.
    pub fn parse_package(&self, format: &str, namespace: Option<&str>, name: &str) -> Result<PackageName> {
        check_format(format)?;
        let Some(known) = self.format(format) else {
            return Err(Error::invalid("format", format_args!("{format} is not built into this server")));
        };
        match (known.namespace_rule(), namespace) {
            (NamespaceRule::Required, None) => {
                Err(Error::invalid("namespace", format_args!("is required for {format} packages")))
            }
            (NamespaceRule::Absent, Some(_)) => Err(Error::invalid(
                "namespace",
                format_args!("must be left out: {format} packages have none"),
            )),
            _ => known.parse_name(namespace, name),
        }
    }

    /// Finds the repository and authorizes an action on a package of it.
    pub(crate) async fn place(&self, caller: &Caller, package: &PackageRef, action: Action) -> Result<Place> {
        let (domain, repository) =
            self.find_repository(caller, &package.repository, action, Some(&package.package)).await?;
        let place = self.place_in(domain, repository, package.package.clone());
        self.authorize_place(caller, &place, action)?;
        Ok(place)
    }

    /// A package of a repository that was found already; not authorized.
    pub(crate) fn place_in(
        &self,
        domain: Arc<DomainState>,
        repository: Arc<RepositoryState>,
        package: PackageName,
    ) -> Place {
        let region = &self.inner.settings.region;
        let arn = Arn::package(region, &domain.row.owner, &domain.row.name, &repository.row.name, &package);
        Place { domain, repository, package, arn }
    }

    /// Authorizes an action on a package.
    pub(crate) fn authorize_place(&self, caller: &Caller, place: &Place, action: Action) -> Result<()> {
        let absent = || absent_domain(&place.domain.row.name, &place.domain.row.owner);
        self.authorize(caller, action, &place.arn, &place.domain.row.owner, absent)
    }

    /// The event of a change of a version made now.
    pub(crate) fn event<'a>(
        &'a self,
        place: &'a Place,
        record: &'a Id,
        version: &'a VersionRow,
        operation: Operation,
        changes: Changes,
    ) -> VersionEvent<'a> {
        VersionEvent {
            region: &self.inner.settings.region,
            at: self.now(),
            domain: &place.domain.row,
            repository: &place.repository.row,
            package: &place.package,
            record,
            version,
            operation,
            changes,
        }
    }
}

impl Place {
    /// What a change of its versions leaves out of date.
    pub(crate) fn outdated(&self) -> Outdated {
        Outdated::Content(self.domain.row.id.clone(), self.package.clone())
    }

    /// The repository's record of the package, or the error AWS gives.
    pub(crate) async fn record(&self, session: &mut Session) -> Result<PackageRow> {
        self.find_record(session).await?.ok_or_else(|| self.absent())
    }

    /// The repository's record of the package, if it has one.
    pub(crate) async fn find_record(&self, session: &mut Session) -> Result<Option<PackageRow>> {
        let PackageName { format, name, .. } = &self.package;
        let namespace = self.package.namespace_or_empty();
        Ok(session.package(&self.repository.row.id, format.as_str(), namespace, name).await?)
    }

    /// A record without versions and without controls.
    pub(crate) fn fresh_record(&self, id: Id, at: Timestamp) -> PackageRow {
        PackageRow {
            id,
            repository: self.repository.row.id.clone(),
            format: self.package.format.as_str().to_owned(),
            namespace: self.package.namespace_or_empty().to_owned(),
            name: self.package.name.to_string(),
            controls: OriginControls::default(),
            first_internal_at: None,
            first_external_at: None,
            metadata: None,
            sequence: 0,
            created_at: at,
        }
    }

    /// Within a write: that the repository was not deleted meanwhile.
    pub(crate) async fn must_exist(&self, session: &mut Session) -> Result<()> {
        let held = session.repositories(&self.domain.row.id).await?;
        if held.iter().any(|row| row.id == self.repository.row.id) {
            return Ok(());
        }
        Err(absent_repository(&self.domain, &self.repository.row.name))
    }

    /// The error for a package the repository holds no record of.
    pub(crate) fn absent(&self) -> Error {
        let repository = &self.repository.row;
        let namespace = match &self.package.namespace {
            Some(namespace) => format!("namespace={namespace}, "),
            None => String::new(),
        };
        Error::not_found(
            Resource::Package,
            self.package.to_string(),
            format!(
                "Package not found in repository '{}'. RepoId: {}, Package = \
                 PackageCoordinate{{packageType={}, {namespace}packageName={}}},",
                repository.name, repository.id, self.package.format, self.package.name
            ),
        )
    }
}

/// How many files of its own each content of these versions has.
pub(crate) async fn asset_counts(
    session: &mut Session,
    versions: &[VersionRow],
) -> Result<HashMap<Id, usize>> {
    let contents: BTreeSet<Id> = versions.iter().map(|version| version.content.clone()).collect();
    let contents: Vec<Id> = contents.into_iter().collect();
    let mut counts = HashMap::new();
    for asset in session.files_of(&contents).await? {
        *counts.entry(asset.content).or_default() += 1;
    }
    Ok(counts)
}

fn package_info(row: PackageRow) -> PackageInfo {
    PackageInfo {
        format: row.format,
        namespace: if row.namespace.is_empty() { None } else { Some(row.namespace) },
        name: row.name,
        controls: row.controls.effective(),
    }
}
