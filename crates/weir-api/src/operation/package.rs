//! ListPackages, DescribePackage, PutPackageOriginConfiguration, DeletePackage.

use super::{Call, Context, json};
use crate::input::{self, DEFAULT_PAGE, FORMATS, Input, PackageInput};
use crate::wire;
use http::Response;
use serde::Deserialize;
use weir_core::{Controls, Error, PageRequest, Result};
use weir_protocol::{Body, RequestBody};
use weir_registry::RepositoryRef;
use weir_registry::package::PackageFilter;

pub(crate) struct List {
    repository: RepositoryRef,
    filter: PackageFilter,
    page: PageRequest,
}

impl Call for List {
    fn read(input: &Input<'_>) -> Result<Self> {
        let repository = input.repository()?;
        let format = input.word("format", FORMATS)?.map(str::to_owned);
        let namespace_prefix = input.segment("namespace")?;
        if namespace_prefix.is_some() && format.is_none() {
            return Err(Error::invalid("namespace", "is only allowed together with format"));
        }
        let filter = PackageFilter {
            format,
            namespace_prefix,
            name_prefix: input.segment("package-prefix")?,
            publish: input.control("publish")?,
            upstream: input.control("upstream")?,
        };
        Ok(Self { repository, filter, page: input.page(DEFAULT_PAGE)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let page =
            context.registry.list_packages(context.caller, &self.repository, self.filter, &self.page).await?;
        Ok(json(wire::packages(&page)))
    }
}

pub(crate) struct Describe(PackageInput);

impl Call for Describe {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self(input.package()?))
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.0.resolve(context.registry)?;
        let info = context.registry.describe_package(context.caller, &package).await?;
        Ok(json(wire::package(&info)))
    }
}

pub(crate) struct PutOrigin {
    package: PackageInput,
    controls: Controls,
}

#[derive(Deserialize)]
struct PutOriginBody {
    restrictions: Option<RestrictionsInput>,
}

#[derive(Deserialize)]
struct RestrictionsInput {
    publish: Option<String>,
    upstream: Option<String>,
}

impl Call for PutOrigin {
    fn read(input: &Input<'_>) -> Result<Self> {
        let package = input.package()?;
        let body: PutOriginBody = input.json()?;
        let restrictions = body.restrictions.ok_or_else(|| input::missing("restrictions"))?;
        let control = |field: &str, text: Option<String>| {
            input::control(field, &text.ok_or_else(|| input::missing(field))?)
        };
        let controls = Controls {
            publish: control("restrictions.publish", restrictions.publish)?,
            upstream: control("restrictions.upstream", restrictions.upstream)?,
        };
        Ok(Self { package, controls })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let controls =
            context.registry.put_origin_configuration(context.caller, &package, self.controls).await?;
        Ok(json(wire::origin_configuration(controls)))
    }
}

pub(crate) struct Delete(PackageInput);

impl Call for Delete {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self(input.package()?))
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.0.resolve(context.registry)?;
        let info = context.registry.delete_package(context.caller, &package).await?;
        Ok(json(wire::deleted_package(&info)))
    }
}
