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
mod tests;
