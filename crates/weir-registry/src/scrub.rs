//! Verification: every blob is read again and compared with its name. What is not what it should be is erased, so that
//! nobody gets it, and fetched again where it came from a public registry; what cannot be had again is told by name.

use crate::Registry;
use crate::audit::known;
use crate::job::{Progress, to_its_end, told};
use crate::lease::Lease;
use crate::scope::DomainRef;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io;
use std::ops::Range;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use weir_core::{Caller, Digest, Error, Result, Timestamp};
use weir_store::rows::{AuditRow, BlobRow, DomainRow, Id};
use weir_store::{BlobError, BlobKey, BlobKind};

/// How many blobs are read before it is noted.
const PAGE: usize = 100;
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
        let run = Run { verified: None, only, repair: request.repair, gentle: false };
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
            let now = self.now();
            let verified = now.checked_sub(interval).unwrap_or(Timestamp::UNIX_EPOCH)..now;
            let run = Run { verified: Some(verified), only: None, repair: true, gentle: true };
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

    /// Reads a blob and compares it with its name. What the disk says that it lost counts as rotten. Errors: Unavailable
    /// when it cannot be read now, or the server stops.
    pub(crate) async fn examine(&self, domain: &Id, row: &BlobRow) -> Result<Finding> {
        match self.inner.jobs.unless_stopped(self.compare(domain, row)).await? {
            Err(error) if is_bad_disk(&error) => Ok(Finding::Rotten),
            Err(error) => Err(Error::unavailable(format!("a blob cannot be read now: {error}"))),
            Ok(finding) => Ok(finding),
        }
    }

    /// As `examine`, of a blob that can be read only.
    pub(crate) async fn compare(&self, domain: &Id, row: &BlobRow) -> Result<Finding, BlobError> {
        let key = BlobKey::Asset { domain: domain.clone(), digest: row.digest };
        let blob = match self.inner.store.blobs().open(&key).await {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(Finding::Missing),
            Err(BlobError::Corrupt { .. }) => return Ok(Finding::Rotten),
            Err(error) => return Err(error),
        };
        let is_sound = blob.digest().await? == row.digest;
        Ok(if is_sound { Finding::Sound } else { Finding::Rotten })
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
    // The error may be wrapped by who named the path.
    fn is_lost(error: &io::Error) -> bool {
        let source = error.get_ref().and_then(|inner| inner.source());
        error.raw_os_error() == Some(EIO)
            || source.and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(is_lost)
    }
    matches!(error, BlobError::Io(error) if is_lost(error))
}

/// What one run does.
pub(crate) struct Run {
    /// Blobs that were verified in this time are passed over.
    verified: Option<Range<Timestamp>>,
    /// Only this domain.
    only: Option<Id>,
    pub(crate) repair: bool,
    /// Rests in between.
    gentle: bool,
}

pub(crate) struct Scrubber<'a> {
    pub(crate) registry: &'a Registry,
    lease: Lease,
    pub(crate) run: Run,
}

impl Scrubber<'_> {
    async fn run(&self) -> Result<()> {
        let mut domains = self.registry.inner.store.read().await?.list_domains(None).await?;
        domains.retain(|row: &DomainRow| self.run.only.as_ref().is_none_or(|only| *only == row.id));
        for row in &domains {
            self.phase(format!("reading the files of {}", row.name));
            self.read_all(&row.id).await?;
            self.phase(format!("listing the files of {}", row.name));
            self.count_unlisted(&row.id).await?;
        }
        self.phase("restoring files".to_owned());
        self.restore_all(&domains).await
    }

    fn phase(&self, phase: String) {
        self.registry.inner.jobs.verification.phase(phase);
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Verification)) {
        self.registry.inner.jobs.verification.note(change);
    }

    pub(crate) async fn check(&self) -> Result<()> {
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
            self.check().await?;
            let mut session = self.registry.inner.store.read().await?;
            let (page, last) =
                session.unverified_blobs(domain, self.run.verified.clone(), after.as_ref(), PAGE).await?;
            drop(session);
            if last.is_none() {
                return Ok(());
            }
            after = last;
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
                    let rest = sleep((began.elapsed() * RESTS).min(LONGEST_REST));
                    self.registry.inner.jobs.unless_stopped(rest).await?;
                }
            }
            let (domain, now) = (domain.clone(), self.registry.now());
            let work = self.registry.inner.store.write(move |session| {
                Box::pin(async move { Ok::<_, Error>(session.mark_verified(&domain, &sound, now).await?) })
            });
            work.await?;
        }
    }

    async fn condemn(&self, domain: &Id, row: &BlobRow) -> Result<()> {
        match self.registry.condemn(domain, row).await? {
            Some(Finding::Missing) => self.note(|report| report.missing += 1),
            Some(Finding::Rotten) => self.note(|report| report.rotten += 1),
            Some(Finding::Sound) | None => {}
        }
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
}
