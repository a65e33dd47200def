//! Reports of sidecars, gathered and written into the status of their destinations.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ports::Cluster;
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::delivery::{LastReports, News, PodReport, StatusUpdate, apply_news};

/// How long reports are gathered before they are written: the pods of one destination tend to fail together.
const GATHER: Duration = Duration::from_secs(1);
/// From one write to the next of the same destination.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait for the watch to show a change that a write conflicted with.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Destinations that are written at the same time.
const AT_ONCE: usize = 32;
/// Those of one namespace, which leave most writes to others however slow theirs are.
const AT_ONCE_IN_A_NAMESPACE: usize = 4;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Writes attempted for one destination. Its sidecars report again within five minutes, and what those say that have ended is
/// tried again.
const ATTEMPTS: u32 = 10;

/// A destination's namespace and name.
type Name = (String, String);

/// What is known of uploaders and not written yet, and the last report of each.
#[derive(Default)]
pub(super) struct Reports {
    waiting: Mutex<Waiting>,
    pub(super) last: Mutex<LastReports>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By destination and UID of the pod, of which the last report counts. A destination that has a worker is in it, with
    /// or without news.
    pending: HashMap<Name, BTreeMap<String, News>>,
    /// Destinations that need a worker.
    without_worker: Vec<Name>,
}

impl Waiting {
    /// Takes a destination's news. Without any its worker ends, and the destination is forgotten.
    fn take(&mut self, name: &Name) -> Option<Vec<News>> {
        let of_destination = self.pending.get_mut(name)?;
        if of_destination.is_empty() {
            self.pending.remove(name);
            return None;
        }
        Some(std::mem::take(of_destination).into_values().collect())
    }
}

impl Reports {
    /// Takes a report that a pod sent.
    pub(super) fn add(&self, namespace: &str, destination: &str, heard: PodReport) {
        if let Some(forgotten) = self.last.lock().unwrap().note(namespace, destination, heard.clone()) {
            let PodReport { pod, uid, .. } = forgotten;
            tracing::warn!(
                namespace,
                name = destination,
                pod,
                uid,
                "more pods report than are remembered: if one that had recordings to deliver goes silent, nothing will say so"
            );
        }
        self.add_news(namespace, destination, News::Report(heard));
    }

    pub(super) fn add_news(&self, namespace: &str, destination: &str, mut news: News) {
        let mut waiting = self.waiting.lock().unwrap();
        let name = (namespace.to_owned(), destination.to_owned());
        if !waiting.pending.contains_key(&name) {
            waiting.without_worker.push(name.clone());
            self.arrived.notify_one();
        }
        let of_destination = waiting.pending.entry(name).or_default();
        match (of_destination.get(news.uid()), &mut news) {
            // The status still shows what the pod reported before the earlier one.
            (Some(News::Report(earlier)), News::Report(heard)) if heard.at >= earlier.at => {
                heard.report.was_in_trouble = earlier.report.was_in_trouble;
            }
            (Some(News::Report(_)), _) => return,
            _ => {}
        }
        of_destination.insert(news.uid().to_owned(), news);
    }

    /// Writes reports, each destination at its own pace, and follows pods that are not heard of any more.
    pub(super) async fn write<C: Cluster>(&self, cluster: &C, clock: fn() -> Timestamp) -> Infallible {
        tokio::select! {
            never = self.write_news(cluster) => never,
            never = self.follow_silent(cluster, clock) => never,
        }
    }

    async fn write_news<C: Cluster>(&self, cluster: &C) -> Infallible {
        let limiter = ConcurrencyLimiter::per_key(AT_ONCE_IN_A_NAMESPACE).with_total(AT_ONCE);
        let mut workers = FuturesUnordered::new();
        loop {
            let new = std::mem::take(&mut self.waiting.lock().unwrap().without_worker);
            workers.extend(new.into_iter().map(|name| self.write_one(cluster, &limiter, name)));
            tokio::select! {
                () = self.arrived.notified() => {}
                Some(()) = workers.next() => {}
            }
        }
    }

    /// Writes the news of one destination, until there are no more.
    async fn write_one<C: Cluster>(&self, cluster: &C, limiter: &ConcurrencyLimiter, name: Name) {
        let (namespace, destination) = &name;
        loop {
            sleep(GATHER).await;
            let Some(news) = self.waiting.lock().unwrap().take(&name) else { return };
            let began = Instant::now();
            // On the heap, as thousands of workers wait and few write.
            let entered = Box::pin(enter_into_status(cluster, limiter, namespace, destination, &news)).await;
            if let Ok(Entered::Unchanged | Entered::Written(_)) = &entered {
                let update = if let Ok(Entered::Written(update)) = &entered { Some(update) } else { None };
                self.last.lock().unwrap().entered(namespace, destination, &news, update);
            }
            match entered {
                Ok(Entered::Unchanged | Entered::NoStatus) => {}
                Ok(Entered::Written(_)) => sleep_until(began + INTERVAL - GATHER).await,
                Err(error) => {
                    tracing::warn!(
                        namespace,
                        name = destination,
                        error,
                        "writing reports into the status failed; the sidecars report again"
                    );
                    sleep_until(began + INTERVAL - GATHER).await;
                }
            }
        }
    }
}

/// What became of news.
enum Entered {
    Written(StatusUpdate),
    /// The status has it already.
    Unchanged,
    /// There is no such destination, or the API server has not defaulted its status yet.
    NoStatus,
}

/// Writes news into a status. A conflict releases the permit: whoever keeps changing a destination holds up no other.
async fn enter_into_status<C: Cluster>(
    cluster: &C,
    limiter: &ConcurrencyLimiter,
    namespace: &str,
    name: &str,
    news: &[News],
) -> Result<Entered, String> {
    let mut changes = cluster.changes(namespace, name);
    for _ in 0..ATTEMPTS {
        let permit = limiter.acquire(namespace).await;
        changes.mark_unchanged();
        let Some(destination) = cluster.destination(namespace, name) else { return Ok(Entered::NoStatus) };
        let Some(status) = &destination.status else { return Ok(Entered::NoStatus) };
        let Some(update) = apply_news(status, news) else { return Ok(Entered::Unchanged) };
        let write = async {
            if !cluster.write_delivery(&destination, &update).await.map_err(|error| error.to_string())? {
                return Ok(false);
            }
            for transition in &update.transitions {
                tracing::info!(namespace, name, reason = transition.reason, "{}", transition.note);
                if let Err(error) = cluster.announce(&destination, transition).await {
                    tracing::warn!(namespace, name, %error, "publishing an Event failed; the status has the same text");
                }
            }
            Ok(true)
        };
        let written = timeout(WRITE_TIMEOUT, write).await;
        if written.unwrap_or_else(|_| Err(format!("no end within {} s", WRITE_TIMEOUT.as_secs())))? {
            return Ok(Entered::Written(update));
        }
        drop(permit);
        _ = timeout(CATCH_UP, changes.changed()).await;
    }
    Err(format!("{ATTEMPTS} writes ran into changes of the destination"))
}
