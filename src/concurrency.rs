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

/// The keys that hold or await a permit, and as many idle ones.
#[derive(Debug, Default)]
struct Keys {
    by_name: HashMap<String, Arc<Key>>,
    /// Keys above which idle ones are forgotten: a sweep for every new key would cost a crowd of keys its square.
    sweep_above: usize,
}

#[derive(Debug)]
struct Key {
    permits: Arc<Semaphore>,
    /// Held by the one call of the key that is in the common line. The key's next call joins that line at its end, so that
    /// keys take turns.
    turn: Semaphore,
}

/// Allows one thing to be done, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    _key: Arc<Key>,
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

    /// Waits for a permit: first for one of the key, then for the key's turn among all.
    pub async fn acquire(&self, key: &str) -> Permit {
        self.permit(self.key(key)).await
    }

    /// The same, unless `most` calls of the key hold or await a permit already.
    pub async fn acquire_unless_crowded(&self, key: &str, most: usize) -> Option<Permit> {
        let key = self.key(key);
        // Each of them holds a clone, as do the map and this call.
        match Arc::strong_count(&key) < most + 2 {
            true => Some(self.permit(key).await),
            false => None,
        }
    }

    async fn permit(&self, key: Arc<Key>) -> Permit {
        let of_key = key.permits.clone().acquire_owned().await.expect("it is never closed");
        let of_total = match self.total.clone() {
            Some(total) => {
                let _turn = key.turn.acquire().await.expect("it is never closed");
                Some(total.acquire_owned().await.expect("it is never closed"))
            }
            None => None,
        };
        Permit { _key: key, _of_key: of_key, _of_total: of_total }
    }

    /// How many keys are kept.
    #[cfg(test)]
    fn keys(&self) -> usize {
        self.by_key.lock().unwrap().by_name.len()
    }

    fn key(&self, key: &str) -> Arc<Key> {
        let mut keys = self.by_key.lock().unwrap();
        if keys.by_name.len() > keys.sweep_above {
            // A permit, and a call that waits for one, hold a clone.
            keys.by_name.retain(|_, key| Arc::strong_count(key) > 1);
            keys.sweep_above = 2 * keys.by_name.len();
        }
        if let Some(known) = keys.by_name.get(key) {
            return known.clone();
        }
        let permits = Arc::new(Semaphore::new(self.limit_per_key));
        let new = Arc::new(Key { permits, turn: Semaphore::new(1) });
        keys.by_name.insert(key.to_owned(), new.clone());
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
    async fn keys_that_wait_take_turns_whatever_each_has_waiting() {
        let limiter = ConcurrencyLimiter::per_key(4).with_total(1);
        let first = limiter.acquire("first").await;
        let order = Mutex::new(Vec::new());
        let work = async |key: &'static str| {
            let _permit = limiter.acquire(key).await;
            order.lock().unwrap().push(key);
        };
        let many = futures::future::join_all((0..40).map(|_| work("many")));
        let few = futures::future::join_all(["one", "two", "three"].map(work));
        futures::join!(many, few, async { drop(first) });
        let order = order.into_inner().unwrap();
        let last = order.iter().rposition(|key| *key != "many").unwrap();
        assert!(last <= 3, "after one of the many: {:?}", &order[..8]);
        assert_eq!(order.len(), 43);
    }

    #[tokio::test]
    async fn a_crowded_key_is_turned_away_and_another_is_not() {
        let limiter = ConcurrencyLimiter::per_key(1).with_total(2);
        let mut calls: Vec<_> = (0..5).map(|_| Box::pin(limiter.acquire_unless_crowded("many", 3))).collect();
        let mut seen: Vec<_> = calls.iter_mut().map(|call| call.now_or_never()).collect();
        let is_refused = |seen: &Option<Option<Permit>>| matches!(seen, Some(None));
        assert!(matches!(seen[0], Some(Some(_))) && seen[1].is_none() && seen[2].is_none());
        assert!(is_refused(&seen[3]) && is_refused(&seen[4]));
        let other = limiter.acquire_unless_crowded("one", 3).now_or_never();
        assert!(matches!(other, Some(Some(_))));
        drop((seen.drain(..), calls.drain(..)));
        assert!(matches!(limiter.acquire_unless_crowded("many", 3).now_or_never(), Some(Some(_))));
    }

    #[tokio::test]
    async fn without_a_total_any_number_of_keys_has_permits() {
        let limiter = ConcurrencyLimiter::per_key(1);
        let held: Vec<_> = (0..100).map(|n| limiter.acquire(&format!("n{n}")).now_or_never()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(limiter.acquire("n7").now_or_never().is_none());
    }
}
