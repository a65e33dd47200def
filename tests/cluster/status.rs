//! What tools make of the status: kstatus, kubectl wait; and that a rotation leaves no gap in it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Tenant, is_long, repository, wait_for};

/// What kstatus (sigs.k8s.io/cli-utils), by which GitOps tools wait, says of an object.
fn kstatus(object: &Value) -> String {
    let mut child = Command::new(repository().join("target/dev/bin/kstatus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kstatus runs");
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success());
    let line = String::from_utf8(done.stdout).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn kstatus_waits_while_not_ready_and_fails_only_where_stalled() {
    environment_or_skip!();
    let tenant = Tenant::new("kstatus");
    tenant.apply_secret(&tenant.external_id);
    let other_partition = format!("arn:aws-cn:iam::{}:role/writer", tenant.account);
    let rows = [
        ("ready", json!({}), "True", "Validated", "Current"),
        (
            "denied",
            json!({"roleARN": format!("{}-none", tenant.role_arn())}),
            "False",
            "AssumeRoleDenied",
            "InProgress",
        ),
        (
            "no-secret",
            json!({"externalIDSecretRef": {"name": "nothing"}}),
            "False",
            "SecretNotFound",
            "InProgress",
        ),
        (
            "partition",
            json!({"roleARN": other_partition, "region": "cn-north-1"}),
            "False",
            "InvalidSpec",
            "Failed",
        ),
        ("suspended", json!({"suspend": true}), "False", "Suspended", "InProgress"),
    ];
    // The API server defaults the status to generation -1, before any validation.
    let new = tenant.destination("new", json!({}));
    let created = crate::support::kubectl_with(
        &["--namespace", &tenant.namespace, "create", "--dry-run=server", "--output=json", "--filename=-"],
        &new.to_string(),
    );
    let created: Value = serde_json::from_slice(&created.expect_ok().stdout).unwrap();
    assert_eq!(kstatus(&created), "InProgress", "nobody has looked yet: {created}");

    for (name, change, ..) in &rows {
        let prefix = json!(format!("{name}/"));
        let mut change = change.clone();
        change["prefix"] = prefix;
        tenant.apply_destination(name, change);
    }
    for (name, _, status, reason, expected) in &rows {
        tenant.wait_reason(name, status, reason);
        let object = tenant.get(&["recordingdestination", name]).unwrap();
        assert_eq!(kstatus(&object), *expected, "{name}: {}", object["status"]);
        let target = format!("recordingdestination/{name}");
        let wait = |condition: &str| tenant.kubectl(&["wait", condition, "--timeout=5s", &target]).ok;
        assert!(wait(&format!("--for=condition=Ready={status}")), "kubectl wait for {status} of {name}");
    }
    // An edit that was not looked at yet must not pass for what was proved before it.
    let mut edited = tenant.get(&["recordingdestination", "ready"]).unwrap();
    edited["metadata"]["generation"] = json!(99);
    assert_eq!(kstatus(&edited), "InProgress");
}

#[test]
fn a_rotation_of_the_external_id_leaves_no_gap_in_ready() {
    environment_or_skip!();
    let tenant = Tenant::new("rotated");
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({"sessionDurationSeconds": 900}));
    tenant.wait_ready("acme");
    // A verified upload since the proof must not keep the new External ID from being proved.
    let upload = r#"{"status":{"lastUploadTime":"2099-01-01T00:00:00Z"}}"#;
    // The name passes the policy on who writes status; the group has the rights that kubectl needs beside.
    let broker = "--as=system:serviceaccount:recording-operator:recording-operator-broker";
    let patch = [
        "patch",
        "recordingdestination",
        "acme",
        "--subresource=status",
        "--type=merge",
        "--patch",
        upload,
        broker,
        "--as-group=system:masters",
    ];
    tenant.kubectl(&patch).expect_ok();
    let ready_since = tenant.condition("acme", "Ready").unwrap()["lastTransitionTime"].clone();

    let new = format!("{}-new", tenant.external_id);
    let trust = |ids: &[&str]| {
        let document = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::103850359708:user/RingDNA_Web"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": ids}},
        }]});
        tenant.customer_with(&["set-trust"], &document.to_string()).expect_ok();
    };
    trust(&[&tenant.external_id, &new]);
    tenant.apply_secret(&new);
    if !is_long() {
        // Otherwise it is noticed on its own, within a quarter of a session's life.
        tenant.revalidate("acme");
    }
    let version = tenant.get(&["secret", "acme-external-id"]).unwrap()["metadata"]["resourceVersion"].clone();
    let proved = || {
        let destination = tenant.get(&["recordingdestination", "acme"])?;
        (destination["status"]["externalIDSecretVersion"] == version).then_some(())
    };
    let patience = if is_long() { 4 } else { 1 };
    for attempt in 1..=patience {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("the new External ID to be proved", || tenant.describe(), proved);
        }));
        if found.is_ok() {
            break;
        }
        assert!(attempt < patience, "not noticed");
    }
    trust(&[&new]);
    tenant.revalidate("acme");
    tenant.wait_ready("acme");
    let ready = tenant.condition("acme", "Ready").unwrap();
    assert_eq!(ready["lastTransitionTime"], ready_since, "it was Ready all the time: {ready}");
}
