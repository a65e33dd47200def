//! Tests that break what others depend on, or count what an idle operator does: run
//! alone, and last.

mod availability;
mod cert_manager;
mod cost;
mod floods;
mod lifecycle;
mod load;
mod monitoring;
mod rotations;
mod values;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::logs::{ControllerWrites, Written};
use crate::support::{Tenant, dev, get, is_long, kubectl, kubectl_with, repository, wait_for};

const NAMESPACE: &str = "--namespace=recording-operator";
const CONTROLLER: &str = "app.kubernetes.io/component=controller";

#[test]
fn a_revoked_platform_key_is_the_platforms_fault_until_replaced() {
    environment_or_skip!();
    let log = ControllerWrites::from_now();
    let (proved, fresh) = (Tenant::ready("proved"), Tenant::new("unproved"));
    let since = ready_since(&proved);
    let replaced = NewKey;
    dev("dev.aws", &["platform-key", "--deactivate"], "").expect_ok();

    proved.revalidate("acme");
    let reason = "PlatformCredentialsInvalid";
    let inconclusive = |written: &Written| written.check("AssumeRole") == ("Inconclusive", reason);
    log.wait_for(&proved, "an Inconclusive check", inconclusive);
    fresh.apply_secret(&fresh.external_id);
    fresh.apply_destination("acme", json!({}));
    fresh.wait_reason("acme", "Unknown", reason);

    drop(replaced);
    fresh.wait_ready("acme");
    assert_eq!(ready_since(&proved), since, "the proof stood all the time");
}

/// Issues a new key for the platform and puts it where the operator has it from, also when the test fails.
struct NewKey;

impl Drop for NewKey {
    fn drop(&mut self) {
        dev("dev.aws", &["platform-key", "--new"], "");
        let file = repository().join("target/dev/run/platform-credentials.json");
        let key: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let data = json!({"accessKeyID": key["accessKeyID"], "secretAccessKey": key["secretAccessKey"]});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "recording-operator-aws"}, "stringData": data});
        kubectl_with(&[NAMESPACE, "apply", "--filename=-"], &secret.to_string());
    }
}

/// The control role is the platform's own and accepts any caller: where it refuses, every role does, for a reason of the
/// platform.
#[test]
fn while_the_control_role_refuses_a_refusal_proves_nothing() {
    environment_or_skip!();
    let log = ControllerWrites::from_now();
    let (proved, fresh) = (Tenant::ready("proved"), Tenant::new("unproved"));
    let since = ready_since(&proved);
    fresh.apply_secret(&fresh.external_id);
    let denied = Tenant::new("denied");
    denied.apply_secret("not-what-the-role-asks-for");
    let refusing = ControlRole::set("Deny");

    denied.apply_destination("acme", json!({}));
    proved.revalidate("acme");
    fresh.apply_destination("acme", json!({}));
    let doubted = |written: &Written| written.check("AssumeRoleOfControl").0 == "Inconclusive";
    log.wait_for(&proved, "a doubt of the refusals", doubted);
    fresh.wait_reason("acme", "Unknown", "ProbeInconclusive");
    denied.wait_reason("acme", "Unknown", "PlatformRefused");

    drop(refusing);
    fresh.wait_ready("acme");
    denied.wait_reason("acme", "False", "AssumeRoleDenied");
    assert_eq!(ready_since(&proved), since, "the proof stood all the time");
}

/// The trust policy of the platform's control role, which lets the platform in again at the end.
struct ControlRole;

impl ControlRole {
    fn set(effect: &str) -> Self {
        let platform = "103850359708";
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": effect,
            "Principal": {"AWS": format!("arn:aws:iam::{platform}:user/RingDNA_Web")},
            "Action": "sts:AssumeRole",
        }]});
        let set = ["customer", "set-trust", "--account", platform, "--role", "recording-operator-control"];
        dev("dev.aws", &set, &policy.to_string()).expect_ok();
        ControlRole
    }
}

impl Drop for ControlRole {
    fn drop(&mut self) {
        std::mem::forget(ControlRole::set("Allow"));
    }
}

#[test]
fn an_edit_of_the_same_target_keeps_the_place_of_a_claim_across_a_restart() {
    environment_or_skip!();
    let tenant = Tenant::ready("senior");
    let established =
        || tenant.get(&["recordingdestination", "acme"]).unwrap()["status"]["establishedTime"].clone();
    let first = established();
    assert!(first.is_string(), "{first}");
    // A status tells seconds apart.
    std::thread::sleep(std::time::Duration::from_secs(2));
    for (changes, kept) in [
        (json!({"validation": {"intervalSeconds": 600}}), true),
        (json!({"validation": {"intervalSeconds": 600}, "prefix": "calls/"}), false),
    ] {
        let stopped = Stopped::controller();
        tenant.apply_destination("acme", changes.clone());
        drop(stopped);
        tenant.wait_ready("acme");
        assert_eq!(established() == first, kept, "{changes}");
    }
}

