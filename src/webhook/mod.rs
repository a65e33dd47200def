//! The webhook: gives labelled pods their upload sidecar, or refuses them with a sentence.
//!
//! [`domain::injection`](crate::domain::injection) decides what a pod gets. There is no leader and nothing is written:
//! each replica answers on its own.

mod admit;
mod destinations;
#[cfg(fuzzing)]
pub mod fuzz;
mod metrics;
mod paths;
mod review_buffer;
mod routes;
#[cfg(test)]
mod tests;
mod unambiguous;
mod weight;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::{Notify, watch};

use crate::api::LEAST_BANDWIDTH_LIMIT;
use crate::cluster::{self, DestinationCache, UndecodableObjects, compact, webhook_paths};
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::injection::{LogLevel, ResourceBounds, Resources, Settings};
use crate::serve::{self, Readiness, TlsDirectory};
use crate::telemetry::{self, Metrics};
use admit::{LOOKUPS, Webhook};
use destinations::LiveDestinations;
use metrics::Admissions;
use paths::AcceptedPaths;
use routes::router;

/// How the webhook is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Address of the webhook, HTTPS.
    #[arg(long, default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Address of metrics and health, plain HTTP.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub metrics_listen: SocketAddr,
    /// Unix socket on which the kubelet's probes are answered; without it, they are not.
    #[arg(long)]
    pub probe_socket: Option<PathBuf>,
    /// The MutatingWebhookConfiguration that names the path at which the API server calls; without it, that is /inject.
    #[arg(long)]
    pub webhook_configuration: Option<String>,
    /// Directory of the webhook's certificate: tls.crt, tls.key, and ca.crt, which sidecars trust as well.
    #[arg(long, default_value = "/var/run/secrets/recording-operator/tls")]
    pub tls_dir: PathBuf,
    /// Base URL by which sidecars reach the broker.
    #[arg(long)]
    pub broker_url: String,
    /// Image of the sidecar.
    #[arg(long)]
    pub uploader_image: String,
    /// When the kubelet pulls it: Always, IfNotPresent or Never.
    #[arg(long, default_value = "IfNotPresent")]
    pub uploader_image_pull_policy: String,
    /// No more than so many bytes a second from each sidecar, at least 2 MiB; without it, as fast as it goes.
    #[arg(
        long,
        value_name = "BYTES_PER_SECOND",
        value_parser = clap::value_parser!(u64).range(LEAST_BANDWIDTH_LIMIT..)
    )]
    pub uploader_bandwidth_limit: Option<u64>,
    /// Requests and limits of each sidecar: {"requests": {…}, "limits": {…}}.
    #[arg(long, value_name = "JSON", value_parser = Resources::from_json)]
    pub uploader_resources: Option<Resources>,
    /// Bounds of those that a pod's annotations may name: {"min": {…}, "max": {…}}.
    #[arg(long, value_name = "JSON", value_parser = ResourceBounds::from_json)]
    pub uploader_resource_bounds: Option<ResourceBounds>,
    /// How much sidecars log, error to debug, where the pod's annotation does not say it.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub uploader_log_level: LogLevel,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the cluster cannot be reached: {0}; check the service account and KUBECONFIG")]
    Cluster(#[from] kube::Error),
    #[error(transparent)]
    Serve(#[from] serve::Error),
}

/// Serves until `shutdown` ends.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let client = cluster::client().await?;
    let mut registry = telemetry::registry("webhook");
    let admissions = Admissions::register(&mut registry);
    let readiness = Readiness::default();
    let tls = TlsDirectory::new(config.tls_dir);
    tls.register(&mut registry);
    let undecodable = UndecodableObjects::register(&mut registry, "RecordingDestination");
    let (cache, watch) = DestinationCache::watch(client.clone(), compact::existence, None, undecodable);

    let unknown = Arc::new(Notify::new());
    let (present, follow) = match config.webhook_configuration {
        Some(name) => {
            let (present, follow) = webhook_paths::follow(client.clone(), &name, unknown.clone());
            (present, follow.boxed())
        }
        None => {
            let (_, present) = watch::channel(BTreeSet::from([webhook_paths::hash("/inject")]));
            (present, std::future::pending().boxed())
        }
    };
    let paths = Arc::new(AcceptedPaths::new(present, unknown));

    let webhook = Webhook {
        destinations: LiveDestinations { client, cache: cache.clone() },
        tls: tls.clone(),
        settings: Settings {
            image: config.uploader_image,
            image_pull_policy: config.uploader_image_pull_policy,
            bandwidth_limit: config.uploader_bandwidth_limit,
            resources: config.uploader_resources.unwrap_or_else(Resources::usual),
            resource_bounds: config.uploader_resource_bounds.unwrap_or_else(ResourceBounds::usual),
            log_level: config.uploader_log_level,
            broker_url: config.broker_url,
            broker_ca: String::new(),
        },
        admissions,
        lookups: ConcurrencyLimiter::per_key(LOOKUPS),
    };
    let app = router(Arc::new(webhook), paths.clone());

    let (listed, path) = (readiness.part("destinations"), readiness.part("path"));
    let filled = async {
        paths.known().await;
        path.done();
        cache.filled().await;
        listed.done();
        std::future::pending().await
    };
    let served = serve::https(config.listen, &tls, app, &readiness, shutdown);
    let health = serve::health(config.metrics_listen, Metrics::new(registry), readiness.clone());
    let probes = serve::probes(config.probe_socket.as_deref(), readiness.clone());
    tokio::select! {
        ended = served => Ok(ended?),
        failed = health => Ok(failed?),
        failed = probes => Ok(failed?),
        never = watch => match never {},
        never = filled => match never {},
        never = follow => match never {},
        never = paths.follow() => match never {},
    }
}
