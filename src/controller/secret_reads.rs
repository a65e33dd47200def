//! Reads the Secrets of many destinations at start: namespaces take turns, and a Secret that does not come holds up no other.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::timeout;

use crate::cluster::DestinationKey;

/// Secrets read at the same time.
const READERS: usize = 32;
/// Time for one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads all by `read`, and returns those for which it did not return true in time.
pub(super) async fn read_all<F: Future<Output = bool>>(
    destinations: Vec<DestinationKey>,
    read: impl Fn(DestinationKey) -> F,
) -> Vec<DestinationKey> {
    let reads = by_turns(destinations).into_iter().map(|destination| {
        let reading = timeout(PATIENCE, read(destination.clone()));
        async move { (!reading.await.unwrap_or(false)).then_some(destination) }
    });
    futures::stream::iter(reads).buffer_unordered(READERS).filter_map(std::future::ready).collect().await
}

/// One of each namespace, then another of each, and so on.
fn by_turns(destinations: Vec<DestinationKey>) -> Vec<DestinationKey> {
    let mut turns = HashMap::<_, usize>::new();
    let mut ordered: Vec<_> = destinations
        .into_iter()
        .map(|destination| {
            let turn = turns.entry(destination.0.clone()).or_default();
            *turn += 1;
            (*turn, destination)
        })
        .collect();
    ordered.sort_by_key(|(turn, _)| *turn);
    ordered.into_iter().map(|(_, destination)| destination).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::{Instant, sleep};

    use super::*;

    fn destinations(namespace: &str, count: usize) -> impl Iterator<Item = DestinationKey> {
        (0..count).map(move |number| Arc::new((namespace.to_owned(), format!("destination-{number}"))))
    }

    /// A tenant with 500 Secrets for which the API server does not answer, listed before 1,000 tenants with ten each.
    #[tokio::test(start_paused = true)]
    async fn five_hundred_secrets_that_do_not_come_delay_no_other_namespace() {
        let neighbours =
            (0..1000).flat_map(|number| destinations(&format!("tenant-{number}"), 10).collect::<Vec<_>>());
        let all: Vec<_> = destinations("hanging", 500).chain(neighbours).collect();
        let start = Instant::now();
        let last = Mutex::new(Duration::ZERO);
        let left = read_all(all, async |destination| {
            if destination.0 == "hanging" {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(5)).await;
            *last.lock().unwrap() = start.elapsed();
            true
        })
        .await;
        let last = *last.lock().unwrap();
        // A read takes 5 ms, and 32 are under way: 1.6 s for 10,000.
        assert!(last < Duration::from_secs(4), "{last:?}");
        assert_eq!(left.len(), 500, "these are to be read again");
        assert!(left.iter().all(|left| left.0 == "hanging"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_is_to_be_done_again_and_one_that_succeeds_is_not() {
        let all: Vec<_> = destinations("tenant-acme", 4).collect();
        let fails = async |destination: DestinationKey| destination.1 != "destination-2";
        let left = read_all(all.clone(), fails).await;
        assert_eq!(left.iter().map(|left| left.1.as_str()).collect::<Vec<_>>(), ["destination-2"]);
        assert!(read_all(all, async |_| true).await.is_empty());
    }
}
