//! What the webhook counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Admissions by how they ended.
#[derive(Clone)]
pub(super) struct Admissions(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl Admissions {
    /// The metric, appearing in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let admissions = Admissions(Family::default());
        registry.register(
            "recording_operator_admissions",
            "Pods that were reviewed, by result: Injected, Unchanged, Refused, Failed (a fault of ours) or Malformed",
            admissions.0.clone(),
        );
        admissions
    }

    /// Counts one.
    pub(super) fn count(&self, result: &'static str) {
        self.0.get_or_create(&Labels { result }).inc();
    }
}
