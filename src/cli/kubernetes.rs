//! The cluster and namespace of a command, with the flags of kubectl.

use std::path::PathBuf;

use kube::Client;

use super::output::Failure;
use crate::api::RecordingDestination;
use crate::cluster::{self, destinations};

/// The caller's cluster.
#[derive(clap::Args)]
pub(super) struct Kubernetes {
    /// Context of the kubeconfig; the current one when absent.
    #[arg(long)]
    context: Option<String>,
    /// The kubeconfig, in place of KUBECONFIG.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// One destination of the caller's cluster.
#[derive(clap::Args)]
pub(super) struct Named {
    /// Name of the RecordingDestination.
    pub name: String,
    /// Its namespace; that of the context when absent.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

impl Kubernetes {
    /// A client, and the namespace of the context.
    pub(super) async fn connect(&self) -> Result<(Client, String), Failure> {
        let connected = cluster::connect(self.kubeconfig.as_deref(), self.context.as_deref()).await;
        connected.map_err(|error| Failure::Undone(error.to_string()))
    }
}

impl Named {
    /// A client, and the destination.
    pub(super) async fn find(&self) -> Result<(Client, RecordingDestination), Failure> {
        let (client, current) = self.kubernetes.connect().await?;
        let (name, namespace) = (&self.name, self.namespace.as_ref().unwrap_or(&current));
        let found = destinations::get(&client, namespace, name).await.map_err(|error| failure(&error))?;
        let destination = found.ok_or_else(|| {
            Failure::Undone(format!(
                "there is no RecordingDestination {name} in namespace {namespace}: kubectl recordings status shows all, \
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
