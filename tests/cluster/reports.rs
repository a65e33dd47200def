//! What sidecars report of themselves, in the status of their destination.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Tenant, kubectl, wait_for};

fn status(tenant: &Tenant) -> Value {
    tenant.get(&["recordingdestination", "acme"]).unwrap()["status"].clone()
}

#[track_caller]
fn wait_delivering(tenant: &Tenant, value: &str, reason: &str) {
    let seen = || {
        let condition = tenant.condition("acme", "Delivering")?;
        (condition["status"] == value && condition["reason"] == reason).then_some(())
    };
    wait_for(&format!("Delivering={value}, {reason}"), || tenant.describe(), seen);
}

fn has_event(tenant: &Tenant, reason: &str) -> Option<()> {
    let events = tenant.get(&["events.events.k8s.io"])?;
    let of = |event: &Value| event["reason"] == reason && event["regarding"]["name"] == "acme";
    events["items"].as_array()?.iter().any(of).then_some(())
}

#[test]
fn a_late_sidecar_is_named_in_the_status_until_it_recovers() {
    environment_or_skip!();
    let tenant = Tenant::ready("reported");
    wait_delivering(&tenant, "Unknown", "NotYetReported");
    tenant.start_recorder("recorder");
    tenant
        .shell("recorder", "echo content > /recordings/a.part && mv /recordings/a.part /recordings/a.wav")
        .expect_ok();
    wait_delivering(&tenant, "True", "Delivered");
    assert!(status(&tenant)["lastUploadTime"].is_string());

    tenant.shell("recorder", "ln -s /etc/passwd /recordings/poison.wav").expect_ok();
    wait_delivering(&tenant, "False", "RecordingsQuarantined");
    let uploaders = &status(&tenant)["uploaders"];
    assert_eq!(uploaders["count"], 1, "{uploaders}");
    let named = &uploaders["items"][0];
    let uid = &tenant.get(&["pod", "recorder"]).unwrap()["metadata"]["uid"];
    assert_eq!((&named["pod"], &named["uid"], &named["quarantined"]), (&json!("recorder"), uid, &json!(1)));
    wait_for("the Event", || tenant.describe(), || has_event(&tenant, "RecordingsQuarantined"));
    assert_eq!(tenant.condition("acme", "Ready").unwrap()["status"], "True");

    tenant.shell("recorder", "rm -r /recordings/.recording-uploader/quarantine").expect_ok();
    wait_delivering(&tenant, "True", "Delivered");
    assert_eq!(status(&tenant)["uploaders"], Value::Null);
    wait_for("the Event", || tenant.describe(), || has_event(&tenant, "Delivered"));
}

#[test]
fn the_broker_may_write_only_the_reported_fields_of_a_status() {
    environment_or_skip!();
    let tenant = Tenant::ready("brokered");
    let patch = |status: Value| {
        let namespace = format!("--namespace={}", tenant.namespace);
        let patch = format!("--patch={}", json!({"status": status}));
        // The group lets kubectl read before it patches, which the broker may not; the policy looks at the name.
        kubectl(&[
            "patch",
            "recordingdestination",
            "acme",
            &namespace,
            "--as=system:serviceaccount:recording-operator:recording-operator-broker",
            "--as-group=system:masters",
            "--subresource=status",
            "--type=merge",
            &patch,
        ])
    };
    let known = status(&tenant);
    for field in known.as_object().unwrap().keys() {
        let refused = patch(json!({field: null}));
        assert!(!refused.ok, "{field}");
        assert!(
            refused.stderr.contains("the broker writes what uploaders report"),
            "{field}: {}",
            refused.stderr
        );
    }
    assert_eq!(status(&tenant), known);
    let uploaders = json!({"count": 1, "items": [{
        "pod": "p", "uid": "u", "reason": "UploadsLate", "pendingFiles": 1, "quarantined": 0,
        "reportTime": "2026-01-01T00:00:00Z",
    }]});
    let loss = json!({
        "pod": "p", "uid": "v", "time": "2026-01-01T00:00:00Z", "files": 1, "bytes": 2, "spool": "emptyDir",
        "kind": "Lost",
    });
    let time = "2026-01-01T00:00:00Z";
    patch(json!({"uploaders": uploaders, "lastUploadTime": time, "lastLosses": [loss]})).expect_ok();
    // A report that old says nothing of now, and nothing is dropped for that: the pod is asked for, and is not there.
    wait_delivering(&tenant, "Unknown", "UploaderSilent");
    let settled = || (status(&tenant)["uploaders"] == Value::Null).then_some(());
    wait_for("it to be settled", || tenant.describe(), settled);
    let losses = status(&tenant)["lastLosses"].clone();
    let of = |number: usize| (losses[number]["uid"].clone(), losses[number]["kind"].clone());
    assert_eq!((of(0), of(1)), ((json!("u"), json!("Unaccounted")), (json!("v"), json!("Lost"))));
    wait_for("the Event", || tenant.describe(), || has_event(&tenant, "RecordingsUnaccounted"));
    assert_eq!(status(&tenant)["lastUploadTime"], time);
}

