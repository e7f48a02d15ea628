//! Index documents of public registries: kept with ETag and age, revalidated, served stale while a registry
//! is down, and parsed once for as long as they do not change.

use super::Connection;
use super::arrival::digests_of;
use super::client::{FetchError, Kind, accept, naming};
use super::known::{Key, KnownIndex};
use super::large::LargeTurn;
use super::unwritten::{DocumentKey, is_large};
use crate::Registry;
use crate::aging::{is_past, later};
use crate::format::{Document, Format, Remote, RemoteAsset, RemotePackage};
use crate::topology::lock;
use crate::view::{Failure, Freshness};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_core::{ConnectionName, Digest, Error, PackageName, Result, Timestamp};
use weir_store::rows::{DocumentRow, Id};
use weir_store::{BlobError, BlobKey};

/// While a registry is down its stale index is not asked for again for this long.
const STALE_RETRY: Duration = Duration::from_secs(5);

impl Registry {
    /// The latest known index of a package on a public registry, confirmed as `freshness` asks. An error
    /// only when nothing is known and the registry does not answer, or answers with something wrong.
    ///
    /// For a large one a turn is waited for, which is in `large` after. Somebody else's turn to ask is waited for
    /// before that, so `large` must have none, or it must be nobody who is asked.
    pub(crate) async fn public_index(
        &self,
        domain: &Id,
        connection: &ConnectionName,
        format: &'static dyn Format,
        package: &PackageName,
        freshness: Freshness,
        large: &LargeTurn,
    ) -> Result<Arc<KnownIndex>> {
        let key: Key = (domain.clone(), connection.clone(), package.clone());
        if let Some(known) = self.inner.upstream.indexes.get(&key)
            && self.is_fresh(&known, freshness)
        {
            return Ok(known);
        }
        if freshness == Freshness::Known {
            return self.held_index(domain, connection, format, package, large).await;
        }
        let turn = self.inner.upstream.indexes.asking.of(&key);
        let mine = turn.take().await?;
        let before = self.inner.upstream.indexes.get(&key);
        if let Some(known) = &before
            && self.is_fresh(known, freshness)
        {
            return Ok(known.clone());
        }
        let asked = self.ask_index(&key, format, freshness, before.as_deref(), large).await;
        let known = mine.end(asked.map(|known| {
            let known = Arc::new(known);
            self.inner.upstream.indexes.put(key, known.clone());
            known
        }))?;
        // After the new one can be seen, so that nobody takes the new generation with the old index.
        if before.is_some_and(|before| before.fingerprint != known.fingerprint) {
            self.inner.generations.content_changed(domain, package);
        }
        Ok(known)
    }

