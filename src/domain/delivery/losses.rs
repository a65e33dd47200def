//! What pods leave behind when they end, and how long the status keeps it.

use jiff::Timestamp;

use super::notes::loss_note;
use super::report::{PodReport, number, outlives_pod, whole_seconds};
use crate::api::{Loss, LossKind, Reason, Transition, Uploader};

/// Entries of a status.
const KEPT: usize = 10;
/// What the kind of volume is called where the pod did not tell.
const UNKNOWN: &str = "unknown";

/// What a pod leaves behind by its last report, if anything.
pub(super) fn loss_at_the_end(heard: &PodReport) -> Option<Loss> {
    let kind = kind_of(&heard.spool);
    (heard.has_ended() && heard.has_stake()).then(|| Loss {
        pod: heard.pod.clone(),
        uid: heard.uid.clone(),
        time: whole_seconds(heard.at),
        files: number(heard.files_at_stake()),
        bytes: number(heard.report.pending_bytes),
        spool: shown_spool(&heard.spool),
        kind,
    })
}

fn kind_of(spool: &str) -> LossKind {
    match spool {
        "" => LossKind::Unaccounted,
        spool if outlives_pod(spool) => LossKind::Left,
        _ => LossKind::Lost,
    }
}

/// What a pod that is gone without a last report may have left behind, if anything. What a pod that was asked to end has
/// reported meanwhile is what it left: the kubelet ended it when its grace period was over.
pub(super) fn loss_unaccounted(item: &Uploader, at: Timestamp) -> Option<Loss> {
    let Uploader { pod, uid, pending_files, pending_bytes, spool, quarantined, not_removed, .. } = item;
    let kept = if outlives_pod(spool) { *not_removed } else { 0 };
    let files = pending_files.saturating_add(*quarantined).saturating_add(kept);
    let has_stake = files > 0 || item.reason == Reason::SpoolUnusable.to_string();
    has_stake.then(|| Loss {
        pod: pod.clone(),
        uid: uid.clone(),
        time: whole_seconds(at),
        files,
        bytes: *pending_bytes,
        spool: shown_spool(spool),
        kind: if item.ending { kind_of(spool) } else { LossKind::Unaccounted },
    })
}

/// Drops what a report disproves: the pod has not ended, as after a restart of its container; or it has sent what another
/// pod left in its claim.
pub(super) fn hear(losses: &mut Vec<Loss>, heard: &PodReport) {
    let is_empty = heard.report.pending_files == 0 && heard.report.spool.is_none();
    let has_sent = |loss: &Loss| {
        let is_there = loss.kind != LossKind::Lost && loss.was_on_a_claim() && loss.spool == heard.spool;
        is_there && is_empty && loss.time < whole_seconds(heard.at)
    };
    losses.retain(|loss| loss.uid != heard.uid && !has_sent(loss));
}

/// Drops all but the newest entries, and sorts these by time.
pub(super) fn keep_newest(losses: &mut Vec<Loss>) {
    losses.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.uid.cmp(&b.uid)));
    losses.truncate(KEPT);
}

/// One for each kind of loss of which there are new entries, naming the newest pod.
pub(super) fn transitions(before: &[Loss], after: &[Loss]) -> Vec<Transition> {
    let kinds = [
        (LossKind::Lost, Reason::RecordingsLost),
        (LossKind::Unaccounted, Reason::RecordingsUnaccounted),
        (LossKind::Left, Reason::RecordingsLeft),
    ];
    let transition = |(kind, reason): (LossKind, Reason)| {
        let mut new = after.iter().filter(|loss| loss.kind == kind && !before.contains(loss));
        let first = new.next()?;
        Some(Transition { warning: true, reason: reason.to_string(), note: loss_note(first, new.count()) })
    };
    kinds.into_iter().filter_map(transition).collect()
}

fn shown_spool(spool: &str) -> String {
    if spool.is_empty() { UNKNOWN.to_owned() } else { spool.to_owned() }
}

#[cfg(test)]
mod tests;
