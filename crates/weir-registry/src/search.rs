//! Search among the packages held along a chain; it stays inside.

use crate::Registry;
use crate::scope::Scope;
use crate::topology::RepositoryState;
use std::sync::Arc;
use weir_core::path::{Node, Stop, search_path};
use weir_core::{Action, ConnectionName, PackageName, Result, quota};
use weir_store::rows::Id;

/// A page of search results: packages; the caller asks for the view of each.
#[derive(Debug, Clone)]
pub struct SearchResult {
    /// The packages found, in order of name.
    pub packages: Vec<PackageName>,
    /// How many there are in all.
    pub total: u64,
}

impl Registry {
    /// Packages of the scope's format held along the chain whose name, namespace, summary or keywords hold
    /// all of the words.
    pub async fn search(&self, scope: &Scope, text: &str, size: usize, from: usize) -> Result<SearchResult> {
        self.authorize_scope(scope, Action::ReadFromRepository)?;
        let repositories: Vec<Id> = chain(scope).into_iter().map(|found| found.row.id.clone()).collect();
        let mut session = self.inner.store.read().await?;
        let format = scope.format.as_str();
        let (names, total) = session.search_packages(&repositories, format, text, size, from).await?;
        let named = |(namespace, name): &(String, String)| {
            let namespace = if namespace.is_empty() { None } else { Some(namespace.as_str()) };
            PackageName::new(scope.format, namespace, name)
        };
        Ok(SearchResult { packages: names.iter().map(named).collect::<Result<_>>()?, total })
    }

    /// Of which of these names an index is held from the registry that [`Registry::post_upstream`] asks: only
    /// such names may be told to it.
    pub async fn known_publicly(&self, scope: &Scope, packages: &[PackageName]) -> Result<Vec<bool>> {
        self.authorize_scope(scope, Action::ReadFromRepository)?;
        let Some(connection) = self.asked_connection(scope) else { return Ok(vec![false; packages.len()]) };
        let mut known = Vec::with_capacity(packages.len());
        for package in packages {
            known.push(self.public_index_is_held(&scope.domain, &connection, package).await?);
        }
        Ok(known)
    }

    /// The external connection that is asked for what is no package's index: the first in search order.
    fn asked_connection(&self, scope: &Scope) -> Option<ConnectionName> {
        let graph = scope.domain.graph(&scope.repository);
        let nodes: Vec<Node> = graph
            .iter()
            .map(|(repository, upstreams)| Node {
                repository: repository.row.name.clone(),
                upstreams: upstreams.clone(),
                connection: self.connection_for(repository, scope.format).cloned(),
                record: None,
            })
            .collect();
        let path = search_path(&nodes, 0, &self.inner.settings.rules);
        path.stops.iter().find_map(|stop| match stop {
            Stop::Connection(node) => nodes[*node].connection.clone(),
            Stop::Held(_) => None,
        })
    }

    /// Posts a bounded body to the first external connection of the chain, uncached, and gives its answer
    /// (at most 32 MiB). `Ok(None)` when the registry says 404; no connection on the chain is an error.
    pub async fn post_upstream(
        &self,
        scope: &Scope,
        path: &str,
        content_type: &str,
        body: bytes::Bytes,
    ) -> Result<Option<bytes::Bytes>> {
        let connection = self.asked_connection(scope);
        self.ask_upstream(scope, connection.as_ref(), path, Some((content_type, body))).await
    }

    /// Gets a small document that is no package's index (such as signing keys), uncached, from `connection`
    /// or else the first one of the chain. As [`Registry::post_upstream`] otherwise.
    pub async fn get_upstream(
        &self,
        scope: &Scope,
        connection: Option<&ConnectionName>,
        path: &str,
    ) -> Result<Option<bytes::Bytes>> {
        let first = self.asked_connection(scope);
        self.ask_upstream(scope, connection.or(first.as_ref()), path, None).await
    }

    async fn ask_upstream(
        &self,
        scope: &Scope,
        connection: Option<&ConnectionName>,
        path: &str,
        body: Option<(&str, bytes::Bytes)>,
    ) -> Result<Option<bytes::Bytes>> {
        self.authorize_scope(scope, weir_core::Action::ReadFromRepository)?;
        let Some(connection) = connection else {
            return Err(weir_core::Error::unavailable(format!(
                "repository '{}' has no external connection for {} on its path, so nobody can be asked; associate \
                 one: aws codeartifact associate-external-connection",
                scope.repository.row.name, scope.format
            )));
        };
        self.ask_connection(connection, path, body).await
    }
}

/// The repositories that are searched for a request, the asked one first.
fn chain(scope: &Scope) -> Vec<Arc<RepositoryState>> {
    let graph = scope.domain.graph(&scope.repository);
    graph.into_iter().take(quota::REPOSITORIES_SEARCHED).map(|(repository, _)| repository).collect()
}
