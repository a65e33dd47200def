//! Whether a destination is Ready, as `status` and `explain` show it, and the side that can act.

use jiff::Timestamp;
use serde::Serialize;

use crate::api::{ConditionType, Reason, RecordingDestination, Side};

/// Whether a destination is Ready, for the spec as it now stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Readiness {
    /// `True`, `False` or `Unknown`.
    pub ready: String,
    /// The reason of the condition.
    pub reason: String,
    /// The side that can act; absent where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The same in a sentence.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Readiness {
    pub(super) fn of(destination: &RecordingDestination) -> Self {
        let unseen = |message: &str| Readiness {
            ready: "Unknown".to_owned(),
            reason: Reason::Progressing.to_string(),
            side: Reason::Progressing.side(),
            message: message.to_owned(),
            since: destination.metadata.creation_timestamp.as_ref().map(|time| time.0),
        };
        match destination.condition(ConditionType::Ready) {
            None => unseen(
                "the controller has not validated it yet: if that lasts, see whether the controller runs",
            ),
            Some(condition) if condition.observed_generation != destination.metadata.generation => unseen(
                "it was edited, and the controller has not validated it since: if that lasts, see whether the controller runs",
            ),
            Some(condition) => Readiness {
                ready: condition.status.clone(),
                reason: condition.reason.clone(),
                side: side(&condition.reason),
                message: condition.message.clone(),
                since: Some(condition.last_transition_time.0),
            },
        }
    }
}

/// The side that can act on a reason; `None` for a reason of a later release.
pub(super) fn side(reason: &str) -> Option<Side> {
    reason.parse::<Reason>().ok().and_then(Reason::side)
}
