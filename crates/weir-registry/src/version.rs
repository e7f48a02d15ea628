//! What the control API tells of versions and their files: only of what the named repository holds.

use crate::Registry;
use crate::format::{Dependency, Description, DisplayVersionRule, Format};
use crate::open::{OpenedAsset, Want};
use crate::package::Place;
use crate::scope::{PackageRef, Scope};
use weir_core::digest::Digests;
use weir_core::error::Resource;
use weir_core::name::shown;
use weir_core::{
    Action, AssetName, Caller, Error, Flags, Origin, Page, PageRequest, PublishTime, Result, Timestamp,
    VersionStatus,
};
use weir_store::Session;
pub use weir_store::VersionFilter;
use weir_store::rows::{AssetRow, AssetState, PackageRow, VersionRow};

/// A version as lists show it.
#[derive(Debug, Clone)]
pub struct VersionSummary {
    /// As published.
    pub version: String,
    /// Its revision.
    pub revision: String,
    /// Its status.
    pub status: VersionStatus,
    /// Where it entered the domain.
    pub origin: Origin,
}

/// A version in full.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    /// The summary.
    pub summary: VersionSummary,
    /// How people write the package.
    pub display_name: String,
    /// When it came to this repository.
    pub published_at: Timestamp,
    /// When it came into the world.
    pub publish_time: PublishTime,
    /// What may change after publication.
    pub flags: Flags,
    /// What its document tells.
    pub description: Description,
}

/// The versions of a package.
#[derive(Debug, Clone)]
pub struct VersionList {
    /// The page.
    pub page: Page<VersionSummary>,
    /// The version named as the default one.
    pub default_display_version: Option<String>,
}

/// A file as the control API shows it.
#[derive(Debug, Clone)]
pub struct AssetInfo {
    /// Its name.
    pub name: String,
    /// Size in bytes; `None` until it was fetched.
    pub size: Option<u64>,
    /// Its digests; `None` until it was fetched.
    pub digests: Option<Digests>,
}

impl Registry {
    /// ListPackageVersions.
    pub async fn list_package_versions(
        &self,
        caller: &Caller,
        package: &PackageRef,
        filter: VersionFilter,
        page: &PageRequest,
    ) -> Result<VersionList> {
        let place = self.place(caller, package, Action::ListPackageVersions).await?;
        let format = self.format_of(&place)?;
        let mut session = self.inner.store.read().await?;
        let record = place.record(&mut session).await?;
        let rows = session.list_versions(&record.id, &filter, page).await?;
        let default_display_version = default_version(&mut session, format, &record).await?;
        Ok(VersionList { page: rows.map(|row| VersionSummary::of(&row)), default_display_version })
    }

    /// DescribePackageVersion.
    pub async fn describe_package_version(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: &str,
    ) -> Result<VersionInfo> {
        let place = self.place(caller, package, Action::DescribePackageVersion).await?;
        let mut session = self.inner.store.read().await?;
        let row = self.held_version(&mut session, &place, version).await?;
        let description = self.description(&mut session, &place, &row).await?;
        Ok(VersionInfo {
            summary: VersionSummary::of(&row),
            display_name: self.format_of(&place)?.display_name(&place.package),
            published_at: row.published_at,
            publish_time: row.publish_time,
            flags: row.flags,
            description,
        })
    }

    /// ListPackageVersionAssets.
    pub async fn list_package_version_assets(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: &str,
        page: &PageRequest,
    ) -> Result<(VersionSummary, Page<AssetInfo>)> {
        let place = self.place(caller, package, Action::ListPackageVersionAssets).await?;
        let mut session = self.inner.store.read().await?;
        let row = self.held_version(&mut session, &place, version).await?;
        let assets = session.list_assets(&row.content, page).await?;
        Ok((VersionSummary::of(&row), assets.map(AssetInfo::of)))
    }

    /// ListPackageVersionDependencies.
    pub async fn list_package_version_dependencies(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: &str,
        page: &PageRequest,
    ) -> Result<(VersionSummary, Page<Dependency>)> {
        let place = self.place(caller, package, Action::ListPackageVersionDependencies).await?;
        let mut session = self.inner.store.read().await?;
        let row = self.held_version(&mut session, &place, version).await?;
        let description = self.description(&mut session, &place, &row).await?;
        Ok((VersionSummary::of(&row), dependency_page(description.dependencies, page)?))
    }

