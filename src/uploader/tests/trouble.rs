//! Whatever keeps a recording from being delivered, or removed, is reported at once, and so is its end.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use super::fakes::{Bench, Fault};
use super::steps::{fail_below, heal_below};
use crate::api::{DeliveryReport, RefusedCall, SpoolFault, Unanswered, UploadRefusal, UploaderPhase};
use crate::uploader::spool::Spool;

/// From the sidecar's knowing until the broker has the report.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Least time between two reports.
const BETWEEN_REPORTS: Duration = Duration::from_secs(10);

fn last(bench: &Bench) -> DeliveryReport {
    bench.world.borrow().reports.last().cloned().unwrap_or_default()
}

fn reports(bench: &Bench) -> usize {
    bench.world.borrow().reports.len()
}

/// Waits for a report of which something is so, and returns how long that took.
async fn until_reported(bench: &Bench, what: &str, holds: impl Fn(&DeliveryReport) -> bool) -> Duration {
    let began = Instant::now();
    bench.until(what, |bench| holds(&last(bench)) && reports(bench) > 0).await;
    began.elapsed()
}

fn refuse(bench: &Bench, begins: &str, status: u16, code: &'static str) {
    bench.world.borrow_mut().standing.push((begins.to_owned(), None, Fault::Refused(status, code)));
}

fn refusal(call: RefusedCall, status: u16, code: &str, files: u64) -> UploadRefusal {
    UploadRefusal { call, status, code: code.to_owned(), policy: None, files }
}