    async fn ask_index(
        &self,
        (domain, connection, package): &Key,
        format: &'static dyn Format,
        freshness: Freshness,
        before: Option<&KnownIndex>,
        large: &LargeTurn,
    ) -> Result<KnownIndex> {
        let target = self.upstream_connection(connection).await?;
        let remote = RemoteSession::new(self, domain, &target, Asking::Registry(freshness), large);
        match format.fetch(&remote, package).await {
            Ok(mut fetched) => {
                remote.store_pending().await;
                self.note_first_sight(domain, &target, package, fetched.as_mut()).await?;
                Ok(remote.conclude(fetched, before))
            }
            // What cannot be read is not kept, and the last index that could be read goes on being served.
            Err(error @ Error::BadUpstream { .. }) => {
                let message = naming(connection, error).to_string();
                tracing::error!(%connection, %package, message, "refused an index of a public registry");
                let held = RemoteSession::new(self, domain, &target, Asking::Nobody, large);
                match format.fetch(&held, package).await {
                    Ok(Some(mut fetched)) => {
                        self.note_first_sight(domain, &target, package, Some(&mut fetched)).await?;
                        let mut known = held.conclude(Some(fetched), before);
                        known.failure = Failure::of(Error::BadUpstream { message }).ok();
                        Ok(known)
                    }
                    Ok(None) | Err(_) => Err(Error::BadUpstream { message }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The last known index of a package, however old; nobody is asked.
    async fn held_index(
        &self,
        domain: &Id,
        connection: &ConnectionName,
        format: &'static dyn Format,
        package: &PackageName,
        large: &LargeTurn,
    ) -> Result<Arc<KnownIndex>> {
        let target = self.upstream_connection(connection).await?;
        let held = RemoteSession::new(self, domain, &target, Asking::Nobody, large);
        let mut fetched = format.fetch(&held, package).await?;
        self.note_first_sight(domain, &target, package, fetched.as_mut()).await?;
        Ok(Arc::new(held.conclude(fetched, None)))
    }

    /// Remembers when versions were first seen whose registry does not tell when they were published, so that
    /// waiting times and lock files do not depend on when an index was fetched last.
    async fn note_first_sight(
        &self,
        domain: &Id,
        target: &Connection,
        package: &PackageName,
        fetched: Option<&mut RemotePackage>,
    ) -> Result<()> {
        let Some(fetched) = fetched else { return Ok(()) };
        if fetched.versions.iter().all(|version| version.published.is_some()) {
            return Ok(());
        }
        // Another address is another registry, whatever the connection is called.
        let (connection, name) = (&target.name, &package.name);
        let coordinate =
            format!("{} {}/{}/{name}", target.place, package.format, package.namespace_or_empty());
        let known = self.inner.store.read().await?.first_seen(domain, connection, &coordinate).await?;
        let now = self.now();
        let mut new = BTreeMap::new();
        for version in fetched.versions.iter_mut().filter(|version| version.published.is_none()) {
            let key: &str = version.version.key();
            let first = known.get(key).copied();
            if first.is_none() {
                new.insert(key.to_owned(), now);
            }
            version.first_seen = first.or(Some(now));
        }
        if new.is_empty() {
            return Ok(());
        }
        let (domain, connection) = (domain.clone(), connection.clone());
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    let noted = session.note_first_seen(&domain, &connection, &coordinate, &new);
                    Ok::<_, Error>(noted.await?)
                })
            })
            .await
    }

    fn is_fresh(&self, known: &KnownIndex, freshness: Freshness) -> bool {
        let now = self.now();
        match freshness {
            Freshness::Known => true,
            _ if !is_past(known.checked_at, now) => false,
            Freshness::Usual => now < known.fresh_until,
            // What could not be confirmed is asked again as soon as that is due.
            Freshness::Now if known.stale_since.is_some() => now < known.fresh_until,
            Freshness::Now => {
                let since = Duration::try_from(now.duration_since(known.checked_at)).unwrap_or_default();
                since < self.inner.settings.revalidation_interval
            }
        }
    }

    /// A small document that an index promises, with the tag of its bytes: from what is kept if it is as
    /// promised, else asked for. `None` when the registry has none; BadUpstream when it is not as promised.
    pub(crate) async fn promised_document(
        &self,
        domain: &Id,
        connection: &ConnectionName,
        promised: &RemoteAsset,
    ) -> Result<Option<(Bytes, String)>> {
        let target = self.upstream_connection(connection).await?;
        if let Some(kept) = self.kept_as_promised(domain, &target, promised).await? {
            return Ok(Some(kept));
        }
        let key = (domain.clone(), connection.clone(), promised.url.clone());
        let turn = self.inner.upstream.companions.of(&key);
        let mine = turn.take().await?;
        if mine.waited
            && let Some(kept) = self.kept_as_promised(domain, &target, promised).await?
        {
            return Ok(Some(kept));
        }
        mine.end(self.ask_promised(domain, &target, promised).await)
    }

    async fn kept_as_promised(
        &self,
        domain: &Id,
        target: &Connection,
        promised: &RemoteAsset,
    ) -> Result<Option<(Bytes, String)>> {
        let Some(expected) = promised.expected.sha256 else { return Ok(None) };
        let key = (domain.clone(), target.name.clone(), target.document_path(&promised.url));
        let known = self.known_document(&key, &LargeTurn::default()).await?;
        let Some((row, body)) = known else { return Ok(None) };
        let body = body.filter(|_| row.body.is_some_and(|(digest, _)| digest == expected));
        Ok(body.map(|body| (body, expected.hex())))
    }

    async fn ask_promised(
        &self,
        domain: &Id,
        target: &Arc<Connection>,
        promised: &RemoteAsset,
    ) -> Result<Option<(Bytes, String)>> {
        let connection = &target.name;
        let (asking, large) = (Asking::Registry(Freshness::Usual), LargeTurn::default());
        let remote = RemoteSession::new(self, domain, target, asking, &large);
        let Some(document) = remote.document(&promised.url, "*/*").await? else {
            remote.store_pending().await;
            return Ok(None);
        };
        let digest = digests_of(&document.body);
        if let Some(mismatch) = promised.expected.mismatch(&digest, document.body.len() as u64) {
            return Err(Error::bad_upstream(format!(
                "{connection} gave something wrong for {}: {mismatch}",
                promised.name
            )));
        }
        remote.store_pending().await;
        Ok(Some((document.body, digest.sha256.hex())))
    }
}

/// A registry as one fetch of one format sees it; remembers what it was read from.
struct RemoteSession<'a> {
    registry: &'a Registry,
    domain: &'a Id,
    target: &'a Arc<Connection>,
    asking: Asking,
    large: &'a LargeTurn,
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
    /// New documents, kept once the format could read them; without their bytes where those are kept already.
    pending: Vec<(DocumentKey, DocumentRow, Option<Bytes>)>,
    fresh_until: Option<Timestamp>,
    stale_since: Option<Timestamp>,
    failure: Option<Failure>,
    /// When the oldest of them was last asked for.
    checked_at: Option<Timestamp>,
    /// When the oldest of them was fetched.
    fetched_at: Option<Timestamp>,
    digests: Vec<u8>,
}

