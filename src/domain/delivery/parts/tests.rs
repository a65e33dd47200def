use super::*;
use crate::api::{Encryption, ObjectACL, Silence};

fn journal(size: u64, part_size: u64) -> Journal {
    Journal {
        path: "d/a.wav".into(),
        size,
        bucket: "acme-recordings".into(),
        region: "us-east-1".into(),
        key: "calls/d/a.wav".into(),
        part_size,
        settings: Some("{}".into()),
        upload_id: Some("upload/1".into()),
        parts: Vec::new(),
    }
}

fn part(number: i32, content: &[u8]) -> Part {
    Part { number, etag: format!("\"e{number}\""), crc64nvme: Crc64Nvme::of(content) }
}

#[test]
fn a_large_recording_goes_in_no_more_parts_than_s3_takes() {
    const MIB: u64 = 1 << 20;
    for (size, expected) in [
        (0, None),
        (32 * MIB, None),
        (32 * MIB + 1, Some(8 * MIB)),
        (80_000 * MIB, Some(8 * MIB)),
        (80_000 * MIB + 1, Some(8 * MIB + 1)),
        (5 * MIB * MIB, Some(549_755_814)),
    ] {
        let sizes = Sizes::default();
        assert_eq!(sizes.part_of(size), expected, "{size}");
        if let Some(part_size) = expected {
            assert!(journal(size, part_size).missing().count() <= MOST_PARTS as usize, "{size}");
        }
    }
}

#[test]
fn parts_follow_one_another_without_a_gap_and_end_with_the_recording() {
    for (size, expected) in [(1, "0..1"), (4, "0..4"), (5, "0..4 4..5"), (12, "0..4 4..8 8..12")] {
        let journal = journal(size, 4);
        let ranges: Vec<_> = journal.missing().map(|number| format!("{:?}", journal.range(number))).collect();
        assert_eq!(ranges.join(" "), expected);
    }
}

#[test]
fn a_journal_whose_parts_are_not_the_whole_recording_is_not_continued() {
    let with = |size, part_size, numbers: &[i32]| {
        let parts = numbers.iter().map(|number| part(*number, b"a")).collect();
        Journal { parts, ..journal(size, part_size) }
    };
    let target = BucketTarget {
        bucket: "acme-recordings".into(),
        region: "us-east-1".into(),
        prefix: "calls/".into(),
        object_acl: ObjectACL::default(),
        storage_class: None,
        encryption: Encryption::default(),
        expected_bucket_owner: "111111111111".into(),
    };
    let is_for = |journal: Journal| {
        let journal = Journal { settings: Some(settings(&target)), ..journal };
        journal.is_for(&target, "calls/d/a.wav", journal.size)
    };
    for (size, part_size, numbers, expected) in [
        (9, 4, &[][..], true),
        (9, 4, &[1, 3], true),
        (9, 4, &[1, 2, 3], true),
        (40_000, 4, &[10_000], true),
        (40_001, 4, &[], false),
        (u64::MAX, 1, &[], false),
        (9, 0, &[], false),
        (9, 4, &[0], false),
        (9, 4, &[-1, 1], false),
        (9, 4, &[4], false),
        (9, 4, &[2, 1], false),
        (9, 4, &[1, 1], false),
        (9, 4, &[i32::MAX], false),
    ] {
        assert_eq!(is_for(with(size, part_size, numbers)), expected, "{size}, {part_size}, {numbers:?}");
    }
    assert!(!journal(9, 4).is_for(&target, "calls/d/a.wav", 10));
}

#[test]
fn the_whole_has_a_checksum_once_all_parts_arrived_in_any_order() {
    let mut journal = journal(9, 4);
    for (number, content) in [(3, b"9".as_slice()), (1, b"other"), (1, b"1234")] {
        journal.enter(part(number, content));
        assert_eq!(journal.crc64nvme(), None);
    }
    assert_eq!(journal.missing().collect::<Vec<_>>(), [2]);
    journal.enter(part(2, b"5678"));
    assert_eq!(journal.crc64nvme(), Some(Crc64Nvme::of(b"123456789")));
    assert_eq!(journal.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 3]);
    journal.keep(|part| part.number != 2);
    assert_eq!(journal.crc64nvme(), None);
}

