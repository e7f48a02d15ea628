//! Access keys: made, listed, deleted, and found again to verify a signature.

use super::{find_principal, identifier, principal_id, principal_named};
use crate::Registry;
use crate::access::principal_of;
use crate::audit::known;
use crate::change::Outdated;
use crate::topology::{lock_read, lock_write};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use weir_core::error::Resource;
use weir_core::name::shown;
use weir_core::policy::ADMIN;
use weir_core::{AccountId, Arn, Caller, Error, Principal, PrincipalKind, Result, Timestamp};
use weir_store::Session;
use weir_store::rows::{AccessKeyRow, AuditRow, Id, PrincipalRow};

/// The user that first start makes.
const ADMINISTRATOR: &str = "administrator";
/// When the table of keys in memory has so many, it is emptied.
const MOST_KEYS: usize = 10_000;

/// An access key just made; the only time its secret is told.
#[derive(Clone)]
pub struct IssuedKey {
    /// `AKIA…`.
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: String,
}

/// An access key as lists show it.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// `AKIA…`.
    pub access_key_id: String,
    /// Name of its user.
    pub user: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keys in memory, each as of one identity generation.
#[derive(Default)]
pub(crate) struct SigningKeys {
    table: RwLock<HashMap<String, Arc<SigningKey>>>,
}

struct SigningKey {
    secret: String,
    principal: Arc<Principal>,
    generation: u64,
}

