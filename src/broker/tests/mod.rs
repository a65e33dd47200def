//! The broker as its callers meet it.

mod bench;
mod reports;
mod strangers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures::future::join_all;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

use crate::api::{CREDENTIALS_PATH, DESTINATION_PATH};
use crate::domain::grant::{Denial, NotIssued};
use bench::{Bench, ready, request, signed};

/// Lets time pass.
async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

const REFUSED: Result<String, StatusCode> = Err(StatusCode::FORBIDDEN);
const UNDECIDED: Result<String, StatusCode> = Err(StatusCode::SERVICE_UNAVAILABLE);

#[tokio::test(start_paused = true)]
async fn a_pod_gets_its_destinations_credentials_as_aws_sdks_read_them() {
    let bench = Bench::new();
    let seen = bench.get(CREDENTIALS_PATH, "token-of-recorder-0").await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["cache-control"], "no-store");
    let document: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(document["AccessKeyId"], "ASIA1");
    assert_eq!(document["SecretAccessKey"], "secret");
    assert_eq!(document["Token"], "session token");
    assert_eq!(document["AccountId"], "111111111111");
    assert!(document["Expiration"].as_str().unwrap().ends_with('Z'));
    bench.counted("Served", 1);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_the_same_to_the_last_byte() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()), "what is refused below is granted here");
    let example = bench.get(CREDENTIALS_PATH, "forged-1").await;
    assert_eq!(example.status, StatusCode::FORBIDDEN);

    bench.set_pod("finished", json!({"status": {"phase": "Failed"}}));
    bench.set_pod("replaced", json!({"metadata": {"uid": "another"}}));
    bench.set_pod("plain", json!({"metadata": {"labels": null}}));
    bench.set_pod("no-sidecar", json!({"spec": {"initContainers": null}}));
    bench.set_pod("of-another", json!({"spec": {"serviceAccountName": "other"}}));
    bench.set_pod("nowhere", json!({"metadata": {"annotations": null}}));
    bench.set_pod(
        "elsewhere",
        json!({"metadata": {"annotations": {"recordings.revenue.io/destination": "x"}}}),
    );
    let mut counts = HashMap::from([(Denial::NotAuthenticated, 1)]);
    for (pod, denial) in [
        ("deleted", Denial::PodGone),
        ("finished", Denial::PodFinished),
        ("replaced", Denial::PodReplaced),
        ("plain", Denial::NotInjected),
        ("no-sidecar", Denial::NoSidecar),
        ("of-another", Denial::ServiceAccountMismatch),
        ("nowhere", Denial::NoDestinationNamed),
        ("elsewhere", Denial::DestinationNotFound),
    ] {
        for path in [CREDENTIALS_PATH, DESTINATION_PATH] {
            assert_eq!(bench.get(path, &format!("token-of-{pod}")).await, example, "{pod}, {path}");
            *counts.entry(denial).or_default() += 1;
        }
    }

    for (denial, change) in [
        (Denial::DestinationSuspended, json!({"spec": {"suspend": true}})),
        (Denial::DestinationNotReady, json!({"metadata": {"generation": 4}})),
        (Denial::ServiceAccountNotAllowed, json!({"spec": {"serviceAccountNames": ["archiver"]}})),
    ] {
        bench.set_destination(change);
        assert_eq!(bench.get(CREDENTIALS_PATH, "token-of-recorder-0").await, example, "{denial}");
        *counts.entry(denial).or_default() += 1;
    }
    for denial in [Denial::ExternalIDUnusable, Denial::AssumeRoleDenied] {
        *bench.world.sts_fails.lock().unwrap() = Some(NotIssued::Denied(denial));
        // One that has no session yet.
        bench.set_destination(json!({"metadata": {"uid": denial.to_string()}}));
        assert_eq!(bench.get(CREDENTIALS_PATH, "token-of-recorder-0").await, example, "{denial}");
        *counts.entry(denial).or_default() += 1;
    }
    bench.set_destination(json!({}));

    for (denial, change) in [
        (Denial::Expired, json!({"exp": 1})),
        (Denial::WrongAudience, json!({"aud": ["https://kubernetes.default.svc"]})),
        (Denial::NotBoundToAPod, json!({"kubernetes.io": {"pod": null}})),
        (Denial::NotAServiceAccount, json!({"sub": "system:node:node-1"})),
    ] {
        assert_eq!(bench.get(CREDENTIALS_PATH, &signed(change)).await, example, "{denial}");
        *counts.entry(denial).or_default() += 1;
    }

    let empty = Body::empty;
    for (what, denial, request) in [
        ("no token", Denial::NoToken, Request::get(CREDENTIALS_PATH).body(empty())),
        (
            "two tokens",
            Denial::SeveralTokens,
            request(CREDENTIALS_PATH, "token-of-recorder-0")
                .header("authorization", "Bearer b")
                .body(empty()),
        ),
        ("no bearer", Denial::MalformedToken, request(CREDENTIALS_PATH, "a b").body(empty())),
        (
            "a token that nobody signed as JWT",
            Denial::NotAJWT,
            request(CREDENTIALS_PATH, "eyJh").body(empty()),
        ),
        ("another path", Denial::UnknownRequest, request("/v1/secrets", "token-of-recorder-0").body(empty())),
        ("the root", Denial::UnknownRequest, request("/", "token-of-recorder-0").body(empty())),
        (
            "another method",
            Denial::UnknownRequest,
            request(CREDENTIALS_PATH, "token-of-recorder-0").method(Method::POST).body(empty()),
        ),
    ] {
        assert_eq!(bench.send(request.unwrap()).await, example, "{what}");
        *counts.entry(denial).or_default() += 1;
    }

    for denial in Denial::iter() {
        let times = counts.get(&denial).unwrap_or_else(|| panic!("{denial} has no row here"));
        bench.counted(denial.into(), *times);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_at_once_make_one_review_and_one_assume_role() {
    let bench = Bench::new();
    let keys = join_all((0..1000).map(|_| bench.key())).await;
    assert!(keys.iter().all(|key| key.as_deref() == Ok("ASIA1")));
    assert_eq!(bench.world.assumed.load(SeqCst), 1);
    assert_eq!(bench.world.reviews.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_at_once_make_a_review_each_and_one_assume_role() {
    let bench = Bench::new();
    let names: Vec<_> = (0..1000).map(|number| format!("token-of-recorder-{number}")).collect();
    for name in &names {
        bench.set_pod(name.strip_prefix("token-of-").unwrap(), json!({}));
    }
    for _ in 0..2 {
        let seen = join_all(names.iter().map(|token| bench.get(CREDENTIALS_PATH, token))).await;
        assert!(seen.iter().all(|seen| seen.body.contains("\"ASIA1\"")));
        assert_eq!(bench.world.assumed.load(SeqCst), 1);
        assert_eq!(bench.world.reviews.load(SeqCst), 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_does_not_take_the_others_along() {
    let bench = Arc::new(Bench::new());
    let call = || {
        tokio::spawn({
            let bench = bench.clone();
            async move { bench.key().await }
        })
    };
    let (first, second) = (call(), call());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.world.assumed.load(SeqCst), 1, "one asks, the other waits");
    first.abort();
    assert_eq!(second.await.unwrap(), Ok("ASIA2".into()));
}

#[tokio::test(start_paused = true)]
async fn pods_of_one_destination_share_a_session_until_it_is_renewed_early() {
    let bench = Bench::new();
    bench.set_pod("recorder-1", json!({}));
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    let other = bench.get(CREDENTIALS_PATH, "token-of-recorder-1").await;
    assert!(other.body.contains("\"ASIA1\""));
    pass(3600 * 59 / 100).await;
    assert_eq!(bench.key().await, Ok("ASIA1".into()), "before the renewal");
    pass(3600 * 12 / 100).await;
    assert_eq!(bench.key().await, Ok("ASIA2".into()), "well before the end");
}

#[tokio::test(start_paused = true)]
async fn no_credentials_from_the_moment_that_ready_is_lost_and_new_ones_after_recovery() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    for status in ["False", "Unknown"] {
        bench.set_destination(json!({"status": {"conditions": [ready(status)]}}));
        assert_eq!(bench.key().await, REFUSED, "{status}");
    }
    *bench.world.destination.lock().unwrap() = None;
    assert_eq!(bench.key().await, REFUSED, "deleted");

    let mut recovered = ready("True");
    recovered["lastTransitionTime"] = json!("2026-01-02T00:00:00Z");
    bench.set_destination(json!({"status": {"conditions": [recovered]}}));
    assert_eq!(bench.key().await, Ok("ASIA2".into()), "the customer may have revoked older sessions");
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_destination_goes_before_it_starts_is_refused_until_there_is_one_again() {
    let bench = Bench::new();
    *bench.world.destination.lock().unwrap() = None;
    for path in [CREDENTIALS_PATH, DESTINATION_PATH] {
        assert_eq!(bench.get(path, "token-of-recorder-0").await.status, StatusCode::FORBIDDEN, "{path}");
    }
    bench.counted(Denial::DestinationNotFound.into(), 2);

    let unproved = json!({"metadata": {"uid": "another"}, "status": {"conditions": [ready("Unknown")]}});
    bench.set_destination(unproved);
    let told = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    assert!(told.status == StatusCode::OK && told.body.contains("\"Paused\""), "{told:?}");
    assert_eq!(bench.key().await, REFUSED);
    bench.set_destination(json!({"metadata": {"uid": "another"}}));
    let told = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    assert!(told.body.contains("\"Active\""), "{told:?}");
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    assert_eq!(bench.world.reviews.load(SeqCst), 1, "at once, though the token is known");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_gets_nothing_after_thirty_seconds() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    bench.world.pods.lock().unwrap().clear();
    pass(31).await;
    assert_eq!(bench.key().await, REFUSED);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_as_well() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.get(CREDENTIALS_PATH, "forged-1").await;
    }
    assert_eq!(bench.world.reviews.load(SeqCst), 1);
    pass(31).await;
    bench.get(CREDENTIALS_PATH, "forged-1").await;
    assert_eq!(bench.world.reviews.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn while_sts_fails_the_session_is_served_for_as_long_as_it_lives_and_the_log_says_so() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(log.reopen().unwrap()));
    let _logging = tracing::subscriber::set_default(lines.finish());
    let warned = |cause: &str| {
        let warns = |line: &&str| line.contains("WARN") && line.contains("one that still lives is served");
        let log = std::fs::read_to_string(log.path()).unwrap();
        log.lines().filter(warns).filter(|line| line.contains(&format!("cause={cause}"))).count()
    };
    let failures =
        [NotIssued::Unavailable("no answer in time".into()), NotIssued::Denied(Denial::AssumeRoleDenied)];
    for (failure, at_last) in failures.into_iter().zip([UNDECIDED, REFUSED]) {
        let bench = Bench::new();
        assert_eq!(bench.key().await, Ok("ASIA1".into()));
        let cause = failure.to_string();
        *bench.world.sts_fails.lock().unwrap() = Some(failure);
        assert_eq!((bench.key().await, warned(&cause)), (Ok("ASIA1".into()), 0), "not due");
        pass(3000).await;
        assert_eq!((bench.key().await, warned(&cause)), (Ok("ASIA1".into()), 1), "due, and still alive");
        pass(500).await;
        assert_eq!(bench.key().await, Ok("ASIA1".into()));
        pass(60).await;
        assert_eq!(bench.key().await, at_last, "in its last minute");
        *bench.world.sts_fails.lock().unwrap() = None;
        pass(6).await;
        assert!(bench.key().await.is_ok(), "and recovers");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edited_external_id_is_sent_when_it_is_proved_and_until_then_the_session_is_served() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    *bench.world.secret_version.lock().unwrap() = "813".to_owned();
    pass(3000).await;
    assert_eq!(bench.key().await, Ok("ASIA1".into()), "due, and still alive");
    assert_eq!(bench.world.assumed.load(SeqCst), 1, "what is not proved is not sent");
    bench.set_destination(json!({"status": {"externalIDSecretVersion": "813"}}));
    assert_eq!(bench.key().await, Ok("ASIA2".into()));

    *bench.world.secret_version.lock().unwrap() = "814".to_owned();
    pass(3600).await;
    assert_eq!(bench.key().await, UNDECIDED, "the tenant is not refused: it is for us to look");
}

#[tokio::test(start_paused = true)]
async fn a_failing_sts_is_not_asked_more_often_for_being_asked_by_many() {
    let bench = Bench::new();
    *bench.world.sts_fails.lock().unwrap() = Some(NotIssued::Unavailable("throttled".into()));
    for key in join_all((0..100).map(|_| bench.key())).await {
        assert_eq!(key, UNDECIDED);
    }
    assert_eq!(bench.key().await, UNDECIDED);
    assert_eq!(bench.world.assumed.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_life_is_neither_served_nor_kept() {
    let bench = Bench::new();
    bench.world.session_seconds.store(30, SeqCst);
    assert_eq!(bench.key().await, UNDECIDED);
    bench.world.session_seconds.store(3600, SeqCst);
    assert_eq!(bench.key().await, Ok("ASIA2".into()));
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_known_pods_are_served_for_five_minutes_and_nobody_new() {
    let bench = Bench::new();
    bench.set_pod("recorder-1", json!({}));
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    bench.get(CREDENTIALS_PATH, "forged-1").await;

    bench.world.away.store(true, SeqCst);
    let unknown = bench.get(CREDENTIALS_PATH, "token-of-recorder-1").await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unknown.headers["retry-after"], "5");
    for _ in 0..4 {
        pass(60).await;
        assert_eq!(bench.key().await, Ok("ASIA1".into()));
    }
    let denied = bench.get(CREDENTIALS_PATH, "forged-1").await;
    assert_eq!(denied, unknown, "a token refused before is as unknown");
    pass(61).await;
    assert_eq!(bench.key().await, UNDECIDED);

    bench.world.away.store(false, SeqCst);
    pass(6).await;
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    bench.counted("Unavailable", 3);
}

#[tokio::test(start_paused = true)]
async fn suspending_works_while_the_api_server_is_away() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    bench.world.away.store(true, SeqCst);
    pass(60).await;
    bench.set_destination(json!({"spec": {"suspend": true}}));
    assert_eq!(bench.key().await, REFUSED);
}

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

/// Asks for the document as `recorder-0`, which holds the version of that tag, and waits 15 s for news.
async fn wait_for_news(bench: &Bench, tag: &str) -> (bench::Seen, u64) {
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
    tokio::join!(wait_for_news(bench, tag), change).0
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_news_hears_each_within_the_second_and_of_others_destinations_nothing() {
    let bench = Bench::new();
    let first = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    let tag = first.headers["etag"].to_str().unwrap();
    let news = |seen: &bench::Seen| serde_json::from_str::<Value>(&seen.body).unwrap_or_default();
    let (seen, waited) = wait_for_news(&bench, tag).await;
    assert_eq!((seen.status, waited), (StatusCode::NOT_MODIFIED, 15), "nothing happens");
    let (seen, waited) = wait_while(&bench, tag, || bench.world.changed.send_replace(())).await;
    assert_eq!((seen.status, waited), (StatusCode::NOT_MODIFIED, 15), "somebody else's is edited");
    let resync = json!({"metadata": {"resourceVersion": "99"}});
    let (seen, waited) = wait_while(&bench, tag, || bench.set_destination(resync)).await;
    assert_eq!((seen.status, waited), (StatusCode::NOT_MODIFIED, 15), "a write that tells nothing");

    let edited = json!({"spec": {"bucket": "other-recordings"}});
    let (seen, waited) = wait_while(&bench, tag, || bench.set_destination(edited)).await;
    assert_eq!((&news(&seen)["bucket"], waited), (&json!("other-recordings"), 7));
    bench.set_destination(json!({}));
    let suspended = json!({"spec": {"suspend": true}});
    let (seen, waited) = wait_while(&bench, tag, || bench.set_destination(suspended)).await;
    assert_eq!((&news(&seen)["state"], waited), (&json!("Paused"), 7));
    let (seen, waited) = wait_for_news(&bench, tag).await;
    assert_eq!((&news(&seen)["state"], waited), (&json!("Paused"), 0), "what happened meanwhile");
    bench.set_destination(json!({}));

    let deleted = || {
        *bench.world.destination.lock().unwrap() = None;
        bench.world.changed.send_replace(());
    };
    let (seen, waited) = wait_while(&bench, tag, deleted).await;
    assert_eq!((seen.status, waited), (StatusCode::FORBIDDEN, 7), "deleted");
    bench.set_destination(json!({}));
    let renewed = || drop(bench.authorities.send_replace("another CA".to_owned()));
    let (seen, waited) = wait_while(&bench, tag, renewed).await;
    assert_eq!((&news(&seen)["caBundle"], waited), (&json!("another CA"), 7));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_a_request_may_take_nor_unasked() {
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
