//! Logs and metrics, and the start and end of a process.

use std::convert::Infallible;
use std::fmt;
use std::io::IsTerminal as _;
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
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

/// Below `info` libraries log whole requests, with External IDs, tokens and keys; kube's client logs at `warn` whole answers
/// that it cannot decode, Secrets among them. No setting may enable either.
fn may_be_logged(metadata: &tracing::Metadata<'_>) -> bool {
    let target = metadata.target();
    let least = if target.starts_with("kube_client") { tracing::Level::ERROR } else { tracing::Level::INFO };
    *metadata.level() <= least || target.starts_with("recording_")
}

/// Text that is sent at a time, of metrics that are too many for one text.
const CHUNK: usize = 32 << 10;

/// The metrics of one process. Rooms register theirs while the process is wired; afterwards the registries are only read.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Written in chunks, as fast as they are read. It must hold nothing that is locked while it is written.
    large: Arc<Registry>,
}

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
        Metrics { registry: Arc::new(registry), large: Arc::default() }
    }

    /// With metrics of thousands of objects.
    pub fn and_large(self, large: Registry) -> Self {
        Metrics { large: Arc::new(large), ..self }
    }

    /// The OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let written = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &self.large))
            .and_then(|()| text::encode_eof(&mut text));
        written.expect("writing to a String cannot fail");
        text
    }

    /// The same in chunks. A thread writes them, and waits until they are read.
    pub fn chunks(&self) -> impl Stream<Item = Bytes> + Send + use<> {
        let (chunks, read) = mpsc::channel(2);
        let metrics = self.clone();
        tokio::task::spawn_blocking(move || {
            // A slow reader must not hold the locks of metrics in use, so these become one text first.
            let mut chunk = String::new();
            text::encode_registry(&mut chunk, &metrics.registry)?;
            let mut writer = Chunks { chunk, chunks };
            text::encode_registry(&mut writer, &metrics.large)?;
            text::encode_eof(&mut writer)?;
            writer.send()
        });
        futures::stream::unfold(read, |mut read| async { read.recv().await.map(|chunk| (chunk, read)) })
    }
}

struct Chunks {
    chunk: String,
    chunks: mpsc::Sender<Bytes>,
}

impl Chunks {
    /// Fails when the reader is gone.
    fn send(&mut self) -> fmt::Result {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunks.blocking_send(chunk.into()).map_err(|_| fmt::Error)
    }
}

impl fmt::Write for Chunks {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.chunk.len() + text.len() > CHUNK && !self.chunk.is_empty() {
            self.send()?;
        }
        self.chunk.push_str(text);
        Ok(())
    }
}

/// Runs a process with logs.
pub fn run<E: std::fmt::Display>(
    process: &'static str,
    threads: Threads,
    work: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    init_logs();
    tracing::info!(process, version = env!("CARGO_PKG_VERSION"), "started");
    let work = async {
        tokio::select! {
            ended = work => ended,
            never = return_freed_memory() => match never {},
        }
    };
    match runtime(threads).block_on(work) {
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
    threads: Threads,
    work: impl Future<Output = Result<T, E>>,
) -> ExitCode {
    let chosen = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level.as_str()));
    let filter = chosen.and(filter_fn(may_be_logged));
    let lines = LogLines(lines);
    let lines = tracing_subscriber::fmt::layer().with_writer(lines).with_target(false).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    match runtime(threads).block_on(work) {
        Ok(result) => result.report(),
        Err(error) => {
            eprintln!("{}", printable_lines(&error.to_string(), &[]));
            ExitCode::FAILURE
        }
    }
}

/// On how many threads a process runs, beside those that may block. Threads cost memory, and the work is mostly waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// All on the thread that calls: nothing has to be woken between a request, its connection and its answer.
    One,
    Two,
}

fn runtime(threads: Threads) -> tokio::runtime::Runtime {
    share_one_heap();
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Two => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads == Threads::Two {
        builder.worker_threads(2);
    }
    builder.enable_all().build().expect("threads can be started")
}

/// glibc gives every thread a heap and keeps freed memory in each, which is megabytes in an idle process.
fn share_one_heap() {
    // SAFETY: no other thread allocates yet, and the call takes no pointer.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory back to the system that a long list or a crowd of requests needed: glibc alone keeps what lies between
/// allocations that live on.
async fn return_freed_memory() -> Infallible {
    let mut pause = Duration::from_secs(30);
    loop {
        tokio::time::sleep(pause).await;
        // SAFETY: the call takes no pointer.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0);
        }
        pause = Duration::from_secs(60);
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

/// Limits log lines that a stranger can cause.
#[derive(Debug)]
pub struct LineLimit {
    most: u64,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    began: Option<Instant>,
    written: u64,
    suppressed: u64,
}

impl LineLimit {
    const INTERVAL: Duration = Duration::from_secs(10);

    /// At most so many lines in ten seconds.
    pub fn new(most: u64) -> Self {
        LineLimit { most, lines: Mutex::default() }
    }

    /// Whether a line may be written, and then how many before it were not.
    pub fn next(&self) -> Option<u64> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).next(self.most, Instant::now())
    }
}

impl Lines {
    fn next(&mut self, most: u64, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.duration_since(began) >= LineLimit::INTERVAL) {
            (self.began, self.written) = (Some(now), 0);
        }
        if self.written == most {
            self.suppressed += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn of_many_lines_some_are_written_and_the_others_counted() {
        let (mut lines, began) = (Lines::default(), Instant::now());
        let written = (0..1000).filter_map(|_| lines.next(20, began)).count();
        assert_eq!(written, 20);
        assert_eq!(lines.next(20, began + LineLimit::INTERVAL), Some(980));
        assert_eq!(lines.next(20, began + LineLimit::INTERVAL), Some(0));
    }
}
