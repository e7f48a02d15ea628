//! CreateRepository, DescribeRepository, UpdateRepository, DeleteRepository, ListRepositories,
//! ListRepositoriesInDomain, GetRepositoryEndpoint.

use super::{Call, Context, json};
use crate::input::{self, FORMATS, Input, TagInput};
use crate::wire;
use http::Response;
use serde::Deserialize;
use weir_core::{AccountId, Error, PageRequest, RepositoryName, Result};
use weir_protocol::{Body, RequestBody};
use weir_registry::repository::RepositoryChange;
use weir_registry::{DomainRef, RepositoryRef};

/// Documented page size of both listings.
const PAGE: usize = 50;

/// The body of create and update; update has no tags.
#[derive(Deserialize)]
struct ChangeBody {
    description: Option<String>,
    upstreams: Option<Vec<UpstreamInput>>,
    tags: Option<Vec<TagInput>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpstreamInput {
    repository_name: String,
}

impl ChangeBody {
    fn change(
        description: Option<String>,
        upstreams: Option<Vec<UpstreamInput>>,
    ) -> Result<RepositoryChange> {
        let upstreams = upstreams
            .map(|list| {
                let names =
                    list.iter().map(|entry| RepositoryName::parse("upstreams", &entry.repository_name));
                names.collect::<Result<Vec<_>>>()
            })
            .transpose()?;
        Ok(RepositoryChange { description: input::description(description)?, upstreams })
    }
}

pub(crate) struct Create {
    repository: RepositoryRef,
    change: RepositoryChange,
    tags: Vec<(String, String)>,
}

impl Call for Create {
    fn read(input: &Input<'_>) -> Result<Self> {
        let repository = input.repository()?;
        let body: ChangeBody = input.json()?;
        let change = ChangeBody::change(body.description, body.upstreams)?;
        Ok(Self { repository, change, tags: input::tags(body.tags)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info = context
            .registry
            .create_repository(context.caller, &self.repository, self.change, self.tags)
            .await?;
        Ok(json(wire::repository(&info)))
    }
}

pub(crate) struct Describe(RepositoryRef);

impl Call for Describe {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self(input.repository()?))
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info = context.registry.describe_repository(context.caller, &self.0).await?;
        Ok(json(wire::repository(&info)))
    }
}

pub(crate) struct Update {
    repository: RepositoryRef,
    change: RepositoryChange,
}

impl Call for Update {
    fn read(input: &Input<'_>) -> Result<Self> {
        let repository = input.repository()?;
        let body: ChangeBody = input.json()?;
        Ok(Self { repository, change: ChangeBody::change(body.description, body.upstreams)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info = context.registry.update_repository(context.caller, &self.repository, self.change).await?;
        Ok(json(wire::repository(&info)))
    }
}

pub(crate) struct Delete(RepositoryRef);

impl Call for Delete {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self(input.repository()?))
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info = context.registry.delete_repository(context.caller, &self.0).await?;
        Ok(json(wire::repository(&info)))
    }
}

pub(crate) struct List {
    prefix: Option<String>,
    page: PageRequest,
}

impl Call for List {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self { prefix: prefix(input)?, page: input.page(PAGE)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let page =
            context.registry.list_repositories(context.caller, self.prefix.as_deref(), &self.page).await?;
        Ok(json(wire::repositories(&page)))
    }
}

pub(crate) struct ListInDomain {
    domain: DomainRef,
    administrator: Option<AccountId>,
    prefix: Option<String>,
    page: PageRequest,
}

impl Call for ListInDomain {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self {
            domain: input.domain()?,
            administrator: input.account("administrator-account")?,
            prefix: prefix(input)?,
            page: input.page(PAGE)?,
        })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let (administrator, prefix) = (self.administrator.as_ref(), self.prefix.as_deref());
        let page = context
            .registry
            .list_repositories_in_domain(context.caller, &self.domain, administrator, prefix, &self.page)
            .await?;
        Ok(json(wire::repositories(&page)))
    }
}

/// A prefix of one letter is as good as a name of two, whatever the model's shape says.
fn prefix(input: &Input<'_>) -> Result<Option<String>> {
    let Some(text) = input.text("repository-prefix") else { return Ok(None) };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.len() > 100 || !text.bytes().all(fits) {
        return Err(Error::invalid(
            "repository-prefix",
            "must have at most 100 of A-Z, a-z, 0-9, '.', '_' and '-'",
        ));
    }
    Ok(Some(text.to_owned()))
}

pub(crate) struct Endpoint {
    repository: RepositoryRef,
    format: String,
    dualstack: bool,
}

impl Call for Endpoint {
    fn read(input: &Input<'_>) -> Result<Self> {
        let repository = input.repository()?;
        let format = input.word("format", FORMATS)?.ok_or_else(|| input::missing("format"))?;
        let dualstack = input.word("endpointType", &["dualstack", "ipv4"])? == Some("dualstack");
        Ok(Self { repository, format: format.to_owned(), dualstack })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let endpoint = context
            .registry
            .repository_endpoint(context.caller, &self.repository, &self.format, self.dualstack, context.base)
            .await?;
        Ok(json(wire::endpoint(&endpoint)))
    }
}
