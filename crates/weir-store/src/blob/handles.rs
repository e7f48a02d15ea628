//! Files that are kept open, since a warm file would cost more to open than to read. A file that was replaced or
//! removed meanwhile is not used any more: the look at it that every use begins with says so.

use super::BlobKey;
use fs_err::File;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After so long a path is looked at again, should the removed file live on under another name (a backup by links).
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// At most so many files are kept open, however many may be.
const MOST: usize = 2048;

/// How many are kept open by a process that may open as many files as this one: most of those are for connections.
pub fn handles_that_fit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.and_then(|limit| usize::try_from(limit / 16).ok()).unwrap_or(MOST).min(MOST)
}

/// An open file of a blob, its header read.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    pub(super) file: Arc<File>,
    /// Bytes of the blob.
    pub(super) size: u64,
    opened: Instant,
}

impl Handle {
    pub(super) fn new(file: Arc<File>, size: u64) -> Self {
        Self { file, size, opened: Instant::now() }
    }
}

/// Open files in two generations: one that is asked for moves to the young one, and when that is full the old one is
/// closed.
#[derive(Debug, Default)]
pub(super) struct Handles {
    most: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<BlobKey, Handle>,
    old: HashMap<BlobKey, Handle>,
}

impl Handles {
    /// At most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &BlobKey) -> Option<Handle> {
        let mut generations = self.lock();
        let handle = match generations.young.get(key) {
            Some(handle) => handle.clone(),
            None => {
                let handle = generations.old.remove(key)?;
                generations.young.insert(key.clone(), handle.clone());
                handle
            }
        };
        if handle.opened.elapsed() < LOOK_AGAIN {
            return Some(handle);
        }
        generations.young.remove(key);
        None
    }

    pub(super) fn put(&self, key: &BlobKey, handle: Handle) {
        let mut generations = self.lock();
        if generations.young.len() >= self.most / 2 {
            let full = std::mem::take(&mut generations.young);
            let closed = std::mem::replace(&mut generations.old, full);
            drop(generations);
            // Closing takes a while; others need not wait for it.
            drop(closed);
            generations = self.lock();
        }
        if self.most > 1 {
            generations.young.insert(key.clone(), handle);
        }
    }

    /// Closes one, where it is known that its file is to go.
    pub(super) fn forget(&self, key: &BlobKey) {
        let mut generations = self.lock();
        generations.young.remove(key);
        generations.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Digest;

    fn key(number: u32) -> BlobKey {
        BlobKey::Asset { domain: "d1".into(), digest: Digest::of(&number.to_le_bytes()) }
    }

    #[test]
    fn those_in_use_stay_within_the_bound() {
        let file = Arc::new(File::from_parts(tempfile::tempfile().unwrap(), "file"));
        let handles = Handles::new(10);
        for number in 0..100 {
            handles.put(&key(number), Handle::new(file.clone(), 1));
            assert!(handles.get(&key(0)).is_some(), "{number}");
        }
        assert!(handles.get(&key(50)).is_none());
        let open = Arc::strong_count(&file) - 1;
        assert!(open <= 11, "{open}");
        handles.forget(&key(0));
        assert!(handles.get(&key(0)).is_none());
        let none = Handles::new(0);
        none.put(&key(1), Handle::new(file, 1));
        assert!(none.get(&key(1)).is_none());
    }
}
