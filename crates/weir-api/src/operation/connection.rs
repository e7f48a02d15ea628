//! AssociateExternalConnection, DisassociateExternalConnection.

use super::{Call, Context, json};
use crate::input::Input;
use crate::wire;
use http::Response;
use weir_core::{ConnectionName, Result};
use weir_protocol::{Body, RequestBody};
use weir_registry::RepositoryRef;

pub(crate) struct Associate {
    repository: RepositoryRef,
    connection: ConnectionName,
}

impl Call for Associate {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self { repository: input.repository()?, connection: connection(input)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info =
            context.registry.associate_connection(context.caller, &self.repository, &self.connection).await?;
        Ok(json(wire::repository(&info)))
    }
}

pub(crate) struct Disassociate {
    repository: RepositoryRef,
    connection: ConnectionName,
}

impl Call for Disassociate {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self { repository: input.repository()?, connection: connection(input)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let info = context
            .registry
            .disassociate_connection(context.caller, &self.repository, &self.connection)
            .await?;
        Ok(json(wire::repository(&info)))
    }
}

fn connection(input: &Input<'_>) -> Result<ConnectionName> {
    ConnectionName::parse("external-connection", input.required("external-connection")?)
}
