//! Evidence → findings, step by step: the Secret, the role, its enforcement, the bucket.

use super::evidence::{RoleEvidence, SecretObservation, Texts};
use super::findings::{Findings, Outcome};
use super::{bucket, role, secret};
use crate::api::{CheckName, ConditionType, Reason, RecordingDestination};

/// Reads the evidence, step by step.
pub(super) fn find(
    destination: &RecordingDestination,
    observation: &SecretObservation,
    evidence: Option<&RoleEvidence>,
    texts: &Texts,
) -> Findings {
    let mut findings = Findings::default();
    findings.same_external_id = match observation {
        SecretObservation::Resolved { version, known } => {
            findings.secret_version = Some(version.clone());
            let proved = destination.status.as_ref().and_then(|s| s.external_id_secret_version.as_ref());
            *known || proved == Some(version)
        }
        // Whether the one that comes back is the same is seen then.
        _ => true,
    };
    findings.decide(
        CheckName::ExternalIDSecret,
        ConditionType::SecretResolved,
        secret::read(destination, observation),
    );
    let Some(evidence) = evidence else {
        let (outcome, reason, message) = match observation {
            SecretObservation::Unreadable(_) => (
                Outcome::Inconclusive,
                Reason::ProbeInconclusive,
                "not checked: the External ID could not be read",
            ),
            _ => {
                (Outcome::NotEvaluated, Reason::NotEvaluated, "not checked: there is no External ID to send")
            }
        };
        for condition in
            [ConditionType::RoleAssumable, ConditionType::ExternalIDEnforced, ConditionType::BucketWritable]
        {
            findings.find(condition, outcome, reason, message);
        }
        return findings;
    };
    let assumed = role::assumed(&destination.spec.role_arn, evidence, texts);
    let outcome = assumed.outcome;
    findings.decide(CheckName::AssumeRole, ConditionType::RoleAssumable, assumed);

    match (&evidence.enforcement, outcome) {
        (Some(enforcement), Outcome::Proved) => role::enforced(&mut findings, enforcement, texts),
        _ => findings.not_reached(ConditionType::ExternalIDEnforced, outcome),
    }
    match (&evidence.bucket, outcome) {
        (Some(answers), Outcome::Proved) => bucket::find(&mut findings, &destination.spec, answers, texts),
        _ => findings.not_reached(ConditionType::BucketWritable, outcome),
    }
    findings
}

impl Findings {
    fn not_reached(&mut self, condition: ConditionType, assumed: Outcome) {
        let (outcome, reason, message) = match assumed {
            Outcome::Proved => (Outcome::NotDue, Reason::Progressing, "not checked yet"),
            Outcome::Refuted => {
                (Outcome::NotEvaluated, Reason::NotEvaluated, "not checked: the role could not be assumed")
            }
            _ => (
                Outcome::Inconclusive,
                Reason::ProbeInconclusive,
                "not checked: whether the role can be assumed is not known",
            ),
        };
        self.find(condition, outcome, reason, message);
    }
}
