//! S3's answers to the probe → checks and the `BucketWritable` finding.

use strum::IntoEnumIterator as _;

use super::evidence::{BucketEvidence, Texts};
use super::findings::{CheckOutcome, Conclusion, Findings, inconclusive, leave_objects, unclear_refusal};
use crate::api::{
    Answer, BucketCall, CheckName, CheckResult, ConditionType, Reason, RecordingDestinationSpec, Refusal,
    Silence, is_known_region,
};

/// Appended to a refusal where each probe would leave objects behind.
const WAITS_FOR_REQUEST: &str = "; the probe's objects stay there, so it is repeated a few times within ten minutes of an edit, or of \
                       the refusal of an uploader that led to it, and then only when somebody asks: \
                       kubectl annotate recordingdestination NAME --overwrite recordings.revenue.io/revalidate=$(date +%s)";

/// Adds a check for each call of the probe. The condition follows the first call that was refused, else the first without
/// a clear answer. A refused delete fails its check alone, because uploads do not delete.
pub(super) fn find(
    findings: &mut Findings,
    spec: &RecordingDestinationSpec,
    evidence: &BucketEvidence,
    texts: &Texts,
) {
    let mut unmet: Vec<CheckOutcome> = Vec::new();
    for call in BucketCall::iter() {
        let answer = evidence.calls.iter().find(|(made, _)| *made == call).map(|(_, answer)| answer);
        let is_of_whole =
            matches!(call, BucketCall::PutObject | BucketCall::HeadObject | BucketCall::GetObject);
        if answer.is_none() && evidence.uploaded_since && is_of_whole {
            let message = "a verified upload has proved it since the last probe";
            findings.check(CheckName::Bucket(call), CheckResult::Passed, Reason::Validated, message, "");
            continue;
        }
        let Some(answer) = answer else {
            // This call only distinguishes two causes, so its absence needs no check.
            if call != BucketCall::PutObjectWithoutACL {
                let message = "not tried: a call before it did not pass";
                findings.check(
                    CheckName::Bucket(call),
                    CheckResult::Skipped,
                    Reason::NotEvaluated,
                    message,
                    "",
                );
            }
            continue;
        };
        let outcome = read(call, in_words(call, answer, evidence), evidence, spec, texts);
        let result = match outcome.conclusion {
            Conclusion::Proved => CheckResult::Passed,
            Conclusion::Refuted => CheckResult::Failed,
            _ => CheckResult::Inconclusive,
        };
        findings.check(CheckName::Bucket(call), result, outcome.reason, &outcome.message, &outcome.remedy);
        let needed = !matches!(call, BucketCall::DeleteObject | BucketCall::PutObjectWithoutACL);
        if needed && outcome.conclusion != Conclusion::Proved {
            unmet.push(outcome);
        }
        if let Answer::Refused(Refusal { bucket_region: Some(region), .. }) = answer {
            findings.bucket_region = Some(region.clone());
        }
    }
    let complete = evidence.calls.iter().any(|(call, _)| *call == BucketCall::CompleteMultipartUpload);
    let refused = unmet.iter().position(|outcome| outcome.conclusion == Conclusion::Refuted);
    match unmet.into_iter().nth(refused.unwrap_or_default()) {
        Some(outcome) => {
            let mut message = outcome.message;
            if outcome.conclusion == Conclusion::Refuted && leave_objects(&findings.checks) {
                message.push_str(WAITS_FOR_REQUEST);
            }
            findings.find(ConditionType::BucketWritable, outcome.conclusion, outcome.reason, &message);
        }
        None if complete => {
            findings.bucket_region = Some(spec.region.clone());
            let message = format!(
                "objects were put into {}, whole and in parts, and read back, under an uploader's session policy",
                spec.bucket
            );
            findings.find(ConditionType::BucketWritable, Conclusion::Proved, Reason::Validated, &message);
        }
        None => {
            let outcome = inconclusive("the probe did not come to an end");
            findings.find(
                ConditionType::BucketWritable,
                outcome.conclusion,
                outcome.reason,
                &outcome.message,
            );
        }
    }
}

