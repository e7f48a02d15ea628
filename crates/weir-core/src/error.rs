//! Everything that can go wrong, free of HTTP. Each edge (the control API, each format) renders it
//! in its own client's words with an exhaustive match.

use std::fmt;
use std::time::Duration;

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was refused or failed. Closed on purpose: a new variant breaks every renderer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thing asked for does not exist, or the caller may not know that it does.
    #[error("{message}")]
    NotFound {
        /// What kind of thing was asked for.
        resource: Resource,
        /// Its name as the caller wrote it.
        id: String,
        /// What was asked, where it was sought and why it was not found.
        message: String,
    },
    /// The thing exists already, or is in a state that forbids the change.
    #[error("{message}")]
    Conflict {
        /// What kind of thing is in the way.
        resource: Resource,
        /// Its name.
        id: String,
        /// What is in the way and what to do.
        message: String,
    },
    /// An input breaks a rule.
    #[error("{message}")]
    Invalid {
        /// Which documented reason applies.
        reason: ValidationReason,
        /// Which field, which rule.
        message: String,
    },
    /// No usable credential came with the request.
    #[error("{message}")]
    Unauthenticated {
        /// Which of missing, malformed, unknown, expired, revoked or foreign it was, and what to run.
        message: String,
    },
    /// The caller is known and may not do this.
    #[error("{message}")]
    Denied {
        /// Which action, rule or control refused.
        message: String,
    },
    /// A body or document is over its limit.
    #[error("{message}")]
    TooLarge {
        /// What was too large, the limit in bytes and the setting that holds it.
        message: String,
    },
    /// A count quota is used up.
    #[error("{message}")]
    QuotaExceeded {
        /// What kind of thing is counted.
        resource: Resource,
        /// Its name.
        id: String,
        /// Which quota, and its value.
        message: String,
    },
    /// Too many requests.
    #[error("{message}")]
    Throttled {
        /// When to come again.
        retry_after: Duration,
        /// Which limit.
        message: String,
    },
    /// Something this request needs does not answer now: an upstream, the database, the blob store.
    #[error("{message}")]
    Unavailable {
        /// When to come again.
        retry_after: Duration,
        /// Which component, and what it said.
        message: String,
    },
    /// An upstream answered with something that cannot be right: HTML, a wrong length or digest.
    #[error("{message}")]
    BadUpstream {
        /// Which connection, and what was wrong.
        message: String,
    },
    /// A client began to send a body and then sent nothing for too long.
    #[error("{message}")]
    Stalled {
        /// How much came, and how long nothing did.
        message: String,
    },
    /// A fault of Weir's own; its source goes to the log and never to a client.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A package, repository or other thing that is not there.
    pub fn not_found(resource: Resource, id: impl Into<String>, message: impl Into<String>) -> Self {
        Self::NotFound { resource, id: id.into(), message: message.into() }
    }

    /// Something in the way of a change.
    pub fn conflict(resource: Resource, id: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Conflict { resource, id: id.into(), message: message.into() }
    }

    /// A field that breaks its documented constraint.
    pub fn invalid(field: &str, rule: impl fmt::Display) -> Self {
        Self::Invalid { reason: ValidationReason::FieldValidationFailed, message: format!("{field}: {rule}") }
    }

    /// A request that is well formed but cannot be meant.
    pub fn invalid_other(message: impl Into<String>) -> Self {
        Self::Invalid { reason: ValidationReason::Other, message: message.into() }
    }

    /// A document that cannot be parsed.
    pub fn cannot_parse(message: impl Into<String>) -> Self {
        Self::Invalid { reason: ValidationReason::CannotParse, message: message.into() }
    }

    /// A refusal of a known caller.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::Denied { message: message.into() }
    }

    /// A missing or unusable credential.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::Unauthenticated { message: message.into() }
    }

    /// A body over its limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::TooLarge { message: message.into() }
    }

    /// A component that does not answer; clients are told to come again in five seconds.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { retry_after: Duration::from_secs(5), message: message.into() }
    }

    /// An upstream answer that cannot be right.
    pub fn bad_upstream(message: impl Into<String>) -> Self {
        Self::BadUpstream { message: message.into() }
    }

    /// A client that stopped sending.
    pub fn stalled(message: impl Into<String>) -> Self {
        Self::Stalled { message: message.into() }
    }

    /// A fault of Weir's own.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }
}

/// The resource types of AWS error bodies (`resourceType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A domain.
    Domain,
    /// A repository.
    Repository,
    /// A package record.
    Package,
    /// A version of a package.
    PackageVersion,
    /// A file of a version.
    Asset,
    /// A user, role, access key or token; Weir's own, never in an answer of the AWS API.
    Identity,
}

impl Resource {
    /// The word AWS uses, where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Repository => "repository",
            Self::Package => "package",
            Self::PackageVersion => "package-version",
            Self::Asset => "asset",
            Self::Identity => "identity",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `reason` of an AWS ValidationException.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValidationReason {
    /// The input is not of the declared syntax.
    CannotParse,
    /// The encryption key cannot be used.
    EncryptionKeyError,
    /// A field breaks its constraint.
    FieldValidationFailed,
    /// No such operation.
    UnknownOperation,
    /// Any other rule.
    Other,
}

impl ValidationReason {
    /// The word AWS uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CannotParse => "CANNOT_PARSE",
            Self::EncryptionKeyError => "ENCRYPTION_KEY_ERROR",
            Self::FieldValidationFailed => "FIELD_VALIDATION_FAILED",
            Self::UnknownOperation => "UNKNOWN_OPERATION",
            Self::Other => "OTHER",
        }
    }
}
