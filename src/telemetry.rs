//! Logs and metrics.

use std::io::IsTerminal as _;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error: JSON lines for a log collector, plain lines on a terminal.
/// `RUST_LOG` selects what is logged; `info` when it is not set.
pub fn init_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).with_current_span(false).init();
    }
}

/// The metrics of one process. Rooms register theirs while the process is wired; afterwards the
/// registry is only read.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    /// Freezes a registry.
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
