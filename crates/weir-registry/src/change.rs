//! A change: one transaction, and then word to the caches it leaves out of date.

use crate::Registry;
use futures_util::future::BoxFuture;
use weir_core::{Error, PackageName, Result};
use weir_store::Session;
use weir_store::rows::Id;

/// What a change leaves out of date.
#[derive(Debug, Clone)]
pub(crate) enum Outdated {
    /// Domains, repositories, upstreams, connections.
    Topology,
    /// Principals, policies, keys, tokens.
    Identity,
    /// A domain with its tokens.
    Domain,
    /// What indexes show of a package of a domain.
    Content(Id, PackageName),
    /// Which repositories of a domain hold versions of a package.
    Holdings(Id, PackageName),
}

impl Registry {
    /// Runs `work` in a transaction and then outdates the caches. Both happen in a task of its own, since the
    /// store goes on when a client leaves in between, and the caches must not stay behind it.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        outdated: Outdated,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let registry = self.clone();
        let task = tokio::spawn(async move {
            let done = registry.inner.store.write(work).await;
            registry.outdate(&outdated);
            done
        });
        match task.await {
            Ok(done) => done,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(ended) => Err(Error::internal(ended)),
        }
    }

    fn outdate(&self, outdated: &Outdated) {
        let generations = &self.inner.generations;
        match outdated {
            Outdated::Topology => generations.topology_changed(),
            Outdated::Identity => generations.identity_changed(),
            Outdated::Domain => {
                generations.topology_changed();
                generations.identity_changed();
            }
            Outdated::Content(domain, package) => generations.content_changed(domain, package),
            Outdated::Holdings(domain, package) => generations.holdings_changed(domain, package),
        }
    }
}
