//! Garbage collection: the bytes of files that no version has any more, bytes that never got a row, and index
//! documents that nobody asks for, each after a time of grace. Changes of versions only let go of blobs; this is the
//! one place that erases them. Uploads of the same bytes at the same moment are safe: see `keep.rs`.

use crate::Registry;
use crate::audit::{known, no_resource};
use crate::job::{Progress, to_its_end, told};
use crate::keep::BATCH;
use crate::lease::Lease;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use weir_core::{Action, Caller, Digest, Error, Result, Timestamp};
use weir_store::BlobKind;
use weir_store::rows::{AuditRow, BlobRow, BlobState, DomainRow, Id};

/// How many rows are looked at in one query.
const PAGE: usize = 2_000;
/// How many marks are written in one transaction, so that publishes need not wait long for the next.
const MARKS: usize = 200;
/// How many documents are forgotten in one transaction.
const FORGOTTEN: usize = 500;
/// For at least so long a blob that is gone is remembered: longer than from the moment when an upload's bytes are kept
/// to the one when its rows are committed, so that rows never name what was erased in between.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// A number of blobs and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, size: u64) {
        self.blobs += 1;
        self.bytes += size;
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// What a collection found in one domain, and did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DomainGarbage {
    /// The name of the domain; the identifier of one that is deleted.
    pub domain: String,
    /// The account that owns it; `None` of one that is deleted.
    pub owner: Option<String>,
    /// Rows looked at.
    pub looked_at: u64,
    /// Unnamed for longer than the grace, documents included.
    pub erasable: Tally,
    /// Unnamed for less than that, documents included.
    pub waiting: Tally,
    /// Files of which there is no row, whatever their age.
    pub without_row: Tally,
    /// Erased.
    pub erased: Tally,
}

/// What a collection found and did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Collection {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The grace, in seconds.
    pub grace_s: u64,
    /// By domain.
    pub domains: Vec<DomainGarbage>,
}

impl Collection {
    /// The sum over all domains.
    pub fn total(&self) -> DomainGarbage {
        let mut total = DomainGarbage::default();
        for domain in &self.domains {
            total.looked_at += domain.looked_at;
            total.erasable += domain.erasable;
            total.waiting += domain.waiting;
            total.without_row += domain.without_row;
            total.erased += domain.erased;
        }
        total
    }
}

impl Registry {
    /// Starts a collection that goes on by itself. Errors: Unavailable while one is running, here or on another node.
    pub async fn start_collection(
        &self,
        caller: &Caller,
        dry_run: bool,
        grace: Option<Duration>,
    ) -> Result<Progress<Collection>> {
        self.authorize_store(caller)?;
        let principal = known(caller)?.arn.to_string();
        let grace = grace.unwrap_or(self.inner.settings.gc_grace);
        let running =
            || Error::unavailable("a collection is running already; 'weir gc --status' shows how far it is");
        // One that changes nothing may run beside others.
        let lease = match dry_run {
            true => None,
            false => Some(self.inner.jobs.collection.lease(self).await?.ok_or_else(running)?),
        };
        self.begin_collection(principal, dry_run, grace, lease).ok_or_else(running)
    }

    /// How far the collection is, or how the last one ended; `None` where there was none yet.
    pub async fn collection(&self, caller: &Caller) -> Result<Option<Progress<Collection>>> {
        self.authorize_store(caller)?;
        self.inner.jobs.collection.progress(self).await
    }

    /// Collects when it is time to.
    pub(crate) async fn collect_if_due(&self) -> Result<()> {
        let slot = &self.inner.jobs.collection;
        let (interval, grace) = (self.inner.settings.gc_interval, self.inner.settings.gc_grace);
        if interval.is_zero() || !slot.is_due(self, interval).await? {
            return Ok(());
        }
        let Some(lease) = slot.lease(self).await? else { return Ok(()) };
        // Another node may have done it in the meantime.
        if slot.is_due(self, interval).await? {
            self.begin_collection("weir".to_owned(), false, grace, Some(lease));
        }
        Ok(())
    }

    fn begin_collection(
        &self,
        principal: String,
        dry_run: bool,
        grace: Duration,
        lease: Option<Lease>,
    ) -> Option<Progress<Collection>> {
        let now = self.now();
        let report = Collection { dry_run, grace_s: grace.as_secs(), domains: Vec::new() };
        let begun = self.inner.jobs.collection.begin(report, now)?;
        let registry = self.clone();
        self.inner.jobs.spawn(async move {
            let collector = Collector {
                registry: &registry,
                lease,
                now,
                until: now.checked_sub(grace).unwrap_or(Timestamp::UNIX_EPOCH),
                documents_until: now
                    .checked_sub(registry.inner.settings.gc_document_age)
                    .unwrap_or(Timestamp::UNIX_EPOCH),
            };
            let done = to_its_end(collector.run()).await;
            if let Err(error) = &done {
                tracing::error!(error = told(error), "the garbage collection ended early");
            }
            let slot = &registry.inner.jobs.collection;
            let last = slot.last_report(&done, registry.now());
            if let Some(last) = last.as_ref().filter(|_| !dry_run)
                && let Err(error) = registry.end_collection(&principal, last).await
            {
                tracing::warn!(%error, "the report of a garbage collection was not kept");
            }
            if let Some(lease) = collector.lease {
                lease.release().await;
            }
            slot.end(last);
        });
        Some(begun)
    }

