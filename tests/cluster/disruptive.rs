//! Tests that break what others stand on: run alone, and last.

use serde_json::json;

use crate::environment_or_skip;
use crate::support::{Tenant, kubectl, kubectl_with, wait_for};

const NAMESPACE: &str = "--namespace=recording-operator";

#[test]
fn a_wrong_platform_key_is_the_platforms_fault_and_takes_no_proof_away() {
    environment_or_skip!();
    let proved = Tenant::ready("proved");
    let secret =
        kubectl(&[NAMESPACE, "get", "secret", "recording-operator-aws", "--output=json"]).expect_ok().text();
    let restore = Restore(secret);
    kubectl(&[
        NAMESPACE,
        "patch",
        "secret",
        "recording-operator-aws",
        "--patch",
        r#"{"stringData":{"accessKeyID":"AKIANOTAKEYOFOURS00"}}"#,
    ])
    .expect_ok();

    // The kubelet hands a changed Secret on within about a minute.
    let inconclusive = || {
        proved.revalidate("acme");
        let destination = proved.get(&["recordingdestination", "acme"])?;
        let checks = destination["status"]["checks"].as_array()?.clone();
        checks.into_iter().find(|c| {
            c["name"] == "AssumeRole"
                && c["result"] == "Inconclusive"
                && c["reason"] == "PlatformCredentialsInvalid"
        })
    };
    wait_for("the check to be Inconclusive", || proved.describe(), inconclusive);
    assert_eq!(proved.condition("acme", "Ready").unwrap()["status"], "True", "a proof stands");

    let fresh = Tenant::new("unproved");
    fresh.apply_secret(&fresh.external_id);
    fresh.apply_destination("acme", json!({}));
    fresh.wait_reason("acme", "Unknown", "PlatformCredentialsInvalid");

    drop(restore);
    fresh.wait_ready("acme");
}

/// Puts the platform's key back, also when the test fails.
struct Restore(String);

impl Drop for Restore {
    fn drop(&mut self) {
        kubectl_with(&["replace", "--force", "--filename=-"], &self.0);
    }
}
