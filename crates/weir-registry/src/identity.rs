//! Users and roles. Their access keys are below, in `identity/key.rs`.

mod key;

pub(crate) use key::SigningKeys;
pub use key::{IssuedKey, KeyInfo};

use crate::Registry;
use crate::access::CONDITION_KEYS;
use crate::audit::{known, no_resource};
use crate::change::Outdated;
use crate::domain::unless_taken;
use serde_json::json;
use weir_core::error::Resource;
use weir_core::name::shown;
use weir_core::policy::{Decision, PolicyDocument, Request, evaluate};
use weir_core::{AccountId, Action, Arn, Caller, Error, PrincipalKind, Result, Secrets, Timestamp};
use weir_store::Session;
use weir_store::rows::{Id, PrincipalRow};

/// A user or role as lists show it.
#[derive(Debug, Clone)]
pub struct UserInfo {
    /// Identifier.
    pub id: String,
    /// User or role.
    pub kind: PrincipalKind,
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: Arn,
    /// Its identity policy, JSON.
    pub policy: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Registry {
    /// Creates a user or role with a policy: `admin`, `publish`, `read` or a policy document. Users and
    /// roles share their names, so that one name means one of them.
    pub async fn create_user(
        &self,
        caller: &Caller,
        kind: PrincipalKind,
        name: &str,
        policy: &str,
    ) -> Result<UserInfo> {
        self.authorize_identities(caller)?;
        check_name(name)?;
        let policy = policy_text(policy)?;
        let row = PrincipalRow {
            id: principal_id(&*self.inner.secrets, kind),
            account: known(caller)?.account.clone(),
            kind,
            name: name.to_owned(),
            policy,
            created_at: self.now(),
        };
        let info = user_info(row.clone());
        let audit = self.audit(caller, "weir:CreateUser", &info.arn, &json!({ "policy": info.policy }));
        self.change(Outdated::Identity, move |session| {
            Box::pin(async move {
                let taken = || {
                    let text = format!("account {} has a user or role '{}' already", row.account, row.name);
                    Error::conflict(Resource::Identity, &row.name, text)
                };
                if find_principal(session, &row.account, &row.name).await?.is_some() {
                    return Err(taken());
                }
                session.insert_principal(&row).await.map_err(|error| unless_taken(error, taken))?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(info)
    }

    /// Users and roles of the caller's account.
    pub async fn list_users(&self, caller: &Caller) -> Result<Vec<UserInfo>> {
        self.authorize_identities(caller)?;
        let account = &known(caller)?.account;
        let rows = self.inner.store.read().await?.list_principals(account).await?;
        Ok(rows.into_iter().map(user_info).collect())
    }

    /// Deletes a user or role with its keys and tokens; not the last user that may manage identities.
    pub async fn delete_user(&self, caller: &Caller, name: &str) -> Result<()> {
        self.authorize_identities(caller)?;
        let account = known(caller)?.account.clone();
        let (registry, caller, name) = (self.clone(), caller.clone(), name.to_owned());
        self.change(Outdated::Identity, move |session| {
            Box::pin(async move {
                let row = principal_named(session, &account, &name).await?;
                let all = session.list_principals(&account).await?;
                let others = all.iter().filter(|other| other.id != row.id);
                if manages_identities(&row) && !others.into_iter().any(manages_identities) {
                    return Err(Error::conflict(
                        Resource::Identity,
                        &name,
                        format!(
                            "'{name}' is the last user of account {account} that may manage identities; make \
                                 another one first"
                        ),
                    ));
                }
                let arn = Arn::principal(&row.account, row.kind, &row.name);
                let audit = registry.audit(&caller, "weir:DeleteUser", &arn, &json!({ "id": &*row.id }));
                session.delete_principal(&row.id).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(())
    }

    /// Refuses those who may not manage users, keys and tokens of their account.
    pub(crate) fn authorize_identities(&self, caller: &Caller) -> Result<()> {
        let principal = known(caller)?;
        if principal.scope.is_some() {
            // What is made here would not have the scope.
            return Err(Error::denied("a token with a scope cannot manage identities; use an access key"));
        }
        let account = principal.account.clone();
        let refused = || Error::denied("identities of another account");
        self.authorize(caller, Action::ManageIdentities, &no_resource(), &account, refused)
    }
}

/// The user or else role of that name.
pub(crate) async fn find_principal(
    session: &mut Session,
    account: &AccountId,
    name: &str,
) -> Result<Option<PrincipalRow>> {
    match session.principal_by_name(account, PrincipalKind::User, name).await? {
        Some(row) => Ok(Some(row)),
        None => Ok(session.principal_by_name(account, PrincipalKind::Role, name).await?),
    }
}

/// As [`find_principal`], by name or ARN; absence is an error.
pub(crate) async fn principal_named(
    session: &mut Session,
    account: &AccountId,
    name: &str,
) -> Result<PrincipalRow> {
    let plain = name.strip_prefix("arn:").and_then(|arn| arn.rsplit_once('/')).map_or(name, |(_, name)| name);
    let found = find_principal(session, account, plain).await?;
    let is_meant = |row: &PrincipalRow| {
        plain == name || Arn::principal(&row.account, row.kind, &row.name).as_str() == name
    };
    found.filter(is_meant).ok_or_else(|| {
        Error::not_found(
            Resource::Identity,
            name,
            format!(
                "account {account} has no user or role '{}'; 'weir user list' shows those there are",
                shown(name)
            ),
        )
    })
}

fn user_info(row: PrincipalRow) -> UserInfo {
    UserInfo {
        arn: Arn::principal(&row.account, row.kind, &row.name),
        id: row.id.to_string(),
        kind: row.kind,
        name: row.name,
        policy: row.policy,
        created_at: row.created_at,
    }
}

/// Whether the account can still be administered by this one. Roles have nobody who assumes them.
fn manages_identities(row: &PrincipalRow) -> bool {
    let Ok(policy) = PolicyDocument::parse(&row.policy) else { return false };
    let arn = Arn::principal(&row.account, row.kind, &row.name);
    let request = Request {
        action: &Action::ManageIdentities.to_string(),
        resource: "*",
        principal: Some(arn.as_str()),
        context: &[],
    };
    row.kind == PrincipalKind::User && evaluate([&policy], &request) == Decision::Allow
}

/// The policy a word or document means, checked.
fn policy_text(policy: &str) -> Result<String> {
    if let Some(ready) = PolicyDocument::ready_made(policy) {
        return Ok(ready.to_owned());
    }
    if !policy.trim_start().starts_with('{') {
        return Err(Error::invalid(
            "policy",
            format_args!("'{}' is neither admin, publish nor read nor a policy document", shown(policy)),
        ));
    }
    let document = PolicyDocument::parse_identity(policy)?;
    let mut conditions = document.statements.iter().flat_map(|statement| &statement.conditions);
    let is_known = |key: &str| CONDITION_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key));
    if let Some(condition) = conditions.find(|condition| !is_known(&condition.key)) {
        return Err(Error::invalid(
            "policy",
            format_args!(
                "the condition key '{}' is not evaluated by this server; there are {}",
                shown(&condition.key),
                CONDITION_KEYS.join(", ")
            ),
        ));
    }
    Ok(policy.to_owned())
}

/// `[A-Za-z0-9+=,.@_-]{1,64}`, as IAM.
fn check_name(name: &str) -> Result<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(
        "name",
        format_args!("'{}' is not a user name: 1 to 64 of A-Z, a-z, 0-9 and '+=,.@_-'", shown(name)),
    ))
}

fn principal_id(secrets: &dyn Secrets, kind: PrincipalKind) -> Id {
    let prefix = match kind {
        PrincipalKind::User => "AIDA",
        PrincipalKind::Role => "AROA",
    };
    identifier(secrets, prefix, 17).into()
}

/// A prefix and random characters of base32, as IAM makes them.
fn identifier(secrets: &dyn Secrets, prefix: &str, length: usize) -> String {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0; length];
    secrets.fill(&mut bytes);
    let tail = bytes.into_iter().map(|byte| char::from(BASE32[usize::from(byte % 32)]));
    prefix.chars().chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::SystemSecrets;

    #[test]
    fn a_policy_with_a_condition_that_is_not_evaluated_is_refused() {
        let policy = |key: &str| {
            format!(
                r#"{{"Statement":[{{"Effect":"Deny","Action":"*","Resource":"*","Condition":{{"StringEquals":{{"{key}":"x"}}}}}}]}}"#
            )
        };
        assert!(policy_text(&policy("aws:username")).is_ok());
        let refused = policy_text(&policy("aws:ResourceTag/env")).expect_err("not evaluated").to_string();
        assert!(refused.contains("aws:ResourceTag/env"), "{refused}");
    }

    #[test]
    fn identifiers_look_like_those_of_iam() {
        let id = principal_id(&SystemSecrets, PrincipalKind::Role);
        assert!(id.starts_with("AROA") && id.len() == 21, "{id}");
        assert!(id.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{id}");
    }

    #[test]
    fn names_are_those_iam_allows() {
        for good in ["a", "robot-1", "x@example.test", "A+b=c,d._", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", "a:b", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_policy_is_a_word_or_a_document() {
        assert!(policy_text("admin").expect("a word").contains("Statement"));
        assert!(policy_text(r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#).is_ok());
        assert!(policy_text("root").is_err());
        assert!(policy_text("{").is_err());
    }

    #[test]
    fn administrators_are_told_from_others() {
        let row = |kind, word: &str| PrincipalRow {
            id: "AIDA".into(),
            account: AccountId::parse("account", "000000000000").expect("valid"),
            kind,
            name: "someone".to_owned(),
            policy: policy_text(word).expect("a word"),
            created_at: Timestamp::UNIX_EPOCH,
        };
        assert!(manages_identities(&row(PrincipalKind::User, "admin")));
        assert!(!manages_identities(&row(PrincipalKind::Role, "admin")));
        assert!(!manages_identities(&row(PrincipalKind::User, "publish")));
    }
}
