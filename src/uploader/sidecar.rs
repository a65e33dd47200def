//! The sidecar as a process: its arguments, and its parts put together.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures::FutureExt as _;
use tokio::sync::watch;

use crate::api::{
    BANDWIDTH_LIMIT_ENV, BROKER_CA_ENV, BROKER_URL_ENV, LEAST_BANDWIDTH_LIMIT, SPOOL_SIZE_LIMIT_ENV,
    SPOOL_VOLUME_ENV, UPLOADER_HEALTH_PORT, UPLOADER_SPOOL_PATH, UPLOADER_STATE_PATH, UPLOADER_TOKEN_PATH,
};
use crate::aws::Calls;
use crate::serve::{self, Probe, Readiness, Unhealthy};
use crate::telemetry::{self, Metrics};
use crate::uploader::broker::destination::{DestinationState, follow};
use crate::uploader::broker::https::{HttpsBroker, NoCA};
use crate::uploader::broker::loopback::{CannotListen, Listener};
use crate::uploader::broker::report::Reporter;
use crate::uploader::broker::session::Sessions;
use crate::uploader::driver::Driver;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::spool::Spool;
use crate::uploader::spool::volume::SpoolVolume;
use crate::uploader::storage::S3;
use crate::uploader::transfer::bandwidth::BandwidthLimit;
use crate::uploader::transfer::context::TransferContext;

/// How the sidecar is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Directory of the recordings.
    #[arg(long, default_value = UPLOADER_SPOOL_PATH)]
    pub spool: PathBuf,
    /// Kind of the volume that holds it, such as emptyDir, and of a claim its name: persistentVolumeClaim/NAME. Where it outlives
    /// the pod, a drain ends as soon as nothing may be sent.
    #[arg(long, env = SPOOL_VOLUME_ENV, value_name = "KIND")]
    pub spool_volume: Option<String>,
    /// Bytes in the volume above which the kubelet evicts the pod.
    #[arg(long, env = SPOOL_SIZE_LIMIT_ENV, value_name = "BYTES")]
    pub spool_size_limit: Option<u64>,
    /// Directory that outlives the container, for the newest CA bundle that the broker sent and the socket of the probes.
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

/// Asks the sidecar of this container whether it runs.
pub fn probe() -> Result<(), Unhealthy> {
    serve::probe(&probe_socket(Path::new(UPLOADER_STATE_PATH)), Probe::Alive)
}

fn probe_socket(state: &Path) -> PathBuf {
    state.join("probe.sock")
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
    let (sender, destination) = watch::channel(DestinationState::Unknown);
    let sessions = Sessions::new(broker.clone(), S3::counted_by(calls));
    let volume = SpoolVolume { kind: config.spool_volume, size_limit: config.spool_size_limit };
    let mut context = TransferContext::new(Spool::new(config.spool).on(volume), sessions);
    context.bandwidth = config.bandwidth_limit.and_then(NonZeroU64::new).map(BandwidthLimit::new);
    let shutdown = shutdown.shared();
    let pod_ends = shutdown.clone();
    let mut driver = Driver::new(context, metrics, config.termination_log);
    // A spool that cannot be had is reported as well.
    let reporter = Reporter::new(broker.clone(), driver.report_feed());
    let work = async {
        let drive = async {
            if let Some(_lock) = driver.lock_spool(shutdown.clone()).await {
                driver.drive(destination, shutdown).await;
            }
        };
        tokio::select! {
            () = drive => {}
            never = reporter.follow() => match never {},
        }
        reporter.finish().await;
    };
    // Open before the process answers probes: the other containers start after that.
    let listener = Listener::open()?;
    let offer = async {
        match listener {
            Some(listener) => listener.answer(&*broker).await,
            None => std::future::pending().await,
        }
    };
    let state = config.state_dir.is_dir().then(|| probe_socket(&config.state_dir));
    tokio::select! {
        ended = offer => ended.map(|never| match never {}).map_err(Error::Listener),
        served = serve::health(config.listen, Metrics::new(registry), Readiness::default()) => Ok(served?),
        served = serve::probes(state.as_deref(), Readiness::default()) => Ok(served?),
        never = follow(&*broker, sender, pod_ends) => match never {},
        () = work => Ok(()),
    }
}
