//! What the status of a destination keeps of what is known of its uploaders.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::losses::{self, loss_at_the_end, loss_unaccounted};
use super::notes::uploader_note;
use super::refusal::shown_code;
use super::report::{PodReport, may_still_end, number, whole_seconds};
use crate::api::{
    Loss, NEARLY_FULL, Reason, RecordingDestinationStatus, Transition, UploadRefusal, Uploader,
    UploaderPhase, UploaderRefusal, Uploaders,
};

/// How much newer an upload must be than the one that the status has.
const UPLOAD_STEP: SignedDuration = SignedDuration::from_hours(1);
/// Uploaders that a status names.
const NAMED: usize = 50;
/// How far the clocks of two replicas of the broker may be apart. A container that ended does not report sooner again.
const CLOCKS: SignedDuration = SignedDuration::from_secs(2);

/// What a replica of the broker has learned of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It reported.
    Report(PodReport),
    /// This was its last report to this replica, 15 minutes ago. The status asks the other replicas whether they have
    /// heard more, by an uploader with the reason `Progressing`.
    Silent(PodReport),
    /// The API server was asked for a pod that the status names and of which no replica has heard more.
    Found {
        /// UID of the pod.
        uid: String,
        /// The time of its last report, by the status.
        reported: Timestamp,
        /// Whether it is gone, or has ended.
        is_gone: bool,
        /// When.
        at: Timestamp,
    },
}

impl News {
    pub fn uid(&self) -> &str {
        match self {
            News::Report(PodReport { uid, .. })
            | News::Silent(PodReport { uid, .. })
            | News::Found { uid, .. } => uid,
        }
    }
}

/// What news changes: the part of a status that the broker writes, and the Events to raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Uploaders that something keeps from delivering.
    pub uploaders: Option<Uploaders>,
    /// What pods left behind.
    pub last_losses: Vec<Loss>,
    /// The newest upload.
    pub last_upload_time: Option<Time>,
    /// What changed about the destination as a whole.
    pub transitions: Vec<Transition>,
}

impl StatusUpdate {
    /// Whether the status names that pod among its uploaders.
    pub(super) fn names(&self, uid: &str) -> bool {
        self.uploaders.iter().flat_map(|all| &all.items).any(|item| item.uid == uid)
    }
}

/// Applies news to a status. `None`: it changes nothing that the status keeps.
///
/// News that is older than what the status has of the same pod changes nothing: several replicas of the broker hear different
/// reports of a pod, and write them in any order.
///
/// Beyond 50 uploaders in trouble only their number is kept, by what each report says of being counted already; it
/// is exact again as soon as all can be named.
pub fn apply_news(status: &RecordingDestinationStatus, news: &[News]) -> Option<StatusUpdate> {
    let before = status.uploaders.clone().unwrap_or_default();
    let mut after =
        Draft { items: before.items.clone(), count: before.count, losses: status.last_losses.clone() };
    // Who leaves makes room first.
    let mut named = Vec::new();
    for one in news.iter().filter(|one| is_new(status, one)) {
        match one {
            News::Report(heard) => {
                let was_beyond = heard.report.was_in_trouble && before.items.len() == NAMED;
                after.take(&heard.uid, was_beyond);
                losses::hear(&mut after.losses, heard);
                after.losses.extend(loss_at_the_end(heard));
                named.extend(heard.reason().map(|reason| (heard, reason)));
            }
            News::Silent(heard) => {
                after.take(&heard.uid, false);
                named.push((heard, Reason::Progressing));
            }
            News::Found { uid, is_gone: true, at, .. } => {
                let item = after.take(uid, false);
                after.losses.extend(item.and_then(|item| loss_unaccounted(&item, *at)));
            }
            News::Found { uid, at, .. } => {
                let silent =
                    after.items.iter_mut().find(|item| item.uid == *uid && !may_still_end(item, *at));
                silent.into_iter().for_each(|item| item.reason = Reason::UploaderSilent.to_string());
            }
        }
    }
    named.into_iter().for_each(|(heard, reason)| after.put(heard, reason));
    let Draft { mut items, count, mut losses } = after;
    // Those that have been in trouble for long keep their place.
    items.sort_by(|a, b| a.pod.cmp(&b.pod).then_with(|| a.uid.cmp(&b.uid)));
    let uploaders = uploaders(items, count);
    losses::keep_newest(&mut losses);

    let reports =
        news.iter().filter_map(|one| if let News::Report(heard) = one { Some(heard) } else { None });
    let newest = reports.filter_map(|heard| Some(heard.report.last_upload_time?.min(heard.at))).max();
    let known = status.last_upload_time.as_ref().map(|Time(at)| *at);
    let is_step = |newest: &Timestamp| known.is_none_or(|known| known + UPLOAD_STEP <= *newest);
    let last_upload_time = newest.filter(is_step).map(whole_seconds).or(status.last_upload_time.clone());

    if uploaders == status.uploaders
        && losses == status.last_losses
        && last_upload_time == status.last_upload_time
    {
        return None;
    }
    let lost = losses::transitions(&status.last_losses, &losses);
    let items = uploaders.as_ref().map_or(&[][..], |uploaders| &uploaders.items);
    let mut transitions = transitions(&before.items, items, !lost.is_empty());
    transitions.extend(lost);
    Some(StatusUpdate { uploaders, last_losses: losses, last_upload_time, transitions })
}

