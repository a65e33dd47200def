//! The rules of the verdict, as tables; here what they are about.

mod claims;
mod delivering;
mod doubt;
mod fleet;
mod judgement;
mod reasons;
mod recent;
mod references;
mod schedule;
mod seniority;
mod standing;
mod timing;
mod wording;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::digest::SpecDigest;
use super::*;
use crate::api::{
    Answer, BucketCall, CheckResult, REVALIDATE_ANNOTATION, Reason, Refusal, Silence, Uploader, WrongCaller,
};

const GENERATION: i64 = 3;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

fn destination() -> RecordingDestination {
    serde_json::from_value(json!({
        "apiVersion": "recordings.revenue.io/v1alpha1",
        "kind": "RecordingDestination",
        "metadata": {"name": "acme", "namespace": "tenant-acme", "uid": "u-1", "generation": GENERATION},
        "spec": {
            "bucket": "acme-recordings",
            "region": "us-east-1",
            "roleARN": "arn:aws:iam::111111111111:role/writer",
            "externalIDSecretRef": {"name": "acme-external-id"},
        },
    }))
    .unwrap()
}

fn texts() -> Texts {
    Texts {
        platform_principal: "arn:aws:iam::103850359708:user/RingDNA_Web".into(),
        trust_policy: "TRUST POLICY".into(),
        role_policy: "ROLE POLICY".into(),
    }
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::Refused(Refusal { status, code: code.into(), ..Refusal::default() })
}

fn resolved() -> SecretObservation {
    SecretObservation::Resolved { version: "812".into(), known: false }
}

/// A role and bucket with which nothing is wrong.
fn sound() -> RoleEvidence {
    let denied = || Some(refused(403, "AccessDenied"));
    RoleEvidence {
        assumed: Answer::Granted(()),
        platform: Platform::NotKnown,
        control: None,
        enforcement: Some(Enforcement {
            negatives: vec![
                NegativeAnswer { caller: WrongCaller::AssumeRoleWithoutExternalID, answer: denied() },
                NegativeAnswer { caller: WrongCaller::AssumeRoleWithRandomExternalID, answer: denied() },
                NegativeAnswer { caller: WrongCaller::AssumeRoleWithExternalIDCaseFlipped, answer: None },
            ],
            control: Vec::new(),
            assumed_again: Answer::Granted(()),
        }),
        bucket: Some(BucketEvidence {
            calls: CALLS.map(|call| (call, Answer::Granted(()))).into(),
            read_back_matches: Some(true),
            marker_left: false,
            uploaded_since: false,
        }),
    }
}

/// The calls of a probe with which nothing is wrong.
const CALLS: [BucketCall; 7] = [
    BucketCall::PutObject,
    BucketCall::HeadObject,
    BucketCall::GetObject,
    BucketCall::CreateMultipartUpload,
    BucketCall::UploadPart,
    BucketCall::CompleteMultipartUpload,
    BucketCall::DeleteObject,
];

fn rules() -> Rules {
    Rules { partition: "aws".into(), enforcement: EnforcementMode::Require }
}

/// With the first claim, on a platform that requires enforcement.
fn judge(
    destination: &RecordingDestination,
    evidence: &Evidence,
    texts: &Texts,
    recent: Option<&Recent>,
    now: Timestamp,
) -> Verdict {
    super::judge(destination, evidence, texts, recent, &rules(), |_| Ok(()), now)
}

/// With the first claim, on a platform of that partition.
fn due(destination: &RecordingDestination, recent: Option<&Recent>, partition: &str, now: Timestamp) -> Due {
    let rules = Rules { partition: partition.into(), ..rules() };
    super::due(destination, recent, &rules, &Ok(()), now)
}

fn next_validation(
    destination: &RecordingDestination,
    recent: &Recent,
    partition: &str,
    now: Timestamp,
) -> Timestamp {
    let rules = Rules { partition: partition.into(), ..rules() };
    super::next_validation(destination, recent, &rules, &Ok(()), now)
}

fn bucket_is_due(destination: &RecordingDestination, enforcement: &Enforcement) -> bool {
    probe_is_due(destination, &resolved(), enforcement, None, &rules(), now())
}

fn probe_is_due(
    destination: &RecordingDestination,
    secret: &SecretObservation,
    enforcement: &Enforcement,
    recent: Option<&Recent>,
    rules: &Rules,
    now: Timestamp,
) -> bool {
    probe_due(destination, secret, enforcement, recent, rules, now).is_some()
}

/// What is kept after a validation.
fn after_validation(
    before: Option<&Recent>,
    destination: &RecordingDestination,
    evidence: &Evidence,
    at: Timestamp,
) -> Recent {
    let verdict = judge(destination, evidence, &texts(), before, at);
    Recent::after_validation(before, destination, evidence, &verdict.status, at)
}

fn validate(
    destination: &RecordingDestination,
    secret: SecretObservation,
    role: Option<RoleEvidence>,
    at: Timestamp,
) -> Verdict {
    judge(destination, &Evidence::Validated { secret, role: role.map(Box::new) }, &texts(), None, at)
}

/// The destination with a verdict's status, as the API server would hand it out next.
fn with_status(mut destination: RecordingDestination, verdict: Verdict) -> RecordingDestination {
    destination.status = Some(verdict.status);
    destination
}

fn proved() -> RecordingDestination {
    let verdict = validate(&destination(), resolved(), Some(sound()), now());
    with_status(destination(), verdict)
}

fn shown(verdict: &Verdict, kind: ConditionType) -> (String, String) {
    let condition = conditions::find(&verdict.status, kind).unwrap_or_else(|| panic!("{kind} is missing"));
    (condition.status.clone(), condition.reason.clone())
}

#[track_caller]
fn assert_said(verdict: &Verdict, kind: ConditionType, status: &str, reason: Reason) {
    assert_eq!(shown(verdict, kind), (status.to_owned(), reason.to_string()), "{kind}");
}

/// A sound destination whose probe ended at `call` with `answer`.
fn bucket(call: BucketCall, answer: Answer) -> (SecretObservation, Option<RoleEvidence>) {
    let mut evidence = sound();
    let calls = &mut evidence.bucket.as_mut().unwrap().calls;
    let at = calls.iter().position(|(c, _)| *c == call).unwrap();
    calls.truncate(at);
    calls.push((call, answer));
    (resolved(), Some(evidence))
}

fn elsewhere(region: &str) -> Answer {
    Answer::Refused(Refusal {
        status: 301,
        code: "PermanentRedirect".into(),
        bucket_region: Some(region.into()),
        ..Refusal::default()
    })
}

fn denied(action: &str) -> Answer {
    Answer::Refused(Refusal {
        status: 403,
        code: "AccessDenied".into(),
        denied_action: Some(action.into()),
        ..Refusal::default()
    })
}

/// An uploader with one recording that waits for that reason.
fn uploader(reason: Reason) -> Uploader {
    Uploader {
        pod: "recorder-0".into(),
        uid: "u".into(),
        reason: reason.to_string(),
        ending: false,
        refusal: None,
        not_removed: 0,
        volume_nearly_full: false,
        pending_files: 1,
        pending_bytes: 0,
        spool: String::new(),
        oldest_pending_time: None,
        quarantined: 0,
        report_time: Time(now()),
    }
}
