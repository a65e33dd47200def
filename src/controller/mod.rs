//! The controller: validates destinations and writes their status.

mod certificates;
mod claims;
mod context;
mod gather;
#[cfg(test)]
mod memory_tests;
mod metrics;
mod queue;
mod reconcile;
#[cfg(test)]
mod reconcile_tests;
mod secret_reads;
mod webhook_path;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use futures::channel::mpsc;
use futures::{StreamExt as _, stream};
use prometheus_client::registry::Registry;

use crate::api::DESTINATIONS_PER_NAMESPACE;
use crate::aws::{Connection, CredentialsSource, EndpointArgs, Examiner, NoRole, Sts};
use crate::cluster::{
    self, DestinationStore, Events, NamespaceAccounts, NamespaceLimit, UndecodableObjects, compact,
};
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::ownership::AccountBinding;
use crate::domain::trust::Writes;
use crate::domain::verdict::{EnforcementMode, QuestionLimit, Rules};
use crate::serve::{self, Readiness};
use crate::telemetry::{self, Metrics};
use claims::Claims;
use context::Context;
use metrics::{LimitedExternalIDs, ValidationDurations};
use reconcile::reconcile;

/// Validations under way at the same time, and reports: bounds what they hold in memory.
const TOTAL: usize = 32;
/// Those of one namespace. The rest of its destinations wait without delaying other namespaces.
const PER_NAMESPACE: usize = 4;

/// How the controller is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Address of metrics and health, plain HTTP.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub metrics_listen: SocketAddr,
    /// Unix socket on which the kubelet's probes are answered; without it, they are not.
    #[arg(long)]
    pub probe_socket: Option<PathBuf>,
    /// Region whose STS endpoint is used.
    #[arg(long, default_value = "us-east-1")]
    pub aws_region: String,
    /// Endpoint that replaces AWS's own.
    #[command(flatten)]
    pub aws_endpoint: EndpointArgs,
    /// The principal that customers' roles trust, by ARN.
    #[arg(long)]
    pub platform_principal_arn: String,
    /// ARN of a role of the platform that accepts any External ID. While it refuses one, refusals by customers' roles prove nothing.
    #[arg(long)]
    pub control_role_arn: Option<String>,
    /// What a role that lets anybody in comes to: `require`, it is not Ready; `warn`, it is only said.
    #[arg(long, default_value = "require")]
    pub enforcement: EnforcementMode,
    /// Whether a namespace without the annotation recordings.revenue.io/allowed-accounts may use any AWS account
    /// (`whenPresent`) or none (`required`).
    #[arg(long, default_value = "whenPresent")]
    pub account_binding: AccountBinding,
    /// Destinations in one namespace, at most. The newest beyond it are told so in their status and not validated.
    #[arg(long, default_value_t = DESTINATIONS_PER_NAMESPACE)]
    pub destinations_per_namespace: usize,
    /// Calls to STS in a second, at most.
    #[arg(long, default_value = "50")]
    pub sts_calls_per_second: NonZeroU32,
    /// Refuse puts by a session that could replace an object: those without If-None-Match.
    #[arg(long)]
    pub require_conditional_writes: bool,
    /// Where the platform's credentials come from: `secret`, an access key, or `workloadIdentity`, the pod's role by IRSA or
    /// EKS Pod Identity.
    #[arg(long, default_value = "secret")]
    pub platform_credentials: CredentialsSource,
    /// Directory of the platform's access key.
    #[arg(long, default_value = "/var/run/secrets/recording-operator/aws")]
    pub platform_key_dir: PathBuf,
    /// The certificates that are kept; none when somebody else keeps them.
    #[command(flatten)]
    pub certificates: Option<certificates::Config>,
    /// The webhook whose path is kept secret; none when it is not called by an API server.
    #[command(flatten)]
    pub webhook_path: Option<webhook_path::Config>,
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

