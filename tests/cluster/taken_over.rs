//! What the controller may write with its rights: what it does today, and nothing else. The group lets every call pass
//! RBAC, so that only the policies refuse; they look at the name.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Done, get, kubectl, kubectl_with};

const CONTROLLER: &str = "--as=system:serviceaccount:recording-operator:recording-operator-controller";
const OF_ALL_RIGHTS: &str = "--as-group=system:masters";
const CONFIGURATION: &str = "mutatingwebhookconfiguration/recording-operator";

/// Patches the configuration of the webhook, and leaves it as it was.
fn patch_webhook(caller: &[&str], path: &str, value: Value) -> Done {
    let patch = format!("--patch={}", json!([{"op": "add", "path": path, "value": value}]));
    let arguments = ["patch", CONFIGURATION, "--type=json", "--dry-run=server", &patch];
    kubectl(&[&arguments[..], caller].concat())
}

#[test]
fn the_controller_changes_only_ca_and_path_of_its_webhook() {
    environment_or_skip!();
    let controller = [CONTROLLER, OF_ALL_RIGHTS];
    let client = |field: &str| format!("/webhooks/0/clientConfig/{field}");
    // The API server validates a CA before the policy sees it, so this is the one that is there.
    let configuration = get(&[CONFIGURATION]).unwrap();
    let authorities = configuration["webhooks"][0]["clientConfig"]["caBundle"].clone();
    assert!(authorities.is_string(), "{configuration}");
    patch_webhook(&controller, &client("caBundle"), authorities).expect_ok();
    patch_webhook(&controller, &client("service/path"), json!("/inject/elsewhere")).expect_ok();

    for (what, path, value) in [
        ("rules", "/webhooks/0/rules/0/resources".to_owned(), json!(["pods", "secrets"])),
        ("a Service", client("service/namespace"), json!("default")),
        ("a URL", "/webhooks/0/clientConfig".to_owned(), json!({"url": "https://elsewhere.example"})),
        ("a selector", "/webhooks/0/objectSelector".to_owned(), json!({})),
        ("a failure policy", "/webhooks/0/failurePolicy".to_owned(), json!("Ignore")),
        ("a name", "/webhooks/0/name".to_owned(), json!("other.recordings.revenue.io")),
        ("an annotation", "/metadata/annotations".to_owned(), json!({"a": "b"})),
    ] {
        let refused = patch_webhook(&controller, &path, value.clone());
        assert!(!refused.ok, "{what} was let through");
        assert!(
            refused.stderr.contains("changes only webhooks[*].clientConfig.caBundle"),
            "{what}: {}",
            refused.stderr
        );
        patch_webhook(&[], &path, value).expect_ok();
    }
}

#[test]
fn the_controller_writes_no_secrets_but_its_own_and_no_tokens() {
    environment_or_skip!();
    let create = |namespace: &str, name: &str, kind: &str, caller: &[&str]| {
        let annotations = json!({"kubernetes.io/service-account.name": "default"});
        let pair = json!({"tls.crt": "", "tls.key": ""});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "data": if kind == "kubernetes.io/tls" { pair } else { json!({}) },
        });
        kubectl_with(&[&["create", "--dry-run=server", "--filename=-"], caller].concat(), &secret.to_string())
    };
    let controller = [CONTROLLER, OF_ALL_RIGHTS];
    let token = "kubernetes.io/service-account-token";
    // Its other Secrets are there already, so that a create of theirs conflicts once the policies have passed it.
    let tls = "recording-operator-webhook-tls";
    let existing = create("recording-operator", tls, "kubernetes.io/tls", &controller);
    assert!(existing.stderr.contains("already exists"), "{}", existing.stderr);
    for (namespace, name, kind) in [
        ("recording-operator", tls, token),
        ("recording-operator", "recording-operator-webhook-ca", token),
        ("recording-operator", "other", "Opaque"),
        ("default", "recording-operator-webhook-ca", "Opaque"),
    ] {
        let refused = create(namespace, name, kind, &controller);
        assert!(!refused.ok, "{namespace}/{name} of type {kind} was let through");
        assert!(refused.stderr.contains("writes only the Secrets"), "{namespace}/{name}: {}", refused.stderr);
        if name != tls {
            let other = create(namespace, name, kind, &[]);
            assert!(other.ok || other.stderr.contains("already exists"), "{}", other.stderr);
        }
    }
}

#[test]
fn neither_controller_nor_broker_writes_events_of_others() {
    environment_or_skip!();
    for account in ["controller", "broker"] {
        let account = format!("--as=system:serviceaccount:recording-operator:recording-operator-{account}");
        let publish = |controller: &str, caller: &[&str]| {
            let event = json!({
                "apiVersion": "events.k8s.io/v1", "kind": "Event",
                "metadata": {"generateName": "taken-over-", "namespace": "default"},
                "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Tested", "action": "Test",
                "reportingController": controller, "reportingInstance": "a", "note": "a",
                "regarding": {"kind": "Namespace", "name": "default", "namespace": "default"},
            });
            let arguments = ["create", "--dry-run=server", "--filename=-"];
            kubectl_with(&[&arguments[..], caller].concat(), &event.to_string())
        };
        publish("recording-controller", &[&account]).expect_ok();
        let refused = publish("kubelet", &[&account]);
        assert!(!refused.ok && refused.stderr.contains("Events of their own only"), "{}", refused.stderr);
        publish("kubelet", &[]).expect_ok();
    }
}
