//! One thing wrong → the reason that says so.

use super::*;

/// One thing wrong with a sound destination → Ready's status and reason.
#[test]
fn each_failure_has_its_own_reason() {
    use Reason::*;
    let role = |change: fn(&mut RoleEvidence)| {
        let mut evidence = sound();
        change(&mut evidence);
        (resolved(), Some(evidence))
    };
    let secret = |observation| (observation, None);
    let malformed = crate::secret::MalformedExternalID::Length;
    let rows = [
        ("no Secret", secret(SecretObservation::NotFound), "False", SecretNotFound),
        ("a Secret of another type", secret(SecretObservation::TypeMismatch), "False", SecretTypeMismatch),
        (
            "the Secret cannot be read",
            secret(SecretObservation::Unreadable(500)),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "a new External ID, and the namespace has tried many",
            secret(SecretObservation::Limited(now())),
            "Unknown",
            ExternalIDsLimited,
        ),
        ("no such key", secret(SecretObservation::KeyMissing(Vec::new())), "False", SecretKeyMissing),
        ("a large Secret", secret(SecretObservation::TooLarge), "False", ExternalIDMalformed),
        ("not an External ID", secret(SecretObservation::Malformed(malformed)), "False", ExternalIDMalformed),
        (
            "denied, and the key is ours",
            role(|r| {
                r.assumed = refused(403, "AccessDenied");
                r.platform = Platform::AsConfigured
            }),
            "False",
            AssumeRoleDenied,
        ),
        (
            "denied, and whose key it is nobody knows",
            role(|r| r.assumed = refused(403, "AccessDenied")),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "denied, as the key is somebody else's",
            role(|r| {
                r.assumed = refused(403, "AccessDenied");
                r.platform = Platform::AnotherPrincipal("arn:x".into())
            }),
            "Unknown",
            PlatformCredentialsInvalid,
        ),
        (
            "the key is not known to AWS",
            role(|r| r.assumed = refused(403, "InvalidClientTokenId")),
            "Unknown",
            PlatformCredentialsInvalid,
        ),
        (
            "the key's secret is wrong",
            role(|r| r.assumed = refused(403, "SignatureDoesNotMatch")),
            "Unknown",
            PlatformCredentialsInvalid,
        ),
        (
            "denied, as the platform's own control role is",
            role(|r| {
                r.assumed = refused(403, "AccessDenied");
                r.platform = Platform::AsConfigured;
                r.control = Some(refused(403, "AccessDenied"))
            }),
            "Unknown",
            PlatformRefused,
        ),
        (
            "denied, though the platform's own control role is not",
            role(|r| {
                r.assumed = refused(403, "AccessDenied");
                r.platform = Platform::AsConfigured;
                r.control = Some(Answer::Granted(()))
            }),
            "False",
            AssumeRoleDenied,
        ),
        (
            "AWS does not accept the key when asked whose it is",
            role(|r| {
                r.assumed = refused(403, "AccessDenied");
                r.platform = Platform::Refused
            }),
            "Unknown",
            PlatformCredentialsInvalid,
        ),
        (
            "the key is a session's, and it has expired",
            role(|r| r.assumed = refused(400, "ExpiredToken")),
            "Unknown",
            PlatformCredentialsInvalid,
        ),
        (
            "the key cannot be read",
            role(|r| {
                r.assumed = Answer::Silent(Silence::Unsendable);
                r.platform = Platform::Unreadable
            }),
            "Unknown",
            PlatformCredentialsInvalid,
        ),
        (
            "the STS region is not enabled",
            role(|r| r.assumed = refused(403, "RegionDisabledException")),
            "False",
            STSRegionDisabled,
        ),
        ("STS throttles", role(|r| r.assumed = refused(400, "Throttling")), "Unknown", Throttled),
        (
            "STS is out of order",
            role(|r| r.assumed = refused(503, "ServiceUnavailable")),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "STS does not answer",
            role(|r| r.assumed = Answer::Silent(Silence::Timeout)),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "a wrong caller is let in",
            role(|r| r.enforcement.as_mut().unwrap().negatives[1].answer = Some(Answer::Granted(()))),
            "False",
            ExternalIDNotEnforced,
        ),
        (
            "a wrong caller is throttled",
            role(|r| r.enforcement.as_mut().unwrap().negatives[1].answer = Some(refused(400, "Throttling"))),
            "Unknown",
            Throttled,
        ),
        (
            "a wrong caller gets a 403 that is no denial",
            role(|r| {
                r.enforcement.as_mut().unwrap().negatives[1].answer =
                    Some(refused(403, "InvalidClientTokenId"))
            }),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "a wrong caller gets no answer",
            role(|r| {
                r.enforcement.as_mut().unwrap().negatives[1].answer =
                    Some(Answer::Silent(Silence::Connection))
            }),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "the right caller is refused after the wrong ones",
            role(|r| r.enforcement.as_mut().unwrap().assumed_again = refused(403, "AccessDenied")),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "no such bucket",
            bucket(BucketCall::PutObject, refused(404, "NoSuchBucket")),
            "False",
            BucketNotFound,
        ),
        (
            "the bucket is elsewhere",
            bucket(BucketCall::PutObject, elsewhere("eu-west-1")),
            "False",
            WrongRegion,
        ),
        (
            "the bucket is elsewhere, and nobody says where",
            bucket(BucketCall::PutObject, refused(301, "PermanentRedirect")),
            "False",
            WrongRegion,
        ),
        (
            "the call is signed for another region",
            bucket(BucketCall::PutObject, refused(400, "AuthorizationHeaderMalformed")),
            "False",
            WrongRegion,
        ),
        (
            "the platform's clock is wrong",
            bucket(BucketCall::PutObject, refused(403, "RequestTimeTooSkewed")),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "a signature is refused with the ACL, and granted without",
            role(|r| {
                r.bucket.as_mut().unwrap().calls = vec![
                    (BucketCall::PutObject, refused(403, "SignatureDoesNotMatch")),
                    (BucketCall::PutObjectWithoutACL, Answer::Granted(())),
                ]
            }),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "put is denied",
            bucket(BucketCall::PutObject, refused(403, "AccessDenied")),
            "False",
            PutObjectDenied,
        ),
        (
            "put is denied for its ACL",
            bucket(BucketCall::PutObject, denied("s3:PutObjectAcl")),
            "False",
            ACLDenied,
        ),
        (
            "the bucket takes no ACL",
            bucket(BucketCall::PutObject, refused(400, "AccessControlListNotSupported")),
            "False",
            ACLDenied,
        ),
        (
            "the KMS key denies",
            bucket(BucketCall::PutObject, denied("kms:GenerateDataKey")),
            "False",
            KMSAccessDenied,
        ),
        (
            "the KMS key is disabled",
            bucket(BucketCall::PutObject, refused(400, "KMS.DisabledException")),
            "False",
            KMSKeyUnusable,
        ),
        (
            "the KMS key is another account's and not shared",
            bucket(BucketCall::PutObject, refused(403, "KMS.AccessDeniedException")),
            "False",
            KMSAccessDenied,
        ),
        ("S3 is slow", bucket(BucketCall::PutObject, refused(503, "SlowDown")), "Unknown", Throttled),
        (
            "the session expired on the way",
            bucket(BucketCall::GetObject, refused(400, "ExpiredToken")),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "get is denied",
            bucket(BucketCall::GetObject, refused(403, "AccessDenied")),
            "False",
            GetObjectDenied,
        ),
        (
            "head is denied and get, which needs the same, is not",
            role(|r| r.bucket.as_mut().unwrap().calls[1].1 = refused(403, "")),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "head and get are denied",
            role(|r| {
                let calls = &mut r.bucket.as_mut().unwrap().calls;
                calls[1].1 = refused(403, "");
                calls[2].1 = refused(403, "AccessDenied");
            }),
            "False",
            GetObjectDenied,
        ),
        (
            "the KMS key denies reading, which only the answer to get can say",
            role(|r| {
                let calls = &mut r.bucket.as_mut().unwrap().calls;
                calls[1].1 = refused(403, "");
                calls[2].1 = denied("kms:Decrypt");
            }),
            "False",
            KMSAccessDenied,
        ),
        (
            "an upload in parts is denied at its beginning",
            bucket(BucketCall::CreateMultipartUpload, refused(403, "AccessDenied")),
            "False",
            MultipartUploadDenied,
        ),
        (
            "a part is denied",
            bucket(BucketCall::UploadPart, refused(403, "AccessDenied")),
            "False",
            MultipartUploadDenied,
        ),
        (
            "a part needs the key",
            bucket(BucketCall::UploadPart, denied("kms:Decrypt")),
            "False",
            KMSAccessDenied,
        ),
        (
            "the end of an upload in parts is denied",
            bucket(BucketCall::CompleteMultipartUpload, refused(403, "AccessDenied")),
            "False",
            MultipartUploadDenied,
        ),
        (
            "reading back is slow, and an upload in parts is denied",
            role(|r| {
                let calls = &mut r.bucket.as_mut().unwrap().calls;
                calls[1].1 = Answer::Silent(Silence::Timeout);
                calls.truncate(4);
                calls[3].1 = refused(403, "AccessDenied");
            }),
            "False",
            MultipartUploadDenied,
        ),
        (
            "the end of an upload in parts is an error under a 200",
            bucket(BucketCall::CompleteMultipartUpload, refused(200, "InternalError")),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "the probe ended early",
            role(|r| _ = r.bucket.as_mut().unwrap().calls.drain(5..)),
            "Unknown",
            ProbeInconclusive,
        ),
        (
            "put is denied with the ACL and granted without",
            role(|r| {
                r.bucket.as_mut().unwrap().calls = vec![
                    (BucketCall::PutObject, refused(403, "AccessDenied")),
                    (BucketCall::PutObjectWithoutACL, Answer::Granted(())),
                ]
            }),
            "False",
            ACLDenied,
        ),
        (
            "put is denied with the ACL and without",
            role(|r| {
                r.bucket.as_mut().unwrap().calls = vec![
                    (BucketCall::PutObject, refused(403, "AccessDenied")),
                    (BucketCall::PutObjectWithoutACL, refused(403, "AccessDenied")),
                ]
            }),
            "False",
            PutObjectDenied,
        ),
        (
            "the bucket is versioned",
            role(|r| r.bucket.as_mut().unwrap().marker_left = true),
            "True",
            Validated,
        ),
        (
            "another object comes back",
            role(|r| r.bucket.as_mut().unwrap().read_back_matches = Some(false)),
            "False",
            ReadBackMismatch,
        ),
        (
            "only delete is denied",
            bucket(BucketCall::DeleteObject, refused(403, "AccessDenied")),
            "True",
            Validated,
        ),
        ("nothing", (resolved(), Some(sound())), "True", Validated),
    ];
    for (trouble, (secret, role), status, reason) in rows {
        let verdict = validate(&destination(), secret, role, now());
        let expected = (status.to_owned(), reason.to_string());
        assert_eq!(shown(&verdict, ConditionType::Ready), expected, "{trouble}");
        let reconciling = conditions::find(&verdict.status, ConditionType::Reconciling).is_some();
        assert_eq!(reconciling, status != "True", "{trouble}: what is not Ready is retried");
        for check in verdict.status.checks.iter().filter(|check| check.result == CheckResult::Failed) {
            assert!(
                !check.remedy.is_empty(),
                "{trouble}: {} failed, and nothing says what to do",
                check.name
            );
        }
    }
}