    /// GetPackageVersionAsset: the bytes of a file held here; `revision` must match when given. A file whose
    /// bytes were not fetched yet comes through the connection of its version.
    pub async fn package_version_asset(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: &str,
        asset: &str,
        revision: Option<&str>,
    ) -> Result<(VersionSummary, OpenedAsset)> {
        let place = self.place(caller, package, Action::GetPackageVersionAsset).await?;
        let asset = AssetName::parse(asset)?;
        let mut session = self.inner.store.read().await?;
        let row = self.held_version(&mut session, &place, version).await?;
        let refused = |message| Error::conflict(Resource::PackageVersion, row.text.to_string(), message);
        if let Some(revision) = revision.filter(|revision| *revision != row.revision) {
            let revision = shown(revision);
            return Err(refused(format!(
                "current revision: {}, expected revision: {revision}",
                row.revision
            )));
        }
        if !row.status.is_downloadable() {
            return Err(refused(format!(
                "version {} of {} is {}: its files cannot be downloaded",
                row.text, place.package, row.status
            )));
        }
        let absent = || {
            Error::not_found(
                Resource::Asset,
                asset.as_str(),
                format!("version {} of {} has no asset '{asset}'", row.text, place.package),
            )
        };
        let found = session.asset(&row.content, asset.as_str()).await?.ok_or_else(absent)?;
        drop(session);
        let opened = match found.state {
            AssetState::Evicted { .. } => return Err(absent()),
            AssetState::Promised { .. } | AssetState::Held { .. } => {
                self.open_blob(&place.domain, &row, &found, Want::Bytes).await?
            }
        };
        let opened = match opened {
            Some(opened) => opened,
            // Promised, or lost in an unclean stop: the connection can give it.
            None => {
                let scope = place.scope(caller);
                self.open_asset(&scope, &place.package, &row.key, &asset, Want::Bytes).await?
            }
        };
        Ok((VersionSummary::of(&row), opened))
    }

    /// GetPackageVersionReadme.
    pub async fn package_version_readme(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: &str,
    ) -> Result<(VersionSummary, String)> {
        let place = self.place(caller, package, Action::GetPackageVersionReadme).await?;
        let mut session = self.inner.store.read().await?;
        let row = self.held_version(&mut session, &place, version).await?;
        let absent = |why: &str| {
            let message = format!("version {} of {} has no readme{why}", row.text, place.package);
            Error::not_found(Resource::PackageVersion, row.text.to_string(), message)
        };
        if !self.format_of(&place)?.has_readme() {
            return Err(absent(&format!(": {} packages have none", place.package.format)));
        }
        let readme = self.description(&mut session, &place, &row).await?.readme;
        Ok((VersionSummary::of(&row), readme.ok_or_else(|| absent(""))?))
    }

    /// The format of a package, which was looked up when its name was parsed.
    pub(crate) fn format_of(&self, place: &Place) -> Result<&'static dyn Format> {
        let name = place.package.format;
        self.format(name.as_str())
            .ok_or_else(|| Error::invalid("format", format_args!("{name} is not built into this server")))
    }

    /// A version the repository itself holds, by any spelling of its number.
    async fn held_version(&self, session: &mut Session, place: &Place, version: &str) -> Result<VersionRow> {
        let parsed = self.format_of(place)?.parse_version(version)?;
        let record = place.record(session).await?;
        session.package_version(&record.id, parsed.key()).await?.ok_or_else(|| {
            Error::not_found(
                Resource::PackageVersion,
                version,
                format!(
                    "Package version not found. Version '{}' of {} package '{}' does not exist in repository '{}'",
                    shown(version),
                    place.package.format,
                    place.package,
                    place.repository.row.name
                ),
            )
        })
    }

    /// What the version's document tells: as stored, or derived again where the format reads more by now.
    async fn description(
        &self,
        session: &mut Session,
        place: &Place,
        row: &VersionRow,
    ) -> Result<Description> {
        let gone = || Error::internal(format!("version {} has no content", row.id));
        let content = session.content(&row.content).await?.ok_or_else(gone)?;
        let stored: Description = serde_json::from_str(&content.description).map_err(Error::internal)?;
        let format = self.format_of(place)?;
        if content.parser == format.parser_version() {
            return Ok(stored);
        }
        let derived = format.describe(&place.package, &content.metadata);
        // The readme may have come from a file, which is not read again here.
        Ok(Description { readme: derived.readme.or(stored.readme), ..derived })
    }
}

