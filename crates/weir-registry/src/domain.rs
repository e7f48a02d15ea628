//! Domains: create, describe, list, delete.

use crate::Registry;
use crate::audit::{known, no_resource};
use crate::change::Outdated;
use crate::resource_tag::{add_tags, check_tags};
use crate::scope::DomainRef;
use crate::topology::{absent_domain, lock};
use serde_json::json;
use weir_core::error::Resource;
use weir_core::name::shown;
use weir_core::{
    AccountId, Action, Arn, Caller, DomainName, Error, Page, PageRequest, Result, Timestamp,
    ValidationReason, quota,
};
use weir_store::DbError;
use weir_store::rows::{DomainRow, Id};

/// Counts of bytes remembered at once; when full they are forgotten.
const MOST_COUNTS: usize = 1000;

/// A domain as the control API shows it.
#[derive(Debug, Clone)]
pub struct DomainInfo {
    /// Its name.
    pub name: DomainName,
    /// The account that owns it.
    pub owner: AccountId,
    /// Its ARN.
    pub arn: Arn,
    /// `Active`, or `Deleted` in the answer to DeleteDomain.
    pub status: &'static str,
    /// When it was made.
    pub created_at: Timestamp,
    /// ARN of its key.
    pub encryption_key: String,
    /// How many repositories it has.
    pub repository_count: u64,
    /// Bytes stored, each blob counted once; not told in lists.
    pub asset_size_bytes: Option<u64>,
    /// ARN of the bucket AWS would use.
    pub s3_bucket_arn: String,
}

