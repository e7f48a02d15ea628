//! One download, many readers.
//!
//! A download is a file in the spool that grows, and a channel that tells how far it is. Every reader reads
//! the file from its start and waits on the channel when it has caught up; leaving early disturbs nobody.
//! A small one is in memory instead. The last 64 KiB are held back until the download is verified and its rows
//! are committed, and of files up to 1 MiB everything is.

use crate::topology::lock;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use weir_core::Digest;
use weir_store::rows::Id;

use super::client::FetchError;

/// Files up to this many bytes are verified before their first byte goes out.
pub(crate) const VERIFIED_FIRST: u64 = 1024 * 1024;
/// Of larger files this many bytes wait for the verification of the whole.
const HELD_BACK: u64 = 64 * 1024;
/// How much a reader takes at a time.
const PIECE: u64 = 64 * 1024;
/// From this many readers on they are a crowd, which shares what it has in memory.
const CROWD: usize = 8;
/// What a crowd shares.
const BLOCK: u64 = 32 * 1024;
/// How many blocks are known before those are forgotten that nobody has any more.
const MOST_BLOCKS: usize = 1024;

/// What tells downloads apart: domain, connection, and the file's coordinate.
pub(crate) type FlightKey = (Id, String, String);

/// The downloads in the air.
#[derive(Default)]
pub(crate) struct Flights {
    table: Mutex<HashMap<FlightKey, Weak<Download>>>,
}

/// How far a download is.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// The registry has not answered yet.
    Asking,
    /// So many bytes lie in the spool.
    Running { written: u64, size: Option<u64> },
    /// Verified, kept, and in the tables.
    Done { size: u64, digest: Digest },
    /// It failed; nothing is kept.
    Failed(FetchError),
}

/// A download in the air.
pub(crate) struct Download {
    /// Where the bytes of a large file lie, and the offset of the first. Opened while the file still has its spool
    /// name, so that the rename at the end is not noticed.
    file: OnceLock<(Arc<std::fs::File>, u64)>,
    /// The bytes of a small one, once they are verified.
    gathered: OnceLock<Bytes>,
    /// What readers have in memory of a large one, by number of the block.
    blocks: Mutex<HashMap<u64, Weak<Vec<u8>>>>,
    pub(crate) progress: watch::Sender<Progress>,
    /// The repository by whose connection it goes; its row is written first.
    pub(crate) holder: OnceLock<Id>,
    /// Repositories that get a row when it is done; `None` once they were written.
    pub(crate) interested: Mutex<Option<Vec<Id>>>,
    /// Told when the first of them comes.
    asked: Notify,
}

impl Download {
    fn new() -> Self {
        Self {
            file: OnceLock::new(),
            gathered: OnceLock::new(),
            blocks: Mutex::default(),
            progress: watch::Sender::new(Progress::Asking),
            holder: OnceLock::new(),
            interested: Mutex::new(Some(Vec::new())),
            asked: Notify::new(),
        }
    }

    /// Says where the bytes will lie.
    pub(crate) fn placed(&self, path: &Path, offset: u64) -> io::Result<()> {
        let file = fs_err::File::open(path)?;
        // Set once, by the one task that downloads, as `gathered` is.
        let _ = self.file.set((Arc::new(file.into_parts().0), offset));
        Ok(())
    }

    /// Gives the bytes of a small file, which are verified.
    pub(crate) fn gathered(&self, bytes: Bytes) {
        let _ = self.gathered.set(bytes);
    }

    fn block(&self, number: u64) -> Option<Arc<Vec<u8>>> {
        lock(&self.blocks).get(&number)?.upgrade()
    }

    fn share(&self, number: u64, block: &Arc<Vec<u8>>) {
        let mut blocks = lock(&self.blocks);
        if blocks.len() >= MOST_BLOCKS {
            blocks.retain(|_, block| block.strong_count() > 0);
        }
        blocks.insert(number, Arc::downgrade(block));
    }

    /// Registers repositories for a row each; false when it is too late and the caller must write them.
    pub(crate) fn register(&self, repositories: &[&Id]) -> bool {
        match &mut *lock(&self.interested) {
            Some(list) => {
                for repository in repositories {
                    if !list.contains(repository) {
                        list.push((*repository).clone());
                    }
                }
                self.asked.notify_one();
                true
            }
            None => false,
        }
    }

    /// Whether a repository wants the file by now.
    pub(crate) fn is_wanted(&self) -> bool {
        lock(&self.interested).as_ref().is_some_and(|list| !list.is_empty())
    }

