//! What uploaders report → the condition `Delivering`.

use jiff::Timestamp;

use super::conditions::{find, set};
use super::left_behind::left_in_a_claim;
use crate::api::{ConditionType, Reason, RecordingDestinationStatus, Uploader, UploaderRefusal};

/// Reasons of uploaders whose cause is not a refusal of AWS, the worst first.
const AFTER_REFUSALS: [Reason; 7] = [
    Reason::SessionUnavailable,
    Reason::S3Unavailable,
    Reason::SpoolNotWritable,
    Reason::SpoolNearlyFull,
    Reason::UploadsLate,
    Reason::RecordingsQuarantined,
    Reason::UploaderSilent,
];

/// Sets `Delivering` from the uploaders' reports in the status.
pub(super) fn set_delivering(
    status: &mut RecordingDestinationStatus,
    reported: &RecordingDestinationStatus,
    generation: i64,
    now: Timestamp,
) {
    let (value, reason, message) = delivering(reported, status);
    set(status, ConditionType::Delivering, value, reason, &message, generation, now);
}

/// Whether the status has reports that `Delivering` does not reflect.
pub(super) fn reports_are_new(status: &RecordingDestinationStatus) -> bool {
    let (value, reason, message) = delivering(status, status);
    find(status, ConditionType::Delivering).is_none_or(|shown| {
        // The controller's copies keep no message of what holds.
        let is_reworded = value != "True" && shown.message != message;
        shown.status != value || shown.reason != reason.to_string() || is_reworded
    })
}

/// `status` has the conditions. The message has no numbers, which would change it at each report; `status.uploaders` has
/// them.
fn delivering(
    reported: &RecordingDestinationStatus,
    status: &RecordingDestinationStatus,
) -> (&'static str, Reason, String) {
    let items = reported.uploaders.as_ref().map_or(&[][..], |uploaders| &uploaders.items);
    let told = items.iter().map(|item| (item, reason_of(item))).filter(is_told);
    let worst = told.min_by_key(|(_, reason)| rank(*reason));
    let paused = Paused::of(status);
    let is_known = worst.is_some_and(|(_, reason)| reason != Reason::UploaderSilent);
    if let Some((reason, message)) = left_in_a_claim(reported).filter(|_| !is_known && paused.is_none()) {
        return ("False", reason, message.to_owned());
    }
    let (mut message, reason) = match (worst, paused) {
        // A spool that cannot be used has a cause of its own.
        (Some((_, reason)), Some(paused)) if rank(reason) >= REFUSED => (paused.message(), paused.reason),
        (Some((item, reason)), _) => (message(item, reason), reason),
        (None, Some(paused)) if paused.reason != Reason::Suspended && reported.last_upload_time.is_some() => {
            return (paused.value, paused.reason, paused.message());
        }
        (None, _) if reported.last_upload_time.is_some() => {
            let message = "recordings arrive, and nothing that an uploader has reported keeps one waiting";
            return ("True", Reason::Delivered, message.to_owned());
        }
        (None, _) => {
            return ("Unknown", Reason::NotYetReported, "no uploader has reported an upload yet".to_owned());
        }
    };
    if reason != Reason::SpoolNearlyFull && items.iter().any(|item| item.volume_nearly_full) {
        message.push_str("; the volume of a spool is 90 % full or more");
    }
    // Nothing is known of what a silent uploader does.
    let value = if reason == Reason::UploaderSilent { "Unknown" } else { "False" };
    (value, reason, message + "; status.uploaders names the pods")
}

fn is_told((_, reason): &(&Uploader, Reason)) -> bool {
    !reason.keeps_nothing_waiting()
}

/// Why uploads are paused: what a validation has found is the cause of what uploaders report since.
struct Paused<'a> {
    value: &'static str,
    reason: Reason,
    found: &'a str,
}

impl<'a> Paused<'a> {
    fn of(status: &'a RecordingDestinationStatus) -> Option<Self> {
        let ready = find(status, ConditionType::Ready).filter(|ready| ready.status != "True")?;
        let value = if ready.status == "False" { "False" } else { "Unknown" };
        Some(Paused { value, reason: ready.reason.parse().ok()?, found: &ready.message })
    }

    fn message(&self) -> String {
        format!("uploads are paused, and recordings stay spooled: {}", self.found)
    }
}

/// Of a reason that a later release gives, no more is known than that something is refused.
fn reason_of(item: &Uploader) -> Reason {
    item.reason.parse().unwrap_or(Reason::UploadRefused)
}

/// The rank of a refusal.
const REFUSED: usize = 2;

fn rank(reason: Reason) -> usize {
    match reason {
        Reason::SpoolUnusable => 0,
        Reason::SpoolInUse => 1,
        reason => AFTER_REFUSALS
            .iter()
            .position(|other| *other == reason)
            .map_or(REFUSED, |position| REFUSED + 1 + position),
    }
}

fn message(item: &Uploader, reason: Reason) -> String {
    let text = match reason {
        Reason::SpoolUnusable => {
            "a sidecar cannot use its spool and delivers nothing from it; how many recordings wait there is not known"
        }
        Reason::SpoolInUse => {
            "another uploader holds the lock of a spool, and the sidecar of the pod waits for it"
        }
        Reason::S3Unavailable => {
            "S3 gives no usable answer to an uploader; recordings are kept and tried again, and the log of the sidecar has \
             the answer"
        }
        Reason::SessionUnavailable => {
            "the broker gives an uploader no session, as STS or the broker itself gives no usable answer; recordings are kept \
             and tried again"
        }
        Reason::SpoolNotWritable => {
            "recordings are uploaded and verified, and a sidecar may not remove them from its spool, which fills"
        }
        Reason::SpoolNearlyFull => {
            "the volume of a spool is 90 % full or more: nothing is ever deleted from it to make room, and when it is full \
             the recorder's writes fail"
        }
        Reason::UploadsLate => {
            "recordings have waited in a spool for over 15 minutes; they are kept and tried again"
        }
        Reason::UploaderSilent => {
            "an uploader that had recordings to deliver has not reported for 15 minutes"
        }
        Reason::RecordingsQuarantined => {
            "files that could not be sent as they are were moved to a spool's quarantine, and the log of the sidecar says why"
        }
        _ => return refused(item.refusal.as_ref()),
    };
    text.to_owned()
}

fn refused(refusal: Option<&UploaderRefusal>) -> String {
    let Some(UploaderRefusal { call, code, policy }) = refusal else {
        return "AWS refuses recordings; they are kept and tried again".to_owned();
    };
    let code = if code.is_empty() { String::new() } else { format!(" with {code}") };
    let by =
        policy.as_ref().map(|policy| format!(", denied by a policy of type {policy}")).unwrap_or_default();
    format!("AWS refuses {call}{code}{by}; recordings are kept and tried again")
}