    async fn end_collection(&self, principal: &str, ended: &Progress<Collection>) -> Result<()> {
        let slot = &self.inner.jobs.collection;
        slot.store(self, ended).await?;
        slot.note_end(self, self.inner.settings.gc_interval, ended.failure.is_some()).await?;
        let erased = ended.report.total().erased;
        if erased.blobs == 0 {
            return Ok(());
        }
        tracing::info!(blobs = erased.blobs, bytes = erased.bytes, "collected garbage");
        let audit = AuditRow {
            at: self.now(),
            principal: principal.to_owned(),
            action: "weir:CollectGarbage".to_owned(),
            resource: "*".to_owned(),
            detail: json!({ "blobs": erased.blobs, "bytes": erased.bytes }).to_string(),
        };
        let work = self.inner.store.write(move |session| {
            Box::pin(async move { Ok::<_, Error>(session.insert_audit(&audit).await?) })
        });
        work.await
    }

    /// Authorizes work on the whole store.
    pub(crate) fn authorize_store(&self, caller: &Caller) -> Result<()> {
        let owner = known(caller)?.account.clone();
        let refused = || Error::denied("weir:ManageStore is needed");
        self.authorize(caller, Action::ManageStore, &no_resource(), &owner, refused)
    }
}

/// One run. Without a lease nothing is changed.
struct Collector<'a> {
    registry: &'a Registry,
    lease: Option<Lease>,
    /// When it began.
    now: Timestamp,
    /// Up to when something must have been without name.
    until: Timestamp,
    /// Up to when a document must have been unconfirmed.
    documents_until: Timestamp,
}

