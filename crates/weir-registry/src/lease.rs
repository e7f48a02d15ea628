//! Leases: work that one node does for all of them. A lease is renewed while it is held, and falls to others some
//! time after its holder was last heard of.

use crate::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use weir_core::{Error, Result};

/// How long a lease outlives the last sign of its holder, if nothing else is said.
const LIFE: Duration = Duration::from_secs(30);

/// A lease that was taken. Dropping it lets go of it soon; [`Lease::release`] at once.
pub struct Lease {
    registry: Registry,
    name: String,
    holder: String,
    held: Arc<AtomicBool>,
    renewing: tokio::task::JoinHandle<()>,
}

impl Registry {
    /// Takes a lease; `None` while somebody else, on this node or another, has it.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>> {
        self.lease_for(name, LIFE).await
    }

    /// Takes a lease that falls to others so long after its holder was last heard of.
    pub(crate) async fn lease_for(&self, name: &str, life: Duration) -> Result<Option<Lease>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let holder = format!("{}-{}", self.inner.instance, COUNT.fetch_add(1, Ordering::Relaxed));
        if !self.take_lease(name, &holder, life).await? {
            return Ok(None);
        }
        let held = Arc::new(AtomicBool::new(true));
        let renewing = tokio::spawn({
            let (registry, name, holder, held) =
                (self.clone(), name.to_owned(), holder.clone(), held.clone());
            async move { registry.keep_lease(&name, &holder, life, &held).await }
        });
        Ok(Some(Lease { registry: self.clone(), name: name.to_owned(), holder, held, renewing }))
    }

    async fn take_lease(&self, name: &str, holder: &str, life: Duration) -> Result<bool> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        let work = self.inner.store.write_aside(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.take_lease(&name, &holder, life).await?) })
        });
        work.await
    }

    async fn keep_lease(&self, name: &str, holder: &str, life: Duration, held: &AtomicBool) {
        // One renewal may fail without anybody noticing.
        let renewal = life / 4;
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(renewal).await;
            let asked = Instant::now();
            match tokio::time::timeout(renewal, self.take_lease(name, holder, life)).await {
                Ok(Ok(true)) => renewed = asked,
                // Somebody else has it.
                Ok(Ok(false)) => break,
                Ok(Err(_)) | Err(_) if renewed.elapsed() + renewal * 2 < life => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        held.store(false, Ordering::Release);
        tracing::warn!(lease = name, "a lease was lost: the database was not reached in time");
    }
}

impl Lease {
    /// Whether it is still held; look before each step that two must not do.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Lets go of it.
    pub async fn release(self) {
        let letting_go = self.let_go();
        drop(self);
        letting_go.await;
    }

    fn let_go(&self) -> impl Future<Output = ()> + Send + use<> {
        self.renewing.abort();
        let was_held = self.held.swap(false, Ordering::AcqRel);
        let (store, name, holder) =
            (self.registry.inner.store.clone(), self.name.clone(), self.holder.clone());
        async move {
            if !was_held {
                return;
            }
            let released = store.write_aside(move |session| {
                Box::pin(async move { Ok::<_, Error>(session.release_lease(&name, &holder).await?) })
            });
            if let Err(error) = released.await {
                tracing::debug!(%error, "a lease was not let go of; it ends by itself");
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_held() {
            tokio::spawn(self.let_go());
        }
    }
}
