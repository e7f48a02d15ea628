//! CreateDomain, DescribeDomain, DeleteDomain, ListDomains.

use super::{Call, Context, json};
use crate::input::{self, DEFAULT_PAGE, Input, TagInput};
use crate::wire;
use http::Response;
use serde::Deserialize;
use weir_core::name::shown;
use weir_core::{DomainName, Error, PageRequest, Result};
use weir_protocol::{Body, RequestBody};
use weir_registry::DomainRef;

pub(crate) struct Create {
    name: DomainName,
    encryption_key: Option<String>,
    tags: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody {
    encryption_key: Option<String>,
    tags: Option<Vec<TagInput>>,
}

impl Call for Create {
    fn read(input: &Input<'_>) -> Result<Self> {
        let name = DomainName::parse("domain", input.required("domain")?)?;
        let body: CreateBody = input.json()?;
        if let Some(key) = &body.encryption_key {
            input::check_text("encryptionKey", key, 1, 1011)?;
            if key.contains(char::is_whitespace) {
                return Err(Error::invalid("encryptionKey", format_args!("'{}' is not an ARN", shown(key))));
            }
        }
        Ok(Self { name, encryption_key: body.encryption_key, tags: input::tags(body.tags)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let key = self.encryption_key.as_deref();
        let info = context.registry.create_domain(context.caller, &self.name, key, self.tags).await?;
        Ok(json(wire::domain(Some(&info))))
    }
}

pub(crate) struct Describe(DomainRef);

impl Call for Describe {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self(input.domain()?))
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info = context.registry.describe_domain(context.caller, &self.0).await?;
        Ok(json(wire::domain(Some(&info))))
    }
}

pub(crate) struct Delete(DomainRef);

impl Call for Delete {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self(input.domain()?))
    }

    // The model declares no ResourceNotFoundException here: an absent domain is an empty success.
    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info = context.registry.delete_domain(context.caller, &self.0).await?;
        Ok(json(wire::domain(info.as_ref())))
    }
}

pub(crate) struct List(PageRequest);

/// ListDomains has no query at all: its page is in the body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListBody {
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Call for List {
    fn read(input: &Input<'_>) -> Result<Self> {
        let body: ListBody = input.json()?;
        Ok(Self(PageRequest::parse(body.max_results, body.next_token.as_deref(), DEFAULT_PAGE)?))
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let page = context.registry.list_domains(context.caller, &self.0).await?;
        Ok(json(wire::domains(&page)))
    }
}
