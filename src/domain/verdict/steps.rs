//! Evidence → findings, step by step: the Secret, the role, its enforcement, the bucket.

use super::evidence::{RoleEvidence, SecretObservation, Texts};
use super::findings::{Conclusion, Findings};
use super::{bucket, role, secret};
use crate::api::{CheckName, ConditionType, Reason, RecordingDestination};

/// Evaluates the evidence, step by step.
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
            *known || destination.proved_secret_version() == Some(version.as_str())
        }
        // Whether the External ID is the same is decided when it can be read, or tried, again.
        _ => true,
    };
    findings.decide(
        CheckName::ExternalIDSecret,
        ConditionType::SecretResolved,
        secret::read(destination, observation),
    );
    let Some(evidence) = evidence else {
        let (conclusion, reason, message) = match observation {
            SecretObservation::Unreadable(_) => (
                Conclusion::Inconclusive,
                Reason::ProbeInconclusive,
                "not checked: the External ID could not be read",
            ),
            SecretObservation::Limited(_) => (
                Conclusion::Inconclusive,
                Reason::ExternalIDsLimited,
                "not checked: the namespace has tried as many new External IDs as it may in an hour",
            ),
            _ => (
                Conclusion::NotEvaluated,
                Reason::NotEvaluated,
                "not checked: there is no External ID to send",
            ),
        };
        for condition in
            [ConditionType::RoleAssumable, ConditionType::ExternalIDEnforced, ConditionType::BucketWritable]
        {
            findings.find(condition, conclusion, reason, message);
        }
        return findings;
    };
    let mut assumed = role::assumed(&destination.spec.role_arn, evidence, texts);
    let conclusion = assumed.conclusion;
    if assumed.reason == Reason::AssumeRoleDenied && !findings.same_external_id {
        role::suspect_the_secret(&mut assumed, destination);
    }
    findings.decide(CheckName::AssumeRole, ConditionType::RoleAssumable, assumed);

    match (&evidence.enforcement, conclusion) {
        (Some(enforcement), Conclusion::Proved) => role::enforced(&mut findings, enforcement, texts),
        _ => findings.not_reached(ConditionType::ExternalIDEnforced, conclusion),
    }
    match (&evidence.bucket, conclusion) {
        (Some(answers), Conclusion::Proved) => bucket::find(&mut findings, &destination.spec, answers, texts),
        _ => findings.not_reached(ConditionType::BucketWritable, conclusion),
    }
    findings
}

impl Findings {
    fn not_reached(&mut self, condition: ConditionType, assumed: Conclusion) {
        let (conclusion, reason, message) = match assumed {
            Conclusion::Proved => (Conclusion::NotDue, Reason::Progressing, "not checked yet"),
            Conclusion::Refuted => {
                (Conclusion::NotEvaluated, Reason::NotEvaluated, "not checked: the role could not be assumed")
            }
            _ => (
                Conclusion::Inconclusive,
                Reason::ProbeInconclusive,
                "not checked: whether the role can be assumed is not known",
            ),
        };
        self.find(condition, conclusion, reason, message);
    }
}