/// Whether `heard` is newer than what a status has of that time.
pub(super) fn is_newer(heard: &PodReport, Time(known): &Time) -> bool {
    match heard.has_ended() {
        // A pod that has ended has no later report that would say otherwise, as far as clocks agree.
        true => whole_seconds(heard.at).0 + CLOCKS >= *known,
        false => whole_seconds(heard.at).0 > *known,
    }
}

/// Whether the status does not have it, nor anything newer of the pod.
fn is_new(status: &RecordingDestinationStatus, news: &News) -> bool {
    let item = item_of(status, news.uid());
    let loss = status.last_losses.iter().find(|loss| loss.uid == news.uid());
    match news {
        News::Report(heard) => {
            item.is_none_or(|item| {
                item.report_time == whole_seconds(heard.at) || is_newer(heard, &item.report_time)
            }) && loss.is_none_or(|loss| whole_seconds(heard.at) > loss.time)
        }
        News::Silent(heard) => item.is_none() && loss.is_none_or(|loss| loss.time < whole_seconds(heard.at)),
        News::Found { reported, .. } => item.is_some_and(|item| item.report_time.0 == *reported),
    }
}

pub(super) fn item_of<'a>(status: &'a RecordingDestinationStatus, uid: &str) -> Option<&'a Uploader> {
    status.uploaders.iter().flat_map(|all| &all.items).find(|item| item.uid == uid)
}

/// The next status, while news is applied to it.
struct Draft {
    items: Vec<Uploader>,
    count: i64,
    losses: Vec<Loss>,
}

impl Draft {
    /// Takes out what is there of a pod. `was_beyond` says that it was counted if it was not named.
    fn take(&mut self, uid: &str, was_beyond: bool) -> Option<Uploader> {
        let place = self.items.iter().position(|item| item.uid == uid);
        self.count -= i64::from(place.is_some() || was_beyond);
        place.map(|place| self.items.remove(place))
    }

    fn put(&mut self, heard: &PodReport, reason: Reason) {
        let has_room = self.items.len() < NAMED;
        if has_room {
            self.items.push(uploader(heard, reason));
        }
        self.count += i64::from(has_room || !reason.keeps_nothing_waiting());
    }
}

fn uploaders(items: Vec<Uploader>, count: i64) -> Option<Uploaders> {
    let named = items.len() as i64;
    let count = if items.len() < NAMED { named } else { count.max(named) };
    (count > 0).then_some(Uploaders { count, items })
}

fn uploader(heard: &PodReport, reason: Reason) -> Uploader {
    Uploader {
        pod: heard.pod.clone(),
        uid: heard.uid.clone(),
        reason: reason.to_string(),
        ending: heard.report.phase == UploaderPhase::Draining,
        refusal: heard.report.refusal.as_ref().map(shown_refusal),
        not_removed: number(heard.report.not_removed),
        volume_nearly_full: heard.report.volume_used_percent >= NEARLY_FULL,
        pending_files: number(heard.report.pending_files),
        pending_bytes: number(heard.report.pending_bytes),
        spool: heard.spool.clone(),
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

/// One for each kind of trouble that is new, naming a pod; and one when the last has ended, unless its pod left something
/// behind. A hundred pods that are late for one cause are one piece of news.
fn transitions(before: &[Uploader], after: &[Uploader], something_is_lost: bool) -> Vec<Transition> {
    let is_quiet = |item: &&Uploader| item.reason.parse().is_ok_and(Reason::keeps_nothing_waiting);
    let in_trouble = |items: &[Uploader]| items.iter().any(|item| !is_quiet(&item));
    let mut news: Vec<Transition> = Vec::new();
    let known = |news: &[Transition], reason: &str| {
        before.iter().any(|item| item.reason == reason) || news.iter().any(|told| told.reason == reason)
    };
    for item in after.iter().filter(|item| !is_quiet(item)) {
        if !known(&news, &item.reason) {
            news.push(Transition { warning: true, reason: item.reason.clone(), note: uploader_note(item) });
        }
    }
    if !in_trouble(after) && in_trouble(before) && !something_is_lost {
        let note =
            "Nothing that an uploader has reported keeps recordings from being delivered any more".to_owned();
        news.push(Transition { warning: false, reason: Reason::Delivered.to_string(), note });
    }
    news
}

#[cfg(test)]
mod tests;
