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

/// Starts logging to standard error: JSON lines for a log collector, plain lines on a terminal. `RUST_LOG` selects what is
/// logged of our own code, `info` by default.
pub fn init_logs() {
    let chosen = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = chosen.and(filter_fn(may_be_logged));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    } else {
        let lines = lines.json().flatten_event(true).with_current_span(false);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
}

/// Below `info` libraries log whole requests, with External IDs, tokens and keys; kube's client logs at `warn` whole answers
/// that it cannot decode, Secrets among them. No setting may enable either.
fn may_be_logged(metadata: &tracing::Metadata<'_>) -> bool {
    let target = metadata.target();
    let least = if target.starts_with("kube_client") { tracing::Level::ERROR } else { tracing::Level::INFO };
    *metadata.level() <= least || target.starts_with("recording_")
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
    let lines = tracing_subscriber::fmt::layer().with_writer(lines).with_target(false).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    match runtime().block_on(work) {
        Ok(result) => result.report(),
        Err(error) => {
            eprintln!("{error}");
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn no_body_that_kube_cannot_decode_is_logged() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let written = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || Lines(written.clone()));
        let logs = tracing_subscriber::registry().with(layer.with_filter(filter_fn(may_be_logged)));
        tracing::subscriber::with_default(logs, || {
            tracing::warn!(target: "kube_client::client", "a body, a failure");
            tracing::debug!(target: "hyper::proto", "a request");
            tracing::error!(target: "kube_client::client::builder", "failed with status 500");
            tracing::warn!(target: "kube_runtime::watcher", "a watch failed");
            tracing::debug!(target: "recording_operator::broker", "ours");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("a body") && !text.contains("a request"), "{text}");
        for logged in ["failed with status 500", "a watch failed", "ours"] {
            assert!(text.contains(logged), "{logged}: {text}");
        }
    }
}
