//! The destination document, and the long poll for a new one.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_document_follows_the_destination_and_the_ca_and_is_sent_once() {
    let bench = Bench::new();
    let first = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    let document: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!((&document["state"], &document["bucket"]), (&json!("Active"), &json!("acme-recordings")));
    let tag = first.headers["etag"].to_str().unwrap().to_owned();

    let again = |tag: String| {
        let request = request(DESTINATION_PATH, "token-of-recorder-0").header("if-none-match", tag);
        bench.send(request.body(Body::empty()).unwrap())
    };
    let same = again(tag.clone()).await;
    assert_eq!((same.status, same.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(same.headers["etag"], tag.as_str());
    bench.counted("NotModified", 1);

    bench.authorities.send_replace("another CA".to_owned());
    let changed = again(tag).await;
    assert_eq!(changed.status, StatusCode::OK);
    let document: Value = serde_json::from_str(&changed.body).unwrap();
    assert_eq!(document["caBundle"], json!("another CA"));

    bench.set_destination(json!({"status": {"conditions": [ready("False")]}}));
    let paused = again(changed.headers["etag"].to_str().unwrap().to_owned()).await;
    let document: Value = serde_json::from_str(&paused.body).unwrap();
    assert_eq!((&document["state"], &document["reason"]), (&json!("Paused"), &json!("R: M")));
}

/// Requests the document as `recorder-0`, which has the version with that tag, and waits 15 s for a change.
async fn wait_for_change(bench: &Bench, tag: &str) -> (bench::Seen, u64) {
    let asked = tokio::time::Instant::now();
    let request = request(DESTINATION_PATH, "token-of-recorder-0");
    let request = request.header("if-none-match", tag).header("prefer", "wait=15");
    let seen = bench.send(request.body(Body::empty()).unwrap()).await;
    (seen, asked.elapsed().as_secs())
}

/// The same, while something happens after seven seconds.
async fn wait_while(bench: &Bench, tag: &str, change: impl FnOnce()) -> (bench::Seen, u64) {
    let change = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        change();
    };
    tokio::join!(wait_for_change(bench, tag), change).0
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_answers_own_changes_within_a_second_and_no_others() {
    let bench = Bench::new();
    let first = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    let tag = first.headers["etag"].to_str().unwrap();
    let document_in = |seen: &bench::Seen| serde_json::from_str::<Value>(&seen.body).unwrap_or_default();
    let (seen, waited) = wait_for_change(&bench, tag).await;
    assert_eq!((seen.status, waited), (StatusCode::NOT_MODIFIED, 15), "nothing happens");
    let others = ("tenant-acme".to_owned(), "another".to_owned());
    let (seen, waited) = wait_while(&bench, tag, || bench.world.changed.notify(&others)).await;
    assert_eq!((seen.status, waited), (StatusCode::NOT_MODIFIED, 15), "somebody else's is edited");
    let resync = json!({"metadata": {"resourceVersion": "99"}});
    let (seen, waited) = wait_while(&bench, tag, || bench.set_destination(resync)).await;
    assert_eq!((seen.status, waited), (StatusCode::NOT_MODIFIED, 15), "a write that changes nothing");

    let edited = json!({"spec": {"bucket": "other-recordings"}});
    let (seen, waited) = wait_while(&bench, tag, || bench.set_destination(edited)).await;
    assert_eq!((&document_in(&seen)["bucket"], waited), (&json!("other-recordings"), 7));
    bench.set_destination(json!({}));
    let suspended = json!({"spec": {"suspend": true}});
    let (seen, waited) = wait_while(&bench, tag, || bench.set_destination(suspended)).await;
    assert_eq!((&document_in(&seen)["state"], waited), (&json!("Paused"), 7));
    let (seen, waited) = wait_for_change(&bench, tag).await;
    assert_eq!((&document_in(&seen)["state"], waited), (&json!("Paused"), 0), "what happened meanwhile");
    bench.set_destination(json!({}));

    let deleted = || {
        *bench.world.destination.lock().unwrap() = None;
        bench.world.changed.notify(&bench::acme());
    };
    let (seen, waited) = wait_while(&bench, tag, deleted).await;
    assert_eq!((seen.status, waited), (StatusCode::FORBIDDEN, 7), "deleted");
    bench.set_destination(json!({}));
    let renewed = || drop(bench.authorities.send_replace("another CA".to_owned()));
    let (seen, waited) = wait_while(&bench, tag, renewed).await;
    assert_eq!((&document_in(&seen)["caBundle"], waited), (&json!("another CA"), 7));
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_longer_than_its_limit_or_without_asking_to() {
    let bench = Bench::new();
    let first = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    for (prefer, waited) in [
        (None, 0),
        (Some("wait=3"), 3),
        (Some("respond-async, wait=3"), 3),
        (Some("wait=999999"), 15),
        (Some("wait=x"), 0),
    ] {
        let asked = tokio::time::Instant::now();
        let mut request = request(DESTINATION_PATH, "token-of-recorder-0");
        request = request.header("if-none-match", &first.headers["etag"]);
        if let Some(prefer) = prefer {
            request = request.header("prefer", prefer);
        }
        let seen = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (seen.status, asked.elapsed().as_secs()),
            (StatusCode::NOT_MODIFIED, waited),
            "{prefer:?}"
        );
    }
}
