//! Answers that are kept for a while. A question is asked once, however many wait for the answer,
//! and what was last answered is kept when asking fails.

use std::hash::Hash;
use std::time::Duration;

use moka::future::Cache;
use tokio::time::Instant;

/// Pause after a failure, before the same question is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Answers of type `V` to questions of type `K`, or failures `E` to get one.
pub(super) struct Memory<K, V, E> {
    slots: Cache<K, Slot<V, E>>,
}

/// What is known of a question.
#[derive(Clone)]
pub(super) struct Recalled<V, E> {
    /// The last answer. It may be old when there is also a failure.
    pub(super) last: Option<V>,
    /// Why there is no newer answer.
    pub(super) failure: Option<E>,
}

#[derive(Clone)]
struct Slot<V, E> {
    known: Recalled<V, E>,
    ask_again: Instant,
}

impl<K, V, E> Memory<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Room for `capacity` questions, each forgotten when it was not asked anew for `life`.
    pub(super) fn new(capacity: u64, life: Duration) -> Self {
        Memory { slots: Cache::builder().max_capacity(capacity).time_to_live(life).build() }
    }

    /// What is known, after asking if it is due. An answer comes with the time for which it is not
    /// asked for again.
    pub(super) async fn recall(
        &self,
        key: K,
        ask: impl Future<Output = Result<(V, Duration), E>>,
    ) -> Recalled<V, E> {
        let old = self.slots.get(&key).await;
        if let Some(slot) = old.as_ref().filter(|slot| !slot.is_due()) {
            return slot.known.clone();
        }
        let renew = async {
            let (known, pause) = match ask.await {
                Ok((answer, life)) => (Recalled { last: Some(answer), failure: None }, life),
                Err(failure) => {
                    let last = old.and_then(|slot| slot.known.last);
                    (Recalled { last, failure: Some(failure) }, RETRY_AFTER)
                }
            };
            Slot { known, ask_again: Instant::now() + pause }
        };
        self.slots.entry(key).or_insert_with_if(renew, Slot::is_due).await.into_value().known
    }

    /// Whether anything is known.
    pub(super) fn holds(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }

    /// Keeps an answer that was got elsewhere, not to be asked for again for `life`.
    pub(super) async fn keep(&self, key: K, answer: V, life: Duration) {
        let known = Recalled { last: Some(answer), failure: None };
        self.slots.insert(key, Slot { known, ask_again: Instant::now() + life }).await;
    }

    /// Drops what is known, so that it is asked for anew.
    pub(super) async fn forget(&self, key: &K) {
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
        let memory = Memory::<usize, &str, ()>::new(1000, Duration::from_secs(60));
        let hanging = join_all((0..500).map(|number| memory.recall(number, pending())));
        let other = async {
            tokio::task::yield_now().await;
            memory.recall(500, async { Ok(("answer", Duration::from_secs(1))) }).await
        };
        tokio::select! {
            _ = hanging => unreachable!("nothing answers them"),
            known = other => assert_eq!(known.last, Some("answer")),
        }
    }
}
