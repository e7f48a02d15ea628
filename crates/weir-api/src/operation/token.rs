//! GetAuthorizationToken.

use super::{Call, Context, json};
use crate::input::Input;
use crate::wire;
use http::Response;
use weir_core::{Error, Result};
use weir_protocol::{Body, RequestBody};
use weir_registry::DomainRef;

pub(crate) struct Get {
    domain: DomainRef,
    duration: Option<i64>,
}

impl Call for Get {
    fn read(input: &Input<'_>) -> Result<Self> {
        let domain = input.domain()?;
        let duration = input.number("duration")?;
        if duration.is_some_and(|seconds| seconds != 0 && !(900..=43_200).contains(&seconds)) {
            return Err(Error::invalid("duration", "must be 0, or 900 to 43200 seconds"));
        }
        Ok(Self { domain, duration })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let issued =
            context.registry.authorization_token(context.caller, &self.domain, self.duration).await?;
        Ok(json(wire::token(&issued)))
    }
}
