//! What the broker counts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// How long a namespace counts as unserved after its last request that was.
const UNSERVED_FOR: Duration = Duration::from_secs(300);

/// Requests by how they ended, and how long those for credentials took.
pub(super) struct Requests {
    total: Family<Labels, Counter>,
    seconds: Histogram,
    unserved: UnservedNamespaces,
}

/// When each namespace's pods were last not served, by result. Alerts count namespaces, as one tenant can send any number
/// of requests. Only the API server makes a namespace known here, so there are no more entries than namespaces and results.
#[derive(Clone, Debug, Default)]
struct UnservedNamespaces(Arc<Mutex<HashMap<(&'static str, String), Instant>>>);

impl Collector for UnservedNamespaces {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "recording_operator_broker_unserved_namespaces",
            "Namespaces with pods that got this result within the last five minutes",
            None,
            MetricType::Gauge,
        )?;
        let mut unserved = self.0.lock().unwrap();
        unserved.retain(|_, last| last.elapsed() < UNSERVED_FOR);
        let mut by_result = BTreeMap::<_, i64>::new();
        for (result, _) in unserved.keys() {
            *by_result.entry(*result).or_default() += 1;
        }
        for (result, namespaces) in by_result {
            ConstGauge::new(namespaces).encode(metric.encode_family(&Labels { result })?)?;
        }
        Ok(())
    }
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
            unserved: UnservedNamespaces::default(),
        };
        registry.register_collector(Box::new(requests.unserved.clone()));
        registry.register(
            "recording_operator_broker_requests",
            "Requests to the broker by result: Served, NotModified, Malformed, why they were not decided, or the cause of the refusal",
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

    /// Counts a request that was not served; an empty namespace is not known.
    pub(super) fn count_unserved(&self, result: &'static str, namespace: String) {
        self.count(result);
        if !namespace.is_empty() {
            self.unserved.0.lock().unwrap().insert((result, namespace), Instant::now());
        }
    }

    pub(super) fn note_credentials(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }
}
