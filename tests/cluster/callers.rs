//! Callers of the webhook that are not the API server.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::broker_client::{connect_inside, trusting};
use crate::environment_or_skip;
use crate::logs::audit_log;
use crate::support::{Tenant, get, kubectl, wait_for};

const NAMESPACE: &str = "--namespace=recording-operator";
const WEBHOOK: &str = "recording-operator-webhook.recording-operator.svc";

/// The path in the webhook's configuration, once it is a secret one.
fn secret_path() -> String {
    wait_for("a secret path", String::new, || {
        let configuration = get(&["mutatingwebhookconfiguration", "recording-operator"])?;
        let path = configuration["webhooks"][0]["clientConfig"]["service"]["path"].as_str()?;
        path.starts_with("/inject/").then(|| path.to_owned())
    })
}

/// What a review gets that is posted to one of the webhook's pods.
fn post(pod: &Value, path: &str, review: &Value) -> String {
    let address = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
    let tls = Arc::new(trusting().with_no_client_auth());
    let client = ClientConnection::new(tls, WEBHOOK.try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, connect_inside(address, 8443));
    let body = review.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {WEBHOOK}\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_stranger_at_the_webhook_is_told_nothing_and_the_api_server_is_answered() {
    environment_or_skip!();
    let tenant = Tenant::new("stranger");
    tenant.apply_destination("acme", json!({}));
    let path = secret_path();
    let mut log = File::open(audit_log()).unwrap();
    log.seek(SeekFrom::End(0)).unwrap();
    let injected = "x/recordingdestinations?watch=true&timeoutSeconds=300&x=";
    let review = |namespace: &str| {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "userInfo": {},
            "object": tenant.recorder("recorder"),
        }})
    };
    let pods = get(&[NAMESPACE, "pods", "--selector=app.kubernetes.io/component=webhook"]).unwrap();
    for pod in pods["items"].as_array().unwrap() {
        // Not `/`: the API server calls it until the controller has written a path, and for some minutes it is accepted.
        for wrong in ["/inject", "/inject/0123456789abcdef0123456789abcdef"] {
            for namespace in [tenant.namespace.as_str(), injected] {
                let began = Instant::now();
                let answer = post(pod, wrong, &review(namespace));
                assert!(
                    answer.starts_with("HTTP/1.1 404") && answer.ends_with("not found\n"),
                    "{wrong}: {answer}"
                );
                assert!(began.elapsed() < Duration::from_secs(4), "{wrong}: {:?}", began.elapsed());
            }
        }
        // Whoever knows the path is still held to names.
        let answer = post(pod, &path, &review(injected));
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let answer = post(pod, &path, &review(&tenant.namespace));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    tenant.apply(&tenant.recorder("recorder")).expect_ok();

    let mut called = String::new();
    log.read_to_string(&mut called).unwrap();
    let webhook = "\"username\":\"system:serviceaccount:recording-operator:recording-operator-webhook\"";
    let mut injected =
        called.lines().filter(|line| line.contains(webhook) && line.contains("timeoutSeconds=300"));
    assert_eq!(injected.next(), None, "nothing of it reached the API server");
    let secret = path.trim_start_matches("/inject/");
    for component in ["webhook", "controller"] {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let log = kubectl(&[NAMESPACE, "logs", &selector, "--tail=-1"]).expect_ok().text();
        assert!(!log.is_empty() && !log.contains(secret), "the path is in the log of the {component}");
    }
}
