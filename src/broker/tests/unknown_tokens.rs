//! Forged tokens, in large numbers.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::join_all;
use secrecy::SecretString;
use serde_json::json;

use super::bench::{Bench, spelled};
use super::{REFUSED, pass};
use crate::api::CREDENTIALS_PATH;

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_valid_is_not_reviewed() {
    let bench = Bench::new();
    let refusal = bench.get(CREDENTIALS_PATH, "forged-1").await;
    assert_eq!((refusal.status, bench.world.reviews.load(SeqCst)), (StatusCode::FORBIDDEN, 1));
    let unsigned = spelled("token-of-recorder-0").rsplit_once('.').unwrap().0.to_owned();
    for token in ["x", "a.b.c", &unsigned] {
        assert_eq!(bench.get(CREDENTIALS_PATH, token).await, refusal, "{token}");
    }
    assert_eq!(bench.world.reviews.load(SeqCst), 1);
    bench.counted("NotAJWT", 3);
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    assert_eq!(bench.world.reviews.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn no_number_of_forged_tokens_evicts_a_known_pod() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    for number in 0..25_000 {
        bench.get(CREDENTIALS_PATH, &format!("forged-{number}")).await;
    }
    let asked = bench.world.reviews.load(SeqCst);
    bench.world.away.store(true, SeqCst);
    assert_eq!(bench.key().await, Ok("ASIA1".into()), "remembered");
    assert_eq!(bench.world.reviews.load(SeqCst), asked);
    pass(60).await;
    assert_eq!(bench.key().await, Ok("ASIA1".into()), "and let in while the API server is away");
}

#[tokio::test(start_paused = true)]
async fn known_pods_do_not_wait_behind_reviews_of_unknown_tokens() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    *bench.world.review_takes.lock().unwrap() = Duration::from_secs(4);
    let before = bench.world.reviews.load(SeqCst);
    let forged: Vec<_> = (0..100).map(|number| format!("forged-{number}")).collect();
    let flood = join_all(forged.iter().map(|token| bench.get(CREDENTIALS_PATH, token)));
    let known = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.world.reviews.load(SeqCst) - before, 16);
        // One whose review is due again.
        let asked = tokio::time::Instant::now();
        assert_eq!(bench.key().await, Ok("ASIA1".into()));
        asked.elapsed()
    };
    pass(29).await;
    let (seen, waited) = tokio::join!(flood, known);
    assert!(waited <= Duration::from_secs(4), "{waited:?}");
    let refused = seen.iter().filter(|seen| seen.status == StatusCode::FORBIDDEN).count();
    let undecided = seen.iter().filter(|seen| seen.status == StatusCode::SERVICE_UNAVAILABLE).count();
    assert_eq!((refused, undecided), (16, 84), "who waits too long is asked to come again");

    *bench.world.review_takes.lock().unwrap() = Duration::ZERO;
    bench.set_pod("recorder-1", json!({}));
    assert_eq!(bench.get(CREDENTIALS_PATH, "token-of-recorder-1").await.status, StatusCode::OK);
    bench.world.pods.lock().unwrap().clear();
    pass(31).await;
    assert_eq!(bench.key().await, REFUSED, "a known pod's end is still noticed");
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_of_many_callers_delay_no_newcomer_for_long() {
    let bench = Bench::new();
    *bench.world.review_takes.lock().unwrap() = Duration::from_millis(100);
    let identify = async |caller: String, token: String| {
        let token = SecretString::from(spelled(&token));
        bench.broker.grants.identify_for(&caller, &token).await.is_ok()
    };
    let flood = (0..1000).map(|n| identify(format!("@10.0.0.{}", n % 10), format!("forged-{n}")));
    let newcomer = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = tokio::time::Instant::now();
        assert!(identify("@10.0.1.1".to_owned(), "token-of-recorder-0".to_owned()).await);
        began.elapsed()
    };
    let (flooded, took) = tokio::join!(join_all(flood), newcomer);
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert!(!flooded.contains(&true));
    assert!(bench.world.reviews.load(SeqCst) < 200, "of each caller a few wait, the others are turned away");
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_ends_and_a_served_one_does_not() {
    let bench = Bench::new();
    let ends = async |token| {
        let seen = bench.get(CREDENTIALS_PATH, token).await;
        seen.headers.get("connection").is_some_and(|it| it == "close")
    };
    assert!(ends("forged").await);
    assert!(!ends("token-of-recorder-0").await);
}
