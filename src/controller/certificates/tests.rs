use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;

/// As much of an API server as the certificates need: objects by name, and optimistic locking.
#[derive(Clone, Default)]
struct Cluster {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    writes: Arc<Mutex<u64>>,
}

type Answer = (StatusCode, Json<Value>);

impl Cluster {
    fn new() -> Self {
        let cluster = Cluster::default();
        let webhooks = json!([{
            "name": "inject.recordings.revenue.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"name": "webhook", "namespace": "operator"}},
        }]);
        cluster.put(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "configuration"}, "webhooks": webhooks,
        }));
        cluster
    }

    fn client(&self) -> Client {
        let secrets = "/api/v1/namespaces/operator/secrets";
        let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        let router = Router::new()
            .route(secrets, post(create))
            .route(&format!("{secrets}/{{name}}"), get(read).put(replace))
            .route(&format!("{configurations}/{{name}}"), get(read).patch(change));
        Client::new(router.with_state(self.clone()), "operator")
    }

    fn put(&self, mut object: Value) -> Value {
        let mut writes = self.writes.lock().unwrap();
        *writes += 1;
        object["metadata"]["resourceVersion"] = writes.to_string().into();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.objects.lock().unwrap().insert(name, object.clone());
        object
    }

    fn named(&self, name: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(name).cloned()
    }

    fn writes(&self) -> u64 {
        *self.writes.lock().unwrap()
    }

    /// The value under a key of a Secret.
    fn pem(&self, secret: &str, key: &str) -> String {
        decoded(&self.named(secret).unwrap()["data"][key])
    }

    /// The CA by which the API server trusts the webhook.
    fn ca_bundle(&self) -> String {
        decoded(&self.named("configuration").unwrap()["webhooks"][0]["clientConfig"]["caBundle"])
    }
}

fn decoded(value: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
}

fn refusal(code: StatusCode, reason: &str) -> Answer {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": reason, "reason": reason,
        "code": code.as_u16(),
    });
    (code, Json(status))
}

async fn read(State(cluster): State<Cluster>, Path(name): Path<String>) -> Answer {
    match cluster.named(&name) {
        Some(object) => (StatusCode::OK, Json(object)),
        None => refusal(StatusCode::NOT_FOUND, "NotFound"),
    }
}

async fn create(State(cluster): State<Cluster>, Json(object): Json<Value>) -> Answer {
    match cluster.named(object["metadata"]["name"].as_str().unwrap()) {
        Some(_) => refusal(StatusCode::CONFLICT, "AlreadyExists"),
        None => (StatusCode::CREATED, Json(cluster.put(object))),
    }
}

async fn replace(
    State(cluster): State<Cluster>,
    Path(name): Path<String>,
    Json(object): Json<Value>,
) -> Answer {
    let version = &cluster.named(&name).unwrap()["metadata"]["resourceVersion"];
    match object["metadata"]["resourceVersion"] == *version {
        true => (StatusCode::OK, Json(cluster.put(object))),
        false => refusal(StatusCode::CONFLICT, "Conflict"),
    }
}

async fn change(State(cluster): State<Cluster>, Path(name): Path<String>, body: String) -> Answer {
    let mut object = cluster.named(&name).unwrap();
    match json_patch::patch(&mut object, &serde_json::from_str::<json_patch::Patch>(&body).unwrap()) {
        Ok(()) => (StatusCode::OK, Json(cluster.put(object))),
        Err(_) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
    }
}

fn config() -> Config {
    Config {
        certificates_namespace: "operator".to_owned(),
        webhook_service: "webhook".to_owned(),
        broker_service: "broker".to_owned(),
        mutating_webhook_configuration: "configuration".to_owned(),
    }
}

fn day(day: i64) -> Timestamp {
    "2030-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * day)
}

fn is_trusted(cluster: &Cluster, service: &str, bundle: &str, now: Timestamp) -> bool {
    let certificate = cluster.pem(&format!("{service}-tls"), "tls.crt");
    x509::tests::is_trusted(&certificate, &format!("{service}.operator.svc"), bundle, now)
}

