//! The entries of `status.checks` between two validations: which are kept, and the entry of the claim.

use crate::api::{Check, CheckName, CheckResult, Objection, Reason};

/// Steps that were not due keep their entries; steps that could not be reached lose them. `set_claim_check` writes the
/// entry of the claim afterwards.
pub(super) fn keep_what_was_not_due(mut checks: Vec<Check>, previous: &[Check]) -> Vec<Check> {
    #[derive(PartialEq)]
    enum Group {
        Role,
        Enforcement,
        Bucket,
    }
    fn group(check: &Check) -> Group {
        match check.step() {
            Some(CheckName::ExternalIDSecret | CheckName::AssumeRole) => Group::Role,
            Some(CheckName::WrongCaller(_) | CheckName::AssumeRoleAgain | CheckName::AssumeRoleOfControl) => {
                Group::Enforcement
            }
            Some(CheckName::Bucket(_) | CheckName::Exclusive) | None => Group::Bucket,
        }
    }
    let reached = checks
        .iter()
        .any(|check| check.step() == Some(CheckName::AssumeRole) && check.result != CheckResult::Failed);
    if reached {
        let kept = previous.iter().filter(|old| checks.iter().all(|new| group(new) != group(old))).cloned();
        checks.extend(kept.collect::<Vec<_>>());
    }
    checks
}

/// Writes the entry of the claim, or removes it where the claim was not evaluated.
pub(super) fn set_claim_check(checks: &mut Vec<Check>, standing: Option<&Result<(), Objection>>) {
    checks.retain(|check| check.step() != Some(CheckName::Exclusive));
    let (result, reason, message, remedy) = match standing {
        None => return,
        Some(Ok(())) => (CheckResult::Passed, Reason::Validated, CLAIM_IS_FIRST, ""),
        Some(Err(objection)) => {
            (CheckResult::Failed, objection.reason, objection.message.as_str(), objection.remedy.as_str())
        }
    };
    checks.push(Check {
        name: CheckName::Exclusive.to_string(),
        result,
        reason: reason.to_string(),
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    });
}

/// Puts what failed before what passed: `kubectl describe` shows all steps, on more lines than a screen has.
pub(super) fn put_failed_first(checks: &mut [Check]) {
    checks.sort_by_key(|check| match check.result {
        CheckResult::Failed => 0,
        CheckResult::Inconclusive => 1,
        CheckResult::Passed => 2,
        CheckResult::Skipped => 3,
    });
}

/// The message of a claim that comes first.
pub(super) const CLAIM_IS_FIRST: &str =
    "no other destination has an earlier claim, and the namespace may use the account";
