//! What S3's answers mean for a recording.
//!
//! A recording is verified when S3 itself has reported the full object's CRC64NVME, or its bytes
//! were read back. No other answer, and no number of failures, lets go of it.

use std::time::Duration;

use crate::api::{Answer, Crc64Nvme, Head, Refusal};

/// How long a put is not repeated while S3 does not show what is under its key. Then it is, as S3 does not say either
/// that the key is free.
pub const PUT_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// What to do next with a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// S3 holds it, byte for byte: it may be unlinked.
    Verified,
    /// S3 says that it has the object: ask what it holds under the key.
    Head,
    /// The key exists: ask what it holds.
    Taken,
    /// Something is under the key that S3 does not show.
    Unreadable,
    /// S3 holds an object of this size without a full CRC64NVME: read it back.
    ReadBack,
    /// S3 holds other content under the key: keep both, this one under its alternate name.
    Conflict,
    /// What arrived was not what the checksum was computed from: examine the file again.
    Reexamine,
    /// The session is past its life: get another and repeat the call.
    RenewSession,
    /// No clear answer: repeat the question after a while.
    Retry,
    /// The key is free after all: put it again after a while.
    PutAgain,
    /// S3 does not know the upload: either it made the object and its answer was lost, or begin another.
    HeadOrAfresh,
    /// The upload is void: begin another after a while.
    Afresh,
    /// S3 refuses. It is asked again after a while.
    Pause,
}

/// Judges the answer to a conditional put, of which the granted one may carry the object's checksum.
pub fn after_put(answer: &Answer<Option<Crc64Nvme>>, ours: Crc64Nvme) -> Next {
    match answer {
        Answer::Granted(Some(theirs)) if *theirs == ours => Next::Verified,
        // Also when the put's answer names another checksum: what S3 holds decides, not the answer.
        Answer::Granted(_) => Next::Head,
        Answer::Refused(refusal) => match (refusal.status, refusal.code.as_str()) {
            // The key exists, perhaps because an earlier put succeeded and its answer was lost.
            (412, _) => Next::Taken,
            (409, _) => Next::Retry,
            _ if refusal.is_damage() => Next::Reexamine,
            _ => after_refusal(refusal),
        },
        Answer::Silent(_) => Next::Retry,
    }
}

/// Judges the answer to a HEAD of the key, asked after a put was granted or found the key taken.
pub fn after_head(answer: &Answer<Head>, ours: Crc64Nvme, size: u64) -> Next {
    match answer {
        Answer::Granted(head) => match head.crc64nvme {
            Some(theirs) if theirs == ours && head.size == size => Next::Verified,
            None if head.size == size => Next::ReadBack,
            _ => Next::Conflict,
        },
        Answer::Refused(refusal) => after_refused_read(refusal),
        Answer::Silent(_) => Next::Retry,
    }
}

/// Judges the answer to a HEAD of a key that S3 may or may not have made an object of, as it does not know the upload
/// any more. A role that may not list gets 403 for a missing key.
pub fn after_head_or_afresh(answer: &Answer<Head>, ours: Crc64Nvme, size: u64) -> Next {
    match answer {
        Answer::Refused(Refusal { status: 403 | 404, .. }) => Next::Afresh,
        answer => after_head(answer, ours, size),
    }
}

/// Judges the checksum of the object's bytes, read back.
pub fn after_read_back(answer: &Answer<Crc64Nvme>, ours: Crc64Nvme) -> Next {
    match answer {
        Answer::Granted(theirs) if *theirs == ours => Next::Verified,
        Answer::Granted(_) => Next::Conflict,
        Answer::Refused(refusal) => after_refused_read(refusal),
        Answer::Silent(_) => Next::Retry,
    }
}

/// A refused HEAD has no code. One of an object that a customer's key encrypts answers 400, one whose KMS key denies
/// 403, and so does a GET of an archived one.
fn after_refused_read(refusal: &Refusal) -> Next {
    let is_of_caller = matches!(
        refusal.code.as_str(),
        "InvalidAccessKeyId" | "InvalidToken" | "SignatureDoesNotMatch" | "AuthorizationHeaderMalformed"
    );
    match after_refusal(refusal) {
        Next::Pause if matches!(refusal.status, 400 | 403) && !is_of_caller => Next::Unreadable,
        next => next,
    }
}

