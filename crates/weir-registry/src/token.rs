//! Bearer tokens: issue, check, list, revoke. Opaque and random, stored as their SHA-256.

use crate::Registry;
use crate::audit::known;
use crate::change::Outdated;
use crate::identity::principal_named;
use crate::repository::check_format;
use crate::resource_tag::check_text;
use crate::scope::DomainRef;
use crate::topology::DomainState;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use weir_core::error::Resource;
use weir_core::name::shown;
use weir_core::{Action, Arn, Caller, Digest, Error, RepositoryName, Result, Secrets, Timestamp, TokenScope};
use weir_store::rows::{Id, TokenRow};

/// What a token of GetAuthorizationToken lives at most, and when nothing else is asked: twelve hours.
const TWELVE_HOURS: i64 = 43_200;
/// What it lives at least: fifteen minutes.
const FIFTEEN_MINUTES: i64 = 900;
/// A longer life than this is meant to be no end at all.
const CENTURY: i64 = 100 * 366 * 24 * 3600;

/// A token just made; the only time its text is known.
#[derive(Clone)]
pub struct IssuedToken {
    /// Its identifier, for listing and revoking.
    pub id: String,
    /// The token itself: `weir_` and `[A-Za-z0-9._~-]`.
    pub token: String,
    /// When it ends; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// A token as lists show it.
#[derive(Debug, Clone)]
pub struct TokenInfo {
    /// Its identifier.
    pub id: String,
    /// Name of its principal.
    pub principal: String,
    /// Its domain.
    pub domain: String,
    /// What its maker called it.
    pub description: String,
    /// Restrictions.
    pub scope: Option<TokenScope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// What `weir token create` asks for.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The domain it is for.
    pub domain: DomainRef,
    /// Whose it is to be; the caller's own when left out.
    pub user: Option<String>,
    /// Free text.
    pub description: String,
    /// Restrictions.
    pub scope: Option<TokenScope>,
    /// Seconds it lives; `None` for ever.
    pub lifetime_s: Option<i64>,
}

impl Registry {
    /// GetAuthorizationToken: `duration` 0 or 900 to 43200 seconds, 43200 when left out. Of the two rights
    /// AWS asks for, `sts:GetServiceBearerToken` is not evaluated. A token made with a scoped token has the
    /// same scope.
    pub async fn authorization_token(
        &self,
        caller: &Caller,
        domain: &DomainRef,
        duration: Option<i64>,
    ) -> Result<IssuedToken> {
        let state = self.find_domain(caller, domain).await?;
        self.authorize_domain(caller, Action::GetAuthorizationToken, &state.row)?;
        let lifetime = lifetime_of(duration)?;
        let principal = known(caller)?;
        let new = Issue {
            principal: principal.id.as_str().into(),
            description: "GetAuthorizationToken".to_owned(),
            scope: principal.scope.clone(),
            lifetime_s: Some(lifetime),
        };
        self.issue(caller, &state, new).await
    }

    /// A token of any life and scope, for robots. Tokens for others need `weir:ManageIdentities`.
    pub async fn create_token(&self, caller: &Caller, new: NewToken) -> Result<IssuedToken> {
        let principal = known(caller)?;
        if principal.scope.is_some() {
            return Err(Error::denied("a token with a scope cannot make other tokens; use an access key"));
        }
        let state = self.find_domain(caller, &new.domain).await?;
        let other = new.user.as_deref().filter(|user| *user != principal.name);
        match other {
            None => self.authorize_domain(caller, Action::GetAuthorizationToken, &state.row)?,
            Some(_) => self.authorize_identities(caller)?,
        }
        if principal.account != state.row.owner {
            return Err(crate::topology::absent_domain(&state.row.name, &state.row.owner));
        }
        check_text("description", &new.description, 0, 1000)?;
        if let Some(seconds) = new.lifetime_s
            && !(1..=CENTURY).contains(&seconds)
        {
            return Err(Error::invalid(
                "lifetime",
                format_args!(
                    "{seconds} seconds is not between 1 and {CENTURY}; leave it out for a token without end"
                ),
            ));
        }
        if let Some(scope) = &new.scope {
            check_scope(&state, scope)?;
        }
        let owner = match other {
            None => principal.id.as_str().into(),
            Some(user) => {
                let mut session = self.inner.store.read().await?;
                principal_named(&mut session, &principal.account, user).await?.id
            }
        };
        let issue = Issue {
            principal: owner,
            description: new.description,
            scope: new.scope.filter(|scope| *scope != TokenScope::default()),
            lifetime_s: new.lifetime_s,
        };
        self.issue(caller, &state, issue).await
    }

    /// Tokens of the caller, or of all of its account when it may manage identities; not those that ended.
    pub async fn list_tokens(&self, caller: &Caller) -> Result<Vec<TokenInfo>> {
        let principal = known(caller)?;
        let all = self.authorize_identities(caller).is_ok();
        let mut session = self.inner.store.read().await?;
        let owners: HashMap<Id, String> = session
            .list_principals(&principal.account)
            .await?
            .into_iter()
            .filter(|row| all || *row.id == *principal.id)
            .map(|row| (row.id, row.name))
            .collect();
        let domains: HashMap<Id, String> =
            session.list_domains(None).await?.into_iter().map(|row| (row.id, row.name.to_string())).collect();
        let rows = session.list_tokens(if all { None } else { Some(&principal.id) }).await?;
        let now = self.now();
        let living = rows.into_iter().filter(|row| row.expires_at.is_none_or(|end| now < end));
        Ok(living
            .filter_map(|row| {
                Some(TokenInfo {
                    principal: owners.get(&row.principal)?.clone(),
                    domain: domains.get(&row.domain)?.clone(),
                    id: row.id.to_string(),
                    description: row.description,
                    scope: row.scope,
                    created_at: row.created_at,
                    expires_at: row.expires_at,
                })
            })
            .collect())
    }

