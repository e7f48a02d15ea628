//! What is done beside requests: fetched files are synced in groups, and after an unclean stop those that
//! were not are read again before anybody gets them.

use crate::Registry;
use crate::scrub::Finding;
use std::collections::HashMap;
use std::time::Duration;
use weir_core::{Digest, Error, Result};
use weir_store::BlobKey;
use weir_store::rows::{BlobRow, BlobState, Id};

impl Registry {
    /// Reads every blob again that was not known to be on the disk when the last process ended, and erases those that
    /// are not what they are named; they are fetched again when asked for. Returns how many were erased. Call it before
    /// serving. Errors: Unavailable when one cannot be read, which says nothing of its bytes.
    pub async fn recover(&self) -> Result<u64> {
        if self.inner.store.blobs().is_safe_when_kept() {
            // Others serve from it now, and an unclean stop of this process damaged nothing.
            return Ok(0);
        }
        // A folder is this process's alone, so nobody else erases in it.
        self.erase_left_behind().await?;
        let unsynced = self.inner.store.read().await?.unsynced_blobs().await?;
        let mut erased = 0;
        for (domain, digest, size) in unsynced {
            let row = BlobRow { digest, size, synced: false, state: BlobState::Kept, unnamed_since: None };
            match self.compare(&domain, &row).await {
                Ok(Finding::Sound) => {}
                Ok(Finding::Missing | Finding::Rotten) => {
                    if self.condemn(&domain, &row).await?.is_some() {
                        tracing::warn!(%digest, "an unclean stop damaged a file; it is fetched again when asked for");
                        erased += 1;
                    }
                }
                Err(error) => {
                    return Err(Error::unavailable(format!(
                        "the file {digest}, fetched shortly before the last stop, cannot be read again ({error}); \
                         start weir once more when it can, or remove the file: it is fetched again when asked for"
                    )));
                }
            }
        }
        self.sync_fetched().await?;
        Ok(erased)
    }

    /// Makes fetched files and the rows committed for later safe from a power cut, all that wait in one go. Returns how
    /// many files.
    pub async fn sync_fetched(&self) -> Result<usize> {
        let unsynced = self.inner.store.read().await?.unsynced_blobs().await?;
        let count = unsynced.len();
        let mut by_domain: HashMap<Id, Vec<Digest>> = HashMap::new();
        for (domain, digest, _) in unsynced {
            by_domain.entry(domain).or_default().push(digest);
        }
        for (domain, digests) in by_domain {
            let key = |digest: &Digest| BlobKey::Asset { domain: domain.clone(), digest: *digest };
            let keys: Vec<BlobKey> = digests.iter().map(key).collect();
            self.inner.store.blobs().sync(&keys).await?;
            self.inner
                .store
                .write(move |session| {
                    Box::pin(async move { Ok::<_, Error>(session.mark_synced(&domain, &digests).await?) })
                })
                .await?;
        }
        self.inner.store.sync_later().await?;
        Ok(count)
    }

    /// Syncs fetched files once a second, drops expired tokens once an hour, and starts what is due on the store,
    /// until `stop` resolves.
    pub async fn run_background(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut ticks = 0_u64;
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = second.tick() => {}
            }
            if let Err(error) = self.sync_fetched().await {
                tracing::warn!(%error, "fetched files could not be synced yet");
            }
            ticks += 1;
            if ticks.is_multiple_of(60)
                && let Err(error) = self.forget_old_word().await
            {
                tracing::warn!(%error, "old word of changes could not be dropped yet");
            }
            if ticks.is_multiple_of(self.looks_after()) {
                self.look_after_store();
            }
            if ticks.is_multiple_of(3600)
                && let Err(error) = self.drop_expired_tokens().await
            {
                tracing::warn!(%error, "expired tokens could not be dropped yet");
            }
        }
        self.inner.jobs.stop().await;
        self.documents_written().await;
        if let Err(error) = self.sync_fetched().await {
            tracing::warn!(%error, "fetched files could not be synced at the end; they are read again at the next start");
        }
    }

    /// After how many seconds it is looked whether something is due.
    fn looks_after(&self) -> u64 {
        let settings = &self.inner.settings;
        let intervals = [settings.gc_interval, settings.verify_interval];
        let shortest = intervals.iter().filter(|interval| !interval.is_zero()).min();
        shortest.map_or(60, |shortest| shortest.as_secs().clamp(1, 60))
    }

    fn look_after_store(&self) {
        let Some(looking) = self.inner.jobs.look() else { return };
        let registry = self.clone();
        self.inner.jobs.spawn(async move {
            registry.start_what_is_due().await;
            drop(looking);
        });
    }

    async fn start_what_is_due(&self) {
        for done in
            [self.erase_given_up().await.map(drop), self.collect_if_due().await, self.verify_if_due().await]
        {
            if let Err(error) = done {
                tracing::warn!(%error, "work on the store could not be started yet");
            }
        }
    }

    async fn drop_expired_tokens(&self) -> Result<u64> {
        let now = self.now();
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move { Ok::<_, Error>(session.delete_expired_tokens(now).await?) })
            })
            .await
    }
}
