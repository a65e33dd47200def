//! What changes of the operator's own pods cost those who use it.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lifecycle::{PRESENT, Values};
use super::load::under_load;
use super::{Frozen, NAMESPACE, Stopped};
use crate::broker_client::BrokerClient;
use crate::environment_or_skip;
use crate::support::{Tenant, get, is_long, kubectl, kubectl_with, wait_for};

/// How late the node's rules for Services follow: longer than an ordinary proxy takes, shorter than what the chart allows for.
const LATE: Duration = Duration::from_secs(8);

#[test]
fn a_rollout_fails_no_credentials_request_and_no_admission_when_the_node_is_late() {
    environment_or_skip!();
    let tenant = Tenant::ready("rolled");
    let deployments = ["deployment/recording-operator-broker", "deployment/recording-operator-webhook"];
    under_load(&tenant, || {
        with_new_connections(|| {
            let old = server_pods();
            let frozen = Frozen::new("kube-proxy");
            kubectl(&[&[NAMESPACE, "rollout", "restart"][..], &deployments].concat()).expect_ok();
            wait_for("a pod to be deleted", || format!("{old:?}"), || any_is_deleted().then_some(()));
            std::thread::sleep(LATE);
            drop(frozen);
            for deployment in deployments {
                kubectl(&[NAMESPACE, "rollout", "status", "--timeout=180s", deployment]).expect_ok();
            }
            let are_gone = || server_pods().iter().all(|pod| !old.contains(pod));
            wait_for(
                "the end of the old pods",
                || format!("{:?}", server_pods()),
                || are_gone().then_some(()),
            );
        });
    });
}

/// Does the work while requests reach the broker's Service, each on a connection of its own. None may fail.
fn with_new_connections(work: impl FnOnce()) {
    /// Also when the work panics: the scope waits for its threads.
    struct SetOnDrop<'a>(&'a AtomicBool);
    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }

    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let connections = scope.spawn(|| {
            let (broker, mut count) = (BrokerClient::through_the_service(), 0);
            while !ended.load(SeqCst) {
                let answer = broker.credentials("no token");
                assert!(answer.starts_with("HTTP/1.1 4"), "after {count}: {answer:?}");
                count += 1;
            }
            count
        });
        let ending = SetOnDrop(&ended);
        work();
        drop(ending);
        let count = connections.join().expect("no connection to the broker's Service fails");
        println!("{count} new connections to the broker");
        assert!(count > 100, "{count}");
    });
}

/// The first `make demo` on a new machine met `connection refused`: the node had no rules yet for pods that were ready.
#[test]
fn once_helm_returns_labelled_pods_are_admitted_even_if_the_node_is_late() {
    environment_or_skip!();
    let tenant = Tenant::new("prompt");
    tenant.apply_destination("acme", json!({}));
    let admitted = || {
        let create = ["create", "--namespace", &tenant.namespace, "--dry-run=server", "--filename=-"];
        kubectl_with(&create, &tenant.recorder("recorder").to_string())
    };
    let values = Values::of_release();
    // As before the first installation, except that the Service exists: the node refuses connections to it.
    kubectl(&[NAMESPACE, "delete", "deployment", "recording-operator-webhook", "--cascade=foreground"])
        .expect_ok();
    let refused = || admitted().stderr.contains("connection refused").then_some(());
    wait_for("a Service without pods", || admitted().stderr, refused);

    let frozen = Frozen::new("kube-proxy");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let ready = || (ready_pods_of("webhook") == 2).then_some(());
            wait_for("two pods of the webhook", String::new, ready);
            std::thread::sleep(LATE / 3);
            drop(frozen);
        });
        values.install(PRESENT, &[]).expect_ok();
        for count in 0..20 {
            let done = admitted();
            assert!(done.ok, "after {count}: {}", done.stderr);
        }
    });
}

/// Names of the pods of webhook and broker.
fn server_pods() -> Vec<String> {
    let selector = "--selector=app.kubernetes.io/component in (broker,webhook)";
    let pods = kubectl(&[NAMESPACE, "get", "pods", selector, "--output=name"]).expect_ok().text();
    pods.lines().map(str::to_owned).collect()
}

/// Whether a pod of the operator's was deleted and is still there.
fn any_is_deleted() -> bool {
    let pods = get(&[NAMESPACE, "pods"]).unwrap();
    let mut pods = pods["items"].as_array().unwrap().iter();
    pods.any(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
}

fn ready_pods_of(component: &str) -> usize {
    let selector = format!("--selector=app.kubernetes.io/component={component}");
    let pods = get(&[NAMESPACE, "pods", &selector]).unwrap();
    let ready = |pod: &&Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    pods["items"].as_array().unwrap().iter().filter(ready).count()
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
