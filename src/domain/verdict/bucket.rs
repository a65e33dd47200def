//! What S3 said to the probe → checks and the `BucketWritable` finding.

use strum::IntoEnumIterator as _;

use super::evidence::{BucketEvidence, Texts};
use super::findings::{Findings, Outcome, Said, inconclusive, leave_objects, unclear};
use crate::api::{
    Answer, BucketCall, CheckName, CheckResult, ConditionType, Reason, RecordingDestinationSpec, Refusal,
};

/// Follows what was refused where each try would leave objects behind.
const UNASKED: &str = "; the probe's objects stay there, so it is repeated a few times within ten minutes of an edit and then \
                       only when somebody asks: \
                       kubectl annotate recordingdestination NAME --overwrite recordings.revenue.io/revalidate=$(date +%s)";

/// Reads the probe's answers, one check for each call. The condition is that of the first call that was refused, else
/// of the first without a clear answer; a delete that fails is a failed check and nothing more, as uploads do not need it.
pub(super) fn find(
    findings: &mut Findings,
    spec: &RecordingDestinationSpec,
    evidence: &BucketEvidence,
    texts: &Texts,
) {
    let mut unmet: Vec<Said> = Vec::new();
    for call in BucketCall::iter() {
        let answer = evidence.calls.iter().find(|(made, _)| *made == call).map(|(_, answer)| answer);
        let Some(answer) = answer else {
            // Made to tell two causes apart, so its absence is no news.
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
        let said = read(call, in_words(call, answer, evidence), evidence, spec, texts);
        let result = match said.outcome {
            Outcome::Proved => CheckResult::Passed,
            Outcome::Refuted => CheckResult::Failed,
            _ => CheckResult::Inconclusive,
        };
        findings.check(CheckName::Bucket(call), result, said.reason, &said.message, &said.remedy);
        let needed = !matches!(call, BucketCall::DeleteObject | BucketCall::PutObjectWithoutACL);
        if needed && said.outcome != Outcome::Proved {
            unmet.push(said);
        }
        if let Answer::Refused(Refusal { bucket_region: Some(region), .. }) = answer {
            findings.bucket_region = Some(region.clone());
        }
    }
    let complete = evidence.calls.iter().any(|(call, _)| *call == BucketCall::CompleteMultipartUpload);
    let refused = unmet.iter().position(|said| said.outcome == Outcome::Refuted);
    match unmet.into_iter().nth(refused.unwrap_or_default()) {
        Some(said) => {
            let mut message = said.message;
            if said.outcome == Outcome::Refuted && leave_objects(&findings.checks) {
                message.push_str(UNASKED);
            }
            findings.find(ConditionType::BucketWritable, said.outcome, said.reason, &message);
        }
        None if complete => {
            findings.bucket_region = Some(spec.region.clone());
            let message = format!(
                "objects were put into {}, whole and in parts, and read back, under an uploader's session policy",
                spec.bucket
            );
            findings.find(ConditionType::BucketWritable, Outcome::Proved, Reason::Validated, &message);
        }
        None => {
            let said = inconclusive("the probe did not come to an end");
            findings.find(ConditionType::BucketWritable, said.outcome, said.reason, &said.message);
        }
    }
}

/// A refused HEAD has no body to say why; the GET of the same object, refused too, has.
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
) -> Said {
    let refusal = match answer {
        Answer::Granted(()) => return granted(call, evidence, spec),
        Answer::Silent(silence) => return inconclusive(&format!("{call}: {silence}")),
        Answer::Refused(refusal) => refusal,
    };
    if let Some(said) = unclear(&call.to_string(), refusal) {
        return said;
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
            format!("Set spec.region to {region}"),
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
            format!("Set spec.region to the bucket's region: aws s3api head-bucket --bucket {bucket}"),
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
    // The answer to a HEAD has no body by which S3 could be told from whatever lies between.
    if call == BucketCall::HeadObject && refusal.code.is_empty() {
        return inconclusive(
            "HeadObject was refused, but GetObject, which needs the same permission, was not",
        );
    }
    // Others with this status, such as RequestTimeTooSkewed, say nothing about permissions.
    let denials = ["", "AccessDenied", "AllAccessDisabled", "AccountProblem"];
    if !denials.contains(&refusal.code.as_str()) {
        return inconclusive(&format!("{call}: not a clear answer ({}, HTTP 403)", refusal.code));
    }
    denied(call, spec, texts)
}

fn granted(call: BucketCall, evidence: &BucketEvidence, spec: &RecordingDestinationSpec) -> Said {
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
        return Said::new(
            Outcome::Proved,
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
    Said::new(Outcome::Proved, Reason::Validated, format!("{call} passed"), "")
}

/// A plain 403: which permission it was is known from the call.
fn denied(call: BucketCall, spec: &RecordingDestinationSpec, texts: &Texts) -> Said {
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

fn failed(reason: Reason, message: String, remedy: String) -> Said {
    Said::new(Outcome::Refuted, reason, message, remedy)
}

fn role_policy(texts: &Texts) -> String {
    format!("Give the role this permissions policy:\n{}", texts.role_policy)
}
