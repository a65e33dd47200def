//! The service path by which the webhook knows the API server, as the MutatingWebhookConfiguration has it. Who may read that
//! object knows the path: cluster administrators, and nobody by the roles view, edit and admin.

use std::collections::BTreeSet;
use std::convert::Infallible;

use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::error::{CallError, Result};

const KIND: &str = "mutatingwebhookconfiguration";
/// Longest duration of one watch call, in seconds. It bounds how long a dead connection hides a new path.
const WATCH_SECONDS: u32 = 30;

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

/// The paths of a configuration by their hashes, updated for as long as the future is polled; empty until it was read.
pub fn follow(
    client: Client,
    configuration: &str,
) -> (watch::Receiver<BTreeSet<PathHash>>, impl Future<Output = Infallible> + Send + use<>) {
    let (sender, receiver) = watch::channel(BTreeSet::new());
    let only = watcher::Config::default().timeout(WATCH_SECONDS);
    let only = only.fields(&format!("metadata.name={configuration}"));
    let events =
        watcher(Api::<MutatingWebhookConfiguration>::all(client), only).default_backoff().applied_objects();
    let follow = async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(configuration) => {
                    let now = paths(&configuration).iter().map(|path| hash(path)).collect();
                    sender.send_if_modified(|known| std::mem::replace(known, now) != *known);
                }
                Err(error) => {
                    tracing::warn!(%error, "watching the webhook configuration was interrupted; trying again");
                }
            }
        }
        unreachable!("a watch begins again whenever it ends")
    };
    (receiver, follow)
}

/// The paths that the API server calls: `/` where none is named.
fn paths(configuration: &MutatingWebhookConfiguration) -> BTreeSet<String> {
    let services = configuration.webhooks.iter().flatten().filter_map(|it| it.client_config.service.as_ref());
    services.map(|service| service.path.clone().unwrap_or_else(|| "/".to_owned())).collect()
}
