//! The connection to the API server.

use std::time::Duration;

use kube::{Client, Config};

/// Time after which a silent API server counts as gone; even an idle watch ends sooner.
const SILENCE: Duration = Duration::from_secs(40);

/// A client by the pod's service account, or by KUBECONFIG.
pub async fn client() -> kube::Result<Client> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}
