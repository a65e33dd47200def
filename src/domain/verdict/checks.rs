//! Evidence → checks (one line for each step taken) and findings (one for each condition).

use super::evidence::{RoleEvidence, SecretObservation, Texts};
use super::{bucket, role, secret};
use crate::api::{Check, CheckResult, ConditionType, Objection, Reason, RecordingDestination, Refusal};

/// Name of the check that says why a destination may not be had.
const EXCLUSIVE: &str = "Exclusive";

/// What a step says about its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds.
    Proved,
    /// It does not.
    Refuted,
    /// No clear answer: an earlier proof may stand.
    Inconclusive,
    /// Not looked at, as an earlier condition does not hold.
    NotEvaluated,
    /// Not looked at, as it was not due: an earlier proof stands.
    NotDue,
}

/// What was found about one condition.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub condition: ConditionType,
    pub outcome: Outcome,
    pub reason: Reason,
    pub message: String,
}

/// All that one validation found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub checks: Vec<Check>,
    pub findings: Vec<Finding>,
    pub bucket_region: Option<String>,
    /// `resourceVersion` of the Secret whose External ID was sent.
    pub secret_version: Option<String>,
    /// Whether nothing says that it is another External ID than the one that was proved before.
    pub same_external_id: bool,
}

impl Findings {
    pub fn of(&self, condition: ConditionType) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.condition == condition)
    }

    pub fn proved(&self, condition: ConditionType) -> bool {
        self.of(condition).is_some_and(|finding| finding.outcome == Outcome::Proved)
    }

    pub fn conclusive(&self, condition: ConditionType) -> bool {
        self.of(condition).is_some_and(|f| matches!(f.outcome, Outcome::Proved | Outcome::Refuted))
    }

    pub(super) fn check(
        &mut self,
        name: &str,
        result: CheckResult,
        reason: Reason,
        message: &str,
        remedy: &str,
    ) {
        self.checks.push(Check {
            name: name.to_owned(),
            result,
            reason: reason.to_string(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    pub(super) fn find(&mut self, condition: ConditionType, outcome: Outcome, reason: Reason, message: &str) {
        self.findings.push(Finding { condition, outcome, reason, message: message.to_owned() });
    }

    /// A step that alone decides its condition: the check and the finding say the same.
    pub(super) fn decide(&mut self, name: &str, condition: ConditionType, said: Said) {
        let Said { outcome, reason, message, remedy } = said;
        let result = match outcome {
            Outcome::Proved => CheckResult::Passed,
            Outcome::Refuted => CheckResult::Failed,
            Outcome::Inconclusive => CheckResult::Inconclusive,
            Outcome::NotEvaluated | Outcome::NotDue => CheckResult::Skipped,
        };
        self.check(name, result, reason, &message, &remedy);
        self.find(condition, outcome, reason, &message);
    }
}

/// What one answer comes to, in words.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub outcome: Outcome,
    pub reason: Reason,
    pub message: String,
    pub remedy: String,
}

impl Said {
    pub fn new(
        outcome: Outcome,
        reason: Reason,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Said { outcome, reason, message: message.into(), remedy: remedy.into() }
    }
}

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
        "ExternalIDSecret",
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
    findings.decide("AssumeRole", ConditionType::RoleAssumable, assumed);

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

/// A refusal that says nothing about permissions.
pub(super) fn unclear(call: &str, refusal: &Refusal) -> Option<Said> {
    if refusal.is_throttle() {
        let message = format!("{call}: AWS asked us to slow down ({})", refusal.code);
        return Some(Said::new(Outcome::Inconclusive, Reason::Throttled, message, ""));
    }
    let message = format!("{call}: AWS answered with a fault of its own (HTTP {})", refusal.status);
    refusal.is_server_fault().then(|| inconclusive(&message))
}

pub(super) fn inconclusive(message: &str) -> Said {
    Said::new(Outcome::Inconclusive, Reason::ProbeInconclusive, message, "Nothing to do: it is tried again")
}

/// Steps that were not due keep the lines of the last time they were; those that could not be
/// reached lose them. The line of the claim is written afterwards, by `say_claim`.
pub(super) fn keep_what_was_not_due(mut checks: Vec<Check>, previous: &[Check]) -> Vec<Check> {
    #[derive(PartialEq)]
    enum Group {
        Role,
        Enforcement,
        Bucket,
    }
    fn group(check: &Check) -> Group {
        match check.name.as_str() {
            "ExternalIDSecret" | "AssumeRole" => Group::Role,
            name if name.starts_with("AssumeRole") => Group::Enforcement,
            _ => Group::Bucket,
        }
    }
    let reached =
        checks.iter().any(|check| check.name == "AssumeRole" && check.result != CheckResult::Failed);
    if reached {
        let kept = previous.iter().filter(|old| checks.iter().all(|new| group(new) != group(old))).cloned();
        checks.extend(kept.collect::<Vec<_>>());
    }
    checks
}

/// Whether the probe's objects stay in the bucket, as the role may not delete them or a delete leaves versions.
pub(super) fn leave_objects(checks: &[Check]) -> bool {
    checks.iter().any(|check| {
        check.name == "DeleteObject"
            && (check.result == CheckResult::Failed || check.reason == Reason::DeleteMarkerLeft.to_string())
    })
}

/// The line of the claim: that it is the first, or why not; none while it was not looked at.
pub(super) fn say_claim(checks: &mut Vec<Check>, standing: Option<&Result<(), Objection>>) {
    checks.retain(|check| check.name != EXCLUSIVE);
    let (result, reason, message, remedy) = match standing {
        None => return,
        Some(Ok(())) => (CheckResult::Passed, Reason::Validated, FIRST, ""),
        Some(Err(objection)) => {
            (CheckResult::Failed, objection.reason, objection.message.as_str(), objection.remedy.as_str())
        }
    };
    checks.push(Check {
        name: EXCLUSIVE.to_owned(),
        result,
        reason: reason.to_string(),
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    });
}

/// What is said of a claim that comes first.
pub(super) const FIRST: &str =
    "no other destination has an earlier claim, and the namespace may use the account";
