//! Repositories: create, describe, update, list, delete. Their upstreams, external connection and endpoint
//! have files of their own below.

mod connection;
mod endpoint;
mod upstreams;

pub(crate) use endpoint::check_format;

use crate::Registry;
use crate::audit::{known, no_resource};
use crate::change::Outdated;
use crate::domain::unless_taken;
use crate::resource_tag::{add_tags, check_tags, check_text};
use crate::scope::{DomainRef, RepositoryRef};
use crate::topology::{DomainState, RepositoryState, absent_domain, absent_repository};
use serde_json::json;
use std::sync::Arc;
use weir_core::error::Resource;
use weir_core::{
    AccountId, Action, Arn, Caller, ConnectionName, DomainName, Error, Page, PageRequest, RepositoryName,
    Result, Timestamp, quota,
};
use weir_store::rows::RepositoryRow;

/// A repository as the control API shows it.
#[derive(Debug, Clone)]
pub struct RepositoryInfo {
    /// Its name.
    pub name: RepositoryName,
    /// The account that made it.
    pub administrator: AccountId,
    /// Its domain.
    pub domain: DomainName,
    /// The account that owns the domain.
    pub owner: AccountId,
    /// Its ARN.
    pub arn: Arn,
    /// Free text.
    pub description: Option<String>,
    /// Its upstreams in priority order.
    pub upstreams: Vec<RepositoryName>,
    /// Its external connection and the format that speaks.
    pub connection: Option<(ConnectionName, String)>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What UpdateRepository changes.
#[derive(Debug, Clone, Default)]
pub struct RepositoryChange {
    /// A new description, if one was sent.
    pub description: Option<String>,
    /// The new upstreams, in priority order, if any were sent.
    pub upstreams: Option<Vec<RepositoryName>>,
}

impl Registry {
    /// CreateRepository.
    pub async fn create_repository(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        change: RepositoryChange,
        tags: Vec<(String, String)>,
    ) -> Result<RepositoryInfo> {
        let domain = self.find_domain(caller, &repository.domain).await?;
        let absent = || absent_domain(&domain.row.name, &domain.row.owner);
        self.authorize(caller, Action::CreateRepository, &no_resource(), &domain.row.owner, absent)?;
        change.check()?;
        check_tags(&tags)?;
        let arn = self.repository_arn(&domain, &repository.repository);
        let audit = self.audit(caller, Action::CreateRepository, &arn, &change.detail());
        let mut row = RepositoryRow {
            id: self.new_id(),
            domain: domain.row.id.clone(),
            name: repository.repository.clone(),
            administrator: known(caller)?.account.clone(),
            description: change.description.filter(|text| !text.is_empty()),
            edited: false,
            created_at: self.now(),
            upstreams: Vec::new(),
            connection: None,
        };
        let (registry, caller_there) = (self.clone(), caller.clone());
        self.change(Outdated::Topology, move |session| {
            Box::pin(async move {
                let name = row.name.clone();
                let taken = || {
                    let text = format!("Repository '{name}' already exists in domain '{}'", domain.row.name);
                    Error::conflict(Resource::Repository, name.as_str(), text)
                };
                let held = session.repositories(&row.domain).await?;
                if held.iter().any(|other| other.name == row.name) {
                    return Err(taken());
                }
                if held.len() >= quota::REPOSITORIES_PER_DOMAIN {
                    return Err(Error::QuotaExceeded {
                        resource: Resource::Repository,
                        id: row.name.to_string(),
                        message: format!(
                            "domain '{}' has {} repositories, which is as many as a domain may have",
                            domain.row.name,
                            held.len()
                        ),
                    });
                }
                let wanted = change.upstreams.unwrap_or_default();
                row.upstreams = registry.resolve_upstreams(&caller_there, &domain, &held, &row, &wanted)?;
                session.insert_repository(&row).await.map_err(|error| unless_taken(error, taken))?;
                add_tags(session, Resource::Repository, &arn, &tags).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        self.repository_changed(caller, repository).await
    }

    /// DescribeRepository.
    pub async fn describe_repository(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
    ) -> Result<RepositoryInfo> {
        let action = Action::DescribeRepository;
        let (domain, found) = self.find_repository(caller, repository, action, None).await?;
        self.authorize_repository(caller, action, &domain, &found)?;
        Ok(self.repository_info(&domain, &found.row))
    }

    /// UpdateRepository: cycles, more than 10 upstreams and upstreams without consent are refused.
    pub async fn update_repository(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        change: RepositoryChange,
    ) -> Result<RepositoryInfo> {
        let action = Action::UpdateRepository;
        let (domain, found) = self.find_repository(caller, repository, action, None).await?;
        self.authorize_repository(caller, action, &domain, &found)?;
        change.check()?;
        let audit = self.audit(caller, Action::UpdateRepository, &found.arn, &change.detail());
        let (registry, caller_there) = (self.clone(), caller.clone());
        self.change(Outdated::Topology, move |session| {
            Box::pin(async move {
                let held = session.repositories(&domain.row.id).await?;
                let row = held.iter().find(|row| row.id == found.row.id);
                let row = row.ok_or_else(|| absent_repository(&domain, &found.row.name))?;
                let upstreams = match &change.upstreams {
                    None => None,
                    Some(wanted) => {
                        Some(registry.resolve_upstreams(&caller_there, &domain, &held, row, wanted)?)
                    }
                };
                let description =
                    change.description.map(|text| if text.is_empty() { None } else { Some(text) });
                session.update_repository(&row.id, description, upstreams.as_deref()).await?;
                session.mark_edited(&row.id).await?;
                Ok::<_, Error>(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        self.repository_changed(caller, repository).await
    }

    /// DeleteRepository with all it holds; allowed while it is an upstream.
    pub async fn delete_repository(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
    ) -> Result<RepositoryInfo> {
        let action = Action::DeleteRepository;
        let (domain, found) = self.find_repository(caller, repository, action, None).await?;
        self.authorize_repository(caller, action, &domain, &found)?;
        let audit = self.audit(caller, Action::DeleteRepository, &found.arn, &json!({}));
        let info = self.repository_info(&domain, &found.row);
        self.change(Outdated::Topology, move |session| {
            Box::pin(async move {
                let held = session.repositories(&domain.row.id).await?;
                if !held.iter().any(|row| row.id == found.row.id) {
                    return Err(absent_repository(&domain, &found.row.name));
                }
                session.delete_all_resource_tags(found.arn.as_str()).await?;
                session.delete_repository(&found.row.id).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(info)
    }

    /// ListRepositories of the caller's account, by name.
    pub async fn list_repositories(
        &self,
        caller: &Caller,
        prefix: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<RepositoryInfo>> {
        let account = known(caller)?.account.clone();
        let refused = || Error::denied("repositories of another account");
        self.authorize(caller, Action::ListRepositories, &no_resource(), &account, refused)?;
        let domains = self.inner.store.read().await?.list_domains(Some(&account)).await?;
        let mut repositories = Vec::new();
        for domain in domains {
            let state = self.domain_state(&domain.owner, &domain.name).await?;
            repositories.extend(state.iter().flat_map(|state| {
                state.repositories().map(|repository| self.repository_info(state, &repository.row))
            }));
        }
        Ok(page_of(repositories, prefix, None, page))
    }

    /// ListRepositoriesInDomain, by name.
    pub async fn list_repositories_in_domain(
        &self,
        caller: &Caller,
        domain: &DomainRef,
        administrator: Option<&AccountId>,
        prefix: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<RepositoryInfo>> {
        let state = self.find_domain(caller, domain).await?;
        self.authorize_domain(caller, Action::ListRepositoriesInDomain, &state.row)?;
        let repositories =
            state.repositories().map(|repository| self.repository_info(&state, &repository.row)).collect();
        Ok(page_of(repositories, prefix, administrator, page))
    }

    /// Authorizes an action on a repository.
    pub(crate) fn authorize_repository(
        &self,
        caller: &Caller,
        action: Action,
        domain: &DomainState,
        repository: &RepositoryState,
    ) -> Result<()> {
        let absent = || absent_domain(&domain.row.name, &domain.row.owner);
        self.authorize(caller, action, &repository.arn, &domain.row.owner, absent)
    }

    /// Whether errors and explanations may name a repository to this caller: one that it may read.
    pub(crate) fn may_name(&self, caller: &Caller, owner: &AccountId, repository: &Arn) -> bool {
        let refused = || Error::denied("not told");
        self.authorize(caller, Action::ReadFromRepository, repository, owner, refused).is_ok()
    }

    fn repository_arn(&self, domain: &DomainState, name: &RepositoryName) -> Arn {
        Arn::repository(&self.inner.settings.region, &domain.row.owner, &domain.row.name, name)
    }

    /// After a change: the repository as it stands now.
    async fn repository_changed(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
    ) -> Result<RepositoryInfo> {
        let action = Action::DescribeRepository;
        let (domain, found) = self.find_repository(caller, repository, action, None).await?;
        Ok(self.repository_info(&domain, &found.row))
    }

    fn repository_info(&self, domain: &Arc<DomainState>, row: &RepositoryRow) -> RepositoryInfo {
        let upstream = |id| domain.repository_by_id(id).map(|upstream| upstream.row.name.clone());
        let connection = row.connection.clone().map(|name| {
            let format = self.connection_format(&name).map_or("unknown", |format| format.name().as_str());
            (name, format.to_owned())
        });
        RepositoryInfo {
            name: row.name.clone(),
            administrator: row.administrator.clone(),
            domain: domain.row.name.clone(),
            owner: domain.row.owner.clone(),
            arn: self.repository_arn(domain, &row.name),
            description: row.description.clone(),
            upstreams: row.upstreams.iter().filter_map(|id| upstream(id)).collect(),
            connection,
            created_at: row.created_at,
        }
    }
}

impl RepositoryChange {
    fn check(&self) -> Result<()> {
        match &self.description {
            Some(text) => check_text("description", text, 0, 1000),
            None => Ok(()),
        }
    }

    fn detail(&self) -> serde_json::Value {
        json!({ "description": self.description, "upstreams": self.upstreams })
    }
}

/// At most 10 domains of at most 1000 repositories, all in memory: sorted and cut here.
fn page_of(
    mut repositories: Vec<RepositoryInfo>,
    prefix: Option<&str>,
    administrator: Option<&AccountId>,
    page: &PageRequest,
) -> Page<RepositoryInfo> {
    let key = |info: &RepositoryInfo| vec![info.name.to_string(), info.domain.to_string()];
    repositories.retain(|info| {
        prefix.is_none_or(|prefix| info.name.as_str().starts_with(prefix))
            && administrator.is_none_or(|account| info.administrator == *account)
            && key(info) > page.after
    });
    repositories.sort_by(|left, right| (&left.name, &left.domain).cmp(&(&right.name, &right.domain)));
    Page::cut(repositories, page.size, key)
}
