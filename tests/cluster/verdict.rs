//! Destinations from apply to Ready, and what is said when they are not.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Tenant, kubectl, wait_for};

#[test]
fn a_sound_destination_turns_ready_and_leaves_no_probe_behind() {
    environment_or_skip!();
    let tenant = Tenant::ready("sound");
    for kind in ["SecretResolved", "RoleAssumable", "ExternalIDEnforced", "BucketWritable"] {
        assert_eq!(tenant.condition("acme", kind).unwrap()["status"], "True", "{kind}");
    }
    let done =
        tenant.kubectl(&["wait", "--for=condition=Ready", "--timeout=5s", "recordingdestination/acme"]);
    assert!(done.ok, "{}", done.stderr);
    let status = tenant.get(&["recordingdestination", "acme"]).unwrap()["status"].clone();
    assert_eq!(status["accountID"], tenant.account.as_str());
    assert!(!status.to_string().contains(&tenant.external_id), "{status}");
    assert_eq!(tenant.objects(), Vec::<String>::new(), "the probe was deleted");
    let table = tenant.kubectl(&["get", "recdest"]).text();
    let header = table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(header, ["NAME", "BUCKET", "REGION", "READY", "REASON", "ENFORCED", "VALIDATED", "AGE"]);
}

#[test]
fn each_mistake_has_its_own_reason_and_remedy_and_affects_no_other() {
    environment_or_skip!();
    let tenant = Tenant::new("mistakes");
    tenant.apply_secret(&tenant.external_id);
    tenant.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "opaque"}, "stringData": {"externalID": tenant.external_id}})).expect_ok();
    tenant
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "malformed"},
            "type": "recordings.revenue.io/external-id", "stringData": {"externalID": "two words"},
        }))
        .expect_ok();
    let no_role = format!("arn:aws:iam::{}:role/nobody", tenant.account);
    let other_partition = format!("arn:aws-cn:iam::{}:role/writer", tenant.account);
    let rows: &[(&str, Value, &str, &str)] = &[
        (
            "no-secret",
            json!({"externalIDSecretRef": {"name": "nothing"}}),
            "SecretNotFound",
            "kubectl create secret generic nothing",
        ),
        (
            "opaque",
            json!({"externalIDSecretRef": {"name": "opaque"}}),
            "SecretTypeMismatch",
            "A Secret's type cannot be changed; re-create it",
        ),
        (
            "no-key",
            json!({"externalIDSecretRef": {"name": "acme-external-id", "key": "other"}}),
            "SecretKeyMissing",
            "Put the External ID under other",
        ),
        (
            "malformed",
            json!({"externalIDSecretRef": {"name": "malformed"}}),
            "ExternalIDMalformed",
            "it is not trimmed",
        ),
        (
            "no-role",
            json!({"roleARN": no_role}),
            "AssumeRoleDenied",
            "\"sts:ExternalId\": \"<your External ID>\"",
        ),
        (
            "no-bucket",
            json!({"bucket": format!("{}-nothing", tenant.bucket)}),
            "BucketNotFound",
            "Create it, or correct spec.bucket",
        ),
        ("wrong-region", json!({"region": "eu-west-1"}), "WrongRegion", "Set spec.region to us-east-1"),
        (
            "wrong-owner",
            json!({"expectedBucketOwner": "999999999999"}),
            "PutObjectDenied",
            "is not owned by account 999999999999",
        ),
        (
            "partition",
            json!({"roleARN": other_partition, "region": "cn-north-1"}),
            "InvalidSpec",
            "AssumeRole never crosses partitions",
        ),
    ];
    for (name, change, _, _) in rows {
        tenant.apply_destination(name, change.clone());
    }
    tenant.apply_destination("sound", json!({}));
    for (name, _, reason, remedy) in rows {
        tenant.wait_reason(name, "False", reason);
        let described = tenant.kubectl(&["describe", "recordingdestination", name]).text();
        assert!(
            described.contains(reason) && described.contains(remedy),
            "{name} must say {remedy}:\n{described}"
        );
        assert!(!described.contains(&tenant.external_id) && !described.contains("two words"), "{name}");
    }
    tenant.wait_ready("sound");
}

#[test]
fn a_corrected_secret_is_noticed_without_a_watch() {
    environment_or_skip!();
    let tenant = Tenant::new("mended");
    tenant.apply_destination("acme", json!({}));
    tenant.wait_reason("acme", "False", "SecretNotFound");
    tenant.apply_secret(&tenant.external_id);
    tenant.wait_ready("acme");
}

#[test]
fn an_open_role_is_found_and_recovers_when_corrected() {
    environment_or_skip!();
    let tenant = Tenant::ready("open");
    tenant.customer(&["trust-open"]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
    assert_eq!(tenant.condition("acme", "RoleAssumable").unwrap()["status"], "True");
    assert_eq!(tenant.condition("acme", "ExternalIDEnforced").unwrap()["status"], "False");

    tenant.customer(&["trust-closed", "--external-id", &tenant.external_id]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_ready("acme");

    let reasons = || {
        let events = tenant.get(&["events", "--field-selector=involvedObject.name=acme"]).unwrap();
        events["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["reason"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    wait_for(
        "an Event for the transition",
        || format!("{:?}", reasons()),
        || {
            (reasons().iter().any(|r| r == "ExternalIDNotEnforced")
                && reasons().iter().any(|r| r == "Validated"))
            .then_some(())
        },
    );
}

#[test]
fn suspending_says_so_and_resuming_proves_again() {
    environment_or_skip!();
    let tenant = Tenant::ready("suspended");
    tenant.apply_destination("acme", json!({"suspend": true}));
    tenant.wait_reason("acme", "False", "Suspended");
    tenant.apply_destination("acme", json!({"suspend": false}));
    tenant.wait_ready("acme");
}

#[test]
fn a_tenant_cannot_forge_a_status() {
    environment_or_skip!();
    let tenant = Tenant::new("forged");
    tenant.apply_destination("acme", json!({}));
    tenant.wait_reason("acme", "False", "SecretNotFound");
    let forged = r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Validated","message":"","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1}]}}"#;
    // The administrator's own kubectl is refused too: only the operator's service accounts write status.
    let done = tenant.kubectl(&[
        "patch",
        "recordingdestination",
        "acme",
        "--subresource=status",
        "--type=merge",
        "--patch",
        forged,
    ]);
    assert!(!done.ok && done.stderr.contains("denied"), "{}{}", done.text(), done.stderr);
    let spec = tenant.kubectl(&[
        "patch",
        "recordingdestination",
        "acme",
        "--type=merge",
        "--patch",
        r#"{"spec":{"prefix":"calls/"}}"#,
    ]);
    assert!(spec.ok, "the spec is the tenant's: {}", spec.stderr);
    assert!(kubectl(&["get", "validatingadmissionpolicies"]).ok);
}