/// A refused HEAD has no body that says why, but the refused GET of the same object has one.
fn in_words<'a>(call: BucketCall, answer: &'a Answer, evidence: &'a BucketEvidence) -> &'a Answer {
    let is_denied = |answer: &Answer| matches!(answer, Answer::Refused(refusal) if refusal.status == 403);
    let mut gets = evidence.calls.iter().filter(|(made, _)| *made == BucketCall::GetObject);
    match gets.next() {
        Some((_, get)) if call == BucketCall::HeadObject && is_denied(answer) && is_denied(get) => get,
        _ => answer,
    }
}

fn read(
    call: BucketCall,
    answer: &Answer,
    evidence: &BucketEvidence,
    spec: &RecordingDestinationSpec,
    texts: &Texts,
) -> CheckOutcome {
    let refusal = match answer {
        Answer::Granted(()) => return granted(call, evidence, spec),
        Answer::Silent(Silence::Connection) if !is_known_region(&spec.region) => {
            return CheckOutcome::new(
                Conclusion::Inconclusive,
                Reason::WrongRegion,
                format!(
                    "{call}: no connection to S3 in {}, a region that this release does not know",
                    spec.region
                ),
                format!(
                    "Set spec.region to the bucket's region: aws s3api head-bucket --bucket {}",
                    spec.bucket
                ),
            );
        }
        Answer::Silent(silence) => return inconclusive(&format!("{call}: {silence}")),
        Answer::Refused(refusal) => refusal,
    };
    if let Some(outcome) = unclear_refusal(&call.to_string(), refusal) {
        return outcome;
    }
    if refusal.is_expired_token() {
        return inconclusive(&format!("{call}: the probe's session expired on the way"));
    }
    let bucket = &spec.bucket;
    if refusal.code == "NoSuchBucket" {
        return failed(
            Reason::BucketNotFound,
            format!("there is no bucket {bucket}"),
            "Create it, or correct spec.bucket: bucket names are unique across all AWS accounts".to_owned(),
        );
    }
    if let Some(region) = refusal.bucket_region.as_deref().filter(|region| *region != spec.region) {
        return failed(
            Reason::WrongRegion,
            format!("bucket {bucket} is in {region}, not in {}", spec.region),
            format!("Set spec.region to {region}. {}", or_another_bucket(spec)),
        );
    }
    let elsewhere = [
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    ];
    if elsewhere.contains(&refusal.code.as_str()) {
        return failed(
            Reason::WrongRegion,
            format!("bucket {bucket} is not in {}", spec.region),
            format!(
                "Set spec.region to the bucket's region: aws s3api head-bucket --bucket {bucket}. {}",
                or_another_bucket(spec)
            ),
        );
    }
    let action = refusal.denied_action.as_deref().unwrap_or_default();
    let unusable = ["KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"];
    if unusable.contains(&refusal.code.as_str()) {
        return failed(
            Reason::KMSKeyUnusable,
            format!(
                "the KMS key of bucket {bucket} is disabled, deleted or does not exist ({})",
                refusal.code
            ),
            "Enable the key or cancel its deletion, or give the bucket, or spec.encryption, another key"
                .to_owned(),
        );
    }
    if refusal.code.starts_with("KMS.") || action.starts_with("kms:") {
        return failed(
            Reason::KMSAccessDenied,
            format!("the KMS key of bucket {bucket} refused the role"),
            format!(
                "Allow {} to call kms:GenerateDataKey and kms:Decrypt, in the key's policy and in the role's",
                spec.role_arn
            ),
        );
    }
    let without_acl = (BucketCall::PutObjectWithoutACL, Answer::Granted(()));
    let acl_alone = call == BucketCall::PutObject
        && refusal.code == "AccessDenied"
        && evidence.calls.contains(&without_acl);
    if refusal.code == "AccessControlListNotSupported" || action == "s3:PutObjectAcl" || acl_alone {
        return failed(
            Reason::ACLDenied,
            format!("{call} was refused for its ACL bucket-owner-full-control"),
            format!("Allow s3:PutObjectAcl, or set spec.objectACL to None. {}", role_policy(texts)),
        );
    }
    if refusal.status != 403 {
        return inconclusive(&format!(
            "{call}: not a clear answer ({}, HTTP {})",
            refusal.code, refusal.status
        ));
    }
    // The answer to a HEAD has no body, so a proxy may have given it.
    if call == BucketCall::HeadObject && refusal.code.is_empty() {
        return inconclusive(
            "HeadObject was refused, but GetObject, which needs the same permission, was not",
        );
    }
    // Other codes with this status, such as RequestTimeTooSkewed, say nothing about permissions.
    let denials = ["", "AccessDenied", "AllAccessDisabled", "AccountProblem"];
    if !denials.contains(&refusal.code.as_str()) {
        return inconclusive(&format!("{call}: not a clear answer ({}, HTTP 403)", refusal.code));
    }
    denied(call, spec, texts)
}

