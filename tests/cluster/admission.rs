//! Pods at admission.

use serde_json::json;

use crate::environment_or_skip;
use crate::support::Tenant;

#[test]
fn a_labelled_pod_gets_the_sidecar_and_others_are_left_alone() {
    environment_or_skip!();
    let tenant = Tenant::new("injected");
    tenant.apply_destination("acme", json!({}));
    tenant.apply(&tenant.recorder("labelled")).expect_ok();
    let mut plain = tenant.recorder("plain");
    plain["metadata"]["labels"] = json!({});
    tenant.apply(&plain).expect_ok();

    let pod = tenant.get(&["pod", "labelled"]).unwrap();
    let sidecar = &pod["spec"]["initContainers"][0];
    assert_eq!(sidecar["name"], "recording-uploader");
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(
        sidecar["securityContext"]["runAsUser"], 1000,
        "the recorder's user: another could not unlink its files"
    );
    assert!(!sidecar.to_string().contains(&tenant.external_id));
    assert!(tenant.get(&["pod", "plain"]).unwrap()["spec"].get("initContainers").is_none());
}

#[test]
fn a_pod_that_names_an_unknown_destination_is_refused_with_a_sentence() {
    environment_or_skip!();
    let tenant = Tenant::new("unknown");
    let done = tenant.apply(&tenant.recorder("recorder"));
    assert!(
        !done.ok && done.stderr.contains("acme") && done.stderr.contains("does not exist"),
        "{}",
        done.stderr
    );
    tenant.apply_destination("acme", json!({}));
    tenant.apply(&tenant.recorder("recorder")).expect_ok();
}

#[test]
fn a_pod_on_the_host_network_or_run_as_root_is_refused_with_the_remedy() {
    environment_or_skip!();
    let tenant = Tenant::new("refused");
    tenant.apply_destination("acme", json!({}));
    let mut host = tenant.recorder("host");
    host["spec"]["hostNetwork"] = json!(true);
    let done = tenant.apply(&host);
    assert!(!done.ok && done.stderr.contains("hostNetwork"), "{}", done.stderr);
    let mut root = tenant.recorder("root");
    root["spec"]["securityContext"] = json!({"runAsUser": 0});
    let done = tenant.apply(&root);
    assert!(!done.ok && done.stderr.contains("runAsUser"), "{}", done.stderr);
    tenant.apply(&tenant.recorder("recorder")).expect_ok();
}

#[test]
fn a_running_pod_cannot_change_its_destination() {
    environment_or_skip!();
    let tenant = Tenant::new("fixed");
    tenant.apply_destination("acme", json!({}));
    tenant.apply_destination("other", json!({}));
    tenant.apply(&tenant.recorder("recorder")).expect_ok();
    let done = tenant.kubectl(&[
        "annotate",
        "--overwrite",
        "pod",
        "recorder",
        "recordings.revenue.io/destination=other",
    ]);
    assert!(!done.ok && done.stderr.contains("denied"), "{}{}", done.text(), done.stderr);
    assert!(tenant.kubectl(&["annotate", "pod", "recorder", "example.com/note=free"]).ok);
}
