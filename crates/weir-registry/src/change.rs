//! A change: one transaction, and then word to the caches it leaves out of date, here and on other nodes.

use crate::Registry;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use weir_core::{ConnectionName, Error, PackageName, Result};
use weir_store::rows::Id;
use weir_store::{Durability, Engine, Session};

/// What a change leaves out of date.
#[derive(Debug, Clone)]
pub(crate) enum Outdated {
    /// Domains, repositories, upstreams, connections.
    Topology,
    /// The address or the settings of a connection.
    Connection(ConnectionName),
    /// Principals, policies, keys, tokens.
    Identity,
    /// A domain with its tokens.
    Domain,
    /// What indexes show of a package of a domain.
    Content(Id, PackageName),
    /// Which repositories of a domain hold versions of a package.
    Holdings(Id, PackageName),
}

/// `Outdated` as other nodes read it. A word that a node does not know makes it read everything again.
#[derive(Serialize, Deserialize)]
#[serde(tag = "outdated", rename_all = "kebab-case")]
enum Word {
    Topology,
    Connection { name: String },
    Identity,
    Domain,
    Content(PackageWord),
    Holdings(PackageWord),
}

#[derive(Serialize, Deserialize)]
struct PackageWord {
    domain: String,
    format: String,
    namespace: String,
    name: String,
}

impl Outdated {
    /// What tells apart changes that must not run beside each other.
    fn turn(&self) -> String {
        match self {
            Self::Topology | Self::Domain | Self::Connection(_) => "topology".to_owned(),
            Self::Identity => "identity".to_owned(),
            Self::Content(domain, package) | Self::Holdings(domain, package) => {
                format!("package {domain} {} {package}", package.format)
            }
        }
    }

    fn write(&self) -> String {
        let package = |domain: &Id, package: &PackageName| PackageWord {
            domain: domain.to_string(),
            format: package.format.as_str().to_owned(),
            namespace: package.namespace_or_empty().to_owned(),
            name: package.name.to_string(),
        };
        let word = match self {
            Self::Topology => Word::Topology,
            Self::Connection(name) => Word::Connection { name: name.to_string() },
            Self::Identity => Word::Identity,
            Self::Domain => Word::Domain,
            Self::Content(domain, name) => Word::Content(package(domain, name)),
            Self::Holdings(domain, name) => Word::Holdings(package(domain, name)),
        };
        serde_json::to_string(&word).expect("texts are always JSON")
    }

    /// Reads what another node wrote; `None` when this one does not know the word, or not the format.
    pub(crate) fn read(text: &str, registry: &Registry) -> Option<Self> {
        let package = |word: PackageWord| {
            let format = registry.format(&word.format)?.name();
            let namespace = Some(&*word.namespace).filter(|namespace| !namespace.is_empty());
            Some((Id::from(word.domain), PackageName::new(format, namespace, &word.name).ok()?))
        };
        Some(match serde_json::from_str(text).ok()? {
            Word::Topology => Self::Topology,
            Word::Connection { name } => Self::Connection(ConnectionName::parse("connection", &name).ok()?),
            Word::Identity => Self::Identity,
            Word::Domain => Self::Domain,
            Word::Content(word) => package(word).map(|(domain, name)| Self::Content(domain, name))?,
            Word::Holdings(word) => package(word).map(|(domain, name)| Self::Holdings(domain, name))?,
        })
    }
}

impl Registry {
    /// Runs `work` in a transaction and then outdates the caches. Both happen in a task of its own, since the
    /// store goes on when a client leaves in between, and the caches must not stay behind it. Over a database
    /// that nodes share, changes of the same thing run one after another, as they do with one writer.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        outdated: Outdated,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.change_for(Durability::Synced, outdated, work).await
    }

    /// As `change`; with [`Durability::Later`] a power cut may undo it, which is for what can be fetched again.
    pub(crate) async fn change_for<T: Send + 'static>(
        &self,
        durability: Durability,
        outdated: Outdated,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let registry = self.clone();
        let task = tokio::spawn(async move {
            let done = registry.write_and_tell(durability, &outdated, work).await;
            registry.outdate(&outdated);
            done
        });
        match task.await {
            Ok(done) => done,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(ended) => Err(Error::internal(ended)),
        }
    }

    async fn write_and_tell<T: Send + 'static>(
        &self,
        durability: Durability,
        outdated: &Outdated,
        work: impl for<'s> FnOnce(&'s mut Session) -> BoxFuture<'s, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let store = &self.inner.store;
        if store.engine() == Engine::Sqlite {
            return store.write_for(durability, work).await;
        }
        let (turn, word, node) = (outdated.turn(), outdated.write(), self.inner.instance.clone());
        let done = store
            .write(move |session| {
                Box::pin(async move {
                    session.take_turn(&turn).await?;
                    let done = work(session).await?;
                    session.note_change(&node, &word).await?;
                    Ok(done)
                })
            })
            .await;
        store.ring();
        done
    }

    pub(crate) fn outdate(&self, outdated: &Outdated) {
        let generations = &self.inner.generations;
        match outdated {
            Outdated::Topology => generations.topology_changed(),
            Outdated::Connection(name) => {
                generations.topology_changed();
                self.inner.upstream.forget(name);
            }
            Outdated::Identity => generations.identity_changed(),
            Outdated::Domain => {
                generations.topology_changed();
                generations.identity_changed();
            }
            Outdated::Content(domain, package) => generations.content_changed(domain, package),
            Outdated::Holdings(domain, package) => generations.holdings_changed(domain, package),
        }
    }

    /// Outdates everything: after a time in which changes of other nodes may have been missed.
    pub(crate) fn outdate_all(&self) {
        self.inner.generations.all_changed();
        self.inner.upstream.forget_connections();
    }
}
