//! What one validation found: a line for each step taken, and a finding for each condition.

use crate::api::{BucketCall, Check, CheckName, CheckResult, ConditionType, Reason, Refusal};

/// What a step concluded about its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    Proved,
    Refuted,
    /// There was no clear answer, so an earlier proof may stand.
    Inconclusive,
    /// Not evaluated, because an earlier condition does not hold.
    NotEvaluated,
    /// Not due, so an earlier proof stands.
    NotDue,
}

#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub condition: ConditionType,
    pub conclusion: Conclusion,
    pub reason: Reason,
    pub message: String,
}

/// The result of one validation.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub checks: Vec<Check>,
    pub findings: Vec<Finding>,
    pub bucket_region: Option<String>,
    /// `resourceVersion` of the Secret whose External ID was sent.
    pub secret_version: Option<String>,
    /// Whether the External ID may still be the one that was proved before.
    pub same_external_id: bool,
}

impl Findings {
    pub fn of(&self, condition: ConditionType) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.condition == condition)
    }

    pub fn proved(&self, condition: ConditionType) -> bool {
        self.of(condition).is_some_and(|finding| finding.conclusion == Conclusion::Proved)
    }

    pub fn conclusive(&self, condition: ConditionType) -> bool {
        self.of(condition).is_some_and(|f| matches!(f.conclusion, Conclusion::Proved | Conclusion::Refuted))
    }

    pub(super) fn check(
        &mut self,
        name: CheckName,
        result: CheckResult,
        reason: Reason,
        message: &str,
        remedy: &str,
    ) {
        self.checks.push(Check {
            name: name.to_string(),
            result,
            reason: reason.to_string(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    pub(super) fn find(
        &mut self,
        condition: ConditionType,
        conclusion: Conclusion,
        reason: Reason,
        message: &str,
    ) {
        self.findings.push(Finding { condition, conclusion, reason, message: message.to_owned() });
    }

    /// Adds check and finding of a step that alone decides its condition.
    pub(super) fn decide(&mut self, name: CheckName, condition: ConditionType, outcome: CheckOutcome) {
        let CheckOutcome { conclusion, reason, message, remedy } = outcome;
        let result = match conclusion {
            Conclusion::Proved => CheckResult::Passed,
            Conclusion::Refuted => CheckResult::Failed,
            Conclusion::Inconclusive => CheckResult::Inconclusive,
            Conclusion::NotEvaluated | Conclusion::NotDue => CheckResult::Skipped,
        };
        self.check(name, result, reason, &message, &remedy);
        self.find(condition, conclusion, reason, &message);
    }
}

/// The outcome of one check.
#[derive(Clone, Debug)]
pub(super) struct CheckOutcome {
    pub conclusion: Conclusion,
    pub reason: Reason,
    pub message: String,
    pub remedy: String,
}

impl CheckOutcome {
    pub fn new(
        conclusion: Conclusion,
        reason: Reason,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        CheckOutcome { conclusion, reason, message: message.into(), remedy: remedy.into() }
    }
}

/// The outcome of a refusal that says nothing about permissions.
pub(super) fn unclear_refusal(call: &str, refusal: &Refusal) -> Option<CheckOutcome> {
    if refusal.is_throttle() {
        let message = format!("{call}: AWS asked us to slow down ({})", refusal.code);
        return Some(CheckOutcome::new(Conclusion::Inconclusive, Reason::Throttled, message, ""));
    }
    let message = format!("{call}: AWS answered with a fault of its own (HTTP {})", refusal.status);
    refusal.is_server_fault().then(|| inconclusive(&message))
}

pub(super) fn inconclusive(message: &str) -> CheckOutcome {
    CheckOutcome::new(
        Conclusion::Inconclusive,
        Reason::ProbeInconclusive,
        message,
        "Nothing to do: it is tried again",
    )
}

/// Whether the probe's objects stay in the bucket, because the role may not delete them or a delete leaves versions.
pub(super) fn leave_objects(checks: &[Check]) -> bool {
    checks.iter().any(|check| {
        check.step() == Some(CheckName::Bucket(BucketCall::DeleteObject))
            && (check.result == CheckResult::Failed || check.reason == Reason::DeleteMarkerLeft.to_string())
    })
}
