//! Reads the Secrets of many destinations at start: namespaces take turns, and a Secret that does not come holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::timeout;

use crate::api::RecordingDestination;

/// Secrets read at the same time.
const READERS: usize = 32;
/// Time for one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads all by `read`, and returns those for which it did not return true in time.
pub(super) async fn read_all<F: Future<Output = bool>>(
    destinations: Vec<Arc<RecordingDestination>>,
    read: impl Fn(Arc<RecordingDestination>) -> F,
) -> Vec<Arc<RecordingDestination>> {
    let reads = by_turns(destinations).into_iter().map(|destination| {
        let reading = timeout(PATIENCE, read(destination.clone()));
        async move { (!reading.await.unwrap_or(false)).then_some(destination) }
    });
    futures::stream::iter(reads).buffer_unordered(READERS).filter_map(std::future::ready).collect().await
}

/// One of each namespace, then another of each, and so on.
fn by_turns(destinations: Vec<Arc<RecordingDestination>>) -> Vec<Arc<RecordingDestination>> {
    let mut turns = HashMap::<_, usize>::new();
    let mut ordered: Vec<_> = destinations
        .into_iter()
        .map(|destination| {
            let turn = turns.entry(destination.metadata.namespace.clone()).or_default();
            *turn += 1;
            (*turn, destination)
        })
        .collect();
    ordered.sort_by_key(|(turn, _)| *turn);
    ordered.into_iter().map(|(_, destination)| destination).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;
    use tokio::time::{Instant, sleep};

    use super::*;

    fn destinations(namespace: &str, count: usize) -> impl Iterator<Item = Arc<RecordingDestination>> {
        (0..count).map(move |number| {
            let destination: RecordingDestination = serde_json::from_value(json!({
                "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
                "metadata": {"namespace": namespace, "name": format!("destination-{number}")},
                "spec": {
                    "bucket": "acme-recordings", "region": "us-east-1",
                    "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
                },
            }))
            .unwrap();
            Arc::new(destination)
        })
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
            if destination.metadata.namespace.as_deref() == Some("hanging") {
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
        assert!(left.iter().all(|left| left.metadata.namespace.as_deref() == Some("hanging")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_is_to_be_done_again_and_one_that_succeeds_is_not() {
        let all: Vec<_> = destinations("tenant-acme", 4).collect();
        let fails = async |destination: Arc<RecordingDestination>| {
            destination.metadata.name.as_deref() != Some("destination-2")
        };
        let left = read_all(all.clone(), fails).await;
        assert_eq!(
            left.iter().map(|left| left.metadata.name.as_deref()).collect::<Vec<_>>(),
            [Some("destination-2")]
        );
        assert!(read_all(all, async |_| true).await.is_empty());
    }
}
