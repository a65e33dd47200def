//! The watch and the cache, against an API server that the test plays.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Request, Response};
use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::compact::{existence, verdicts};
use super::destination_cache::DestinationCache;
use super::lenient::LenientDestination;
use super::undecodable::UndecodableObjects;
use super::watch::{Change, watch};
use crate::api::RecordingDestination;

/// How an answer goes on after its lines.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Then {
    Ends,
    /// Nothing comes any more, not even the end of the connection.
    IsSilent,
}

/// An API server that gives these answers, one to a watch or list after the other, and then none.
#[derive(Clone, Default)]
pub(super) struct ApiServer {
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

/// Its status, its lines, and what follows them.
type Answer = (u16, Vec<String>, Then);

impl ApiServer {
    pub(super) fn answering(answers: impl IntoIterator<Item = (u16, Vec<Value>, Then)>) -> Self {
        let text = |lines: Vec<Value>| lines.iter().map(|line| format!("{line}\n")).collect();
        let answers = answers.into_iter().map(|(status, lines, then)| (status, text(lines), then));
        ApiServer { answers: Arc::new(Mutex::new(answers.collect())), ..ApiServer::default() }
    }

    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let query = request.uri().query().unwrap_or_default().to_owned();
                // Whether the API server answers at all.
                if query.ends_with("limit=1") {
                    let list = json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string();
                    return Ok(Response::new(list.into()));
                }
                server.asked.lock().unwrap().push(query);
                let answer = server.answers.lock().unwrap().pop_front();
                let Some((status, lines, then)) = answer else { return std::future::pending().await };
                let lines = lines.into_iter().map(Ok::<_, Infallible>);
                let rest = match then {
                    Then::Ends => futures::stream::empty().boxed(),
                    Then::IsSilent => futures::stream::pending().boxed(),
                };
                let body = axum::body::Body::from_stream(futures::stream::iter(lines).chain(rest));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }
}

pub(super) fn destination(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
        "metadata": {"namespace": "tenant-acme", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version},
        "spec": {
            "bucket": "acme-recordings", "region": "us-east-1",
            "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
        },
    })
}

/// One that a later release wrote.
fn undecodable(name: &str, version: &str) -> Value {
    let mut destination = destination(name, version);
    destination["spec"]["objectACL"] = json!("Line\nbreak");
    destination
}

pub(super) fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

pub(super) fn bookmark(version: &str) -> Value {
    event("BOOKMARK", json!({"apiVersion": "v", "kind": "k", "metadata": {"resourceVersion": version}}))
}