    /// Revokes a token by its identifier; seen by the next request. One's own, or any of the account for
    /// those who may manage identities.
    pub async fn delete_token(&self, caller: &Caller, id: &str) -> Result<()> {
        let principal = known(caller)?.clone();
        let all = self.authorize_identities(caller).is_ok();
        let audit = self.audit(caller, "weir:DeleteToken", format_args!("token/{}", shown(id)), &json!({}));
        let id = id.to_owned();
        self.change(Outdated::Identity, move |session| {
            Box::pin(async move {
                // Unknown and another's look alike; an error puts the token back.
                let absent = || unknown_token(&id);
                let row = session.delete_token(&id).await?.ok_or_else(absent)?;
                let owner = session.principal(&row.principal).await?.ok_or_else(absent)?;
                let may = *owner.id == *principal.id || (all && owner.account == principal.account);
                if !may {
                    return Err(absent());
                }
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(())
    }

    async fn issue(&self, caller: &Caller, domain: &DomainState, new: Issue) -> Result<IssuedToken> {
        let token = new_token(&*self.inner.secrets);
        let now = self.now();
        let expires_at = match new.lifetime_s {
            None => None,
            Some(seconds) => Some(
                now.checked_add(Duration::from_secs(seconds.unsigned_abs()))
                    .map_err(|_| Error::invalid("lifetime", "ends after the last day there is"))?,
            ),
        };
        let row = TokenRow {
            id: self.new_id(),
            hash: Digest::of(token.as_bytes()),
            principal: new.principal,
            domain: domain.row.id.clone(),
            description: new.description,
            scope: new.scope,
            created_at: now,
            expires_at,
        };
        let region = &self.inner.settings.region;
        let arn = Arn::domain(region, &domain.row.owner, &domain.row.name);
        let detail = json!({ "token": &*row.id, "principal": &*row.principal, "expires": expires_at });
        let audit = self.audit(caller, Action::GetAuthorizationToken, &arn, &detail);
        let id = row.id.to_string();
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    if session.principal(&row.principal).await?.is_none() {
                        return Err(Error::unauthenticated("the user was deleted"));
                    }
                    session.insert_token(&row).await?;
                    Ok(session.insert_audit(&audit).await?)
                })
            })
            .await?;
        Ok(IssuedToken { id, token, expires_at })
    }
}

/// A token to be made.
struct Issue {
    principal: Id,
    description: String,
    scope: Option<TokenScope>,
    lifetime_s: Option<i64>,
}

/// `weir_` and 43 characters of base64url: 256 random bits.
fn new_token(secrets: &dyn Secrets) -> String {
    let mut bytes = [0; 32];
    secrets.fill(&mut bytes);
    format!("weir_{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn lifetime_of(duration: Option<i64>) -> Result<i64> {
    match duration {
        // 0 is "as long as the session of the role"; long-term keys have none.
        None | Some(0) => Ok(TWELVE_HOURS),
        Some(seconds @ FIFTEEN_MINUTES..=TWELVE_HOURS) => Ok(seconds),
        Some(seconds) => Err(Error::invalid(
            "duration",
            format_args!("{seconds} is neither 0 nor between {FIFTEEN_MINUTES} and {TWELVE_HOURS} seconds"),
        )),
    }
}

/// A scope that names what is not there would make a token that is good for nothing.
fn check_scope(domain: &DomainState, scope: &TokenScope) -> Result<()> {
    for name in &scope.repositories {
        let parsed = RepositoryName::parse("scope.repositories", name)?;
        if domain.repository(&parsed).is_none() {
            return Err(crate::topology::absent_repository(domain, &parsed));
        }
    }
    scope.formats.iter().try_for_each(|format| check_format(format))
}

fn unknown_token(id: &str) -> Error {
    Error::not_found(
        Resource::Identity,
        id,
        format!(
            "there is no token '{}' that you may revoke; 'weir token list' shows those there are",
            shown(id)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::SystemSecrets;

    #[test]
    fn a_token_is_fit_for_urls_and_files() {
        let token = new_token(&SystemSecrets);
        assert_eq!(token.len(), 5 + 43);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b)), "{token}");
        assert_ne!(token, new_token(&SystemSecrets));
    }

    #[test]
    fn durations_are_those_of_aws() {
        for (asked, given) in [(None, 43_200), (Some(0), 43_200), (Some(900), 900), (Some(43_200), 43_200)] {
            assert_eq!(lifetime_of(asked).expect("allowed"), given);
        }
        for refused in [-1, 1, 899, 43_201, i64::MIN, i64::MAX] {
            assert!(lifetime_of(Some(refused)).is_err(), "{refused}");
        }
    }
}
