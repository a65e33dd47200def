//! Reports of sidecars, gathered and written into the status of their destinations.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::ports::Cluster;
use crate::cluster;
use crate::domain::delivery::{PodReport, apply_reports};

/// How long reports are gathered before they are written: the pods of one destination tend to fail together.
const GATHER: Duration = Duration::from_secs(1);
/// How long to wait for the watch to show a change that a write conflicted with.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Destinations that are written at the same time, so that one which changes constantly delays no other.
const AT_ONCE: usize = 16;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Writes attempted for one destination. Its sidecars report again within five minutes.
const ATTEMPTS: u32 = 10;

/// A destination's namespace and name.
type Name = (String, String);

/// Reports that are not written yet.
#[derive(Default)]
pub(super) struct Reports {
    /// By destination and UID of the pod, of which the last report counts.
    pending: Mutex<HashMap<Name, BTreeMap<String, PodReport>>>,
    added: Notify,
}

impl Reports {
    pub(super) fn add(&self, namespace: &str, destination: &str, mut heard: PodReport) {
        let mut all = self.pending.lock().unwrap();
        let of_destination = all.entry((namespace.to_owned(), destination.to_owned())).or_default();
        if let Some(earlier) = of_destination.get(&heard.uid) {
            // The status still shows what the pod reported before the earlier one.
            heard.report.was_in_trouble = earlier.report.was_in_trouble;
        }
        of_destination.insert(heard.uid.clone(), heard);
        self.added.notify_one();
    }

    /// Writes reports, each destination once however many of its pods have reported.
    pub(super) async fn write<C: Cluster>(&self, cluster: &C) -> Infallible {
        loop {
            self.added.notified().await;
            sleep(GATHER).await;
            let all = std::mem::take(&mut *self.pending.lock().unwrap());
            let written =
                stream::iter(all).for_each_concurrent(AT_ONCE, async |((namespace, name), heard)| {
                    let heard: Vec<_> = heard.into_values().collect();
                    let written = enter_into_status(cluster, &namespace, &name, &heard);
                    let error = match timeout(WRITE_TIMEOUT, written).await {
                        Ok(Ok(())) => return,
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => format!("no end within {} s", WRITE_TIMEOUT.as_secs()),
                    };
                    tracing::warn!(
                        namespace,
                        name,
                        error,
                        "writing reports into the status failed; the sidecars report again"
                    );
                });
            written.await;
        }
    }
}

async fn enter_into_status<C: Cluster>(
    cluster: &C,
    namespace: &str,
    name: &str,
    heard: &[PodReport],
) -> cluster::Result<()> {
    let mut changes = cluster.changes(namespace, name);
    for _ in 0..ATTEMPTS {
        changes.mark_unchanged();
        let Some(destination) = cluster.destination(namespace, name) else { return Ok(()) };
        // The API server has not defaulted the status yet.
        let Some(status) = &destination.status else { return Ok(()) };
        let Some(update) = apply_reports(status, heard) else { return Ok(()) };
        if cluster.write_delivery(&destination, &update).await? {
            for transition in &update.transitions {
                tracing::info!(namespace, name, reason = transition.reason, "{}", transition.note);
                if let Err(error) = cluster.announce(&destination, transition).await {
                    tracing::warn!(namespace, name, %error, "publishing an Event failed; the status has the same text");
                }
            }
            return Ok(());
        }
        _ = timeout(CATCH_UP, changes.changed()).await;
    }
    tracing::warn!(
        namespace,
        name,
        attempt = ATTEMPTS,
        "writing reports into the status conflicted too often; the sidecars report again"
    );
    Ok(())
}
