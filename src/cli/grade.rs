//! The worst that is true of a destination: it decides the headline, the order and the exit code.

use jiff::{SignedDuration, Timestamp};

use super::output::{BAD, CommandOutcome, DOUBTFUL, GOOD};
use super::readiness::{Readiness, side};
use crate::api::{ConditionType, Loss, LossKind, Reason, RecordingDestination, Side, Uploader};

/// A sidecar reports every five minutes. Two reports are missing.
const SILENT_AFTER: SignedDuration = SignedDuration::from_mins(11);

/// A loss is the headline for a day. Then it is listed only, as the status keeps it until newer ones take its place.
const NEWS: SignedDuration = SignedDuration::from_hours(24);

/// From the worst to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// A pod took recordings with it that were not delivered.
    Lost,
    /// A pod that had recordings to deliver is gone without a last report.
    Unaccounted,
    /// Something keeps recordings from being delivered, or from being removed.
    NotDelivering,
    NotReady,
    /// A pod left recordings in a volume that outlives it.
    Left,
    /// Pods that had recordings to send do not report any more.
    Silent,
    /// The status says that all is well, and is too old to be believed.
    NotRenewed,
    NotKnown,
    Suspended,
    /// Ready, with a role that is not proved to refuse others.
    NotEnforced,
    Well,
}

impl Grade {
    /// The first of these that is true.
    pub(super) fn of(destination: &RecordingDestination, now: Timestamp) -> Self {
        let value = |kind| destination.condition(kind).map(|condition| condition.status.as_str());
        let Readiness { ready, reason, .. } = Readiness::of(destination);
        let is_suspended = ready == "False" && reason == "Suspended";
        let has = |kind| losses(destination).iter().any(|loss| loss.kind == kind && is_news(loss, now));
        if has(LossKind::Lost) {
            Grade::Lost
        } else if has(LossKind::Unaccounted) {
            Grade::Unaccounted
        } else if value(ConditionType::Delivering) == Some("False") {
            Grade::NotDelivering
        } else if ready == "False" && !is_suspended {
            Grade::NotReady
        } else if has(LossKind::Left) {
            Grade::Left
        } else if silent(destination, now).next().is_some() {
            Grade::Silent
        } else if not_renewed_since(destination, now).is_some() {
            Grade::NotRenewed
        } else if is_suspended {
            Grade::Suspended
        } else if ready != "True" {
            Grade::NotKnown
        } else if value(ConditionType::ExternalIDEnforced) != Some("True") {
            Grade::NotEnforced
        } else {
            Grade::Well
        }
    }

    /// The reason of a loss, and when the newest of these losses was.
    pub(super) fn loss(self, destination: &RecordingDestination) -> Option<(Reason, Timestamp)> {
        let (kind, reason) = match self {
            Grade::Lost => (LossKind::Lost, Reason::RecordingsLost),
            Grade::Unaccounted => (LossKind::Unaccounted, Reason::RecordingsUnaccounted),
            Grade::Left => (LossKind::Left, Reason::RecordingsLeft),
            _ => return None,
        };
        let of_kind = losses(destination).iter().filter(|loss| loss.kind == kind);
        Some((reason, of_kind.map(|loss| loss.time.0).max()?))
    }

    /// What a summary calls destinations of this grade.
    pub(super) fn words(self) -> &'static str {
        match self {
            Grade::Lost => "with recordings lost",
            Grade::Unaccounted => "with recordings unaccounted for",
            Grade::NotDelivering => "not delivering",
            Grade::NotReady => "not ready",
            Grade::Left => "with recordings left in a volume",
            Grade::Silent => "with pods that are silent",
            Grade::NotRenewed => "with a status that is not renewed",
            Grade::NotKnown => "not known",
            Grade::Suspended => "suspended",
            Grade::NotEnforced => "ready with a role that is not proved to refuse others",
            Grade::Well => "well",
        }
    }

    pub(super) fn outcome(self) -> CommandOutcome {
        match self {
            Grade::Lost | Grade::Unaccounted | Grade::NotDelivering | Grade::NotReady | Grade::Suspended => {
                CommandOutcome::Wrong
            }
            Grade::Left | Grade::Silent | Grade::NotRenewed | Grade::NotKnown => CommandOutcome::Unclear,
            Grade::NotEnforced | Grade::Well => CommandOutcome::Well,
        }
    }

    pub(super) fn style(self) -> anstyle::Style {
        match self {
            Grade::Lost | Grade::Unaccounted | Grade::NotDelivering | Grade::NotReady => BAD,
            Grade::Left
            | Grade::Silent
            | Grade::NotRenewed
            | Grade::NotKnown
            | Grade::Suspended
            | Grade::NotEnforced => DOUBTFUL,
            Grade::Well => GOOD,
        }
    }
}

/// The uploaders in the status that should have reported again.
pub(super) fn silent(destination: &RecordingDestination, now: Timestamp) -> impl Iterator<Item = &Uploader> {
    let uploaders = destination.status.iter().flat_map(|status| &status.uploaders);
    uploaders.flat_map(|uploaders| &uploaders.items).filter(move |uploader| is_silent(uploader, now))
}

/// What pods left behind, as the status has it.
fn losses(destination: &RecordingDestination) -> &[Loss] {
    destination.status.as_ref().map_or(&[], |status| &status.last_losses)
}

/// Whether the loss is from the last day.
pub(super) fn is_news(loss: &Loss, now: Timestamp) -> bool {
    now.duration_since(loss.time.0) < NEWS
}

/// Whether the pod should have reported again.
pub(super) fn is_silent(uploader: &Uploader, now: Timestamp) -> bool {
    uploader.reason == Reason::UploaderSilent.to_string()
        || now.duration_since(uploader.report_time.0) > SILENT_AFTER
}

/// Since when the status has not been renewed, where a controller that runs would have renewed it: it makes an answer of AWS
/// that is older than twice its interval Unknown.
pub(super) fn not_renewed_since(destination: &RecordingDestination, now: Timestamp) -> Option<Timestamp> {
    let Readiness { ready, reason, .. } = Readiness::of(destination);
    let is_of_aws = ready == "True" || (ready == "False" && side(&reason) == Some(Side::Customer));
    let last = destination.status.as_ref()?.last_validation_time.as_ref()?.0;
    let interval = SignedDuration::from_secs(destination.spec.validation.interval_seconds.into());
    (is_of_aws && now.duration_since(last) > interval * 2).then_some(last)
}
