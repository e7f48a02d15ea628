//! One download, many readers.
//!
//! A download is a file in the spool that grows, and a channel that tells how far it is. Every reader is given
//! the file from its start, as parts that may be sent as they lie there, and waits on the channel when it has caught up;
//! leaving early disturbs nobody. A small one is in memory instead. The last 64 KiB are held back until the download is
//! verified and its rows are committed, and of files up to 1 MiB everything is.

use crate::open::{Part, Parts};
use crate::topology::lock;
use bytes::Bytes;
use fs_err::File;
use futures_util::{StreamExt as _, stream};
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use weir_core::Digest;
use weir_store::blob::FileRange;
use weir_store::rows::Id;

use super::client::FetchError;

/// Files up to this many bytes are verified before their first byte goes out.
pub(crate) const VERIFIED_FIRST: u64 = 1024 * 1024;
/// Of larger files this many bytes wait for the verification of the whole.
const HELD_BACK: u64 = 64 * 1024;
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
    file: OnceLock<(Arc<File>, u64)>,
    /// The bytes of a small one, once they are verified.
    gathered: OnceLock<Bytes>,
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
            progress: watch::Sender::new(Progress::Asking),
            holder: OnceLock::new(),
            interested: Mutex::new(Some(Vec::new())),
            asked: Notify::new(),
        }
    }

    /// Says where the bytes will lie.
    pub(crate) fn placed(&self, path: &Path, offset: u64) -> io::Result<()> {
        let file = File::open(path)?;
        // Set once, by the one task that downloads, as `gathered` is.
        let _ = self.file.set((Arc::new(file), offset));
        Ok(())
    }

    /// Gives the bytes of a small file, which are verified.
    pub(crate) fn gathered(&self, bytes: Bytes) {
        let _ = self.gathered.set(bytes);
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
    pub(crate) fn parts(self, range: Option<Range<u64>>) -> Parts {
        let (start, end) = range.map_or((0, None), |range| (range.start, Some(range.end)));
        let parts = stream::try_unfold((self, start), move |(mut reader, at)| async move {
            let Some(until) = reader.released(at, end).await? else { return Ok(None) };
            Ok(Some((reader.part(at..until)?, (reader, until))))
        });
        parts.boxed()
    }

    /// How far the bytes may go out, waiting until that is beyond `at`; `None` at the end.
    async fn released(&mut self, at: u64, end: Option<u64>) -> io::Result<Option<u64>> {
        if end.is_some_and(|end| at >= end) {
            return Ok(None);
        }
        loop {
            let limit = match &*self.progress.borrow_and_update() {
                Progress::Asking => None,
                // More than the size would be out before it is verified that there is more.
                Progress::Running { written, size } => {
                    let written = size.map_or(*written, |size| size.min(*written));
                    (written > VERIFIED_FIRST).then(|| (written - HELD_BACK, false))
                }
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

    fn part(&self, range: Range<u64>) -> io::Result<Part> {
        if let Some(bytes) = self.download.gathered.get() {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(Part::Bytes(bytes.slice(place(range.start)..place(range.end))));
        }
        let missing = || io::Error::other("the download has no file");
        let (file, offset) = self.download.file.get().ok_or_else(missing)?;
        Ok(Part::File(FileRange::new(file.clone(), offset + range.start..offset + range.end)))
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
    use crate::open::bytes_of;

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
    async fn readers_get_what_is_released_and_the_rest_when_it_is_verified() {
        use futures_util::TryStreamExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..3 * VERIFIED_FIRST + 77).map(|n| (n % 251) as u8).collect();
        fs_err::write(&path, [&[0; 10][..], &bytes].concat()).expect("it can be written");
        let size = bytes.len() as u64;
        let download = Arc::new(Download::new());
        download.placed(&path, 10).expect("it can be opened");
        download.progress.send_replace(Progress::Running { written: size, size: Some(size) });
        let mut early = FlightReader::new(download.clone()).parts(None);
        let first = early.try_next().await.expect("it can be read").map(|part| part.len());
        assert_eq!(first, Some(size - HELD_BACK));
        let told = size - 2 * HELD_BACK;
        download.progress.send_replace(Progress::Running { written: size, size: Some(told) });
        let mut longer = FlightReader::new(download.clone()).parts(None);
        let first = longer.try_next().await.expect("it can be read").map(|part| part.len());
        assert_eq!(first, Some(told - HELD_BACK), "more came than was told");
        download.progress.send_replace(Progress::Done { size, digest: Digest::of(&bytes) });
        assert_eq!(early.try_next().await.expect("it can be read").map(|part| part.len()), Some(HELD_BACK));
        assert!(early.try_next().await.expect("it can be read").is_none());
        for range in
            [None, Some(0..1), Some(5..size), Some(70_000..200_000), Some(size - 1..size), Some(9..9)]
        {
            let (from, to) = range.clone().map_or((0, size), |range| (range.start, range.end));
            let read = bytes_of(FlightReader::new(download.clone()).parts(range.clone()));
            let read: Vec<Bytes> = read.try_collect().await.expect("they can be read");
            assert!(read.concat() == bytes[from as usize..to as usize], "{range:?}");
        }
    }
}
