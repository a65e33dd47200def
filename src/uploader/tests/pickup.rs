//! What is picked up, when, and under which key.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use tokio::time::Instant;

use super::fakes::Bench;
use super::steps::{fail_below, heal_below};

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
        assert!(bench.termination_message().starts_with("3 files with a name of a recording in progress"));
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
async fn a_writer_that_goes_on_after_its_rename_is_waited_for_while_it_writes() {
    for closes in [true, false] {
        Bench::run(async |mut bench| {
            bench.start();
            bench.wait(1).await;
            let part = bench.path("a.part");
            let mut writer = OpenOptions::new().create(true).append(true).open(&part).unwrap();
            writer.write_all(b"one ").unwrap();
            fs::rename(&part, bench.path("a.wav")).unwrap();
            for _ in 0..4 {
                bench.wait(20).await;
                writer.write_all(b"more ").unwrap();
            }
            assert_eq!(bench.calls(), [""; 0]);
            let (began, kept) = (Instant::now(), (!closes).then_some(writer));
            bench.until_delivered("a.wav", "one more more more more ").await;
            let bound = Duration::from_secs(if closes { 5 } else { 70 });
            assert!(began.elapsed() < bound, "closed: {closes}, {:?}", began.elapsed());
            drop(kept);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_yet_is_quarantined_only_once_it_is_quiet() {
    for opens_up in [true, false] {
        Bench::run(async |mut bench| {
            // As another user's file without rights for us, whichever user runs the test.
            let path = bench.path("a.wav");
            fs::write(&path, "so").unwrap();
            fail_below(path.clone(), "open a file", libc::EACCES);
            bench.start();
            let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
            for _ in 0..6 {
                bench.wait(200).await;
                writer.write_all(b"und").unwrap();
            }
            drop(writer);
            let quarantine = bench.path(".recording-uploader/quarantine/a.wav");
            assert!(path.exists() && !quarantine.exists(), "moved away under its writer");
            if opens_up {
                heal_below(&path, "open a file");
                bench.until_delivered("a.wav", "soundundundundundund").await;
            } else {
                bench.until("the quarantine", |_| quarantine.exists()).await;
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_node_has_no_watches_left_the_spool_is_walked_every_few_seconds() {
    Bench::run(async |mut bench| {
        // The spool can be watched, and what is made in it cannot.
        fs::create_dir(bench.path("2026")).unwrap();
        fail_below(bench.path("2026"), "watch a directory", libc::ENOSPC);
        bench.start();
        for name in ["2026/a.wav", "2026/11/b.wav"] {
            bench.wait(20).await;
            let began = Instant::now();
            bench.record(name, "sound");
            bench.until_delivered(name, "sound").await;
            assert!(began.elapsed() < Duration::from_secs(30), "{name} took {:?}", began.elapsed());
        }
        assert!(bench.drains().await);
        assert_eq!(bench.termination_message(), "", "all of it could be read");
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

#[tokio::test(start_paused = true)]
async fn odd_names_are_keys_as_they_are() {
    Bench::run(async |mut bench| {
        let deep = format!("{}/a.wav", vec!["x".repeat(200); 5].join("/"));
        let names = [
            "a b.wav",
            "ünï/ç ö.wav",
            "line\nbreak.wav",
            "a..wav",
            "~",
            "100%41.wav",
            "-",
            "a\\b.wav",
            &deep,
        ];
        bench.start();
        for name in names {
            bench.record(name, name);
        }
        for name in names {
            bench.until_delivered(name, name).await;
        }
        assert!(bench.drains().await);
        assert_eq!(bench.world.borrow().objects.len(), names.len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_swapped_for_a_link_sends_nothing_from_where_it_leads() {
    for swapped in [false, true] {
        Bench::run(async |mut bench| {
            let outside = tempfile::tempdir().unwrap();
            fs::write(outside.path().join("a.wav"), "not a recording").unwrap();
            bench.pause("not yet");
            bench.start();
            bench.record("d/a.wav", "sound");
            bench.wait(10).await;
            if swapped {
                fs::rename(bench.path("d"), bench.path(".d")).unwrap();
                std::os::unix::fs::symlink(outside.path(), bench.path("d")).unwrap();
            }
            bench.resume();
            let link = bench.path(".recording-uploader/quarantine/d");
            match swapped {
                false => bench.until_delivered("d/a.wav", "sound").await,
                true => bench.until("the quarantine", |_| link.symlink_metadata().is_ok()).await,
            }
            bench.wait(600).await;
            let expected = if swapped { vec![] } else { vec!["PUT calls/d/a.wav".to_owned()] };
            assert_eq!(bench.calls(), expected);
            assert!(outside.path().join("a.wav").exists());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_grows_shrinks_or_vanishes_while_it_is_sent_is_sent_as_it_is_in_the_end() {
    let long = "0123456789".repeat(30_000);
    for (content, change, left) in [
        ("first", "first and more", true),
        ("first", "f", true),
        (long.as_str(), "short", true),
        ("first", "", false),
    ] {
        Bench::run(async |mut bench| {
            bench.sizes = crate::domain::delivery::Sizes { whole: 1 << 20, part: 1 << 19 };
            bench.start();
            let path = bench.path("a.wav");
            bench.world.borrow_mut().during_put = Some(Box::new(move || match left {
                true => fs::write(&path, change).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }));
            bench.record("a.wav", content);
            let expected = if left { change } else { content };
            bench
                .until("the last content", |bench| {
                    let has = bench
                        .world
                        .borrow()
                        .objects
                        .values()
                        .any(|object| object.bytes == expected.as_bytes());
                    has && !bench.path("a.wav").exists()
                })
                .await;
            assert!(bench.drains().await);
            assert!(bench.world.borrow().objects.len() <= 2, "{content:.9} then {change}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_files_are_all_sent() {
    let many = if std::env::var_os("RECORDINGS_TEST_LONG").is_some() { 100_000 } else { 3_000 };
    Bench::run(async |mut bench| {
        for number in 0..many {
            let path = bench.path(&format!("{:02}/{number}.wav", number % 100));
            if number < 100 {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
            }
            fs::write(path, number.to_string()).unwrap();
        }
        bench.start();
        bench.until("all of them", |bench| bench.world.borrow().objects.len() == many).await;
        assert!(bench.drains().await);
        assert_eq!(bench.calls().len(), many, "each with one call");
    })
    .await;
}
