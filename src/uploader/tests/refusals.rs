//! What S3 refuses of some recordings never keeps the others waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::fakes::{Bench, Fault};
use crate::domain::delivery::Sizes;

/// Time from when a recording is due until S3 has been asked to take it.
const FIRST_TRY: Duration = Duration::from_secs(5);
/// Recordings of more than a buffer go in parts.
const SIZES: Sizes = Sizes { whole: 256 * 1024, part: 256 * 1024 };

fn large() -> String {
    "0123456789".repeat(27_000)
}

/// Has S3 give this answer to each request to store a recording of that name.
fn refuse(bench: &Bench, name: &str, until: Option<Instant>, fault: &Fault) {
    let calls = ["PUT", "CREATE"].map(|call| (format!("{call} calls/{name}"), until, fault.clone()));
    bench.world.borrow_mut().standing.extend(calls);
}

/// How often S3 was asked to store the recording of that name.
fn tries(bench: &Bench, name: &str) -> usize {
    let is_try =
        |call: &&String| [format!("PUT calls/{name}"), format!("CREATE calls/{name}")].contains(call);
    bench.world.borrow().calls.iter().filter(is_try).count()
}

#[tokio::test(start_paused = true)]
async fn refused_recordings_keep_no_good_one_waiting() {
    for (refused, content, good) in [(3, large(), 5), (20, "sound".to_owned(), 108)] {
        for fault in [
            Fault::Refused(403, "AccessDenied"),
            Fault::Refused(400, "KMS.DisabledException"),
            Fault::Refused(500, "InternalError"),
            Fault::RequestLost,
        ] {
            Bench::run(async |mut bench| {
                bench.sizes = SIZES;
                for number in 0..refused {
                    refuse(&bench, &format!("bad{number}.wav"), None, &fault);
                    bench.record(&format!("bad{number}.wav"), &content);
                }
                bench.start();
                bench.wait(600).await;
                let came = Instant::now();
                for number in 0..good {
                    bench.record(&format!("good{number}.wav"), "sound");
                }
                bench.until("the good ones", |bench| bench.world.borrow().objects.len() == good).await;
                assert!(came.elapsed() < FIRST_TRY, "{fault:?} of {refused}: {:?}", came.elapsed());
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_all_is_asked_once_a_second_and_then_takes_everything() {
    Bench::run(async |mut bench| {
        let end = Instant::now() + Duration::from_secs(3600);
        refuse(&bench, "", Some(end), &Fault::Refused(403, "AccessDenied"));
        for number in 0..200 {
            bench.record(&format!("{number}.wav"), "sound");
        }
        bench.start();
        bench.wait(600).await;
        bench.news();
        bench.wait(600).await;
        let asked = bench.news().len();
        assert!((300..=610).contains(&asked), "{asked} requests in ten minutes");
        tokio::time::sleep_until(end).await;
        bench.until("all", |bench| bench.world.borrow().objects.len() == 200).await;
        assert!(end.elapsed() < Duration::from_secs(70), "{:?}", end.elapsed());
        assert!(bench.drains().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pods_end_begins_with_requests_passing_and_short_waits() {
    for fault in [Fault::Refused(403, "AccessDenied"), Fault::Refused(503, "SlowDown")] {
        Bench::run(async |mut bench| {
            bench.sizes = SIZES;
            refuse(&bench, "", Some(Instant::now() + Duration::from_secs(3600)), &fault);
            let long = large();
            for number in 0..40 {
                bench.record(&format!("{number}.wav"), if number % 8 == 0 { &long } else { "sound" });
            }
            bench.start();
            tokio::time::sleep(Duration::from_secs(3599)).await;
            let asked = Instant::now();
            assert!(bench.drains().await, "{fault:?}");
            assert!(asked.elapsed() < Duration::from_secs(10), "{fault:?} took {:?}", asked.elapsed());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_session_one_question_is_asked_for_all_recordings() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().no_sessions = true;
        for number in 0..100 {
            bench.record(&format!("{number}.wav"), "sound");
        }
        bench.start();
        bench.wait(3600).await;
        let asked = bench.world.borrow().turned_away;
        assert!((60..200).contains(&asked), "{asked} questions in an hour");
        assert_eq!(bench.calls(), [""; 0]);
        bench.world.borrow_mut().no_sessions = false;
        bench.until("all", |bench| bench.world.borrow().objects.len() == 100).await;
        assert_eq!(bench.calls().len(), 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_end_has_its_cause_in_the_termination_message() {
    Bench::run(async |mut bench| {
        refuse(&bench, "bad.wav", None, &Fault::Refused(403, "AccessDenied"));
        bench.record("bad.wav", "sound");
        bench.record("good.wav", "sound");
        bench.record("bad.json", "{}");
        bench.start();
        bench.until_delivered("good.wav", "sound").await;
        assert!(!bench.drains().await);
        let message = bench.termination_message();
        let expected =
            "2 recordings (7 bytes) are not uploaded (S3 answered PutObject with 403 AccessDenied)";
        assert!(message.starts_with(expected), "{message}");
    })
    .await;
}

/// A recording, and what S3 does to it.
#[derive(Clone, Debug)]
struct Case {
    is_large: bool,
    /// Seconds after the start.
    comes: u64,
    /// For how many seconds after the start S3 refuses it, if it does; `None`: for ever.
    refused: Option<(Option<u64>, Fault)>,
}

fn case() -> impl Strategy<Value = Case> {
    let fault = prop_oneof![
        3 => Just(Fault::Refused(403, "AccessDenied")),
        1 => Just(Fault::Refused(400, "KMS.DisabledException")),
        1 => Just(Fault::Refused(500, "InternalError")),
        1 => Just(Fault::Refused(503, "SlowDown")),
        1 => Just(Fault::RequestLost),
    ];
    let seconds = prop_oneof![Just(None), (1_u64..2000).prop_map(Some)];
    let refused = prop::option::of((seconds, fault));
    // What is there at the start, or comes before the watch, is due once it has been quiet.
    (prop::bool::weighted(0.3), 1_u64..1000, refused).prop_map(|(is_large, comes, refused)| Case {
        is_large,
        comes,
        refused,
    })
}

/// Gives S3 these recordings, and holds each to the time and the number of tries that it may need.
async fn trial(mut cases: Vec<Case>) {
    cases.sort_by_key(|case| case.comes);
    Bench::run(async |mut bench| {
        bench.sizes = SIZES;
        let (start, long, many) = (Instant::now(), large(), cases.len() as u64);
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut came = BTreeMap::new();
        bench.start();
        for (number, case) in cases.iter().enumerate() {
            let name = format!("{number}.wav");
            if let Some((seconds, fault)) = &case.refused {
                refuse(&bench, &name, seconds.map(at), fault);
            }
            tokio::time::sleep_until(at(case.comes)).await;
            bench.record(&name, if case.is_large { &long } else { "sound" });
            came.insert(number, Instant::now());
        }
        bench.wait(2200 + 4 * many).await;
        for (number, case) in cases.iter().enumerate() {
            let (name, came) = (format!("{number}.wav"), came[&number]);
            let made = bench.world.borrow().made.get(&format!("calls/{name}")).copied();
            let call = if case.is_large { "CREATE" } else { "PUT" };
            let first = bench.world.borrow().first_calls.get(&format!("{call} calls/{name}")).copied();
            assert!(first.is_some_and(|first| first < came + FIRST_TRY), "{name} was not tried: {case:?}");
            match &case.refused {
                None => {
                    assert!(made.is_some_and(|made| made < came + FIRST_TRY), "{name} waited: {case:?}");
                    assert_eq!(tries(&bench, &name), 1, "{name}");
                }
                // Its own wait, and a turn of each of the others.
                Some((Some(seconds), _)) => {
                    let end = came.max(at(*seconds)) + Duration::from_secs(65 + 2 * many);
                    assert!(made.is_some_and(|made| made < end), "{name} waited: {case:?} {made:?}");
                }
                Some((None, _)) => assert!(made.is_none() && bench.path(&name).exists(), "{name}"),
            }
        }
        bench.world.borrow_mut().standing.clear();
        assert!(bench.drains().await);
        assert_eq!(bench.world.borrow().objects.len(), cases.len());
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if std::env::var_os("RECORDINGS_TEST_LONG").is_some() { 300 } else { 16 },
        max_shrink_iters: 50,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_s3_refuses_every_other_recording_arrives_at_its_first_try(cases in prop::collection::vec(case(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(trial(cases));
    }
}