/// The entries that the status has of pods whose names begin so, once there are any.
fn losses(tenant: &Tenant, pod: &str) -> Option<Value> {
    let losses = status(tenant)["lastLosses"].as_array()?.clone();
    losses.into_iter().find(|loss| loss["pod"].as_str().is_some_and(|name| name.starts_with(pod)))
}

#[test]
fn what_pods_took_with_them_is_in_the_status_when_they_are_gone() {
    environment_or_skip!();
    let tenant = Tenant::ready("bereft");
    let record = "echo content > /recordings/a.part && mv /recordings/a.part /recordings/555-1234.wav";
    // One that has sent everything leaves nothing.
    tenant.start_recorder("calm");
    tenant.shell("calm", &record.replace("555", "554")).expect_ok();
    wait_for("the recording", || tenant.describe(), || tenant.object("554-1234.wav"));
    tenant.kubectl(&["delete", "pod", "calm"]).expect_ok();

    tenant.start_recorder("recorder");
    tenant.apply_destination("acme", json!({"suspend": true}));
    let suspended = || (tenant.condition("acme", "Ready")?["reason"] == "Suspended").then_some(());
    wait_for("the suspension", || tenant.describe(), suspended);
    tenant.shell("recorder", record).expect_ok();
    let uid = tenant.get(&["pod", "recorder"]).unwrap()["metadata"]["uid"].clone();
    tenant.kubectl(&["delete", "pod", "recorder"]).expect_ok();
    let lost = wait_for("the entry", || tenant.describe(), || losses(&tenant, "recorder"));
    assert_eq!((&lost["kind"], &lost["uid"], &lost["spool"]), (&json!("Lost"), &uid, &json!("emptyDir")));
    assert_eq!((&lost["files"], &lost["bytes"]), (&json!(1), &json!(8)));
    wait_for("the Event", || tenant.describe(), || has_event(&tenant, "RecordingsLost"));

    // A Job whose recorder ends well is one of them.
    let mut pod = tenant.recorder("job");
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", record]);
    let mut template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    template["metadata"].as_object_mut().unwrap().remove("name");
    let spec = json!({"backoffLimit": 0, "template": template});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": spec});
    tenant.apply(&job).expect_ok();
    tenant.kubectl(&["wait", "--for=condition=Complete", "--timeout=180s", "job/job"]).expect_ok();
    let lost = wait_for("the entry", || tenant.describe(), || losses(&tenant, "job-"));
    assert_eq!((&lost["kind"], &lost["files"]), (&json!("Lost"), &json!(1)));

    assert_eq!(losses(&tenant, "calm"), None);
    assert_eq!(status(&tenant)["uploaders"], Value::Null);
    let events = tenant.get(&["events.events.k8s.io"]).unwrap().to_string();
    assert!(
        !events.contains("1234") && !status(&tenant).to_string().contains("1234"),
        "a path of a recording"
    );
}
