//! Concurrency limits by key, such as a namespace, and in total. A tenant with hundreds of calls waits for its own calls
//! and delays no other tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out permits, a limited number for each key.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    limit_per_key: usize,
    total: Option<Arc<Semaphore>>,
    by_key: Mutex<Keys>,
}

/// The semaphores of keys that hold or await a permit, and of as many idle ones.
#[derive(Debug, Default)]
struct Keys {
    semaphores: HashMap<String, Arc<Semaphore>>,
    /// Keys above which idle ones are forgotten: a sweep for every new key would cost a crowd of keys its square.
    sweep_above: usize,
}

/// Allows one thing to be done, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    _of_key: OwnedSemaphorePermit,
    _of_total: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimiter {
    /// At most `limit` permits of each key at a time, however many keys there are.
    pub fn per_key(limit: usize) -> Self {
        ConcurrencyLimiter { limit_per_key: limit, total: None, by_key: Mutex::default() }
    }

    /// The same, with at most `limit` permits of all keys together.
    pub fn with_total(self, limit: usize) -> Self {
        ConcurrencyLimiter { total: Some(Arc::new(Semaphore::new(limit))), ..self }
    }

    /// Waits for a permit: among its own key first, so that no key has more than its limit in the common line.
    pub async fn acquire(&self, key: &str) -> Permit {
        let of_key = self.semaphore_of(key).acquire_owned().await.expect("it is never closed");
        let of_total = match self.total.clone() {
            Some(total) => Some(total.acquire_owned().await.expect("it is never closed")),
            None => None,
        };
        Permit { _of_key: of_key, _of_total: of_total }
    }

    /// How many keys are kept.
    #[cfg(test)]
    fn keys(&self) -> usize {
        self.by_key.lock().unwrap().semaphores.len()
    }

    fn semaphore_of(&self, key: &str) -> Arc<Semaphore> {
        let mut keys = self.by_key.lock().unwrap();
        if keys.semaphores.len() > keys.sweep_above {
            // A permit, and a call that waits for one, hold a clone.
            keys.semaphores.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            keys.sweep_above = 2 * keys.semaphores.len();
        }
        if let Some(known) = keys.semaphores.get(key) {
            return known.clone();
        }
        let new = Arc::new(Semaphore::new(self.limit_per_key));
        keys.semaphores.insert(key.to_owned(), new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_with_hundreds_of_calls_leaves_permits_to_others() {
        let limiter = ConcurrencyLimiter::per_key(4).with_total(32);
        let mut waiting: Vec<_> = (0..500).map(|_| Box::pin(limiter.acquire("many"))).collect();
        let held: Vec<_> = waiting.iter_mut().filter_map(|permit| permit.now_or_never()).collect();
        assert_eq!(held.len(), 4);
        assert!(limiter.acquire("one").now_or_never().is_some(), "another need not wait");
    }

    #[tokio::test]
    async fn a_released_permit_goes_to_the_next_and_idle_keys_are_forgotten() {
        let limiter = ConcurrencyLimiter::per_key(4).with_total(32);
        let held: Vec<_> =
            (0..32).map(|n| limiter.acquire(&format!("n{n}")).now_or_never().unwrap()).collect();
        assert!(limiter.acquire("late").now_or_never().is_none(), "all are taken");
        drop(held);
        for n in 0..1000 {
            drop(limiter.acquire(&format!("late-{n}")).await);
        }
        assert!(limiter.keys() < 64, "{}", limiter.keys());
    }

    #[tokio::test]
    async fn without_a_total_any_number_of_keys_has_permits() {
        let limiter = ConcurrencyLimiter::per_key(1);
        let held: Vec<_> = (0..100).map(|n| limiter.acquire(&format!("n{n}")).now_or_never()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(limiter.acquire("n7").now_or_never().is_none());
    }
}
