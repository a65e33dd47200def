//! Large recordings: the parts in which they go, what is kept of an upload so that it can go on after the process has
//! ended, and what S3's answers mean.
//!
//! The journal is believed as far as the file agrees: a part counts as sent while the file's bytes there have its
//! checksum. So it does not matter which process, or which mount of the volume, wrote it.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Next;
use super::answers::after_refusal;
use crate::api::{Answer, BucketTarget, Crc64Nvme, Part, Refusal};

/// Most parts of an upload. Amazon S3 User Guide, "Amazon S3 multipart upload limits".
const MOST_PARTS: u64 = 10_000;

/// From which size on recordings go in parts, and how large these are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Largest recording, in bytes, that goes as a whole.
    pub whole: u64,
    /// Bytes of a part, unless that makes more parts than S3 takes.
    pub part: u64,
}

impl Default for Sizes {
    /// What has to be sent again after a failure is a part, or 32 MiB.
    fn default() -> Self {
        Sizes { whole: 32 << 20, part: 8 << 20 }
    }
}

impl Sizes {
    /// Bytes of a part of a recording of this size, at least; `None`: the recording goes as a whole.
    pub fn part_of(&self, size: u64) -> Option<u64> {
        (size > self.whole).then(|| self.part.max(size.div_ceil(MOST_PARTS)))
    }
}

/// What is kept of an upload in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// Of the recording, relative to the spool.
    pub path: String,
    /// Size of the recording, in bytes.
    pub size: u64,
    /// Where the parts go.
    pub bucket: String,
    /// Of the bucket.
    pub region: String,
    /// Of the object that they will be.
    pub key: String,
    /// Bytes of every part but the last.
    pub part_size: u64,
    /// How the object is to be stored, as S3 was asked when the upload began; absent in journals of releases that did
    /// not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// As S3 named the upload; absent while S3 has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
    /// What S3 has, by ascending number.
    pub parts: Vec<Part>,
}

impl Journal {
    /// Whether the upload is of a recording of this size to this key, stores it as the destination asks for now, and has
    /// parts that can be the whole of it: with parts too small, S3's limit would make an object of the recording's
    /// beginning alone. Where the settings are not known, as of an earlier release, they do not count as the same: bytes
    /// can be sent again, but an object that was stored unencrypted cannot be taken back.
    pub fn is_for(&self, target: &BucketTarget, key: &str, size: u64) -> bool {
        let same_place = self.bucket == target.bucket && self.key == key;
        same_place && self.size == size && self.settings == Some(settings(target)) && self.is_whole()
    }

    fn is_whole(&self) -> bool {
        if self.part_size == 0 || self.size.div_ceil(self.part_size) > MOST_PARTS {
            return false;
        }
        let all = self.size.div_ceil(self.part_size) as i32;
        self.parts.is_sorted_by(|before, after| before.number < after.number)
            && self.parts.iter().all(|part| (1..=all).contains(&part.number))
    }

    /// Which bytes a part holds.
    pub fn range(&self, number: i32) -> Range<u64> {
        let start = u64::from(number.cast_unsigned() - 1) * self.part_size;
        start..(start + self.part_size).min(self.size)
    }

    /// Numbers of the parts that S3 does not have.
    pub fn missing(&self) -> impl Iterator<Item = i32> {
        let all = self.size.div_ceil(self.part_size).min(MOST_PARTS) as i32;
        (1..=all).filter(|number| self.position(*number).is_err())
    }

    /// S3 has a part.
    pub fn enter(&mut self, part: Part) {
        match self.position(part.number) {
            Ok(known) => self.parts[known] = part,
            Err(new) => self.parts.insert(new, part),
        }
    }

    /// Keeps the parts of which `is_so`.
    pub fn keep(&mut self, is_so: impl Fn(&Part) -> bool) {
        self.parts.retain(is_so);
    }

    /// Of the whole, once S3 has every part.
    pub fn crc64nvme(&self) -> Option<Crc64Nvme> {
        let length = |part: &Part| {
            let range = self.range(part.number);
            range.end - range.start
        };
        let whole = || {
            let nothing = Crc64Nvme::of(b"");
            self.parts.iter().fold(nothing, |before, part| before.followed_by(part.crc64nvme, length(part)))
        };
        self.missing().next().is_none().then(whole)
    }

    fn position(&self, number: i32) -> Result<usize, usize> {
        self.parts.binary_search_by_key(&number, |part| part.number)
    }
}

/// How a destination has objects stored, which is decided when an upload begins. Text, as it is compared as a whole:
/// what another release knows of and this one does not makes a difference as well.
pub fn settings(target: &BucketTarget) -> String {
    let settings = json!({
        "encryption": target.encryption,
        "objectACL": target.object_acl,
        "storageClass": target.storage_class,
    });
    settings.to_string()
}

/// Judges the answer to the request for an upload.
pub fn after_create(answer: Answer<String>) -> Result<String, Next> {
    match answer {
        Answer::Granted(upload_id) => Ok(upload_id),
        Answer::Refused(refusal) => Err(after_refusal(&refusal)),
        Answer::Silent(_) => Err(Next::Retry),
    }
}

/// Judges the answer to a part.
pub fn after_part(answer: Answer<Part>) -> Result<Part, Next> {
    match answer {
        Answer::Granted(part) => Ok(part),
        // Whether it was completed, its answer lost, or aborted by a lifecycle rule.
        Answer::Refused(refusal) if is_unknown_upload(&refusal) => Err(Next::HeadOrAfresh),
        Answer::Refused(refusal) if refusal.is_damage() => Err(Next::Reexamine),
        Answer::Refused(refusal) => Err(after_refusal(&refusal)),
        Answer::Silent(_) => Err(Next::Retry),
    }
}

/// Judges the answer to the request to make the parts one object, which may name the object's checksum.
pub fn after_complete(answer: &Answer<Option<Crc64Nvme>>, ours: Crc64Nvme) -> Next {
    match answer {
        Answer::Granted(Some(theirs)) if *theirs == ours => Next::Verified,
        Answer::Granted(_) => Next::Head,
        Answer::Refused(refusal) if is_unknown_upload(refusal) => Next::HeadOrAfresh,
        Answer::Refused(refusal) => match (refusal.status, refusal.code.as_str()) {
            (412, _) => Next::Taken,
            // Amazon S3 User Guide, "Conditional writes": all parts are to be uploaded again.
            (409, _) => Next::Afresh,
            (_, "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" | "BadDigest") => Next::Afresh,
            _ => after_refusal(refusal),
        },
        Answer::Silent(_) => Next::Retry,
    }
}

/// What became of an upload that is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// S3 has nothing of it.
    Gone,
    /// S3 keeps its parts, and the customer pays for them until a lifecycle rule removes them.
    Left,
    /// No clear answer: ask again.
    Unknown,
}

/// Judges the answer to the request to abort an upload.
pub fn after_abort(answer: &Answer) -> Dropped {
    match answer {
        Answer::Granted(()) => Dropped::Gone,
        Answer::Refused(refusal) if is_unknown_upload(refusal) => Dropped::Gone,
        Answer::Refused(refusal) => match after_refusal(refusal) {
            Next::Retry | Next::RenewSession => Dropped::Unknown,
            _ => Dropped::Left,
        },
        Answer::Silent(_) => Dropped::Unknown,
    }
}

fn is_unknown_upload(refusal: &Refusal) -> bool {
    refusal.code == "NoSuchUpload"
}

#[cfg(test)]
mod tests {
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
            let ranges: Vec<_> =
                journal.missing().map(|number| format!("{:?}", journal.range(number))).collect();
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
}
