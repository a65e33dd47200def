//! Refusals that uploaders report → the one question that is asked of AWS again, and when.
//!
//! A report is a hint and no proof, as a pod may lie: it costs one AssumeRole and, for a call of S3, one probe of the
//! bucket. While the answers do not confirm it, the pause before the next question grows.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};

use super::conditions::find;
use super::evidence::{RoleEvidence, SecretObservation, Work};
use crate::api::{Answer, ConditionType, RecordingDestinationStatus, RefusedCall};

/// The pause after the first answer that does not confirm a refusal; it doubles with each that follows.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// Between questions about different refusals, and before a refusal that has ended is followed up.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// Without a refusal for that long, the pauses begin with the first again.
const QUIET: SignedDuration = SignedDuration::from_mins(10);

/// What reports have brought into doubt, and when AWS was last asked about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doubt {
    /// Hash of the refusals.
    about: u64,
    pub(super) asked: Timestamp,
    pub(super) pause: SignedDuration,
    /// Whether the refusals have ended, and a validation has followed.
    ended: bool,
}

/// The refusals that stand in a status.
struct Refusals {
    /// What answers whether they are so.
    work: Work,
    about: u64,
}

fn refusals(status: &RecordingDestinationStatus) -> Option<Refusals> {
    let items = status.uploaders.iter().flat_map(|uploaders| &uploaders.items);
    let refusals = items.filter_map(|item| item.refusal.as_ref());
    let mut kinds: Vec<_> = refusals.map(|refusal| (&refusal.call, &refusal.code)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let assume_role = RefusedCall::AssumeRole.to_string();
    let work = kinds.iter().map(|(call, _)| if **call == assume_role { Work::Role } else { Work::Bucket });
    let work = work.max()?;
    let mut hasher = DefaultHasher::new();
    kinds.hash(&mut hasher);
    Some(Refusals { work, about: hasher.finish() })
}

/// The question that reports raise, and when it is to be asked.
pub(super) fn question(
    status: &RecordingDestinationStatus,
    doubt: Option<&Doubt>,
    now: Timestamp,
) -> Option<(Timestamp, Work)> {
    let is_ready = is_ready(status);
    match (refusals(status), doubt) {
        (Some(refusals), None) if is_ready => Some((now, refusals.work)),
        (Some(refusals), Some(doubt)) if is_ready => {
            let pause = if doubt.about == refusals.about { doubt.pause } else { SHORTEST_PAUSE };
            Some((doubt.asked + pause, refusals.work))
        }
        // What AWS grants again is noticed before the next retry.
        (None, Some(doubt)) if !is_ready && !doubt.ended => {
            Some((doubt.asked + SHORTEST_PAUSE, Work::Everything))
        }
        _ => None,
    }
}

/// Whether refusals stood in the status before, and what was found has ended Ready.
pub(super) fn is_confirmed(before: &RecordingDestinationStatus, after: &RecordingDestinationStatus) -> bool {
    refusals(before).is_some() && is_ready(before) && !is_ready(after)
}

/// The doubt after a validation at `now` of a destination that showed `before` and shows `after`.
pub(super) fn after_validation(
    doubt: Option<&Doubt>,
    before: &RecordingDestinationStatus,
    after: &RecordingDestinationStatus,
    (secret, role): (&SecretObservation, Option<&RoleEvidence>),
    interval: SignedDuration,
    now: Timestamp,
) -> Option<Doubt> {
    let Some(refusals) = refusals(before) else {
        return doubt
            .filter(|doubt| now.duration_since(doubt.asked) < longest_age(doubt))
            .map(|doubt| Doubt { ended: true, ..doubt.clone() });
    };
    if !is_answered(refusals.work, secret, role) {
        return doubt.cloned();
    }
    let earlier = doubt.filter(|doubt| now.duration_since(doubt.asked) < longest_age(doubt));
    let pause = match earlier {
        // Only what leaves a destination Ready is not confirmed: another break of it is to be found soon.
        Some(earlier) if is_ready(before) && is_ready(after) => match is_answered_clearly(secret, role) {
            true => (earlier.pause * 2).min(interval),
            false => earlier.pause,
        },
        _ => FIRST_PAUSE,
    };
    Some(Doubt { about: refusals.about, asked: now, pause, ended: false })
}

fn is_ready(status: &RecordingDestinationStatus) -> bool {
    find(status, ConditionType::Ready).is_some_and(|ready| ready.status == "True")
}

fn longest_age(doubt: &Doubt) -> SignedDuration {
    (doubt.pause * 2).max(QUIET)
}

/// Whether the evidence goes as far as the question does, or as AWS and the Secret let it.
fn is_answered(work: Work, secret: &SecretObservation, role: Option<&RoleEvidence>) -> bool {
    match role {
        None => !matches!(secret, SecretObservation::Resolved { .. }),
        Some(role) => work == Work::Role || role.bucket.is_some() || role.assumed != Answer::Granted(()),
    }
}

/// Whether AWS and the API server gave an answer: silence neither confirms a report nor refutes it.
fn is_answered_clearly(secret: &SecretObservation, role: Option<&RoleEvidence>) -> bool {
    let silent = |answer: &Answer| matches!(answer, Answer::Silent(_));
    match role {
        None => !matches!(secret, SecretObservation::Unreadable(_) | SecretObservation::Limited(_)),
        Some(role) => {
            let bucket = role.bucket.iter().flat_map(|bucket| &bucket.calls);
            !silent(&role.assumed) && !bucket.into_iter().any(|(_, answer)| silent(answer))
        }
    }
}
