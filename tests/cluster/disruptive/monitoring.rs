//! A real Prometheus beside the cluster: it finds what there is to scrape, the dashboard shows something in every
//! panel, and each alert fires for the fault that it is about.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::rotations::{AUTHORITY, SERVERS, secret, server_made, write};
use super::{NAMESPACE, Stopped};
use crate::broker_client::BrokerClient;
use crate::support::{Tenant, dev, kubectl, repository, wait_for};
use crate::{environment_or_skip, long_run_or_skip};

const ALERTS: &str = "charts/recording-operator/files/alerts.yaml";
/// The alerts' own times, which are made for people, and those of a test.
const SHORTER: [(&str, &str); 7] = [
    (r"for: 30s", "for: 0s"),
    (r"for: 1m", "for: 0s"),
    (r"for: 5m", "for: 0s"),
    (r"for: 10m", "for: 0s"),
    (r"for: 15m", "for: 0s"),
    (r"[5m]", "[15s]"),
    (r"> 900", "> 5"),
];

/// Prometheus, until this is dropped.
struct Prometheus;

impl Prometheus {
    fn up() -> Self {
        let mut rules = std::fs::read_to_string(repository().join(ALERTS)).unwrap();
        for (usual, short) in SHORTER {
            assert!(rules.contains(usual), "{ALERTS} has no {usual}");
            rules = rules.replace(usual, short);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        let file = file.path().display().to_string();
        dev("dev.cluster.prometheus", &["up", "--rules", &file], "").expect_ok();
        Prometheus
    }

    /// The labels of what an expression gives, now.
    fn ask(&self, expression: &str) -> Vec<Value> {
        let said = dev("dev.cluster.prometheus", &["query", "-"], expression).expect_ok();
        let results: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
        results.into_iter().map(|result| result["metric"].clone()).collect()
    }

    /// Names of the alerts that fire.
    fn firing(&self) -> BTreeSet<String> {
        let firing = self.ask(r#"ALERTS{alertstate="firing"}"#);
        firing.iter().map(|labels| labels["alertname"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn wait_firing(&self, alert: &str, labels: &[(&str, &str)]) {
        let labels: String = labels.iter().map(|(name, value)| format!(r#", {name}="{value}""#)).collect();
        let expression = format!(r#"ALERTS{{alertstate="firing", alertname="{alert}"{labels}}}"#);
        let fires = || (!self.ask(&expression).is_empty()).then_some(());
        wait_for(&expression, || format!("{:?}", self.firing()), fires);
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        dev("dev.cluster.prometheus", &["down"], "");
    }
}

/// A tenant with a pod whose spool is 16 MiB of memory.
fn with_small_spool(name: &str) -> Tenant {
    let tenant = Tenant::ready(name);
    let mut pod = tenant.recorder("recorder");
    pod["spec"]["volumes"][0]["emptyDir"] = json!({"medium": "Memory", "sizeLimit": "16Mi"});
    tenant.start(&pod);
    tenant
}

#[test]
fn every_dashboard_query_and_alert_has_series_in_prometheus() {
    environment_or_skip!();
    long_run_or_skip!();
    let prometheus = Prometheus::up();
    let tenant = with_small_spool("monitored");
    let namespace = tenant.namespace.as_str();
    tenant.shell("recorder", "echo a > /recordings/a.wav").expect_ok();
    wait_for("a recording", || tenant.describe(), || tenant.object("a.wav"));

    let up = |job: &str| prometheus.ask(&format!(r#"up{{job="{job}"}} == 1"#));
    let all = || (up("recording-operator").len() == 5).then_some(());
    wait_for("1 controller, 2 webhooks and 2 brokers", || format!("{:?}", up("recording-operator")), all);
    let sidecar = || up("uploaders").into_iter().find(|labels| labels["namespace"] == namespace);
    let sidecar = wait_for("the sidecar", || format!("{:?}", up("uploaders")), sidecar);
    assert_eq!((&sidecar["pod"], &sidecar["destination"]), (&json!("recorder"), &json!("acme")));
    // Whose destination it is, and not whose metric.
    let ready = format!(
        r#"recording_destination_status_condition{{namespace="{namespace}", name="acme", type="Ready", status="True"}} == 1"#
    );
    wait_for("a metric of Ready", String::new, || (prometheus.ask(&ready).len() == 1).then_some(()));

    for expression in queries_of_the_dashboard() {
        let answered = || (!prometheus.ask(&expression).is_empty()).then_some(());
        wait_for(&expression, String::new, answered);
    }
    let metrics = prometheus.ask(r#"group by (__name__) ({__name__=~"recording_.+", container!=""})"#);
    assert!(metrics.len() > 20, "{metrics:?}");
    let undocumented = dev("dev.cluster.prometheus", &["undocumented"], "").expect_ok().text();
    assert_eq!(undocumented, "", "metrics without a help text");
}

fn queries_of_the_dashboard() -> Vec<String> {
    let file = repository().join("charts/recording-operator/files/dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .map(|expression| expression.replace("$__rate_interval", "1m").replace("$namespace", ".*"))
        .collect();
    assert!(expressions.len() > 20 && !expressions.iter().any(|it| it.contains('$')), "{expressions:#?}");
    expressions
}

#[test]
fn each_alert_fires_for_the_fault_that_it_is_about() {
    environment_or_skip!();
    long_run_or_skip!();
    let prometheus = Prometheus::up();
    let open = with_small_spool("opened");
    // More namespaces than one, as no tenant alone raises an alert of the platform's.
    let throttled: Vec<_> = (0..5).map(|number| Tenant::ready(&format!("throttled-{number}"))).collect();
    let of = |tenant: &Tenant| tenant.namespace.clone();
    let ours = |tenant: &Tenant| {
        let alerts = prometheus.ask(&format!(r#"ALERTS{{namespace="{}"}}"#, tenant.namespace));
        alerts.iter().map(|labels| labels["alertname"].to_string()).collect::<Vec<_>>()
    };
    let known = format!(r#"recording_uploader_quarantined_files{{namespace="{}"}}"#, open.namespace);
    wait_for("its metrics", String::new, || (!prometheus.ask(&known).is_empty()).then_some(()));
    assert_eq!(ours(&open), [""; 0], "nothing is wrong yet");

    open.shell("recorder", "ln -s /etc/passwd /recordings/link.wav").expect_ok();
    prometheus.wait_firing("RecordingsQuarantined", &[("namespace", &of(&open)), ("pod", "recorder")]);

    // A directory of the recorder's own user, who may not write to it, and one that nobody may read.
    let keep = "mkdir /recordings/kept; exec 3>/recordings/kept/c.wav; chmod 555 /recordings/kept; echo c >&3; exec 3>&-";
    open.shell("recorder", keep).expect_ok();
    prometheus.wait_firing("RecordingsNotRemoved", &[("namespace", &of(&open)), ("pod", "recorder")]);
    open.shell("recorder", "mkdir /recordings/closed; chmod 000 /recordings/closed").expect_ok();
    prometheus.wait_firing("RecordingSpoolUnusable", &[("namespace", &of(&open)), ("pod", "recorder")]);
    let refused = Tenant::ready("refused");
    refused.start_recorder("recorder");
    refused.customer(&["delete", "--bucket", &refused.bucket]).expect_ok();
    refused.shell("recorder", "echo d > /recordings/d.wav").expect_ok();
    prometheus.wait_firing("RecordingsRefused", &[("namespace", &of(&refused)), ("pod", "recorder")]);

    open.customer(&["trust-open"]).expect_ok();
    open.revalidate("acme");
    prometheus
        .wait_firing("RecordingDestinationEnforcementLost", &[("namespace", &of(&open)), ("name", "acme")]);
    prometheus.wait_firing("RecordingDestinationNotReady", &[("namespace", &of(&open)), ("name", "acme")]);
    let fill = "echo b > /recordings/b.wav; head -c 15500000 /dev/zero > /recordings/growing.part";
    open.shell("recorder", fill).expect_ok();
    prometheus.wait_firing("RecordingBacklogOld", &[("namespace", &of(&open)), ("destination", "acme")]);
    prometheus.wait_firing("RecordingSpoolFilling", &[("namespace", &of(&open)), ("destination", "acme")]);

    // A directory of root's, which the sidecar cannot use: what is in it stays.
    let mut kept = open.recorder("kept");
    let path = format!("/var/tmp/{}", open.namespace);
    kept["spec"]["volumes"][0] =
        json!({"name": "recordings", "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
    open.start(&kept);
    open.kubectl(&["delete", "pod", "kept", "recorder"]).expect_ok();
    prometheus
        .wait_firing("RecordingsLost", &[("namespace", &of(&open)), ("name", "acme"), ("kind", "Lost")]);
    prometheus.wait_firing("RecordingsLeft", &[("namespace", &of(&open)), ("name", "acme")]);

    let broker = BrokerClient::open();
    let mut tokens = Vec::new();
    for tenant in &throttled {
        tenant.fault("throttle", &[]);
        tenant.start_recorder("recorder");
        tokens.push(tenant.pod_token("default", "recorder"));
        tenant.revalidate("acme");
    }
    let firing = |alert: &str| {
        for token in &tokens {
            broker.credentials(token);
        }
        let firing = format!(r#"ALERTS{{alertstate="firing", alertname="{alert}"}}"#);
        (!prometheus.ask(&firing).is_empty()).then_some(())
    };
    prometheus.wait_firing("RecordingAWSThrottled", &[("call", "AssumeRole")]);
    let describe = || format!("{:?}", prometheus.firing());
    wait_for("RecordingBrokerUnavailable", describe, || firing("RecordingBrokerUnavailable"));
    for tenant in &throttled {
        tenant.no_fault();
        tenant.apply_destination("acme", json!({"suspend": true}));
    }
    wait_for("RecordingBrokerRefusalsRising", describe, || firing("RecordingBrokerRefusalsRising"));

    // Without the controller nothing is renewed.
    let before = secret(&format!("{}-tls", SERVERS[0]));
    let stopped = Stopped::controller();
    write(&format!("{}-tls", SERVERS[0]), &server_made(&secret(AUTHORITY), SERVERS[0], 80));
    let now = format!("test/synced={}", jiff::Timestamp::now().as_millisecond());
    let webhooks = "--selector=app.kubernetes.io/component=webhook";
    kubectl(&[NAMESPACE, "annotate", "pods", webhooks, "--overwrite", &now]).expect_ok();
    prometheus.wait_firing("RecordingCertificateExpiring", &[("namespace", "recording-operator")]);
    prometheus.wait_firing("RecordingOperatorAbsent", &[("component", "controller")]);
    write(&format!("{}-tls", SERVERS[0]), &before);
    drop(stopped);

    let fired: BTreeSet<_> = prometheus
        .ask(r#"group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))"#)
        .iter()
        .map(|labels| labels["alertname"].as_str().unwrap().to_owned())
        .collect();
    let rules = std::fs::read_to_string(repository().join(ALERTS)).unwrap();
    let named = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert_eq!(fired, named.map(str::to_owned).collect(), "each, and no other");
}
