//! Verification: every blob is read again and compared with its name. What is not what it should be is erased, so that
//! nobody gets it, and fetched again where it came from a public registry; what cannot be had again is told by name.

use crate::Registry;
use crate::audit::known;
use crate::job::{Progress, to_its_end, told};
use crate::lease::Lease;
use crate::open::Want;
use crate::scope::{DomainRef, Scope};
use crate::topology::DomainState;
use crate::view::Freshness;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use weir_core::verdict::Source;
use weir_core::{AssetName, Caller, Digest, Error, Hasher, Result, Timestamp};
use weir_store::rows::{AuditRow, BlobRow, BlobState, Id, NamedFile};
use weir_store::{BlobError, BlobKey, BlobKind};

/// How many blobs are read before it is noted.
const PAGE: usize = 100;
/// How many lost files a report names.
const MOST_LOST: usize = 1_000;
/// How many files that are one blob are named.
const MOST_NAMES: usize = 100;
/// How many blobs in a row may be unreadable for another reason than their bytes before it is given up.
const MOST_UNREADABLE: u64 = 20;
/// A scheduled verification rests this many times as long as it reads, so that others have the disk.
const RESTS: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What is wanted of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerificationRequest {
    /// Only this domain.
    pub domain: Option<DomainRef>,
    /// Fetch again what came from a public registry.
    pub repair: bool,
}

/// What a verification found and did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verification {
    /// Whether what came from a public registry is fetched again.
    pub repair: bool,
    /// Blobs read.
    pub read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Blobs whose bytes were not what they are named; they are erased.
    pub rotten: u64,
    /// Blobs whose bytes were not there.
    pub missing: u64,
    /// Blobs that could not be read now, for another reason.
    pub unreadable: u64,
    /// Files of which there is no row; `weir gc` erases them.
    pub without_row: u64,
    /// Blobs whose row was missing and made again.
    pub rows_made: u64,
    /// Blobs that were fetched again.
    pub repaired: u64,
    /// Files of versions whose bytes are lost, the first thousand.
    pub lost: Vec<LostFile>,
    /// How many there are.
    pub lost_count: u64,
}

/// A file of a version whose bytes are lost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LostFile {
    /// The domain.
    pub domain: String,
    /// The repository.
    pub repository: String,
    /// The format.
    pub format: String,
    /// The namespace, if any.
    pub namespace: Option<String>,
    /// The package.
    pub package: String,
    /// The version.
    pub version: String,
    /// The name of the file.
    pub file: String,
    /// SHA-256 of what it should be.
    pub sha256: String,
    /// Why it could not be had again.
    pub why: String,
}

impl Registry {
    /// Starts a verification that goes on by itself. Errors: Unavailable while one is running, here or on another
    /// node.
    pub async fn start_verification(
        &self,
        caller: &Caller,
        request: VerificationRequest,
    ) -> Result<Progress<Verification>> {
        self.authorize_store(caller)?;
        let principal = known(caller)?.arn.to_string();
        let only = match &request.domain {
            Some(domain) => Some(self.find_domain(caller, domain).await?.row.id.clone()),
            None => None,
        };
        let running = || {
            Error::unavailable(
                "a verification is running already; 'weir verify --status' shows how far it is",
            )
        };
        let lease = self.inner.jobs.verification.lease(self).await?.ok_or_else(running)?;
        let run = Run { since: self.now(), only, repair: request.repair, gentle: false };
        self.begin_verification(principal, run, lease).ok_or_else(running)
    }

    /// How far the verification is, or how the last one ended; `None` where there was none yet.
    pub async fn verification(&self, caller: &Caller) -> Result<Option<Progress<Verification>>> {
        self.authorize_store(caller)?;
        self.inner.jobs.verification.progress(self).await
    }

    /// Verifies when it is time to. What was read in the last interval is passed over, so that a run that was cut off
    /// is not begun anew.
    pub(crate) async fn verify_if_due(&self) -> Result<()> {
        let (slot, interval) = (&self.inner.jobs.verification, self.inner.settings.verify_interval);
        if interval.is_zero() || !slot.is_due(self, interval).await? {
            return Ok(());
        }
        let Some(lease) = slot.lease(self).await? else { return Ok(()) };
        if slot.is_due(self, interval).await? {
            let since = self.now().checked_sub(interval).unwrap_or(Timestamp::UNIX_EPOCH);
            let run = Run { since, only: None, repair: true, gentle: true };
            self.begin_verification("weir".to_owned(), run, lease);
        }
        Ok(())
    }

