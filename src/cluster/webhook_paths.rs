//! The service path by which the webhook knows the API server, as the MutatingWebhookConfiguration has it. Who may read that
//! object knows the path: cluster administrators, and nobody by the roles view, edit and admin.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::error::{CallError, Result};

const KIND: &str = "mutatingwebhookconfiguration";
/// Longest duration of one watch call, in seconds. It bounds how long a dead connection hides a new path.
const WATCH_SECONDS: u32 = 30;
/// Time between two reads at least, whatever number of strangers asks for them.
const BETWEEN_READS: Duration = Duration::from_secs(1);
/// Time between two reads at most.
const REREAD: Duration = Duration::from_secs(60);
const READ: Duration = Duration::from_secs(5);

/// What is held in place of a path, so that it is never shown and compared in constant time.
pub type PathHash = [u8; 32];

pub fn hash(path: &str) -> PathHash {
    Sha256::digest(path).into()
}

/// The path of a configuration as it was read.
pub struct WebhookPath {
    configuration: MutatingWebhookConfiguration,
}

impl WebhookPath {
    pub async fn get(client: &Client, configuration: &str) -> Result<Self> {
        let found = Api::all(client.clone()).get(configuration).await;
        let configuration =
            found.map_err(|error| CallError::cluster_wide("get", KIND, configuration, error))?;
        Ok(WebhookPath { configuration })
    }

    /// The path, unless the webhooks have none, or several.
    pub fn path(&self) -> Option<SecretString> {
        let mut paths = paths(&self.configuration);
        let first = paths.pop_first().filter(|path| *path != "/" && paths.is_empty());
        first.map(SecretString::from)
    }

    /// Writes another path into all webhooks, unless the configuration has changed since it was read.
    pub async fn replace(&self, client: &Client, path: &SecretString) -> Result<()> {
        let name = self.configuration.name_any();
        let version = self.configuration.metadata.resource_version.as_ref();
        let mut patch = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
        for index in 0..self.configuration.webhooks.iter().flatten().count() {
            let at = format!("/webhooks/{index}/clientConfig/service/path");
            patch.push(json!({"op": "add", "path": at, "value": path.expose_secret()}));
        }
        let patch = serde_json::from_value(patch.into()).expect("these are JSON Patch operations");
        let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
        let patched = api.patch(&name, &PatchParams::default(), &Patch::<()>::Json(patch)).await;
        patched.map_err(|error| CallError::cluster_wide("patch", KIND, &name, error))?;
        Ok(())
    }
}

/// Whether every pod of a Deployment is of its present template, and available.
pub async fn is_rolled_out(client: &Client, namespace: &str, deployment: &str) -> Result<bool> {
    let found = Api::<Deployment>::namespaced(client.clone(), namespace).get(deployment).await;
    let found = found.map_err(|error| CallError::on("get", "deployment", namespace, deployment, error))?;
    let (spec, status) = (found.spec.unwrap_or_default(), found.status.unwrap_or_default());
    let wanted = Some(spec.replicas.unwrap_or(1));
    Ok(status.observed_generation == found.metadata.generation
        && [status.replicas, status.updated_replicas, status.available_replicas].iter().all(|n| *n == wanted))
}

