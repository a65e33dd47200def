//! Sessions: shared, renewed, and ended with the right to them.

use super::*;
use crate::cluster::CopyAge;

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
async fn a_cancelled_request_does_not_cancel_the_others() {
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
    assert_eq!(second.await.unwrap(), Ok("ASIA1".into()));
}

/// As behind the sessions of thousands of other destinations.
#[tokio::test(start_paused = true)]
async fn a_session_that_takes_long_is_issued_once_and_served_when_it_comes() {
    let bench = Bench::new();
    *bench.world.sts_takes.lock().unwrap() = Duration::from_secs(120);
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(110) {
        assert_eq!(bench.key().await, UNDECIDED, "after {:?}", start.elapsed());
        pass(5).await;
    }
    pass(10).await;
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    assert_eq!(bench.world.assumed.load(SeqCst), 1, "it kept its place");
}

/// What is edited while the destination stays Ready, and whether another session is issued for it.
#[tokio::test(start_paused = true)]
async fn an_edit_buys_a_session_only_where_assume_role_is_called_with_something_else() {
    let bench = Bench::new();
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    let mut issued = 1;
    for (what, spec, buys) in [
        ("validation", json!({"validation": {"intervalSeconds": 600}}), false),
        ("service accounts", json!({"serviceAccountNames": ["recorder"]}), false),
        ("storage class", json!({"storageClass": "STANDARD_IA"}), false),
        ("role", json!({"roleARN": "arn:aws:iam::111111111111:role/other"}), true),
        ("bucket", json!({"bucket": "other-recordings"}), true),
        ("prefix", json!({"prefix": "calls/"}), true),
        ("ACL", json!({"objectACL": "None"}), true),
        ("encryption", json!({"encryption": {"type": "S3"}}), true),
        ("duration", json!({"sessionDurationSeconds": 900}), true),
    ] {
        let mut ready = ready("True");
        ready["observedGeneration"] = json!(4);
        let status = json!({"observedGeneration": 4, "conditions": [ready]});
        bench.set_destination(json!({"metadata": {"generation": 4}, "spec": spec, "status": status}));
        issued += usize::from(buys);
        assert!(bench.key().await.is_ok(), "{what}");
        assert_eq!(bench.world.assumed.load(SeqCst), issued, "{what}");
    }
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
async fn losing_ready_ends_credentials_and_recovery_issues_new_ones() {
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
async fn a_pod_without_its_destination_is_refused_until_it_exists_again() {
    let bench = Bench::new();
    *bench.world.destination.lock().unwrap() = None;
    for path in [CREDENTIALS_PATH, DESTINATION_PATH] {
        assert_eq!(bench.get(path, "token-of-recorder-0").await.status, StatusCode::FORBIDDEN, "{path}");
    }
    bench.counted(Denial::DestinationNotFound.into(), 2);

    let unproved = json!({"metadata": {"uid": "another"}, "status": {"conditions": [ready("Unknown")]}});
    bench.set_destination(unproved);
    let document = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    assert!(document.status == StatusCode::OK && document.body.contains("\"Paused\""), "{document:?}");
    assert_eq!(bench.key().await, REFUSED);
    bench.set_destination(json!({"metadata": {"uid": "another"}}));
    let document = bench.get(DESTINATION_PATH, "token-of-recorder-0").await;
    assert!(document.body.contains("\"Active\""), "{document:?}");
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
async fn a_refusal_is_cached_as_well() {
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
async fn while_sts_fails_the_session_is_served_to_its_end_and_logged() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(log.reopen().unwrap()));
    let _logging = tracing::subscriber::set_default(lines.finish());
    let warned = |cause: &str| {
        let warns = |line: &&str| line.contains("WARN") && line.contains("an unexpired one is served");
        let log = std::fs::read_to_string(log.path()).unwrap();
        log.lines().filter(warns).filter(|line| line.contains(&format!("error={cause}"))).count()
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
async fn an_edited_external_id_is_not_sent_until_it_is_proved() {
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
    let told = bench.get(CREDENTIALS_PATH, "token-of-recorder-0").await;
    assert_eq!(told.status, StatusCode::FORBIDDEN);
    assert!(told.body.contains(r#""ExternalIDNotProved""#), "so that the status says why: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_sts_is_not_called_more_often_for_many_callers() {
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
async fn without_an_api_server_only_known_pods_are_served_for_five_minutes() {
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
async fn an_old_copy_of_the_destinations_gets_no_credentials_while_the_api_server_answers() {
    let bench = Bench::new();
    let seconds = Duration::from_secs;
    for (confirmed, answered, expected) in [
        (59, Some(1), Ok("ASIA1".to_owned())),
        (61, Some(1), UNDECIDED),
        (299, None, Ok("ASIA1".to_owned())),
        (301, None, UNDECIDED),
    ] {
        let age = CopyAge { confirmed: seconds(confirmed), answered: answered.map(seconds) };
        *bench.world.age.lock().unwrap() = age;
        assert_eq!(bench.key().await, expected, "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_aws_refuses_is_renewed_once_a_minute() {
    let bench = Bench::new();
    let key_without = async |refused: &str| {
        let request = request(CREDENTIALS_PATH, "token-of-recorder-0").header(REFUSED_KEY_HEADER, refused);
        let seen = bench.send(request.body(Body::empty()).unwrap()).await;
        let document: Value = serde_json::from_str(&seen.body).unwrap();
        document["AccessKeyId"].as_str().unwrap_or(seen.status.as_str()).to_owned()
    };
    assert_eq!(bench.key().await, Ok("ASIA1".into()));
    for (what, refused, expected) in [
        ("another session's", "ASIA0", "ASIA1"),
        ("the one that is held", "ASIA1", "ASIA2"),
        ("one that was renewed already", "ASIA1", "ASIA2"),
        ("the new one, within the minute", "ASIA2", "ASIA2"),
    ] {
        assert_eq!(key_without(refused).await, expected, "{what}");
    }
    pass(60).await;
    *bench.world.sts_fails.lock().unwrap() = Some(NotIssued::Unavailable("no answer in time".into()));
    assert_eq!(key_without("ASIA2").await, "ASIA2", "what is held may serve others while STS is away");
    pass(60).await;
    *bench.world.sts_fails.lock().unwrap() = Some(NotIssued::Denied(Denial::AssumeRoleDenied));
    assert_eq!(key_without("ASIA2").await, "403", "the cause is told instead of a session that is dead");
    assert_eq!(bench.key().await, Ok("ASIA2".into()), "who has not been refused is served");
    *bench.world.sts_fails.lock().unwrap() = None;
    pass(6).await;
    assert!(key_without("ASIA2").await.starts_with("ASIA"), "it recovers");
}
