//! What uploaders report of themselves, and when.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::refusal::refusal_reason;
use crate::api::{DeliveryReport, NEARLY_FULL, Reason, SpoolFault, Unanswered, Uploader, UploaderPhase};

/// How long a recording may wait before its uploader is late.
const LATE: SignedDuration = SignedDuration::from_mins(15);
/// How long a report stands when no other follows: three were missed.
pub(super) const REPORT_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// How long an outage lasts before it is reported.
const OUTAGE: Duration = Duration::from_secs(10);
/// Between two reports in which nothing changed.
const REPORT_INTERVAL: Duration = Duration::from_secs(300);
/// Between two reports, whatever changed: the broker writes no status more often.
const LEAST_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Volumes that are deleted with their pod, and the file system of a container. A CSI volume that a pod describes itself
/// lives as long as the pod, and so does an ephemeral claim.
const DELETED_WITH_POD: [&str; 5] = ["emptyDir", "ephemeral", "csi", "gitRepo", "container"];

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
    } else if let Some(unanswered) = report.unanswered {
        Some(match unanswered {
            Unanswered::Session => Reason::SessionUnavailable,
            Unanswered::S3 => Reason::S3Unavailable,
        })
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

/// What is reported of an outage that has lasted for so long: one that passes within seconds is no news.
pub fn reported_outage(outage: Option<Unanswered>, lasted: Duration) -> Option<Unanswered> {
    outage.filter(|_| lasted >= OUTAGE)
}

/// A report that the broker took.
#[derive(Clone, Debug)]
pub struct SentReport {
    pub report: DeliveryReport,
    /// What was the matter then.
    pub trouble: Option<Reason>,
}

/// Whether an uploader should report now that this time has passed since its last report: on a transition, and every five
/// minutes.
pub fn report_is_due(
    last: Option<&SentReport>,
    since: Duration,
    report: &DeliveryReport,
    now: Timestamp,
) -> bool {
    let Some(last) = last else { return true };
    // What is said at the end of a pod cannot be said later.
    last.report.phase != report.phase
        || since >= LEAST_REPORT_INTERVAL && is_news(last, report, now)
        || since >= REPORT_INTERVAL
}

/// Whether a report says something that the last one did not, numbers apart.
fn is_news(last: &SentReport, report: &DeliveryReport, now: Timestamp) -> bool {
    let told = &last.report;
    let is_other_refusal = match (&told.refusal, &report.refusal) {
        (Some(told), Some(refusal)) => !told.is_like(refusal),
        (told, refusal) => told.is_some() != refusal.is_some(),
    };
    let kinds = |report: &DeliveryReport| {
        let is_full = report.volume_used_percent >= NEARLY_FULL;
        (report.spool, report.not_removed > 0, report.quarantined > 0, is_full)
    };
    is_other_refusal
        || kinds(told) != kinds(report)
        || last.trouble != trouble(report, now)
        || told.last_upload_time.is_none() && report.last_upload_time.is_some()
        // A pod that is killed after this has lost nothing.
        || told.pending_files > 0 && report.pending_files == 0
        // The last of these is all that is known of a pod whose grace period is too short.
        || report.phase == UploaderPhase::Draining && told.pending_files != report.pending_files
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

/// Whether a pod that was asked to end may still be at it: it reports only what changes.
pub(super) fn may_still_end(item: &Uploader, now: Timestamp) -> bool {
    item.ending && now < item.report_time.0 + REPORT_LIFE
}

/// Whether a volume of that kind is there when its pod is gone.
pub fn outlives_pod(spool: &str) -> bool {
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