impl<'a> RemoteSession<'a> {
    fn new(
        registry: &'a Registry,
        domain: &'a Id,
        target: &'a Arc<Connection>,
        asking: Asking,
        large: &'a LargeTurn,
    ) -> Self {
        Self { registry, domain, target, asking, large, seen: Mutex::default() }
    }

    async fn store_pending(&self) {
        let pending = std::mem::take(&mut lock(&self.seen).pending);
        for (key, row, body) in pending {
            self.registry.write_document(key, row, body).await;
        }
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
            failure: seen.failure,
            checked_at: seen.checked_at.unwrap_or(now),
            fetched_at: seen.fetched_at.unwrap_or(now),
            bytes,
        }
    }

    /// Remembers a document that is confirmed, or fresh enough.
    fn note(&self, row: &DocumentRow) {
        lock(&self.seen).add(row, self.fresh_for(row), None, row.checked_at);
    }

    /// Remembers a document that could not be confirmed now.
    fn note_stale(&self, row: &DocumentRow) {
        let now = self.registry.now();
        lock(&self.seen).add(row, later(now, STALE_RETRY), Some(row.checked_at), now);
    }

    fn fresh_for(&self, row: &DocumentRow) -> Timestamp {
        let life = match row.body {
            Some(_) => self.target.freshness(self.registry),
            None => self.target.negative_freshness(self.registry),
        };
        later(row.checked_at, life)
    }

    async fn document(&self, asked: &str, accept_header: &str) -> Result<Option<Document>> {
        let registry = self.registry;
        let key: DocumentKey =
            (self.domain.clone(), self.target.name.clone(), self.target.document_path(asked));
        let now = registry.now();
        let mut kept = None;
        if let Some((row, body)) = registry.known_row(&key).await? {
            let must_ask = !self.may_serve(&row, now);
            if must_ask && is_large(&row) {
                // Others wait for its turn, so nobody has it while a registry is asked.
                kept = Some(Kept { row, body: KeptBody::Unread });
            } else if let Some((row, body)) = registry.load_document(&key, (row, body), self.large).await? {
                let body = body.map(|body| Document { body, url: self.url_of(&row, asked) });
                if self.asking == Asking::Nobody {
                    self.note_stale(&row);
                    return Ok(body);
                }
                if !must_ask {
                    self.note(&row);
                    return Ok(body);
                }
                kept = Some(Kept { row, body: KeptBody::Read(body) });
            }
        }
        if self.asking == Asking::Nobody {
            return Ok(None);
        }
        let html_is_fine = accept_header.contains("text/html");
        let mut headers = accept(accept_header);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.row.body.is_some()) {
            condition(&mut headers, &kept.row);
        }
        let mut told = self.ask(asked, headers, html_is_fine).await;
        if matches!(told, Ok(Asked::Unchanged) | Err(_))
            && let Some(Kept { row, body: body @ KeptBody::Unread }) = &mut kept
        {
            let known = registry.known_document(&key, self.large).await?;
            if let Some((_, Some(read))) = known.filter(|(known, _)| known.body == row.body) {
                *body = KeptBody::Read(Some(Document { body: read, url: self.url_of(row, asked) }));
            } else {
                kept = None;
                if told.is_ok() {
                    told = self.ask(asked, accept(accept_header), html_is_fine).await;
                }
            }
        }
        match told {
            Ok(Asked::Unchanged) => {
                let Some(Kept { mut row, body: KeptBody::Read(body) }) = kept else {
                    return Err(Error::bad_upstream(format!(
                        "{} answered 304 to a question without condition",
                        self.target.name
                    )));
                };
                row.checked_at = now;
                self.note(&row);
                registry.write_document(key, row, None).await;
                Ok(body)
            }
            Ok(Asked::Absent) => {
                let row = DocumentRow {
                    body: None,
                    etag: None,
                    last_modified: None,
                    url: None,
                    fetched_at: now,
                    checked_at: now,
                };
                self.note(&row);
                registry.write_document(key, row, None).await;
                Ok(None)
            }
            Ok(Asked::Body { document, digest, etag, last_modified }) => {
                let row = DocumentRow {
                    body: Some((digest, document.body.len() as u64)),
                    etag,
                    last_modified,
                    url: Some(document.url.clone()),
                    fetched_at: now,
                    checked_at: now,
                };
                self.note(&row);
                let is_kept = kept.is_some_and(|kept| kept.row.body == row.body);
                let body = (!is_kept).then(|| document.body.clone());
                lock(&self.seen).pending.push((key, row, body));
                Ok(Some(document))
            }
            Err(failure) => {
                let error =
                    failure.of(&self.target.name, &format!("the index document {}", presentable(asked)));
                let Some(Kept { row, body: KeptBody::Read(Some(body)) }) = kept else { return Err(error) };
                registry.metrics().stale_served.inc();
                self.note_stale(&row);
                lock(&self.seen).failure = Some(Failure::of(error)?);
                Ok(Some(body))
            }
        }
    }

    /// Whether what is kept may be served although its registry is not asked now.
    fn may_serve(&self, row: &DocumentRow, now: Timestamp) -> bool {
        let forced = match self.asking {
            Asking::Nobody => return true,
            Asking::Registry(Freshness::Now) => {
                later(row.checked_at, self.registry.inner.settings.revalidation_interval) <= now
            }
            Asking::Registry(Freshness::Usual | Freshness::Known) => false,
        };
        is_past(row.checked_at, now) && now < self.fresh_for(row) && !forced
    }

    async fn ask(&self, path: &str, headers: HeaderMap, html_is_fine: bool) -> Result<Asked, FetchError> {
        let receiver = self.target.receiver(self.registry, self.large);
        let ask = || async {
            let answer = self.target.get(self.registry, path, Kind::Document, headers.clone()).await?;
            match answer.status {
                StatusCode::NOT_MODIFIED => return Ok(Some(Asked::Unchanged)),
                StatusCode::NOT_FOUND => return Ok(Some(Asked::Absent)),
                _ => {}
            }
            // A captive portal's, or an error page with status 200.
            if !html_is_fine && answer.header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"))
            {
                return Err(FetchError::Bad(
                    "it answered with an HTML page where an index was asked".to_owned(),
                ));
            }
            let url = answer.url();
            let etag = answer.header(ETAG);
            let last_modified = answer.header(LAST_MODIFIED);
            let limit = self.target.max_index_bytes(self.registry);
            let document = answer.document(limit, receiver).await?;
            Ok(document.map(|(body, digest)| Asked::Body {
                document: Document { body, url },
                digest,
                etag,
                last_modified,
            }))
        };
        receiver.ask(ask).await
    }

    /// Where a kept document came from; of a row that does not know, where it is asked for.
    fn url_of(&self, row: &DocumentRow, asked: &str) -> String {
        row.url.clone().or_else(|| self.target.resolve(asked).ok().map(String::from)).unwrap_or_default()
    }
}

