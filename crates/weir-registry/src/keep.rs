//! What stands between kept bytes and the rows that name them: a blob whose bytes were being erased while the same
//! bytes came again. How the three states of a blob make that safe is told in `weir-store/src/session/garbage.rs`.

use crate::Registry;
use crate::aging::{JITTER, is_past, later};
use crate::lease::Lease;
use crate::scrub::Finding;
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use weir_core::{Digest, Error, Result, Timestamp};
use weir_store::rows::{AssetRow, AssetState, BlobRow, BlobState, Id};
use weir_store::{BlobKey, Session};

/// Held by the one who erases, for as long as a few hundred take.
const ERASING: &str = "erasing";
/// How long after it doomed a blob one may begin to erase it.
const BEGUN_WITHIN: Duration = Duration::from_secs(20);
/// How long the blob store may take to erase one.
const ERASED_WITHIN: Duration = Duration::from_secs(30);
/// After this, what is doomed still was given up by who doomed it, and nothing it asked for is under way any more.
const GIVEN_UP: Duration = Duration::from_secs(90);
/// How long an upload waits for the end of an erasure.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How many are doomed in one transaction, and erased under one lease.
pub(crate) const BATCH: usize = 200;
/// How many are erased at one time.
const AT_ONCE: usize = 8;

/// What becomes of doomed blobs that are named, whose bytes may be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// They are read, which may take long.
    Examined,
    /// They stay for who has the time.
    Left,
}