    /// Whether a repository wants the file, waiting so long for one. After a no, none can register any more.
    pub(crate) async fn wanted_within(&self, patience: Duration) -> bool {
        // Who registered before left a permit; what counts is the list.
        let _ = tokio::time::timeout(patience, self.asked.notified()).await;
        let mut interested = lock(&self.interested);
        if interested.as_ref().is_some_and(|list| !list.is_empty()) {
            return true;
        }
        *interested = None;
        false
    }
}

impl Flights {
    /// The download of that key, and whether the caller is the one who must start it.
    pub(crate) fn join(&self, key: &FlightKey) -> (Arc<Download>, bool) {
        let mut table = lock(&self.table);
        if let Some(download) = table.get(key).and_then(Weak::upgrade)
            && !matches!(*download.progress.borrow(), Progress::Done { .. } | Progress::Failed(_))
        {
            return (download, false);
        }
        if table.len() > 1024 {
            table.retain(|_, download| download.strong_count() > 0);
        }
        let download = Arc::new(Download::new());
        table.insert(key.clone(), Arc::downgrade(&download));
        (download, true)
    }
}

/// A reader of a download.
pub struct FlightReader {
    download: Arc<Download>,
    progress: watch::Receiver<Progress>,
}

impl FlightReader {
    pub(crate) fn new(download: Arc<Download>) -> Self {
        let progress = download.progress.subscribe();
        Self { download, progress }
    }

    /// Waits until the registry has answered; gives the size if it is known.
    pub(crate) async fn headers(&mut self) -> Result<Option<u64>, FetchError> {
        let state = self.progress.wait_for(|p| !matches!(p, Progress::Asking)).await.map_err(gone)?;
        match &*state {
            Progress::Asking => Ok(None),
            Progress::Running { size, .. } => Ok(*size),
            Progress::Done { size, .. } => Ok(Some(*size)),
            Progress::Failed(why) => Err(why.clone()),
        }
    }

    /// Waits until bytes may go out: more than 1 MiB are here, or all are and verified.
    pub(crate) async fn first_bytes(&mut self) -> Result<Option<u64>, FetchError> {
        let ready = |p: &Progress| match p {
            Progress::Asking => false,
            Progress::Running { written, .. } => *written > VERIFIED_FIRST,
            Progress::Done { .. } | Progress::Failed(_) => true,
        };
        let state = self.progress.wait_for(ready).await.map_err(gone)?;
        match &*state {
            Progress::Asking => Ok(None),
            Progress::Running { size, .. } => Ok(*size),
            Progress::Done { size, .. } => Ok(Some(*size)),
            Progress::Failed(why) => Err(why.clone()),
        }
    }

    /// Waits for the end: size and digest of what is now held.
    pub(crate) async fn done(&mut self) -> Result<(u64, Digest), FetchError> {
        let over = |p: &Progress| matches!(p, Progress::Done { .. } | Progress::Failed(_));
        let state = self.progress.wait_for(over).await.map_err(gone)?;
        match &*state {
            Progress::Done { size, digest } => Ok((*size, *digest)),
            Progress::Failed(why) => Err(why.clone()),
            Progress::Asking | Progress::Running { .. } => Err(gone(())),
        }
    }

