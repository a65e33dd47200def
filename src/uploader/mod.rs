//! The upload sidecar: what appears in the spool goes to the tenant's bucket, and leaves the spool
//! when S3 has said that it is there.
//!
//! | file | step |
//! |---|---|
//! | `follow` | hears from the broker where recordings go, and whether to send them now |
//! | `watch`, `ledger` | notice recordings, and know when each is worked on next |
//! | `gate` | lets through as many as S3 takes |
//! | `deliver` | takes one as far as it goes: `examine`, `upload`, let go |
//! | `driver` | the loop around these, until it has drained |
//!
//! One thread runs all of it, and files are read on a few others. The journal of multipart uploads,
//! the reports to the broker and the credentials listener have their places beside these.

mod broker;
mod deliver;
mod driver;
mod examine;
mod follow;
mod gate;
mod ledger;
mod metrics;
mod ports;
mod recording;
mod session;
mod spool;
mod syscalls;
mod upload;
mod watch;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt as _;
use prometheus_client::registry::Registry;
use tokio::sync::watch as value;

use self::broker::{HttpsBroker, NoCA};
use self::deliver::Works;
use self::driver::Driver;
use self::follow::follow;
use self::gate::Word;
use self::metrics::UploaderMetrics;
use self::ports::S3;
use self::session::Sessions;
use self::spool::{Lock, Spool};
use crate::serve::{self, Readiness};
use crate::telemetry::Metrics;

/// Time between two tries to get the spool.
const CLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of the sidecar.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of the recordings.
    pub spool: PathBuf,
    /// Directory that outlives the container, not the pod.
    pub state: PathBuf,
    /// File with the pod's token.
    pub token: PathBuf,
    /// Base URL of the broker.
    pub broker_url: String,
    /// The broker's CA certificates, PEM.
    pub broker_ca: String,
    /// Address of metrics and health.
    pub listen: SocketAddr,
    /// Where Kubernetes looks for a container's last words; used where it exists.
    pub termination_log: PathBuf,
}

/// The sidecar cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No CA to know the broker by.
    #[error("{0} in {name}: the webhook sets it; look at the pod's recording-uploader container", name = crate::api::BROKER_CA_ENV)]
    NoCA(#[from] NoCA),
    /// Metrics and health cannot be served.
    #[error(transparent)]
    Serve(#[from] serve::Error),
}

/// Uploads until `shutdown`, and then until nothing is left.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let mut registry = Registry::default();
    let metrics = UploaderMetrics::register(&mut registry);
    let broker = HttpsBroker::new(&config.broker_url, &config.broker_ca, &config.state, config.token)?;
    let broker = Rc::new(broker);
    let (heard, word) = value::channel(Word::Unheard);
    let works =
        Works { spool: Spool::new(config.spool), sessions: Sessions::new(broker.clone(), S3::default()) };
    let shutdown = shutdown.shared();
    let work = async {
        let Some(_lock) = claim(&works.spool, shutdown.clone()).await else { return };
        Driver::new(works, metrics, config.termination_log).drive(word, shutdown).await;
    };
    tokio::select! {
        served = serve::health(config.listen, Metrics::new(registry), Readiness::default()) => Ok(served?),
        never = follow(&*broker, heard) => match never {},
        () = work => Ok(()),
    }
}

/// Waits for the spool, and brings it in order. `None`: told to end before.
async fn claim(spool: &Spool, shutdown: impl Future<Output = ()>) -> Option<Lock> {
    let mut shutdown = pin!(shutdown);
    let mut told = None;
    loop {
        let locking = spool.clone();
        let path = spool.root().display();
        let reason = match blocking(move || locking.try_lock()).await {
            Ok(Some(lock)) => {
                let restoring = spool.clone();
                if let Err(error) = blocking(move || restoring.restore()).await {
                    tracing::warn!(reason = "SpoolNotWritable", %path, %error, "What an earlier uploader left is not in order");
                }
                return Some(lock);
            }
            Ok(None) => {
                if told != Some("SpoolInUse") {
                    tracing::warn!(reason = "SpoolInUse", %path, "Another uploader has the spool. Waiting for it to end");
                }
                "SpoolInUse"
            }
            Err(error) => {
                if told != Some("SpoolNotWritable") {
                    tracing::warn!(reason = "SpoolNotWritable", %path, %error, "The spool cannot be used. Let it be writable for the uploader's UID or GID");
                }
                "SpoolNotWritable"
            }
        };
        told = Some(reason);
        tokio::select! {
            () = tokio::time::sleep(CLAIM_INTERVAL) => {}
            () = &mut shutdown => return None,
        }
    }
}

/// Runs file work away from the thread that drives everything.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
