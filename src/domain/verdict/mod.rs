//! Observations of a destination → its status, events and next check.
//!
//! What is not proved is never Ready. A clear refusal is False at once. An inconclusive answer is Unknown, except that an
//! earlier proof stands until it is twice its interval old.

mod bucket;
mod checks;
mod conditions;
mod delivering;
mod digest;
mod doubt;
mod events;
mod evidence;
mod findings;
mod fleet;
mod left_behind;
mod question_limit;
mod recent;
mod role;
mod schedule;
mod secret;
mod steps;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use evidence::{
    BucketEvidence, Enforcement, EnforcementMode, Evidence, LARGEST_SECRET, NegativeAnswer, Platform, Probe,
    RoleEvidence, Rules, SecretObservation, Texts, Work,
};
pub use fleet::Fleet;
pub use question_limit::QuestionLimit;
pub use recent::{Recent, is_new_external_id};
pub use schedule::{Due, due, next_validation, probe_due};

use crate::api::{
    ConditionType, Objection, RecordingDestination, RecordingDestinationStatus, RoleARN, Transition,
};
use findings::{Conclusion, Findings};

#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The status to write: all fields that belong to the controller.
    pub status: RecordingDestinationStatus,
    pub transitions: Vec<Transition>,
}

/// Judges the evidence of a destination at `now`. `recent` is what this process knows from its last validation;
/// `standing` returns how the claim stands among all others, given the status that the destination is about to have.
pub fn judge(
    destination: &RecordingDestination,
    evidence: &Evidence,
    texts: &Texts,
    recent: Option<&Recent>,
    rules: &Rules,
    standing: impl FnOnce(&RecordingDestinationStatus) -> Result<(), Objection>,
    now: Timestamp,
) -> Verdict {
    let previous = destination.status.clone().unwrap_or_default();
    let generation = destination.metadata.generation.unwrap_or_default();
    let mut status = previous.clone();
    status.observed_generation = generation;
    status.account_id = destination.spec.role_arn.parse::<RoleARN>().ok().map(|role| role.account);
    // These do not handle a request to revalidate, which is still due.
    if !matches!(evidence, Evidence::CarriedOver | Evidence::Reconsidered | Evidence::Reported) {
        status.last_handled_revalidate = recent::requested_revalidation(destination).map(str::to_owned);
    }
    // These fields belong to the broker, and server-side apply must not claim them.
    status = status.of_controller();

    if !has_same_target(destination, recent) {
        status.established_time = None;
    }
    // A status of an earlier release does not say of which Secret and key its version is.
    if status.external_id_secret_ref.is_none() {
        match destination.proved_secret_version().is_some() || matches!(evidence, Evidence::CarriedOver) {
            true => prove_secret(&mut status, destination, previous.external_id_secret_version.clone()),
            false => status.external_id_secret_version = None,
        }
    }

    match evidence {
        Evidence::Suspended => conditions::suspend(&mut status, generation, now),
        Evidence::InvalidSpec(problem) => conditions::stall(&mut status, problem, generation, now),
        Evidence::NotAllowed(objection) => conditions::refuse(&mut status, objection, generation, now),
        Evidence::CarriedOver => conditions::carry_over(&mut status, generation),
        Evidence::Reported => {}
        Evidence::Reconsidered => {
            let proved = conditions::is_proved(&status, rules.enforcement);
            let standing = proved.then(|| standing(&previous));
            conditions::set_claim(&mut status, standing.as_ref(), generation, now);
            conditions::conclude(&mut status, rules.enforcement, generation, now);
        }
        Evidence::Validated { secret, role } => {
            let findings = steps::find(destination, secret, role.as_deref(), texts);
            let intervals = &destination.spec.validation;
            status.checks = checks::keep_what_was_not_due(findings.checks.clone(), &previous.checks);
            conditions::apply_findings(&mut status, &previous, &findings, intervals, generation, now);
            let proved = conditions::is_proved(&status, rules.enforcement);
            record_times(&mut status, &findings, rules.enforcement, now);
            // The broker may send only an External ID that this validation, or a proof that still stands, has covered.
            if findings.proved(ConditionType::RoleAssumable) && proved {
                prove_secret(&mut status, destination, findings.secret_version.clone());
            }
            let standing = proved.then(|| standing(&status));
            conditions::set_claim(&mut status, standing.as_ref(), generation, now);
            conditions::conclude(&mut status, rules.enforcement, generation, now);
        }
    }
    status.established_target =
        status.established_time.is_some().then(|| digest::hexadecimal(digest::target(&destination.spec)));
    delivering::set_delivering(&mut status, &previous, generation, now);
    checks::put_failed_first(&mut status.checks);
    let transitions = events::transitions(&previous, &status);
    Verdict { status, transitions }
}

/// Whether the claim that the status shows is of the bucket, prefix and role that the spec has now. Whether it is of the
/// same External ID is known once the Secret is read.
pub fn has_same_target(destination: &RecordingDestination, recent: Option<&Recent>) -> bool {
    let Some(status) = destination.status.as_ref() else { return false };
    let target = digest::target(&destination.spec);
    match &status.established_target {
        Some(established) => *established == digest::hexadecimal(target),
        // An earlier release wrote the status. Where the last spec is not known, an edit may have changed the target.
        None => recent
            .map_or(Some(status.observed_generation) == destination.metadata.generation, |recent| {
                recent.spec.target == target
            }),
    }
}

/// Records which Secret was proved: one Secret may hold many External IDs, all with one version.
fn prove_secret(
    status: &mut RecordingDestinationStatus,
    destination: &RecordingDestination,
    version: Option<String>,
) {
    status.external_id_secret_ref =
        version.is_some().then(|| destination.spec.external_id_secret_ref.clone());
    status.external_id_secret_version = version;
}

/// Sets the times that the findings decide.
fn record_times(
    status: &mut RecordingDestinationStatus,
    findings: &Findings,
    mode: EnforcementMode,
    now: Timestamp,
) {
    // Where Ready does not depend on enforcement, an open role must not refuse the claims of others.
    let open = findings
        .of(ConditionType::ExternalIDEnforced)
        .is_some_and(|finding| finding.conclusion == Conclusion::Refuted);
    if !findings.same_external_id || (open && mode == EnforcementMode::Warn) {
        status.established_time = None;
    }
    if findings.conclusive(ConditionType::RoleAssumable) {
        status.last_validation_time = Some(Time(now));
    }
    // Both share one time: while either is inconclusive, its earlier proof keeps ageing.
    let unclear_refusal =
        |kind| findings.of(kind).is_some_and(|finding| finding.conclusion == Conclusion::Inconclusive);
    if findings.conclusive(ConditionType::ExternalIDEnforced)
        && !unclear_refusal(ConditionType::BucketWritable)
    {
        status.last_enforcement_time = Some(Time(now));
    }
    if findings.proved(ConditionType::RoleAssumable) && findings.proved(ConditionType::ExternalIDEnforced) {
        status.established_time.get_or_insert(Time(now));
    }
    if let Some(region) = &findings.bucket_region {
        status.bucket_region = Some(region.clone());
    }
}
