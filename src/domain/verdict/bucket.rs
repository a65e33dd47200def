//! What S3 said to the probe → checks and the `BucketWritable` finding.

use super::checks::{Findings, Outcome, Said, inconclusive, unclear};
use super::evidence::{BucketCall, BucketEvidence, Texts};
use crate::api::{Answer, CheckResult, ConditionType, Reason, RecordingDestinationSpec, Refusal};

/// Reads the probe's answers. The condition is that of the first call that failed; a refused
/// delete is a failed check and nothing more, as uploads do not need it.
pub(super) fn find(
    findings: &mut Findings,
    spec: &RecordingDestinationSpec,
    evidence: &BucketEvidence,
    texts: &Texts,
) {
    let mut worst: Option<Said> = None;
    for (call, answer) in &evidence.calls {
        let said = read(*call, answer, evidence.read_back_matches, spec, texts);
        let result = match said.outcome {
            Outcome::Proved => CheckResult::Passed,
            Outcome::Refuted => CheckResult::Failed,
            _ => CheckResult::Inconclusive,
        };
        findings.check(call.into(), result, said.reason, &said.message, &said.remedy);
        if *call != BucketCall::DeleteObject && said.outcome != Outcome::Proved {
            worst.get_or_insert(said);
        }
        if let Answer::Refused(Refusal { bucket_region: Some(region), .. }) = answer {
            findings.bucket_region = Some(region.clone());
        }
    }
    let read_back = evidence.calls.iter().any(|(call, _)| *call == BucketCall::GetObject);
    match worst {
        Some(said) => findings.find(ConditionType::BucketWritable, said.outcome, said.reason, &said.message),
        None if read_back => {
            findings.bucket_region = Some(spec.region.clone());
            let message = format!(
                "an object was put into {} and read back, under an uploader's session policy",
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

fn read(
    call: BucketCall,
    answer: &Answer,
    matches: Option<bool>,
    spec: &RecordingDestinationSpec,
    texts: &Texts,
) -> Said {
    let refusal = match answer {
        Answer::Granted(()) if call == BucketCall::GetObject && matches == Some(false) => {
            return Said::new(
                Outcome::Refuted,
                Reason::ReadBackMismatch,
                "what was read back is not what was put: something in the bucket's account rewrites objects",
                "Look for a replication rule, an event handler or an access point that changes objects under the prefix",
            );
        }
        Answer::Granted(()) => {
            return Said::new(Outcome::Proved, Reason::Validated, format!("{call} passed"), "");
        }
        Answer::Silent(silence) => return inconclusive(&format!("{call}: {silence}")),
        Answer::Refused(refusal) => refusal,
    };
    if let Some(said) = unclear(&call.to_string(), refusal) {
        return said;
    }
    if refusal.is_expired_token() {
        return inconclusive(&format!("{call}: the probe's session expired on the way"));
    }
    let failed =
        |reason, message: String, remedy: String| Said::new(Outcome::Refuted, reason, message, remedy);
    let bucket = &spec.bucket;
    let role_policy = || format!("Give the role this permissions policy:\n{}", texts.role_policy);

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
    if matches!(refusal.status, 301 | 307) || refusal.code == "PermanentRedirect" {
        return failed(
            Reason::WrongRegion,
            format!("bucket {bucket} is not in {}", spec.region),
            format!("Set spec.region to the bucket's region: aws s3api head-bucket --bucket {bucket}"),
        );
    }
    let action = refusal.denied_action.as_deref().unwrap_or_default();
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
    if refusal.code == "AccessControlListNotSupported" || action == "s3:PutObjectAcl" {
        return failed(
            Reason::ACLDenied,
            format!("{call} was refused for its ACL bucket-owner-full-control"),
            format!("Allow s3:PutObjectAcl, or set spec.objectACL to None. {}", role_policy()),
        );
    }
    if refusal.status != 403 {
        return inconclusive(&format!(
            "{call}: not a clear answer ({}, HTTP {})",
            refusal.code, refusal.status
        ));
    }
    match call {
        BucketCall::PutObject => failed(
            Reason::PutObjectDenied,
            format!("S3 refused PutObject under {bucket}/{}", spec.prefix()),
            format!(
                "Causes: the role lacks s3:PutObject or s3:PutObjectAcl; bucket {bucket} is not owned by account {} (spec.expectedBucketOwner); \
                 the bucket's policy denies the role, this network (VPC endpoint) or unencrypted puts. {}",
                spec.bucket_owner(),
                role_policy()
            ),
        ),
        BucketCall::GetObject => failed(
            Reason::GetObjectDenied,
            "S3 refused GetObject of the object just put: uploads could not be verified".to_owned(),
            role_policy(),
        ),
        BucketCall::DeleteObject => failed(
            Reason::DeleteObjectDenied,
            format!(
                "S3 refused DeleteObject: a probe object stays under {bucket}/{}.recording-operator/",
                spec.prefix()
            ),
            format!("Uploads do not need it. {}", role_policy()),
        ),
    }
}