impl Collector<'_> {
    async fn run(&self) -> Result<()> {
        let changes = self.lease.is_some();
        if changes {
            self.phase("finishing what was left");
            self.registry.erase_given_up().await?;
            self.phase("looking for contents that no version has");
            self.delete_unused_contents().await?;
        }
        // Listed first: whatever is kept for a domain, its row was there before.
        let folders = self.registry.inner.store.blobs().domains().await?;
        let domains = self.registry.inner.store.read().await?.list_domains(None).await?;
        for domain in &domains {
            let (name, id) = (&domain.name, &domain.id);
            self.note(|report| {
                let owner = Some(domain.owner.to_string());
                report.domains.push(DomainGarbage { domain: name.to_string(), owner, ..Default::default() });
            });
            self.phase(format!("looking for blobs of {name} that nothing names"));
            self.mark(id).await?;
            self.phase(format!("listing the files of {name}"));
            self.take_unlisted(id).await?;
            self.phase(format!("listing the index documents of {name}"));
            self.take_documents(id).await?;
        }
        if changes {
            self.phase("erasing blobs that nothing names");
            self.sweep(&domains).await?;
        }
        self.phase("looking for what deleted domains left");
        for id in folders.iter().filter(|id| !domains.iter().any(|domain: &DomainRow| domain.id == **id)) {
            self.take_deleted_domain(id).await?;
        }
        if changes {
            self.phase("forgetting what is long gone");
            let remembered = REMEMBERED.max(Duration::from_secs(self.grace_s()));
            let until = self.now.checked_sub(remembered).unwrap_or(Timestamp::UNIX_EPOCH);
            loop {
                self.check().await?;
                let work = self.registry.inner.store.write(move |session| {
                    Box::pin(async move { Ok::<_, Error>(session.forget_gone_blobs(until, MARKS).await?) })
                });
                if work.await? < MARKS {
                    break;
                }
            }
        }
        Ok(())
    }

    fn grace_s(&self) -> u64 {
        u64::try_from(self.now.duration_since(self.until).as_secs()).unwrap_or_default()
    }

    fn phase(&self, phase: impl Into<String>) {
        self.registry.inner.jobs.collection.phase(phase);
    }

    fn note(&self, change: impl FnOnce(&mut Collection)) {
        self.registry.inner.jobs.collection.note(change);
    }

    /// Changes what is told of the domain that is looked at.
    fn tell(&self, change: impl FnOnce(&mut DomainGarbage)) {
        self.note(|report| {
            if let Some(domain) = report.domains.last_mut() {
                change(domain);
            }
        });
    }

    /// Between steps: whether to go on. Others get their turn.
    async fn check(&self) -> Result<()> {
        self.registry.inner.jobs.check()?;
        if let Some(lease) = &self.lease {
            if !lease.is_held() {
                return Err(Error::unavailable("the database was not reached in time; another node goes on"));
            }
            self.registry.inner.jobs.collection.store_now_and_then(self.registry).await?;
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Deletes contents that lost their versions while they were written; else they would name their blobs for ever.
    async fn delete_unused_contents(&self) -> Result<()> {
        let (mut after, mut deleted) = (Id::from(""), 0);
        loop {
            self.check().await?;
            let page =
                self.registry.inner.store.read().await?.contents_after(&after, self.until, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = last.clone();
            let unused: Vec<Id> = page.into_iter().filter_map(|(id, unused)| unused.then_some(id)).collect();
            for piece in unused.chunks(MARKS) {
                let piece = piece.to_vec();
                let work = self.registry.inner.store.write(move |session| {
                    Box::pin(async move { Ok::<_, Error>(session.delete_unused_contents(&piece).await?) })
                });
                deleted += work.await?;
            }
        }
        if deleted > 0 {
            tracing::info!(contents = deleted, "deleted what versions consisted of that are no more");
        }
        Ok(())
    }

    /// Notes of every blob of a domain whether something names it.
    async fn mark(&self, domain: &Id) -> Result<()> {
        let mut after: Option<Digest> = None;
        loop {
            self.check().await?;
            let page =
                self.registry.inner.store.read().await?.blobs_after(domain, after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.digest);
            let (mut unnamed, mut named) = (Vec::new(), Vec::new());
            self.tell(|found| {
                found.looked_at += page.len() as u64;
                for (row, is_named) in &page {
                    match (row.state, is_named) {
                        // What is doomed is being erased, or is erased by whoever comes next.
                        (BlobState::Doomed, _) => found.erasable.add(row.size),
                        (BlobState::Kept, false) => {
                            let since = row.unnamed_since.unwrap_or(self.now);
                            let tally =
                                if since <= self.until { &mut found.erasable } else { &mut found.waiting };
                            tally.add(row.size);
                            unnamed.extend(row.unnamed_since.is_none().then_some(row.digest));
                        }
                        (BlobState::Kept, true) => named.extend(row.unnamed_since.map(|_| row.digest)),
                        (BlobState::Gone, _) => {}
                    }
                }
            });
            if self.lease.is_none() {
                continue;
            }
            for piece in unnamed.chunks(MARKS) {
                let (domain, piece, now) = (domain.clone(), piece.to_vec(), self.now);
                let work = self.registry.inner.store.write(move |session| {
                    Box::pin(async move { Ok::<_, Error>(session.mark_unnamed(&domain, &piece, now).await?) })
                });
                work.await?;
            }
            for piece in named.chunks(MARKS) {
                let (domain, piece) = (domain.clone(), piece.to_vec());
                let work = self.registry.inner.store.write(move |session| {
                    Box::pin(async move { Ok::<_, Error>(session.mark_named(&domain, &piece).await?) })
                });
                work.await?;
            }
        }
    }

    /// Erases the blobs that nothing named since the grace. The domains are told of in their order.
    async fn sweep(&self, domains: &[DomainRow]) -> Result<()> {
        loop {
            self.check().await?;
            let until = self.until;
            let found = self.registry.inner.store.read().await?.blobs_unnamed_until(until, BATCH).await?;
            let mut by_domain: BTreeMap<Id, Vec<Digest>> = BTreeMap::new();
            for (domain, digest) in found {
                by_domain.entry(domain).or_default().push(digest);
            }
            if by_domain.is_empty() {
                return Ok(());
            }
            for (domain, digests) in by_domain {
                let erasing = self.registry.erasing().await?;
                let (began, stamp, of) = (Instant::now(), self.registry.now(), domain.clone());
                let doomed = self.registry.inner.store.write(move |session| {
                    Box::pin(
                        async move { Ok::<_, Error>(session.doom_blobs(&of, &digests, until, stamp).await?) },
                    )
                });
                let erased = self.erase(erasing, &domain, doomed.await?, stamp, began).await?;
                let place = domains.iter().position(|row| row.id == domain);
                self.note(|report| {
                    if let Some(found) = place.and_then(|place| report.domains.get_mut(place)) {
                        found.erased += erased;
                    }
                });
            }
        }
    }

    async fn erase(
        &self,
        erasing: Lease,
        domain: &Id,
        doomed: Vec<BlobRow>,
        stamp: Timestamp,
        began: Instant,
    ) -> Result<Tally> {
        let erased = self.registry.erase(&erasing, domain, doomed, stamp, began).await?;
        erasing.release().await;
        let mut tally = Tally::default();
        for row in &erased {
            tally.add(row.size);
            self.count(row.size);
        }
        Ok(tally)
    }

    fn count(&self, size: u64) {
        self.registry.metrics().blobs_reclaimed.inc();
        self.registry.metrics().bytes_reclaimed.inc_by(size);
    }

    /// Erases files that never got a row: their upload ended between the one and the other.
    async fn take_unlisted(&self, domain: &Id) -> Result<()> {
        let blobs = self.registry.inner.store.blobs();
        let mut listing = blobs.list(domain, BlobKind::Asset);
        while let Some(page) = listing.try_next().await? {
            self.check().await?;
            let digests: Vec<Digest> = page.iter().map(|found| found.digest).collect();
            let known = self.registry.inner.store.read().await?.known_blobs(domain, &digests).await?;
            let mut old = Vec::new();
            for stray in page.iter().filter(|found| !known.contains(&found.digest)) {
                let Some(facts) = blobs.facts(domain, BlobKind::Asset, stray).await? else { continue };
                self.tell(|found| found.without_row.add(facts.size));
                old.extend((facts.modified <= self.until).then_some((stray.digest, facts.size)));
            }
            if self.lease.is_none() {
                continue;
            }
            for piece in old.chunks(BATCH) {
                let erasing = self.registry.erasing().await?;
                let (began, stamp) = (Instant::now(), self.registry.now());
                let (of, piece) = (domain.clone(), piece.to_vec());
                let doomed = self.registry.inner.store.write(move |session| {
                    Box::pin(async move { Ok::<_, Error>(session.doom_unlisted(&of, &piece, stamp).await?) })
                });
                let erased = self.erase(erasing, domain, doomed.await?, stamp, began).await?;
                self.tell(|found| found.erased += erased);
            }
        }
        Ok(())
    }

    /// Forgets index documents that were not confirmed for long, and erases bodies that no document has. They are a
    /// cache: one that is asked for in this moment is fetched again.
    async fn take_documents(&self, domain: &Id) -> Result<()> {
        let until = self.documents_until;
        if self.lease.is_some() {
            let of = domain.clone();
            loop {
                self.check().await?;
                let of = of.clone();
                let work = self.registry.inner.store.write(move |session| {
                    Box::pin(async move {
                        Ok::<_, Error>(session.forget_old_documents(&of, until, FORGOTTEN).await?)
                    })
                });
                if work.await? == 0 {
                    break;
                }
            }
        }
        let blobs = self.registry.inner.store.blobs();
        let mut listing = blobs.list(domain, BlobKind::Document);
        while let Some(page) = listing.try_next().await? {
            self.check().await?;
            let digests: Vec<Digest> = page.iter().map(|found| found.digest).collect();
            let known =
                self.registry.inner.store.read().await?.known_documents(domain, &digests, until).await?;
            for stray in page.iter().filter(|found| !known.contains(&found.digest)) {
                let Some(facts) = blobs.facts(domain, BlobKind::Document, stray).await? else { continue };
                let old = facts.modified <= self.until;
                self.tell(|found| {
                    let tally = if old { &mut found.erasable } else { &mut found.waiting };
                    tally.add(facts.size);
                });
                if old && self.lease.is_some() {
                    blobs.delete(&BlobKind::Document.key(domain, stray.digest)).await?;
                    self.tell(|found| found.erased.add(facts.size));
                    self.count(facts.size);
                }
            }
        }
        Ok(())
    }

    /// Erases what is left of a domain whose deletion was cut off; its identifier is never used again.
    async fn take_deleted_domain(&self, id: &Id) -> Result<()> {
        self.note(|report| {
            report.domains.push(DomainGarbage { domain: id.to_string(), ..DomainGarbage::default() });
        });
        let blobs = self.registry.inner.store.blobs();
        let (mut all, mut waits) = (Tally::default(), false);
        for kind in [BlobKind::Asset, BlobKind::Document] {
            let mut listing = blobs.list(id, kind);
            while let Some(page) = listing.try_next().await? {
                self.check().await?;
                for found in &page {
                    let Some(facts) = blobs.facts(id, kind, found).await? else { continue };
                    all.add(facts.size);
                    waits |= facts.modified > self.until;
                }
            }
        }
        self.tell(|found| *(if waits { &mut found.waiting } else { &mut found.erasable }) = all);
        if !waits && self.lease.is_some() {
            blobs.delete_domain(id).await?;
            self.tell(|found| found.erased = all);
            self.registry.metrics().blobs_reclaimed.inc_by(all.blobs);
            self.registry.metrics().bytes_reclaimed.inc_by(all.bytes);
        }
        Ok(())
    }
}
