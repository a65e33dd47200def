//! Pods that are not heard of any more: asked about, and entered into the status.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::ports::Cluster;
use super::reports::Reports;
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::delivery::{News, SilentPod, Steps};
use crate::domain::grant;

/// From one round to the next.
const INTERVAL: Duration = Duration::from_secs(5);
/// Age of the copy of the destinations from which on nothing is settled: other replicas may have written more.
const CURRENT: Duration = Duration::from_secs(60);
/// Pods that are asked for at the same time.
const AT_ONCE: usize = 16;
/// Those of one namespace.
const AT_ONCE_IN_A_NAMESPACE: usize = 4;
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);

impl Reports {
    /// Follows the pods that have gone silent, of all destinations.
    pub(super) async fn follow_silent<C: Cluster>(
        &self,
        cluster: &C,
        clock: fn() -> Timestamp,
    ) -> Infallible {
        let limiter = ConcurrencyLimiter::per_key(AT_ONCE_IN_A_NAMESPACE).with_total(AT_ONCE);
        loop {
            sleep(INTERVAL).await;
            if cluster.age().confirmed > CURRENT {
                continue;
            }
            let remembered = self.last.lock().unwrap().names();
            let all: BTreeSet<_> = remembered.into_iter().chain(cluster.with_uploaders()).collect();
            let mut asked = Vec::new();
            for (namespace, name) in all {
                let destination = cluster.destination(&namespace, &name);
                let status = destination.as_ref().and_then(|destination| destination.status.as_ref());
                let Steps { news, ask } = self.last.lock().unwrap().steps(&namespace, &name, status, clock());
                news.into_iter().for_each(|news| self.add_news(&namespace, &name, news));
                asked.extend(ask.into_iter().map(|pod| (namespace.clone(), name.clone(), pod)));
            }
            let ask = |(namespace, name, pod)| self.ask(cluster, &limiter, clock, namespace, name, pod);
            stream::iter(asked).map(ask).buffer_unordered(AT_ONCE * AT_ONCE).for_each(async |()| {}).await;
        }
    }

    /// Asks the API server what has become of a pod. Without an answer it is asked again in the next minute.
    async fn ask<C: Cluster>(
        &self,
        cluster: &C,
        limiter: &ConcurrencyLimiter,
        clock: fn() -> Timestamp,
        namespace: String,
        name: String,
        silent: SilentPod,
    ) {
        let SilentPod { pod, uid, reported } = silent;
        let _permit = limiter.acquire(&namespace).await;
        let is_gone = match timeout(CLUSTER_TIMEOUT, cluster.pod(&namespace, &pod)).await {
            Ok(Ok(found)) => grant::has_ended(found.as_ref(), &uid),
            // It is there, whatever it is.
            Ok(Err(error)) if error.is_undecodable() => false,
            Ok(Err(error)) => {
                tracing::warn!(namespace, name, pod, %error, "asking for a pod that does not report failed; it is asked for again");
                return;
            }
            Err(_) => {
                tracing::warn!(
                    namespace,
                    name,
                    pod,
                    "no answer about a pod that does not report; it is asked for again"
                );
                return;
            }
        };
        self.add_news(&namespace, &name, News::Found { uid, reported, is_gone, at: clock() });
    }
}
