//! The cluster and namespace of a command, with the flags of kubectl.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;

use super::output::Failure;
use crate::api::RecordingDestination;
use crate::cluster::{self, ClusterAccess, destinations};

/// The caller's cluster.
#[derive(clap::Args)]
pub(super) struct Kubernetes {
    /// Namespace; that of the context when absent.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; the current one when absent.
    #[arg(long)]
    context: Option<String>,
    /// Cluster of the kubeconfig, in place of the context's.
    #[arg(long)]
    cluster: Option<String>,
    /// User of the kubeconfig, in place of the context's.
    #[arg(long)]
    user: Option<String>,
    /// The kubeconfig, in place of KUBECONFIG.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// User to impersonate, such as system:serviceaccount:NAMESPACE:NAME.
    #[arg(long = "as", value_name = "USER")]
    impersonate: Option<String>,
    /// Group to impersonate with --as; may be given several times.
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    impersonate_groups: Vec<String>,
    /// How long the API server may take for one request, such as 5s or 2m; 0 means no limit. A watch has no limit.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = request_timeout)]
    request_timeout: Duration,
}

/// As kubectl reads it: a number alone is one of seconds.
fn request_timeout(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "it must be a number of seconds or a duration such as 5s, 2m or 1h".to_owned())
}

/// One destination of the caller's cluster.
#[derive(clap::Args)]
pub(super) struct Named {
    /// Name of the RecordingDestination.
    pub name: String,
    #[command(flatten)]
    pub kubernetes: Kubernetes,
}

impl Kubernetes {
    /// A client for single requests, and the namespace that is meant.
    pub(super) async fn connect(&self) -> Result<(Client, String), Failure> {
        let timeout = Some(self.request_timeout).filter(|timeout| !timeout.is_zero());
        let (client, of_context) = self.connect_within(timeout).await?;
        Ok((client, self.namespace.clone().unwrap_or(of_context)))
    }

    /// A client for watches.
    pub(super) async fn connect_to_watch(&self) -> Result<Client, Failure> {
        Ok(self.connect_within(None).await?.0)
    }

    async fn connect_within(&self, timeout: Option<Duration>) -> Result<(Client, String), Failure> {
        let access = ClusterAccess {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            impersonate: self.impersonate.clone(),
            impersonate_groups: self.impersonate_groups.clone(),
            timeout,
        };
        cluster::connect(&access).await.map_err(|error| Failure::Undone(error.to_string()))
    }
}

impl Named {
    /// A client, and the destination.
    pub(super) async fn find(&self) -> Result<(Client, RecordingDestination), Failure> {
        let (client, namespace) = self.kubernetes.connect().await?;
        let name = &self.name;
        let found = destinations::get(&client, &namespace, name).await.map_err(|error| failure(&error))?;
        let destination = found.ok_or_else(|| {
            Failure::Undone(format!(
                "there is no RecordingDestination {name} in namespace {namespace}: kubectl recordings status -A shows all, \
                 and -n names another namespace"
            ))
        })?;
        Ok((client, destination))
    }
}

/// A failed call to the API server, with the remedy.
pub(super) fn failure(error: &kube::Error) -> Failure {
    Failure::Undone(match error {
        kube::Error::Api(refusal) if refusal.code == 404 => {
            "the cluster knows no RecordingDestinations: install the chart recording-operator, or name another cluster with \
             --context"
                .to_owned()
        }
        kube::Error::Api(refusal) if matches!(refusal.code, 401 | 403) => {
            format!("the cluster does not let you: {}; ask whoever administers it", refusal.message)
        }
        kube::Error::Api(refusal) => format!("the cluster refused: {}", refusal.message),
        error => format!("the cluster does not answer: {}; check KUBECONFIG, --context and the network", causes(error)),
    })
}

/// The error with its sources, because the outermost text alone is often empty of meaning.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        below = error.source();
    }
    text
}
