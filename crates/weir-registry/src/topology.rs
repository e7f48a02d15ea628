//! Domains with their repositories, in memory: what every request needs and almost never changes.

use crate::Registry;
use crate::scope::{DomainRef, RepositoryRef};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use weir_core::error::Resource;
use weir_core::{
    AccountId, Action, Arn, Caller, ConnectionName, DomainName, Error, PackageName, RepositoryName, Result,
};
use weir_store::rows::{DomainRow, Id, RepositoryRow};

/// A domain with all its repositories, as of one generation.
#[derive(Debug)]
pub struct DomainState {
    /// The domain.
    pub row: DomainRow,
    by_name: HashMap<RepositoryName, Arc<RepositoryState>>,
    by_id: HashMap<Id, Arc<RepositoryState>>,
    generation: u64,
}

/// A repository with its upstreams and connection.
#[derive(Debug)]
pub struct RepositoryState {
    /// The repository.
    pub row: RepositoryRow,
    /// Its ARN.
    pub arn: Arn,
}

impl DomainState {
    /// A repository by name.
    pub fn repository(&self, name: &RepositoryName) -> Option<&Arc<RepositoryState>> {
        self.by_name.get(name)
    }

    /// A repository by identifier.
    pub fn repository_by_id(&self, id: &str) -> Option<&Arc<RepositoryState>> {
        self.by_id.get(id)
    }

    /// All repositories, in no order.
    pub fn repositories(&self) -> impl Iterator<Item = &Arc<RepositoryState>> {
        self.by_id.values()
    }

    /// The repositories that can be reached from one, itself first, each with the indexes of its upstreams
    /// in this list: the graph of a search. Breadth first, each once.
    pub fn graph(&self, start: &Arc<RepositoryState>) -> Vec<(Arc<RepositoryState>, Vec<usize>)> {
        let mut order = vec![start.clone()];
        let mut index: HashMap<Id, usize> = HashMap::from([(start.row.id.clone(), 0)]);
        let mut graph = Vec::new();
        let mut at = 0;
        while at < order.len() {
            let node = order[at].clone();
            let mut upstreams = Vec::with_capacity(node.row.upstreams.len());
            for id in &node.row.upstreams {
                let Some(upstream) = self.by_id.get(id) else { continue };
                let next = order.len();
                let place = *index.entry(id.clone()).or_insert(next);
                if place == next {
                    order.push(upstream.clone());
                }
                upstreams.push(place);
            }
            graph.push((node, upstreams));
            at += 1;
        }
        graph
    }
}

/// The domains in memory.
#[derive(Default)]
pub(crate) struct Topologies {
    domains: RwLock<HashMap<(AccountId, DomainName), Arc<DomainState>>>,
}

impl Registry {
    /// The domain as it stands; `None` when there is none of that name.
    pub(crate) async fn domain_state(
        &self,
        owner: &AccountId,
        name: &DomainName,
    ) -> Result<Option<Arc<DomainState>>> {
        // Read before the load, so that a change during the load makes the entry be loaded again.
        let generation = self.inner.generations.topology();
        let key = (owner.clone(), name.clone());
        if let Some(state) = lock_read(&self.inner.topology.domains).get(&key)
            && state.generation == generation
        {
            return Ok(Some(state.clone()));
        }
        let mut session = self.inner.store.read().await?;
        let Some(row) = session.domain(owner, name).await? else {
            lock_write(&self.inner.topology.domains).remove(&key);
            return Ok(None);
        };
        let region = &self.inner.settings.region;
        let states: Vec<Arc<RepositoryState>> = session
            .repositories(&row.id)
            .await?
            .into_iter()
            .map(|repository| {
                let arn = Arn::repository(region, owner, name, &repository.name);
                Arc::new(RepositoryState { row: repository, arn })
            })
            .collect();
        let state = Arc::new(DomainState {
            by_name: states.iter().map(|s| (s.row.name.clone(), s.clone())).collect(),
            by_id: states.iter().map(|s| (s.row.id.clone(), s.clone())).collect(),
            row,
            generation,
        });
        lock_write(&self.inner.topology.domains).insert(key, state.clone());
        Ok(Some(state))
    }

    /// The account a reference means: the one named, else the caller's own.
    pub(crate) fn owner_of(&self, caller: &Caller, domain: &DomainRef) -> Result<AccountId> {
        match (&domain.owner, caller) {
            (Some(owner), _) => Ok(owner.clone()),
            (None, Caller::Principal(principal)) => Ok(principal.account.clone()),
            (None, Caller::Anonymous) => {
                Err(Error::invalid("domainOwner", "is required without credentials"))
            }
        }
    }

    /// The domain a reference means, or the error AWS gives.
    pub(crate) async fn find_domain(&self, caller: &Caller, domain: &DomainRef) -> Result<Arc<DomainState>> {
        let owner = self.owner_of(caller, domain)?;
        self.domain_state(&owner, &domain.name).await?.ok_or_else(|| absent_domain(&domain.name, &owner))
    }

    /// The repository a reference means, or the error AWS gives; that it is not there is told to those only
    /// who might do `action` on it, or on the package in it. Whether one that is there may be acted on is
    /// still to be asked.
    pub(crate) async fn find_repository(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        action: Action,
        package: Option<&PackageName>,
    ) -> Result<(Arc<DomainState>, Arc<RepositoryState>)> {
        let domain = self.find_domain(caller, &repository.domain).await?;
        let name = &repository.repository;
        if let Some(found) = domain.repository(name).cloned() {
            return Ok((domain, found));
        }
        let (region, row) = (&self.inner.settings.region, &domain.row);
        let arn = match package {
            Some(package) => Arn::package(region, &row.owner, &row.name, name, package),
            None => Arn::repository(region, &row.owner, &row.name, name),
        };
        self.authorize(caller, action, &arn, &row.owner, || absent_domain(&row.name, &row.owner))?;
        Err(absent_repository(&domain, name))
    }

    /// The connection of a repository if it speaks `format`.
    pub(crate) fn connection_for<'a>(
        &self,
        repository: &'a RepositoryState,
        format: weir_core::FormatName,
    ) -> Option<&'a ConnectionName> {
        let connection = repository.row.connection.as_ref()?;
        (self.connection_format(connection)?.name() == format).then_some(connection)
    }
}

/// The error for a domain that is not there or may not be known.
pub(crate) fn absent_domain(name: &DomainName, owner: &AccountId) -> Error {
    Error::not_found(
        Resource::Domain,
        name.as_str(),
        format!("Domain not found. Domain '{name}' owned by account '{owner}' does not exist"),
    )
}

/// The error for a repository that is not there or may not be known.
pub(crate) fn absent_repository(domain: &DomainState, name: &RepositoryName) -> Error {
    Error::not_found(
        Resource::Repository,
        name.as_str(),
        format!("Repository not found. Repository '{name}' does not exist in domain '{}'", domain.row.name),
    )
}

/// A lock whose holder panicked still guards a consistent map: entries are whole values.
pub(crate) fn lock_read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`lock_read`], for writing.
pub(crate) fn lock_write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`lock_read`], for a mutex.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
