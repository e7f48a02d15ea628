//! Tags of domains and repositories, by ARN.

use crate::Registry;
use crate::audit::known;
use crate::topology::{absent_domain, absent_repository};
use serde_json::json;
use std::collections::HashSet;
use weir_core::error::Resource;
use weir_core::name::shown;
use weir_core::{AccountId, Action, Arn, Caller, DomainName, Error, RepositoryName, Result, quota};
use weir_store::Session;

impl Registry {
    /// TagResource: at most 50 tags on a resource.
    pub async fn tag_resource(&self, caller: &Caller, arn: &Arn, tags: Vec<(String, String)>) -> Result<()> {
        let kind = self.authorize_tagging(caller, arn, Action::TagResource).await?;
        check_tags(&tags)?;
        let keys: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
        let audit = self.audit(caller, Action::TagResource, arn, &json!({ "keys": keys }));
        let arn = arn.clone();
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    add_tags(session, kind, &arn, &tags).await?;
                    Ok::<_, Error>(session.insert_audit(&audit).await?)
                })
            })
            .await
    }

    /// UntagResource; keys that are not there are passed over.
    pub async fn untag_resource(&self, caller: &Caller, arn: &Arn, keys: Vec<String>) -> Result<()> {
        self.authorize_tagging(caller, arn, Action::UntagResource).await?;
        for key in &keys {
            check_text("tagKeys", key, 1, 128)?;
        }
        let audit = self.audit(caller, Action::UntagResource, arn, &json!({ "keys": keys }));
        let arn = arn.clone();
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    session.delete_resource_tags(arn.as_str(), &keys).await?;
                    Ok::<_, Error>(session.insert_audit(&audit).await?)
                })
            })
            .await
    }

    /// ListTagsForResource, by key.
    pub async fn list_tags(&self, caller: &Caller, arn: &Arn) -> Result<Vec<(String, String)>> {
        self.authorize_tagging(caller, arn, Action::ListTagsForResource).await?;
        let mut tags = self.inner.store.read().await?.resource_tags(arn.as_str()).await?;
        tags.sort();
        Ok(tags)
    }

    /// Finds what the ARN names and authorizes the action on it.
    async fn authorize_tagging(&self, caller: &Caller, arn: &Arn, action: Action) -> Result<Resource> {
        known(caller)?;
        let (owner, domain_name, repository_name) = parse(arn)?;
        let state = self.domain_state(&owner, &domain_name).await?;
        let absent = || match (&state, &repository_name) {
            (Some(state), Some(name)) => absent_repository(state, name),
            _ => absent_domain(&domain_name, &owner),
        };
        let hidden = || absent_domain(&domain_name, &owner);
        self.authorize(caller, action, arn, &owner, hidden)?;
        let state_found = state.as_ref().ok_or_else(absent)?;
        let (kind, real) = match &repository_name {
            None => (Resource::Domain, Arn::domain(&self.inner.settings.region, &owner, &domain_name)),
            Some(name) => {
                let repository = state_found.repository(name).ok_or_else(absent)?;
                (Resource::Repository, repository.arn.clone())
            }
        };
        // Another partition or Region names something that is not here.
        if real != *arn { Err(absent()) } else { Ok(kind) }
    }
}

/// Reads the ARN of a domain or repository.
fn parse(arn: &Arn) -> Result<(AccountId, DomainName, Option<RepositoryName>)> {
    let refused = || {
        Error::invalid(
            "resourceArn",
            format_args!("'{}' is not the ARN of a domain or repository", shown(arn.as_str())),
        )
    };
    let parts: Vec<&str> = arn.as_str().splitn(6, ':').collect();
    let ["arn", _, "codeartifact", _, account, resource] = parts[..] else { return Err(refused()) };
    let owner = AccountId::parse("resourceArn", account)?;
    let (kind, rest) = resource.split_once('/').ok_or_else(refused)?;
    match (kind, rest.split_once('/')) {
        ("domain", None) => Ok((owner, DomainName::parse("resourceArn", rest)?, None)),
        ("repository", Some((domain, name))) => Ok((
            owner,
            DomainName::parse("resourceArn", domain)?,
            Some(RepositoryName::parse("resourceArn", name)?),
        )),
        _ => Err(refused()),
    }
}

/// Adds checked tags within a transaction; the quota counts those that are there already.
pub(crate) async fn add_tags(
    session: &mut Session,
    kind: Resource,
    arn: &Arn,
    tags: &[(String, String)],
) -> Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    let held = session.resource_tags(arn.as_str()).await?;
    let keys: HashSet<&str> = held.iter().chain(tags).map(|(key, _)| key.as_str()).collect();
    if keys.len() > quota::TAGS_PER_RESOURCE {
        return Err(Error::QuotaExceeded {
            resource: kind,
            id: arn.to_string(),
            message: format!(
                "a {kind} has at most {} tags; with these {arn} would have {}",
                quota::TAGS_PER_RESOURCE,
                keys.len()
            ),
        });
    }
    Ok(session.put_resource_tags(arn.as_str(), tags).await?)
}

/// Keys of 1 to 128 and values of up to 256 characters, no control characters, no key twice.
pub(crate) fn check_tags(tags: &[(String, String)]) -> Result<()> {
    let mut keys = HashSet::new();
    for (key, value) in tags {
        check_text("tags.key", key, 1, 128)?;
        check_text("tags.value", value, 0, 256)?;
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            return Err(Error::invalid("tags.key", "keys that begin with 'aws:' are reserved"));
        }
        if !keys.insert(key) {
            return Err(Error::invalid("tags.key", format_args!("'{}' is there twice", shown(key))));
        }
    }
    Ok(())
}

/// Checks the length in characters of a text without control characters.
pub(crate) fn check_text(field: &str, text: &str, least: usize, most: usize) -> Result<()> {
    let length = text.chars().count();
    if !(least..=most).contains(&length) {
        return Err(Error::invalid(
            field,
            format_args!("has {length} characters; it must have {least} to {most}"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not contain control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn tags_obey_the_rules_of_the_service_model() {
        let (k128, k129, v257) = ("k".repeat(128), "k".repeat(129), "v".repeat(257));
        assert!(check_tags(&tags(&[("team", "web"), ("empty", "")])).is_ok());
        assert!(check_tags(&tags(&[(&k128, "é")])).is_ok());
        for bad in [
            vec![("", "v")],
            vec![(&*k129, "v")],
            vec![("k", &*v257)],
            vec![("aws:x", "v")],
            vec![("AWS:x", "v")],
            vec![("k", "a\u{7}")],
            vec![("k", "1"), ("k", "2")],
        ] {
            assert!(check_tags(&tags(&bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_arns_of_domains_and_repositories_are_read() {
        let read = |text: &str| parse(&Arn::from_text(text));
        assert!(read("arn:aws:codeartifact:us-east-1:000000000000:domain/local").is_ok());
        assert!(read("arn:aws:codeartifact:us-east-1:000000000000:repository/local/main").is_ok());
        for bad in [
            "local",
            "arn:aws:s3:::bucket",
            "arn:aws:codeartifact:us-east-1:000000000000:domain/local/main",
            "arn:aws:codeartifact:us-east-1:000000000000:repository/local",
            "arn:aws:codeartifact:us-east-1:0:domain/local",
            "arn:aws:codeartifact:us-east-1:000000000000:package/local/main/npm//x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
