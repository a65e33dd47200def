//! The connection to the API server.

use std::time::Duration;

use kube::runtime::watcher;
use kube::{Client, Config};

/// Longest time, in seconds, that one watch call lasts. A connection that died unnoticed is noticed within it: a
/// revocation must not wait for longer.
const WATCH_SECONDS: u32 = 30;

/// Time for the API server to say something, if only that a watch has ended.
const SILENCE: Duration = Duration::from_secs(40);

/// A client by the pod's service account, or by KUBECONFIG.
pub async fn client() -> kube::Result<Client> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// How things are listed, so many in one answer, and then watched.
pub fn watch_pages(of: u32) -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(of)
}