    fn begin_verification(
        &self,
        principal: String,
        run: Run,
        lease: Lease,
    ) -> Option<Progress<Verification>> {
        let report = Verification { repair: run.repair, ..Verification::default() };
        let begun = self.inner.jobs.verification.begin(report, self.now())?;
        let registry = self.clone();
        self.inner.jobs.spawn(async move {
            let scrubber = Scrubber { registry: &registry, lease, run };
            let done = to_its_end(scrubber.run()).await;
            if let Err(error) = &done {
                tracing::error!(error = told(error), "the verification ended early");
            }
            let whole = scrubber.run.only.is_none();
            let slot = &registry.inner.jobs.verification;
            let last = slot.last_report(&done, registry.now());
            if let Some(last) = &last
                && let Err(error) = registry.end_verification(&principal, last, whole).await
            {
                tracing::warn!(%error, "the report of a verification was not kept");
            }
            scrubber.lease.release().await;
            slot.end(last);
        });
        Some(begun)
    }

    async fn end_verification(
        &self,
        principal: &str,
        ended: &Progress<Verification>,
        whole: bool,
    ) -> Result<()> {
        let slot = &self.inner.jobs.verification;
        slot.store(self, ended).await?;
        if whole {
            slot.note_end(self, self.inner.settings.verify_interval, ended.failure.is_some()).await?;
        }
        let report = &ended.report;
        let damaged = report.rotten + report.missing + report.rows_made + report.repaired;
        if damaged + report.lost_count == 0 {
            return Ok(());
        }
        tracing::warn!(
            rotten = report.rotten,
            missing = report.missing,
            repaired = report.repaired,
            lost = report.lost_count,
            "the verification found damage; 'weir verify --status' tells what"
        );
        let audit = AuditRow {
            at: self.now(),
            principal: principal.to_owned(),
            action: "weir:VerifyBlobs".to_owned(),
            resource: "*".to_owned(),
            detail: json!({
                "rotten": report.rotten,
                "missing": report.missing,
                "repaired": report.repaired,
                "lost": report.lost_count,
            })
            .to_string(),
        };
        let work = self.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.insert_audit(&audit).await?) })
        });
        work.await
    }

    /// Reads a blob and compares it with its name.
    pub(crate) async fn examine(&self, domain: &Id, row: &BlobRow) -> Result<Finding> {
        let key = BlobKey::Asset { domain: domain.clone(), digest: row.digest };
        let blob = match self.inner.store.blobs().open(&key).await {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(Finding::Missing),
            Err(BlobError::Corrupt { .. }) => return Ok(Finding::Rotten),
            Err(error) if is_bad_disk(&error) => return Ok(Finding::Rotten),
            Err(error) => return Err(error.into()),
        };
        let mut hasher = Hasher::new();
        let mut pieces = blob.read(0..blob.size());
        loop {
            self.inner.jobs.check()?;
            match pieces.try_next().await {
                Ok(Some(piece)) => hasher.update(&piece),
                Ok(None) => break,
                Err(error) => {
                    let error = BlobError::Io(error);
                    if is_bad_disk(&error) {
                        return Ok(Finding::Rotten);
                    }
                    return Err(Error::unavailable(format!("a blob cannot be read now: {error}")));
                }
            }
        }
        Ok(if hasher.finish().sha256 == row.digest { Finding::Sound } else { Finding::Rotten })
    }
}

/// What the bytes of a blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    Sound,
    Rotten,
    Missing,
}

/// Whether a disk says that it lost what was there (EIO), which it says again next time.
fn is_bad_disk(error: &BlobError) -> bool {
    const EIO: i32 = 5;
    matches!(error, BlobError::Io(error) if error.raw_os_error() == Some(EIO))
}

/// What one run does.
struct Run {
    /// Blobs that were read after this are passed over.
    since: Timestamp,
    /// Only this domain.
    only: Option<Id>,
    repair: bool,
    /// Rests in between.
    gentle: bool,
}

struct Scrubber<'a> {
    registry: &'a Registry,
    lease: Lease,
    run: Run,
}

