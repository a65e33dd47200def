//! What the webhook counts and times.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Admissions by how they ended, and how long they took.
#[derive(Clone)]
pub(super) struct Admissions {
    total: Family<Labels, Counter>,
    seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl Admissions {
    /// The metric, appearing in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        // 0.5 ms, a decision from memory, to 8 s, just before the API server gives up.
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        let admissions = Admissions { total: Family::default(), seconds };
        registry.register(
            "recording_operator_admissions",
            "Pods that were reviewed, by result: Injected, Unchanged, Refused, Failed (a fault of ours) or Malformed",
            admissions.total.clone(),
        );
        registry.register(
            "recording_operator_admission_duration_seconds",
            "Time that the review of a pod took",
            admissions.seconds.clone(),
        );
        admissions
    }

    /// Counts one that took so long.
    pub(super) fn count(&self, result: &'static str, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        self.total.get_or_create(&Labels { result }).inc();
    }
}