impl Registry {
    /// Creates an access key for a user (the caller itself when `None`). A key outlives the token or key
    /// it was made with, so even one's own needs `weir:ManageIdentities`.
    pub async fn create_key(&self, caller: &Caller, user: Option<&str>) -> Result<IssuedKey> {
        self.authorize_identities(caller)?;
        let principal = known(caller)?.clone();
        let (issued, sealed) = self.new_key()?;
        let (registry, caller) = (self.clone(), caller.clone());
        let (key_id, at) = (issued.access_key_id.clone(), self.now());
        let user = user.unwrap_or(&principal.name).to_owned();
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    let owner = principal_named(session, &principal.account, &user).await?;
                    let arn = Arn::principal(&owner.account, owner.kind, &owner.name);
                    let audit = registry.audit(&caller, "weir:CreateKey", &arn, &json!({ "key": key_id }));
                    insert(session, key_id, &owner.id, sealed, at, &audit).await
                })
            })
            .await?;
        Ok(issued)
    }

    /// Access keys of one user, or of all; without `weir:ManageIdentities` one's own only.
    pub async fn list_keys(&self, caller: &Caller, user: Option<&str>) -> Result<Vec<KeyInfo>> {
        let principal = known(caller)?;
        let own = user == Some(&*principal.name);
        let manages = self.authorize_identities(caller);
        if !own && user.is_some() {
            manages?;
        } else if manages.is_err() {
            return self.keys_of(&principal.account, Some(&principal.name)).await;
        }
        self.keys_of(&principal.account, user).await
    }

    async fn keys_of(&self, account: &AccountId, user: Option<&str>) -> Result<Vec<KeyInfo>> {
        let mut session = self.inner.store.read().await?;
        let owners = match user {
            Some(name) => vec![principal_named(&mut session, account, name).await?],
            None => session.list_principals(account).await?,
        };
        let names: HashMap<Id, String> = owners.into_iter().map(|row| (row.id, row.name)).collect();
        let rows = session.list_access_keys(None).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let user = names.get(&row.principal)?.clone();
                Some(KeyInfo { access_key_id: row.id, user, created_at: row.created_at })
            })
            .collect())
    }

    /// Deletes an access key; seen by the next request. One's own, or any of the account for those who may
    /// manage identities.
    pub async fn delete_key(&self, caller: &Caller, access_key_id: &str) -> Result<()> {
        let principal = known(caller)?.clone();
        if principal.scope.as_ref().is_some_and(|scope| scope.read_only) {
            return Err(Error::denied("this token may only read"));
        }
        let all = self.authorize_identities(caller).is_ok();
        let resource = format!("access-key/{}", shown(access_key_id));
        let audit = self.audit(caller, "weir:DeleteKey", &resource, &json!({}));
        let id = access_key_id.to_owned();
        self.change(Outdated::Identity, move |session| {
            Box::pin(async move {
                // Unknown and another's look alike.
                let absent = || {
                    Error::not_found(
                        Resource::Identity,
                        &id,
                        format!("there is no access key '{}' that you may delete", shown(&id)),
                    )
                };
                let row = session.access_key(&id).await?.ok_or_else(absent)?;
                let owner = session.principal(&row.principal).await?.ok_or_else(absent)?;
                let may = *owner.id == *principal.id || (all && owner.account == principal.account);
                if !may {
                    return Err(absent());
                }
                session.delete_access_key(&id).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(())
    }

    /// The secret of an access key and its principal, for verifying a signature; `None` when unknown.
    pub async fn signing_key(&self, access_key_id: &str) -> Result<Option<(String, Arc<Principal>)>> {
        self.check_current()?;
        // Read before the load, so that a change during the load makes the entry be loaded again.
        let generation = self.inner.generations.identity();
        let table = &self.inner.signing_keys.table;
        if let Some(key) = lock_read(table).get(access_key_id)
            && key.generation == generation
        {
            return Ok(Some((key.secret.clone(), key.principal.clone())));
        }
        let mut session = self.inner.store.read().await?;
        let Some(row) = session.access_key(access_key_id).await? else { return Ok(None) };
        let Some(owner) = session.principal(&row.principal).await? else { return Ok(None) };
        drop(session);
        let plain = self.inner.master_key.open(&row.id, &row.sealed_secret)?;
        let secret = String::from_utf8(plain).map_err(Error::internal)?;
        let principal = Arc::new(principal_of(owner, None)?);
        let key = SigningKey { secret: secret.clone(), principal: principal.clone(), generation };
        let mut table = lock_write(table);
        if table.len() >= MOST_KEYS {
            table.clear();
        }
        table.insert(row.id, Arc::new(key));
        Ok(Some((secret, principal)))
    }

    /// First start and `weir key create --offline`: makes account and administrator where missing, and a key.
    pub async fn bootstrap_administrator(&self, account: &AccountId) -> Result<IssuedKey> {
        let (issued, sealed) = self.new_key()?;
        let (key_id, at) = (issued.access_key_id.clone(), self.now());
        let fresh = PrincipalRow {
            id: principal_id(&*self.inner.secrets, PrincipalKind::User),
            account: account.clone(),
            kind: PrincipalKind::User,
            name: ADMINISTRATOR.to_owned(),
            policy: ADMIN.to_owned(),
            created_at: at,
        };
        let audit = offline_audit(at, account, ADMINISTRATOR, &key_id);
        self.change(Outdated::Identity, move |session| {
            Box::pin(async move {
                session.insert_account(&fresh.account, at).await?;
                let owner = match find_principal(session, &fresh.account, ADMINISTRATOR).await? {
                    Some(owner) => owner,
                    None => {
                        session.insert_principal(&fresh).await?;
                        fresh
                    }
                };
                insert(session, key_id, &owner.id, sealed, at, &audit).await
            })
        })
        .await?;
        Ok(issued)
    }

    /// A fresh key for the user of that name, without a caller: only for commands that open the store themselves.
    pub async fn create_key_offline(&self, account: &AccountId, user: &str) -> Result<IssuedKey> {
        let (issued, sealed) = self.new_key()?;
        let (key_id, at) = (issued.access_key_id.clone(), self.now());
        let audit = offline_audit(at, account, user, &key_id);
        let (account, user) = (account.clone(), user.to_owned());
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    let owner = principal_named(session, &account, &user).await?;
                    insert(session, key_id, &owner.id, sealed, at, &audit).await
                })
            })
            .await?;
        Ok(issued)
    }

    /// A key, and its secret as it is stored.
    fn new_key(&self) -> Result<(IssuedKey, Vec<u8>)> {
        let secrets = &*self.inner.secrets;
        let access_key_id = identifier(secrets, "AKIA", 16);
        let mut bytes = [0; 30];
        secrets.fill(&mut bytes);
        let secret_access_key = STANDARD.encode(bytes);
        let sealed = self.inner.master_key.seal(secrets, &access_key_id, secret_access_key.as_bytes())?;
        Ok((IssuedKey { access_key_id, secret_access_key }, sealed))
    }
}

async fn insert(
    session: &mut Session,
    id: String,
    principal: &Id,
    sealed_secret: Vec<u8>,
    created_at: Timestamp,
    audit: &AuditRow,
) -> Result<()> {
    let row = AccessKeyRow { id, principal: principal.clone(), sealed_secret, created_at };
    session.insert_access_key(&row).await?;
    Ok(session.insert_audit(audit).await?)
}

/// The audit row of a command that opens the store itself and so has no caller.
fn offline_audit(at: Timestamp, account: &AccountId, user: &str, key: &str) -> AuditRow {
    AuditRow {
        at,
        principal: "offline".to_owned(),
        action: "weir:CreateKey".to_owned(),
        resource: Arn::principal(account, PrincipalKind::User, user).to_string(),
        detail: json!({ "key": key }).to_string(),
    }
}
