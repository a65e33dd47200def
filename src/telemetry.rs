//! Logs and metrics, and the start and end of a process.

use std::io::IsTerminal as _;
use std::process::{ExitCode, Termination};
use std::sync::Arc;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::printable::{LogLines, printable_lines};

/// Starts logging to standard error: JSON lines for a log collector, plain lines on a terminal. `RUST_LOG` selects what is
/// logged of our own code, `info` by default.
pub fn init_logs() {
    let chosen = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = chosen.and(filter_fn(may_be_logged));
    let lines = tracing_subscriber::fmt::layer().with_writer(LogLines(std::io::stderr)).with_ansi(false);
    if std::io::stderr().is_terminal() {
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    } else {
        let lines = lines.json().flatten_event(true).with_current_span(false);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
}

/// Below `info` libraries log whole requests, with External IDs, tokens and keys. No setting may enable that.
fn may_be_logged(metadata: &tracing::Metadata<'_>) -> bool {
    *metadata.level() <= tracing::Level::INFO || metadata.target().starts_with("recording_")
}

/// The metrics of one process. Rooms register theirs while the process is wired; afterwards the registry is only read.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

/// A registry with `recording_operator_build_info{component,version}`, which is always 1.
pub fn registry(component: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.register(
        "recording_operator_build",
        "Which component of which version this is; always 1",
        Info::new([("component", component), ("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry
}

impl Metrics {
    pub fn new(registry: Registry) -> Self {
        Metrics(Arc::new(registry))
    }

    /// The OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)
            .expect("writing to a String cannot fail");
        text
    }
}

/// Runs a process with logs, and a runtime of two threads, because threads cost memory and the work is mostly waiting.
pub fn run<E: std::fmt::Display>(
    process: &'static str,
    work: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    init_logs();
    tracing::info!(process, version = env!("CARGO_PKG_VERSION"), "started");
    match runtime().block_on(work) {
        Ok(()) => {
            tracing::info!(process, "ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(process, %error, "ended");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command in a terminal. Its log lines are output for the user and go to `lines`; `level` applies when `RUST_LOG`
/// is not set.
pub fn run_command<T: Termination, E: std::fmt::Display>(
    lines: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    level: tracing::Level,
    work: impl Future<Output = Result<T, E>>,
) -> ExitCode {
    let chosen = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level.as_str()));
    let filter = chosen.and(filter_fn(may_be_logged));
    let lines = LogLines(lines);
    let lines = tracing_subscriber::fmt::layer().with_writer(lines).with_target(false).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    match runtime().block_on(work) {
        Ok(result) => result.report(),
        Err(error) => {
            eprintln!("{}", printable_lines(&error.to_string(), &[]));
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    share_one_heap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads can be started")
}

/// glibc gives every thread a heap and keeps freed memory in each, which is megabytes in an idle process.
fn share_one_heap() {
    // SAFETY: no other thread allocates yet, and the call takes no pointer.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Ends at SIGTERM or SIGINT. It must be polled within a runtime.
pub async fn shutdown() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened for");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened for");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
