//! Tests that break what others depend on, or count what an idle operator does: run
//! alone, and last.

mod availability;
mod cert_manager;
mod lifecycle;
mod load;
mod monitoring;
mod rotations;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::logs::{ControllerWrites, Written, aws_calls};
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
    denied.wait_reason("acme", "Unknown", "ProbeInconclusive");

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
fn under_enforcement_warn_an_open_role_is_ready_with_a_warning() {
    environment_or_skip!();
    let tenant = Tenant::new("tolerated");
    tenant.customer(&["trust-open"]).expect_ok();
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({}));
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");

    let warning = Enforcement::set("warn");
    tenant.wait_ready("acme");
    let enforced = tenant.condition("acme", "ExternalIDEnforced").unwrap();
    assert_eq!(
        (&enforced["status"], &enforced["reason"]),
        (&json!("False"), &json!("ExternalIDNotEnforced"))
    );
    let status = tenant.get(&["recordingdestination", "acme"]).unwrap()["status"].clone();
    assert_eq!(status["establishedTime"], Value::Null, "it holds no claim");

    drop(warning);
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
}

/// The chart's value `enforcement`, `require` again at the end.
struct Enforcement;

impl Enforcement {
    fn set(mode: &str) -> Self {
        let deployment = "deployment/recording-operator-controller";
        let shown = get(&[NAMESPACE, deployment]).unwrap();
        let containers = &shown["spec"]["template"]["spec"]["containers"];
        let arguments =
            containers[0]["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let set = |argument: &str| {
            if argument.starts_with("--enforcement=") {
                format!("--enforcement={mode}")
            } else {
                argument.into()
            }
        };
        let arguments: Vec<String> = arguments.map(set).collect();
        let patch =
            json!([{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": arguments}]);
        let patch = format!("--patch={patch}");
        kubectl(&[NAMESPACE, "patch", deployment, "--type=json", &patch]).expect_ok();
        kubectl(&[NAMESPACE, "rollout", "status", "--timeout=90s", deployment]).expect_ok();
        Enforcement
    }
}

impl Drop for Enforcement {
    fn drop(&mut self) {
        std::mem::forget(Enforcement::set("require"));
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

#[test]
fn what_is_not_due_costs_nothing_and_what_is_due_costs_one_write() {
    environment_or_skip!();
    const COUNT: usize = 100;
    const ROUNDS: usize = 10;
    let log = ControllerWrites::from_now();
    let tenant = Tenant::new("quiet");
    tenant.apply_secret(&tenant.external_id);
    apply_many(
        &tenant,
        (1..=COUNT).map(|n| tenant.destination(&format!("d-{n:03}"), json!({"prefix": format!("p{n:03}/")}))),
    );
    tenant
        .kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", "recordingdestination", "--all"])
        .expect_ok();
    for n in 1..=COUNT {
        let statuses = log.statuses(&tenant.namespace, &format!("d-{n:03}"));
        let said: Vec<_> = statuses.iter().map(|written| written.condition("Ready").0).collect();
        assert_eq!(said, ["True"], "d-{n:03}: one validation, one write");
    }

    let done = (log.in_namespace(&tenant.namespace).len(), aws_calls(&tenant.account).len());
    let spent = || {
        let (writes, calls) = (log.in_namespace(&tenant.namespace), aws_calls(&tenant.account));
        (writes[done.0..].to_vec(), calls[done.1..].to_vec())
    };
    for round in 0..ROUNDS {
        let label = format!("resync={round}");
        tenant.kubectl(&["label", "recordingdestination", "--all", "--overwrite", &label]).expect_ok();
    }
    restart_controller();
    assert_eq!(
        spent(),
        (vec![], vec![]),
        "{ROUNDS} times {COUNT} changes with nothing due, and a new controller"
    );

    // What shows that they were heard at all: the last of them has something due.
    let token = "recordings.revenue.io/revalidate=now";
    tenant.kubectl(&["annotate", "recordingdestination", "d-001", token]).expect_ok();
    let handled = || {
        let statuses = log.statuses(&tenant.namespace, "d-001");
        statuses.into_iter().find(|written| written.object["status"]["lastHandledRevalidate"] == "now")
    };
    wait_for("the look that was asked for", || tenant.describe(), handled);
    let (writes, calls) = spent();
    let written: Vec<_> = writes.iter().map(|write| &write["objectRef"]).collect();
    assert_eq!(written.len(), 1, "{written:#?}");
    assert_eq!((&written[0]["name"], &written[0]["subresource"]), (&json!("d-001"), &json!("status")));
    let about_it = |call: &Value| call.to_string().contains("@d-001");
    assert!(!calls.is_empty() && calls.iter().all(about_it), "{calls:#?}");
}

#[test]
fn a_tenant_with_hundreds_of_broken_destinations_does_not_delay_another() {
    environment_or_skip!();
    let count = if is_long() { 500 } else { 150 };
    let log = ControllerWrites::from_now();
    let (many, one) = (Tenant::new("many"), Tenant::new("one"));
    many.apply_secret(&many.external_id);
    one.apply_secret(&one.external_id);
    // Not allowed, so that no call is made before all are there; then all are due at once.
    let allow = |accounts: &str| {
        let annotation = format!("recordings.revenue.io/allowed-accounts={accounts}");
        kubectl(&["annotate", "--overwrite", "namespace", &many.namespace, &annotation]).expect_ok();
    };
    allow("999999999999");
    let no_role = format!("arn:aws:iam::{}:role/nobody", many.account);
    let broken = |n| {
        many.destination(&format!("d-{n:03}"), json!({"prefix": format!("p{n:03}/"), "roleARN": no_role}))
    };
    apply_many(&many, (1..=count).map(broken));
    let with_reason = |reason: &str| {
        let writes = log.in_namespace(&many.namespace);
        let statuses = writes.iter().filter(|write| write["objectRef"]["subresource"] == "status");
        statuses
            .filter(|write| write["responseObject"]["status"]["conditions"][0]["reason"] == reason)
            .count()
    };
    let waited = |reason: &'static str| {
        let all = || (with_reason(reason) == count).then_some(());
        wait_for(&format!("{count} times {reason}"), || with_reason(reason).to_string(), all);
    };
    waited("AccountNotAllowed");

    let began = Instant::now();
    allow(&many.account);
    one.apply_destination("acme", json!({}));
    one.wait_ready("acme");
    let (took, looked_at) = (began.elapsed(), with_reason("AssumeRoleDenied"));
    waited("AssumeRoleDenied");
    let all_took = began.elapsed();
    eprintln!(
        "Ready after {took:?}, with {looked_at} of {count} broken ones looked at; all of them after {all_took:?}"
    );
    assert!(looked_at < count / 3, "it had to wait for {looked_at} of another tenant: {took:?}");
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