impl Seen {
    fn add(
        &mut self,
        row: &DocumentRow,
        fresh_until: Timestamp,
        stale_since: Option<Timestamp>,
        checked_at: Timestamp,
    ) {
        let oldest = |old: Option<Timestamp>, new: Timestamp| Some(old.map_or(new, |old| old.min(new)));
        self.fresh_until = oldest(self.fresh_until, fresh_until);
        self.checked_at = oldest(self.checked_at, checked_at);
        self.fetched_at = oldest(self.fetched_at, row.fetched_at);
        if let Some(since) = stale_since {
            self.stale_since = oldest(self.stale_since, since);
        }
        let digest = row.body.map_or([0; 32], |(digest, _)| *digest.as_bytes());
        self.digests.extend_from_slice(&digest);
    }
}

/// What is kept of a document that its registry must confirm.
struct Kept {
    row: DocumentRow,
    body: KeptBody,
}

enum KeptBody {
    /// It was read, unless there was none.
    Read(Option<Document>),
    /// On the disk, if it is there still.
    Unread,
}

enum Asked {
    Unchanged,
    Absent,
    Body { document: Document, digest: Digest, etag: Option<String>, last_modified: Option<String> },
}

impl Remote for RemoteSession<'_> {
    fn get<'a>(&'a self, path: &'a str, accept: &'a str) -> BoxFuture<'a, Result<Option<Document>>> {
        Box::pin(self.document(path, accept))
    }
}

