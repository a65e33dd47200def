//! What the controller's store and the broker's cache hold beyond the limit of a namespace, and when a change shows in them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::compact::{grants, verdicts};
use super::destination_cache::DestinationCache;
use super::destination_store::DestinationStore;
use super::keyed_changes::DestinationKey;
use super::namespace_limit::NamespaceLimit;
use super::tests::{ApiServer, Then, bookmark, destination, end_of_list, event};
use super::undecodable::UndecodableObjects;

fn undecodable() -> UndecodableObjects {
    UndecodableObjects::register(&mut Registry::default(), "RecordingDestination")
}

/// One that was created in that second.
fn created(name: &str, second: u8) -> Value {
    let mut destination = destination(name, "1");
    destination["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:{second:02}Z"));
    destination["spec"]["serviceAccountNames"] =
        json!((0..64).map(|n| format!("{n:0253}")).collect::<Vec<_>>());
    destination
}

/// The same with a claim.
fn proved(name: &str, second: u8) -> Value {
    let mut destination = created(name, second);
    destination["status"] = json!({"observedGeneration": 1, "establishedTime": "2026-01-01T00:01:00Z"});
    destination
}

/// Lists of which the newest come first, then changes. At the limit of two, `b` and `proved` are beyond, until `a` goes.
fn server() -> ApiServer {
    let listed = [created("b", 9), proved("proved", 8), created("c", 3), created("a", 1)];
    let listed = listed.map(|listed| event("ADDED", listed)).into_iter().chain([end_of_list("10")]);
    let new = [created("new", 20), created("older", 2), proved("also-proved", 30)];
    let new = new.map(|new| event("ADDED", new));
    ApiServer::answering([(200, listed.collect(), Then::IsSilent), (200, new.to_vec(), Then::IsSilent)])
}

const NAMES: [&str; 7] = ["a", "older", "c", "proved", "b", "new", "also-proved"];

#[tokio::test(start_paused = true)]
async fn of_destinations_beyond_the_limit_the_controller_keeps_no_spec() {
    let limit = Arc::new(NamespaceLimit::new(2));
    let (store, triggers) =
        DestinationStore::watch(server().client(), verdicts, limit, undecodable(), |_| {});
    tokio::spawn(triggers.for_each(async |_| {}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept = |name: &str| store.get(&("tenant-acme".to_owned(), name.to_owned())).unwrap();
    let has_spec = NAMES.map(|name| (name, !kept(name).spec.bucket.is_empty()));
    let expected = [true, true, false, true, false, false, true];
    assert_eq!(has_spec.map(|(_, has)| has), expected, "{has_spec:?}");
    assert!(NAMES.iter().all(|name| kept(name).spec.service_account_names.is_empty()));
    assert_eq!(kept("b").spec.role_arn, "arn:aws:iam::111111111111:role/any", "it is not invalid");
}

#[tokio::test(start_paused = true)]
async fn destinations_beyond_the_limit_are_absent_for_the_broker() {
    let cache = |limit| async move {
        let limit = Some(NamespaceLimit::new(limit));
        let (cache, watch) = DestinationCache::watch(server().client(), grants, limit, undecodable());
        tokio::spawn(watch);
        tokio::time::sleep(Duration::from_secs(1)).await;
        cache
    };
    let two = cache(2).await;
    let is_there = NAMES.map(|name| (name, two.get("tenant-acme", name).is_some()));
    let expected = [true, true, false, true, false, false, true];
    assert_eq!(is_there.map(|(_, is_there)| is_there), expected, "{is_there:?}");
    let seven = cache(7).await;
    for name in NAMES {
        let kept = seven.get("tenant-acme", name).expect("it is within the limit");
        let bytes: usize = kept.spec.service_account_names.iter().map(String::len).sum();
        assert!(bytes < 2048, "{name}: {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_forgotten_by_the_limit_though_its_deletion_was_missed() {
    let list = |names: &[(&str, u8)]| -> Vec<Value> {
        let listed = names.iter().map(|(name, second)| event("ADDED", created(name, *second)));
        listed.chain([end_of_list("10")]).collect()
    };
    let server = ApiServer::answering([
        (200, list(&[("a", 1), ("b", 2), ("c", 3)]), Then::Ends),
        (200, vec![], Then::IsSilent),
        (200, list(&[("c", 3), ("d", 4)]), Then::IsSilent),
    ]);
    let limit = Some(NamespaceLimit::new(2));
    let (cache, watch) = DestinationCache::watch(server.client(), grants, limit, undecodable());
    tokio::spawn(watch);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let there = |names: [&str; 2]| names.map(|name| cache.get("tenant-acme", name).is_some());
    assert_eq!((there(["a", "b"]), there(["c", "d"])), ([true; 2], [false; 2]));
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!((there(["a", "b"]), there(["c", "d"])), ([false; 2], [true; 2]));
}

#[tokio::test(start_paused = true)]
async fn a_list_triggers_what_has_changed_once_the_store_has_it() {
    let all = |version: &str, from: usize| -> Vec<Value> {
        let listed = (from..from + 300).map(|number| {
            let version = if number == 200 { version } else { "1" };
            event("ADDED", destination(&format!("d{number}"), version))
        });
        listed.chain([end_of_list("10")]).collect()
    };
    let server = ApiServer::answering([
        (200, all("1", 0), Then::Ends),
        (410, vec![json!({"kind": "Status", "status": "Failure", "code": 410})], Then::Ends),
        (200, all("2", 1), Then::Ends),
        (200, vec![bookmark("11")], Then::IsSilent),
    ]);
    let gone = Arc::new(Mutex::new(Vec::new()));
    let ended = gone.clone();
    let limit = Arc::new(NamespaceLimit::new(500));
    let (store, triggers) =
        DestinationStore::watch(server.client(), verdicts, limit, undecodable(), move |metadata| {
            ended.lock().unwrap().push(metadata.name.clone().unwrap());
        });
    // As the controller does: it reads the store for each trigger before the next one comes.
    let seen = triggers.map(|trigger| found(&store, &trigger));
    let seen: Vec<_> = seen.take_until(tokio::time::sleep(Duration::from_secs(20))).collect().await;
    assert!(seen[..300].iter().all(|(_, version)| version.as_deref() == Some("1")), "{seen:?}");
    let mut changed = seen[300..].to_vec();
    changed.sort();
    let version = |version: &str| Some(version.to_owned());
    assert_eq!(changed, [("d200".to_owned(), version("2")), ("d300".to_owned(), version("1"))]);
    assert_eq!(*gone.lock().unwrap(), ["d0"]);
}

/// The name, and the version that the store has.
fn found(store: &DestinationStore, trigger: &DestinationKey) -> (String, Option<String>) {
    let found = store.get(trigger);
    (trigger.1.clone(), found.and_then(|found| found.metadata.resource_version))
}
