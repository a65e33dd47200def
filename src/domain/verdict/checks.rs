//! Evidence → checks (one line for each step taken) and findings (one for each condition).

use super::bucket;
use super::evidence::{Enforcement, NegativeAnswer, Platform, RoleEvidence, SecretObservation, Texts};
use crate::api::{Answer, Check, CheckResult, ConditionType, Reason, RecordingDestination, Refusal};

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
    secret: &SecretObservation,
    role: Option<&RoleEvidence>,
    texts: &Texts,
) -> Findings {
    let mut findings = Findings::default();
    if let SecretObservation::Resolved { version } = secret {
        findings.secret_version = Some(version.clone());
    }
    findings.decide("ExternalIDSecret", ConditionType::SecretResolved, read_secret(destination, secret));
    let Some(role) = role else {
        for condition in
            [ConditionType::RoleAssumable, ConditionType::ExternalIDEnforced, ConditionType::BucketWritable]
        {
            findings.find(
                condition,
                Outcome::NotEvaluated,
                Reason::NotEvaluated,
                "not checked: there is no External ID to send",
            );
        }
        return findings;
    };
    let assumed = assume_role(&destination.spec.role_arn, role, texts);
    let outcome = assumed.outcome;
    findings.decide("AssumeRole", ConditionType::RoleAssumable, assumed);

    match (&role.enforcement, outcome) {
        (Some(enforcement), Outcome::Proved) => enforced(&mut findings, enforcement, texts),
        _ => findings.not_reached(ConditionType::ExternalIDEnforced, outcome),
    }
    match (&role.bucket, outcome) {
        (Some(evidence), Outcome::Proved) => bucket::find(&mut findings, &destination.spec, evidence, texts),
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

fn read_secret(destination: &RecordingDestination, secret: &SecretObservation) -> Said {
    let reference = &destination.spec.external_id_secret_ref;
    let (name, key) = (&reference.name, &reference.key);
    let namespace = destination.metadata.namespace.as_deref().unwrap_or_default();
    let create = format!(
        "kubectl create secret generic {name} --namespace {namespace} --type=recordings.revenue.io/external-id \
         --from-literal={key}='<your External ID>'"
    );
    let failed =
        |reason, message: String, remedy: String| Said::new(Outcome::Refuted, reason, message, remedy);
    match secret {
        SecretObservation::Resolved { .. } => Said::new(
            Outcome::Proved,
            Reason::Validated,
            format!("Secret {name} holds a well-formed External ID under {key}"),
            "",
        ),
        SecretObservation::NotFound => failed(
            Reason::SecretNotFound,
            format!("Secret {name} does not exist in namespace {namespace}"),
            format!("Create it:\n{create}"),
        ),
        SecretObservation::TypeMismatch => failed(
            Reason::SecretTypeMismatch,
            format!("Secret {name} is not of type recordings.revenue.io/external-id; its value was not used"),
            format!(
                "A Secret's type cannot be changed; re-create it:\nkubectl delete secret {name} --namespace {namespace}\n{create}"
            ),
        ),
        SecretObservation::KeyMissing => failed(
            Reason::SecretKeyMissing,
            format!("Secret {name} has no key {key}"),
            format!("Put the External ID under {key}, or name the right key in spec.externalIDSecretRef.key"),
        ),
        SecretObservation::Malformed(rule) => failed(
            Reason::ExternalIDMalformed,
            format!("the value of {key} in Secret {name} is not an External ID: {rule}"),
            "Put the value exactly as it stands in the role's trust policy; it is not trimmed".to_owned(),
        ),
    }
}

fn assume_role(role_arn: &str, evidence: &RoleEvidence, texts: &Texts) -> Said {
    let refusal = match &evidence.assumed {
        Answer::Granted(()) => {
            return Said::new(
                Outcome::Proved,
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
    if let Some(said) = unclear("AssumeRole", refusal) {
        return said;
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
    if let Platform::SomebodyElse(arn) = &evidence.platform {
        return platform_fault(&format!("the platform's access key belongs to {arn}"), texts);
    }
    match refusal.code.as_str() {
        "RegionDisabledException" => Said::new(
            Outcome::Refuted,
            Reason::STSRegionDisabled,
            "the role's account has not enabled the AWS Region whose STS endpoint the platform uses",
            "In the role's account: IAM console, Account settings, Security Token Service, activate the Region; or tell the platform which Region is active",
        ),
        "AccessDenied" if evidence.platform == Platform::AsConfigured => Said::new(
            Outcome::Refuted,
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

fn enforced(findings: &mut Findings, enforcement: &Enforcement, texts: &Texts) {
    let condition = ConditionType::ExternalIDEnforced;
    let mut accepted = Vec::new();
    let mut doubt = None;
    for NegativeAnswer { name, answer } in &enforcement.negatives {
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
                accepted.push(*name);
            }
            Some(Answer::Refused(refusal)) if refusal.status == 403 && refusal.code == "AccessDenied" => {
                findings.check(name, CheckResult::Passed, Reason::Validated, "refused, as it must be", "");
            }
            Some(other) => {
                let said = no_clear_answer(name, other);
                findings.check(name, CheckResult::Inconclusive, said.reason, &said.message, "");
                doubt.get_or_insert(said);
            }
        }
    }
    let again = match &enforcement.assumed_again {
        Answer::Granted(()) => None,
        other => {
            let said = no_clear_answer("AssumeRoleAgain", other);
            findings.check("AssumeRoleAgain", CheckResult::Inconclusive, said.reason, &said.message, "");
            Some(said)
        }
    };
    if !accepted.is_empty() {
        let message = format!(
            "the role let our principal in without the right External ID ({}): anybody who can make the platform act could reach this bucket",
            accepted.join(", ")
        );
        findings.find(condition, Outcome::Refuted, Reason::ExternalIDNotEnforced, &message);
    } else if let Some(said) = again.or(doubt) {
        findings.find(condition, Outcome::Inconclusive, said.reason, &said.message);
    } else {
        let tried = enforcement.negatives.iter().filter(|n| n.answer.is_some()).count().saturating_sub(1);
        let message = format!(
            "our principal was refused without an External ID and with {tried} wrong ones; other accepted External IDs and other principals cannot be seen from here"
        );
        findings.find(condition, Outcome::Proved, Reason::Validated, &message);
    }
}

/// For a call that had to be refused (or granted) clearly and was not.
fn no_clear_answer(name: &str, answer: &Answer) -> Said {
    match answer {
        Answer::Refused(refusal) => unclear(name, refusal).unwrap_or_else(|| {
            inconclusive(&format!("{name}: not a clear answer ({}, HTTP {})", refusal.code, refusal.status))
        }),
        Answer::Silent(silence) => inconclusive(&format!("{name}: {silence}")),
        Answer::Granted(()) => inconclusive(&format!("{name}: granted")),
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

fn platform_fault(what: &str, texts: &Texts) -> Said {
    Said::new(
        Outcome::Inconclusive,
        Reason::PlatformCredentialsInvalid,
        format!("{what}; this is the platform's fault, not the tenant's"),
        format!(
            "Platform: put an active access key of {} into the Secret recording-operator-aws",
            texts.platform_principal
        ),
    )
}

/// Steps that were not due keep the lines of the last time they were; those that could not be
/// reached lose them.
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
