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

#[test]
fn a_label_that_asks_for_nothing_is_refused_and_its_pods_end_in_peace() {
    environment_or_skip!();
    let tenant = Tenant::new("wrong-label");
    tenant.apply_destination("acme", json!({}));
    let labelled = |name: &str, value: &str| {
        let mut pod = tenant.recorder(name);
        pod["metadata"]["labels"]["recordings.revenue.io/inject"] = json!(value);
        pod
    };
    for value in ["yes", "True"] {
        let done = tenant.apply(&labelled("wrong", value));
        assert!(!done.ok && done.stderr.contains(&format!("is \"{value}\"")), "{value}: {}", done.stderr);
    }
    tenant.apply(&labelled("none", "false")).expect_ok();
    assert!(tenant.get(&["pod", "none"]).unwrap()["spec"].get("initContainers").is_none());
    // A pod that was there before the policy: its label was put on afterwards, which the policy does not see.
    let mut plain = tenant.recorder("plain");
    plain["metadata"]["labels"] = json!({});
    plain["metadata"]["finalizers"] = json!(["example.com/hold"]);
    tenant.apply(&plain).expect_ok();
    tenant.kubectl(&["label", "pod", "plain", "recordings.revenue.io/inject=yes"]).expect_ok();
    tenant.kubectl(&["annotate", "pod", "plain", "example.com/note=free"]).expect_ok();
    let debugger = ["debug", "plain", "--image=busybox", "--container=debugger", "--attach=false"];
    tenant.kubectl(&debugger).expect_ok();
    tenant
        .kubectl(&["patch", "pod", "plain", "--type=merge", "--patch={\"metadata\":{\"finalizers\":null}}"])
        .expect_ok();
}

#[test]
fn whoever_applies_annotations_without_the_label_is_warned() {
    environment_or_skip!();
    let tenant = Tenant::new("unlabelled");
    let warning = "is read only on pods with the label recordings.revenue.io/inject";
    for labelled in [false, true] {
        let mut pod = tenant.recorder("recorder");
        if !labelled {
            pod["metadata"]["labels"] = json!({"app": "recorder"});
        } else {
            pod["metadata"]["labels"]["app"] = json!("recorder");
        }
        let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
        let selector = json!({"matchLabels": {"app": "recorder"}});
        let mut job = template.clone();
        job["spec"]["restartPolicy"] = json!("Never");
        let objects = [
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0, "selector": selector, "template": template}}),
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"replicas": 0, "serviceName": "a", "selector": selector, "template": template}}),
            json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": true, "template": job}}),
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": job}}}}),
        ];
        for mut object in objects {
            object["metadata"] = json!({"name": format!("labelled-{labelled}")});
            let done = tenant.apply(&object);
            assert!(done.ok, "{}", done.stderr);
            assert_eq!(done.stderr.contains(warning), !labelled, "{}: {}", object["kind"], done.stderr);
        }
    }
}
