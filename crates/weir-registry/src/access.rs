//! Who may: authentication by token, and the one function through which every authorization passes.

use crate::Registry;
use crate::change::Outdated;
use crate::scope::Scope;
use crate::token::IssuedToken;
use crate::topology::{lock_read, lock_write};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use weir_core::error::Resource;
use weir_core::policy::{Decision, PolicyDocument, Request, evaluate};
use weir_core::{
    AccountId, Action, Arn, Caller, Digest, DomainName, Error, FormatName, Principal, RepositoryName, Result,
    Timestamp, TokenScope,
};
use weir_store::rows::{Id, PrincipalRow};

/// Tokens and decisions in memory, so that a warm request asks no database. Entries are bounded; when a
/// table is full it is emptied.
#[derive(Default)]
pub(crate) struct CallerCache {
    tokens: RwLock<HashMap<Digest, Arc<Grant>>>,
    decisions: RwLock<HashMap<Question, (u64, bool)>>,
}

/// Principal, resource and action of a decision.
type Question = (String, Arn, Action);

/// The condition keys that requests are evaluated with; a policy that names another would allow too much or
/// deny too little, and is refused.
pub(crate) const CONDITION_KEYS: [&str; 4] =
    ["aws:PrincipalArn", "aws:PrincipalAccount", "aws:username", "aws:userid"];

const MOST_TOKENS: usize = 20_000;
const MOST_DECISIONS: usize = 100_000;

/// What a token is good for, as of one identity generation.
struct Grant {
    principal: Arc<Principal>,
    domain: Id,
    expires_at: Option<Timestamp>,
    generation: u64,
}

impl Registry {
    /// Finds out who shows `token` and whether the repository may be spoken to: the scope of one request.
    /// Missing, malformed, unknown, expired, revoked and foreign tokens are Unauthenticated, for names that
    /// do not exist too; the names are as the client wrote them.
    pub async fn enter(
        &self,
        domain: &str,
        owner: &str,
        repository: &str,
        format: FormatName,
        token: Option<&str>,
    ) -> Result<Scope> {
        let tool = self.format(format.as_str()).map_or(format.as_str(), |format| format.login_name());
        let how = || {
            format!(
                "run 'weir login {tool} --domain {} --repository {}' or 'aws codeartifact login' to get a new one",
                weir_core::name::shown(domain),
                weir_core::name::shown(repository)
            )
        };
        let Some(token) = token else {
            return Err(Error::unauthenticated(format!("no token was sent; {}", how())));
        };
        let hash = Digest::of(token.as_bytes());
        let grant = self.grant(token, hash).await?;
        let grant = grant.map_err(|what| Error::unauthenticated(format!("{what}; {}", how())))?;
        let foreign = || Error::unauthenticated(format!("the token is of another domain; {}", how()));
        let (Ok(owner), Ok(domain_name)) =
            (AccountId::parse("domainOwner", owner), DomainName::parse("domain", domain))
        else {
            return Err(foreign());
        };
        let state = self.domain_state(&owner, &domain_name).await?.ok_or_else(foreign)?;
        if state.row.id != grant.domain {
            return Err(foreign());
        }
        let caller = Caller::Principal(grant.principal.clone());
        let absent = || {
            Error::not_found(
                Resource::Repository,
                repository,
                format!(
                    "repository '{}' does not exist in domain '{domain_name}'; 'aws codeartifact \
                     list-repositories-in-domain --domain {domain_name}' lists those there are",
                    weir_core::name::shown(repository)
                ),
            )
        };
        let name = RepositoryName::parse("repository", repository).map_err(|_| absent())?;
        self.check_token_scope(&grant.principal, &name, format)?;
        let Some(found) = state.repository(&name).cloned() else {
            // Who might not read it does not learn that it is not there.
            let arn = Arn::repository(&self.inner.settings.region, &owner, &domain_name, &name);
            self.authorize(&caller, Action::ReadFromRepository, &arn, &owner, absent)?;
            return Err(absent());
        };
        Ok(Scope { domain: state, repository: found, format, caller, token: Some(hash) })
    }

