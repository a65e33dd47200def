//! What is picked up, when, and under which key.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use super::fakes::Bench;

#[tokio::test(start_paused = true)]
async fn a_renamed_file_is_uploaded_with_one_call_and_unlinked() {
    Bench::run(async |mut bench| {
        bench.start();
        bench.record("2026/11/a b ü.wav", "sound");
        bench.until_delivered("2026/11/a b ü.wav", "sound").await;
        assert_eq!(bench.calls(), ["PUT calls/2026/11/a b ü.wav"]);
        assert!(bench.drains().await);
        assert_eq!(bench.termination_message(), "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn files_already_there_at_the_start_are_uploaded_and_names_in_progress_are_not() {
    Bench::run(async |mut bench| {
        for name in ["a.wav", "b.wav.part", ".c.wav", "d.tmp"] {
            fs::write(bench.path(name), name).unwrap();
        }
        bench.start();
        bench.until_delivered("a.wav", "a.wav").await;
        bench.wait(700).await;
        assert_eq!(bench.calls(), ["PUT calls/a.wav"]);
        assert!(bench.drains().await);
        assert!(
            bench.termination_message().starts_with("3 files still have names of recordings in progress")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_a_writer_has_open_waits_until_it_is_closed() {
    Bench::run(async |mut bench| {
        let mut writer = OpenOptions::new().create(true).append(true).open(bench.path("a.wav")).unwrap();
        bench.start();
        for _ in 0..3 {
            writer.write_all(b"sound ").unwrap();
            bench.wait(60).await;
        }
        assert_eq!(bench.calls(), [""; 0]);
        drop(writer);
        bench.until_delivered("a.wav", "sound sound sound ").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_companion_follows_its_media_file() {
    Bench::run(async |mut bench| {
        bench.pause("not yet");
        bench.start();
        bench.record("call.json", "{}");
        bench.record("call.wav", "sound");
        bench.wait(10).await;
        bench.resume();
        bench.until_delivered("call.json", "{}").await;
        assert_eq!(bench.calls(), ["PUT calls/call.wav", "PUT calls/call.json"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_used_again_during_the_upload_is_another_recording_and_both_are_kept() {
    Bench::run(async |mut bench| {
        bench.start();
        let (new, old) = (bench.path("again.part"), bench.path("a.wav"));
        bench.world.borrow_mut().during_put = Some(Box::new(move || {
            fs::write(&new, "second").unwrap();
            fs::rename(&new, &old).unwrap();
        }));
        bench.record("a.wav", "first");
        let second = format!("calls/a~{:016x}.wav", crate::api::Crc64Nvme::of(b"second"));
        bench.until("both", |bench| bench.object(&second).is_some() && !bench.path("a.wav").exists()).await;
        assert_eq!(bench.object("calls/a.wav").as_deref(), Some("first"));
        assert_eq!(bench.object(&second).as_deref(), Some("second"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn poison_goes_to_quarantine_and_the_others_proceed() {
    Bench::run(async |mut bench| {
        std::os::unix::fs::symlink("/etc/passwd", bench.path("link.wav")).unwrap();
        let not_unicode = bench.path("").join(std::ffi::OsStr::from_bytes(b"bad\xff.wav"));
        fs::write(&not_unicode, "sound").unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(bench.path("fifo.wav")).status().unwrap();
        assert!(fifo.success());
        fs::write(bench.path("a.wav"), "sound").unwrap();
        bench.start();
        bench.until_delivered("a.wav", "sound").await;
        let quarantine = bench.path(".recording-uploader/quarantine");
        bench
            .until("quarantine", |_| fs::read_dir(&quarantine).is_ok_and(|entries| entries.count() == 3))
            .await;
        assert_eq!(fs::read_link(quarantine.join("link.wav")).unwrap().to_str(), Some("/etc/passwd"));
        assert_eq!(bench.calls(), ["PUT calls/a.wav"]);
        assert!(bench.drains().await);
        assert!(
            bench.termination_message().starts_with("3 files were moved to .recording-uploader/quarantine")
        );
    })
    .await;
}
