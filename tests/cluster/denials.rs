//! Who gets credentials from the broker: real tokens, before the real API server. One way in, and every way beside it.

use serde_json::{Value, json};

use crate::door::Door;
use crate::environment_or_skip;
use crate::support::{Tenant, wait_for};

impl Tenant {
    fn start(&self, pod: &Value) {
        self.apply(pod).expect_ok();
        let name = format!("pod/{}", pod["metadata"]["name"].as_str().unwrap());
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", &name]).expect_ok();
    }

    fn end(&self, pod: &str) {
        self.kubectl(&["delete", "pod", pod, "--grace-period=1"]).expect_ok();
    }
}

#[test]
fn a_live_injected_pods_own_token_is_the_one_way_in_and_all_refusals_are_the_same() {
    environment_or_skip!();
    let door = Door::open();
    let tenant = Tenant::ready("door");
    tenant.start_recorder("recorder");
    let granted = |token: &str, what: &str| {
        let answer = door.credentials(token);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("AccessKeyId"), "{what}: refused");
    };
    granted(&tenant.pod_token("default", "recorder"), "the pod's own token");
    let refusal = door.ask("GET /v1/credentials", &[]);
    assert!(refusal.starts_with("HTTP/1.1 403"), "{refusal}");
    let refused = |token: &str, what: &str| {
        let answer = door.credentials(token);
        assert!(answer == refusal, "{what}: {}", answer.split(' ').nth(1).unwrap_or_default());
    };

    // Tokens.
    let own = ["--audience=recordings.revenue.io"];
    refused(&tenant.token("default", &own), "bound to no pod");
    refused(&tenant.token("default", &[]), "the API server's audience");
    refused(&tenant.token("default", &["--audience=sts.amazonaws.com"]), "another audience");
    let uid = tenant.get(&["pod", "recorder"]).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let elsewhere =
        ["--bound-object-kind=Pod", "--bound-object-name=recorder", &format!("--bound-object-uid={uid}")];
    refused(&tenant.token("default", &elsewhere), "the pod's, for the API server");
    let secret = ["--bound-object-kind=Secret", "--bound-object-name=acme-external-id"];
    refused(&tenant.token("default", &[&own[..], &secret[..]].concat()), "bound to a Secret");
    let good = tenant.pod_token("default", "recorder");
    refused(&format!("{good}x"), "a forged signature");
    let (head, rest) = good.split_once('.').unwrap();
    refused(&format!("{head}.{}", rest.replacen('e', "f", 1)), "a forged claim");
    refused("", "an empty token");
    for (what, request, headers) in [
        ("two tokens", "GET /v1/credentials", vec![format!("Authorization: Bearer {good}"); 2]),
        ("not a bearer token", "GET /v1/credentials", vec![format!("Authorization: Basic {good}")]),
        (
            "the token in another header",
            "GET /v1/credentials",
            vec![format!("X-Authorization: Bearer {good}")],
        ),
        ("the token in the path", &format!("GET /v1/credentials?token={good}"), vec![]),
        ("another path", "GET /v1/credentials/", vec![format!("Authorization: Bearer {good}")]),
        ("another pod's path", "GET /v1/credentials/other", vec![format!("Authorization: Bearer {good}")]),
        (
            "another method",
            "POST /v1/credentials",
            vec![format!("Authorization: Bearer {good}"), "Content-Length: 0".into()],
        ),
        ("metrics", "GET /metrics", vec![format!("Authorization: Bearer {good}")]),
    ] {
        let answer = door.ask(request, &headers);
        assert!(answer == refusal, "{what}: {}", answer.split(' ').nth(1).unwrap_or_default());
    }

    // Pods.
    let mut plain = tenant.recorder("plain");
    plain["metadata"]["labels"] = json!({});
    tenant.start(&plain);
    refused(&tenant.pod_token("default", "plain"), "a pod of the same service account, not injected");
    let gone = tenant.pod_token("default", "recorder");
    tenant.end("recorder");
    refused(&gone, "a deleted pod");
    tenant.start_recorder("recorder");
    refused(&gone, "a pod created anew under the same name");
    granted(&tenant.pod_token("default", "recorder"), "the new pod");
    let mut done = tenant.recorder("done");
    done["spec"]["restartPolicy"] = json!("Never");
    done["spec"]["containers"][0]["command"] = json!(["true"]);
    tenant.apply(&done).expect_ok();
    let finished = || (tenant.get(&["pod", "done"])?["status"]["phase"] == "Succeeded").then_some(());
    wait_for("a pod that has ended", || tenant.describe(), finished);
    refused(&tenant.pod_token("default", "done"), "a pod that has ended");

    // Destinations.
    tenant.kubectl(&["create", "serviceaccount", "recorder"]).expect_ok();
    tenant.apply_destination("acme", json!({"serviceAccountNames": ["recorder"]}));
    tenant.wait_ready("acme");
    refused(&tenant.pod_token("default", "recorder"), "a service account that the destination does not name");
    let mut named = tenant.recorder("named");
    named["spec"]["serviceAccountName"] = json!("recorder");
    tenant.start(&named);
    let token = tenant.pod_token("recorder", "named");
    granted(&token, "one that it names");
    tenant.apply_destination("acme", json!({"serviceAccountNames": ["recorder"], "suspend": true}));
    let now_refused = |what: &str| {
        let is_refused = || (door.credentials(&token) == refusal).then_some(());
        wait_for(what, || tenant.describe(), is_refused);
    };
    now_refused("suspension");
    tenant.apply_destination("acme", json!({"serviceAccountNames": ["recorder"]}));
    tenant.wait_ready("acme");
    tenant.customer(&["trust-open"]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
    now_refused("a role that lets anybody in");
    tenant.customer(&["trust-closed", "--external-id", &tenant.external_id]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_ready("acme");
    granted(&token, "as before");
    tenant.kubectl(&["delete", "recordingdestination", "acme"]).expect_ok();
    now_refused("a destination that is gone");
}

#[test]
fn a_pod_never_gets_another_namespaces_destination_of_the_same_name() {
    environment_or_skip!();
    let door = Door::open();
    let (rich, poor) = (Tenant::ready("rich"), Tenant::new("poor"));
    rich.start_recorder("recorder");
    // Here `acme` exists, and is not Ready: there is no Secret.
    poor.apply_destination("acme", json!({}));
    poor.start_recorder("recorder");
    let answer = door.credentials(&poor.pod_token("default", "recorder"));
    assert!(answer.starts_with("HTTP/1.1 403"), "it was let in");
    let answer = door.credentials(&rich.pod_token("default", "recorder"));
    assert!(
        answer.contains(&rich.role_arn().split(':').nth(4).unwrap().to_owned()),
        "the account of its own role"
    );
    // Whoever comes second to a role and its External ID.
    let thief = Tenant::new("thief");
    thief.apply_secret(&rich.external_id);
    thief.apply_destination("acme", json!({"bucket": rich.bucket, "roleARN": rich.role_arn()}));
    thief.wait_reason("acme", "False", "DestinationConflict");
    thief.start_recorder("recorder");
    let answer = door.credentials(&thief.pod_token("default", "recorder"));
    assert!(answer.starts_with("HTTP/1.1 403"), "it was let in");
    let document = door.ask(
        "GET /v1/destination",
        &[format!("Authorization: Bearer {}", poor.pod_token("default", "recorder"))],
    );
    assert!(document.contains(&poor.bucket) && !document.contains(&rich.bucket), "{document}");
}