pub(super) fn after_refusal(refusal: &Refusal) -> Next {
    if refusal.is_expired_token() {
        return Next::RenewSession;
    }
    if refusal.is_throttle() || refusal.is_server_fault() || refusal.code == "RequestTimeTooSkewed" {
        return Next::Retry;
    }
    // The key was there and is not any more; a missing bucket is the destination's fault.
    let vanished = refusal.status == 404 && refusal.code != "NoSuchBucket";
    if vanished { Next::PutAgain } else { Next::Pause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Silence;

    const OURS: Crc64Nvme = Crc64Nvme(1);
    const OTHER: Crc64Nvme = Crc64Nvme(2);

    fn refused<T>(status: u16, code: &str) -> Answer<T> {
        Answer::Refused(Refusal { status, code: code.to_owned(), ..Refusal::default() })
    }

    /// Refusals that mean the same whatever was asked.
    const COMMON: [(u16, &str, Next); 17] = [
        (400, "ExpiredToken", Next::RenewSession),
        (400, "TokenRefreshRequired", Next::RenewSession),
        (403, "AccessDenied", Next::Pause),
        (403, "", Next::Pause),
        (403, "InvalidAccessKeyId", Next::Pause),
        (403, "RequestTimeTooSkewed", Next::Retry),
        (404, "NoSuchBucket", Next::Pause),
        (404, "NoSuchKey", Next::PutAgain),
        (404, "", Next::PutAgain),
        (301, "PermanentRedirect", Next::Pause),
        (400, "AuthorizationHeaderMalformed", Next::Pause),
        (400, "KMS.DisabledException", Next::Pause),
        (400, "RequestTimeout", Next::Retry),
        (429, "", Next::Retry),
        (503, "SlowDown", Next::Retry),
        (500, "InternalError", Next::Retry),
        (502, "", Next::Retry),
    ];

    /// The same, where S3 was asked what is under a key.
    fn of_read(status: u16, code: &str, expected: Next) -> Next {
        let is_unreadable = [(403, "AccessDenied"), (403, ""), (400, "KMS.DisabledException")];
        if is_unreadable.contains(&(status, code)) { Next::Unreadable } else { expected }
    }

    #[test]
    fn a_put_is_verified_only_by_the_checksum_that_s3_reports() {
        for (answer, expected) in [
            (Answer::Granted(Some(OURS)), Next::Verified),
            (Answer::Granted(Some(OTHER)), Next::Head),
            (Answer::Granted(None), Next::Head),
            (refused(412, "PreconditionFailed"), Next::Taken),
            (refused(409, "ConditionalRequestConflict"), Next::Retry),
            (refused(400, "BadDigest"), Next::Reexamine),
            (refused(400, "XAmzContentChecksumMismatch"), Next::Reexamine),
            (refused(400, "IncompleteBody"), Next::Reexamine),
            (Answer::Silent(Silence::Timeout), Next::Retry),
            (Answer::Silent(Silence::Connection), Next::Retry),
            (Answer::Silent(Silence::Garbled), Next::Retry),
        ] {
            assert_eq!(after_put(&answer, OURS), expected, "{answer:?}");
        }
        for (status, code, expected) in COMMON {
            assert_eq!(after_put(&refused(status, code), OURS), expected, "{status} {code}");
        }
    }

    #[test]
    fn what_a_head_shows_is_ours_another_or_unknown() {
        let held = |crc64nvme, size| Answer::Granted(Head { crc64nvme, size });
        for (answer, expected) in [
            (held(Some(OURS), 10), Next::Verified),
            (held(Some(OURS), 11), Next::Conflict),
            (held(Some(OTHER), 10), Next::Conflict),
            (held(None, 10), Next::ReadBack),
            (held(None, 11), Next::Conflict),
            (Answer::Silent(Silence::Timeout), Next::Retry),
        ] {
            assert_eq!(after_head(&answer, OURS, 10), expected, "{answer:?}");
        }
        for (status, code, expected) in COMMON {
            assert_eq!(after_head(&refused(status, code), OURS, 10), of_read(status, code, expected));
        }
    }

    #[test]
    fn where_s3_does_not_know_the_upload_a_key_that_it_does_not_show_is_free() {
        for (answer, expected) in [
            (Answer::Granted(Head { crc64nvme: Some(OURS), size: 10 }), Next::Verified),
            (Answer::Granted(Head { crc64nvme: Some(OTHER), size: 10 }), Next::Conflict),
            (refused(403, ""), Next::Afresh),
            (refused(404, ""), Next::Afresh),
            (refused(400, "ExpiredToken"), Next::RenewSession),
            (refused(503, ""), Next::Retry),
        ] {
            assert_eq!(after_head_or_afresh(&answer, OURS, 10), expected, "{answer:?}");
        }
        for (status, code) in [(403, ""), (400, ""), (403, "InvalidObjectState"), (400, "InvalidRequest")] {
            assert_eq!(after_head(&refused(status, code), OURS, 10), Next::Unreadable, "{status} {code}");
        }
    }

    #[test]
    fn an_object_without_our_checksum_is_judged_by_its_bytes() {
        assert_eq!(after_read_back(&Answer::Granted(OURS), OURS), Next::Verified);
        assert_eq!(after_read_back(&Answer::Granted(OTHER), OURS), Next::Conflict);
        assert_eq!(after_read_back(&Answer::Silent(Silence::Connection), OURS), Next::Retry);
        for (status, code, expected) in COMMON {
            assert_eq!(after_read_back(&refused(status, code), OURS), of_read(status, code, expected));
        }
    }
}
