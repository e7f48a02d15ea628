//! Who is asking, and with what.

use crate::arn::Arn;
use crate::name::AccountId;
use crate::policy::PolicyDocument;
use std::sync::Arc;

/// The one who makes a request.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular; refused everywhere unless a policy names everyone.
    Anonymous,
    /// A known principal.
    Principal(Arc<Principal>),
}

/// A user or role.
#[derive(Debug)]
pub struct Principal {
    /// Stable identifier, `AIDA…` or `AROA…` as GetCallerIdentity shows it.
    pub id: String,
    /// The account it belongs to.
    pub account: AccountId,
    /// User or role.
    pub kind: PrincipalKind,
    /// Its name within the account.
    pub name: String,
    /// `arn:aws:iam::ACCOUNT:user/NAME` or `…:role/NAME`.
    pub arn: Arn,
    /// Identity policies: what it may do in its own account.
    pub policy: Arc<PolicyDocument>,
    /// Restrictions of the token that was shown, if it has any.
    pub scope: Option<TokenScope>,
}

/// User or role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A person or robot with long-term keys.
    User,
    /// A set of rights that others assume.
    Role,
}

impl PrincipalKind {
    /// The word in ARNs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
        }
    }
}

/// What a scoped token may be used for; each empty list means no restriction.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TokenScope {
    /// Names of repositories.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Names of formats.
    #[serde(default)]
    pub formats: Vec<String>,
    /// Reading only.
    #[serde(default)]
    pub read_only: bool,
}
