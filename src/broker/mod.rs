//! The broker: hands a destination's short-lived credentials to the sidecars of that destination's
//! pods, and tells them where to put recordings, and whether.
//!
//! It is the security boundary between tenants. [`domain::grant`](crate::domain::grant) decides what each pod gets; this
//! room holds the order of the steps and the caches between requests. There is no leader: each replica answers on its
//! own.

mod cache;
mod flights;
#[cfg(fuzzing)]
pub mod fuzz;
mod grants;
mod live;
mod metrics;
mod ports;
mod reports;
mod responses;
mod routes;
mod sessions;
mod silence;
#[cfg(test)]
mod tests;
mod token;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::DESTINATIONS_PER_NAMESPACE;
use crate::aws::{Connection, CredentialsSource, EndpointArgs, NoRole, Sts};
use crate::cluster::{self, DestinationCache, Events, NamespaceLimit, Pods, UndecodableObjects, compact};
use crate::domain::trust::Writes;
use crate::serve::{self, Readiness, TlsDirectory};
use crate::telemetry::{self, LineLimit, Metrics};
use grants::Grants;
use live::{LiveCluster, LiveSessions};
use metrics::Requests;
use routes::{Broker, router};
use sessions::Sessions;

/// Log lines about strangers in ten seconds.
const STRANGERS_LINES: u64 = 100;

/// How the broker is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Address of the broker, HTTPS.
    #[arg(long, default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Address of metrics and health, plain HTTP.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub metrics_listen: SocketAddr,
    /// Unix socket on which the kubelet's probes are answered; without it, they are not.
    #[arg(long)]
    pub probe_socket: Option<PathBuf>,
    /// Directory of the broker's certificate: tls.crt, tls.key and ca.crt.
    #[arg(long, default_value = "/var/run/secrets/recording-operator/tls")]
    pub tls_dir: PathBuf,
    /// Region whose STS endpoint is used.
    #[arg(long, default_value = "us-east-1")]
    pub aws_region: String,
    /// Endpoint that replaces AWS's own, for the broker and for the sidecars.
    #[command(flatten)]
    pub aws_endpoint: EndpointArgs,
    /// Calls to STS in a second, at most, by this process.
    #[arg(long, default_value = "50")]
    pub sts_calls_per_second: NonZeroU32,
    /// Refuse puts by a session that could replace an object: those without If-None-Match.
    #[arg(long)]
    pub require_conditional_writes: bool,
    /// Where the platform's credentials come from: `secret`, an access key, or `workloadIdentity`, the pod's role by IRSA or
    /// EKS Pod Identity.
    #[arg(long, default_value = "secret")]
    pub platform_credentials: CredentialsSource,
    /// Destinations in one namespace, at most, as the controller has it. The newest beyond it are treated as absent.
    #[arg(long, default_value_t = DESTINATIONS_PER_NAMESPACE)]
    pub destinations_per_namespace: usize,
    /// Directory of the platform's access key.
    #[arg(long, default_value = "/var/run/secrets/recording-operator/aws")]
    pub platform_key_dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the cluster cannot be reached: {0}; check the service account and KUBECONFIG")]
    Cluster(#[from] kube::Error),
    #[error(transparent)]
    NoRole(#[from] NoRole),
    #[error(transparent)]
    Serve(#[from] serve::Error),
}

/// Serves until `shutdown` ends. Nothing is served before the destinations are listed, because an unknown destination is
/// refused.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let client = cluster::client().await?;
    let mut registry = telemetry::registry("broker");
    let requests = Requests::register(&mut registry);
    let readiness = Readiness::default();
    let tls = TlsDirectory::new(config.tls_dir);
    tls.register(&mut registry);
    let undecodable = UndecodableObjects::register(&mut registry, "RecordingDestination");
    let limit = NamespaceLimit::new(config.destinations_per_namespace);
    let (destinations, watch) =
        DestinationCache::watch(client.clone(), compact::grants, Some(limit), undecodable);

    let endpoint = config.aws_endpoint.endpoint();
    let connection = Connection::new(endpoint.clone());
    connection.register(&mut registry);
    let (source, directory) = (config.platform_credentials, &config.platform_key_dir);
    let key = source.provider(&connection, &config.aws_region, directory)?;
    let sts = Sts::new(&connection, &config.aws_region, key, config.sts_calls_per_second);
    let events = Events::new(client.clone(), "recording-broker");
    let pods = Pods::new(client.clone());
    let cluster = LiveCluster { client: client.clone(), pods, destinations: destinations.clone(), events };
    let issuer = LiveSessions::new(client, sts, Writes::new(config.require_conditional_writes));
    let sessions = Sessions::new(issuer, config.sts_calls_per_second, Timestamp::now);
    let (mut authorities, follow_authorities) = tls.follow_authorities();
    let grants = Grants::new(cluster, sessions, authorities.clone(), endpoint, Timestamp::now);
    let broker = Arc::new(Broker { grants, requests, strangers: LineLimit::new(STRANGERS_LINES) });
    let app = router(broker.clone());

    let listed = readiness.part("destinations");
    let served = async {
        tokio::pin!(shutdown);
        let known = async {
            destinations.filled().await;
            listed.done();
            _ = authorities.wait_for(|pem| !pem.is_empty()).await;
        };
        tokio::select! {
            () = known => {}
            () = &mut shutdown => return Ok(()),
        }
        serve::https(config.listen, &tls, app, &readiness, shutdown).await
    };
    let health = serve::health(config.metrics_listen, Metrics::new(registry), readiness.clone());
    let probes = serve::probes(config.probe_socket.as_deref(), readiness.clone());
    tokio::select! {
        ended = served => Ok(ended?),
        failed = health => Ok(failed?),
        failed = probes => Ok(failed?),
        never = watch => match never {},
        never = follow_authorities => match never {},
        never = broker.grants.write_reports() => match never {},
    }
}