    /// Allows or refuses `action` on a resource of `owner`'s account; deny by default. To a caller of
    /// another account a refusal looks like `absent`.
    pub fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        resource: &Arn,
        owner: &AccountId,
        absent: impl FnOnce() -> Error,
    ) -> Result<()> {
        let Caller::Principal(principal) = caller else {
            return Err(Error::unauthenticated("credentials are needed"));
        };
        if principal.account != *owner {
            return Err(absent());
        }
        if principal.scope.as_ref().is_some_and(|scope| scope.read_only) && !action.is_read() {
            return Err(Error::denied(format!("this token may only read; {action} is not among that")));
        }
        if self.policy_allows(principal, action, resource) {
            return Ok(());
        }
        Err(Error::denied(format!(
            "User: {} is not authorized to perform: {action} on resource: {resource}",
            principal.arn
        )))
    }

    /// Authorizes an action on the asked repository of a scope.
    pub(crate) fn authorize_scope(&self, scope: &Scope, action: Action) -> Result<()> {
        let owner = &scope.domain.row.owner;
        self.authorize(&scope.caller, action, &scope.repository.arn, owner, || {
            crate::topology::absent_domain(&scope.domain.row.name, owner)
        })
    }

    /// Authorizes an action on a package of the asked repository.
    pub(crate) fn authorize_package(
        &self,
        scope: &Scope,
        action: Action,
        package: &weir_core::PackageName,
    ) -> Result<()> {
        let domain = &scope.domain.row;
        let name = &scope.repository.row.name;
        let arn = Arn::package(&self.inner.settings.region, &domain.owner, &domain.name, name, package);
        self.authorize(&scope.caller, action, &arn, &domain.owner, || {
            crate::topology::absent_domain(&domain.name, &domain.owner)
        })
    }

    fn policy_allows(&self, principal: &Principal, action: Action, resource: &Arn) -> bool {
        let generation = self.inner.generations.identity();
        let key = (principal.id.clone(), resource.clone(), action);
        if let Some((made, allowed)) = lock_read(&self.inner.callers.decisions).get(&key)
            && *made == generation
        {
            return *allowed;
        }
        let context = [
            ("aws:PrincipalArn", principal.arn.as_str()),
            ("aws:PrincipalAccount", principal.account.as_str()),
            ("aws:username", &*principal.name),
            ("aws:userid", &*principal.id),
        ];
        let request = Request {
            action: &action.to_string(),
            resource: resource.as_str(),
            principal: Some(principal.arn.as_str()),
            context: &context,
        };
        let allowed = evaluate([&*principal.policy], &request) == Decision::Allow;
        let mut decisions = lock_write(&self.inner.callers.decisions);
        if decisions.len() >= MOST_DECISIONS {
            decisions.clear();
        }
        decisions.insert(key, (generation, allowed));
        allowed
    }

    fn check_token_scope(
        &self,
        principal: &Principal,
        repository: &RepositoryName,
        format: FormatName,
    ) -> Result<()> {
        let Some(TokenScope { repositories, formats, .. }) = &principal.scope else { return Ok(()) };
        if !repositories.is_empty() && !repositories.iter().any(|name| name == repository.as_str()) {
            return Err(Error::denied(format!(
                "this token is for the repositories {} only, not for '{repository}'",
                repositories.join(", ")
            )));
        }
        if !formats.is_empty() && !formats.iter().any(|name| name == format.as_str()) {
            return Err(Error::denied(format!(
                "this token is for the formats {} only, not for {format}",
                formats.join(", ")
            )));
        }
        Ok(())
    }

    /// What the token is good for; the inner error says why it is not.
    async fn grant(
        &self,
        token: &str,
        hash: Digest,
    ) -> Result<std::result::Result<Arc<Grant>, &'static str>> {
        let well_formed = token.strip_prefix("weir_").is_some_and(|rest| (20..=200).contains(&rest.len()))
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b));
        if !well_formed {
            return Ok(Err("the token is malformed: Weir's begin with weir_"));
        }
        self.check_current()?;
        let generation = self.inner.generations.identity();
        let now = self.now();
        let expired = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if let Some(grant) = lock_read(&self.inner.callers.tokens).get(&hash)
            && grant.generation == generation
        {
            return Ok(if expired(grant.expires_at) {
                Err("the token has expired")
            } else {
                Ok(grant.clone())
            });
        }
        let mut session = self.inner.store.read().await?;
        let Some(row) = session.token_by_hash(&hash).await? else {
            return Ok(Err("the token is unknown or was revoked"));
        };
        if expired(row.expires_at) {
            return Ok(Err("the token has expired"));
        }
        let Some(principal) = session.principal(&row.principal).await? else {
            return Ok(Err("the token's user was deleted"));
        };
        let principal = Arc::new(principal_of(principal, row.scope)?);
        let grant = Arc::new(Grant { principal, domain: row.domain, expires_at: row.expires_at, generation });
        let mut tokens = lock_write(&self.inner.callers.tokens);
        if tokens.len() >= MOST_TOKENS {
            tokens.clear();
        }
        tokens.insert(hash, grant.clone());
        Ok(Ok(grant))
    }

    /// The principal a token belongs to, for doors that name no repository (`/metrics`).
    pub async fn token_caller(&self, token: &str) -> Result<Caller> {
        let grant = self.grant(token, Digest::of(token.as_bytes())).await?;
        let grant = grant.map_err(Error::unauthenticated)?;
        Ok(Caller::Principal(grant.principal.clone()))
    }

    /// Swaps user name and password (a token, or the secret access key of the user) for a
    /// token of the domain: npm login.
    pub async fn login(&self, domain: &str, owner: &str, user: &str, password: &str) -> Result<IssuedToken> {
        let refused = || {
            Error::unauthenticated(
                "user name and password do not match: the password is a Weir token or the secret access key of \
                 the user",
            )
        };
        let owner = AccountId::parse("domainOwner", owner).map_err(|_| refused())?;
        let name = DomainName::parse("domain", domain).map_err(|_| refused())?;
        if password.starts_with("weir_") {
            // The same token, not a new one: logging in must not make a token live longer.
            let grant =
                self.grant(password, Digest::of(password.as_bytes())).await?.map_err(|_| refused())?;
            let state = self.domain_state(&owner, &name).await?.ok_or_else(refused)?;
            if state.row.id != grant.domain {
                return Err(refused());
            }
            let token = password.to_owned();
            return Ok(IssuedToken { id: String::new(), token, expires_at: grant.expires_at });
        }
        let caller = self.caller_by_secret(&owner, user, password).await?.ok_or_else(refused)?;
        let reference = crate::DomainRef { name: name.clone(), owner: Some(owner.clone()) };
        self.domain_state(&owner, &name).await?.ok_or_else(refused)?;
        self.authorization_token(&caller, &reference, None).await
    }

    async fn caller_by_secret(&self, owner: &AccountId, user: &str, secret: &str) -> Result<Option<Caller>> {
        use subtle::ConstantTimeEq;
        let mut session = self.inner.store.read().await?;
        let Some(row) = session.principal_by_name(owner, weir_core::PrincipalKind::User, user).await? else {
            return Ok(None);
        };
        let keys = session.list_access_keys(Some(&row.id)).await?;
        drop(session);
        for key in keys {
            let plain = self.inner.master_key.open(&key.id, &key.sealed_secret)?;
            if bool::from(plain.ct_eq(secret.as_bytes())) {
                return Ok(Some(Caller::Principal(Arc::new(principal_of(row, None)?))));
            }
        }
        Ok(None)
    }

    /// Revokes the token that was shown, or the one given if it belongs to the same principal.
    pub async fn logout(&self, scope: &Scope, token: &str) -> Result<()> {
        let hash = Digest::of(token.as_bytes());
        let same = match self.token_caller(token).await {
            Ok(Caller::Principal(other)) => {
                matches!(&scope.caller, Caller::Principal(own) if own.id == other.id)
            }
            Ok(Caller::Anonymous) | Err(_) => false,
        };
        if !same {
            return Err(Error::denied("only a token of your own can be revoked by logging out"));
        }
        let audit = self.audit(&scope.caller, "weir:Logout", &scope.repository.arn, &serde_json::json!({}));
        self.change(Outdated::Identity, move |session| {
            Box::pin(async move {
                session.delete_token_by_hash(&hash).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(())
    }
}

/// A stored principal as a caller, with its policy parsed.
pub(crate) fn principal_of(row: PrincipalRow, scope: Option<TokenScope>) -> Result<Principal> {
    let policy = PolicyDocument::parse(&row.policy)
        .map_err(|e| Error::internal(format!("the stored policy of {} is broken: {e}", row.name)))?;
    Ok(Principal {
        arn: Arn::principal(&row.account, row.kind, &row.name),
        id: row.id.to_string(),
        account: row.account,
        kind: row.kind,
        name: row.name,
        policy: Arc::new(policy),
        scope,
    })
}
