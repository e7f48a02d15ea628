//! ListPackageVersions, DescribePackageVersion, GetPackageVersionReadme, ListPackageVersionDependencies
//! and the batches: CopyPackageVersions, DeletePackageVersions, DisposePackageVersions,
//! UpdatePackageVersionsStatus.

use super::{Call, Context, json};
use crate::input::{self, DEFAULT_PAGE, Input, PackageInput};
use crate::wire;
use http::Response;
use serde::Deserialize;
use std::collections::BTreeMap;
use weir_core::{Error, OriginKind, PageRequest, RepositoryName, Result, VersionStatus};
use weir_protocol::{Body, RequestBody};
use weir_registry::lifecycle::{BatchTarget, CopyRequest};
use weir_registry::version::VersionFilter;

/// Documented page size of ListPackageVersions.
const PAGE: usize = 50;

pub(crate) struct List {
    package: PackageInput,
    filter: VersionFilter,
    unknown_origin: bool,
    page: PageRequest,
}

impl Call for List {
    fn read(input: &Input<'_>) -> Result<Self> {
        let package = input.package()?;
        let status = input.text("status").map(|text| input::status("status", text)).transpose()?;
        let origin = input.word("originType", &["INTERNAL", "EXTERNAL", "UNKNOWN"])?;
        let filter = VersionFilter {
            status,
            origin_kind: match origin {
                Some("INTERNAL") => Some(OriginKind::Internal),
                Some("EXTERNAL") => Some(OriginKind::External),
                _ => None,
            },
            newest_first: input.word("sortBy", &["PUBLISHED_TIME"])?.is_some(),
        };
        Ok(Self { package, filter, unknown_origin: origin == Some("UNKNOWN"), page: input.page(PAGE)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let mut list =
            context.registry.list_package_versions(context.caller, &package, self.filter, &self.page).await?;
        if self.unknown_origin {
            // Weir knows the origin of every version.
            list.page.items.clear();
            list.page.next_token = None;
        }
        Ok(json(wire::versions(&package.package, &list)))
    }
}

pub(crate) struct Describe {
    package: PackageInput,
    version: String,
}

impl Call for Describe {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self { package: input.package()?, version: input.version()? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let info = context.registry.describe_package_version(context.caller, &package, &self.version).await?;
        Ok(json(wire::version(&package.package, &info)))
    }
}

pub(crate) struct Readme {
    package: PackageInput,
    version: String,
}

impl Call for Readme {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self { package: input.package()?, version: input.version()? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let (summary, readme) =
            context.registry.package_version_readme(context.caller, &package, &self.version).await?;
        Ok(json(wire::readme(&package.package, &summary, &readme)))
    }
}

pub(crate) struct Dependencies {
    package: PackageInput,
    version: String,
    page: PageRequest,
}

impl Call for Dependencies {
    fn read(input: &Input<'_>) -> Result<Self> {
        let page = PageRequest::parse(None, input.text("next-token"), DEFAULT_PAGE)?;
        Ok(Self { package: input.package()?, version: input.version()?, page })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let (summary, page) = context
            .registry
            .list_package_version_dependencies(context.caller, &package, &self.version, &self.page)
            .await?;
        Ok(json(wire::dependencies(&package.package, &summary, &page)))
    }
}

/// The body of delete, dispose and update; each reads the members it has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchBody {
    versions: Option<Vec<String>>,
    version_revisions: Option<BTreeMap<String, String>>,
    expected_status: Option<String>,
    target_status: Option<String>,
}

impl BatchBody {
    fn target(self) -> Result<BatchTarget> {
        let versions = input::versions(self.versions)?.ok_or_else(|| input::missing("versions"))?;
        if versions.is_empty() {
            return Err(Error::invalid("versions", "must name at least one version"));
        }
        Ok(BatchTarget {
            versions,
            revisions: input::revisions(self.version_revisions)?,
            expected_status: self
                .expected_status
                .map(|text| input::status("expectedStatus", &text))
                .transpose()?,
        })
    }
}

pub(crate) struct Delete {
    package: PackageInput,
    target: BatchTarget,
}

impl Call for Delete {
    fn read(input: &Input<'_>) -> Result<Self> {
        let package = input.package()?;
        // The model gives this batch no revisions.
        let body = BatchBody { version_revisions: None, ..input.json()? };
        Ok(Self { package, target: body.target()? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let result = context.registry.delete_versions(context.caller, &package, self.target).await?;
        Ok(json(wire::batch(&result)))
    }
}

pub(crate) struct Dispose {
    package: PackageInput,
    target: BatchTarget,
}

impl Call for Dispose {
    fn read(input: &Input<'_>) -> Result<Self> {
        let package = input.package()?;
        let body: BatchBody = input.json()?;
        Ok(Self { package, target: body.target()? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let result = context.registry.dispose_versions(context.caller, &package, self.target).await?;
        Ok(json(wire::batch(&result)))
    }
}

pub(crate) struct UpdateStatus {
    package: PackageInput,
    target: BatchTarget,
    status: VersionStatus,
}

impl Call for UpdateStatus {
    fn read(input: &Input<'_>) -> Result<Self> {
        let package = input.package()?;
        let body: BatchBody = input.json()?;
        let status = body.target_status.as_deref().ok_or_else(|| input::missing("targetStatus"))?;
        let status = VersionStatus::parse_target(status)?;
        Ok(Self { package, target: body.target()?, status })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let result = context
            .registry
            .update_versions_status(context.caller, &package, self.target, self.status)
            .await?;
        Ok(json(wire::batch(&result)))
    }
}

pub(crate) struct Copy {
    source: PackageInput,
    destination: RepositoryName,
    body: CopyBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CopyBody {
    versions: Option<Vec<String>>,
    version_revisions: Option<BTreeMap<String, String>>,
    allow_overwrite: Option<bool>,
    include_from_upstream: Option<bool>,
}

impl Call for Copy {
    fn read(input: &Input<'_>) -> Result<Self> {
        let source = input.package_in("source-repository")?;
        let destination = input.repository_name("destination-repository")?;
        let body: CopyBody = input.json()?;
        let body = CopyBody {
            versions: input::versions(body.versions)?,
            version_revisions: input::revisions(body.version_revisions)?,
            ..body
        };
        if body.versions.is_some() == body.version_revisions.is_some() {
            return Err(Error::invalid("versions", "give either versions or versionRevisions"));
        }
        Ok(Self { source, destination, body })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let request = CopyRequest {
            source: self.source.resolve(context.registry)?,
            destination: self.destination,
            versions: self.body.versions,
            revisions: self.body.version_revisions,
            allow_overwrite: self.body.allow_overwrite.unwrap_or(false),
            include_from_upstream: self.body.include_from_upstream.unwrap_or(false),
        };
        let result = context.registry.copy_versions(context.caller, request).await?;
        Ok(json(wire::batch(&result)))
    }
}