    /// The bytes of a range (to the end when it has none), as they come.
    pub(crate) fn stream(self, range: Option<Range<u64>>) -> BoxStream<'static, io::Result<Bytes>> {
        let (start, end) = range.map_or((0, None), |range| (range.start, Some(range.end)));
        let state = (self, start, end);
        Box::pin(futures_util::stream::try_unfold(state, |(mut reader, at, end)| async move {
            let Some(until) = reader.released(at, end).await? else { return Ok(None) };
            let bytes = reader.read(at, until).await?;
            let until = at + bytes.len() as u64;
            Ok(Some((bytes, (reader, until, end))))
        }))
    }

    /// How far the bytes may go out, waiting until that is beyond `at`; `None` at the end.
    async fn released(&mut self, at: u64, end: Option<u64>) -> io::Result<Option<u64>> {
        if end.is_some_and(|end| at >= end) {
            return Ok(None);
        }
        loop {
            let limit = match &*self.progress.borrow_and_update() {
                Progress::Asking => None,
                Progress::Running { written, .. } if *written > VERIFIED_FIRST => {
                    Some((written - HELD_BACK, false))
                }
                Progress::Running { .. } => None,
                Progress::Done { size, .. } => Some((*size, true)),
                Progress::Failed(why) => return Err(io::Error::other(why.to_string())),
            };
            if let Some((limit, over)) = limit {
                let limit = end.map_or(limit, |end| end.min(limit));
                if at < limit {
                    return Ok(Some(limit));
                }
                if over {
                    return Ok(None);
                }
            }
            self.progress.changed().await.map_err(|_| io::Error::other("the download was given up"))?;
        }
    }

    /// Some of the bytes from here to there, at least one.
    async fn read(&self, from: u64, to: u64) -> io::Result<Bytes> {
        if let Some(bytes) = self.download.gathered.get() {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(bytes.slice(place(from)..place(to)));
        }
        let number = from / BLOCK;
        let start = number * BLOCK;
        if self.download.progress.receiver_count() < CROWD || to < start + BLOCK {
            return self.read_file(from, (to - from).min(PIECE)).await.map(Bytes::from);
        }
        let block = match self.download.block(number) {
            Some(block) => block,
            None => {
                let block = Arc::new(self.read_file(start, BLOCK).await?);
                self.download.share(number, &block);
                block
            }
        };
        let first = usize::try_from(from - start).map_err(io::Error::other)?;
        if first >= block.len() {
            return self.read_file(from, (to - from).min(PIECE)).await.map(Bytes::from);
        }
        Ok(Bytes::from_owner(Block(block)).slice(first..))
    }

    /// At least one byte, at most so many.
    async fn read_file(&self, from: u64, length: u64) -> io::Result<Vec<u8>> {
        let missing = || io::Error::other("the download has no file");
        let (file, offset) = self.download.file.get().cloned().ok_or_else(missing)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        // It was written a moment ago, so mostly it is in memory still.
        if let Some(bytes) = weir_store::read_cached(&file, offset + from, length) {
            return Ok(bytes);
        }
        tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, offset + from)?;
            Ok(buffer)
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// A block of which several have a part.
struct Block(Arc<Vec<u8>>);

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn gone<E>(_: E) -> FetchError {
    FetchError::Unavailable {
        retry_after: Duration::from_secs(1),
        why: "the download was given up".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_kept_for_whoever_registers_in_time_and_for_nobody_else() {
        let patience = Duration::from_millis(20);
        let before = Download::new();
        assert!(before.register(&[&"main".into()]));
        assert!(before.wanted_within(Duration::ZERO).await, "who registered before");

        let during = Arc::new(Download::new());
        let waiting = tokio::spawn({
            let during = during.clone();
            async move { during.wanted_within(Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        assert!(during.register(&[&"main".into()]));
        assert!(waiting.await.expect("it does not panic"), "who came while it waited");

        let never = Download::new();
        assert!(!never.wanted_within(patience).await);
        assert!(!never.register(&[&"main".into()]), "who comes too late");
    }

    #[tokio::test]
    async fn a_crowd_gets_the_same_bytes_as_one_reader_and_holds_them_once() {
        use futures_util::TryStreamExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..3 * VERIFIED_FIRST + 77).map(|n| (n % 251) as u8).collect();
        fs_err::write(&path, [&[0; 10][..], &bytes].concat()).expect("it can be written");
        let download = Arc::new(Download::new());
        download.placed(&path, 10).expect("it can be opened");
        let size = bytes.len() as u64;
        download.progress.send_replace(Progress::Done { size, digest: Digest::of(&bytes) });
        let ranges = [
            None,
            Some(0..1),
            Some(5..size),
            Some(BLOCK - 1..BLOCK + 1),
            Some(BLOCK..3 * BLOCK),
            Some(0..size),
        ];
        for crowd in [0, CROWD] {
            let others: Vec<_> = (0..crowd).map(|_| FlightReader::new(download.clone())).collect();
            for range in &ranges {
                let (from, to) = range.clone().map_or((0, size), |range| (range.start, range.end));
                let stream = FlightReader::new(download.clone()).stream(range.clone());
                let read: Vec<Bytes> = stream.try_collect().await.expect("they can be read");
                assert!(read.concat() == bytes[from as usize..to as usize], "{crowd} {range:?}");
            }
            drop(others);
        }
        let _crowd: Vec<_> = (0..CROWD).map(|_| FlightReader::new(download.clone())).collect();
        let reader = FlightReader::new(download.clone());
        let first = reader.read(0, size).await.expect("they can be read");
        let second = reader.read(0, size).await.expect("they can be read");
        assert_eq!(first.as_ptr(), second.as_ptr());
        drop((first, second));
        assert!(download.block(0).is_none(), "nobody has it any more");
    }
}