/// The paths of a configuration by their hashes, updated for as long as the future is polled; empty until it was read. It is
/// watched, and read again from time to time, in case that the watch hangs, and when `unknown` is notified of a call at a path
/// that is not among them.
pub fn follow(
    client: Client,
    configuration: &str,
    unknown: Arc<Notify>,
) -> (watch::Receiver<BTreeSet<PathHash>>, impl Future<Output = Infallible> + Send + use<>) {
    let (sender, receiver) = watch::channel(BTreeSet::new());
    let name = format!("metadata.name={configuration}");
    let only = watcher::Config::default().timeout(WATCH_SECONDS).fields(&name);
    let api = Api::<MutatingWebhookConfiguration>::all(client);
    let events = watcher(api.clone(), only).default_backoff().applied_objects();
    let follow = async move {
        let mut events = std::pin::pin!(events);
        let mut read = Instant::now();
        loop {
            let is_asked = async {
                sleep_until(read + BETWEEN_READS).await;
                _ = timeout_at(read + REREAD, unknown.notified()).await;
            };
            let found = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(configuration)) => Some(configuration),
                    Some(Err(error)) => {
                        tracing::warn!(%error, "watching the webhook configuration was interrupted; trying again");
                        None
                    }
                    None => unreachable!("a watch begins again whenever it ends"),
                },
                () = is_asked => {
                    read = Instant::now();
                    reread(&api, &name).await
                }
            };
            if let Some(configuration) = found {
                let now = paths(&configuration).iter().map(|path| hash(path)).collect();
                sender.send_if_modified(|known| std::mem::replace(known, now) != *known);
            }
        }
    };
    (receiver, follow)
}

/// The configuration as it is now.
async fn reread(api: &Api<MutatingWebhookConfiguration>, name: &str) -> Option<MutatingWebhookConfiguration> {
    let only = ListParams::default().fields(name);
    match timeout(READ, api.list(&only)).await {
        Ok(Ok(listed)) => listed.items.into_iter().next(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "reading the webhook configuration failed; the known path stays");
            None
        }
        Err(_) => {
            tracing::warn!("reading the webhook configuration took too long; the known path stays");
            None
        }
    }
}

/// The paths that the API server calls: `/` where none is named.
fn paths(configuration: &MutatingWebhookConfiguration) -> BTreeSet<String> {
    let services = configuration.webhooks.iter().flatten().filter_map(|it| it.client_config.service.as_ref());
    services.map(|service| service.path.clone().unwrap_or_else(|| "/".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::http::{Request, Response};
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_path_that_the_watch_hides_is_read_at_most_once_a_second() {
        let served = Arc::new(Mutex::new(("/inject/a", 0)));
        let api_server = served.clone();
        let client = Client::new(
            tower::service_fn(move |request: Request<kube::client::Body>| {
                let api_server = api_server.clone();
                async move {
                    if request.uri().query().unwrap_or_default().contains("watch=") {
                        std::future::pending::<()>().await;
                    }
                    let mut served = api_server.lock().unwrap();
                    served.1 += 1;
                    let service = json!({"name": "webhook", "namespace": "operator", "path": served.0});
                    let webhook = json!({
                        "name": "pods.recordings.revenue.io", "admissionReviewVersions": ["v1"],
                        "sideEffects": "None", "clientConfig": {"service": service},
                    });
                    let body = json!({
                        "apiVersion": "admissionregistration.k8s.io/v1",
                        "kind": "MutatingWebhookConfigurationList",
                        "metadata": {"resourceVersion": "1"},
                        "items": [{"metadata": {"name": "webhook"}, "webhooks": [webhook]}],
                    });
                    Ok::<_, std::io::Error>(Response::new(kube::client::Body::from(
                        body.to_string().into_bytes(),
                    )))
                }
            }),
            "default",
        );
        let unknown = Arc::new(Notify::new());
        let (paths, follow) = follow(client, "webhook", unknown.clone());
        let checked = async {
            let wait = |path| {
                let mut paths = paths.clone();
                async move { _ = paths.wait_for(|known| known.contains(&hash(path))).await }
            };
            wait("/inject/a").await;
            *served.lock().unwrap() = ("/inject/b", 0);
            let began = Instant::now();
            for _ in 0..50 {
                unknown.notify_one();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(wait("/inject/b").now_or_never().is_some());
            let reads = served.lock().unwrap().1;
            assert!((4..=6).contains(&reads), "{reads} in {:?}", began.elapsed());
            served.lock().unwrap().0 = "/inject/c";
            wait("/inject/c").await;
            assert!(began.elapsed() < 2 * REREAD, "without a call, too");
        };
        tokio::select! {
            never = follow => match never {},
            () = checked => {}
        }
    }
}
