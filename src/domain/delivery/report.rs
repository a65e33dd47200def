//! What uploaders report of themselves: when they do, and what of it the destination's status keeps.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::notes::uploader_note;
use super::refusal::{refusal_reason, shown_code};
use crate::api::{
    DeliveryReport, NEARLY_FULL, Reason, RecordingDestinationStatus, SpoolFault, Transition, UploadRefusal,
    Uploader, UploaderPhase, UploaderRefusal, Uploaders,
};

/// How long a recording may wait before its uploader is late.
const LATE: SignedDuration = SignedDuration::from_mins(15);
/// Between two reports in which nothing changed.
const REPORT_INTERVAL: Duration = Duration::from_secs(300);
/// Between two reports, whatever changed: the broker writes no status more often.
const LEAST_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a report stands when no other follows: three were missed.
const REPORT_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// How much newer an upload must be than the one that the status has.
const UPLOAD_STEP: SignedDuration = SignedDuration::from_hours(1);
/// Uploaders that a status names.
const NAMED: usize = 50;

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
    pub report: DeliveryReport,
    /// When.
    pub at: Timestamp,
}

/// What reports change: the part of a status that the broker writes, and the Events to raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Uploaders in trouble.
    pub uploaders: Option<Uploaders>,
    /// The newest upload.
    pub last_upload_time: Option<Time>,
    /// What changed about the destination as a whole.
    pub transitions: Vec<Transition>,
}

/// Applies reports to a status. `None`: they change nothing that the status keeps.
///
/// Beyond 50 uploaders in trouble only their number is kept, by what each report says of being counted already; it
/// is exact again as soon as all can be named.
pub fn apply_reports(status: &RecordingDestinationStatus, reports: &[PodReport]) -> Option<StatusUpdate> {
    let before = status.uploaders.clone().unwrap_or_default();
    let was_named = |uid: &str| before.items.iter().any(|item| item.uid == uid);
    let mut items: Vec<_> = before
        .items
        .iter()
        .filter(|item| !reports.iter().any(|heard| heard.uid == item.uid))
        .cloned()
        .collect();
    let mut count = before.count;
    for heard in reports {
        let counted = was_named(&heard.uid) || heard.report.was_in_trouble && before.items.len() == NAMED;
        let reason = trouble(&heard.report, heard.at);
        count += i64::from(reason.is_some()) - i64::from(counted);
        if let Some(reason) = reason
            && items.len() < NAMED
        {
            items.push(uploader(heard, reason));
        }
    }
    // Those that have been in trouble for long keep their place.
    items.sort_by(|a, b| a.pod.cmp(&b.pod).then_with(|| a.uid.cmp(&b.uid)));
    let after = uploaders(items, count);

    let newest = reports.iter().filter_map(|heard| Some(heard.report.last_upload_time?.min(heard.at))).max();
    let known = status.last_upload_time.as_ref().map(|Time(at)| *at);
    let is_step = |newest: &Timestamp| known.is_none_or(|known| known + UPLOAD_STEP <= *newest);
    let last_upload_time = newest.filter(is_step).map(whole_seconds).or(status.last_upload_time.clone());

    if after == status.uploaders && last_upload_time == status.last_upload_time {
        return None;
    }
    let transitions = transitions(&before.items, after.as_ref().map_or(&[], |after| &after.items));
    Some(StatusUpdate { uploaders: after, last_upload_time, transitions })
}

/// Drops uploaders that no longer report: their pods are gone, or cannot reach the broker. `None`: there are none.
pub fn prune(uploaders: &Uploaders, now: Timestamp) -> Option<Option<Uploaders>> {
    let heard = |item: &&Uploader| now < item.report_time.0 + REPORT_LIFE;
    let items: Vec<_> = uploaders.items.iter().filter(heard).cloned().collect();
    let dropped = uploaders.items.len() - items.len();
    let count = uploaders.count.saturating_sub_unsigned(dropped as u64);
    (dropped > 0).then(|| self::uploaders(items, count))
}

/// When the next of them is dropped unless it reports.
pub fn prune_at(uploaders: &Uploaders) -> Option<Timestamp> {
    uploaders.items.iter().map(|item| item.report_time.0 + REPORT_LIFE).min()
}

fn uploaders(items: Vec<Uploader>, count: i64) -> Option<Uploaders> {
    let named = items.len() as i64;
    let count = if items.len() < NAMED { named } else { count.max(named) };
    (count > 0).then_some(Uploaders { count, items })
}

fn uploader(heard: &PodReport, reason: Reason) -> Uploader {
    let number = |count: u64| count.try_into().unwrap_or(i64::MAX);
    Uploader {
        pod: heard.pod.clone(),
        uid: heard.uid.clone(),
        reason: reason.to_string(),
        refusal: heard.report.refusal.as_ref().map(shown_refusal),
        not_removed: number(heard.report.not_removed),
        volume_nearly_full: heard.report.volume_used_percent >= NEARLY_FULL,
        pending_files: number(heard.report.pending_files),
        oldest_pending_time: heard.report.oldest_pending_time.map(whole_seconds),
        quarantined: number(heard.report.quarantined),
        report_time: whole_seconds(heard.at),
    }
}

fn shown_refusal(refusal: &UploadRefusal) -> UploaderRefusal {
    UploaderRefusal {
        call: refusal.call.to_string(),
        code: shown_code(&refusal.code),
        policy: refusal.policy.map(|policy| policy.to_string()),
    }
}

/// A status keeps whole seconds.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).expect("within the range that it came from"))
}

/// One for each kind of trouble that is new, naming a pod; and one when the last has ended. A hundred pods that are
/// late for one cause are one piece of news.
fn transitions(before: &[Uploader], after: &[Uploader]) -> Vec<Transition> {
    let mut news: Vec<Transition> = Vec::new();
    let known = |news: &[Transition], reason: &str| {
        before.iter().any(|item| item.reason == reason) || news.iter().any(|told| told.reason == reason)
    };
    for item in after {
        if !known(&news, &item.reason) {
            news.push(Transition { warning: true, reason: item.reason.clone(), note: uploader_note(item) });
        }
    }
    if after.is_empty() && !before.is_empty() {
        let note =
            "Nothing that an uploader has reported keeps recordings from being delivered any more".to_owned();
        news.push(Transition { warning: false, reason: Reason::Delivered.to_string(), note });
    }
    news
}

#[cfg(test)]
mod tests;
