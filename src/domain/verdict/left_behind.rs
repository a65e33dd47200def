//! Recordings that pods left in claims, for the condition `Delivering`.

use crate::api::{LossKind, Reason, RecordingDestinationStatus};

/// Why a recording waits that no uploader reports: a pod that ended left it in a claim, and no later pod with that claim has
/// sent it since. Of other volumes nobody can tell whether a later pod has, so they do not count.
pub(super) fn left_in_a_claim(reported: &RecordingDestinationStatus) -> Option<(Reason, &'static str)> {
    let waiting = reported.last_losses.iter().filter(|loss| loss.was_on_a_claim());
    let said = waiting.filter_map(|loss| match loss.kind {
        LossKind::Left => Some((
            Reason::RecordingsLeft,
            "a pod ended and left recordings in its claim, and no later pod with that claim has sent them; \
             status.lastLosses names both",
        )),
        LossKind::Unaccounted => Some((
            Reason::RecordingsUnaccounted,
            "a pod that had recordings to deliver is gone without a last report, and no later pod with its claim has \
             reported that nothing waits there; status.lastLosses names both",
        )),
        LossKind::Lost => None,
    });
    said.min_by_key(|(reason, _)| *reason)
}