#[test]
fn a_journal_reads_back_as_it_was_written() {
    let mut written = journal(9, 4);
    written.enter(part(1, b"123456789"));
    let text = serde_json::to_string_pretty(&written).unwrap();
    let expected = r#"{
  "path": "d/a.wav",
  "size": 9,
  "bucket": "acme-recordings",
  "region": "us-east-1",
  "key": "calls/d/a.wav",
  "partSize": 4,
  "settings": "{}",
  "uploadId": "upload/1",
  "parts": [
    {
      "number": 1,
      "etag": "\"e1\"",
      "crc64nvme": "rosUhgp5mIg="
    }
  ]
}"#;
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<Journal>(&text).unwrap(), written);
}

fn refused<T>(status: u16, code: &str) -> Answer<T> {
    Answer::Refused(Refusal { status, code: code.to_owned(), ..Refusal::default() })
}

#[test]
fn what_an_answer_to_a_part_means() {
    assert_eq!(after_part(Answer::Granted(part(1, b"a"))), Ok(part(1, b"a")));
    for (answer, expected) in [
        (refused(404, "NoSuchUpload"), Next::HeadOrAfresh),
        (refused(400, "BadDigest"), Next::Reexamine),
        (refused(400, "ExpiredToken"), Next::RenewSession),
        (refused(403, "AccessDenied"), Next::Pause),
        (refused(404, "NoSuchBucket"), Next::Pause),
        (refused(503, "SlowDown"), Next::Retry),
        (Answer::Silent(Silence::Connection), Next::Retry),
    ] {
        assert_eq!(after_part(answer.clone()), Err(expected), "{answer:?}");
    }
}

#[test]
fn what_an_answer_to_the_request_for_an_upload_means() {
    assert_eq!(after_create(Answer::Granted("u".into())), Ok("u".into()));
    for (answer, expected) in [
        (refused(403, "AccessDenied"), Next::Pause),
        (refused(400, "ExpiredToken"), Next::RenewSession),
        (refused(500, "InternalError"), Next::Retry),
        (Answer::Silent(Silence::Timeout), Next::Retry),
    ] {
        assert_eq!(after_create(answer.clone()), Err(expected), "{answer:?}");
    }
}

#[test]
fn an_object_of_parts_is_verified_only_by_the_checksum_that_s3_reports() {
    let ours = Crc64Nvme(1);
    for (answer, expected) in [
        (Answer::Granted(Some(ours)), Next::Verified),
        (Answer::Granted(Some(Crc64Nvme(2))), Next::Head),
        (Answer::Granted(None), Next::Head),
        (refused(412, "PreconditionFailed"), Next::Taken),
        (refused(404, "NoSuchUpload"), Next::HeadOrAfresh),
        (refused(409, "ConditionalRequestConflict"), Next::Afresh),
        (refused(400, "InvalidPart"), Next::Afresh),
        (refused(400, "BadDigest"), Next::Afresh),
        (refused(200, "InternalError"), Next::Retry),
        (refused(400, "ExpiredToken"), Next::RenewSession),
        (refused(403, "AccessDenied"), Next::Pause),
        (Answer::Silent(Silence::Garbled), Next::Retry),
    ] {
        assert_eq!(after_complete(&answer, ours), expected, "{answer:?}");
    }
}

#[test]
fn an_upload_is_gone_or_left_only_when_s3_says_so() {
    for (answer, expected) in [
        (Answer::Granted(()), Dropped::Gone),
        (refused(404, "NoSuchUpload"), Dropped::Gone),
        (refused(403, "AccessDenied"), Dropped::Left),
        (refused(404, "NoSuchBucket"), Dropped::Left),
        (refused(503, "SlowDown"), Dropped::Unknown),
        (refused(400, "ExpiredToken"), Dropped::Unknown),
        (Answer::Silent(Silence::Timeout), Dropped::Unknown),
    ] {
        assert_eq!(after_abort(&answer), expected, "{answer:?}");
    }
}
