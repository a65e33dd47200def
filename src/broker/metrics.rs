//! What the broker counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Requests by how they ended, and how long those for credentials took.
pub(super) struct Requests {
    total: Family<Labels, Counter>,
    seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Requests {
            total: Family::default(),
            // 1 ms, a cached decision, to 16 s, a slow answer from AWS.
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        };
        registry.register(
            "recording_operator_broker_requests",
            "Requests to the broker by result: Served, NotModified, Malformed, Unavailable, or the cause of the refusal",
            requests.total.clone(),
        );
        registry.register(
            "recording_operator_broker_credentials_duration_seconds",
            "Duration of requests for credentials",
            requests.seconds.clone(),
        );
        requests
    }

    pub(super) fn count(&self, result: &'static str) {
        self.total.get_or_create(&Labels { result }).inc();
    }

    pub(super) fn note_credentials(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }
}