fn granted(call: BucketCall, evidence: &BucketEvidence, spec: &RecordingDestinationSpec) -> CheckOutcome {
    let reads = matches!(call, BucketCall::HeadObject | BucketCall::GetObject);
    if reads && evidence.read_back_matches == Some(false) {
        return failed(
            Reason::ReadBackMismatch,
            "what was read back is not what was put: something in the bucket's account rewrites objects".to_owned(),
            "Look for a replication rule, an event handler or an access point that changes objects under the prefix"
                .to_owned(),
        );
    }
    if call == BucketCall::DeleteObject && evidence.marker_left {
        return CheckOutcome::new(
            Conclusion::Proved,
            Reason::DeleteMarkerLeft,
            format!(
                "the bucket is versioned: the probe's objects stay as versions under {}/{}.recording-operator/, so they are \
                 put only after an edit and on request",
                spec.bucket,
                spec.prefix()
            ),
            "A lifecycle rule with that prefix that ends noncurrent versions after a day removes them",
        );
    }
    CheckOutcome::new(Conclusion::Proved, Reason::Validated, format!("{call} passed"), "")
}

/// A plain 403, where the call tells which permission is missing.
fn denied(call: BucketCall, spec: &RecordingDestinationSpec, texts: &Texts) -> CheckOutcome {
    let bucket = &spec.bucket;
    match call {
        BucketCall::PutObject | BucketCall::PutObjectWithoutACL => failed(
            Reason::PutObjectDenied,
            format!("S3 refused PutObject under {bucket}/{}", spec.prefix()),
            format!(
                "Causes: the role lacks s3:PutObject; bucket {bucket} is not owned by account {} (spec.expectedBucketOwner); \
                 the bucket's policy denies the role, this network (VPC endpoint) or unencrypted puts. {}",
                spec.bucket_owner(),
                role_policy(texts)
            ),
        ),
        BucketCall::HeadObject | BucketCall::GetObject => failed(
            Reason::GetObjectDenied,
            format!("S3 refused {call} of the object just put: uploads could not be verified"),
            role_policy(texts),
        ),
        BucketCall::CreateMultipartUpload | BucketCall::UploadPart | BucketCall::CompleteMultipartUpload => {
            failed(
                Reason::MultipartUploadDenied,
                format!(
                    "S3 refused {call}, though it takes whole objects: large recordings could not be uploaded"
                ),
                format!(
                    "Look for a statement in the policy of bucket {bucket} that denies uploads in parts. {}",
                    role_policy(texts)
                ),
            )
        }
        BucketCall::DeleteObject => failed(
            Reason::DeleteObjectDenied,
            format!(
                "S3 refused DeleteObject: the probe's objects stay under {bucket}/{}.recording-operator/, so they are put only \
                 after an edit and on request",
                spec.prefix()
            ),
            format!("Uploads do not need it. {}", role_policy(texts)),
        ),
    }
}

/// The bucket may be what is wrong, which only the customer can change.
fn or_another_bucket(spec: &RecordingDestinationSpec) -> String {
    format!(
        "If the recordings have to be in {}, the customer creates a bucket there, and spec.bucket names it",
        spec.region
    )
}

fn failed(reason: Reason, message: String, remedy: String) -> CheckOutcome {
    CheckOutcome::new(Conclusion::Refuted, reason, message, remedy)
}

fn role_policy(texts: &Texts) -> String {
    format!("Give the role this permissions policy:\n{}", texts.role_policy)
}
