//! The upload sidecar: what appears in the spool goes to the tenant's bucket, and leaves the spool
//! when S3 has said that it is there.
//!
//! | file | step |
//! |---|---|
//! | `claim` | waits for the spool, which one uploader has at a time |
//! | `follow` | hears from the broker where recordings go, and whether to send them now |
//! | `watch`, `ledger` | notice recordings, and know when each is worked on next |
//! | `gate` | lets through as many as S3 takes |
//! | `lanes`, `pace` | say how much goes at a time, and how fast |
//! | `deliver` | takes one as far as it goes: `examine`, `upload` as a whole or `multipart` with its `journal`, let go |
//! | `volume` | sees how full the volume is |
//! | `report` | tells the broker how the sidecar stands |
//! | `credentials` | hands the pod's session to AWS SDKs in its other containers, where the pod asks for that |
//! | `by_hand` | a directory instead of a pod's spool, a file instead of the broker |
//! | `driver` | the loop around these, until it has drained; `settle` draws the consequences of each delivery |
//!
//! One thread runs all of it, and files are read on a few others. `place` and `syscalls` are all that touches the spool.

mod broker;
mod buffers;
mod by_hand;
mod claim;
mod credentials;
mod deliver;
mod driver;
mod examine;
mod follow;
mod gate;
mod journal;
mod lanes;
mod ledger;
mod metrics;
mod multipart;
mod pace;
mod place;
mod ports;
mod recording;
mod report;
mod session;
mod settle;
mod spool;
mod stream;
mod syscalls;
mod upload;
mod volume;
mod watch;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::rc::Rc;

use futures::FutureExt as _;
use tokio::sync::watch as value;

pub use self::by_hand::{ByHand, CannotBegin, EXIT_CODES, Ended, run_by_hand};

use self::broker::{HttpsBroker, NoCA};
use self::claim::claim;
use self::credentials::{CannotListen, Listener};
use self::deliver::Works;
use self::driver::Driver;
use self::follow::follow;
use self::gate::Word;
use self::metrics::UploaderMetrics;
use self::pace::Pace;
use self::ports::S3;
use self::report::Reporter;
use self::session::Sessions;
use self::spool::Spool;
use crate::api::{
    BANDWIDTH_LIMIT_ENV, BROKER_CA_ENV, BROKER_URL_ENV, LEAST_BANDWIDTH_LIMIT, UPLOADER_HEALTH_PORT,
    UPLOADER_SPOOL_PATH, UPLOADER_STATE_PATH, UPLOADER_TOKEN_PATH,
};
use crate::aws::Calls;
use crate::serve::{self, Readiness};
use crate::telemetry::{self, Metrics};

/// How the sidecar is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Directory of the recordings.
    #[arg(long, default_value = UPLOADER_SPOOL_PATH)]
    pub spool: PathBuf,
    /// Directory that outlives the container, for what the broker said last of its certificates.
    #[arg(long, default_value = UPLOADER_STATE_PATH)]
    pub state_dir: PathBuf,
    /// File with the pod's token for the broker.
    #[arg(long, default_value = UPLOADER_TOKEN_PATH)]
    pub token_file: PathBuf,
    /// Base URL of the broker.
    #[arg(long, env = BROKER_URL_ENV, required = false, required_unless_present = "once")]
    pub broker_url: String,
    /// The broker's CA certificates, PEM.
    #[arg(long, env = BROKER_CA_ENV, hide_env_values = true, required = false, required_unless_present = "once")]
    pub broker_ca: String,
    /// No more than so many bytes a second to S3, at least 2 MiB; without it, as fast as it goes.
    #[arg(
        long,
        env = BANDWIDTH_LIMIT_ENV,
        value_name = "BYTES_PER_SECOND",
        value_parser = clap::value_parser!(u64).range(LEAST_BANDWIDTH_LIMIT..)
    )]
    pub bandwidth_limit: Option<u64>,
    /// Address of metrics and health, plain HTTP.
    #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0], UPLOADER_HEALTH_PORT)))]
    pub listen: SocketAddr,
    /// Where Kubernetes looks for a container's last words; used where it exists.
    #[arg(long, default_value = "/dev/termination-log")]
    pub termination_log: PathBuf,
}

/// The sidecar cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No CA to know the broker by.
    #[error("{0} in {name}: the webhook sets it; look at the pod's recording-uploader container", name = BROKER_CA_ENV)]
    NoCA(#[from] NoCA),
    /// Credentials cannot be offered to the pod's containers.
    #[error(transparent)]
    CannotListen(#[from] CannotListen),
    /// The listener for the pod's containers broke down.
    #[error("the credentials listener: {0}")]
    Listener(std::io::Error),
    /// Metrics and health cannot be served.
    #[error(transparent)]
    Serve(#[from] serve::Error),
}

/// Uploads until `shutdown`, and then until nothing is left.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let mut registry = telemetry::registry("uploader");
    let metrics = UploaderMetrics::register(&mut registry);
    let calls = Calls::default();
    calls.register(&mut registry);
    let broker =
        HttpsBroker::new(&config.broker_url, &config.broker_ca, &config.state_dir, config.token_file)?;
    let broker = Rc::new(broker);
    let (heard, word) = value::channel(Word::Unheard);
    let sessions = Sessions::new(broker.clone(), S3::counted_by(calls));
    let mut works = Works::new(Spool::new(config.spool), sessions);
    works.pace = config.bandwidth_limit.and_then(NonZeroU64::new).map(Pace::new);
    let shutdown = shutdown.shared();
    let work = async {
        let Some(_lock) = claim(&works.spool, &config.termination_log, shutdown.clone()).await else {
            return;
        };
        let mut driver = Driver::new(works, metrics, config.termination_log);
        let reporter = Reporter::new(broker.clone(), driver.standing());
        tokio::select! {
            () = driver.drive(word, shutdown) => {}
            never = reporter.follow() => match never {},
        }
        reporter.finish().await;
    };
    // Open before anything says that the process runs: the other containers start after that.
    let listener = Listener::open()?;
    let offer = async {
        match listener {
            Some(listener) => listener.answer(&*broker).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = offer => ended.map(|never| match never {}).map_err(Error::Listener),
        served = serve::health(config.listen, Metrics::new(registry), Readiness::default()) => Ok(served?),
        never = follow(&*broker, heard) => match never {},
        () = work => Ok(()),
    }
}

/// Runs file work away from the thread that drives everything.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
