//! What S3, the broker and the node can do to a recording, and that it survives.

use super::fakes::{Bench, Fault, Object};
use super::steps::fail_below;
use crate::api::Crc64Nvme;

#[tokio::test(start_paused = true)]
async fn a_recording_survives_every_answer_to_its_put_and_arrives_once() {
    let calls = |calls: &'static str| calls.split_whitespace();
    for (fault, expected) in [
        (Fault::NoChecksum, calls("PUT HEAD")),
        (Fault::AnswerLost, calls("PUT PUT HEAD")),
        (Fault::RequestLost, calls("PUT PUT")),
        (Fault::Refused(400, "BadDigest"), calls("PUT PUT")),
        (Fault::Refused(400, "ExpiredToken"), calls("PUT PUT")),
        (Fault::Refused(403, "AccessDenied"), calls("PUT PUT")),
        (Fault::Refused(409, "ConditionalRequestConflict"), calls("PUT PUT")),
        (Fault::Refused(503, "SlowDown"), calls("PUT PUT")),
        (Fault::Refused(500, "InternalError"), calls("PUT PUT")),
        (Fault::Refused(301, "PermanentRedirect"), calls("PUT PUT")),
        (Fault::Refused(404, "NoSuchBucket"), calls("PUT PUT")),
    ] {
        Bench::run(async |mut bench| {
            bench.world.borrow_mut().put_faults.push_back(fault.clone());
            bench.start();
            bench.record("a.wav", "sound");
            bench.until_delivered("a.wav", "sound").await;
            let expected: Vec<String> = expected.map(|call| format!("{call} calls/a.wav")).collect();
            assert_eq!(bench.calls(), expected, "{fault:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_renewed_at_once() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().put_faults.push_back(Fault::Refused(400, "ExpiredToken"));
        bench.start();
        bench.record("a.wav", "sound");
        bench.until_delivered("a.wav", "sound").await;
        assert_eq!(bench.world.borrow().sessions, 2);
        bench.record("b.wav", "sound");
        bench.until_delivered("b.wav", "sound").await;
        assert_eq!(bench.world.borrow().sessions, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_costs_no_session_for_each_request_and_keeps_none_too_long() {
    for (clock_ahead, most) in [(0, 3), (2, 32), (-2, 3)] {
        Bench::run(async |mut bench| {
            bench.world.borrow_mut().clock_ahead = clock_ahead;
            bench.start();
            for number in 0..60 {
                bench.wait(118).await;
                bench.record(&format!("{number}.wav"), "sound");
            }
            bench.until("all", |bench| bench.world.borrow().objects.len() == 60).await;
            // Two hours of one session an hour, or of one every four minutes where its end is not known.
            let sessions = bench.world.borrow().sessions;
            assert!((2..=most).contains(&sessions), "{clock_ahead} h ahead: {sessions} sessions");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_put_is_not_repeated_while_only_the_answer_to_the_head_is_missing() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().put_faults.push_back(Fault::NoChecksum);
        bench.world.borrow_mut().head_faults.extend([(503, "SlowDown"), (500, "")]);
        bench.start();
        bench.record("a.wav", "sound");
        bench.until_delivered("a.wav", "sound").await;
        let (put, head) = ("PUT calls/a.wav", "HEAD calls/a.wav");
        assert_eq!(bench.calls(), [put, head, head, head]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_not_uploaded_again() {
    for (has_checksum, expected) in [(true, vec!["PUT", "HEAD"]), (false, vec!["PUT", "HEAD", "GET"])] {
        Bench::run(async |mut bench| {
            let object = Object { bytes: b"sound".to_vec(), has_checksum };
            bench.world.borrow_mut().objects.insert("calls/a.wav".into(), object);
            bench.start();
            bench.record("a.wav", "sound");
            bench.until_delivered("a.wav", "sound").await;
            let expected: Vec<String> =
                expected.into_iter().map(|call| format!("{call} calls/a.wav")).collect();
            assert_eq!(bench.calls(), expected);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn other_content_is_never_overwritten_and_both_are_kept_with_the_companion() {
    for has_checksum in [true, false] {
        Bench::run(async |mut bench| {
            let object = Object { bytes: b"other".to_vec(), has_checksum };
            bench.world.borrow_mut().objects.insert("calls/d/a.wav".into(), object);
            bench.pause("not yet");
            bench.start();
            bench.record("d/a.wav", "sound");
            bench.record("d/a.json", "{}");
            bench.wait(10).await;
            bench.resume();
            let name = format!("d/a~{:016x}", Crc64Nvme::of(b"sound"));
            bench.until_delivered(&format!("{name}.wav"), "sound").await;
            bench.until_delivered(&format!("{name}.json"), "{}").await;
            assert_eq!(bench.object("calls/d/a.wav").as_deref(), Some("other"));
            assert_eq!(bench.world.borrow().objects.len(), 3);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_s3_that_stores_other_bytes_than_were_sent_does_not_get_the_file_unlinked() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().put_faults.push_back(Fault::Garbled);
        bench.start();
        bench.record("a.wav", "sound");
        let key = format!("calls/a~{:016x}.wav", Crc64Nvme::of(b"sound"));
        bench.until("a second object", |bench| bench.object(&key).as_deref() == Some("sound")).await;
        assert!(!bench.path("a.wav").exists());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusing_destination_sees_one_attempt_at_a_time_then_everything() {
    Bench::run(async |mut bench| {
        let refused = Fault::Refused(403, "AccessDenied");
        bench.world.borrow_mut().put_faults.extend(std::iter::repeat_n(refused, 20));
        bench.start();
        for number in 0..50 {
            bench.record(&format!("{number}.wav"), "sound");
        }
        bench.until("all", |bench| bench.world.borrow().objects.len() == 50).await;
        assert_eq!(bench.calls().len(), 70);
        assert!(bench.drains().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_destination_gets_nothing_and_a_resumed_one_everything() {
    Bench::run(async |mut bench| {
        bench.pause("ExternalIDNotEnforced");
        bench.start();
        bench.record("a.wav", "sound");
        bench.wait(3600).await;
        assert_eq!((bench.calls(), bench.world.borrow().sessions), (vec![], 0));
        bench.world.borrow_mut().destination = None;
        bench.wait(3600).await;
        assert_eq!((bench.calls(), bench.world.borrow().sessions), (vec![], 0));
        assert!(bench.path("a.wav").exists());
        bench.resume();
        bench.until_delivered("a.wav", "sound").await;
        bench.pause("Suspended");
        bench.wait(6).await;
        bench.record("b.wav", "sound");
        bench.wait(60).await;
        assert!(bench.path("b.wav").exists());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn asked_to_end_it_drains_and_says_meanwhile_what_is_left() {
    Bench::run(async |mut bench| {
        bench.pause("Suspended");
        bench.start();
        bench.record("a.wav", "sound");
        bench.wait(10).await;
        assert!(!bench.drains().await, "it must not end with a recording in the spool");
        assert_eq!(
            bench.termination_message(),
            "1 recording (5 bytes) is not uploaded (the destination is paused: Suspended): they last as long as \
             the spool volume does. not uploaded are, among others: a.wav"
        );
        bench.start();
        bench.resume();
        assert!(bench.drains().await);
        assert_eq!(bench.object("calls/a.wav").as_deref(), Some("sound"));
        assert_eq!(bench.termination_message(), "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn killed_between_put_and_unlink_it_finds_its_own_object_again() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().put_faults.push_back(Fault::AnswerLost);
        bench.start();
        bench.record("a.wav", "sound");
        bench.until("the object", |bench| bench.object("calls/a.wav").is_some()).await;
        bench.kill().await;
        assert!(bench.path("a.wav").exists());
        bench.start();
        bench.until_delivered("a.wav", "sound").await;
        assert_eq!(bench.calls(), ["PUT calls/a.wav", "PUT calls/a.wav", "HEAD calls/a.wav"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_unlinked_is_uploaded_once_and_delays_no_shutdown() {
    Bench::run(async |mut bench| {
        fail_below(bench.path(""), "rename a file", libc::EACCES);
        bench.start();
        bench.record("a.wav", "sound");
        bench.until("the object", |bench| bench.object("calls/a.wav").is_some()).await;
        bench.wait(600).await;
        assert!(bench.path("a.wav").exists());
        assert_eq!(bench.calls(), ["PUT calls/a.wav"]);
        assert!(bench.drains().await);
        assert!(
            bench.termination_message().contains("1 recording is uploaded and verified but could not be")
        );
    })
    .await;
}
