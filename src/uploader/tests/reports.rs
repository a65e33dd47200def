//! What the broker is told of the sidecar.

use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fakes::{Bench, Fault};
use crate::api::DeliveryReport;

fn last(bench: &Bench) -> Option<DeliveryReport> {
    bench.world.borrow().reports.last().cloned()
}

#[tokio::test(start_paused = true)]
async fn the_first_report_comes_when_the_spool_has_been_looked_at() {
    Bench::run(async |mut bench| {
        bench.pause("Suspended");
        bench.record("a.wav", "content");
        bench.start();
        bench.until("a report", |bench| last(bench).is_some()).await;
        let report = bench.world.borrow().reports[0].clone();
        assert_eq!((report.pending_files, report.quarantined, report.last_upload_time), (1, 0, None));
        assert!(report.oldest_pending_time.is_some());
        bench.wait(60).await;
        assert_eq!(bench.world.borrow().reports.len(), 1, "nothing is new, and five minutes are not over");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_an_unfinished_upload_is_as_old_as_its_recording() {
    Bench::run(async |mut bench| {
        let refused = Fault::Refused(403, "AccessDenied");
        bench.world.borrow_mut().standing.push(("COMPLETE".into(), None, refused));
        bench.start();
        bench.record("a.wav", "more than goes as a whole");
        bench.until("all parts", |bench| bench.calls().iter().any(|call| call.starts_with("COMPLETE"))).await;
        bench.kill().await;
        std::thread::sleep(Duration::from_millis(2100));
        let restarted = Timestamp::now();
        bench.world.borrow_mut().reports.clear();
        bench.start();
        bench.until("a report", |bench| last(bench).is_some()).await;
        let oldest = last(&bench).unwrap().oldest_pending_time.unwrap();
        assert!(oldest < restarted - SignedDuration::from_secs(1), "{oldest}, and it is {restarted}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_first_upload_is_reported() {
    Bench::run(async |mut bench| {
        bench.start();
        bench.until("a report", |bench| last(bench).is_some()).await;
        bench.record("a.wav", "content");
        bench.until("an upload", |bench| last(bench).unwrap().last_upload_time.is_some()).await;
        assert_eq!(last(&bench).unwrap().pending_files, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_in_quarantine_is_reported_until_somebody_has_looked_after_it() {
    Bench::run(async |mut bench| {
        std::os::unix::fs::symlink("/etc/passwd", bench.path("a.wav")).unwrap();
        bench.start();
        bench.until("trouble", |bench| last(bench).is_some_and(|report| report.quarantined == 1)).await;
        let first = last(&bench).unwrap();
        fs::remove_file(bench.path(".recording-uploader/quarantine/a.wav")).unwrap();
        bench.until("its end", |bench| last(bench).unwrap().quarantined == 0).await;
        assert!(!first.was_in_trouble);
        assert!(last(&bench).unwrap().was_in_trouble);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_no_reports_holds_up_no_recording_and_hears_of_it_later() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().reports_refused = true;
        bench.start();
        bench.record("a.wav", "content");
        bench.until_delivered("a.wav", "content").await;
        assert_eq!(last(&bench), None);
        bench.world.borrow_mut().reports_refused = false;
        bench.until("a report", |bench| last(bench).is_some_and(|r| r.last_upload_time.is_some())).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trouble_that_ended_while_draining_is_reported_before_the_end() {
    Bench::run(async |mut bench| {
        std::os::unix::fs::symlink("/etc/passwd", bench.path("a.wav")).unwrap();
        bench.start();
        bench.until("trouble", |bench| last(bench).is_some_and(|report| report.quarantined == 1)).await;
        fs::remove_file(bench.path(".recording-uploader/quarantine/a.wav")).unwrap();
        assert!(bench.drains().await);
        assert_eq!(last(&bench).unwrap().quarantined, 0);
    })
    .await;
}