impl Registry {
    /// Waits until blobs whose bytes were just kept may be named, and keeps those again that were gone. Errors:
    /// Unavailable when the bytes were erased after they came; then they must come again.
    pub(crate) async fn ready_to_name(&self, domain: &Id, digests: &[Digest]) -> Result<()> {
        let began = Instant::now();
        loop {
            let unkept = self.inner.store.read().await?.unkept_blobs(domain, digests).await?;
            if unkept.is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(erased_meanwhile());
            }
            for row in unkept {
                match (row.state, row.unnamed_since) {
                    (BlobState::Gone, Some(since)) => self.revive(domain, &row.digest, since).await?,
                    (BlobState::Doomed, since) => {
                        let until = self.given_up();
                        let is_given_up =
                            since.is_some_and(|since| since <= until || !is_past(since, self.now()));
                        if is_given_up && self.is_named(domain, &row.digest).await? {
                            return Err(to_be_examined());
                        }
                        self.erase_doomed_until(until, Named::Left).await?;
                        sleep(LOOK_AGAIN).await;
                    }
                    (BlobState::Kept | BlobState::Gone, _) => {}
                }
            }
        }
    }

    /// Keeps a blob again that was gone at `since`, if bytes came after that.
    async fn revive(&self, domain: &Id, digest: &Digest, since: Timestamp) -> Result<()> {
        let key = BlobKey::Asset { domain: domain.clone(), digest: *digest };
        if !self.inner.store.blobs().exists(&key).await? {
            return Err(erased_meanwhile());
        }
        let (domain, digest, now) = (domain.clone(), *digest, self.now());
        let work = self.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.revive_blob(&domain, &digest, since, now).await?) })
        });
        // If it changed meanwhile, it is looked at again.
        work.await.map(drop)
    }

    /// The right to erase; waits for who has it.
    pub(crate) async fn erasing(&self) -> Result<Lease> {
        let began = Instant::now();
        loop {
            if let Some(lease) = self.lease(ERASING).await? {
                return Ok(lease);
            }
            if began.elapsed() > GIVEN_UP {
                return Err(Error::unavailable("another node has been erasing blobs for too long"));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Erases what somebody doomed and left, as a node does that ends in the middle. Returns how many.
    pub(crate) async fn erase_given_up(&self) -> Result<usize> {
        self.erase_doomed_until(self.given_up(), Named::Examined).await
    }

    /// As `erase_given_up`, at the start of the only process that there can be.
    pub(crate) async fn erase_left_behind(&self) -> Result<usize> {
        self.erase_doomed_until(Timestamp::MAX, Named::Examined).await
    }

    /// Up to when what is doomed still was given up.
    fn given_up(&self) -> Timestamp {
        let now = self.now();
        now.checked_sub(GIVEN_UP).unwrap_or(now)
    }

    async fn erase_doomed_until(&self, until: Timestamp, named: Named) -> Result<usize> {
        let mut count = 0;
        loop {
            let latest = later(self.now(), JITTER);
            let found = self.inner.store.read().await?.doomed_blobs(until, latest, BATCH).await?;
            if found.is_empty() {
                return Ok(count);
            }
            // Before the lease, as it may take long. Whoever takes over meanwhile changes the time that is seen here.
            let mut by_domain: BTreeMap<Id, Vec<BlobRow>> = BTreeMap::new();
            for (domain, row) in found {
                if self.is_to_be_erased(&domain, &row, named).await {
                    by_domain.entry(domain).or_default().push(row);
                }
            }
            if by_domain.is_empty() {
                return Ok(count);
            }
            // Whoever has it will see to these too, or they are seen to later.
            let Some(lease) = self.lease(ERASING).await? else { return Ok(count) };
            let mut erased = 0;
            for (domain, mut rows) in by_domain {
                // In the order in which rows are locked.
                rows.sort_by_key(|row| row.digest);
                let (began, stamp, of) = (Instant::now(), self.now(), domain.clone());
                let taking = self.inner.store.write(move |session| {
                    Box::pin(async move {
                        let mut taken = Vec::with_capacity(rows.len());
                        for row in rows {
                            let Some(seen) = row.unnamed_since else { continue };
                            if session.doom_again(&of, &row.digest, seen, stamp).await? {
                                taken.push(row);
                            }
                        }
                        Ok::<_, Error>(taken)
                    })
                });
                erased += self.erase(&lease, &domain, taking.await?, stamp, began).await?.len();
            }
            lease.release().await;
            count += erased;
            if erased == 0 {
                return Ok(count);
            }
        }
    }

    /// Whether the end of a doomed blob is to go on. One that is named was doomed by a verification, and is kept if its
    /// bytes are sound; one that cannot be read now stays for later.
    async fn is_to_be_erased(&self, domain: &Id, row: &BlobRow, named: Named) -> bool {
        let look = async {
            if !self.is_named(domain, &row.digest).await? {
                return Ok(true);
            }
            if named == Named::Left {
                return Ok(false);
            }
            if self.examine(domain, row).await? != Finding::Sound {
                return Ok(true);
            }
            if let Some(seen) = row.unnamed_since {
                self.spare(domain, row.digest, seen).await?;
            }
            Ok::<_, Error>(false)
        };
        look.await.unwrap_or_else(|error| {
            tracing::warn!(digest = %row.digest, %error, "a doomed blob was not looked at; it is tried again later");
            false
        })
    }

    async fn is_named(&self, domain: &Id, digest: &Digest) -> Result<bool> {
        Ok(!self.inner.store.read().await?.files_named(domain, digest, 1).await?.is_empty())
    }

    /// Takes back what was doomed at `doomed`.
    async fn spare(&self, domain: &Id, digest: Digest, doomed: Timestamp) -> Result<()> {
        let domain = domain.clone();
        let work = self.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.spare_blob(&domain, &digest, doomed).await?) })
        });
        work.await
    }

    /// Erases a kept blob that is not what it is named, although it is named; `None` when it is what it should be by
    /// now, or cannot be read.
    pub(crate) async fn condemn(&self, domain: &Id, row: &BlobRow) -> Result<Option<Finding>> {
        let erasing = self.erasing().await?;
        let condemned = self.condemn_under(&erasing, domain, row).await;
        erasing.release().await;
        condemned
    }

    async fn condemn_under(&self, erasing: &Lease, domain: &Id, row: &BlobRow) -> Result<Option<Finding>> {
        let (of, digest, condemned) = (domain.clone(), row.digest, self.now());
        let work = self.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.condemn_blob(&of, &digest, condemned).await?) })
        });
        if !work.await? {
            return Ok(None);
        }
        // From now on nobody names it; whoever kept it before left the bytes that are there now.
        let finding = match self.examine(domain, row).await {
            Ok(Finding::Sound) | Err(_) => {
                self.spare(domain, digest, condemned).await?;
                return Ok(None);
            }
            Ok(finding) => finding,
        };
        let (began, stamp, of) = (Instant::now(), self.now(), domain.clone());
        let work = self.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.doom_again(&of, &digest, condemned, stamp).await?) })
        });
        if !work.await? {
            return Ok(None);
        }
        tracing::error!(%digest, ?finding, "a blob is not what it is named and is erased");
        self.erase(erasing, domain, vec![*row], stamp, began).await?;
        self.metrics().blobs_damaged.inc();
        Ok(Some(finding))
    }

    /// Erases the bytes of blobs that this process doomed at `stamp`, after `began`, and gives those whose bytes are
    /// gone. What could not be erased stays doomed.
    pub(crate) async fn erase(
        &self,
        lease: &Lease,
        domain: &Id,
        doomed: Vec<BlobRow>,
        stamp: Timestamp,
        began: Instant,
    ) -> Result<Vec<BlobRow>> {
        let blobs = self.inner.store.blobs();
        let erasures = doomed.into_iter().map(|row| async move {
            // What comes late could erase bytes that others kept again.
            if !lease.is_held() || began.elapsed() > BEGUN_WITHIN {
                return None;
            }
            let key = BlobKey::Asset { domain: domain.clone(), digest: row.digest };
            match timeout(ERASED_WITHIN, blobs.delete(&key)).await {
                Ok(Ok(())) => Some(row),
                Ok(Err(error)) => {
                    tracing::warn!(digest = %row.digest, %error, "a blob was not erased; it is tried again later");
                    None
                }
                Err(_) => {
                    tracing::warn!(digest = %row.digest, "a blob was not erased in time; it is tried again later");
                    None
                }
            }
        });
        let erased: Vec<BlobRow> =
            stream::iter(erasures).buffer_unordered(AT_ONCE).filter_map(async |row| row).collect().await;
        let (domain, now) = (domain.clone(), self.now());
        let digests: Vec<Digest> = erased.iter().map(|row| row.digest).collect();
        let buried = self.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.bury_blobs(&domain, &digests, stamp, now).await?) })
        });
        buried.await?;
        Ok(erased)
    }
}

