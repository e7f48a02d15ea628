//! Index documents of public registries: kept with ETag and age, revalidated, served stale while a registry
//! is down, and parsed once for as long as they do not change.

use super::Connection;
use super::client::{FetchError, Kind, accept};
use super::known::{Key, KnownIndex};
use crate::Registry;
use crate::format::{Format, Remote, RemotePackage};
use crate::topology::lock;
use crate::view::{Failure, Freshness};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_core::{ConnectionName, Digest, Error, PackageName, Result, Timestamp};
use weir_store::rows::{DocumentRow, Id};
use weir_store::{BlobKey, Durability};

/// While a registry is down its stale index is not asked for again for this long.
const STALE_RETRY: Duration = Duration::from_secs(5);

impl Registry {
    /// The latest known index of a package on a public registry, confirmed as `freshness` asks. An error
    /// only when nothing is known and the registry does not answer, or answers with something wrong.
    pub(crate) async fn public_index(
        &self,
        domain: &Id,
        connection: &ConnectionName,
        format: &'static dyn Format,
        package: &PackageName,
        freshness: Freshness,
    ) -> Result<Arc<KnownIndex>> {
        let key: Key = (domain.clone(), connection.clone(), package.clone());
        if let Some(known) = self.inner.upstream.indexes.get(&key)
            && self.is_fresh(&known, freshness)
        {
            return Ok(known);
        }
        let turn = self.inner.upstream.indexes.turn(&key);
        let arrived = turn.attempts.load(Ordering::Acquire);
        let _mine = turn.mine.lock().await;
        if let Some((attempt, failure)) = &*lock(&turn.failure)
            && *attempt > arrived
        {
            return Err(failure.error());
        }
        let before = self.inner.upstream.indexes.get(&key);
        if let Some(known) = &before
            && self.is_fresh(known, freshness)
        {
            return Ok(known.clone());
        }
        let known =
            match self.ask_index(domain, connection, format, package, freshness, before.as_deref()).await {
                Ok(known) => Arc::new(known),
                Err(error) => {
                    let failure = Failure::of(error)?;
                    let error = failure.error();
                    let attempt = turn.attempts.fetch_add(1, Ordering::AcqRel) + 1;
                    *lock(&turn.failure) = Some((attempt, failure));
                    return Err(error);
                }
            };
        if before.is_some_and(|before| before.fingerprint != known.fingerprint) {
            self.inner.generations.content_changed(domain, package);
        }
        self.inner.upstream.indexes.put(key, known.clone());
        Ok(known)
    }

