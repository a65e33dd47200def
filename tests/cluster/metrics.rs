//! What Prometheus is given: names that say their units, and labels of which there are few.

use std::collections::BTreeSet;

use crate::environment_or_skip;
use crate::support::{Tenant, kubectl, wait_for};

/// All labels that any of our metrics has. `namespace` and `name` are a destination's; none is a pod's, a recording's
/// or a key's, of which there is no end.
const LABELS: [&str; 10] =
    ["call", "component", "kind", "le", "name", "namespace", "result", "status", "type", "version"];
/// What names end in.
const UNITS: [&str; 7] = ["_total", "_seconds", "_bytes", "_info", "_files", "_objects", "_namespaces"];
/// Gauges that are 0 or 1.
const FLAGS: [&str; 4] = [
    "recording_destination_last_losses",
    "recording_destination_status_condition",
    "recording_destination_suspended",
    "recording_uploader_spool_usable",
];

/// The metrics of a pod, by way of the API server.
fn scraped(namespace: &str, pod: &str, port: u16) -> String {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
    kubectl(&["get", "--raw", &path]).expect_ok().text()
}

/// The names of the labels of a sample, `name{label="value",…} number`.
fn labels(sample: &str) -> Vec<&str> {
    let Some((_, rest)) = sample.split_once('{') else { return Vec::new() };
    let inside = rest.rsplit_once('}').unwrap().0;
    // Names stand before `="`, and after what ends the value before.
    let names = inside.split("=\"").map(|part| part.rsplit_once("\",").map_or(part, |(_, name)| name));
    names.take(inside.matches("=\"").count()).collect()
}

#[test]
fn every_metric_names_its_unit_and_has_no_label_without_bound() {
    environment_or_skip!();
    assert_eq!(labels(r#"a{x="1,\"y\"=2",z="3"} 4"#), ["x", "z"]);
    let tenant = Tenant::ready("metered");
    tenant.start_recorder("recorder");
    tenant.shell("recorder", "echo a > /recordings/a.wav").expect_ok();
    wait_for("the recording", || tenant.describe(), || tenant.object("a.wav"));

    let pods = kubectl(&[
        "get",
        "pods",
        "--namespace=recording-operator",
        "--selector=app.kubernetes.io/component in (controller, webhook, broker)",
        "--field-selector=status.phase=Running",
        "--output=name",
    ]);
    let pods = pods.expect_ok().text();
    let mut said: Vec<String> = pods
        .lines()
        .map(|pod| scraped("recording-operator", pod.strip_prefix("pod/").unwrap(), 8080))
        .collect();
    assert!(said.len() >= 5, "{pods}");
    said.push(scraped(&tenant.namespace, "recorder", 19095));

    let (mut metrics, mut labelled) = (BTreeSet::new(), BTreeSet::new());
    for line in said.iter().flat_map(|text| text.lines()) {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            metrics.insert(format!("{name}{suffix}"));
        } else if !line.starts_with('#') {
            labelled.extend(labels(line));
        }
    }
    let unbounded: Vec<_> = labelled.iter().filter(|label| !LABELS.contains(label)).collect();
    assert!(unbounded.is_empty(), "{unbounded:?}");
    assert_eq!(labelled.len(), LABELS.len(), "{labelled:?}");
    let unitless = metrics.iter().filter(|name| !UNITS.iter().any(|unit| name.ends_with(unit)));
    assert_eq!(unitless.collect::<Vec<_>>(), FLAGS);
    assert!(metrics.len() > 20 && metrics.iter().all(|name| name.starts_with("recording_")), "{metrics:?}");
}