#[tokio::test]
async fn the_first_reconciliation_writes_everything_and_the_second_nothing() {
    let cluster = Cluster::new();
    reconcile(&cluster.client(), &config(), day(0)).await.unwrap();
    for service in ["webhook", "broker"] {
        assert!(is_trusted(&cluster, service, &cluster.ca_bundle(), day(0)), "{service}");
        assert_eq!(cluster.pem(&format!("{service}-tls"), "ca.crt"), cluster.ca_bundle());
    }
    let writes = cluster.writes();
    reconcile(&cluster.client(), &config(), day(1)).await.unwrap();
    assert_eq!(cluster.writes(), writes);
}

#[tokio::test]
async fn for_fifteen_years_a_ten_day_old_ca_bundle_trusts_the_servers() {
    let cluster = Cluster::new();
    reconcile(&cluster.client(), &config(), day(0)).await.unwrap();
    let (mut authorities, mut servers) = (BTreeSet::new(), BTreeSet::new());
    for now in (10..15 * 365).step_by(10).map(day) {
        let learned = cluster.ca_bundle();
        reconcile(&cluster.client(), &config(), now).await.unwrap();
        for service in ["webhook", "broker"] {
            assert!(is_trusted(&cluster, service, &learned, now), "{service} at {now}");
            assert!(is_trusted(&cluster, service, &cluster.ca_bundle(), now), "{service} at {now}");
            servers.insert(cluster.pem(&format!("{service}-tls"), "tls.crt"));
        }
        authorities.insert(cluster.pem("webhook-ca", "tls.crt"));
    }
    assert_eq!(authorities.len(), 3);
    assert!((180..200).contains(&servers.len()), "one each in sixty days: {}", servers.len());
}

#[tokio::test]
async fn damaged_secrets_and_a_lost_ca_bundle_are_repaired() {
    let cluster = Cluster::new();
    reconcile(&cluster.client(), &config(), day(0)).await.unwrap();
    for (name, pointer) in [
        ("webhook-ca", "/data/tls.key"),
        ("webhook-tls", "/data/tls.crt"),
        ("broker-tls", "/data/ca.crt"),
        ("configuration", "/webhooks/0/clientConfig/caBundle"),
    ] {
        let mut object = cluster.named(name).unwrap();
        *object.pointer_mut(pointer).unwrap() = BASE64_STANDARD.encode("damaged").into();
        cluster.put(object);
        reconcile(&cluster.client(), &config(), day(0)).await.unwrap();
        for service in ["webhook", "broker"] {
            assert!(is_trusted(&cluster, service, &cluster.ca_bundle(), day(0)), "{name}: {service}");
        }
        assert_eq!(cluster.pem("broker-tls", "ca.crt"), cluster.ca_bundle(), "{name}");
    }
}

#[tokio::test]
async fn what_another_controller_wrote_meanwhile_is_never_overwritten() {
    let cluster = Cluster::new();
    reconcile(&cluster.client(), &config(), day(0)).await.unwrap();
    let read = || async {
        CertificateSecret::get(&cluster.client(), "operator", "webhook-ca").await.unwrap().unwrap()
    };
    let (first, second) = (read().await, read().await);
    first.write(&cluster.client()).await.unwrap();
    assert!(second.write(&cluster.client()).await.is_err());
    let new = CertificateSecret::new("operator", "webhook-ca", "Opaque");
    assert!(new.write(&cluster.client()).await.is_err(), "it was created meanwhile");
}

#[tokio::test]
async fn the_servers_get_their_certificates_while_the_configuration_is_missing() {
    let cluster = Cluster::default();
    assert!(reconcile(&cluster.client(), &config(), day(0)).await.is_err());
    let bundle = cluster.pem("broker-tls", "ca.crt");
    assert!(is_trusted(&cluster, "broker", &bundle, day(0)));
}
