//! Where the bytes of a missing file come from: its registry, or, when another node fetched it a moment ago, the blob
//! store that all nodes share. Nodes that want the same file at the same time agree by a lease on who asks. A transfer
//! that is cut is taken up again where it ended, if the registry vouches that the file is still the same.

use super::Connection;
use super::client::{Answer, FetchError, Kind, accept};
use super::fetch::Wanted;
use crate::Registry;
use crate::format::RemoteAsset;
use crate::lease::Lease;
use bytes::Bytes;
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
/// How much must have come since, or it is as good as a failure of the registry.
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
    resumed: u32,
    /// How much had come then.
    resumed_at: u64,
}

impl Transfer {
    fn new(registry: &Registry, connection: &Arc<Connection>, file: &RemoteAsset, answer: Answer) -> Self {
        let is_strong = |tag: &&HeaderValue| tag.as_bytes().starts_with(b"\"");
        Self {
            announced: answer.length(),
            tag: answer.headers.get(ETAG).filter(is_strong).filter(|_| file.expected.has_digest()).cloned(),
            answer,
            registry: registry.clone(),
            connection: connection.clone(),
            url: file.url.clone(),
            resumed: 0,
            resumed_at: 0,
        }
    }

    /// Asks for the rest; `None` when it cannot be had.
    async fn resume(&mut self, came: u64) -> Option<()> {
        let tag = self.tag.clone()?;
        // Who waited for a silent registry has waited long enough.
        if self.answer.stalled || came < self.resumed_at + PROGRESS || self.resumed == MOST_RESUMED {
            return None;
        }
        self.resumed += 1;
        self.resumed_at = came;
        tokio::time::sleep(PAUSE * self.resumed).await;
        let mut headers = accept("*/*");
        headers.insert(RANGE, HeaderValue::try_from(format!("bytes={came}-")).ok()?);
        headers.insert(IF_RANGE, tag.clone());
        let rest = self.connection.get(&self.registry, &self.url, Kind::File, headers).await.ok()?;
        let place = rest.header(CONTENT_RANGE)?;
        let (range, total) = place.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let last: u64 = last.parse().ok()?;
        let whole = total.parse().ok().or(self.announced)?;
        let fits = rest.status == StatusCode::PARTIAL_CONTENT
            && first.parse() == Ok(came)
            && last.checked_add(1) == Some(whole)
            && self.announced.is_none_or(|announced| announced == whole)
            && rest.headers.get(ETAG) == Some(&tag);
        fits.then(|| self.answer = rest)
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
            Self::Registry(transfer) => transfer.answer.chunk().await,
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
    /// cannot go on.
    pub(super) async fn resume(&mut self, came: u64, why: FetchError) -> Result<(), FetchError> {
        match (self, why) {
            (Self::Registry(transfer), why @ FetchError::Unavailable { .. }) => {
                transfer.resume(came).await.ok_or(why)
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
