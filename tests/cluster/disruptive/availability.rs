//! What changes of the operator's own pods cost those who use it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::load::under_load;
use super::{Frozen, NAMESPACE, Stopped};
use crate::broker_client::BrokerClient;
use crate::environment_or_skip;
use crate::support::{Tenant, is_long, kubectl, wait_for};

#[test]
fn a_rollout_fails_no_credentials_request_and_no_admission() {
    environment_or_skip!();
    let tenant = Tenant::ready("rolled");
    let deployments = ["deployment/recording-operator-broker", "deployment/recording-operator-webhook"];
    under_load(&tenant, || {
        kubectl(&[&[NAMESPACE, "rollout", "restart"][..], &deployments].concat()).expect_ok();
        for deployment in deployments {
            kubectl(&[NAMESPACE, "rollout", "status", "--timeout=180s", deployment]).expect_ok();
        }
        // The old pods are still on their way out.
        std::thread::sleep(Duration::from_secs(10));
    });
}

#[test]
fn without_a_controller_pods_are_admitted_and_recordings_delivered() {
    environment_or_skip!();
    let tenant = Tenant::ready("headless");
    let stopped = Stopped::controller();
    tenant.start_recorder("recorder");
    tenant
        .shell("recorder", "echo sound > /recordings/a.part; mv /recordings/a.part /recordings/a.wav")
        .expect_ok();
    wait_for("a recording", || tenant.describe(), || tenant.object("a.wav"));
    drop(stopped);
}

#[test]
fn without_a_webhook_labelled_pods_are_refused_and_others_admitted() {
    environment_or_skip!();
    let tenant = Tenant::new("unanswered");
    tenant.apply_destination("acme", json!({}));
    let labelled = tenant.recorder("labelled");
    let mut plain = tenant.recorder("plain");
    plain["metadata"]["labels"] = json!({});

    let stopped = Stopped::webhook();
    let refused = tenant.apply(&labelled);
    assert!(!refused.ok && refused.stderr.contains("failed calling webhook"), "{}", refused.stderr);
    assert!(tenant.get(&["pod", "labelled"]).is_none());
    tenant.apply(&plain).expect_ok();

    drop(stopped);
    // The Service's rules follow in a moment.
    wait_for("an admission", || tenant.describe(), || tenant.apply(&labelled).ok.then_some(()));
    let pod = tenant.get(&["pod", "labelled"]).unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "recording-uploader");
}

#[test]
fn without_an_api_server_only_known_pods_get_credentials() {
    environment_or_skip!();
    let tenant = Tenant::ready("cut-off");
    for pod in ["known", "stranger"] {
        tenant.start_recorder(pod);
    }
    let (known, stranger) = (tenant.pod_token("default", "known"), tenant.pod_token("default", "stranger"));
    let broker = BrokerClient::open();
    let is_served = |token: &str| broker.credentials(token).starts_with("HTTP/1.1 200");
    assert!(is_served(&known));
    let undecided = broker.counted("Unavailable");

    let (frozen, gone) = (Frozen::new("kube-apiserver"), Instant::now());
    // Longer than a decision is used while the API server answers.
    let seconds = if is_long() { 60 } else { 35 };
    let mut rounds = 0;
    while gone.elapsed() < Duration::from_secs(seconds) {
        assert!(is_served(&known), "after {:?}", gone.elapsed());
        let answer = broker.credentials(&stranger);
        assert!(answer.starts_with("HTTP/1.1 503"), "after {:?}: {}", gone.elapsed(), answer.len());
        rounds += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(rounds > 1 && broker.counted("Unavailable") >= undecided + rounds);
    drop(frozen);

    let served = || is_served(&stranger).then_some(());
    wait_for("credentials for the other pod, too", || tenant.describe(), served);
}
