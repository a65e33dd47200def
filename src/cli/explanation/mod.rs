//! The state of one destination in full: what fails, the side that can act, and the remedy.

mod text;

use jiff::Timestamp;
use serde::Serialize;

use super::grade::{Grade, not_renewed_since};
use super::readiness::{Readiness, side};
use super::surroundings::Surroundings;
use crate::api::{
    Check, CheckName, CheckResult, ConditionType, Loss, Reason, RecordingDestination,
    RecordingDestinationStatus, Side, Uploaders,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    #[serde(flatten)]
    readiness: Readiness,
    /// What failed or was inconclusive, each with its remedy.
    problems: Vec<Problem>,
    /// Every step of the last validation.
    checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivering: Option<Delivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaders: Option<Uploaders>,
    /// What pods left behind when they ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_losses: Vec<Loss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_validation_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_enforcement_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_upload_time: Option<Timestamp>,
    /// Since when the status has not been renewed, where it should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_renewed_since: Option<Timestamp>,
    #[serde(flatten)]
    surroundings: Surroundings,
    #[serde(skip)]
    grade: Grade,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
    #[serde(skip)]
    is_clear: bool,
}

#[derive(Serialize)]
struct Delivery {
    status: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    message: String,
    since: Timestamp,
}

impl Explanation {
    pub(super) fn of(destination: &RecordingDestination, surroundings: Surroundings, now: Timestamp) -> Self {
        let readiness = Readiness::of(destination);
        let status = destination.status.clone().unwrap_or_default();
        let delivering = destination.condition(ConditionType::Delivering).map(|condition| Delivery {
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            side: side(&condition.reason),
            message: condition.message.clone(),
            since: condition.last_transition_time.0,
        });
        Explanation {
            namespace: destination.metadata.namespace.clone().unwrap_or_default(),
            name: destination.metadata.name.clone().unwrap_or_default(),
            problems: problems(destination, &readiness, &status),
            readiness,
            checks: status.checks,
            delivering,
            uploaders: status.uploaders,
            last_losses: status.last_losses,
            last_validation_time: status.last_validation_time.map(|time| time.0),
            last_enforcement_time: status.last_enforcement_time.map(|time| time.0),
            last_upload_time: status.last_upload_time.map(|time| time.0),
            not_renewed_since: not_renewed_since(destination, now),
            surroundings,
            grade: Grade::of(destination, now),
            now,
        }
    }
}

impl Explanation {
    /// Of a destination that was only validated here and now.
    pub(super) fn of_one_validation(destination: &RecordingDestination, now: Timestamp) -> Self {
        let mut explanation = Explanation::of(destination, Surroundings::default(), now);
        (explanation.readiness.since, explanation.delivering) = (None, None);
        (explanation.last_validation_time, explanation.last_enforcement_time) = (None, None);
        // Claims of other destinations cannot be seen from here.
        explanation.checks.retain(|check| check.step() != Some(CheckName::Exclusive));
        explanation
    }
}

/// The problems, that of Ready first, and each remedy once.
fn problems(
    destination: &RecordingDestination,
    readiness: &Readiness,
    status: &RecordingDestinationStatus,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let unmet = |check: &&Check| matches!(check.result, CheckResult::Failed | CheckResult::Inconclusive);
    for check in status.checks.iter().filter(unmet) {
        let known = problems.iter().any(|known| !known.remedy.is_empty() && known.remedy == check.remedy);
        if !known {
            problems.push(Problem {
                side: side(&check.reason),
                reason: check.reason.clone(),
                message: match check.message.starts_with(&check.name) {
                    true => check.message.clone(),
                    false => format!("{}: {}", check.name, check.message),
                },
                remedy: check.remedy.clone(),
                is_clear: check.result == CheckResult::Failed,
            });
        }
    }
    problems.sort_by_key(|problem| (problem.reason != readiness.reason, !problem.is_clear));
    if readiness.ready != "True" && problems.iter().all(|problem| problem.reason != readiness.reason) {
        let remedy = match readiness.reason.parse() {
            Ok(Reason::Suspended) => {
                let name = destination.metadata.name.as_deref().unwrap_or_default();
                let namespace = destination.metadata.namespace.as_deref().unwrap_or_default();
                format!(
                    "Let it go on:\nkubectl patch recordingdestination {name} --namespace {namespace} --type=merge \
                     --patch='{{\"spec\":{{\"suspend\":false}}}}'"
                )
            }
            _ => String::new(),
        };
        let problem = Problem {
            reason: readiness.reason.clone(),
            side: readiness.side,
            message: readiness.message.clone(),
            remedy,
            is_clear: readiness.ready == "False",
        };
        problems.insert(0, problem);
    }
    problems
}
