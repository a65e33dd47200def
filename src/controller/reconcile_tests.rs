//! The calls to the API server that a reconciliation costs, against one that the test plays.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use axum::http::{Request, Response};
use futures::channel::mpsc;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::claims::Claims;
use super::context::Context;
use super::metrics::{LimitedExternalIDs, ValidationDurations};
use super::reconcile::validate_if_due;
use crate::aws::{Connection, Examiner, PlatformKey, Sts};
use crate::cluster::{DestinationStore, Events, NamespaceAccounts, NamespaceLimit};
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::ownership::AccountBinding;
use crate::domain::trust::Writes;
use crate::domain::verdict::{EnforcementMode, QuestionLimit, Rules};

pub(super) fn destination(version: &str, suspend: bool) -> Value {
    json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
        "metadata": {
            "namespace": "tenant-acme", "name": "acme", "uid": "1", "resourceVersion": version, "generation": 2,
        },
        "spec": {
            "bucket": "acme-recordings", "region": "us-east-1", "suspend": suspend,
            "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
        },
    })
}

/// An API server with that destination, and the calls that it is asked for. It writes what is of the newest version alone.
fn server(now: Value) -> (Client, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (now, seen) = (Arc::new(now), calls.clone());
    let client = tower::service_fn(move |request: Request<Body>| {
        let (now, seen) = (now.clone(), seen.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let is_event = parts.uri.path().contains("/events");
            let kind = if is_event { "event" } else { "destination" };
            seen.lock().unwrap().push(format!("{} {kind}", parts.method));
            let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
            let version = &sent["metadata"]["resourceVersion"];
            let is_old = parts.method == "PATCH" && *version != now["metadata"]["resourceVersion"];
            let (code, body) = match (is_event, is_old) {
                (true, _) => (201, sent),
                (false, true) => (409, json!({"kind": "Status", "status": "Failure", "code": 409})),
                (false, false) => (200, Value::clone(&now)),
            };
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(client, "default"), calls)
}

/// What a reconciliation works with where the watch shows `seen`, and the calls to an API server that has `now`.
pub(super) fn context(seen: Value, now: Value) -> (Arc<Context>, Arc<Mutex<Vec<String>>>) {
    let (client, calls) = server(now);
    let destinations = DestinationStore::of([serde_json::from_value(seen).unwrap()]);
    let (namespaces, _) = NamespaceAccounts::watch(client.clone(), |_| {});
    let (wake, _woken) = mpsc::unbounded();
    let connection = Connection::new(None);
    let (key, rate) = (PlatformKey::in_directory("no such directory"), NonZeroU32::new(1).unwrap());
    let sts = Sts::new(&connection, "us-east-1", key, rate);
    let principal = "arn:aws:iam::103850359708:user/RingDNA_Web".to_owned();
    let mut registry = Registry::default();
    let context = Context {
        examiner: Examiner::new(connection, sts, principal, None, Writes::Any),
        events: Events::new(client.clone(), "recording-controller"),
        client,
        rules: Rules { partition: "aws".to_owned(), enforcement: EnforcementMode::Require },
        claims: Claims::new(AccountBinding::WhenPresent, namespaces, destinations.clone(), wake),
        namespace_limit: Arc::new(NamespaceLimit::new(500)),
        validations: ConcurrencyLimiter::per_key(1),
        reports: ConcurrencyLimiter::per_key(1),
        validation_durations: ValidationDurations::register(&mut registry),
        limited_ids: LimitedExternalIDs::register(&mut registry),
        questions: QuestionLimit::new(1).into(),
        fleet: Default::default(),
        recent: Default::default(),
        failures: Default::default(),
        destinations,
    };
    (Arc::new(context), calls)
}

/// Reconciles it as the watch shows it, and returns the calls to the API server.
async fn calls(seen: Value, now: Value) -> Vec<String> {
    let (context, calls) = context(seen, now);
    let key = Arc::new(("tenant-acme".to_owned(), "acme".to_owned()));
    assert!(validate_if_due(&key, &context).await.unwrap().is_some(), "it comes again");
    calls.lock().unwrap().clone()
}

#[tokio::test]
async fn a_report_that_needs_no_call_to_aws_costs_one_write_and_no_read() {
    let suspended = || destination("7", true);
    assert_eq!(calls(suspended(), suspended()).await, ["PATCH destination", "POST event"]);
}

#[tokio::test]
async fn where_the_watch_is_behind_a_report_is_made_of_a_fresh_read() {
    let written_meanwhile = calls(destination("7", true), destination("8", true)).await;
    let refused = ["PATCH destination", "GET destination"];
    assert_eq!(written_meanwhile, [&refused[..], &["PATCH destination", "POST event"]].concat());
    // It is to be validated, which takes another permit.
    assert_eq!(calls(destination("7", true), destination("8", false)).await, refused);
}
