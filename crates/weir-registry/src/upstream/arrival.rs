//! A file on its way in, hashed as it comes. A small one is gathered in memory, since nobody gets any of it before it is
//! verified; a larger one goes to the spool, where readers follow it, while the next bytes come.

use super::body::joined;
use super::client::FetchError;
use super::fetch::ours;
use super::flight::{Download, Progress};
use super::incoming::Incoming;
use crate::format::ReadSeek;
use bytes::Bytes;
use std::io::Cursor;
use std::pin::pin;
use weir_core::{Digests, Hasher};
use weir_store::blob::HEADER_BYTES;
use weir_store::{BlobError, Spool, Spooled};

/// Files up to this many bytes are gathered in memory.
const SMALL: u64 = 256 << 10;
/// How much may come while what came before is hashed and written.
const AHEAD: usize = 128 << 10;
/// Up to so many bytes are hashed where they are.
const INLINE: usize = 16 << 10;

/// A file that came, hashed and not yet verified.
pub(super) enum Arrived {
    InMemory { bytes: Bytes, digests: Digests },
    Spooled(Spooled),
}

impl Arrived {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::InMemory { bytes, .. } => bytes.len() as u64,
            Self::Spooled(spooled) => spooled.size,
        }
    }

    pub(super) fn digests(&self) -> &Digests {
        match self {
            Self::InMemory { digests, .. } => digests,
            Self::Spooled(spooled) => &spooled.digests,
        }
    }

    /// Its bytes, for blocking reads.
    pub(super) fn reader(&self) -> Result<Box<dyn ReadSeek + Send>, BlobError> {
        Ok(match self {
            Self::InMemory { bytes, .. } => Box::new(Cursor::new(bytes.clone())),
            Self::Spooled(spooled) => Box::new(spooled.reader()?),
        })
    }
}

/// Beyond which sizes a file is given up.
pub(super) struct Limits {
    /// `max-asset-bytes`
    pub(super) most: u64,
    /// Clients were told this length: beyond it, what is held back until all is verified would be out.
    pub(super) promised: Option<u64>,
}

impl Limits {
    fn check(&self, came: u64) -> Result<(), FetchError> {
        if came > self.most {
            return Err(too_large(self.most));
        }
        match self.promised {
            Some(promised) if came > promised => {
                Err(FetchError::Bad(format!("more than the {promised} bytes came that were promised")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

pub(super) fn too_large(most: u64) -> FetchError {
    FetchError::Bad(format!("the file is larger than {most} bytes (max-asset-bytes)"))
}

/// What came and was not yet written.
struct Ahead<'a> {
    incoming: &'a mut Incoming,
    limits: Limits,
    came: u64,
    held: Vec<Bytes>,
    held_bytes: usize,
    /// Whether readers may have had some of what came.
    is_followed: bool,
    /// Why no more comes by itself.
    broken: Option<FetchError>,
    ended: bool,
}

impl Ahead<'_> {
    /// Waits for more; after a break it asks for it. Only until then it may be dropped while it waits.
    async fn next(&mut self) -> Result<(), FetchError> {
        if let Some(why) = self.broken.take() {
            let good = self.incoming.resume(self.came, !self.is_followed, why).await?;
            if good < self.came {
                self.take();
                self.came = good;
            }
        }
        match self.incoming.chunk().await {
            Ok(Some(chunk)) => {
                self.came += chunk.len() as u64;
                self.limits.check(self.came)?;
                self.held_bytes += chunk.len();
                self.held.push(chunk);
            }
            Ok(None) => self.ended = true,
            Err(why) => self.broken = Some(why),
        }
        Ok(())
    }

    fn may_go_on(&self) -> bool {
        !self.ended && self.broken.is_none() && self.held_bytes < AHEAD
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }
}

/// Takes a file in, whose size may be known.
pub(super) async fn receive(
    incoming: &mut Incoming,
    download: &Download,
    spool: &Spool,
    size: Option<u64>,
    limits: Limits,
) -> Result<Arrived, FetchError> {
    let (held, broken) = (Vec::new(), None);
    let is_followed = false;
    let mut ahead =
        Ahead { incoming, limits, came: 0, held, held_bytes: 0, is_followed, broken, ended: false };
    if size.is_none_or(|size| size <= SMALL) {
        while !ahead.ended && ahead.came <= SMALL {
            ahead.next().await?;
        }
        if ahead.ended {
            return gathered(ahead.take()).await;
        }
    }
    ahead.is_followed = true;
    let mut writer = spool.begin().map_err(ours)?;
    download.placed(writer.path(), HEADER_BYTES).map_err(ours)?;
    loop {
        while ahead.held.is_empty() && !ahead.ended {
            ahead.next().await?;
        }
        if ahead.held.is_empty() {
            return Ok(Arrived::Spooled(writer.finish().await.map_err(ours)?));
        }
        let held = ahead.take();
        {
            let mut writing = pin!(writer.write_all(held));
            loop {
                tokio::select! {
                    biased;
                    written = &mut writing => break written.map_err(ours)?,
                    more = ahead.next(), if ahead.may_go_on() => more?,
                }
            }
        }
        download.progress.send_replace(Progress::Running { written: writer.written(), size });
    }
}

async fn gathered(pieces: Vec<Bytes>) -> Result<Arrived, FetchError> {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let hash = move || {
        let bytes = joined(pieces);
        let digests = digests_of(&bytes);
        Arrived::InMemory { bytes, digests }
    };
    if length <= INLINE {
        return Ok(hash());
    }
    tokio::task::spawn_blocking(hash).await.map_err(ours)
}

pub(super) fn digests_of(bytes: &[u8]) -> Digests {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}
