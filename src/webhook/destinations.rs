//! Whether a destination exists.

use std::time::Duration;

use kube::Client;

use crate::cluster::{DestinationCache, destinations};

/// Longest wait for the API server, well within the ten seconds that it waits for the webhook.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Age up to which the copy of the destinations is relied on.
const CURRENT: Duration = Duration::from_secs(60);

/// The destinations of the cluster, as far as the webhook needs them.
pub(super) trait Destinations: Send + Sync + 'static {
    /// Whether a namespace has a destination of that name. The error is for the log.
    fn exists(&self, namespace: &str, name: &str) -> impl Future<Output = Result<bool, String>> + Send;
}

pub(super) struct LiveDestinations {
    pub(super) client: Client,
    pub(super) cache: DestinationCache,
}

impl Destinations for LiveDestinations {
    /// Asks the API server before it answers no: a destination and its pod are often applied together, and the watch may
    /// be behind. An old copy may have what was deleted since, so it is not relied on either.
    async fn exists(&self, namespace: &str, name: &str) -> Result<bool, String> {
        if self.cache.age().confirmed <= CURRENT && self.cache.get(namespace, name).is_some() {
            return Ok(true);
        }
        match tokio::time::timeout(TIMEOUT, destinations::exists(&self.client, namespace, name)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => {
                let seconds = TIMEOUT.as_secs();
                Err(format!("get recordingdestination {namespace}/{name}: no answer within {seconds} s"))
            }
        }
    }
}
