//! Metrics of the controller: the state of all destinations, and the duration of validations.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use strum::VariantArray as _;

use crate::api::{ConditionType, LossKind, RecordingDestination};
use crate::cluster::{DestinationKey, DestinationStore};

/// Registers the state of the destinations, read from the watch at each scrape: no deleted one, none twice.
pub(super) fn register(registry: &mut Registry, destinations: DestinationStore) {
    registry.register_collector(Box::new(Destinations(destinations)));
}

/// How long validations take.
#[derive(Debug)]
pub(super) struct ValidationDurations(Histogram);

impl ValidationDurations {
    pub(super) fn register(registry: &mut Registry) -> Self {
        // From 10 ms, one call, to 80 s, several calls that timed out.
        let durations = ValidationDurations(Histogram::new(exponential_buckets(0.01, 2.0, 14)));
        registry.register(
            "recording_operator_validation_duration_seconds",
            "Duration of a validation of a destination, without the wait for a permit",
            durations.0.clone(),
        );
        durations
    }

    pub(super) fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// Validations that a namespace's limit on new External IDs put off.
#[derive(Debug)]
pub(super) struct LimitedExternalIDs(Family<[(&'static str, String); 1], Counter>);

impl LimitedExternalIDs {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let limited = LimitedExternalIDs(Family::default());
        registry.register(
            "recording_operator_external_ids_limited",
            "Validations put off because the namespace had tried as many new External IDs as it may in an hour",
            limited.0.clone(),
        );
        limited
    }

    pub(super) fn count(&self, namespace: &str) {
        self.0.get_or_create(&[("namespace", namespace.to_owned())]).inc();
    }
}

struct Destinations(DestinationStore);

impl fmt::Debug for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Destinations")
    }
}

impl Collector for Destinations {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let keys = self.0.keys().into_iter();
        let all: Vec<_> =
            keys.filter_map(|key| self.0.get(&key).map(|found| State::of(key, &found))).collect();
        encode(&all, encoder)
    }
}

