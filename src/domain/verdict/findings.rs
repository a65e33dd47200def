//! What one validation found: a line for each step taken, and a finding for each condition.

use crate::api::{BucketCall, Check, CheckName, CheckResult, ConditionType, Reason, Refusal};

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

    pub(super) fn find(&mut self, condition: ConditionType, outcome: Outcome, reason: Reason, message: &str) {
        self.findings.push(Finding { condition, outcome, reason, message: message.to_owned() });
    }

    /// A step that alone decides its condition: the check and the finding say the same.
    pub(super) fn decide(&mut self, name: CheckName, condition: ConditionType, said: Said) {
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

/// Whether the probe's objects stay in the bucket, as the role may not delete them or a delete leaves versions.
pub(super) fn leave_objects(checks: &[Check]) -> bool {
    checks.iter().any(|check| {
        check.step() == Some(CheckName::Bucket(BucketCall::DeleteObject))
            && (check.result == CheckResult::Failed || check.reason == Reason::DeleteMarkerLeft.to_string())
    })
}