pub(super) async fn read_document(registry: &Registry, domain: &Id, digest: Digest) -> Result<Option<Bytes>> {
    let key = BlobKey::Document { domain: domain.clone(), digest };
    let blob = match registry.inner.store.blobs().open(&key).await {
        Ok(Some(blob)) => blob,
        // The cache is not synced: a document that a crash damaged is asked for again.
        Ok(None) | Err(BlobError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let body = match blob.bytes() {
        Some(bytes) => bytes.clone(),
        None => {
            let mut bytes = Vec::with_capacity(usize::try_from(blob.size()).unwrap_or_default());
            let mut chunks = blob.read(0..blob.size());
            while let Some(chunk) = chunks.try_next().await.map_err(|e| Error::unavailable(e.to_string()))? {
                bytes.extend_from_slice(&chunk);
            }
            Bytes::from(bytes)
        }
    };
    Ok((Digest::of(&body) == digest).then_some(body))
}

fn condition(headers: &mut HeaderMap, row: &DocumentRow) {
    let value = |text: &Option<String>| text.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    if let Some(etag) = value(&row.etag) {
        headers.insert(IF_NONE_MATCH, etag);
    } else if let Some(date) = value(&row.last_modified) {
        headers.insert(IF_MODIFIED_SINCE, date);
    }
}

/// What was asked for as a reason names it: of an address neither user info nor the query, which may be signed.
fn presentable(asked: &str) -> Cow<'_, str> {
    if !asked.starts_with("http://") && !asked.starts_with("https://") {
        return Cow::Borrowed(asked);
    }
    let Ok(mut url) = url::Url::parse(asked) else { return Cow::Borrowed("of an unreadable address") };
    url.set_query(None);
    // They fail for addresses without host alone, which have no user info either.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Cow::Owned(url.into())
}