#[test]
fn without_dns_the_unproved_is_unknown_and_the_proved_stays_ready() {
    environment_or_skip!();
    let log = ControllerWrites::from_now();
    let (proved, fresh) = (Tenant::ready("proved"), Tenant::new("unproved"));
    let since = ready_since(&proved);
    let frozen = Frozen::new("coredns");
    // Connections that stand need no name; a controller that starts has none.
    restart_controller();

    proved.revalidate("acme");
    fresh.apply_secret(&fresh.external_id);
    fresh.apply_destination("acme", json!({}));
    let inconclusive =
        |written: &Written| written.check("AssumeRole") == ("Inconclusive", "ProbeInconclusive");
    log.wait_for(&proved, "an Inconclusive check", inconclusive);
    fresh.wait_reason("acme", "Unknown", "ProbeInconclusive");

    drop(frozen);
    fresh.wait_ready("acme");
    assert_eq!(ready_since(&proved), since, "the proof stood all the time");
}

#[test]
fn recordings_are_delivered_while_the_api_server_is_down() {
    environment_or_skip!();
    let seconds = if is_long() { 60 } else { 10 };
    let log = ControllerWrites::from_now();
    let proved = Tenant::ready("proved");
    let since = ready_since(&proved);
    proved.start_recorder("recorder");
    let record = "for n in $(seq 1 300); do echo $n > /recordings/$n.part; mv /recordings/$n.part /recordings/$n.wav; sleep 1; done";
    proved.shell("recorder", &format!("({record}) >/dev/null 2>&1 &")).expect_ok();
    wait_for("a first recording", || proved.describe(), || proved.object("1.wav"));
    let fresh = Tenant::new("unproved");
    fresh.apply_secret(&fresh.external_id);
    let pods = controller_pods();

    // Both looks are under way when it goes.
    proved.revalidate("acme");
    fresh.apply_destination("acme", json!({}));
    let frozen = Frozen::new("kube-apiserver");
    let (before, gone) = (proved.objects().len(), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let delivered = proved.objects().len() - before;
    assert!(delivered > 0, "no recording was delivered within {:?} without an API server", gone.elapsed());
    drop(frozen);

    fresh.wait_ready("acme");
    let late = Tenant::ready("late");
    assert_eq!(late.condition("acme", "Ready").unwrap()["status"], "True");
    assert_eq!(ready_since(&proved), since, "the proof stood all the time");
    for written in
        log.statuses(&proved.namespace, "acme").into_iter().chain(log.statuses(&fresh.namespace, "acme"))
    {
        assert_ne!(written.condition("Ready").0, "False", "{}", written.object);
    }
    assert_eq!(controller_pods(), pods, "the controller went through it without a restart");
}

/// Since when a destination is Ready.
fn ready_since(tenant: &Tenant) -> Value {
    let ready = tenant.condition("acme", "Ready").expect("it has been looked at");
    assert_eq!(ready["status"], "True");
    ready["lastTransitionTime"].clone()
}

fn apply_many(tenant: &Tenant, objects: impl Iterator<Item = Value>) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()});
    tenant.apply(&list).expect_ok();
}

/// Names of the controller's pods and how often their containers were started.
fn controller_pods() -> Vec<Value> {
    let pods = get(&[NAMESPACE, "pods", "--selector", CONTROLLER]).unwrap();
    let pods = pods["items"].as_array().unwrap().iter();
    pods.map(|pod| json!([pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["restartCount"]]))
        .collect()
}

/// A new controller, that has listed all destinations.
fn restart_controller() {
    let deployment = "deployment/recording-operator-controller";
    kubectl(&[NAMESPACE, "rollout", "restart", deployment]).expect_ok();
    kubectl(&[NAMESPACE, "rollout", "status", "--timeout=90s", deployment]).expect_ok();
}

/// A Deployment of ours without a pod, until this is dropped.
struct Stopped {
    component: &'static str,
    replicas: u8,
}

impl Stopped {
    /// A new controller looks at all certificates when it starts.
    fn controller() -> Self {
        Stopped { component: "controller", replicas: 1 }.now()
    }

    fn webhook() -> Self {
        Stopped { component: "webhook", replicas: 2 }.now()
    }

    fn now(self) -> Self {
        self.scale(0);
        let selector = format!("--selector=app.kubernetes.io/component={}", self.component);
        kubectl(&[NAMESPACE, "wait", "--for=delete", "--timeout=90s", "pods", &selector]).expect_ok();
        self
    }

    fn scale(&self, replicas: u8) {
        let replicas = format!("--replicas={replicas}");
        kubectl(&[NAMESPACE, "scale", &self.deployment(), &replicas]).expect_ok();
    }

    fn deployment(&self) -> String {
        format!("deployment/recording-operator-{}", self.component)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.scale(self.replicas);
        kubectl(&[NAMESPACE, "rollout", "status", "--timeout=90s", &self.deployment()]);
    }
}

/// A process of the environment that is stopped until this is dropped.
struct Frozen(&'static str);

impl Frozen {
    fn new(process: &'static str) -> Self {
        dev("dev.process", &["freeze", process], "").expect_ok();
        Frozen(process)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        dev("dev.process", &["thaw", self.0], "");
    }
}
