//! Work by key that several wait for. It goes on when they leave, because in a long queue it would lose its place.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

/// Work under way, to wait for. `None`: it panicked.
pub(super) type Flight<T> = Shared<BoxFuture<'static, Option<T>>>;
type UnderWay<K, T> = Arc<Mutex<HashMap<K, Flight<T>>>>;

/// Work of type `T` by keys of type `K`.
pub(super) struct Flights<K: Hash + Eq, T>(UnderWay<K, T>);

impl<K, T> Flights<K, T>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Flights(Arc::default())
    }

    /// The work that is under way for the key, and `work` where none is.
    pub(super) fn join(&self, key: &K, work: impl FnOnce() -> BoxFuture<'static, T>) -> Flight<T> {
        let mut under_way = self.0.lock().unwrap();
        if let Some(flight) = under_way.get(key) {
            return flight.clone();
        }
        let landed = Landed { key: key.clone(), flights: self.0.clone() };
        let work = work();
        let task = tokio::spawn(async move {
            let _landed = landed;
            work.await
        });
        let flight = async { task.await.ok() }.boxed().shared();
        under_way.insert(key.clone(), flight.clone());
        flight
    }
}

/// Ends a flight, also one that panicked.
struct Landed<K: Hash + Eq, T> {
    key: K,
    flights: UnderWay<K, T>,
}

impl<K: Hash + Eq, T> Drop for Landed<K, T> {
    fn drop(&mut self) {
        // The work itself never runs under the lock.
        if let Ok(mut flights) = self.flights.lock() {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_when_all_who_wait_for_it_have_left() {
        let flights = Flights::new();
        let begun = Arc::new(AtomicUsize::new(0));
        let work = || -> BoxFuture<'static, usize> {
            let number = begun.fetch_add(1, SeqCst) + 1;
            Box::pin(async move {
                sleep(Duration::from_secs(60)).await;
                number
            })
        };
        let wait = Duration::from_secs(10);
        for waited in [10, 20, 30] {
            let left = timeout(wait, flights.join(&"acme", work)).await;
            assert!(left.is_err() && begun.load(SeqCst) == 1, "after {waited} s");
        }
        assert_eq!(flights.join(&"acme", work).await, Some(1), "after 60 s");
        assert_eq!(flights.join(&"acme", work).await, Some(2), "what has ended is begun again");
    }

    #[tokio::test]
    async fn work_that_panics_is_begun_again() {
        let flights = Flights::new();
        assert_eq!(flights.join(&"acme", || Box::pin(async { panic!("on purpose") })).await, None::<u8>);
        assert_eq!(flights.join(&"acme", || Box::pin(async { 2 })).await, Some(2));
    }
}