impl Scrubber<'_> {
    async fn run(&self) -> Result<()> {
        let domains = self.registry.inner.store.read().await?.list_domains(None).await?;
        for row in domains {
            if self.run.only.as_ref().is_some_and(|only| *only != row.id) {
                continue;
            }
            self.phase(format!("reading the files of {}", row.name));
            self.read_all(&row.id).await?;
            self.phase(format!("listing the files of {}", row.name));
            self.count_unlisted(&row.id).await?;
            self.phase(format!("restoring files of {}", row.name));
            let Some(domain) = self.registry.domain_state(&row.owner, &row.name).await? else { continue };
            self.restore_all(&domain).await?;
        }
        Ok(())
    }

    fn phase(&self, phase: String) {
        self.registry.inner.jobs.verification.phase(phase);
    }

    fn note(&self, change: impl FnOnce(&mut Verification)) {
        self.registry.inner.jobs.verification.note(change);
    }

    async fn check(&self) -> Result<()> {
        self.registry.inner.jobs.check()?;
        if !self.lease.is_held() {
            return Err(Error::unavailable("the database was not reached in time; another node goes on"));
        }
        self.registry.inner.jobs.verification.store_now_and_then(self.registry).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn read_all(&self, domain: &Id) -> Result<()> {
        let (mut after, mut unreadable) = (None, 0);
        loop {
            let page = self
                .registry
                .inner
                .store
                .read()
                .await?
                .unverified_blobs(domain, self.run.since, after.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.digest);
            let mut sound = Vec::with_capacity(page.len());
            for row in &page {
                self.check().await?;
                let began = Instant::now();
                match self.registry.examine(domain, row).await {
                    Ok(Finding::Sound) => {
                        sound.push(row.digest);
                        unreadable = 0;
                    }
                    Ok(Finding::Rotten | Finding::Missing) => self.condemn(domain, row).await?,
                    Err(error) => {
                        tracing::warn!(digest = %row.digest, %error, "a blob cannot be verified now");
                        self.note(|report| report.unreadable += 1);
                        unreadable += 1;
                        if unreadable >= MOST_UNREADABLE {
                            return Err(error);
                        }
                    }
                }
                self.note(|report| {
                    report.read += 1;
                    report.bytes_read += row.size;
                });
                if self.run.gentle {
                    sleep((began.elapsed() * RESTS).min(LONGEST_REST)).await;
                }
            }
            let (domain, now) = (domain.clone(), self.registry.now());
            let work = self.registry.inner.store.write(move |session| {
                Box::pin(async move { Ok::<_, Error>(session.mark_verified(&domain, &sound, now).await?) })
            });
            work.await?;
        }
    }

    /// Erases a blob that is not what it is named, unless the same bytes came again meanwhile.
    async fn condemn(&self, domain: &Id, row: &BlobRow) -> Result<()> {
        let (registry, digest) = (self.registry, row.digest);
        let erasing = registry.erasing().await?;
        let (of, condemned) = (domain.clone(), registry.now());
        let work = registry.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.condemn_blob(&of, &digest, condemned).await?) })
        });
        if !work.await? {
            erasing.release().await;
            return Ok(());
        }
        // From now on nobody names it; whoever kept it before left the bytes that are there now.
        let finding = registry.examine(domain, row).await;
        let of = domain.clone();
        match finding {
            Ok(Finding::Sound) | Err(_) => {
                let work = registry.inner.store.write(move |session| {
                    Box::pin(
                        async move { Ok::<_, Error>(session.spare_blob(&of, &digest, condemned).await?) },
                    )
                });
                work.await?;
            }
            Ok(finding) => {
                let (began, stamp) = (Instant::now(), registry.now());
                let work = registry.inner.store.write(move |session| {
                    Box::pin(async move {
                        Ok::<_, Error>(session.doom_again(&of, &digest, condemned, stamp).await?)
                    })
                });
                if work.await? {
                    tracing::error!(%digest, ?finding, "a blob is not what it is named and is erased");
                    registry.erase(&erasing, domain, vec![*row], stamp, began).await?;
                    registry.metrics().blobs_damaged.inc();
                    self.note(|report| match finding {
                        Finding::Missing => report.missing += 1,
                        Finding::Rotten | Finding::Sound => report.rotten += 1,
                    });
                }
            }
        }
        erasing.release().await;
        Ok(())
    }

    /// Counts files of which there is no row.
    async fn count_unlisted(&self, domain: &Id) -> Result<()> {
        let mut listing = self.registry.inner.store.blobs().list(domain, BlobKind::Asset);
        while let Some(page) = listing.try_next().await? {
            self.check().await?;
            let digests: Vec<Digest> = page.iter().map(|found| found.digest).collect();
            let known = self.registry.inner.store.read().await?.known_blobs(domain, &digests).await?;
            self.note(|report| report.without_row += (page.len() - known.len()) as u64);
        }
        Ok(())
    }

    /// Looks for blobs that versions name and that are not kept, and brings back what can be.
    async fn restore_all(&self, domain: &Arc<DomainState>) -> Result<()> {
        let id = &domain.row.id;
        for first in 0..=u8::MAX {
            self.check().await?;
            let unkept = self.registry.inner.store.read().await?.unkept_assets(id, first).await?;
            for (digest, size) in unkept {
                self.check().await?;
                if !self.make_row(id, digest, size).await? {
                    self.restore(domain, digest).await?;
                }
            }
        }
        Ok(())
    }

    /// Makes the row of a blob whose bytes are there; false when they are not.
    async fn make_row(&self, domain: &Id, digest: Digest, size: u64) -> Result<bool> {
        let store = &self.registry.inner.store;
        let row = store.read().await?.blob(domain, &digest).await?;
        match row.map(|row| row.state) {
            // Kept since it was looked for.
            Some(BlobState::Kept) => return Ok(true),
            Some(BlobState::Doomed) => return Ok(false),
            Some(BlobState::Gone) | None => {}
        }
        let expected = BlobRow { digest, size, synced: true, state: BlobState::Kept, unnamed_since: None };
        match self.registry.examine(domain, &expected).await? {
            Finding::Sound => {}
            Finding::Missing | Finding::Rotten => return Ok(false),
        }
        if row.is_some() {
            self.registry.ready_to_name(domain, &[digest]).await?;
        } else {
            let (of, now) = (domain.clone(), self.registry.now());
            let work = store.write(move |session| {
                Box::pin(
                    async move { Ok::<_, Error>(session.doom_unlisted(&of, &[(digest, size)], now).await?) },
                )
            });
            // It is named, so it is kept.
            work.await?;
        }
        self.note(|report| report.rows_made += 1);
        Ok(true)
    }

    /// Fetches a blob again, or tells what is lost with it.
    async fn restore(&self, domain: &Arc<DomainState>, digest: Digest) -> Result<()> {
        let store = &self.registry.inner.store;
        let files = store.read().await?.files_named(&domain.row.id, &digest, MOST_NAMES).await?;
        let mut why = "it was published here, and nobody else has it".to_owned();
        for file in files.iter().filter(|file| file.external) {
            if !self.run.repair {
                why = "'weir verify --repair' fetches it again, and so does the next request".to_owned();
                break;
            }
            match self.registry.fetch_lost(domain, file).await {
                Ok(()) => {
                    let row = store.read().await?.blob(&domain.row.id, &digest).await?;
                    if row.is_some_and(|row| row.state == BlobState::Kept) {
                        self.registry.metrics().blobs_repaired.inc();
                        self.note(|report| report.repaired += 1);
                        return Ok(());
                    }
                    why = "its registry gives other bytes by now".to_owned();
                }
                Err(error) => why = error.to_string(),
            }
        }
        for file in files {
            tracing::error!(domain = %domain.row.name, repository = %file.repository, package = file.package,
                version = file.version, file = file.file, why, "the bytes of a file are lost");
            let lost = LostFile {
                domain: domain.row.name.to_string(),
                repository: file.repository.to_string(),
                format: file.format,
                namespace: Some(file.namespace).filter(|namespace| !namespace.is_empty()),
                package: file.package,
                version: file.version,
                file: file.file,
                sha256: digest.hex(),
                why: why.clone(),
            };
            self.note(|report| {
                report.lost_count += 1;
                if report.lost.len() < MOST_LOST {
                    report.lost.push(lost);
                }
            });
        }
        Ok(())
    }
}

