//! Where the bytes of a missing file come from: its registry, or, when another node fetched it a moment ago, the blob
//! store that all nodes share. Nodes that want the same file at the same time agree by a lease on who asks. A transfer
//! that is cut or stalls is taken up again where it ended, if the registry vouches that the file is still the same, else
//! from its beginning, if a digest or nothing of what came depends on that.

use super::Connection;
use super::client::{Answer, FetchError, Kind, accept};
use super::fetch::Wanted;
use crate::Registry;
use crate::format::RemoteAsset;
use crate::lease::Lease;
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_RANGE, RANGE};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use weir_core::{Digest, Error, Result};
use weir_store::rows::AssetState;
use weir_store::{Blob, BlobKey, Engine};

/// How long a node waits for another that fetches the same file; then it fetches it too, which is only slower.
const WAIT: Duration = Duration::from_secs(30);
/// How long after the death of a node others fetch what it was fetching.
const LIFE: Duration = Duration::from_secs(8);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// How often a transfer is taken up again.
const MOST_RESUMED: u32 = 3;
/// How much must have come since the last time, or it is as good as a failure of the registry.
const PROGRESS: u64 = 16 << 10;
/// How long it waits before that, longer each time.
const PAUSE: Duration = Duration::from_millis(100);

/// The bytes of a file on their way.
pub(super) enum Incoming {
    /// From the registry.
    Registry(Box<Transfer>),
    /// From the blob store, where another node put them.
    Kept { size: u64, bytes: BoxStream<'static, io::Result<Bytes>> },
}

/// A file that a registry sends.
pub(super) struct Transfer {
    answer: Answer,
    announced: Option<u64>,
    registry: Registry,
    connection: Arc<Connection>,
    url: String,
    /// A strong tag, where the whole will also be compared with a digest that the index gave.
    tag: Option<HeaderValue>,
    has_digest: bool,
    resumed: u32,
    /// How much had come then.
    resumed_at: u64,
    /// How much of what comes next came before.
    to_skip: u64,
}

impl Transfer {
    fn new(registry: &Registry, connection: &Arc<Connection>, file: &RemoteAsset, answer: Answer) -> Self {
        let is_strong = |tag: &&HeaderValue| tag.as_bytes().starts_with(b"\"");
        let has_digest = file.expected.has_digest();
        Self {
            announced: answer.length(),
            tag: answer.headers.get(ETAG).filter(is_strong).filter(|_| has_digest).cloned(),
            has_digest,
            answer,
            registry: registry.clone(),
            connection: connection.clone(),
            url: file.url.clone(),
            resumed: 0,
            resumed_at: 0,
            to_skip: 0,
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let Some(mut chunk) = self.answer.chunk().await? else {
                return match self.to_skip {
                    0 => Ok(None),
                    _ => Err(FetchError::Bad("it became shorter while it was fetched".to_owned())),
                };
            };
            let skipped = usize::try_from(self.to_skip).unwrap_or(usize::MAX).min(chunk.len());
            self.to_skip -= skipped as u64;
            chunk.advance(skipped);
            if !chunk.is_empty() || skipped == 0 {
                return Ok(Some(chunk));
            }
        }
    }

    /// Asks for the rest, or for the whole once more; `None` when it cannot be had. Gives how many of the bytes that
    /// came are still good: all, or none where they `may_be_forgotten`.
    async fn resume(&mut self, came: u64, may_be_forgotten: bool) -> Option<u64> {
        let is_stuck = self.resumed > 0 && came < self.resumed_at + PROGRESS;
        if is_stuck || self.resumed == MOST_RESUMED {
            return None;
        }
        let tag = self.tag.clone().filter(|_| came > 0);
        let good = if tag.is_none() && may_be_forgotten { 0 } else { came };
        // Nothing would show that what comes now is of another file.
        if good > 0 && !self.has_digest {
            return None;
        }
        self.resumed += 1;
        self.resumed_at = good;
        tokio::time::sleep(PAUSE * self.resumed).await;
        let mut headers = accept("*/*");
        if let Some(tag) = &tag {
            headers.insert(RANGE, HeaderValue::try_from(format!("bytes={came}-")).ok()?);
            headers.insert(IF_RANGE, tag.clone());
        }
        let next = self.connection.get(&self.registry, &self.url, Kind::File, headers).await.ok()?;
        if tag.is_some_and(|tag| next.headers.get(ETAG) != Some(&tag)) {
            return None;
        }
        self.to_skip = match next.status {
            StatusCode::PARTIAL_CONTENT if self.is_rest(&next, came) => 0,
            StatusCode::OK if self.is_whole(&next) => good,
            _ => return None,
        };
        self.answer = next;
        Some(good)
    }

    fn is_rest(&self, next: &Answer, came: u64) -> bool {
        let place = next.header(CONTENT_RANGE);
        let Some((range, total)) = place.as_deref().and_then(|p| p.strip_prefix("bytes ")?.split_once('/'))
        else {
            return false;
        };
        let Some((first, last)) = range.split_once('-') else { return false };
        let whole = total.parse().ok().or(self.announced);
        first.parse() == Ok(came)
            && last.parse().ok().and_then(|last: u64| last.checked_add(1)) == whole
            && whole.is_some()
            && self.announced.is_none_or(|announced| Some(announced) == whole)
    }

