//! The texts of Events about uploaders: what happened, in which pod, and what to do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::STATE_DIRECTORY;
use crate::api::{NEARLY_FULL, Reason, Uploader, UploaderRefusal, agreeing, counted};

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

/// "3 recordings wait".
fn recordings(count: i64) -> String {
    format!("{} {}", counted(count, "recording"), agreeing(count, "waits", "wait"))
}
