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

/// Open files in two generations: one that is asked for moves to the young one, and with every one that comes there an
/// old one is closed, so that the old are gone when the young take their place.
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

impl Generations {
    /// Adds a young one; what is closed for it is given back, to be dropped when nobody waits.
    #[must_use]
    fn add(&mut self, key: &BlobKey, handle: Handle, most: usize) -> [Option<Handle>; 2] {
        if self.young.len() >= most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let oldest = self.old.keys().next().cloned();
        let closed = oldest.and_then(|key| self.old.remove(&key));
        [closed, self.young.insert(key.clone(), handle)]
    }
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
        let mut closed = [None, None];
        let handle = match generations.young.get(key) {
            Some(handle) => handle.clone(),
            None => {
                let handle = generations.old.remove(key)?;
                closed = generations.add(key, handle.clone(), self.most);
                handle
            }
        };
        drop(generations);
        drop(closed);
        if handle.opened.elapsed() < LOOK_AGAIN {
            return Some(handle);
        }
        self.forget(key);
        None
    }

    pub(super) fn put(&self, key: &BlobKey, handle: Handle) {
        if self.most > 1 {
            let closed = self.lock().add(key, handle, self.most);
            drop(closed);
        }
    }

    /// Closes one, when its file is gone or another.
    pub(super) fn forget(&self, key: &BlobKey) {
        let mut generations = self.lock();
        let closed = (generations.young.remove(key), generations.old.remove(key));
        drop(generations);
        // The last one to close a removed file frees its blocks.
        drop(closed);
    }

    /// Closes all, when many files are gone.
    pub(super) fn forget_all(&self) {
        let closed = std::mem::take(&mut *self.lock());
        drop(closed);
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
    fn those_in_use_stay_and_all_stay_within_the_bound() {
        let file = Arc::new(File::from_parts(tempfile::tempfile().unwrap(), "file"));
        let open = || Arc::strong_count(&file) - 1;
        let handles = Handles::new(10);
        let mut found = 0;
        for number in 0..100 {
            handles.put(&key(number), Handle::new(file.clone(), 1));
            assert!(open() <= 10, "{number}: {} open", open());
            match handles.get(&key(0)) {
                Some(_) => found += 1,
                // It may be the old one that is closed.
                None => handles.put(&key(0), Handle::new(file.clone(), 1)),
            }
        }
        assert!(found > 80, "{found} of 100");
        assert!(handles.get(&key(50)).is_none());
        handles.forget(&key(0));
        assert!(handles.get(&key(0)).is_none());
        // Also when all of the old ones are asked for between two that are new.
        for number in 200..300 {
            handles.put(&key(number), Handle::new(file.clone(), 1));
            for other in 200..number {
                let _ = handles.get(&key(other));
            }
            assert!(open() <= 10, "{number}: {} open", open());
        }
        handles.forget_all();
        assert_eq!(open(), 0);
        let none = Handles::new(0);
        none.put(&key(1), Handle::new(file.clone(), 1));
        assert!(none.get(&key(1)).is_none());
    }
}
