//! Findings and what stood before → conditions.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::checks::{CLAIM_IS_FIRST, set_claim_check};
use super::evidence::EnforcementMode;
use super::findings::{Conclusion, Finding, Findings, leave_objects};
use crate::api::{
    Check, CheckName, CheckResult, ConditionType, Objection, Reason, RecordingDestinationStatus, Validation,
};

/// The conditions that a validation proves in this order. Ready is the conjunction of these and `Exclusive`.
const PARTS: [ConditionType; 4] = [
    ConditionType::SecretResolved,
    ConditionType::RoleAssumable,
    ConditionType::ExternalIDEnforced,
    ConditionType::BucketWritable,
];

/// Sets the conditions that the findings decide.
pub(super) fn apply_findings(
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
            ConditionType::RoleAssumable => previous.last_validation_time.as_ref(),
            // A verified upload proves the bucket as well as a probe does.
            ConditionType::BucketWritable => {
                previous.last_enforcement_time.as_ref().max(previous.last_upload_time.as_ref())
            }
            _ => previous.last_enforcement_time.as_ref(),
        };
        let expiry = proved_at.map(|Time(at)| *at + SignedDuration::from_secs(2 * i64::from(interval)));
        let fresh = expiry.is_some_and(|expiry| now < expiry);
        let stood = find(previous, kind).filter(|c| c.observed_generation == Some(generation));
        let stands = findings.same_external_id
            && stood.is_some_and(|stood| match finding.conclusion {
                Conclusion::NotDue => stood.status != "Unknown",
                Conclusion::Inconclusive => fresh && stood.status == "True",
                _ => false,
            });
        if !stands {
            let Finding { conclusion, reason, message, .. } = finding;
            set(status, kind, value(*conclusion), *reason, message, generation, now);
        }
    }
}

/// Whether the conditions hold that a claim requires. An unproved destination sees only its own failure.
pub(super) fn is_proved(status: &RecordingDestinationStatus, mode: EnforcementMode) -> bool {
    let holds = |kind| find(status, kind).is_some_and(|c| c.status == "True");
    holds(ConditionType::RoleAssumable)
        && (mode == EnforcementMode::Warn || holds(ConditionType::ExternalIDEnforced))
}

/// Sets `Exclusive` to the standing of the claim, or to Unknown where it was not evaluated.
pub(super) fn set_claim(
    status: &mut RecordingDestinationStatus,
    standing: Option<&Result<(), Objection>>,
    generation: i64,
    now: Timestamp,
) {
    let (value, reason, message) = match standing {
        Some(Ok(())) => ("True", Reason::Validated, CLAIM_IS_FIRST),
        Some(Err(objection)) => ("False", objection.reason, objection.message.as_str()),
        None => ("Unknown", Reason::NotEvaluated, "not checked: the role and its External ID are not proved"),
    };
    set(status, ConditionType::Exclusive, value, reason, message, generation, now);
    set_claim_check(&mut status.checks, standing);
}

/// Sets Ready and the kstatus conditions from the others.
pub(super) fn conclude(
    status: &mut RecordingDestinationStatus,
    mode: EnforcementMode,
    generation: i64,
    now: Timestamp,
) {
    let (value, reason, message) = readiness(status, mode);
    set(status, ConditionType::Ready, &value, reason, &message, generation, now);
    remove(status, ConditionType::Stalled);
    // These wait for an action of a person; nothing is retried.
    let waits = matches!(reason, Reason::DestinationConflict | Reason::AccountNotAllowed)
        || (waits_for_request(status)
            && find(status, ConditionType::BucketWritable).is_some_and(|c| c.reason == reason.to_string()));
    if value == "True" || waits {
        remove(status, ConditionType::Reconciling);
    } else {
        let message = format!("retried on its own: {message}");
        set(status, ConditionType::Reconciling, "True", Reason::Progressing, &message, generation, now);
    }
}

fn value(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Proved => "True",
        Conclusion::Refuted => "False",
        Conclusion::Inconclusive | Conclusion::NotEvaluated | Conclusion::NotDue => "Unknown",
    }
}