impl Place {
    /// The place as a package manager's request would have it.
    pub(crate) fn scope(&self, caller: &Caller) -> Scope {
        Scope {
            domain: self.domain.clone(),
            repository: self.repository.clone(),
            format: self.package.format,
            caller: caller.clone(),
            token: None,
        }
    }
}

impl VersionSummary {
    /// The summary of a stored version.
    pub(crate) fn of(row: &VersionRow) -> Self {
        Self {
            version: row.text.to_string(),
            revision: row.revision.clone(),
            status: row.status,
            origin: row.origin.clone(),
        }
    }
}

impl AssetInfo {
    /// A stored file. What was erased is still told of.
    pub(crate) fn of(row: AssetRow) -> Self {
        let (size, digests) = match row.state {
            AssetState::Held { size, digests } | AssetState::Evicted { size, digests } => {
                (Some(size), Some(digests))
            }
            AssetState::Promised { .. } => (None, None),
        };
        Self { name: row.name, size, digests }
    }
}

/// The version behind `latest` where the format has that rule and it is Published, else the Published
/// version that came last; `None` without any.
async fn default_version(
    session: &mut Session,
    format: &dyn Format,
    record: &PackageRow,
) -> Result<Option<String>> {
    if format.display_version_rule() == DisplayVersionRule::LatestTag {
        let tags = session.tags_of(std::slice::from_ref(&record.id)).await?;
        if let Some((_, _, text)) = tags.iter().find(|(_, tag, _)| tag == "latest")
            && let Ok(version) = format.parse_version(text)
            && let Some(row) = session.package_version(&record.id, version.key()).await?
            && row.status == VersionStatus::Published
        {
            return Ok(Some(row.text.to_string()));
        }
    }
    let published = VersionFilter {
        status: Some(VersionStatus::Published),
        newest_first: true,
        ..VersionFilter::default()
    };
    let newest = session.list_versions(&record.id, &published, &PageRequest::first(1)).await?;
    Ok(newest.items.first().map(|row| row.text.to_string()))
}

/// Dependencies are part of the description; their cursor is their place in it.
fn dependency_page(dependencies: Vec<Dependency>, page: &PageRequest) -> Result<Page<Dependency>> {
    let start = match page.after.as_slice() {
        [] => 0,
        [last] => last.parse::<usize>().ok().and_then(|last| last.checked_add(1)).ok_or_else(foreign)?,
        _ => return Err(foreign()),
    };
    let numbered: Vec<(usize, Dependency)> =
        dependencies.into_iter().enumerate().skip(start).take(page.size + 1).collect();
    Ok(Page::cut(numbered, page.size, |(at, _)| vec![at.to_string()]).map(|(_, dependency)| dependency))
}

fn foreign() -> Error {
    Error::invalid("nextToken", "is not a token of this listing; begin again without it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_in_pages() {
        let all: Vec<Dependency> = ["a", "b", "c"]
            .iter()
            .map(|name| Dependency {
                namespace: None,
                package: (*name).to_owned(),
                kind: None,
                requirement: None,
            })
            .collect();
        let names =
            |page: &Page<Dependency>| page.items.iter().map(|d| d.package.clone()).collect::<Vec<_>>();
        let first = dependency_page(all.clone(), &PageRequest::first(2)).expect("a page");
        assert_eq!(names(&first), ["a", "b"]);
        let next = PageRequest::parse(Some(2), first.next_token.as_deref(), 2).expect("a cursor");
        let second = dependency_page(all.clone(), &next).expect("a page");
        assert_eq!(names(&second), ["c"]);
        assert!(second.next_token.is_none());
        let foreign = PageRequest { size: 2, after: vec!["x".to_owned()] };
        assert!(dependency_page(all, &foreign).is_err());
    }
}
