//! Metadata that a tenant may write and nobody can use: it harms no other tenant, and hides nothing.

use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::broker_client::BrokerClient;
use crate::environment_or_skip;
use crate::support::{Tenant, kubectl, kubectl_with, wait_for};

/// A time that Go can hold and other languages cannot.
const NO_CLOCKS_TIME: &str = "9999-12-31T23:59:59Z";

/// Gives an object a label, and a managed field of it with that time. The second needs the first to be there already.
fn spoil(arguments: &[&str], api_version: &str) {
    let patch = |patch: Value| {
        let patch = format!("--patch={patch}");
        kubectl(&[&["patch", "--type=merge", &patch], arguments].concat()).expect_ok()
    };
    patch(json!({"metadata": {"labels": {"spoiled": "true"}}}));
    let field = json!({
        "manager": "hostile", "operation": "Update", "apiVersion": api_version, "time": NO_CLOCKS_TIME,
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {"f:spoiled": {}}}},
    });
    patch(json!({"metadata": {"managedFields": [field]}}));
    let spoilt = kubectl(&[&["get", "--output=json", "--show-managed-fields"], arguments].concat());
    assert!(spoilt.expect_ok().text().contains(NO_CLOCKS_TIME), "the API server does not keep the time");
}

fn spoil_destination(tenant: &Tenant) {
    let namespace = format!("--namespace={}", tenant.namespace);
    spoil(&["recordingdestination", "acme", &namespace], "recordings.revenue.io/v1alpha1");
}

#[test]
fn a_time_that_no_clock_holds_stops_no_process_and_no_tenant() {
    environment_or_skip!();
    let (hostile, other) = (Tenant::ready("spoiled"), Tenant::new("beside"));
    spoil_destination(&hostile);
    spoil(&["namespace", &hostile.namespace], "v1");
    hostile.apply_secret("another-External-ID");
    spoil(&["secret", "acme-external-id", &format!("--namespace={}", hostile.namespace)], "v1");

    // The controller goes on with the others, and with the destination itself.
    other.apply_secret(&other.external_id);
    other.apply_destination("acme", json!({}));
    other.wait_ready("acme");
    hostile.kubectl(&[
        "annotate",
        "namespace",
        &hostile.namespace,
        "recordings.revenue.io/allowed-accounts=999999999999",
    ]);
    hostile.wait_reason("acme", "False", "AccountNotAllowed");
    hostile.kubectl(&[
        "annotate",
        "namespace",
        &hostile.namespace,
        "recordings.revenue.io/allowed-accounts-",
    ]);
    hostile.wait_reason("acme", "False", "AssumeRoleDenied");
    hostile.apply_secret(&hostile.external_id);
    hostile.wait_ready("acme");

    // So do webhook and broker, whose copies have what came afterwards.
    other.start_recorder("recorder");
    let token = other.pod_token("default", "recorder");
    for broker in BrokerClient::all() {
        let served = || broker.credentials(&token).starts_with("HTTP/1.1 200").then_some(());
        wait_for("credentials of the other tenant", || other.describe(), served);
    }
}

#[test]
fn a_time_that_no_clock_holds_does_not_evade_revocation() {
    environment_or_skip!();
    let tenant = Tenant::ready("evader");
    tenant.start_recorder("recorder");
    let token = tenant.pod_token("default", "recorder");
    let brokers = BrokerClient::all();
    for broker in &brokers {
        assert!(broker.credentials(&token).starts_with("HTTP/1.1 200"), "granted before");
    }
    tenant
        .kubectl(&[
            "patch",
            "recordingdestination",
            "acme",
            "--type=merge",
            r#"--patch={"spec": {"suspend": true}}"#,
        ])
        .expect_ok();
    spoil_destination(&tenant);
    let suspended = Instant::now();
    tenant.kubectl(&["delete", "recordingdestination", "acme"]).expect_ok();
    for broker in &brokers {
        let refused = || broker.credentials(&token).starts_with("HTTP/1.1 403").then_some(());
        wait_for("a refusal", || tenant.describe(), refused);
    }
    assert!(suspended.elapsed().as_secs() < 60, "after {:?}", suspended.elapsed());
    let refused = tenant.apply(&tenant.recorder("late"));
    assert!(!refused.ok && refused.stderr.contains("does not exist"), "{}", refused.stderr);
}

#[test]
fn metadata_that_fills_memories_is_refused_and_what_people_write_is_not() {
    environment_or_skip!();
    let tenant = Tenant::new("labels");
    let names = |count: usize, value: &str| -> Map<String, Value> {
        (0..count).map(|number| (format!("example.com/n{number}"), json!(value))).collect()
    };
    let create = |field: &str, value: Value| {
        let mut destination = tenant.destination("acme", json!({}));
        destination["metadata"][field] = value;
        let namespace = format!("--namespace={}", tenant.namespace);
        kubectl_with(&["create", "--dry-run=server", &namespace, "--filename=-"], &destination.to_string())
    };
    let owners = |count: usize| -> Vec<Value> {
        let owner =
            |number| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": format!("u{number}")});
        (0..count).map(owner).collect()
    };
    let finalizers =
        |count: usize| -> Vec<String> { (0..count).map(|n| format!("example.com/n{n}")).collect() };
    for (field, most, more, refusal) in [
        ("labels", json!(names(64, "x")), json!(names(65, "x")), "metadata.labels"),
        ("labels", json!(names(1, "x")), json!(names(60_000, "")), "metadata.labels"),
        ("annotations", json!(names(64, "x")), json!(names(65, "x")), "metadata.annotations"),
        (
            "annotations",
            json!(names(2, &"x".repeat(16_000))),
            json!(names(2, &"x".repeat(17_000))),
            "32768 characters",
        ),
        ("annotations", json!(names(1, "x")), json!(names(5_000, "x")), "at most 64 entries"),
        ("finalizers", json!(finalizers(64)), json!(finalizers(65)), "metadata.finalizers"),
        ("ownerReferences", json!(owners(64)), json!(owners(65)), "metadata.ownerReferences"),
    ] {
        create(field, most).expect_ok();
        let refused = create(field, more);
        assert!(!refused.ok && refused.stderr.contains(refusal), "{field}: {}", refused.stderr);
    }
}