impl Registry {
    /// Fetches a file of a held public version again, on behalf of nobody.
    async fn fetch_lost(&self, domain: &Arc<DomainState>, file: &NamedFile) -> Result<()> {
        let format = self.format(&file.format).ok_or_else(|| Error::internal("no such format"))?;
        let gone = || Error::unavailable("its repository was deleted meanwhile");
        let scope = Scope {
            domain: domain.clone(),
            repository: domain.repository(&file.repository).ok_or_else(gone)?.clone(),
            format: format.name(),
            caller: Caller::Anonymous,
            token: None,
        };
        let namespace = Some(file.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let package = format.parse_name(namespace, &file.package)?;
        let view = self.view_unchecked(&scope, &package, Freshness::Usual).await?;
        let gone = || Error::unavailable("its version was deleted meanwhile");
        let decision = view.verdict.version(&file.key).ok_or_else(gone)?;
        let Source::Held { node, version } = decision.source else { return Err(gone()) };
        let row = view.held_row(node, version).ok_or_else(gone)?;
        // What was made out of a file comes back with that file.
        let names = if file.derived {
            let assets = self.inner.store.read().await?.files_of(std::slice::from_ref(&row.content)).await?;
            let held = assets.into_iter().filter(|asset| asset.is_held());
            held.map(|asset| AssetName::parse(&asset.name)).collect::<Result<Vec<_>>>()?
        } else {
            vec![AssetName::parse(&file.file)?]
        };
        for name in names.iter().filter(|name| !file.derived || format.inspects(name)) {
            let asset = self.held_asset(&row.content, name).await?;
            let state = asset.as_deref().map(|asset| &asset.state);
            let opened = self.fetch_again(&scope, &view, decision, row, name, state, Want::Bytes).await?;
            let mut bytes = opened.stream(None);
            while let Some(piece) = bytes.next().await {
                piece.map_err(|error| Error::unavailable(error.to_string()))?;
            }
        }
        Ok(())
    }
}