/// Runs until `shutdown` ends.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), Error> {
    let client = cluster::client().await?;
    let connection = Connection::new(config.aws_endpoint.endpoint());
    let mut registry = telemetry::registry("controller");
    connection.register(&mut registry);
    let (wake, woken) = mpsc::unbounded();
    let (changed, mut rebound) = mpsc::unbounded::<String>();
    let (namespaces, watch) = NamespaceAccounts::watch(client.clone(), move |namespace| {
        // It fails when the process ends.
        _ = changed.unbounded_send(namespace.to_owned());
    });
    let undecodable = UndecodableObjects::register(&mut registry, "RecordingDestination");
    let (gone, mut ended) = mpsc::unbounded::<String>();
    let namespace_limit = Arc::new(NamespaceLimit::new(config.destinations_per_namespace));
    let (limited, admit) = (namespace_limit.clone(), wake.clone());
    let limit = namespace_limit.clone();
    let (destinations, changes) =
        DestinationStore::watch(client.clone(), compact::verdicts, limit, undecodable, move |metadata| {
            _ = gone.unbounded_send(metadata.uid.clone().unwrap_or_default());
            limited.remove(metadata).into_iter().for_each(|admitted| _ = admit.unbounded_send(admitted));
        });
    let listed = destinations.clone();
    let mut large = Registry::default();
    metrics::register(&mut large, destinations.clone());
    let validation_durations = ValidationDurations::register(&mut registry);
    let limited_ids = LimitedExternalIDs::register(&mut registry);
    let (keeper, kept) = (client.clone(), config.certificates);
    let certificates = async {
        match kept {
            Some(kept) => certificates::keep(keeper, kept).await,
            None => std::future::pending().await,
        }
    };
    let (keeper, kept) = (client.clone(), config.webhook_path);
    let webhook_path = async {
        match kept {
            Some(kept) => webhook_path::keep(keeper, kept).await,
            None => std::future::pending().await,
        }
    };
    let (source, directory) = (config.platform_credentials, &config.platform_key_dir);
    let key = source.provider(&connection, &config.aws_region, directory)?;
    let sts = Sts::new(&connection, &config.aws_region, key, config.sts_calls_per_second);
    let writes = Writes::new(config.require_conditional_writes);
    let examiner =
        Examiner::new(connection, sts, config.platform_principal_arn, config.control_role_arn, writes);
    // Every role is in the partition of the platform's principal, because `due` refuses others.
    let partition = examiner.partition().to_owned();
    let context = Arc::new(Context {
        examiner,
        events: Events::new(client.clone(), "recording-controller"),
        client,
        rules: Rules { partition, enforcement: config.enforcement },
        claims: Claims::new(config.account_binding, namespaces, destinations.clone(), wake),
        namespace_limit,
        validations: ConcurrencyLimiter::per_key(PER_NAMESPACE).with_total(TOTAL),
        reports: ConcurrencyLimiter::per_key(PER_NAMESPACE).with_total(TOTAL),
        validation_durations,
        limited_ids,
        questions: QuestionLimit::new(config.sts_calls_per_second.get()).into(),
        fleet: Default::default(),
        recent: Default::default(),
        failures: Default::default(),
        destinations,
    });
    let readiness = Readiness::default();
    let synced = readiness.part("destinations");
    let metrics = Metrics::new(registry).and_large(large);
    let health = serve::health(config.metrics_listen, metrics, readiness.clone());
    let probes = serve::probes(config.probe_socket.as_deref(), readiness);
    let ready = async {
        listed.filled().await;
        synced.done();
        std::future::pending::<()>().await;
    };
    let load = context.claims.load(&context.client);
    let follow = async {
        loop {
            tokio::select! {
                Some(namespace) = rebound.next() => context.claims.bind(&namespace),
                Some(uid) = ended.next() => context.forget(&uid),
            }
        }
    };
    // STS may take long to answer, and the destinations are listed meanwhile.
    let identify = async {
        context.report_platform_identity().await;
        std::future::pending::<()>().await;
    };
    // The controller's own status writes trigger reconciliations too, which find nothing due.
    let triggers = stream::select(changes, woken);
    let work = queue::work(triggers, shutdown, |key| reconcile(key, context.clone()));
    tokio::select! {
        () = work => Ok(()),
        never = follow => never,
        () = identify => Ok(()),
        never = load => match never {},
        failed = health => Ok(failed?),
        failed = probes => Ok(failed?),
        () = ready => Ok(()),
        never = certificates => match never {},
        never = webhook_path => match never {},
        never = watch => match never {},
    }
}
