//! A cache of answers. Concurrent requests for one key share a single call, and the last answer is kept when a call
//! fails.

use std::hash::Hash;
use std::time::Duration;

use moka::future::Cache;
use tokio::time::Instant;

/// Pause after a failed call, before the next one for that key.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Answers of type `V` by keys of type `K`, or the failures `E` to get one.
pub(super) struct AnswerCache<K, V, E> {
    slots: Cache<K, Slot<V, E>>,
}

#[derive(Clone)]
pub(super) struct Cached<V, E> {
    /// The last answer, which is older than the failure where there is one.
    pub(super) last: Option<V>,
    pub(super) failure: Option<E>,
}

#[derive(Clone)]
struct Slot<V, E> {
    known: Cached<V, E>,
    ask_again: Instant,
}

impl<K, V, E> AnswerCache<K, V, E>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Room for `capacity` keys, each evicted `life` after its last call.
    pub(super) fn new(capacity: u64, life: Duration) -> Self {
        AnswerCache { slots: Cache::builder().max_capacity(capacity).time_to_live(life).build() }
    }

    /// What is known, after a call if one is due. `ask` returns an answer with the time for which it is used.
    ///
    /// It makes the call's future, which is large: thousands of requests wait with a future that has room for this one, and
    /// every function that takes a future by value has room for it twice.
    pub(super) async fn get_or_ask<F>(&self, key: K, ask: impl FnOnce() -> F) -> Cached<V, E>
    where
        F: Future<Output = Result<(V, Duration), E>>,
    {
        let old = self.slots.get(&key).await;
        if let Some(slot) = old.as_ref().filter(|slot| !slot.is_due()) {
            return slot.known.clone();
        }
        let renew = Box::pin(async {
            let (known, pause) = match ask().await {
                Ok((answer, life)) => (Cached { last: Some(answer), failure: None }, life),
                Err(failure) => {
                    let last = old.and_then(|slot| slot.known.last);
                    (Cached { last, failure: Some(failure) }, RETRY_AFTER)
                }
            };
            Slot { known, ask_again: Instant::now() + pause }
        });
        self.slots.entry(key).or_insert_with_if(renew, Slot::is_due).await.into_value().known
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }

    /// Adds an answer from elsewhere, to be used for `life`.
    pub(super) async fn insert(&self, key: K, answer: V, life: Duration) {
        let known = Cached { last: Some(answer), failure: None };
        self.slots.insert(key, Slot { known, ask_again: Instant::now() + life }).await;
    }

    /// The last answer for the key, if there is one.
    pub(super) async fn last(&self, key: &K) -> Option<V> {
        self.slots.get(key).await.and_then(|slot| slot.known.last)
    }

    /// Has the key asked for again at the next request; until there is an answer, the last one is kept.
    pub(super) async fn expire(&self, key: &K) {
        if let Some(mut slot) = self.slots.get(key).await {
            slot.ask_again = Instant::now();
            self.slots.insert(key.clone(), slot).await;
        }
    }

    pub(super) async fn invalidate(&self, key: &K) {
        self.slots.invalidate(key).await;
    }
}

impl<V, E> Slot<V, E> {
    fn is_due(&self) -> bool {
        self.ask_again <= Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{join_all, pending};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_without_an_answer_do_not_delay_others() {
        let cache = AnswerCache::<usize, &str, ()>::new(1000, Duration::from_secs(60));
        let hanging = join_all((0..500).map(|number| cache.get_or_ask(number, pending)));
        let other = async {
            tokio::task::yield_now().await;
            cache.get_or_ask(500, async || Ok(("answer", Duration::from_secs(1)))).await
        };
        tokio::select! {
            _ = hanging => unreachable!("nothing answers them"),
            known = other => assert_eq!(known.last, Some("answer")),
        }
    }
}
