//! A table that is bounded in bytes: what was used longest ago goes first, and no more of it than makes room. It
//! is asked by a hash and a comparison, so that a look-up needs no key of its own.

use std::collections::HashMap;

/// A part of the bound that is freed at once, so that not every entry has to look for room: one in eight.
const FREED_AT_ONCE: usize = 8;

pub(super) struct Lru<K, V> {
    /// By hash; of two keys with one hash the later stays.
    slots: HashMap<u64, Slot<K, V>>,
    bytes: usize,
    most_bytes: usize,
    clock: u64,
}

struct Slot<K, V> {
    key: K,
    value: V,
    weight: usize,
    used: u64,
}

impl<K, V: Clone> Lru<K, V> {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { slots: HashMap::new(), bytes: 0, most_bytes, clock: 0 }
    }

    pub(super) fn get(&mut self, hash: u64, is_wanted: impl FnOnce(&K) -> bool) -> Option<V> {
        self.clock += 1;
        let slot = self.slots.get_mut(&hash).filter(|slot| is_wanted(&slot.key))?;
        slot.used = self.clock;
        Some(slot.value.clone())
    }

    /// Keeps a value that takes `weight` bytes, unless that is more than half of all.
    pub(super) fn put(&mut self, hash: u64, key: K, value: V, weight: usize) {
        if let Some(old) = self.slots.remove(&hash) {
            self.bytes -= old.weight;
        }
        if weight > self.most_bytes / 2 {
            return;
        }
        self.clock += 1;
        self.bytes += weight;
        self.slots.insert(hash, Slot { key, value, weight, used: self.clock });
        if self.bytes > self.most_bytes {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let mut uses: Vec<(u64, u64)> = self.slots.iter().map(|(hash, slot)| (slot.used, *hash)).collect();
        uses.sort_unstable();
        let enough = self.most_bytes - self.most_bytes / FREED_AT_ONCE;
        for (_, hash) in uses {
            if self.bytes <= enough {
                break;
            }
            if let Some(old) = self.slots.remove(&hash) {
                self.bytes -= old.weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(lru: &mut Lru<u64, u64>, key: u64) -> Option<u64> {
        lru.get(key, |held| *held == key)
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut lru = Lru::new(100);
        for n in 0..30 {
            lru.put(n, n, n, 10);
            let _ = get(&mut lru, 0);
            assert!(lru.bytes <= 100);
        }
        assert_eq!(get(&mut lru, 0), Some(0));
        lru.put(99, 99, 99, 51);
        assert_eq!(get(&mut lru, 99), None, "more than half of the memory is too much for one");
    }

    #[test]
    fn a_working_set_that_fits_is_not_thrown_away_for_what_is_asked_for_once() {
        let mut lru = Lru::new(1000);
        (0..80).for_each(|n| lru.put(n, n, n, 10));
        for once in 1000..1500 {
            lru.put(once, once, once, 10);
            assert!((0..80).all(|n| get(&mut lru, n) == Some(n)), "after {once}");
        }
    }

    #[test]
    fn two_keys_with_one_hash_are_told_apart() {
        let mut lru = Lru::new(100);
        lru.put(7, "a", 1, 10);
        assert_eq!(lru.get(7, |key| *key == "b"), None);
        lru.put(7, "b", 2, 20);
        assert_eq!((lru.get(7, |key| *key == "b"), lru.bytes), (Some(2), 20));
    }
}
