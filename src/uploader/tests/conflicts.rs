//! Other content under a recording's key, and what becomes of the recording and its companion.

use std::fs;
use std::time::{Duration, SystemTime};

use super::fakes::{Bench, Fault, Object};
use crate::api::Crc64Nvme;

fn occupy(bench: &Bench, name: &str, content: &str, has_checksum: bool) {
    let object = Object { bytes: content.into(), has_checksum };
    bench.world.borrow_mut().objects.insert(format!("calls/{name}"), object);
}

/// What S3 does not let us read.
fn hide(bench: &Bench, call: &str, status: u16, code: &'static str) {
    bench.world.borrow_mut().standing.push((call.to_owned(), None, Fault::Refused(status, code)));
}

fn count(bench: &Bench, call: &str) -> usize {
    bench.world.borrow().calls.iter().filter(|made| made.starts_with(call)).count()
}

fn alternate(stem: &str, extension: &str, content: &str) -> String {
    format!("{stem}~{:016x}.{extension}", Crc64Nvme::of(content.as_bytes()))
}

#[tokio::test(start_paused = true)]
async fn an_occupied_key_that_cannot_be_read_is_a_conflict_and_both_are_kept() {
    for (call, status, code) in [
        ("HEAD calls/a.wav", 400, ""),
        ("HEAD calls/a.wav", 403, ""),
        ("GET calls/a.wav", 403, "InvalidObjectState"),
        ("GET calls/a.wav", 400, "KMS.DisabledException"),
    ] {
        for content in ["sound", &"0123456789".repeat(5)] {
            Bench::run(async |mut bench| {
                let other = content.to_uppercase().replace('0', "?");
                occupy(&bench, "a.wav", &other, call.starts_with("HEAD"));
                hide(&bench, call, status, code);
                bench.start();
                bench.wait(1).await;
                bench.record("a.wav", content);
                bench.until_delivered(&alternate("a", "wav", content), content).await;
                assert!(!bench.path("a.wav").exists(), "{call} {status}");
                assert_eq!(bench.object("calls/a.wav"), Some(other));
                assert!(count(&bench, "PUT calls/a.wav") + count(&bench, "COMPLETE calls/a.wav") <= 1);
                assert!(bench.drains().await);
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_an_earlier_try_may_have_landed_the_recording_waits_and_is_not_sent_again() {
    for restarted in [false, true] {
        Bench::run(async |mut bench| {
            bench.world.borrow_mut().put_faults.push_back(Fault::AnswerLost);
            hide(&bench, "HEAD", 403, "");
            bench.start();
            bench.record("a.wav", "sound");
            bench.until("the object", |bench| bench.object("calls/a.wav").is_some()).await;
            if restarted {
                bench.kill().await;
                bench.start();
            }
            bench.wait(3600).await;
            assert!(bench.path("a.wav").exists());
            assert_eq!(bench.world.borrow().objects.len(), 1, "it was set aside beside itself");
            assert!(count(&bench, "PUT") <= 9, "{} puts in an hour", count(&bench, "PUT"));
            bench.world.borrow_mut().standing.clear();
            bench.until_delivered("a.wav", "sound").await;
            assert_eq!(bench.world.borrow().objects.len(), 1);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_free_again_is_put_to_though_s3_does_not_say_that_it_is_free() {
    Bench::run(async |mut bench| {
        occupy(&bench, "a.wav", "other", true);
        bench.record("a.wav", "sound");
        hide(&bench, "HEAD", 403, "");
        bench.start();
        bench.wait(600).await;
        // Found at the start, so an earlier process may have put it.
        assert!(bench.path("a.wav").exists());
        bench.world.borrow_mut().objects.clear();
        bench.until_delivered("a.wav", "sound").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn alternate_names_never_nest() {
    Bench::run(async |mut bench| {
        let name = alternate("a", "wav", "sound");
        for key in ["a.wav", &name] {
            occupy(&bench, key, "other", true);
        }
        bench.start();
        bench.record("a.wav", "sound");
        bench.wait(3600).await;
        assert!(bench.path(&name).exists());
        assert_eq!(bench.world.borrow().objects.len(), 2);
        assert!(count(&bench, "PUT") <= 9, "{} puts in an hour", count(&bench, "PUT"));
        bench.world.borrow_mut().objects.remove(&format!("calls/{name}"));
        bench.until_delivered(&name, "sound").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_comes_late_follows_its_media_file_to_the_alternate_name() {
    for killed in [false, true] {
        Bench::run(async |mut bench| {
            occupy(&bench, "d/a.wav", "other", true);
            bench.start();
            bench.record("d/a.wav", "sound");
            bench.until_delivered(&alternate("d/a", "wav", "sound"), "sound").await;
            if killed {
                bench.kill().await;
                bench.start();
            }
            bench.wait(2).await;
            bench.record("d/a.json", "{}");
            let companion = format!("d/a~{:016x}.json", Crc64Nvme::of(b"sound"));
            bench.until_delivered(&companion, "{}").await;
            assert_eq!(bench.object("calls/d/a.json"), None, "it joined a stranger");

            // The next recording of that name, and its companion, are other ones.
            bench.world.borrow_mut().objects.remove("calls/d/a.wav");
            bench.record("d/a.wav", "second");
            bench.until_delivered("d/a.wav", "second").await;
            bench.record("d/a.json", "[]");
            bench.until_delivered("d/a.json", "[]").await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_arrives_under_its_own_name_keeps_its_companion() {
    Bench::run(async |mut bench| {
        occupy(&bench, "a.wav", "other", true);
        bench.start();
        bench.record("a.wav", "sound");
        bench.until_delivered(&alternate("a", "wav", "sound"), "sound").await;
        bench.world.borrow_mut().objects.remove("calls/a.wav");
        bench.record("a.wav", "second");
        bench.until_delivered("a.wav", "second").await;
        bench.record("a.json", "{}");
        bench.until_delivered("a.json", "{}").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_companion_waits_while_its_media_file_is_in_progress() {
    for in_progress in ["a.wav.part", "a.part", ".a.wav", "a.tmp"] {
        Bench::run(async |mut bench| {
            bench.start();
            bench.wait(1).await;
            fs::write(bench.path(in_progress), "sound").unwrap();
            bench.record("b.json", "{}");
            fs::write(bench.path("a.json.new.part"), "{}").unwrap();
            fs::rename(bench.path("a.json.new.part"), bench.path("a.json")).unwrap();
            bench.until_delivered("b.json", "{}").await;
            bench.wait(300).await;
            assert!(bench.path("a.json").exists(), "before {in_progress}");
            fs::rename(bench.path(in_progress), bench.path("a.wav")).unwrap();
            bench.until_delivered("a.json", "{}").await;
            assert_eq!(bench.calls(), ["b.json", "a.wav", "a.json"].map(|name| format!("PUT calls/{name}")));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_waits_for_no_media_file_that_nobody_writes_to() {
    Bench::run(async |mut bench| {
        bench.start();
        bench.wait(1).await;
        fs::write(bench.path("a.wav.part"), "left by a recorder that crashed").unwrap();
        let part = fs::File::options().append(true).open(bench.path("a.wav.part")).unwrap();
        part.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        drop(part);
        bench.record("a.json", "{}");
        bench.until_delivered("a.json", "{}").await;
        assert!(bench.drains().await);
    })
    .await;
}
