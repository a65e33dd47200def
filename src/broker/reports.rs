//! What sidecars report, on its way into the status of their destinations.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::ports::Cluster;
use crate::domain::delivery::{Heard, enter};

/// Reports are gathered for so long: pods of one destination get into trouble together.
const GATHER: Duration = Duration::from_secs(1);
/// How long to wait for the watch to tell of a change that our write ran into.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Destinations that are written at the same time, so that one which changes all the time holds up no other.
const AT_ONCE: usize = 16;
/// Time for one destination.
const PATIENCE: Duration = Duration::from_secs(30);
/// Writes tried for one destination. Its sidecars report again in five minutes.
const TRIES: u32 = 10;

/// A destination's namespace and name.
type Name = (String, String);

/// Reports that are yet to be written.
#[derive(Default)]
pub(super) struct Reports {
    /// By destination, and by the UID of the pod: the last one counts.
    heard: Mutex<HashMap<Name, BTreeMap<String, Heard>>>,
    news: Notify,
}

impl Reports {
    /// Takes a report about a destination.
    pub(super) fn take(&self, namespace: &str, destination: &str, mut heard: Heard) {
        let mut all = self.heard.lock().unwrap();
        let of_destination = all.entry((namespace.to_owned(), destination.to_owned())).or_default();
        if let Some(earlier) = of_destination.get(&heard.uid) {
            // What the status says of the pod is what it said before that one.
            heard.report.was_in_trouble = earlier.report.was_in_trouble;
        }
        of_destination.insert(heard.uid.clone(), heard);
        self.news.notify_one();
    }

    /// Writes what comes, each destination once however many of its pods have reported.
    pub(super) async fn write<C: Cluster>(&self, cluster: &C) -> Infallible {
        loop {
            self.news.notified().await;
            sleep(GATHER).await;
            let all = std::mem::take(&mut *self.heard.lock().unwrap());
            let entered =
                stream::iter(all).for_each_concurrent(AT_ONCE, async |((namespace, destination), heard)| {
                    let heard: Vec<_> = heard.into_values().collect();
                    let entered = enter_into_status(cluster, &namespace, &destination, &heard);
                    let error = match timeout(PATIENCE, entered).await {
                        Ok(Ok(())) => return,
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => format!("it took more than {} s", PATIENCE.as_secs()),
                    };
                    tracing::warn!(
                        namespace,
                        destination,
                        error,
                        "reports of sidecars could not be written; they report again"
                    );
                });
            entered.await;
        }
    }
}

async fn enter_into_status<C: Cluster>(
    cluster: &C,
    namespace: &str,
    name: &str,
    heard: &[Heard],
) -> kube::Result<()> {
    let mut changes = cluster.changes();
    for _ in 0..TRIES {
        changes.mark_unchanged();
        let Some(destination) = cluster.destination(namespace, name) else { return Ok(()) };
        // A status that the API server has not given its default yet.
        let Some(status) = &destination.status else { return Ok(()) };
        let Some(entry) = enter(status, heard) else { return Ok(()) };
        if cluster.write_delivery(&destination, &entry).await? {
            for transition in &entry.transitions {
                tracing::info!(namespace, name, reason = transition.reason, "{}", transition.note);
                if let Err(error) = cluster.announce(&destination, transition).await {
                    tracing::warn!(namespace, name, %error, "the Event could not be published; the status has it all");
                }
            }
            return Ok(());
        }
        _ = timeout(CATCH_UP, changes.changed()).await;
    }
    tracing::warn!(
        namespace,
        name,
        "the destination changes too fast to enter reports of sidecars; they report again"
    );
    Ok(())
}
