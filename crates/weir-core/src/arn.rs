//! ARNs of domains, repositories, packages, principals and keys (service authorization reference).

use crate::name::{AccountId, DomainName, RepositoryName};
use crate::package::PackageName;
use std::fmt;
use std::sync::Arc;

/// An Amazon Resource Name, as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Arn(Arc<str>);

impl Arn {
    /// Takes an ARN that was stored or built elsewhere.
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// `arn:aws:codeartifact:REGION:ACCOUNT:domain/NAME`
    pub fn domain(region: &str, owner: &AccountId, domain: &DomainName) -> Self {
        Self(format!("arn:aws:codeartifact:{region}:{owner}:domain/{domain}").into())
    }

    /// `arn:aws:codeartifact:REGION:ACCOUNT:repository/DOMAIN/NAME`
    pub fn repository(region: &str, owner: &AccountId, domain: &DomainName, name: &RepositoryName) -> Self {
        Self(format!("arn:aws:codeartifact:{region}:{owner}:repository/{domain}/{name}").into())
    }

    /// `arn:aws:codeartifact:REGION:ACCOUNT:package/DOMAIN/REPOSITORY/FORMAT/NAMESPACE/NAME`; an
    /// absent namespace leaves an empty segment.
    pub fn package(
        region: &str,
        owner: &AccountId,
        domain: &DomainName,
        repository: &RepositoryName,
        package: &PackageName,
    ) -> Self {
        Self(
            format!(
                "arn:aws:codeartifact:{region}:{owner}:package/{domain}/{repository}/{}/{}/{}",
                package.format,
                package.namespace_or_empty(),
                package.name
            )
            .into(),
        )
    }

    /// `arn:aws:iam::ACCOUNT:user/NAME` or `…:role/NAME`
    pub fn principal(account: &AccountId, kind: crate::caller::PrincipalKind, name: &str) -> Self {
        Self(format!("arn:aws:iam::{account}:{}/{name}", kind.as_str()).into())
    }

    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account in the fifth field; empty where there is none.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or("")
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