pub(super) fn end_of_list(version: &str) -> Value {
    let mut mark = bookmark(version);
    mark["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    mark
}

fn added(names: &[&str]) -> Vec<Value> {
    let added = names.iter().map(|name| event("ADDED", destination(name, "1")));
    added.chain([end_of_list("10")]).collect()
}

/// The changes that come within so many seconds, in words.
async fn seen_within(seconds: u64, server: &ApiServer) -> Vec<String> {
    let name = |object: LenientDestination| match object.0 {
        Ok(destination) => destination.metadata.name.unwrap(),
        Err(skipped) => format!("{skipped}"),
    };
    let changes = watch::<LenientDestination>(server.client(), "RecordingDestination");
    let changes = changes.map(|change| match change {
        Change::Restarted => "restarted".to_owned(),
        Change::Listed(object) => name(object),
        Change::Complete => "complete".to_owned(),
        Change::Applied(object) => format!("+{}", name(object)),
        Change::Deleted(object) => format!("-{}", name(object)),
        Change::Current => "current".to_owned(),
    });
    let end = tokio::time::sleep(Duration::from_secs(seconds));
    changes.take_until(end).collect().await
}

#[tokio::test(start_paused = true)]
async fn a_list_is_streamed_and_then_watched_from_its_end() {
    let server = ApiServer::answering([
        (200, added(&["one", "two"]), Then::IsSilent),
        (200, vec![event("MODIFIED", destination("one", "12")), bookmark("14")], Then::Ends),
        (200, vec![event("DELETED", destination("two", "15"))], Then::IsSilent),
    ]);
    let seen = seen_within(10, &server).await;
    assert_eq!(seen, ["restarted", "one", "two", "complete", "+one", "current", "-two"]);
    let asked = server.asked.lock().unwrap();
    let ends = ["resourceVersion=", "resourceVersion=10", "resourceVersion=14"];
    assert!(asked.iter().zip(ends).all(|(asked, end)| asked.ends_with(end)), "{asked:?}");
    assert!(
        asked[0].contains("sendInitialEvents=true") && !asked[1].contains("sendInitialEvents"),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_streams_no_lists_is_read_in_pages_and_large_ones_in_halves() {
    let refusal =
        json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "Invalid", "code": 422});
    let page = |items: &[&str], next: &str| {
        let items: Vec<_> = items.iter().map(|name| destination(name, "1")).collect();
        vec![json!({"metadata": {"resourceVersion": "10", "continue": next}, "items": items})]
    };
    let large = vec![json!({"metadata": {}, "items": ["x".repeat(9 << 20)]})];
    let server = ApiServer::answering([
        (422, vec![refusal], Then::Ends),
        (200, large, Then::Ends),
        (200, page(&["one"], "next"), Then::Ends),
        (200, page(&["two"], ""), Then::Ends),
        (200, vec![bookmark("11")], Then::IsSilent),
    ]);
    assert_eq!(seen_within(10, &server).await, ["restarted", "one", "two", "complete", "current"]);
    let asked = server.asked.lock().unwrap();
    let parts = ["sendInitialEvents", "limit=50", "limit=25", "continue=next", "resourceVersion=10"];
    assert!(asked.iter().zip(parts).all(|(asked, part)| asked.contains(part)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_to_stream_a_list_holds_for_that_list_alone() {
    let refusal = json!({"kind": "Status", "status": "Failure", "message": "no", "code": 400});
    let page = json!({"metadata": {"resourceVersion": "10"}, "items": [destination("one", "1")]});
    let server = ApiServer::answering([
        (400, vec![refusal], Then::Ends),
        (200, vec![page], Then::Ends),
        (410, vec![json!({"kind": "Status", "status": "Failure", "code": 410})], Then::Ends),
        (200, added(&["one"]), Then::IsSilent),
    ]);
    let seen = seen_within(10, &server).await;
    assert_eq!(seen, ["restarted", "one", "complete", "restarted", "one", "complete"]);
    let asked = server.asked.lock().unwrap();
    assert!(asked[3].contains("sendInitialEvents"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_deleted_during_a_list_does_not_end_the_list() {
    let deleted = vec![
        event("ADDED", destination("one", "1")),
        event("ADDED", destination("two", "1")),
        event("DELETED", destination("one", "9")),
        end_of_list("10"),
    ];
    let server = ApiServer::answering([(200, deleted.clone(), Then::IsSilent)]);
    assert_eq!(seen_within(10, &server).await, ["restarted", "one", "two", "-one", "complete"]);
    let server = ApiServer::answering([(200, deleted, Then::IsSilent)]);
    let (cache, _) = cache(&server, 1).await;
    assert!(cache.get("tenant-acme", "one").is_none() && cache.get("tenant-acme", "two").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_watch_whose_packets_are_lost_is_followed_by_a_new_list() {
    let server = ApiServer::answering([
        (200, added(&["one"]), Then::Ends),
        (200, vec![], Then::IsSilent),
        (200, added(&[]), Then::Ends),
        (200, vec![bookmark("14")], Then::IsSilent),
    ]);
    let seen = seen_within(50, &server).await;
    assert_eq!(seen, ["restarted", "one", "complete", "restarted", "complete", "current"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_ends_early_or_a_version_that_is_too_old_lists_again() {
    let gone =
        json!({"kind": "Status", "status": "Failure", "message": "old", "reason": "Expired", "code": 410});
    let server = ApiServer::answering([
        (200, vec![event("ADDED", destination("one", "1"))], Then::Ends),
        (200, added(&["one"]), Then::Ends),
        (410, vec![gone.clone()], Then::Ends),
        (200, added(&["two"]), Then::Ends),
        (200, vec![event("ERROR", gone)], Then::IsSilent),
        (200, added(&["three"]), Then::IsSilent),
    ]);
    let restarts = seen_within(20, &server).await.join(" ");
    let expected = "restarted one restarted one complete restarted two complete restarted three complete";
    assert_eq!(restarts, expected);
}

/// A cache over such a server, after so many seconds; its watch goes on.
async fn cache(server: &ApiServer, seconds: u64) -> (DestinationCache, UndecodableObjects) {
    let undecodable = UndecodableObjects::register(&mut Registry::default(), "RecordingDestination");
    let (cache, watch) = DestinationCache::watch(server.client(), verdicts, None, undecodable.clone());
    tokio::spawn(watch);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    (cache, undecodable)
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_absent_and_spoils_no_list() {
    let spoiled = event("ADDED", undecodable("two", "1"));
    let server = ApiServer::answering([
        (200, [vec![spoiled], added(&["one", "three"])].concat(), Then::Ends),
        (
            200,
            vec![
                event("MODIFIED", undecodable("one", "12")),
                event("MODIFIED", destination("two", "13")),
                event("DELETED", undecodable("three", "14")),
            ],
            Then::IsSilent,
        ),
    ]);
    let (cache, undecodable) = cache(&server, 1).await;
    assert!(cache.get("tenant-acme", "one").is_none(), "it was decoded before");
    assert!(cache.get("tenant-acme", "two").is_some(), "it can be decoded now");
    assert!(cache.get("tenant-acme", "three").is_none(), "it is deleted");
    assert_eq!(undecodable.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_list_wakes_those_whose_destination_it_changes() {
    let changed = vec![event("ADDED", destination("changed", "2")), event("ADDED", destination("same", "1"))];
    let server = ApiServer::answering([
        (200, added(&["changed", "same", "deleted"]), Then::Ends),
        (200, vec![], Then::IsSilent),
        (200, [changed, added(&["new"])].concat(), Then::IsSilent),
    ]);
    let (cache, _) = cache(&server, 1).await;
    let mut waiters = ["changed", "same", "deleted", "new", "another"]
        .map(|name| (name, cache.changes("tenant-acme", name)));
    let before = cache.get("tenant-acme", "same").unwrap();
    tokio::time::sleep(Duration::from_secs(45)).await;
    let woken =
        waiters.iter_mut().filter_map(|(name, waiter)| waiter.changed().now_or_never().map(|()| *name));
    assert_eq!(woken.collect::<Vec<_>>(), ["changed", "deleted", "new"]);
    assert!(Arc::ptr_eq(&before, &cache.get("tenant-acme", "same").unwrap()), "it is not held twice");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_nothing_confirms_grows_old_while_the_api_server_answers() {
    let server = ApiServer::answering([(200, added(&["one"]), Then::Ends), (200, vec![], Then::IsSilent)]);
    let (cache, _) = cache(&server, 30).await;
    assert_eq!((cache.age().confirmed.as_secs(), cache.age().answered), (30, None), "nobody asks yet");
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(cache.age().confirmed.as_secs(), 65);
    assert!(cache.age().answered.unwrap().as_secs() <= 5, "{:?}", cache.age());
}

#[test]
fn nothing_in_metadata_keeps_a_destination_from_being_decoded() {
    let mut hostile = destination("acme", "812");
    let labels: serde_json::Map<_, _> = (0..60_000).map(|number| (format!("l{number}"), json!(""))).collect();
    let metadata = hostile["metadata"].as_object_mut().unwrap();
    metadata.insert("labels".into(), labels.into());
    metadata.insert(
        "managedFields".into(),
        json!([{"time": "9999-12-31T23:59:59Z", "fieldsV1": {"f:spec": {}}}]),
    );
    metadata.insert("creationTimestamp".into(), json!("9999-12-31T23:59:59Z"));
    metadata.insert("deletionTimestamp".into(), json!("2026-01-01T00:00:00Z"));
    metadata.insert("generation".into(), json!("seven"));
    metadata.insert("finalizers".into(), json!({"of": "another type"}));
    metadata.insert(
        "annotations".into(),
        json!({"recordings.revenue.io/revalidate": "now", "large": "x".repeat(200_000)}),
    );
    let decoded = serde_json::from_value::<LenientDestination>(hostile).unwrap().0.unwrap();
    let kept = serde_json::to_value(&decoded.metadata).unwrap();
    assert_eq!(
        kept,
        json!({
            "namespace": "tenant-acme", "name": "acme", "uid": "uid-acme", "resourceVersion": "812",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {"recordings.revenue.io/revalidate": "now"},
        })
    );
    assert_eq!(decoded.spec.bucket, "acme-recordings");
}

#[test]
fn what_is_said_of_an_undecodable_object_is_one_short_line() {
    for (path, value) in [("objectACL", json!("\u{1b}[31m\n".repeat(1000))), ("bucket", json!(["x"]))] {
        let mut destination = destination("acme", "1");
        destination["spec"][path] = value;
        let error =
            serde_json::from_value::<LenientDestination>(destination).unwrap().0.unwrap_err().to_string();
        assert!(error.starts_with("tenant-acme/acme cannot be decoded: spec: "), "{error}");
        assert!(error.len() < 8 * 1024 && !error.contains(char::is_control), "{error}");
    }
    let bare: LenientDestination = serde_json::from_value(json!({"metadata": {"name": "acme"}})).unwrap();
    assert!(bare.0.unwrap_err().to_string().contains("spec: invalid type: null"));
}

#[test]
fn a_process_keeps_what_it_reads_of_a_destination() {
    let mut whole = destination("acme", "1");
    whole["spec"]["serviceAccountNames"] = json!(["recorder"]);
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "M", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let check = |result: &str| json!({"name": "PutObject", "result": result, "reason": "R", "message": "M", "remedy": "R"});
    whole["status"] = json!({
        "observedGeneration": 1, "conditions": [condition("Ready", "False"), condition("BucketWritable", "True")],
        "checks": [check("Passed"), check("Inconclusive")],
    });
    let kept = |keep: fn(&mut RecordingDestination)| {
        let mut destination: RecordingDestination = serde_json::from_value(whole.clone()).unwrap();
        keep(&mut destination);
        destination
    };
    let controllers = kept(verdicts);
    assert_eq!(controllers.status, Some(serde_json::from_value(whole["status"].clone()).unwrap()));
    assert!(controllers.spec.service_account_names.is_empty());
    let status = kept(super::compact::grants).status.unwrap();
    assert_eq!((status.conditions.len(), status.checks.len()), (1, 0));
    assert_eq!(kept(existence).status, None);
}
