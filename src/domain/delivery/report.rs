//! What uploaders report of themselves, and when.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::refusal::refusal_reason;
use crate::api::{DeliveryReport, NEARLY_FULL, Reason, SpoolFault, UploaderPhase};

/// How long a recording may wait before its uploader is late.
const LATE: SignedDuration = SignedDuration::from_mins(15);
/// Between two reports in which nothing changed.
const REPORT_INTERVAL: SignedDuration = SignedDuration::from_mins(5);
/// Volumes that are deleted with their pod. The last one stands for the file system of a container.
const DELETED_WITH_POD: [&str; 3] = ["emptyDir", "ephemeral", "container"];

/// What keeps the uploader that reports this from delivering, if anything: a cause before what follows from it.
pub fn trouble(report: &DeliveryReport, now: Timestamp) -> Option<Reason> {
    // The time is the pod's to choose: nothing may be added to it.
    let is_late = |oldest| now.duration_since(oldest) >= LATE;
    if let Some(fault) = report.spool {
        Some(match fault {
            SpoolFault::InUse => Reason::SpoolInUse,
            SpoolFault::Unusable => Reason::SpoolUnusable,
        })
    } else if let Some(refusal) = &report.refusal {
        Some(refusal_reason(refusal))
    } else if report.not_removed > 0 {
        Some(Reason::SpoolNotWritable)
    } else if report.volume_used_percent >= NEARLY_FULL {
        Some(Reason::SpoolNearlyFull)
    } else if report.pending_files > 0 && report.oldest_pending_time.is_some_and(is_late) {
        Some(Reason::UploadsLate)
    } else if report.quarantined > 0 {
        Some(Reason::RecordingsQuarantined)
    } else {
        None
    }
}

/// A report that the broker took, and when.
#[derive(Clone, Debug)]
pub struct SentReport {
    /// The report.
    pub report: DeliveryReport,
    /// What was the matter then.
    pub trouble: Option<Reason>,
    /// When.
    pub at: Timestamp,
}

/// Whether an uploader should report now: on a transition, and every five minutes.
pub fn report_is_due(last: Option<&SentReport>, report: &DeliveryReport, now: Timestamp) -> bool {
    let Some(last) = last else { return true };
    last.trouble != trouble(report, now)
        || last.report.last_upload_time.is_none() && report.last_upload_time.is_some()
        || last.at + REPORT_INTERVAL <= now
}

/// A report, and the pod that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodReport {
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// The kind of volume that its spool is on, such as `emptyDir`; empty where it could not be read from the pod.
    pub spool: String,
    pub report: DeliveryReport,
    /// When.
    pub at: Timestamp,
}

impl PodReport {
    /// Recordings that do not arrive if nothing more is heard of the pod.
    pub(super) fn files_at_stake(&self) -> u64 {
        let DeliveryReport { pending_files, quarantined, not_removed, .. } = self.report;
        let kept = if outlives_pod(&self.spool) { not_removed } else { 0 };
        pending_files.saturating_add(quarantined).saturating_add(kept)
    }

    /// Whether anything would be left behind if nothing more is heard of the pod.
    pub(super) fn has_stake(&self) -> bool {
        self.files_at_stake() > 0 || self.report.spool == Some(SpoolFault::Unusable)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.report.phase == UploaderPhase::Ended
    }

    /// What the status says of the uploader, if anything.
    pub(super) fn reason(&self) -> Option<Reason> {
        let ending = || {
            (self.report.phase == UploaderPhase::Draining && self.has_stake()).then_some(Reason::PodEnding)
        };
        match self.has_ended() {
            true => None,
            false => trouble(&self.report, self.at).or_else(ending),
        }
    }
}

/// Whether a volume of that kind is there when its pod is gone.
pub(super) fn outlives_pod(spool: &str) -> bool {
    !DELETED_WITH_POD.contains(&spool)
}

/// A count as a status has it.
pub(super) fn number(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// A status keeps whole seconds.
pub(super) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).expect("within the range that it came from"))
}

#[cfg(test)]
mod tests;
