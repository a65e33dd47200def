//! Findings and what stood before → conditions.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::checks::{Finding, Findings, Outcome};
use crate::api::{ConditionType, Reason, RecordingDestinationStatus, Validation};

/// The conditions that Ready is made of, in the order in which they are proved. `Exclusive` joins
/// them with the claims.
const PARTS: [ConditionType; 4] = [
    ConditionType::SecretResolved,
    ConditionType::RoleAssumable,
    ConditionType::ExternalIDEnforced,
    ConditionType::BucketWritable,
];

/// Writes the conditions of a validation into `status`.
pub(super) fn settle(
    status: &mut RecordingDestinationStatus,
    previous: &RecordingDestinationStatus,
    findings: &Findings,
    intervals: &Validation,
    generation: i64,
    now: Timestamp,
) {
    for kind in PARTS {
        let Some(finding) = findings.of(kind) else { continue };
        let interval = match kind {
            ConditionType::RoleAssumable => intervals.interval_seconds,
            _ => intervals.enforcement_interval_seconds,
        };
        let proved_at = match kind {
            ConditionType::RoleAssumable => &previous.last_validation_time,
            _ => &previous.last_enforcement_time,
        };
        let expiry =
            proved_at.as_ref().map(|Time(at)| *at + SignedDuration::from_secs(2 * i64::from(interval)));
        let fresh = expiry.is_some_and(|expiry| now < expiry);
        let same_secret = previous.external_id_secret_version == findings.secret_version;
        let stands = fresh
            && same_secret
            && find(previous, kind)
                .is_some_and(|c| c.status == "True" && c.observed_generation == Some(generation));
        let looked_past = matches!(finding.outcome, Outcome::Inconclusive | Outcome::NotDue);
        if !(looked_past && stands) {
            let Finding { outcome, reason, message, .. } = finding;
            set(status, kind, value(*outcome), *reason, message, generation, now);
        }
    }
    let (value, reason, message) = readiness(status);
    set(status, ConditionType::Ready, &value, reason, &message, generation, now);
    remove(status, ConditionType::Stalled);
    if value == "True" {
        remove(status, ConditionType::Reconciling);
    } else {
        let message = format!("retried on its own: {message}");
        set(status, ConditionType::Reconciling, "True", Reason::Progressing, &message, generation, now);
    }
}

fn value(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Proved => "True",
        Outcome::Refuted => "False",
        Outcome::Inconclusive | Outcome::NotEvaluated | Outcome::NotDue => "Unknown",
    }
}

/// Ready, from its parts: the first that is False gives the reason, else the first that is Unknown.
fn readiness(status: &RecordingDestinationStatus) -> (String, Reason, String) {
    let parts = || PARTS.iter().filter_map(|kind| find(status, *kind));
    let unmet = parts().find(|c| c.status == "False").or_else(|| parts().find(|c| c.status != "True"));
    match unmet {
        Some(condition) => {
            let reason = condition.reason.parse().unwrap_or(Reason::Progressing);
            (condition.status.clone(), reason, condition.message.clone())
        }
        None => {
            let message = "the role lets the platform in, nobody without the External ID, and the bucket can be written".to_owned();
            ("True".to_owned(), Reason::Validated, message)
        }
    }
}

/// Suspended: Ready is False; what is known of the rest stays as it is.
pub(super) fn suspend(status: &mut RecordingDestinationStatus, generation: i64, now: Timestamp) {
    let message = "suspended by spec.suspend: nothing is uploaded or validated, recordings stay spooled";
    remove(status, ConditionType::Reconciling);
    remove(status, ConditionType::Stalled);
    set(status, ConditionType::Ready, "False", Reason::Suspended, message, generation, now);
}

/// Nothing moves until the spec is edited.
pub(super) fn stall(status: &mut RecordingDestinationStatus, problem: &str, generation: i64, now: Timestamp) {
    remove(status, ConditionType::Reconciling);
    set(status, ConditionType::Ready, "False", Reason::InvalidSpec, problem, generation, now);
    set(status, ConditionType::Stalled, "True", Reason::InvalidSpec, problem, generation, now);
}

/// An edit that no proof depends on: everything holds for the new generation too.
pub(super) fn carry_over(status: &mut RecordingDestinationStatus, generation: i64) {
    for condition in &mut status.conditions {
        condition.observed_generation = Some(generation);
    }
}

pub(super) fn find(status: &RecordingDestinationStatus, kind: ConditionType) -> Option<&Condition> {
    let name: &str = kind.into();
    status.conditions.iter().find(|condition| condition.type_ == name)
}

fn remove(status: &mut RecordingDestinationStatus, kind: ConditionType) {
    let name: &str = kind.into();
    status.conditions.retain(|condition| condition.type_ != name);
}

/// Sets a condition; `lastTransitionTime` moves only when the status flips.
fn set(
    status: &mut RecordingDestinationStatus,
    kind: ConditionType,
    value: &str,
    reason: Reason,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let since = find(status, kind)
        .filter(|c| c.status == value)
        .map_or(Time(now), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_string(),
        status: value.to_owned(),
        reason: reason.to_string(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    match status.conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(existing) => *existing = condition,
        None if kind == ConditionType::Ready => status.conditions.insert(0, condition),
        None => status.conditions.push(condition),
    }
}