    fn is_whole(&self, next: &Answer) -> bool {
        let is_page = next.header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
        !is_page && (self.announced.is_none() || next.length().is_none() || next.length() == self.announced)
    }
}

impl Incoming {
    /// How many bytes are announced, if that is known.
    pub(super) fn announced(&self) -> Option<u64> {
        match self {
            Self::Registry(transfer) => transfer.announced,
            Self::Kept { size, .. } => Some(*size),
        }
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        match self {
            Self::Registry(transfer) => transfer.chunk().await,
            Self::Kept { bytes, .. } => match bytes.next().await {
                None => Ok(None),
                Some(Ok(chunk)) => Ok(Some(chunk)),
                Some(Err(error)) => Err(FetchError::unavailable(format!("the blob store failed: {error}"))),
            },
        }
    }
}

impl Incoming {
    /// Goes on after `came` bytes, where the transfer broke off for the reason given, which is also the error when it
    /// cannot go on. Gives how many of those bytes are still good: all, or none where they `may_be_forgotten`.
    pub(super) async fn resume(
        &mut self,
        came: u64,
        may_be_forgotten: bool,
        why: FetchError,
    ) -> Result<u64, FetchError> {
        match (self, why) {
            (Self::Registry(transfer), why @ FetchError::Unavailable { .. }) => {
                transfer.resume(came, may_be_forgotten).await.ok_or(why)
            }
            (_, why) => Err(why),
        }
    }
}

impl Registry {
    /// Asks the registry for a file, unless another node just did. The lease is to be held until the rows are
    /// committed.
    pub(super) async fn incoming(
        &self,
        wanted: &Wanted,
        connection: &Arc<Connection>,
    ) -> Result<(Incoming, Option<Lease>), FetchError> {
        let (lease, kept) = self.agree(wanted).await;
        if let Some(blob) = kept {
            let size = blob.size();
            return Ok((Incoming::Kept { size, bytes: blob.read(0..size) }, lease));
        }
        let file = wanted.file();
        let answer = connection.get(self, &file.url, Kind::File, accept("*/*")).await?;
        if answer.status != StatusCode::OK {
            return Err(FetchError::Bad(format!(
                "its index lists {} but the file is answered with {}",
                file.name, answer.status
            )));
        }
        if answer.header(CONTENT_TYPE).is_some_and(|t| t.starts_with("text/html")) {
            return Err(FetchError::Bad("an HTML page came where a file was asked".to_owned()));
        }
        let transfer = Transfer::new(self, connection, file, answer);
        Ok((Incoming::Registry(Box::new(transfer)), lease))
    }

    /// Takes the lease of a file, or waits for the node that has it. Gives the blob when another node put it there.
    /// Whatever fails here costs one more request to the registry and nothing else.
    async fn agree(&self, wanted: &Wanted) -> (Option<Lease>, Option<Blob>) {
        if self.inner.store.engine() == Engine::Sqlite {
            return (None, None);
        }
        let what = format!("{} {} {}", wanted.domain.row.id, wanted.connection, wanted.coordinate());
        let name = format!("fetch {}", Digest::of(what.as_bytes()));
        let start = Instant::now();
        loop {
            let lease = match self.lease_for(&name, LIFE).await {
                Ok(lease) => lease,
                Err(_) => return (None, None),
            };
            let kept = self.kept_by_another(wanted).await.unwrap_or_default();
            if lease.is_some() || kept.is_some() || start.elapsed() > WAIT {
                return (lease, kept);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The blob of a file that the holder of the connection has by now.
    async fn kept_by_another(&self, wanted: &Wanted) -> Result<Option<Blob>> {
        let package = &wanted.package;
        let mut session = self.inner.store.read().await?;
        let record = session
            .package(
                &wanted.holder.row.id,
                package.format.as_str(),
                package.namespace_or_empty(),
                &package.name,
            )
            .await?;
        let Some(record) = record else { return Ok(None) };
        let Some(version) = session.package_version(&record.id, wanted.version.key()).await? else {
            return Ok(None);
        };
        let asset = session.asset(&version.content, wanted.file().name.as_str()).await?;
        drop(session);
        let Some(AssetState::Held { digests, .. }) = asset.map(|asset| asset.state) else { return Ok(None) };
        let key = BlobKey::Asset { domain: wanted.domain.row.id.clone(), digest: digests.sha256 };
        let blobs = self.inner.store.blobs();
        // What was fetched long ago and rotted is no news of another node: then the registry must be asked.
        let opened = match blobs.open_to_serve(&key).await {
            Ok(Some(blob)) => blob.check_first().await.map(Some),
            other => other,
        };
        match opened {
            Err(error) if error.is_damage() => Ok(None),
            opened => opened.map_err(Error::from),
        }
    }
}
