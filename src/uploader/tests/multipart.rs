//! Recordings that go in parts.

use std::fs;

use super::fakes::{Bench, Fault, Object};
use crate::api::{BucketTarget, Crc64Nvme, Encryption, EncryptionType, ObjectACL, StorageClass};

/// Four parts, the last one short.
const LONG: &str = "0123456789abcdefghijABCDEFGHIJ!";

fn journals(bench: &Bench) -> usize {
    fs::read_dir(bench.path(".recording-uploader/journal")).map_or(0, Iterator::count)
}

#[tokio::test(start_paused = true)]
async fn a_long_recording_goes_in_parts_and_leaves_no_journal() {
    Bench::run(async |mut bench| {
        bench.start();
        bench.record("d/a.wav", LONG);
        bench.until_delivered("d/a.wav", LONG).await;
        assert!(bench.drains().await);
        let mut calls = bench.news();
        calls[1..5].sort();
        assert_eq!(
            calls,
            ["CREATE", "PART 1", "PART 2", "PART 3", "PART 4", "COMPLETE"].map(|c| format!("{c} d/a.wav"))
        );
        assert_eq!(journals(&bench), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_any_fault_only_the_failed_call_is_repeated() {
    use Fault::{AnswerLost, Garbled, NoChecksum, Refused, RequestLost};
    for (call, fault, again) in [
        ("PART 2", AnswerLost, "PART 2, COMPLETE"),
        ("PART 2", RequestLost, "PART 2, COMPLETE"),
        ("PART 1", Refused(400, "ExpiredToken"), "PART 1, COMPLETE"),
        ("PART 2", Refused(400, "ExpiredToken"), "PART 2, COMPLETE"),
        ("PART 3", Refused(400, "ExpiredToken"), "PART 3, COMPLETE"),
        ("PART 4", Refused(400, "ExpiredToken"), "PART 4, COMPLETE"),
        ("PART 4", Refused(403, "AccessDenied"), "PART 4, COMPLETE"),
        ("PART 4", Refused(503, "SlowDown"), "PART 4, COMPLETE"),
        ("PART 4", Refused(400, "BadDigest"), "PART 4, COMPLETE"),
        ("COMPLETE", RequestLost, "COMPLETE, COMPLETE"),
        ("COMPLETE", AnswerLost, "COMPLETE, COMPLETE, HEAD"),
        ("COMPLETE", NoChecksum, "COMPLETE, HEAD"),
        ("COMPLETE", Refused(200, "InternalError"), "COMPLETE, COMPLETE"),
        ("COMPLETE", Refused(400, "ExpiredToken"), "COMPLETE, COMPLETE"),
        ("COMPLETE", Refused(403, "AccessDenied"), "COMPLETE, COMPLETE"),
        ("CREATE", Refused(503, "SlowDown"), "CREATE, COMPLETE"),
        ("CREATE", Refused(400, "ExpiredToken"), "CREATE, COMPLETE"),
        ("CREATE", RequestLost, "CREATE, COMPLETE"),
        (
            "COMPLETE",
            Refused(409, "ConditionalRequestConflict"),
            "COMPLETE, ABORT, CREATE, PART 1, PART 2, PART 3, PART 4, COMPLETE",
        ),
        (
            "COMPLETE",
            Refused(404, "NoSuchUpload"),
            "COMPLETE, HEAD, ABORT, CREATE, PART 1, PART 2, PART 3, PART 4, COMPLETE",
        ),
        (
            "PART 2",
            Refused(404, "NoSuchUpload"),
            "HEAD, ABORT, CREATE, PART 1, PART 2, PART 3, PART 4, COMPLETE",
        ),
        ("COMPLETE", Garbled, "COMPLETE, HEAD, ABORT, CREATE, PART 1, PART 2, PART 3, PART 4, COMPLETE"),
    ] {
        Bench::run(async |mut bench| {
            bench.world.borrow_mut().faults.push((call, fault.clone()));
            bench.start();
            bench.record("a.wav", LONG);
            let other = format!("calls/a~{:016x}.wav", Crc64Nvme::of(LONG.as_bytes()));
            let key = if fault == Garbled { other.as_str() } else { "calls/a.wav" };
            bench
                .until(key, |bench| {
                    bench.object(key).as_deref() == Some(LONG) && !bench.path("a.wav").exists()
                })
                .await;
            assert!(bench.drains().await, "{call} {fault:?}");
            assert_eq!(bench.world.borrow().objects.len(), if fault == Garbled { 2 } else { 1 });
            assert!(bench.world.borrow().uploads.is_empty(), "{call} {fault:?}");
            assert_eq!(journals(&bench), 0, "{call} {fault:?}");
            let mut beyond: Vec<String> =
                bench.news().iter().map(|call| call.rsplit_once(' ').unwrap().0.to_owned()).collect();
            for once in ["CREATE", "PART 1", "PART 2", "PART 3", "PART 4"] {
                let at = beyond.iter().position(|call| call == once);
                beyond.remove(at.unwrap_or_else(|| panic!("{once} after {fault:?} of {call}")));
            }
            let sorted = |calls: &mut Vec<String>| calls.sort();
            let mut again: Vec<String> = again.split(", ").map(str::to_owned).collect();
            sorted(&mut beyond);
            sorted(&mut again);
            assert_eq!(beyond, again, "{call} {fault:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_the_same_upload_goes_on_with_the_missing_parts() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().faults.push(("PART 3", Fault::Refused(403, "AccessDenied")));
        bench.start();
        bench.record("a.wav", LONG);
        bench
            .until("three parts", |bench| {
                bench.world.borrow().uploads.values().any(|(_, parts)| parts.len() == 3)
                    && journals(bench) == 1
            })
            .await;
        bench
            .until("the journal", |bench| {
                let journal =
                    fs::read_dir(bench.path(".recording-uploader/journal")).unwrap().next().unwrap();
                fs::read_to_string(journal.unwrap().path())
                    .is_ok_and(|text| text.matches("number").count() == 3)
            })
            .await;
        bench.kill().await;
        bench.news();
        bench.start();
        bench.until_delivered("a.wav", LONG).await;
        assert_eq!(bench.news(), ["PART 3 a.wav", "COMPLETE a.wav"]);
        assert_eq!(bench.world.borrow().uploads_begun, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_with_too_small_parts_never_passes_the_beginning_for_the_whole() {
    Bench::run(async |mut bench| {
        let long = "0123456789".repeat(1001);
        bench.world.borrow_mut().faults.push(("COMPLETE", Fault::Refused(403, "AccessDenied")));
        bench.start();
        bench.record("a.wav", &long);
        bench.until("all parts", |bench| bench.calls().iter().any(|call| call.starts_with("COMPLETE"))).await;
        bench.kill().await;
        let journal = fs::read_dir(bench.path(".recording-uploader/journal")).unwrap().next().unwrap();
        let journal = journal.unwrap().path();
        let mut damaged: serde_json::Value = serde_json::from_slice(&fs::read(&journal).unwrap()).unwrap();
        damaged["partSize"] = 1.into();
        damaged["parts"] = serde_json::json!([]);
        fs::write(&journal, damaged.to_string()).unwrap();
        bench.start();
        bench.until_delivered("a.wav", &long).await;
        assert!(bench.news().contains(&"ABORT a.wav".to_owned()), "nothing of the first upload is left");
        assert_eq!(bench.world.borrow().uploads_begun, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn parts_whose_bytes_the_file_no_longer_has_are_sent_again() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().faults.push(("COMPLETE", Fault::Refused(403, "AccessDenied")));
        bench.start();
        bench.record("a.wav", LONG);
        bench.until("all parts", |bench| bench.calls().iter().any(|call| call.starts_with("COMPLETE"))).await;
        bench.kill().await;
        let edited = LONG.replace('a', "?");
        bench.record("a.wav", &edited);
        bench.news();
        bench.start();
        bench.until_delivered("a.wav", &edited).await;
        assert_eq!(bench.news(), ["PART 2 a.wav", "COMPLETE a.wav"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_how_objects_are_stored_begins_the_upload_afresh() {
    let key = "arn:aws:kms:us-east-1:111111111111:key/1234abcd";
    let kms = Encryption { r#type: EncryptionType::KMS, kms_key_arn: Some(key.into()) };
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut BucketTarget));
    let edits: [Edit; 4] = [
        ("encryption", &|target| target.encryption = kms.clone()),
        ("ACL", &|target| target.object_acl = ObjectACL::None),
        ("storage class", &|target| target.storage_class = Some(StorageClass::StandardIa)),
        ("nothing of it", &|target| target.expected_bucket_owner = "222222222222".into()),
    ];
    for (what, edit) in edits {
        for killed in [true, false] {
            Bench::run(async |mut bench| {
                let refused = Fault::Refused(403, "AccessDenied");
                bench.world.borrow_mut().standing.push(("COMPLETE".into(), None, refused));
                bench.start();
                bench.record("a.wav", LONG);
                let completes = |bench: &Bench| bench.calls().iter().any(|call| call.starts_with("COMPLETE"));
                bench.until("all parts", completes).await;
                if killed {
                    bench.kill().await;
                }
                edit(&mut bench.world.borrow_mut().destination.as_mut().unwrap().target);
                bench.wait(30).await;
                bench.world.borrow_mut().standing.clear();
                if killed {
                    bench.start();
                }
                bench.until_delivered("a.wav", LONG).await;
                assert!(bench.drains().await);
                let begun = if what == "nothing of it" { 1 } else { 2 };
                assert_eq!(bench.world.borrow().uploads_begun, begun, "{what}, killed: {killed}");
                assert!(bench.world.borrow().uploads.is_empty(), "{what}, killed: {killed}");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_recording_is_gone_or_goes_elsewhere_is_aborted_or_reported() {
    for may_abort in [true, false] {
        for gone in [true, false] {
            Bench::run(async |mut bench| {
                bench.world.borrow_mut().faults.push(("COMPLETE", Fault::Refused(403, "AccessDenied")));
                bench.start();
                bench.record("a.wav", LONG);
                bench
                    .until("all parts", |bench| bench.calls().iter().any(|call| call.starts_with("COMPLETE")))
                    .await;
                bench.kill().await;
                bench.news();
                if !may_abort {
                    bench.world.borrow_mut().faults.push(("ABORT", Fault::Refused(403, "AccessDenied")));
                }
                if gone {
                    fs::remove_file(bench.path("a.wav")).unwrap();
                } else {
                    bench.world.borrow_mut().destination.as_mut().unwrap().target.prefix = "moved/".into();
                }
                bench.start();
                bench
                    .until("the end of the upload", |bench| {
                        bench.calls().iter().any(|call| call == "ABORT calls/a.wav") && journals(bench) == 0
                    })
                    .await;
                assert!(bench.drains().await);
                let left = usize::from(!may_abort);
                assert_eq!(bench.world.borrow().uploads.len(), left);
                assert_eq!(bench.object("moved/a.wav").as_deref(), (!gone).then_some(LONG));
                assert_eq!(
                    bench.termination_message().contains("1 unfinished multipart upload may"),
                    !may_abort
                );
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_or_a_pause_in_the_middle_stops_the_parts_that_are_not_under_way() {
    Bench::run(async |mut bench| {
        let content = LONG.repeat(4);
        bench.world.borrow_mut().faults.push(("PART 2", Fault::Refused(403, "AccessDenied")));
        bench.start();
        bench.record("a.wav", &content);
        bench.until("a part", |bench| bench.calls().iter().any(|call| call.starts_with("PART 2"))).await;
        bench.pause("Suspended");
        bench.wait(30).await;
        bench.news();
        bench.wait(600).await;
        assert_eq!(bench.news(), [""; 0]);
        bench.resume();
        bench.until_delivered("a.wav", &content).await;
        assert_eq!(bench.world.borrow().uploads_begun, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn other_content_under_the_key_is_kept_beside_the_long_recording() {
    Bench::run(async |mut bench| {
        let object = Object { bytes: b"other".to_vec(), has_checksum: true };
        bench.world.borrow_mut().objects.insert("calls/a.wav".into(), object);
        bench.start();
        bench.record("a.wav", LONG);
        let name = format!("a~{:016x}.wav", Crc64Nvme::of(LONG.as_bytes()));
        bench.until_delivered(&name, LONG).await;
        assert!(bench.drains().await);
        assert_eq!(bench.object("calls/a.wav").as_deref(), Some("other"));
        assert!(bench.world.borrow().uploads.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hours_without_sessions_cost_nothing_but_time_also_mid_upload() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().faults.push(("PART 2", Fault::Refused(400, "ExpiredToken")));
        bench.world.borrow_mut().no_sessions = true;
        bench.start();
        bench.record("a.wav", LONG);
        bench.wait(3 * 3600).await;
        assert_eq!(bench.news(), [""; 0]);
        bench.world.borrow_mut().no_sessions = false;
        bench.until("a part", |bench| bench.calls().iter().any(|call| call.starts_with("PART 2"))).await;
        bench.world.borrow_mut().no_sessions = true;
        bench.wait(3 * 3600).await;
        bench.world.borrow_mut().no_sessions = false;
        bench.until_delivered("a.wav", LONG).await;
        assert_eq!(bench.world.borrow().uploads_begun, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn parts_of_two_states_of_a_file_never_become_one_object() {
    let edited = LONG.to_uppercase().replace('A', "?");
    // More parts than go at a time, so that some are read before and some after.
    let (before, after) = (LONG.repeat(3), edited.repeat(3));
    assert_eq!(before.len(), after.len());
    Bench::run(async |mut bench| {
        bench.start();
        let (path, content) = (bench.path("a.wav"), after.clone());
        bench.world.borrow_mut().during_part = Some(Box::new(move || fs::write(path, content).unwrap()));
        bench.record("a.wav", &before);
        bench.until_delivered("a.wav", &after).await;
        assert!(bench.drains().await);
        assert_eq!(bench.world.borrow().objects.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_abort_without_a_clear_answer_is_asked_for_again() {
    Bench::run(async |mut bench| {
        let faults =
            [("COMPLETE", Fault::Refused(403, "AccessDenied")), ("ABORT", Fault::Refused(503, "SlowDown"))];
        bench.world.borrow_mut().faults.extend(faults);
        bench.world.borrow_mut().faults.push(("ABORT", Fault::RequestLost));
        bench.start();
        bench.record("a.wav", LONG);
        bench.until("all parts", |bench| bench.calls().iter().any(|call| call.starts_with("COMPLETE"))).await;
        fs::remove_file(bench.path("a.wav")).unwrap();
        bench.until("the end of the upload", |bench| bench.world.borrow().uploads.is_empty()).await;
        assert!(bench.drains().await);
        assert_eq!(bench.calls().iter().filter(|call| call.starts_with("ABORT")).count(), 3);
        assert_eq!((journals(&bench), bench.termination_message().as_str()), (0, ""));
    })
    .await;
}
