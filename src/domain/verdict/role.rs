//! STS's answers about the role → the `RoleAssumable` and `ExternalIDEnforced` findings.

use super::evidence::{Enforcement, NegativeAnswer, Platform, RoleEvidence, Texts};
use super::findings::{CheckOutcome, Conclusion, Findings, inconclusive, unclear_refusal};
use crate::api::{Answer, CheckName, CheckResult, ConditionType, Reason, RecordingDestination};

pub(super) fn assumed(role_arn: &str, evidence: &RoleEvidence, texts: &Texts) -> CheckOutcome {
    let refusal = match &evidence.assumed {
        Answer::Granted(()) => {
            return CheckOutcome::new(
                Conclusion::Proved,
                Reason::Validated,
                format!("{role_arn} was assumed with the External ID"),
                "",
            );
        }
        Answer::Silent(silence) => {
            if evidence.platform == Platform::Unreadable {
                return platform_fault("the platform's access key could not be read", texts);
            }
            return inconclusive(&format!("AssumeRole: {silence}"));
        }
        Answer::Refused(refusal) => refusal,
    };
    if let Some(outcome) = unclear_refusal("AssumeRole", refusal) {
        return outcome;
    }
    let key_faults = [
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
    ];
    if key_faults.contains(&refusal.code.as_str())
        || refusal.is_expired_token()
        || evidence.platform == Platform::Refused
    {
        return platform_fault("AWS does not accept the platform's access key", texts);
    }
    if let Platform::AnotherPrincipal(arn) = &evidence.platform {
        return platform_fault(&format!("the platform's access key belongs to {arn}"), texts);
    }
    match refusal.code.as_str() {
        "RegionDisabledException" => CheckOutcome::new(
            Conclusion::Refuted,
            Reason::STSRegionDisabled,
            "the role's account has not enabled the AWS Region whose STS endpoint the platform uses",
            "In the role's account: IAM console, Account settings, Security Token Service, activate the Region; or tell the platform which Region is active",
        ),
        "AccessDenied" if evidence.control.as_ref().is_some_and(|answer| *answer != Answer::Granted(())) => {
            match evidence.control.as_ref().expect("there is one") {
                Answer::Refused(refusal) if unclear_refusal("", refusal).is_none() => refused_everywhere(
                    "the platform's control role, which lets everybody in, refuses it too",
                    texts,
                ),
                other => no_clear_answer(CheckName::AssumeRoleOfControl, other),
            }
        }
        "AccessDenied" if evidence.platform == Platform::RefusedEverywhere => {
            let what = "the roles of at least three namespaces that let it in before refuse it, and no other was seen to let it in since";
            refused_everywhere(what, texts)
        }
        "AccessDenied" if evidence.platform == Platform::AsConfigured => CheckOutcome::new(
            Conclusion::Refuted,
            Reason::AssumeRoleDenied,
            format!(
                "AWS refused AssumeRole of {role_arn}. It does not say why: the role does not exist, its trust policy does not name {} \
                 with this External ID, it demands MFA, or a service control policy denies it",
                texts.platform_principal
            ),
            format!(
                "Check that the role exists, and give it this trust policy, with the External ID that the Secret holds:\n{}",
                texts.trust_policy
            ),
        ),
        "AccessDenied" => {
            inconclusive("AssumeRole was refused, and whose key the platform holds could not be checked")
        }
        code => inconclusive(&format!(
            "AssumeRole: an answer that says nothing about the role ({code}, HTTP {})",
            refusal.status
        )),
    }
}

/// Names the Secret as the likely cause, where the role was assumed with an earlier content of it, or with another Secret.
pub(super) fn suspect_the_secret(denied: &mut CheckOutcome, destination: &RecordingDestination) {
    let proved = destination.status.as_ref().and_then(|status| status.external_id_secret_ref.as_ref());
    let (Some(proved), named) = (proved, &destination.spec.external_id_secret_ref) else { return };
    let name = &named.name;
    let change = match proved == named {
        true => format!("Secret {name} has changed since the role was last assumed"),
        false => format!(
            "the role was last assumed with key {} of Secret {}, and spec.externalIDSecretRef now names key {} of Secret {name}",
            proved.key, proved.name, named.key
        ),
    };
    denied.message = format!(
        "{change}: its External ID is probably not the one that the role's trust policy asks for. {}",
        denied.message
    );
    denied.remedy = format!(
        "Put the External ID that the customer has put into the trust policy into Secret {name}. If the new one is right:\n{}",
        denied.remedy
    );
}

