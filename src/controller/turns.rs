//! Whose destinations are looked at, when more are due than can be looked at together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Looks under way at the same time: bounds what they hold.
const ALL: usize = 32;
/// Of one namespace. The rest of its destinations wait without keeping others waiting.
const OF_A_NAMESPACE: usize = 4;

/// Hands out turns.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// Only of namespaces that have or await a turn.
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Leave to look at one destination, until it is dropped.
pub(super) struct Turn {
    _of_the_namespace: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Turns { all: Arc::new(Semaphore::new(ALL)), of: Mutex::default() }
    }
}

impl Turns {
    /// Waits for a turn of the namespace: among its own first, so that it has no more than its share of the common line.
    pub(super) async fn take(&self, namespace: &str) -> Turn {
        let own = {
            let mut of = self.of.lock().unwrap();
            // Whoever has or awaits a turn holds a clone.
            of.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            of.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_A_NAMESPACE))).clone()
        };
        let _of_the_namespace = own.acquire_owned().await.expect("it is never closed");
        let _of_all = self.all.clone().acquire_owned().await.expect("it is never closed");
        Turn { _of_the_namespace, _of_all }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_namespace_with_hundreds_of_destinations_leaves_turns_to_others() {
        let turns = Turns::default();
        let mut waiting: Vec<_> = (0..500).map(|_| Box::pin(turns.take("many"))).collect();
        let had: Vec<_> = waiting.iter_mut().filter_map(|turn| turn.now_or_never()).collect();
        assert_eq!(had.len(), OF_A_NAMESPACE);
        assert!(turns.take("one").now_or_never().is_some(), "another need not wait");
    }

    #[tokio::test]
    async fn a_turn_that_ends_is_the_next_ones_and_nothing_is_kept_of_a_namespace_without_any() {
        let turns = Turns::default();
        let held: Vec<_> = (0..ALL).map(|n| turns.take(&format!("n{n}")).now_or_never().unwrap()).collect();
        assert!(turns.take("late").now_or_never().is_none(), "all are taken");
        drop(held);
        let _turn = turns.take("late").now_or_never().unwrap();
        assert_eq!(turns.of.lock().unwrap().len(), 1);
    }
}
