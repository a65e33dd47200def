//! The connection to the API server.

use std::time::Duration;

use kube::runtime::watcher;
use kube::{Client, Config};

/// Longest duration of one watch call, in seconds. It bounds how long a dead connection can delay a revocation.
const WATCH_SECONDS: u32 = 30;

/// Time after which a silent API server counts as gone; even an idle watch ends sooner.
const SILENCE: Duration = Duration::from_secs(40);

/// A client by the pod's service account, or by KUBECONFIG.
pub async fn client() -> kube::Result<Client> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// Lists in pages of that size, then watches.
pub fn watch_pages(of: u32) -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(of)
}
