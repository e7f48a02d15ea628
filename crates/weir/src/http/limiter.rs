//! Slows down who guesses credentials: a bucket of failures for each client address. A valid token never
//! meets it, so nobody is locked out by a neighbour.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Counts failed authentications.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_minute: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Failures not yet forgiven.
    level: f64,
    /// When `level` was true.
    at: Instant,
}

/// Addresses remembered at once.
const MOST_ADDRESSES: usize = 10_000;

impl Limiter {
    /// Lets `per_minute` failures of one address pass in a minute; 0 is no limit.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Mutex::default() }
    }

    /// Counts a failure; says how long to wait when there were too many.
    pub(crate) fn failed(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        if self.per_minute == 0 {
            return None;
        }
        let capacity = f64::from(self.per_minute);
        let forgiven_per_second = capacity / 60.0;
        let level_now = |bucket: &Bucket| {
            (bucket.level - now.saturating_duration_since(bucket.at).as_secs_f64() * forgiven_per_second)
                .max(0.0)
        };
        // A poisoned lock only means that a count may be off by one.
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= MOST_ADDRESSES {
            buckets.retain(|_, bucket| level_now(bucket) > 0.0);
            if buckets.len() >= MOST_ADDRESSES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(group(client)).or_insert(Bucket { level: 0.0, at: now });
        let level = level_now(bucket);
        *bucket = Bucket { level: (level + 1.0).min(capacity + 1.0), at: now };
        if level + 1.0 <= capacity {
            return None;
        }
        Some(
            Duration::from_secs_f64((level + 1.0 - capacity) / forgiven_per_second)
                .max(Duration::from_secs(1)),
        )
    }
}

/// One client may have a whole /64 of IPv6 addresses.
pub(crate) fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn the_failure_after_the_limit_is_told_to_wait_and_time_forgives() {
        let (limiter, start) = (Limiter::new(3), Instant::now());
        for _ in 0..3 {
            assert_eq!(limiter.failed(ONE, start), None);
        }
        assert!(limiter.failed(ONE, start).is_some());
        assert_eq!(
            limiter.failed("192.0.2.2".parse().unwrap(), start),
            None,
            "a neighbour is not slowed down"
        );
        assert_eq!(limiter.failed(ONE, start + Duration::from_secs(41)), None);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_together() {
        let (limiter, now) = (Limiter::new(1), Instant::now());
        assert_eq!(limiter.failed("2001:db8::1".parse().unwrap(), now), None);
        assert!(limiter.failed("2001:db8::ffff:2".parse().unwrap(), now).is_some());
        assert_eq!(limiter.failed("2001:db8:0:1::1".parse().unwrap(), now), None);
    }

    #[test]
    fn no_limit_and_many_addresses_stay_bounded() {
        let now = Instant::now();
        assert_eq!(Limiter::new(0).failed(ONE, now), None);
        let limiter = Limiter::new(1);
        for number in 0..(MOST_ADDRESSES as u32 + 10) {
            limiter.failed(IpAddr::V4(number.into()), now);
        }
        assert!(limiter.buckets.lock().unwrap().len() <= MOST_ADDRESSES);
    }
}