/// What the metrics say of a destination.
struct State {
    key: DestinationKey,
    conditions: [&'static str; ConditionType::VARIANTS.len()],
    suspended: bool,
    /// In the order of `TIMES`, in seconds since 1970.
    times: [Option<i64>; TIMES.len()],
    /// In the order of `LOSSES`: how many entries, and the time of the newest, in seconds since 1970.
    losses: [(i64, i64); LOSSES.len()],
}

const LOSSES: [LossKind; 3] = [LossKind::Lost, LossKind::Left, LossKind::Unaccounted];

const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

const TIMES: [(&str, &str); 3] = [
    ("last_validation", "When the last conclusive validation ended, since 1970"),
    ("last_enforcement", "When the role last refused every wrong caller, or let one in, since 1970"),
    ("last_upload", "When a recording was last uploaded and verified, to the hour, since 1970"),
];

impl State {
    fn of(key: DestinationKey, destination: &RecordingDestination) -> Self {
        let mut conditions = ["Unknown"; _];
        for (of, &kind) in conditions.iter_mut().zip(ConditionType::VARIANTS) {
            *of = status_of(destination, kind);
        }
        let status = destination.status.as_ref();
        let times = status.map_or([None; _], |status| {
            [&status.last_validation_time, &status.last_enforcement_time, &status.last_upload_time]
                .map(|time| time.as_ref().map(|time| time.0.as_second()))
        });
        let losses = LOSSES.map(|kind| {
            let losses = status.into_iter().flat_map(|status| &status.last_losses);
            let times = losses.filter(|loss| loss.kind == kind).map(|loss| loss.time.0.as_second());
            times.fold((0, 0), |(count, newest), time| (count + 1, time.max(newest)))
        });
        State { key, conditions, suspended: destination.spec.suspend, times, losses }
    }
}

fn encode(all: &[State], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let mut conditions = encoder.encode_descriptor(
        "recording_destination_status_condition",
        "Whether the condition of that type has that status: 1 for the one status of True, False and Unknown that it has",
        None,
        MetricType::Gauge,
    )?;
    for destination in all {
        for (&kind, now) in ConditionType::VARIANTS.iter().zip(destination.conditions) {
            for status in STATUSES {
                let labels = [("type", kind.into()), ("status", status)];
                gauge(&mut conditions, destination, &labels, i64::from(status == now))?;
            }
        }
    }
    let mut suspended = encoder.encode_descriptor(
        "recording_destination_suspended",
        "1 where spec.suspend is set, else 0",
        None,
        MetricType::Gauge,
    )?;
    for destination in all {
        gauge(&mut suspended, destination, &[], i64::from(destination.suspended))?;
    }
    for (number, (name, help)) in TIMES.into_iter().enumerate() {
        let name = format!("recording_destination_{name}_timestamp");
        let mut metric = encoder.encode_descriptor(&name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for destination in all {
            if let Some(seconds) = destination.times[number] {
                gauge(&mut metric, destination, &[], seconds)?;
            }
        }
    }
    losses(all, encoder)
}

/// What pods left behind when they ended, by kind. The newest time raises the alerts, as entries stay in a status.
fn losses(all: &[State], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    type Value = fn((i64, i64)) -> i64;
    let metrics: [(_, _, _, Value); 2] = [
        (
            "recording_destination_last_losses",
            "Pods in status.lastLosses, by what became of the recordings that they left behind; series exist for kinds that are there",
            None,
            |(count, _)| count,
        ),
        (
            "recording_destination_last_loss_timestamp",
            "Time of the newest entry of that kind in status.lastLosses, since 1970",
            Some(&Unit::Seconds),
            |(_, newest)| newest,
        ),
    ];
    for (name, help, unit, value) in metrics {
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for destination in all {
            for (kind, found) in LOSSES.into_iter().zip(destination.losses) {
                if found.0 > 0 {
                    gauge(&mut metric, destination, &[("kind", &kind.to_string())], value(found))?;
                }
            }
        }
    }
    Ok(())
}

fn gauge(metric: &mut MetricEncoder<'_>, of: &State, more: &[(&str, &str)], value: i64) -> fmt::Result {
    let (namespace, name) = &*of.key;
    let mut labels = vec![("namespace", namespace.as_str()), ("name", name.as_str())];
    labels.extend(more);
    ConstGauge::new(value).encode(metric.encode_family(&labels)?)
}

/// The status of a condition. A missing one is Unknown, except for those that are present only while true.
fn status_of(destination: &RecordingDestination, kind: ConditionType) -> &'static str {
    match (destination.condition(kind), kind) {
        (Some(condition), _) => STATUSES.into_iter().find(|of| *of == condition.status).unwrap_or("Unknown"),
        (None, ConditionType::Reconciling | ConditionType::Stalled) => "False",
        (None, _) => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::telemetry::Metrics;

    fn destination(name: &str, changes: Value, status: Value) -> RecordingDestination {
        let mut spec = json!({
            "bucket": "acme-recordings", "region": "us-east-1",
            "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
            "metadata": {"namespace": "tenant-acme", "name": name}, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn metrics(all: Vec<RecordingDestination>) -> Metrics {
        let mut large = Registry::default();
        register(&mut large, DestinationStore::of(all));
        Metrics::new(Registry::default()).and_large(large)
    }

    fn scrape(all: Vec<RecordingDestination>) -> String {
        metrics(all).render()
    }

    #[test]
    fn each_condition_has_one_status_and_an_unchecked_one_is_unknown() {
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "Validated", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        });
        let status = json!({
            "observedGeneration": 1, "conditions": [ready], "checks": [],
            "lastValidationTime": "2026-01-01T00:00:00Z",
        });
        let text = scrape(vec![
            destination("proved", json!({}), status),
            destination("new", json!({"suspend": true}), Value::Null),
        ]);
        for line in [
            r#"recording_destination_status_condition{namespace="tenant-acme",name="proved",type="Ready",status="True"} 1"#,
            r#"recording_destination_status_condition{namespace="tenant-acme",name="proved",type="Ready",status="False"} 0"#,
            r#"recording_destination_status_condition{namespace="tenant-acme",name="new",type="Ready",status="Unknown"} 1"#,
            r#"recording_destination_status_condition{namespace="tenant-acme",name="new",type="Stalled",status="False"} 1"#,
            r#"recording_destination_suspended{namespace="tenant-acme",name="new"} 1"#,
            r#"recording_destination_suspended{namespace="tenant-acme",name="proved"} 0"#,
            r#"recording_destination_last_validation_timestamp_seconds{namespace="tenant-acme",name="proved"} 1767225600"#,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"last_validation_timestamp_seconds{namespace="tenant-acme",name="new"}"#));
        let series = 2 * ConditionType::VARIANTS.len() * 3;
        assert_eq!(text.matches("recording_destination_status_condition{").count(), series);
    }

    #[test]
    fn what_pods_left_behind_is_counted_by_kind_with_the_newest_time() {
        let loss = |uid: &str, time: &str, kind: &str| json!({"pod": "p", "uid": uid, "time": time, "files": 1, "bytes": 2, "spool": "emptyDir", "kind": kind});
        let losses = [
            loss("a", "2026-01-01T00:00:00Z", "Lost"),
            loss("b", "2025-01-01T00:00:00Z", "Lost"),
            loss("c", "2025-01-01T00:00:00Z", "Left"),
        ];
        let text = scrape(vec![
            destination(
                "acme",
                json!({}),
                json!({"observedGeneration": 1, "conditions": [], "lastLosses": losses}),
            ),
            destination("calm", json!({}), Value::Null),
        ]);
        for line in [
            r#"recording_destination_last_losses{namespace="tenant-acme",name="acme",kind="Lost"} 2"#,
            r#"recording_destination_last_losses{namespace="tenant-acme",name="acme",kind="Left"} 1"#,
            r#"recording_destination_last_loss_timestamp_seconds{namespace="tenant-acme",name="acme",kind="Lost"} 1767225600"#,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("recording_destination_last_losses{").count(), 2, "and no other");
    }

    #[test]
    fn a_destination_that_is_gone_is_in_no_metric() {
        assert!(!scrape(vec![]).contains('{'));
    }

    #[tokio::test]
    async fn metrics_of_thousands_of_destinations_are_sent_in_small_chunks() {
        let all = (0..3000).map(|number| destination(&format!("d-{number}"), json!({}), Value::Null));
        let metrics = metrics(all.collect());
        let chunks: Vec<_> = metrics.chunks().collect().await;
        assert!(chunks.len() > 100 && chunks.iter().all(|chunk| chunk.len() <= 32 << 10), "{}", chunks.len());
        assert!(chunks.concat() == metrics.render().as_bytes(), "the chunks are the text");
    }
}
