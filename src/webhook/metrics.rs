//! Metrics of the webhook.

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
    pub(super) fn register(registry: &mut Registry) -> Self {
        // From 0.5 ms, a decision from the cache, to 8 s, just before the API server times out.
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        let admissions = Admissions { total: Family::default(), seconds };
        registry.register(
            "recording_operator_admissions",
            "Pods that were reviewed, by result: Injected, Unchanged, Refused, Failed (a fault of the operator), Malformed or Stranger (a caller that is not the API server)",
            admissions.total.clone(),
        );
        registry.register(
            "recording_operator_admission_duration_seconds",
            "Duration of the review of a pod",
            admissions.seconds.clone(),
        );
        admissions
    }

    pub(super) fn count(&self, result: &'static str, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        self.total.get_or_create(&Labels { result }).inc();
    }
}