pub(super) fn enforced(findings: &mut Findings, enforcement: &Enforcement, texts: &Texts) {
    let condition = ConditionType::ExternalIDEnforced;
    let mut accepted: Vec<&str> = Vec::new();
    let mut inconclusive_caller = None;
    for NegativeAnswer { caller, answer } in &enforcement.negatives {
        let name = CheckName::WrongCaller(*caller);
        match answer {
            None => findings.check(
                name,
                CheckResult::Skipped,
                Reason::Validated,
                "this External ID has no letters",
                "",
            ),
            Some(Answer::Granted(())) => {
                let message = "the role let this wrong caller in; the credentials were dropped";
                let remedy = format!("Give the role this trust policy:\n{}", texts.trust_policy);
                findings.check(name, CheckResult::Failed, Reason::ExternalIDNotEnforced, message, &remedy);
                accepted.push(name.into());
            }
            Some(Answer::Refused(refusal)) if refusal.status == 403 && refusal.code == "AccessDenied" => {
                findings.check(name, CheckResult::Passed, Reason::Validated, "refused, as it must be", "");
            }
            Some(other) => {
                let outcome = no_clear_answer(name, other);
                findings.check(name, CheckResult::Inconclusive, outcome.reason, &outcome.message, "");
                inconclusive_caller.get_or_insert(outcome);
            }
        }
    }
    let own_refusal = enforcement.control.iter().find(|answer| **answer != Answer::Granted(()));
    if let Some(answer) = own_refusal {
        let outcome = control(answer);
        findings.check(
            CheckName::AssumeRoleOfControl,
            CheckResult::Inconclusive,
            outcome.reason,
            &outcome.message,
            &outcome.remedy,
        );
        inconclusive_caller = Some(outcome);
    }
    let again = match &enforcement.assumed_again {
        Answer::Granted(()) => {
            let message = "assumed with the External ID once more, after the wrong callers";
            findings.check(CheckName::AssumeRoleAgain, CheckResult::Passed, Reason::Validated, message, "");
            None
        }
        other => {
            let outcome = no_clear_answer(CheckName::AssumeRoleAgain, other);
            findings.check(
                CheckName::AssumeRoleAgain,
                CheckResult::Inconclusive,
                outcome.reason,
                &outcome.message,
                "",
            );
            Some(outcome)
        }
    };
    if !accepted.is_empty() {
        let message = format!(
            "the role let our principal in without the right External ID ({}): anybody who can make the platform act could reach this bucket",
            accepted.join(", ")
        );
        findings.find(condition, Conclusion::Refuted, Reason::ExternalIDNotEnforced, &message);
    } else if let Some(outcome) = again.or(inconclusive_caller) {
        findings.find(condition, Conclusion::Inconclusive, outcome.reason, &outcome.message);
    } else {
        let tried = enforcement.negatives.iter().filter(|n| n.answer.is_some()).count().saturating_sub(1);
        let message = format!(
            "our principal was refused without an External ID and with {tried} wrong ones; other accepted External IDs and other principals cannot be seen from here"
        );
        findings.find(condition, Conclusion::Proved, Reason::Validated, &message);
    }
}

/// The control role accepts any caller, so its refusal comes from the platform's side, as others may have.
fn control(answer: &Answer) -> CheckOutcome {
    match answer {
        Answer::Refused(refusal) if unclear_refusal("", refusal).is_none() => CheckOutcome::new(
            Conclusion::Inconclusive,
            Reason::ProbeInconclusive,
            "the platform's control role, which lets everybody in, refused a wrong caller too: the refusals are the platform's own and prove nothing",
            "Platform: look for a policy of your own account that denies sts:AssumeRole by External ID, and check the trust policy of the control role",
        ),
        other => no_clear_answer(CheckName::AssumeRoleOfControl, other),
    }
}

/// The outcome of a call that had to be clearly refused (or granted) and was not.
fn no_clear_answer(name: CheckName, answer: &Answer) -> CheckOutcome {
    match answer {
        Answer::Refused(refusal) => unclear_refusal(&name.to_string(), refusal).unwrap_or_else(|| {
            inconclusive(&format!("{name}: not a clear answer ({}, HTTP {})", refusal.code, refusal.status))
        }),
        Answer::Silent(silence) => inconclusive(&format!("{name}: {silence}")),
        Answer::Granted(()) => inconclusive(&format!("{name}: granted")),
    }
}

/// AWS refuses the platform itself, so that a refusal says nothing about the role.
fn refused_everywhere(what: &str, texts: &Texts) -> CheckOutcome {
    CheckOutcome::new(
        Conclusion::Inconclusive,
        Reason::PlatformRefused,
        format!(
            "AWS refuses AssumeRole to the platform itself: {what}; this is the platform's fault, not the tenant's"
        ),
        format!(
            "Platform: look at what denies sts:AssumeRole to {}: its policies, a permissions boundary, a service control policy \
             of its account, or the trust policy of the control role, where there is one",
            texts.platform_principal
        ),
    )
}

fn platform_fault(what: &str, texts: &Texts) -> CheckOutcome {
    CheckOutcome::new(
        Conclusion::Inconclusive,
        Reason::PlatformCredentialsInvalid,
        format!("{what}; this is the platform's fault, not the tenant's"),
        format!(
            "Platform: put an active access key of {} into the Secret recording-operator-aws",
            texts.platform_principal
        ),
    )
}
