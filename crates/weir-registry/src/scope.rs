//! Where a request goes and who makes it.

use crate::topology::{DomainState, RepositoryState};
use std::sync::Arc;
use weir_core::{AccountId, Caller, DomainName, FormatName, PackageName, RepositoryName};

/// A domain as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRef {
    /// Its name.
    pub name: DomainName,
    /// The account that owns it; the caller's own when left out.
    pub owner: Option<AccountId>,
}

/// A repository as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryRef {
    /// Its domain.
    pub domain: DomainRef,
    /// Its name.
    pub repository: RepositoryName,
}

/// A package of a repository as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRef {
    /// The repository.
    pub repository: RepositoryRef,
    /// The package, in its format's normal form.
    pub package: PackageName,
}

/// The place and caller of one package manager's request, authenticated.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The domain.
    pub domain: Arc<DomainState>,
    /// The repository asked.
    pub repository: Arc<RepositoryState>,
    /// The format whose protocol is spoken.
    pub format: FormatName,
    /// Who asks.
    pub caller: Caller,
    /// SHA-256 of the token shown, for logout.
    pub token: Option<weir_core::Digest>,
}