/// Notes the blobs of held assets in the transaction that names them. Errors: Unavailable when one is being erased.
pub(crate) async fn name_blobs(
    session: &mut Session,
    domain: &Id,
    assets: &[AssetRow],
    synced: bool,
    at: Timestamp,
) -> Result<()> {
    let mut blobs = held_blobs(assets);
    blobs.sort();
    for (digest, size) in blobs {
        if session.put_blob(domain, &digest, size, synced, at).await? != BlobState::Kept {
            return Err(erased_meanwhile());
        }
    }
    Ok(())
}

/// Digest and size of the held ones.
pub(crate) fn held_blobs(assets: &[AssetRow]) -> Vec<(Digest, u64)> {
    let blob = |asset: &AssetRow| match &asset.state {
        AssetState::Held { size, digests } => Some((digests.sha256, *size)),
        AssetState::Promised { .. } | AssetState::Evicted { .. } => None,
    };
    assets.iter().filter_map(blob).collect()
}

fn to_be_examined() -> Error {
    Error::unavailable(
        "a file with the same bytes was found damaged, and this server is about to read it again; send it once more in \
         a minute",
    )
}

fn erased_meanwhile() -> Error {
    Error::unavailable(
        "a file with the same bytes was deleted before, and they were erased while they came again; send it once more",
    )
}