    async fn ask_index(
        &self,
        domain: &Id,
        connection: &ConnectionName,
        format: &'static dyn Format,
        package: &PackageName,
        freshness: Freshness,
        before: Option<&KnownIndex>,
    ) -> Result<KnownIndex> {
        let target = self.upstream_connection(connection).await?;
        let remote = RemoteSession::new(self, domain, &target, Asking::Registry(freshness));
        match format.fetch(&remote, package).await {
            Ok(fetched) => {
                remote.store_pending().await?;
                Ok(remote.conclude(fetched, before))
            }
            // What cannot be read is not kept, and the last index that could be read goes on being served.
            Err(Error::BadUpstream { message }) => {
                tracing::error!(%connection, %package, message, "refused an index of a public registry");
                let held = RemoteSession::new(self, domain, &target, Asking::Nobody);
                match format.fetch(&held, package).await {
                    Ok(Some(fetched)) => Ok(held.conclude(Some(fetched), before)),
                    Ok(None) | Err(_) => Err(Error::BadUpstream { message }),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn is_fresh(&self, known: &KnownIndex, freshness: Freshness) -> bool {
        let now = self.now();
        match freshness {
            Freshness::Usual => now < known.fresh_until,
            Freshness::Now => {
                let since = Duration::try_from(now.duration_since(known.checked_at)).unwrap_or_default();
                since < self.inner.settings.revalidation_interval
            }
        }
    }

    /// Whether an index document of the package with a body is held: only such names are public already.
    pub(crate) async fn public_index_is_held(
        &self,
        domain: &crate::topology::DomainState,
        connection: &ConnectionName,
        package: &PackageName,
    ) -> Result<bool> {
        let key = (domain.row.id.clone(), connection.clone(), package.clone());
        if let Some(known) = self.inner.upstream.indexes.get(&key) {
            return Ok(known.package.is_some());
        }
        let Some(format) = self.format(package.format.as_str()) else { return Ok(false) };
        let Ok(target) = self.upstream_connection(connection).await else { return Ok(false) };
        let held = RemoteSession::new(self, &domain.row.id, &target, Asking::Nobody);
        Ok(format.fetch(&held, package).await.is_ok_and(|found| found.is_some()))
    }
}

/// A registry as one fetch of one format sees it; remembers what it was read from.
struct RemoteSession<'a> {
    registry: &'a Registry,
    domain: &'a Id,
    target: &'a Arc<Connection>,
    asking: Asking,
    seen: Mutex<Seen>,
}

/// Who may be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// The registry, unless what is held is fresh enough.
    Registry(Freshness),
    /// Nobody: only what is held is told.
    Nobody,
}

#[derive(Default)]
struct Seen {
    /// New documents, kept once the format could read them.
    pending: Vec<(String, DocumentRow)>,
    fresh_until: Option<Timestamp>,
    stale_since: Option<Timestamp>,
    digests: Vec<u8>,
}

impl<'a> RemoteSession<'a> {
    fn new(registry: &'a Registry, domain: &'a Id, target: &'a Arc<Connection>, asking: Asking) -> Self {
        Self { registry, domain, target, asking, seen: Mutex::default() }
    }

    async fn store_pending(&self) -> Result<()> {
        let pending = std::mem::take(&mut lock(&self.seen).pending);
        for (path, row) in pending {
            self.store(&path, &row).await?;
        }
        Ok(())
    }

    /// Makes what was fetched into what is known; an unchanged document keeps its parsed form.
    fn conclude(self, fetched: Option<RemotePackage>, before: Option<&KnownIndex>) -> KnownIndex {
        let seen = self.seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.registry.now();
        let fingerprint = Digest::of(&seen.digests);
        let package = match before {
            Some(before) if before.fingerprint == fingerprint => before.package.clone(),
            _ => fetched.map(Arc::new),
        };
        // About what a version's two shared strings, range, time and flags take.
        let bytes = 512 + package.as_ref().map_or(0, |p| p.document.len() + p.versions.len() * 200);
        KnownIndex {
            package,
            fingerprint,
            fresh_until: seen.fresh_until.unwrap_or(now),
            stale_since: seen.stale_since,
            checked_at: now,
            bytes,
        }
    }

    fn note(&self, fresh_until: Timestamp, stale_since: Option<Timestamp>, body: Option<Digest>) {
        let mut seen = lock(&self.seen);
        seen.fresh_until = Some(seen.fresh_until.map_or(fresh_until, |old| old.min(fresh_until)));
        seen.stale_since = match (seen.stale_since, stale_since) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        seen.digests.extend_from_slice(body.map_or([0; 32], |digest| *digest.as_bytes()).as_slice());
    }

    fn fresh_for(&self, row: &DocumentRow) -> Timestamp {
        let life = match row.body {
            Some(_) => self.target.freshness(self.registry),
            None => self.target.negative_freshness(self.registry),
        };
        later(row.checked_at, life)
    }

    async fn document(&self, path: &str, accept_header: &str) -> Result<Option<Bytes>> {
        let registry = self.registry;
        let now = registry.now();
        let stored =
            registry.inner.store.read().await?.document(self.domain, &self.target.name, path).await?;
        let mut kept: Option<(DocumentRow, Option<Bytes>)> = None;
        if let Some(row) = stored {
            let body = match row.body {
                None => Some(None),
                Some((digest, _)) => read_document(registry, self.domain, digest).await?.map(Some),
            };
            // A row whose bytes are gone is as good as none.
            if let Some(body) = body {
                if self.asking == Asking::Nobody {
                    self.note(
                        later(now, STALE_RETRY),
                        Some(row.checked_at),
                        row.body.map(|(digest, _)| digest),
                    );
                    return Ok(body);
                }
                let forced = self.asking == Asking::Registry(Freshness::Now)
                    && later(row.checked_at, registry.inner.settings.revalidation_interval) <= now;
                let fresh_until = self.fresh_for(&row);
                if now < fresh_until && !forced {
                    self.note(fresh_until, None, row.body.map(|(digest, _)| digest));
                    return Ok(body);
                }
                kept = Some((row, body));
            }
        }
        if self.asking == Asking::Nobody {
            return Ok(None);
        }
        let mut headers = accept(accept_header);
        if let Some((row, Some(_))) = &kept {
            condition(&mut headers, row);
        }
        match self.ask(path, headers).await {
            Ok(Asked::Unchanged) => {
                let Some((mut row, body)) = kept else {
                    return Err(Error::bad_upstream(format!(
                        "{} answered 304 to a question without condition",
                        self.target.name
                    )));
                };
                row.checked_at = now;
                self.store(path, &row).await?;
                self.note(self.fresh_for(&row), None, row.body.map(|(digest, _)| digest));
                Ok(body)
            }
            Ok(Asked::Absent) => {
                let row = DocumentRow {
                    body: None,
                    etag: None,
                    last_modified: None,
                    fetched_at: now,
                    checked_at: now,
                };
                self.store(path, &row).await?;
                self.note(self.fresh_for(&row), None, None);
                Ok(None)
            }
            Ok(Asked::Body { body, etag, last_modified }) => {
                let digest = keep_document(registry, self.domain, &body).await?;
                let size = body.len() as u64;
                let row = DocumentRow {
                    body: Some((digest, size)),
                    etag,
                    last_modified,
                    fetched_at: now,
                    checked_at: now,
                };
                self.note(self.fresh_for(&row), None, Some(digest));
                lock(&self.seen).pending.push((path.to_owned(), row));
                Ok(Some(body))
            }
            Err(failure) => match kept {
                Some((row, Some(body))) => {
                    registry.metrics().stale_served.inc();
                    let digest = row.body.map(|(digest, _)| digest);
                    self.note(later(now, STALE_RETRY), Some(row.checked_at), digest);
                    Ok(Some(body))
                }
                Some((_, None)) | None => Err(failure.of(&self.target.name, "the index of this package")),
            },
        }
    }

    async fn ask(&self, path: &str, headers: HeaderMap) -> Result<Asked, FetchError> {
        let answer = self.target.get(self.registry, path, Kind::Document, headers).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED => return Ok(Asked::Unchanged),
            StatusCode::NOT_FOUND => return Ok(Asked::Absent),
            _ => {}
        }
        let html = answer.header(reqwest::header::CONTENT_TYPE).is_some_and(|t| t.starts_with("text/html"));
        let etag = answer.header(ETAG);
        let last_modified = answer.header(LAST_MODIFIED);
        let expected = answer.length();
        let body = answer.collect(self.target.max_index_bytes(self.registry)).await?;
        if expected.is_some_and(|length| length != body.len() as u64) {
            return Err(FetchError::Bad(format!(
                "{} bytes came of {} announced",
                body.len(),
                expected.unwrap_or(0)
            )));
        }
        if html && is_error_page(&body) {
            return Err(FetchError::Bad("it answered with an HTML page where an index was asked".to_owned()));
        }
        Ok(Asked::Body { body, etag, last_modified })
    }

    async fn store(&self, path: &str, row: &DocumentRow) -> Result<()> {
        let (domain, connection) = (self.domain.clone(), self.target.name.clone());
        let (path, row) = (path.to_owned(), row.clone());
        self.registry
            .inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    Ok::<_, Error>(session.put_document(&domain, &connection, &path, &row).await?)
                })
            })
            .await
    }
}