impl Registry {
    /// CreateDomain. The root of its package groups comes with that API.
    pub async fn create_domain(
        &self,
        caller: &Caller,
        name: &DomainName,
        encryption_key: Option<&str>,
        tags: Vec<(String, String)>,
    ) -> Result<DomainInfo> {
        let account = known(caller)?.account.clone();
        let absent = || absent_domain(name, &account);
        self.authorize(caller, Action::CreateDomain, &no_resource(), &account, absent)?;
        check_tags(&tags)?;
        let region = &self.inner.settings.region;
        let encryption_key = match encryption_key {
            Some(key) => key_arn(region, &account, key)?,
            None => format!("arn:aws:kms:{region}:{account}:key/{}", self.new_id()),
        };
        let row = DomainRow {
            id: self.new_id(),
            owner: account,
            name: name.clone(),
            encryption_key,
            created_at: self.now(),
        };
        let arn = Arn::domain(region, &row.owner, name);
        let audit = self.audit(caller, Action::CreateDomain, &arn, &json!({}));
        let info = self.domain_info(&row, 0, Some(0));
        self.change(Outdated::Topology, move |session| {
            Box::pin(async move {
                let taken = || {
                    let text = format!("Domain '{}' already exists in account '{}'", row.name, row.owner);
                    Error::conflict(Resource::Domain, row.name.as_str(), text)
                };
                let held = session.list_domains(Some(&row.owner)).await?;
                if held.iter().any(|other| other.name == row.name) {
                    return Err(taken());
                }
                if held.len() >= quota::DOMAINS_PER_ACCOUNT {
                    return Err(Error::QuotaExceeded {
                        resource: Resource::Domain,
                        id: row.name.to_string(),
                        message: format!(
                            "account '{}' has {} domains, which is as many as an account may have",
                            row.owner,
                            held.len()
                        ),
                    });
                }
                session.insert_domain(&row).await.map_err(|error| unless_taken(error, taken))?;
                add_tags(session, Resource::Domain, &arn, &tags).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(info)
    }

    /// DescribeDomain.
    pub async fn describe_domain(&self, caller: &Caller, domain: &DomainRef) -> Result<DomainInfo> {
        let state = self.find_domain(caller, domain).await?;
        self.authorize_domain(caller, Action::DescribeDomain, &state.row)?;
        let bytes = self.asset_bytes(&state.row.id).await?;
        Ok(self.domain_info(&state.row, state.repositories().count(), Some(bytes)))
    }

    /// How many bytes a domain's assets occupy. Counting walks through all of them, so the number is kept for as
    /// long as nothing changes.
    async fn asset_bytes(&self, domain: &Id) -> Result<u64> {
        // Read before the count, so that a change during it makes the next caller count again.
        let generation = self.inner.generations.everything();
        if let Some((made, bytes)) = lock(&self.inner.asset_bytes).get(domain)
            && *made == generation
        {
            return Ok(*bytes);
        }
        let bytes = self.inner.store.read().await?.domain_asset_bytes(domain).await?;
        let mut table = lock(&self.inner.asset_bytes);
        if table.len() >= MOST_COUNTS {
            table.clear();
        }
        table.insert(domain.clone(), (generation, bytes));
        Ok(bytes)
    }

    /// DeleteDomain: at 0 repositories only; of an absent domain `None`.
    pub async fn delete_domain(&self, caller: &Caller, domain: &DomainRef) -> Result<Option<DomainInfo>> {
        let owner = self.owner_of(caller, domain)?;
        if known(caller)?.account != owner {
            // What may not be known looks absent, and the absent is deleted with success.
            return Ok(None);
        }
        let name = domain.name.clone();
        let arn = Arn::domain(&self.inner.settings.region, &owner, &name);
        self.authorize(caller, Action::DeleteDomain, &arn, &owner, || absent_domain(&name, &owner))?;
        let audit = self.audit(caller, Action::DeleteDomain, &arn, &json!({}));
        let deleted = self
            .change(Outdated::Domain, move |session| {
                Box::pin(async move {
                    let Some(row) = session.domain(&owner, &name).await? else { return Ok(None) };
                    if !session.repositories(&row.id).await?.is_empty() {
                        return Err(Error::conflict(
                            Resource::Domain,
                            name.as_str(),
                            "Domain must contain 0 repositories before deletion",
                        ));
                    }
                    session.delete_all_resource_tags(arn.as_str()).await?;
                    session.delete_domain(&row.id).await?;
                    session.insert_audit(&audit).await?;
                    Ok(Some(row))
                })
            })
            .await?;
        if let Some(row) = &deleted {
            // Its identifier is never used again, so nothing can be named in there any more.
            self.inner.store.blobs().delete_domain(&row.id).await?;
        }
        Ok(deleted.map(|row| DomainInfo { status: "Deleted", ..self.domain_info(&row, 0, Some(0)) }))
    }

    /// ListDomains of the caller's account, by name.
    pub async fn list_domains(&self, caller: &Caller, page: &PageRequest) -> Result<Page<DomainInfo>> {
        let account = known(caller)?.account.clone();
        let refused = || Error::denied("domains of another account");
        self.authorize(caller, Action::ListDomains, &no_resource(), &account, refused)?;
        let mut rows = self.inner.store.read().await?.list_domains(Some(&account)).await?;
        rows.sort_by(|left, right| left.name.cmp(&right.name));
        if let Some(after) = page.after.first() {
            rows.retain(|row| row.name.as_str() > after.as_str());
        }
        let rows = Page::cut(rows, page.size, |row| vec![row.name.to_string()]);
        let mut items = Vec::with_capacity(rows.items.len());
        for row in &rows.items {
            let state = self.domain_state(&row.owner, &row.name).await?;
            let repositories = state.map_or(0, |state| state.repositories().count());
            items.push(self.domain_info(row, repositories, None));
        }
        Ok(Page { items, next_token: rows.next_token })
    }

    /// Authorizes an action on a domain.
    pub(crate) fn authorize_domain(&self, caller: &Caller, action: Action, row: &DomainRow) -> Result<()> {
        let arn = Arn::domain(&self.inner.settings.region, &row.owner, &row.name);
        self.authorize(caller, action, &arn, &row.owner, || absent_domain(&row.name, &row.owner))
    }

    fn domain_info(&self, row: &DomainRow, repositories: usize, asset_size_bytes: Option<u64>) -> DomainInfo {
        let region = &self.inner.settings.region;
        DomainInfo {
            name: row.name.clone(),
            owner: row.owner.clone(),
            arn: Arn::domain(region, &row.owner, &row.name),
            status: "Active",
            created_at: row.created_at,
            encryption_key: row.encryption_key.clone(),
            repository_count: repositories as u64,
            asset_size_bytes,
            s3_bucket_arn: format!("arn:aws:s3:::assets-{}-{region}", row.owner),
        }
    }
}

/// What an insert failed of: where another node was faster, that the name is taken.
pub(crate) fn unless_taken(error: DbError, taken: impl FnOnce() -> Error) -> Error {
    if error.is_unique() { taken() } else { error.into() }
}

/// The ARN of a key given as ARN, key id, alias ARN or alias name.
fn key_arn(region: &str, account: &AccountId, key: &str) -> Result<String> {
    if let Some(rest) = key.strip_prefix("arn:") {
        let parts: Vec<&str> = rest.splitn(5, ':').collect();
        if let [partition, "kms", of_region, of_account, resource] = parts[..]
            && partition.starts_with("aws")
            && !of_region.is_empty()
            && AccountId::parse("encryptionKey", of_account).is_ok()
            && is_key(resource)
        {
            return Ok(key.to_owned());
        }
    } else if is_key(key) {
        return Ok(format!("arn:aws:kms:{region}:{account}:{key}"));
    } else if is_key_id(key) {
        return Ok(format!("arn:aws:kms:{region}:{account}:key/{key}"));
    }
    Err(Error::Invalid {
        reason: ValidationReason::EncryptionKeyError,
        message: format!(
            "encryptionKey: '{}' is neither the ARN nor the id nor the alias of a KMS key",
            shown(key)
        ),
    })
}

fn is_key(resource: &str) -> bool {
    match resource.split_once('/') {
        Some(("key", id)) => is_key_id(id),
        Some(("alias", name)) => {
            (1..=250).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b))
        }
        _ => false,
    }
}

/// A UUID, or `mrk-` and 32 hex digits.
fn is_key_id(id: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(rest) = id.strip_prefix("mrk-") {
        return rest.len() == 32 && hex(rest);
    }
    let parts: Vec<&str> = id.split('-').collect();
    parts.iter().all(|part| hex(part)) && parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_arn_id_or_alias() {
        let account = AccountId::parse("account", "000000000000").expect("valid");
        let id = "0b7a1e6e-1234-4abc-8def-0123456789ab";
        let read = |key: &str| key_arn("us-east-1", &account, key);
        let of_id = format!("arn:aws:kms:us-east-1:000000000000:key/{id}");
        assert_eq!(read(id).expect("an id"), of_id);
        assert_eq!(read(&of_id).expect("an ARN"), of_id);
        assert_eq!(read("alias/x").expect("an alias"), "arn:aws:kms:us-east-1:000000000000:alias/x");
        assert!(read(&format!("mrk-{}", "a".repeat(32))).is_ok());
        for bad in
            ["", "key", "arn:aws:s3:::b", "alias/", "alias/a b", "arn:aws:kms:us-east-1:1:key/x", "mrk-x"]
        {
            let Err(Error::Invalid { reason: ValidationReason::EncryptionKeyError, .. }) = read(bad) else {
                panic!("{bad} was taken");
            };
        }
    }
}
