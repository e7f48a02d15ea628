//! TagResource, UntagResource, ListTagsForResource.

use super::{Call, Context, json};
use crate::input::{self, Input, TagInput};
use crate::wire;
use http::Response;
use serde::Deserialize;
use serde_json::json;
use weir_core::{Arn, Error, Result};
use weir_protocol::{Body, RequestBody};

pub(crate) struct Tag {
    arn: Arn,
    tags: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct TagBody {
    tags: Option<Vec<TagInput>>,
}

impl Call for Tag {
    fn read(input: &Input<'_>) -> Result<Self> {
        let arn = input.resource_arn()?;
        let body: TagBody = input.json()?;
        let tags = body.tags.ok_or_else(|| input::missing("tags"))?;
        Ok(Self { arn, tags: input::tags(Some(tags))? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        context.registry.tag_resource(context.caller, &self.arn, self.tags).await?;
        Ok(json(json!({})))
    }
}

pub(crate) struct Untag {
    arn: Arn,
    keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UntagBody {
    tag_keys: Option<Vec<String>>,
}

impl Call for Untag {
    fn read(input: &Input<'_>) -> Result<Self> {
        let arn = input.resource_arn()?;
        let body: UntagBody = input.json()?;
        let keys = body.tag_keys.ok_or_else(|| input::missing("tagKeys"))?;
        if keys.len() > 200 {
            return Err(Error::invalid("tagKeys", "must have at most 200 entries"));
        }
        for key in &keys {
            input::check_text("tagKeys", key, 1, 128)?;
        }
        Ok(Self { arn, keys })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        context.registry.untag_resource(context.caller, &self.arn, self.keys).await?;
        Ok(json(json!({})))
    }
}

pub(crate) struct List(Arn);

impl Call for List {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self(input.resource_arn()?))
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let tags = context.registry.list_tags(context.caller, &self.0).await?;
        Ok(json(wire::tags(&tags)))
    }
}
