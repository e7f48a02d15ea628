//! Who changed what: the row that every change writes in its own transaction.

use crate::Registry;
use std::fmt;
use std::sync::Arc;
use weir_core::{Arn, Caller, Error, Principal, Result};
use weir_store::rows::AuditRow;

impl Registry {
    /// The audit row of a change made now. `detail` is a JSON value and never holds a secret.
    pub(crate) fn audit(
        &self,
        caller: &Caller,
        action: impl fmt::Display,
        resource: impl fmt::Display,
        detail: &serde_json::Value,
    ) -> AuditRow {
        let principal = match caller {
            Caller::Anonymous => "anonymous".to_owned(),
            Caller::Principal(principal) => principal.arn.to_string(),
        };
        AuditRow {
            at: self.now(),
            principal,
            action: action.to_string(),
            resource: resource.to_string(),
            detail: detail.to_string(),
        }
    }
}

/// The principal of a caller; an anonymous one is refused.
pub(crate) fn known(caller: &Caller) -> Result<&Arc<Principal>> {
    match caller {
        Caller::Principal(principal) => Ok(principal),
        Caller::Anonymous => Err(Error::unauthenticated("credentials are needed")),
    }
}

/// The resource of actions that have none (service authorization reference).
pub(crate) fn no_resource() -> Arn {
    Arn::from_text("*")
}