/// Ready: the first condition that is False gives the reason, else the first that is Unknown.
fn readiness(status: &RecordingDestinationStatus, mode: EnforcementMode) -> (String, Reason, String) {
    let counts =
        |kind: &ConditionType| mode == EnforcementMode::Require || *kind != ConditionType::ExternalIDEnforced;
    let kinds = || PARTS.into_iter().chain([ConditionType::Exclusive]).filter(counts);
    let parts = || kinds().filter_map(|kind| find(status, kind));
    let unmet = parts().find(|c| c.status == "False").or_else(|| parts().find(|c| c.status != "True"));
    match unmet {
        Some(condition) => {
            let reason = condition.reason.parse().unwrap_or(Reason::Progressing);
            (condition.status.clone(), reason, condition.message.clone())
        }
        None if find(status, ConditionType::ExternalIDEnforced).is_some_and(|c| c.status == "True") => {
            let message = "the role lets the platform in, nobody without the External ID, and the bucket can be written";
            ("True".to_owned(), Reason::Validated, message.to_owned())
        }
        None => {
            let message = "the role lets the platform in and the bucket can be written; that the role refuses everybody \
                           else is not proved, and this platform only warns about it";
            ("True".to_owned(), Reason::Validated, message.to_owned())
        }
    }
}

/// Sets Ready to False; the other conditions stay as they are.
pub(super) fn suspend(status: &mut RecordingDestinationStatus, generation: i64, now: Timestamp) {
    let message = "suspended by spec.suspend: nothing is uploaded or validated, recordings stay spooled";
    remove(status, ConditionType::Reconciling);
    remove(status, ConditionType::Stalled);
    set(status, ConditionType::Ready, "False", Reason::Suspended, message, generation, now);
}

/// The namespace may not use the account, or has too many destinations, so nothing else was evaluated.
pub(super) fn refuse(
    status: &mut RecordingDestinationStatus,
    objection: &Objection,
    generation: i64,
    now: Timestamp,
) {
    let too_many = objection.reason == Reason::TooManyDestinations;
    for kind in PARTS {
        let seen = find(status, kind).is_some_and(|c| c.observed_generation == Some(generation));
        if !seen {
            let message = match too_many {
                true => "not checked: the namespace has too many destinations",
                false => "not checked: the namespace may not use the AWS account",
            };
            set(status, kind, "Unknown", Reason::NotEvaluated, message, generation, now);
        }
    }
    let standing = Err(objection.clone());
    set_claim(status, Some(&standing), generation, now);
    remove(status, ConditionType::Reconciling);
    remove(status, ConditionType::Stalled);
    set(status, ConditionType::Ready, "False", objection.reason, &objection.message, generation, now);
}

/// The spec cannot be served: nothing is retried until it is edited.
pub(super) fn stall(status: &mut RecordingDestinationStatus, problem: &str, generation: i64, now: Timestamp) {
    remove(status, ConditionType::Reconciling);
    set(status, ConditionType::Ready, "False", Reason::InvalidSpec, problem, generation, now);
    set(status, ConditionType::Stalled, "True", Reason::InvalidSpec, problem, generation, now);
}

/// After an edit that no proof depends on, every condition holds for the new generation.
pub(super) fn carry_over(status: &mut RecordingDestinationStatus, generation: i64) {
    for condition in &mut status.conditions {
        condition.observed_generation = Some(generation);
    }
}

/// Whether a check that counts is inconclusive.
pub(super) fn is_inconclusive(status: &RecordingDestinationStatus, mode: EnforcementMode) -> bool {
    let counts = |check: &Check| {
        mode == EnforcementMode::Require || !matches!(check.step(), Some(CheckName::WrongCaller(_)))
    };
    status.checks.iter().any(|check| check.result == CheckResult::Inconclusive && counts(check))
}

/// Whether the bucket was refused in a way that each further probe would leave more objects behind.
pub(super) fn waits_for_request(status: &RecordingDestinationStatus) -> bool {
    find(status, ConditionType::BucketWritable).is_some_and(|c| c.status == "False")
        && leave_objects(&status.checks)
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
pub(super) fn set(
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
