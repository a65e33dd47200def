//! The texts of Events about uploaders: what happened, in which pod, and what to do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::STATE_DIRECTORY;
use super::report::outlives_pod;
use crate::api::{Loss, LossKind, NEARLY_FULL, Reason, Uploader, UploaderRefusal, agreeing, counted};

/// The note of the Event that an uploader is kept from delivering.
pub(super) fn uploader_note(item: &Uploader) -> String {
    let Uploader { pod, pending_files, quarantined, not_removed, .. } = item;
    let waiting = recordings(*pending_files);
    let full = match item.volume_nearly_full {
        true => format!(". The volume of its spool is {NEARLY_FULL} % full or more"),
        false => String::new(),
    };
    match item.reason.parse() {
        Ok(Reason::SpoolUnusable) => format!(
            "Pod {pod}: the sidecar cannot use its spool, and delivers nothing from it; how many recordings wait there is not \
             known. The log of its container recording-uploader names the directory and the error. Give the volume an \
             owner or a group that the sidecar's user is in{full}"
        ),
        Ok(Reason::SpoolInUse) => format!(
            "Pod {pod}: another uploader holds the lock of its spool, and this one waits. Give each pod a spool of its own, \
             or remove the other pod"
        ),
        Ok(Reason::SpoolNotWritable) => format!(
            "Pod {pod}: {} uploaded and verified, but the sidecar's user may not remove the files, so the volume fills. Let \
             the directories be writable for its UID or GID; the log of its container recording-uploader names some{full}",
            format_args!("{} {}", counted(*not_removed, "recording"), agreeing(*not_removed, "is", "are"))
        ),
        Ok(Reason::UploadsLate) => {
            let since =
                item.oldest_pending_time.as_ref().map(|Time(oldest)| format!(", the oldest since {oldest}"));
            format!(
                "Pod {pod}: {waiting} in its spool{}. They are kept and tried again; the condition Ready, or else the log of \
                 its container recording-uploader, says what is in the way. status.uploaders names the other pods, if any",
                since.unwrap_or_default()
            )
        }
        Ok(Reason::SpoolNearlyFull) => format!(
            "Pod {pod}: the volume of its spool is {NEARLY_FULL} % full or more; {waiting} in it, and {} in its quarantine. \
             The sidecar never deletes recordings to make room: when the volume is full, the recorder's writes fail with \
             ENOSPC. Make it larger, empty {STATE_DIRECTORY}/quarantine, or remove what keeps recordings from leaving: \
             the condition Ready, or else the log of its container recording-uploader, says what that is",
            counted(*quarantined, "file")
        ),
        Ok(Reason::RecordingsQuarantined) => format!(
            "Pod {pod}: {} that could not be sent {} moved to {STATE_DIRECTORY}/quarantine in its spool; the log of \
             its container recording-uploader says why. Move what is worth it back, and remove the rest",
            counted(*quarantined, "file"),
            agreeing(*quarantined, "was", "were")
        ),
        Ok(Reason::S3Unavailable) => format!(
            "Pod {pod}: S3 gives no usable answer; {waiting} in its spool. They are kept and tried again. The log of its \
             container recording-uploader has the answer, or names the host that could not be reached{full}"
        ),
        Ok(Reason::SessionUnavailable) => format!(
            "Pod {pod}: the broker gives no session; {waiting} in its spool. They are kept and tried again. The broker's log \
             says whether STS or the API server gives no usable answer{full}"
        ),
        Ok(Reason::UploaderSilent) => format!(
            "Pod {pod}: the sidecar has not reported since {}; {waiting} in its spool by that report. The pod exists: see \
             whether its container recording-uploader runs and reaches the broker, in its log",
            item.report_time.0
        ),
        _ => {
            let (call, code) = match &item.refusal {
                Some(UploaderRefusal { call, code, policy }) => {
                    let by = policy.as_ref().map(|policy| format!(", denied by a policy of type {policy}"));
                    (
                        call.as_str(),
                        format!(
                            " with {}{}",
                            if code.is_empty() { "403" } else { code },
                            by.unwrap_or_default()
                        ),
                    )
                }
                None => ("calls", String::new()),
            };
            format!(
                "Pod {pod}: AWS refuses {call}{code}; {waiting} in its spool, and none is lost. The destination is validated \
                 again at once: its condition Ready then names the cause and what to do{full}"
            )
        }
    }
}

/// The note of the Event that a pod left something behind, and as many others with it.
pub(super) fn loss_note(loss: &Loss, others: usize) -> String {
    let Loss { pod, spool, files, bytes, kind, .. } = loss;
    let left = match (files, bytes) {
        (0, _) => "an unknown number of recordings, as it could not read its spool".to_owned(),
        (files, 1..) => format!("{} ({:.1} MB)", counted(*files, "recording"), *bytes as f64 / 1e6),
        (files, _) => counted(*files, "recording"),
    };
    let kept = "start a pod with the same volume and the same destination, and its sidecar sends them";
    let lost = "keep the spool on a volume that outlives the pod, such as a claim, and see that \
                terminationGracePeriodSeconds is long enough to deliver what waits";
    let said = match kind {
        LossKind::Lost => {
            format!(
                "ended with {left} not delivered, and they are lost: its spool ({spool}) was deleted with it. For the next: {lost}"
            )
        }
        LossKind::Left => {
            format!("ended and left {left} in its spool ({spool}). They are kept there: {kept}")
        }
        LossKind::Unaccounted if outlives_pod(spool) => {
            format!(
                "is gone without a last report; by the one before it had {left} in its spool ({spool}). If the volume is there, {kept}"
            )
        }
        LossKind::Unaccounted => format!(
            "is gone without a last report; by the one before it had {left} in its spool ({spool}), which was deleted with \
             the pod: what had not been delivered by then is lost. For the next: {lost}"
        ),
    };
    let others = match others {
        0 => String::new(),
        1 => ". Another pod did likewise".to_owned(),
        others => format!(". {others} other pods did likewise"),
    };
    format!("Pod {pod} {said}{others}. status.lastLosses has the last ten")
}

/// "3 recordings wait".
fn recordings(count: i64) -> String {
    format!("{} {}", counted(count, "recording"), agreeing(count, "waits", "wait"))
}
