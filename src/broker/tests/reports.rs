//! What sidecars report.

use std::sync::Mutex;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use secrecy::SecretString;
use tokio::time::sleep;

use super::super::ports::Cluster;
use super::super::reports::Reports;
use super::*;
use crate::api::{RecordingDestination, Transition};
use crate::cluster::{self, CopyAge, KeyedChanges, Subscription};
use crate::domain::delivery::{PodReport, StatusUpdate};
use crate::domain::grant::BoundPod;

/// One that is late, at any time of the tests.
const LATE: &str = r#"{"pendingFiles": 3, "oldestPendingTime": "2026-01-01T00:00:00Z", "quarantined": 0}"#;
const WELL: &str = r#"{"pendingFiles": 0, "quarantined": 0}"#;

impl Bench {
    /// The pods that the status says are in trouble.
    fn in_trouble(&self) -> Vec<String> {
        let destination = self.world.destination.lock().unwrap().clone().unwrap();
        let uploaders = destination.status.as_ref().unwrap().uploaders.clone().unwrap_or_default();
        uploaders.items.into_iter().map(|item| item.pod).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_is_entered_into_the_status_of_the_pods_own_destination() {
    let bench = Bench::new();
    assert_eq!(bench.report("token-of-recorder-0", LATE).await.status, StatusCode::NO_CONTENT);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.in_trouble(), ["recorder-0"]);
    assert_eq!(*bench.world.announced.lock().unwrap(), ["UploadsLate"]);
    bench.report("token-of-recorder-0", WELL).await;
    sleep(Duration::from_secs(12)).await;
    assert_eq!(bench.in_trouble(), [""; 0]);
    assert_eq!(*bench.world.announced.lock().unwrap(), ["UploadsLate", "Delivered"]);
    bench.counted("Served", 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_may_not_use_the_destination_cannot_report_on_it() {
    let bench = Bench::new();
    for token in ["token-of-nobody", "nonsense"] {
        let refused = bench.report(token, LATE).await;
        assert_eq!(refused, bench.get(CREDENTIALS_PATH, token).await, "{token}: the refusal");
        assert_eq!(refused, bench.report(token, "{").await, "{token}: what is sent is not looked at");
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.in_trouble(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_taken_while_the_destination_is_paused() {
    let bench = Bench::new();
    bench.set_destination(json!({"spec": {"suspend": true}}));
    assert_eq!(bench.key().await, Err(StatusCode::FORBIDDEN));
    bench.report("token-of-recorder-0", LATE).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.in_trouble(), ["recorder-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_report_is_rejected_as_such() {
    let bench = Bench::new();
    let many = format!("{{{}", " ".repeat(5000));
    for (body, problem) in [
        ("", "not a report: EOF"),
        ("{", "not a report: EOF"),
        ("[]", "not a report"),
        (r#"{"pendingFiles": -1, "quarantined": 0}"#, "invalid value: integer `-1`"),
        (r#"{"pendingFiles": 1, "quarantined": 0, "oldestPendingTime": "yesterday"}"#, "not a report"),
        (&many, "larger than 4096 bytes"),
    ] {
        let seen = bench.report("token-of-recorder-0", body.to_owned()).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(seen.body.contains(problem), "{}", seen.body);
    }
    bench.counted("Malformed", 6);
}

#[tokio::test(start_paused = true)]
async fn reports_that_come_together_are_one_write() {
    let bench = Bench::new();
    for number in 0..100 {
        bench.set_pod(&format!("recorder-{number}"), json!({}));
        bench.report(&format!("token-of-recorder-{number}"), LATE).await;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.world.writes.load(SeqCst), 1);
    assert_eq!(bench.in_trouble().len(), 50);
    assert_eq!(*bench.world.announced.lock().unwrap(), ["UploadsLate"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_runs_into_a_change_is_done_again_on_what_is_there_then() {
    let bench = Bench::new();
    bench.world.write_conflicts.store(3, SeqCst);
    bench.report("token-of-recorder-0", LATE).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.in_trouble(), ["recorder-0"]);
    assert_eq!(bench.world.writes.load(SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_written_once_in_ten_seconds_and_the_last_report_counts() {
    let bench = Bench::new();
    for second in 0..60 {
        bench.report("token-of-recorder-0", if second % 2 == 0 { LATE } else { WELL }).await;
        sleep(Duration::from_secs(1)).await;
    }
    let writes = bench.world.writes.load(SeqCst);
    assert!((3..=7).contains(&writes), "{writes} in a minute");
    bench.report("token-of-recorder-0", LATE).await;
    sleep(Duration::from_secs(12)).await;
    assert_eq!(bench.in_trouble(), ["recorder-0"]);
}

/// An API server at which the writes of some destinations come to no end.
#[derive(Clone, Default)]
struct Stuck {
    written: Arc<Mutex<Vec<String>>>,
    changed: KeyedChanges,
}

impl Cluster for Stuck {
    async fn review(&self, _: &SecretString) -> cluster::Result<TokenReviewStatus> {
        unreachable!("reports come from known pods")
    }

    async fn pod(&self, _: &str, _: &str) -> cluster::Result<Option<BoundPod>> {
        unreachable!("reports come from known pods")
    }

    fn destination(&self, namespace: &str, name: &str) -> Option<Arc<RecordingDestination>> {
        let destination = json!({
            "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "bucket": "acme-recordings", "region": "us-east-1",
                "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "a"},
            },
            "status": {"observedGeneration": 1, "conditions": []},
        });
        Some(Arc::new(serde_json::from_value(destination).unwrap()))
    }

    fn with_uploaders(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn changes(&self, namespace: &str, name: &str) -> Subscription {
        self.changed.subscribe(namespace, name)
    }

    fn age(&self) -> CopyAge {
        CopyAge::default()
    }

    async fn write_delivery(&self, of: &RecordingDestination, _: &StatusUpdate) -> cluster::Result<bool> {
        let namespace = of.metadata.namespace.clone().unwrap();
        if namespace.starts_with("stuck") {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_millis(10)).await;
        self.written.lock().unwrap().push(namespace);
        Ok(true)
    }

    async fn announce(&self, _: &RecordingDestination, _: &Transition) -> cluster::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_whose_write_hangs_delays_no_other() {
    let (reports, cluster) = (Reports::default(), Stuck::default());
    let late = |uid: String| PodReport {
        pod: "p".into(),
        uid,
        spool: "emptyDir".into(),
        report: serde_json::from_str(LATE).unwrap(),
        at: jiff::Timestamp::now(),
    };
    let others = async {
        // All that one namespace can have, and a few more.
        for number in 0..100 {
            reports.add("stuck", &format!("d{number}"), late("u".into()));
        }
        for round in 0..3 {
            for tenant in 0..200 {
                reports.add(&format!("tenant-{tenant}"), "acme", late(format!("u{round}")));
            }
            sleep(Duration::from_secs(12)).await;
            let written = cluster.written.lock().unwrap().len();
            assert_eq!(written, 200 * (round + 1), "within twelve seconds, while the others hang");
        }
    };
    tokio::select! {
        never = reports.write(&cluster, jiff::Timestamp::now) => match never {},
        () = others => {}
    }
}
