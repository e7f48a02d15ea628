//! Bytes that rot are not served. The first time a process serves a blob that it did not keep itself, and again after a
//! while or when its file was written to, its bytes are hashed on their way out; the last of them wait for the result.

use super::read::{Pieces, hash_all};
use super::{BlobError, BlobKey};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use weir_core::Digest;

/// Blobs up to this size are checked before their first byte goes out.
pub const CHECKED_FIRST: u64 = 1 << 20;
/// Of larger ones this many bytes wait until the whole is checked.
pub(super) const HELD_BACK: u64 = 64 << 10;
/// How long damage is believed without another look: files are put back from backups, and not every store says so.
const MENDED: Duration = Duration::from_secs(30);
/// Results remembered at once. When full, those that are out of date are forgotten, else all.
const MOST: usize = 65_536;
/// Whole blobs that are read at one time only because somebody wants a range of them; of one blob never two.
const LANES: usize = 16;

/// What tells one state of a stored object from the next: inode and time of the last change of a file, or tag and
/// time of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u64, pub(crate) i64, pub(crate) i64);

/// What this process knows of the bytes behind names.
#[derive(Debug)]
pub(crate) struct Checked {
    recheck_after: Duration,
    results: RwLock<HashMap<BlobKey, Outcome>>,
    lanes: [tokio::sync::Mutex<()>; LANES],
}

#[derive(Debug, Clone, Copy)]
struct Outcome {
    stamp: Stamp,
    at: Instant,
    sound: bool,
}

/// What is known of a blob that was just opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Sound,
    Damaged,
    Nothing,
}

impl Checked {
    pub(crate) fn new(recheck_after: Duration) -> Self {
        Self { recheck_after, results: RwLock::default(), lanes: Default::default() }
    }

    pub(crate) fn known(&self, key: &BlobKey, stamp: Stamp, now: Instant) -> Known {
        let results = self.results.read().unwrap_or_else(PoisonError::into_inner);
        match results.get(key) {
            Some(outcome) if outcome.stamp != stamp => Known::Nothing,
            Some(outcome) if !outcome.sound && now.saturating_duration_since(outcome.at) < MENDED => {
                Known::Damaged
            }
            Some(outcome) if outcome.sound && self.is_fresh(outcome, now) => Known::Sound,
            Some(_) | None => Known::Nothing,
        }
    }

    /// Notes a file that was kept with bytes that were hashed on their way into it.
    pub(super) fn kept(&self, key: &BlobKey, stamp: Option<Stamp>) {
        // Who reads an index document hashes it anyway.
        if let (BlobKey::Asset { .. }, Some(stamp)) = (key, stamp) {
            self.note(key, Outcome { stamp, at: Instant::now(), sound: true });
        }
    }

    /// Has blobs looked at anew.
    pub(super) fn forget(&self, keys: &[BlobKey]) {
        let mut results = self.results.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            results.remove(key);
        }
    }

    fn is_fresh(&self, outcome: &Outcome, now: Instant) -> bool {
        now.saturating_duration_since(outcome.at) < self.recheck_after
    }

    fn note(&self, key: &BlobKey, outcome: Outcome) {
        let mut results = self.results.write().unwrap_or_else(PoisonError::into_inner);
        if results.len() >= MOST && !results.contains_key(key) {
            results.retain(|_, known| self.is_fresh(known, outcome.at));
            if results.len() >= MOST {
                results.clear();
            }
        }
        results.insert(key.clone(), outcome);
    }
}

/// The check that an open blob has still to pass.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) key: BlobKey,
    pub(crate) stamp: Stamp,
    pub(crate) checked: Arc<Checked>,
}

impl Check {
    /// Whether another reader found the bytes to be right meanwhile.
    pub(super) fn is_passed(&self) -> bool {
        self.checked.known(&self.key, self.stamp, Instant::now()) == Known::Sound
    }

    /// Notes what the bytes were found to be.
    pub(super) fn conclude(&self, found: Digest) -> Result<(), BlobError> {
        let sound = found == *self.key.digest();
        self.checked.note(&self.key, Outcome { stamp: self.stamp, at: Instant::now(), sound });
        if sound {
            return Ok(());
        }
        let path = self.key.path();
        tracing::error!(blob = path, sha256 = %found, "stored bytes are damaged: they are not what they are named");
        Err(BlobError::Damaged { path })
    }

    /// Reads the whole of a file for somebody who wants a part of it.
    pub(super) async fn read_whole(self, whole: Pieces) -> io::Result<()> {
        let lane = usize::from(self.key.digest().as_bytes()[0]) % LANES;
        let _one = self.checked.lanes[lane].lock().await;
        if self.is_passed() {
            return Ok(());
        }
        let found = hash_all(whole).await?;
        self.conclude(found).map_err(damaged)
    }
}

/// How a stream says that its bytes are not what they are named.
pub(super) fn damaged(error: BlobError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether a stream of a blob ended because its bytes are damaged.
pub fn is_damage(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<BlobError>());
    matches!(inner, Some(BlobError::Damaged { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> BlobKey {
        BlobKey::Asset { domain: "d1".into(), digest: Digest::of(&number.to_le_bytes()) }
    }

    #[test]
    fn what_was_found_holds_until_it_is_old_or_the_file_was_written() {
        let (checked, now) = (Arc::new(Checked::new(Duration::from_secs(60))), Instant::now());
        let (before, after) = (Stamp(1, 2, 3), Stamp(1, 2, 4));
        assert_eq!(checked.known(&key(1), before, now), Known::Nothing);
        let check = |stamp| Check { key: key(1), stamp, checked: checked.clone() };
        assert!(check(before).conclude(*key(1).digest()).is_ok());
        assert_eq!(checked.known(&key(1), before, now), Known::Sound);
        assert_eq!(checked.known(&key(1), after, now), Known::Nothing);
        assert_eq!(checked.known(&key(2), before, now), Known::Nothing);
        checked.kept(&key(2), Some(before));
        assert_eq!(checked.known(&key(2), before, now), Known::Sound);
        checked.forget(&[key(2)]);
        assert_eq!(checked.known(&key(2), before, now), Known::Nothing);
        assert_eq!(checked.known(&key(1), before, now + Duration::from_secs(61)), Known::Nothing);
        assert!(check(after).conclude(Digest::of(b"rot")).is_err());
        assert_eq!(checked.known(&key(1), after, now), Known::Damaged);
        assert_eq!(checked.known(&key(1), after, now + Duration::from_secs(61)), Known::Nothing, "put back");
    }

    #[test]
    fn the_table_is_bounded() {
        let checked = Checked::new(Duration::from_secs(60));
        let outcome = Outcome { stamp: Stamp(0, 0, 0), at: Instant::now(), sound: true };
        for number in 0..(MOST as u32 + 10) {
            checked.note(&key(number), outcome);
        }
        assert!(checked.results.read().unwrap().len() <= MOST);
    }
}
