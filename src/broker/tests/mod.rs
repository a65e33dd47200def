//! The broker as its callers see it.

mod bench;
mod destination;
mod reports;
mod sessions;
mod silence;
mod unknown_tokens;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures::future::join_all;
use serde_json::{Value, json};
use strum::IntoEnumIterator as _;

use crate::api::{CREDENTIALS_PATH, DESTINATION_PATH, REFUSED_KEY_HEADER};
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
    bench.set_pod("undecodable", json!({"spec": {"initContainers": "none"}}));
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
        ("undecodable", Denial::PodUndecodable),
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
    let explained = [
        Denial::ExternalIDUnusable,
        Denial::ExternalIDNotProved,
        Denial::AssumeRoleDenied,
        Denial::STSRegionDisabled,
    ];
    for denial in explained {
        *bench.world.sts_fails.lock().unwrap() = Some(NotIssued::Denied(denial));
        // One that has no session yet.
        bench.set_destination(json!({"metadata": {"uid": denial.to_string()}}));
        let told = bench.get(CREDENTIALS_PATH, "token-of-recorder-0").await;
        let code: Value = serde_json::from_str(&told.body).unwrap();
        assert_eq!((told.status, &code["code"]), (StatusCode::FORBIDDEN, &json!(denial.to_string())));
        // Who may not have the credentials is not told why nobody has them.
        assert_eq!(bench.get(CREDENTIALS_PATH, "token-of-of-another").await, example, "{denial}");
        *counts.entry(denial).or_default() += 1;
        *counts.entry(Denial::ServiceAccountMismatch).or_default() += 1;
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
async fn only_a_failure_of_the_platform_counts_as_unavailable() {
    let gauge = |result: &str, count| {
        format!("recording_operator_broker_unserved_namespaces{{result=\"{result}\"}} {count}\n")
    };
    let bench = Bench::new();
    bench.set_pod("undecodable", json!({"spec": {"initContainers": "none"}}));
    bench.get(CREDENTIALS_PATH, "token-of-undecodable").await;
    *bench.world.sts_fails.lock().unwrap() = Some(NotIssued::Unavailable("throttled".into()));
    assert_eq!(bench.key().await, UNDECIDED);
    bench.counted("PodUndecodable", 1);
    bench.counted("SessionUnavailable", 1);
    bench.shows(&gauge("PodUndecodable", 1));
    bench.shows(&gauge("SessionUnavailable", 1));

    let bench = Bench::new();
    bench.world.away.store(true, SeqCst);
    assert_eq!(bench.key().await, UNDECIDED);
    bench.counted("Unavailable", 1);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_counts_once_and_for_five_minutes() {
    let bench = Bench::new();
    let shows = |count| {
        let line = format!("recording_operator_broker_unserved_namespaces{{result=\"PodGone\"}} {count}\n");
        bench.shows(&line);
    };
    for pod in 0..20 {
        bench.get(CREDENTIALS_PATH, &format!("token-of-gone-{pod}")).await;
    }
    bench.counted("PodGone", 20);
    shows(1);
    pass(299).await;
    shows(1);
    pass(2).await;
    assert!(!bench.metrics.render().contains("unserved_namespaces{"), "after five minutes");
}
