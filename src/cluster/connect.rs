//! A connection to the cluster of a kubeconfig, found as kubectl finds it.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Why there is no connection to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the kubeconfig cannot be used: {0}; check KUBECONFIG, --kubeconfig and --context")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a pod's service account.
    #[error("no cluster is configured: {0}; set KUBECONFIG or give --kubeconfig")]
    Infer(#[from] kube::config::InferConfigError),
    /// The kubeconfig makes no client.
    #[error("the kubeconfig cannot be used: {0}")]
    Client(#[from] kube::Error),
}

/// A client for the cluster of a kubeconfig, and the namespace of its context. `kubeconfig` is a file in place of
/// KUBECONFIG, `context` one in place of the current.
pub async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<(Client, String), ConnectError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = match (kubeconfig, context) {
        (Some(file), _) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
        (None, Some(_)) => Config::from_kubeconfig(&options).await?,
        (None, None) => Config::infer().await?,
    };
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}
