//! What one client may have in flight at a time: uploads, files that are fetched for it, and requests in a second
//! where a setting says so. Whoever has too much is told to come again in a second; what is warm is never counted.

use crate::Registry;
use crate::topology::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weir_core::{Caller, Error, Principal, Result};

/// When to come again: whatever holds the places, some are free soon.
const SOON: Duration = Duration::from_secs(1);
/// A rate may be exceeded by so many seconds' worth at once.
const BURST_SECONDS: f64 = 10.0;
/// Principals whose rate is remembered at once.
const MOST_PRINCIPALS: usize = 10_000;

/// The limits of one process.
pub(crate) struct Limits {
    uploads: Places,
    fetches: Places,
    rate: Rate,
}

impl Limits {
    pub(crate) fn new(settings: &crate::Settings) -> Self {
        Self {
            uploads: Places::new(settings.max_uploads_per_client),
            fetches: Places::new(settings.max_fetches_per_client),
            rate: Rate { per_second: settings.rate_limit, buckets: Mutex::default() },
        }
    }
}

/// An upload in flight, until dropped.
#[must_use]
pub struct UploadPlace {
    _of_principal: Option<Place>,
    _of_address: Option<Place>,
}

impl Registry {
    /// Counts an upload of a caller at an address (IPv6: its network) for as long as the answer is held. Errors:
    /// Throttled when either has `max-uploads-per-client` in flight.
    pub fn upload_place(&self, caller: &Caller, address: Option<IpAddr>) -> Result<UploadPlace> {
        let uploads = &self.inner.limits.uploads;
        let full = |who: String| {
            throttled(format!(
                "{who} has {} uploads in flight already (max-uploads-per-client); try again when one has ended",
                uploads.most
            ))
        };
        let of_principal = match caller {
            Caller::Principal(principal) => {
                Some(uploads.take(&principal.id).ok_or_else(|| full(format!("user '{}'", principal.name)))?)
            }
            Caller::Anonymous => None,
        };
        let of_address = match address {
            Some(address) => {
                Some(uploads.take(&address.to_string()).ok_or_else(|| full(address.to_string()))?)
            }
            None => None,
        };
        Ok(UploadPlace { _of_principal: of_principal, _of_address: of_address })
    }

    /// Counts a request of a caller. Errors: Throttled beyond `rate-limit`.
    pub fn count_request(&self, caller: &Caller) -> Result<()> {
        let Caller::Principal(principal) = caller else { return Ok(()) };
        self.inner.limits.rate.count(principal, Instant::now())
    }

    /// Counts a file that is fetched for a caller, until the answer is dropped; `Err` says why not.
    pub(crate) fn fetch_place(&self, caller: &Caller) -> Result<Option<Place>, (Duration, String)> {
        let Caller::Principal(principal) = caller else { return Ok(None) };
        let fetches = &self.inner.limits.fetches;
        match fetches.take(&principal.id) {
            Some(place) => Ok(Some(place)),
            None => Err((
                SOON,
                format!(
                    "{} files are being fetched for user '{}' already (max-fetches-per-client)",
                    fetches.most, principal.name
                ),
            )),
        }
    }
}

fn throttled(message: String) -> Error {
    Error::Throttled { retry_after: SOON, message }
}

/// So many places for each name.
struct Places {
    most: usize,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// One of them, until dropped.
#[must_use]
pub(crate) struct Place {
    name: String,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

impl Places {
    /// 0 is no limit.
    fn new(most: usize) -> Self {
        let most = if most == 0 { usize::MAX } else { most };
        Self { most, taken: Arc::default() }
    }

    fn take(&self, name: &str) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let count = taken.entry(name.to_owned()).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { name: name.to_owned(), taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.name);
            }
        }
    }
}

/// Requests of each principal in a second.
struct Rate {
    /// 0 is no limit.
    per_second: u32,
    /// Requests not yet forgiven, and when that was true.
    buckets: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Rate {
    fn count(&self, principal: &Principal, now: Instant) -> Result<()> {
        if self.per_second == 0 {
            return Ok(());
        }
        let per_second = f64::from(self.per_second);
        let forgiven = |(level, at): (f64, Instant)| {
            (level - now.saturating_duration_since(at).as_secs_f64() * per_second).max(0.0)
        };
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= MOST_PRINCIPALS && !buckets.contains_key(&principal.id) {
            buckets.retain(|_, bucket| forgiven(*bucket) > 0.0);
            if buckets.len() >= MOST_PRINCIPALS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(principal.id.clone()).or_insert((0.0, now));
        let level = forgiven(*bucket);
        // Who is refused is not counted, so that patience is rewarded.
        let allowed = level + 1.0 <= per_second * BURST_SECONDS;
        *bucket = (if allowed { level + 1.0 } else { level }, now);
        if allowed {
            return Ok(());
        }
        Err(throttled(format!(
            "user '{}' sends more than {} requests in a second (rate-limit)",
            principal.name, self.per_second
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_name_and_given_back() {
        let places = Places::new(2);
        let first = places.take("a").expect("a place");
        let _second = places.take("a").expect("a place");
        assert!(places.take("a").is_none() && places.take("b").is_some());
        drop(first);
        assert!(places.take("a").is_some());
        assert_eq!(lock(&places.taken).len(), 1, "names without places are forgotten");
        assert!((0..100).map(|_| Places::new(0).take("a")).all(|place| place.is_some()));
    }

    #[test]
    fn a_burst_is_allowed_and_time_forgives() {
        let account = weir_core::AccountId::parse("account", "000000000000").expect("an account");
        let principal = Principal {
            id: "AIDA1".to_owned(),
            arn: weir_core::Arn::from_text("arn:aws:iam::000000000000:user/ada"),
            account,
            kind: weir_core::PrincipalKind::User,
            name: "ada".to_owned(),
            policy: Arc::default(),
            scope: None,
        };
        let now = Instant::now();
        let rate = Rate { per_second: 2, buckets: Mutex::default() };
        let passed = (0..30).filter(|_| rate.count(&principal, now).is_ok()).count();
        assert_eq!(passed, 20);
        assert!(matches!(rate.count(&principal, now), Err(Error::Throttled { .. })));
        assert!(rate.count(&principal, now + Duration::from_secs(1)).is_ok());
        assert!(Rate { per_second: 0, buckets: Mutex::default() }.count(&principal, now).is_ok());
    }
}