#[tokio::test(start_paused = true)]
async fn a_spool_whose_state_directory_cannot_be_made_is_reported_at_once() {
    Bench::run(async |mut bench| {
        fs::write(bench.path(".recording-uploader"), "in the way").unwrap();
        bench.record("a.wav", "content");
        bench.start();
        let took = until_reported(&bench, "the fault", |r| r.spool == Some(SpoolFault::Unusable)).await;
        assert!(took <= AT_ONCE, "{took:?}");
        bench.wait(120).await;
        assert_eq!(bench.calls(), [""; 0], "nothing may be sent from a spool without a lock");
        fs::remove_file(bench.path(".recording-uploader")).unwrap();
        bench.until_delivered("a.wav", "content").await;
        until_reported(&bench, "its end", |r| r.spool.is_none() && r.last_upload_time.is_some()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_another_uploader_has_for_over_a_minute_is_reported() {
    Bench::run(async |mut bench| {
        let other = Spool::new(bench.path("")).lock().await.unwrap().expect("the lock");
        bench.start();
        bench.wait(58).await;
        assert_eq!(reports(&bench), 0, "a rolling update hands a spool over in seconds");
        let took = until_reported(&bench, "the fault", |r| r.spool == Some(SpoolFault::InUse)).await;
        assert!(took < Duration::from_secs(6), "{took:?}");
        drop(other);
        bench.record("a.wav", "content");
        bench.until_delivered("a.wav", "content").await;
        until_reported(&bench, "its end", |r| r.spool.is_none()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_read_is_reported_for_as_long_as_it_is_there() {
    Bench::run(async |mut bench| {
        bench.record("2026/a.wav", "content");
        bench.record("b.wav", "content");
        fail_below(bench.path("2026"), "read a directory", libc::EACCES);
        bench.start();
        let took = until_reported(&bench, "the fault", |r| r.spool == Some(SpoolFault::Unusable)).await;
        assert!(took <= AT_ONCE, "{took:?}");
        bench.until_delivered("b.wav", "content").await;
        bench.wait(60).await;
        assert_eq!(last(&bench).spool, Some(SpoolFault::Unusable));
        heal_below(&bench.path("2026").canonicalize().unwrap(), "read a directory");
        bench.until_delivered("2026/a.wav", "content").await;
        until_reported(&bench, "its end", |r| r.spool.is_none()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_uploaded_and_cannot_be_removed_is_reported_and_sent_once() {
    Bench::run(async |mut bench| {
        for name in ["2026/a.wav", "2026/b.wav", "c.wav"] {
            bench.record(name, "content");
        }
        fail_below(bench.path("2026"), "rename a file", libc::EACCES);
        bench.start();
        let took = until_reported(&bench, "both", |r| r.not_removed == 2).await;
        // The first report may have gone before.
        assert!(took < AT_ONCE + BETWEEN_REPORTS + Duration::from_secs(3), "{took:?}");
        bench.until_delivered("c.wav", "content").await;
        let (before, began) = (reports(&bench), Instant::now());
        while began.elapsed() < Duration::from_secs(600) {
            assert_eq!((last(&bench).not_removed, last(&bench).pending_files), (2, 0));
            bench.wait(1).await;
        }
        assert!(last(&bench).last_upload_time.is_some());
        assert!(reports(&bench) - before <= 3, "nothing changed: {}", reports(&bench) - before);
        let puts = bench.calls().iter().filter(|call| call.starts_with("PUT calls/2026")).count();
        assert_eq!(puts, 2, "{:?}", bench.calls());
        heal_below(&bench.path("2026").canonicalize().unwrap(), "rename a file");
        bench.until("both gone", |bench| !bench.path("2026/a.wav").exists()).await;
        until_reported(&bench, "its end", |r| r.not_removed == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_reported_with_its_call_and_code_until_the_recording_arrives() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT calls/bad", 403, "AccessDenied");
        bench.start();
        until_reported(&bench, "no trouble", |r| r.refusal.is_none()).await;
        bench.wait(20).await;
        bench.record("bad0.wav", "content");
        bench.until("a try", |bench| !bench.calls().is_empty()).await;
        let took = until_reported(&bench, "the refusal", |r| r.refusal.is_some()).await;
        assert!(took <= AT_ONCE, "{took:?}");
        assert_eq!(last(&bench).refusal, Some(refusal(RefusedCall::PutObject, 403, "AccessDenied", 1)));
        bench.record("good.wav", "content");
        bench.until_delivered("good.wav", "content").await;
        // While it is tried again, and between two tries.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(200) {
            assert!(last(&bench).refusal.is_some(), "{:?}", began.elapsed());
            bench.wait(1).await;
        }
        bench.world.borrow_mut().standing.clear();
        bench.until_delivered("bad0.wav", "content").await;
        let took = until_reported(&bench, "its end", |r| r.refusal.is_none()).await;
        assert!(took <= AT_ONCE, "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_recording_that_goes_takes_its_refusal_with_it() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT", 403, "AccessDenied");
        bench.record("a.wav", "content");
        bench.start();
        until_reported(&bench, "the refusal", |r| r.refusal.is_some()).await;
        fs::remove_file(bench.path("a.wav")).unwrap();
        until_reported(&bench, "its end", |r| r.refusal.is_none() && r.pending_files == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_code_is_reported_though_the_refusal_goes_on() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT", 403, "AccessDenied");
        bench.record("a.wav", "content");
        bench.start();
        until_reported(&bench, "the refusal", |r| r.refusal.is_some()).await;
        bench.wait(60).await;
        bench.world.borrow_mut().standing.clear();
        refuse(&bench, "PUT", 404, "NoSuchBucket");
        bench.news();
        bench.until("the next try", |bench| !bench.calls().is_empty()).await;
        let expected = refusal(RefusedCall::PutObject, 404, "NoSuchBucket", 1);
        let took = until_reported(&bench, "the code", |r| r.refusal.as_ref() == Some(&expected)).await;
        assert!(took <= AT_ONCE, "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_most_recordings_is_the_one_that_is_reported() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT", 403, "AccessDenied");
        refuse(&bench, "CREATE", 403, "AccessDenied");
        bench.record("a.wav", "more than goes as a whole");
        for name in ["b.wav", "c.wav", "d.wav"] {
            bench.record(name, "content");
        }
        bench.start();
        let expected = refusal(RefusedCall::PutObject, 403, "AccessDenied", 3);
        bench.wait(30).await;
        until_reported(&bench, "all", |r| r.refusal.as_ref() == Some(&expected)).await;
        assert_eq!(last(&bench).pending_files, 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reports_are_no_closer_together_than_the_broker_writes() {
    Bench::run(async |mut bench| {
        bench.record("a.wav", "content");
        bench.start();
        for number in 0..300 {
            bench.world.borrow_mut().standing.clear();
            refuse(&bench, "PUT", 403, if number % 2 == 0 { "AccessDenied" } else { "NoSuchBucket" });
            bench.wait(1).await;
        }
        assert!(reports(&bench) <= 31, "{} reports in five minutes", reports(&bench));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_end_is_reported_when_it_begins_and_with_what_is_left() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT", 403, "AccessDenied");
        bench.record("a.wav", "content");
        bench.record("b.json", "{}");
        bench.start();
        until_reported(&bench, "the refusal", |r| r.refusal.is_some() && r.pending_bytes == 9).await;
        let before = reports(&bench);
        assert!(!bench.drains().await);
        let later: Vec<_> = bench.world.borrow().reports[before..].to_vec();
        assert_eq!(later[0].phase, UploaderPhase::Draining);
        assert_eq!((later[0].pending_files, later[0].pending_bytes), (2, 9));
        assert!(later.iter().all(|report| report.phase == UploaderPhase::Draining), "{later:?}");
    })
    .await;
    Bench::run(async |mut bench| {
        bench.pause("Suspended");
        std::os::unix::fs::symlink("/etc/passwd", bench.path("a.wav")).unwrap();
        bench.start();
        until_reported(&bench, "nothing", |r| r.phase == UploaderPhase::Running).await;
        bench.resume();
        assert!(bench.drains().await);
        let all = bench.world.borrow().reports.clone();
        assert_eq!(all.last().map(|last| (last.phase, last.pending_files)), Some((UploaderPhase::Ended, 0)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_sidecar_ends_without_having_drained() {
    Bench::run(async |mut bench| {
        bench.start();
        until_reported(&bench, "nothing", |r| r.pending_files == 0).await;
        assert!(bench.drains().await);
        let phases: Vec<_> = bench.world.borrow().reports.iter().map(|report| report.phase).collect();
        assert_eq!(phases, [UploaderPhase::Running, UploaderPhase::Ended]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_aws_refuses_the_broker_is_reported_while_recordings_wait() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().role_refused = Some("RegionDisabledException");
        bench.record("a.wav", "content");
        bench.record("b.wav", "content");
        bench.start();
        let expected =
            UploadRefusal { files: 2, ..refusal(RefusedCall::AssumeRole, 0, "RegionDisabledException", 2) };
        until_reported(&bench, "the refusal", |r| r.refusal.as_ref() == Some(&expected)).await;
        bench.wait(300).await;
        assert_eq!(last(&bench).refusal, Some(expected));
        bench.world.borrow_mut().role_refused = None;
        bench.until_delivered("a.wav", "content").await;
        until_reported(&bench, "its end", |r| r.refusal.is_none()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_refused_ends_no_session_that_lasts() {
    Bench::run(async |mut bench| {
        bench.start();
        bench.record("a.wav", "content");
        bench.until_delivered("a.wav", "content").await;
        bench.world.borrow_mut().role_refused = Some("AccessDenied");
        // Within its last five minutes the session is to be renewed.
        bench.wait(3400).await;
        bench.record("b.wav", "content");
        bench.until_delivered("b.wav", "content").await;
        bench.wait(300).await;
        bench.record("c.wav", "content");
        until_reported(&bench, "the refusal", |r| r.refusal.is_some()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_broker_is_told_of_a_session_that_s3_does_not_take() {
    for (status, code, named) in [
        (400, "ExpiredToken", true),
        (403, "InvalidAccessKeyId", true),
        (400, "InvalidToken", true),
        (403, "AccessDenied", false),
        (404, "NoSuchBucket", false),
    ] {
        Bench::run(async |mut bench| {
            bench.world.borrow_mut().put_faults.push_back(Fault::Refused(status, code));
            bench.record("a.wav", "content");
            bench.start();
            bench.until_delivered("a.wav", "content").await;
            let expected: &[&str] = if named { &["ASIA1"] } else { &[] };
            assert_eq!(bench.world.borrow().refused_keys, expected, "{code}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_session_under_which_all_is_denied_the_broker_is_told_once() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT", 403, "AccessDenied");
        bench.record("a.wav", "content");
        bench.start();
        bench.wait(1800).await;
        assert_eq!(bench.world.borrow().refused_keys, ["ASIA1"], "another session was no better");
        bench.world.borrow_mut().standing.clear();
        bench.until_delivered("a.wav", "content").await;
        bench.wait(120).await;
        refuse(&bench, "PUT", 403, "AccessDenied");
        bench.record("b.wav", "content");
        bench.wait(600).await;
        assert_eq!(bench.world.borrow().refused_keys.len(), 2, "it may be the session this time");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_denied_recording_among_others_says_nothing_of_the_session() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT calls/bad", 403, "AccessDenied");
        bench.record("bad.wav", "content");
        bench.start();
        for number in 0..60 {
            bench.record(&format!("good{number}.wav"), "content");
            bench.wait(20).await;
        }
        assert_eq!(bench.world.borrow().refused_keys, [""; 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_destination_clears_what_the_former_one_refused() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT", 403, "AccessDenied");
        bench.record("a.wav", "content");
        bench.start();
        until_reported(&bench, "the refusal", |r| r.refusal.is_some()).await;
        bench.pause("Suspended");
        bench.wait(60).await;
        assert!(last(&bench).refusal.is_some(), "nothing was tried since");
        bench.world.borrow_mut().standing.clear();
        let mut other = super::destination();
        other.target.bucket = "other-recordings".into();
        bench.world.borrow_mut().destination = Some(other);
        until_reported(&bench, "its end", |r| r.refusal.is_none()).await;
        bench.until_delivered("a.wav", "content").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_ends_while_it_waits_for_its_spool_says_so() {
    Bench::run(async |mut bench| {
        let _other = Spool::new(bench.path("")).lock().await.unwrap().expect("the lock");
        bench.start();
        bench.wait(5).await;
        assert!(bench.drains().await);
        assert!(bench.termination_message().contains("SpoolInUse"), "{}", bench.termination_message());
        let all = bench.world.borrow().reports.clone();
        let phases: Vec<_> = all.iter().map(|report| (report.phase, report.spool)).collect();
        assert_eq!(phases, [(UploaderPhase::Ended, Some(SpoolFault::InUse))]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_s3_is_reported_once_it_has_lasted_and_until_a_recording_arrives() {
    Bench::run(async |mut bench| {
        refuse(&bench, "PUT", 503, "SlowDown");
        bench.record("a.wav", "content");
        bench.start();
        until_reported(&bench, "the outage", |r| r.unanswered == Some(Unanswered::S3)).await;
        bench.world.borrow_mut().standing.clear();
        bench.until_delivered("a.wav", "content").await;
        until_reported(&bench, "its end", |r| r.unanswered.is_none()).await;
    })
    .await;
}