/// Whether an HTML page is none that lists files: a captive portal's or an error page with status 200.
fn is_error_page(body: &[u8]) -> bool {
    !body.windows(3).any(|w| w.eq_ignore_ascii_case(b"<a "))
}

enum Asked {
    Unchanged,
    Absent,
    Body { body: Bytes, etag: Option<String>, last_modified: Option<String> },
}

impl Remote for RemoteSession<'_> {
    fn get<'a>(&'a self, path: &'a str, accept: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.document(path, accept))
    }
}

async fn read_document(registry: &Registry, domain: &Id, digest: Digest) -> Result<Option<Bytes>> {
    let key = BlobKey::Document { domain: domain.clone(), digest };
    let Some(blob) = registry.inner.store.blobs().open(&key).await? else { return Ok(None) };
    let body = match blob.bytes() {
        Some(bytes) => bytes.clone(),
        None => {
            let chunks: Vec<Bytes> = blob
                .read(0..blob.size())
                .try_collect()
                .await
                .map_err(|e| Error::unavailable(e.to_string()))?;
            Bytes::from(chunks.concat())
        }
    };
    // The cache is not synced: a document that a crash damaged is asked for again.
    Ok((Digest::of(&body) == digest).then_some(body))
}

async fn keep_document(registry: &Registry, domain: &Id, body: &Bytes) -> Result<Digest> {
    let digest = Digest::of(body);
    let key = BlobKey::Document { domain: domain.clone(), digest };
    let store = &registry.inner.store;
    if store.blobs().open(&key).await?.is_some() {
        return Ok(digest);
    }
    let spooled = store.spool().take(body.clone()).await?;
    store.blobs().keep(&key, spooled, Durability::Later).await?;
    Ok(digest)
}

fn condition(headers: &mut HeaderMap, row: &DocumentRow) {
    let value = |text: &Option<String>| text.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    if let Some(etag) = value(&row.etag) {
        headers.insert(IF_NONE_MATCH, etag);
    } else if let Some(date) = value(&row.last_modified) {
        headers.insert(IF_MODIFIED_SINCE, date);
    }
}

pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
