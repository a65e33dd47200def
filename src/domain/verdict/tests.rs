//! The rules of the verdict, as tables.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::api::{Answer, CheckResult, REVALIDATE_ANNOTATION, Reason, Refusal, Silence};

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
    SecretObservation::Resolved { version: "812".into() }
}

/// A role and bucket with which nothing is wrong.
fn sound() -> RoleEvidence {
    let denied = || Some(refused(403, "AccessDenied"));
    RoleEvidence {
        assumed: Answer::Granted(()),
        platform: Platform::NotKnown,
        enforcement: Some(Enforcement {
            negatives: vec![
                NegativeAnswer { name: "AssumeRoleWithout", answer: denied() },
                NegativeAnswer { name: "AssumeRoleWithRandom", answer: denied() },
                NegativeAnswer { name: "AssumeRoleWithCaseFlipped", answer: None },
            ],
            assumed_again: Answer::Granted(()),
        }),
        bucket: Some(BucketEvidence {
            calls: vec![
                (BucketCall::PutObject, Answer::Granted(())),
                (BucketCall::GetObject, Answer::Granted(())),
                (BucketCall::DeleteObject, Answer::Granted(())),
            ],
            read_back_matches: Some(true),
        }),
    }
}

fn look(
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
    let verdict = look(&destination(), resolved(), Some(sound()), now());
    with_status(destination(), verdict)
}

fn said(verdict: &Verdict, kind: ConditionType) -> (String, String) {
    let condition = conditions::find(&verdict.status, kind).unwrap_or_else(|| panic!("{kind} is missing"));
    (condition.status.clone(), condition.reason.clone())
}

#[track_caller]
fn assert_said(verdict: &Verdict, kind: ConditionType, status: &str, reason: Reason) {
    assert_eq!(said(verdict, kind), (status.to_owned(), reason.to_string()), "{kind}");
}

#[test]
fn a_sound_destination_is_ready() {
    let verdict = look(&destination(), resolved(), Some(sound()), now());
    for kind in ["Ready", "SecretResolved", "RoleAssumable", "ExternalIDEnforced", "BucketWritable"] {
        assert_said(&verdict, kind.parse().unwrap(), "True", Reason::Validated);
    }
    let status = &verdict.status;
    assert_eq!(status.observed_generation, GENERATION);
    assert_eq!(status.account_id.as_deref(), Some("111111111111"));
    assert_eq!(status.bucket_region.as_deref(), Some("us-east-1"));
    assert_eq!(status.established_time, Some(Time(now())));
    assert_eq!(status.external_id_secret_version.as_deref(), Some("812"));
    assert!(status.conditions.iter().all(|c| c.observed_generation == Some(GENERATION)));
    assert!(conditions::find(status, ConditionType::Reconciling).is_none(), "nothing is left to do");
}

/// One thing wrong with a sound destination → Ready's status and reason.
#[test]
fn each_trouble_has_its_own_reason() {
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
        ("no such key", secret(SecretObservation::KeyMissing), "False", SecretKeyMissing),
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
                r.platform = Platform::SomebodyElse("arn:x".into())
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
        let verdict = look(&destination(), secret, role, now());
        let expected = (status.to_owned(), reason.to_string());
        assert_eq!(said(&verdict, ConditionType::Ready), expected, "{trouble}");
        let reconciling = conditions::find(&verdict.status, ConditionType::Reconciling).is_some();
        assert_eq!(reconciling, status != "True", "{trouble}: what is not Ready is retried");
    }
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

#[test]
fn the_wrong_region_is_answered_with_the_right_one() {
    let (secret, role) = bucket(BucketCall::PutObject, elsewhere("eu-west-1"));
    let verdict = look(&destination(), secret, role, now());
    let check = verdict.status.checks.iter().find(|c| c.name == "PutObject").unwrap();
    assert_eq!(check.remedy, "Set spec.region to eu-west-1");
    assert_eq!(verdict.status.bucket_region.as_deref(), Some("eu-west-1"));
}

#[test]
fn a_role_that_lets_anybody_in_stays_assumable_and_is_not_ready() {
    let mut role = sound();
    role.enforcement.as_mut().unwrap().negatives[0].answer = Some(Answer::Granted(()));
    let verdict = look(&destination(), resolved(), Some(role), now());
    assert_said(&verdict, ConditionType::RoleAssumable, "True", Reason::Validated);
    assert_said(&verdict, ConditionType::ExternalIDEnforced, "False", Reason::ExternalIDNotEnforced);
    assert_said(&verdict, ConditionType::BucketWritable, "True", Reason::Validated);
    assert_eq!(verdict.status.established_time, None, "an open role proves nothing");
    let failed: Vec<_> = verdict.status.checks.iter().filter(|c| c.result == CheckResult::Failed).collect();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].remedy.contains("TRUST POLICY"));
}

#[test]
fn a_condition_that_was_not_reached_is_unknown_and_says_so() {
    let verdict = look(&destination(), SecretObservation::NotFound, None, now());
    for kind in
        [ConditionType::RoleAssumable, ConditionType::ExternalIDEnforced, ConditionType::BucketWritable]
    {
        assert_said(&verdict, kind, "Unknown", Reason::NotEvaluated);
    }
    assert_eq!(verdict.status.last_validation_time, None, "AWS was not asked");
}

#[test]
fn one_hiccup_leaves_a_proof_standing_until_it_is_twice_its_interval_old() {
    let mut silent = sound();
    silent.assumed = Answer::Silent(Silence::Timeout);
    for (age, status, reason) in [
        (hours(1), "True", Reason::Validated),
        (SignedDuration::from_secs(2 * 3600 - 1), "True", Reason::Validated),
        (hours(2), "Unknown", Reason::ProbeInconclusive),
    ] {
        let verdict = look(&proved(), resolved(), Some(silent.clone()), now() + age);
        assert_said(&verdict, ConditionType::Ready, status, reason);
        let check = verdict.status.checks.iter().find(|c| c.name == "AssumeRole").unwrap();
        assert_eq!(check.result, CheckResult::Inconclusive, "the check tells the truth at {age}");
        assert_eq!(
            verdict.status.last_validation_time,
            Some(Time(now())),
            "no clear answer is no validation"
        );
    }
}

#[test]
fn a_wrong_key_of_ours_leaves_proved_tenants_ready_and_others_unknown() {
    let mut refused_key = sound();
    refused_key.assumed = refused(403, "InvalidClientTokenId");
    let verdict = look(&proved(), resolved(), Some(refused_key.clone()), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    let verdict = look(&destination(), resolved(), Some(refused_key), now());
    assert_said(&verdict, ConditionType::Ready, "Unknown", Reason::PlatformCredentialsInvalid);
}

#[test]
fn a_proof_does_not_stand_for_another_secret_or_generation() {
    let mut silent = sound();
    silent.assumed = Answer::Silent(Silence::Timeout);
    let other_secret = SecretObservation::Resolved { version: "900".into() };
    let verdict = look(&proved(), other_secret, Some(silent.clone()), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "Unknown", Reason::ProbeInconclusive);

    let mut edited = proved();
    edited.metadata.generation = Some(GENERATION + 1);
    let verdict = look(&edited, resolved(), Some(silent), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "Unknown", Reason::ProbeInconclusive);
}

#[test]
fn a_look_at_the_role_alone_leaves_the_rest_as_it_was() {
    let mut role_only = sound();
    (role_only.enforcement, role_only.bucket) = (None, None);
    let before = proved();
    let verdict = look(&before, resolved(), Some(role_only), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(verdict.status.last_validation_time, Some(Time(now() + hours(1))));
    assert_eq!(verdict.status.last_enforcement_time, Some(Time(now())));
    assert_eq!(verdict.status.checks.len(), before.status.unwrap().checks.len());
}

#[test]
fn the_transition_time_moves_only_when_the_status_flips() {
    let since = |verdict: &Verdict| {
        conditions::find(&verdict.status, ConditionType::Ready).unwrap().last_transition_time.0
    };
    let again = look(&proved(), resolved(), Some(sound()), now() + hours(1));
    assert_eq!(since(&again), now());
    let lost = look(&proved(), SecretObservation::NotFound, None, now() + hours(1));
    assert_eq!(since(&lost), now() + hours(1));
}

#[test]
fn events_tell_of_transitions_only() {
    let first = look(&destination(), resolved(), Some(sound()), now());
    assert_eq!(first.transitions.len(), 1);
    assert!(!first.transitions[0].warning);
    let again = look(&proved(), resolved(), Some(sound()), now() + hours(1));
    assert_eq!(again.transitions, []);
    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let lost = look(&proved(), secret, role, now() + hours(1));
    assert_eq!(lost.transitions.len(), 1);
    let event = &lost.transitions[0];
    assert!(event.warning && event.reason == "PutObjectDenied", "{event:?}");
    assert!(event.note.contains("ROLE POLICY") && event.note.len() <= 1024, "{}", event.note);
}

#[test]
fn suspending_keeps_what_is_known_and_resuming_proves_again() {
    let mut destination = proved();
    destination.spec.suspend = true;
    destination.metadata.generation = Some(GENERATION + 1);
    assert_eq!(due(&destination, None, "aws", now()), Due::ReportSuspended);
    let verdict = judge(&destination, &Evidence::Suspended, &texts(), None, now());
    assert_said(&verdict, ConditionType::Ready, "False", Reason::Suspended);
    assert_said(&verdict, ConditionType::ExternalIDEnforced, "True", Reason::Validated);
    assert!(!verdict.transitions[0].warning, "it is what the user asked for");

    let mut suspended = with_status(destination, verdict);
    assert!(matches!(due(&suspended, None, "aws", now()), Due::NotBefore(_)));
    suspended.spec.suspend = false;
    suspended.metadata.generation = Some(GENERATION + 2);
    assert_eq!(due(&suspended, None, "aws", now()), Due::Look(Work::Everything));
}

#[test]
fn a_role_of_another_partition_waits_for_an_edit() {
    let mut destination = destination();
    destination.spec.role_arn = "arn:aws-cn:iam::111111111111:role/writer".into();
    let Due::ReportInvalid(problem) = due(&destination, None, "aws", now()) else { panic!("not refused") };
    let verdict = judge(&destination, &Evidence::InvalidSpec(problem), &texts(), None, now());
    assert_said(&verdict, ConditionType::Ready, "False", Reason::InvalidSpec);
    assert_said(&verdict, ConditionType::Stalled, "True", Reason::InvalidSpec);
    assert!(matches!(due(&with_status(destination.clone(), verdict), None, "aws", now()), Due::NotBefore(_)));
    assert_eq!(
        due(&destination, None, "aws-cn", now()),
        Due::Look(Work::Everything),
        "its own platform serves it"
    );
}

#[test]
fn what_is_due_when() {
    let recent = |destination: &RecordingDestination, ago: SignedDuration| Recent {
        spec: destination.spec.clone(),
        generation: destination.metadata.generation,
        secret_version: None,
        last_attempt: now() - ago,
        last_change: now() - ago,
    };
    let minute = SignedDuration::from_mins(1);
    let ready = proved();
    let at = |d: &RecordingDestination, r: Option<&Recent>, time| match due(d, r, "aws", time) {
        Due::Look(work) => Some(work),
        _ => None,
    };
    assert_eq!(at(&destination(), None, now()), Some(Work::Everything), "a new one, at once");
    assert_eq!(at(&ready, None, now() + minute), None, "a proved one, not before its interval");
    assert_eq!(at(&ready, None, now() + hours(1)), Some(Work::Role), "hourly, the role");
    assert_eq!(at(&ready, None, now() + hours(24)), Some(Work::Everything), "daily, everything");

    let mut asked = ready.clone();
    asked.metadata.annotations = Some([(REVALIDATE_ANNOTATION.to_owned(), "1".to_owned())].into());
    assert_eq!(at(&asked, None, now()), Some(Work::Everything), "on demand");
    assert_eq!(
        at(&asked, Some(&recent(&asked, SignedDuration::from_secs(9))), now()),
        None,
        "at most once in 10 s"
    );
    assert_eq!(
        at(&asked, Some(&recent(&asked, SignedDuration::from_secs(10))), now()),
        Some(Work::Everything)
    );
    let answered = with_status(asked.clone(), look(&asked, resolved(), Some(sound()), now()));
    assert_eq!(at(&answered, None, now() + minute), None, "once for each value");

    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let broken = with_status(destination(), look(&destination(), secret, role, now()));
    let young = recent(&broken, SignedDuration::ZERO);
    assert_eq!(at(&broken, Some(&young), now() + SignedDuration::from_secs(5)), None);
    assert_eq!(
        at(&broken, Some(&young), now() + SignedDuration::from_secs(30)),
        Some(Work::Everything),
        "within 30 s"
    );
    let old = Recent { last_attempt: now() + hours(4), ..young };
    assert_eq!(
        at(&broken, Some(&old), now() + hours(4) + minute),
        Some(Work::Secret),
        "later only the Secret is looked at that often"
    );
    assert_eq!(
        at(&broken, Some(&old), now() + hours(4) + SignedDuration::from_mins(15)),
        Some(Work::Everything),
        "the rest within 15 min"
    );
}

/// Whatever a look comes to, the next one is not due at once.
#[test]
fn no_look_calls_for_another_at_once() {
    let mut silent = sound();
    silent.assumed = Answer::Silent(Silence::Timeout);
    let (_, unwritable) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let looks = [
        ("sound", resolved(), Some(sound())),
        ("no Secret", SecretObservation::NotFound, None),
        ("silent", resolved(), Some(silent)),
        ("not writable", resolved(), unwritable),
    ];
    for (case, secret, role) in looks {
        let evidence = Evidence::Validated { secret, role: role.map(Box::new) };
        let (mut seen, mut recent, mut time) = (destination(), None, now());
        for round in 0..50 {
            let verdict = judge(&seen, &evidence, &texts(), recent.as_ref(), time);
            let after = Recent::after_look(recent.as_ref(), &seen, &evidence, time);
            seen = with_status(seen, verdict);
            let next = next_look(&seen, &after, "aws", time);
            assert!(next >= time + SignedDuration::from_secs(15), "{case}, round {round}: {}", next - time);
            (recent, time) = (Some(after), next);
        }
    }
}

#[test]
fn only_edits_that_no_proof_depends_on_carry_it_over() {
    let recent = Recent {
        spec: destination().spec,
        generation: Some(GENERATION),
        secret_version: None,
        last_attempt: now(),
        last_change: now(),
    };
    type Edit = fn(&mut RecordingDestination);
    let edits: [(&str, Edit, bool); 6] = [
        ("validation", |d| d.spec.validation.interval_seconds = 600, true),
        ("serviceAccountNames", |d| d.spec.service_account_names = vec!["recorder".into()], true),
        ("bucket", |d| d.spec.bucket = "other-recordings".into(), false),
        ("prefix", |d| d.spec.prefix = Some("calls/".into()), false),
        ("objectACL", |d| d.spec.object_acl = crate::api::ObjectACL::None, false),
        ("sessionDurationSeconds", |d| d.spec.session_duration_seconds = 900, false),
    ];
    for (field, edit, carried) in edits {
        let mut edited = proved();
        edit(&mut edited);
        edited.metadata.generation = Some(GENERATION + 1);
        let expected = if carried { Due::CarryOver } else { Due::Look(Work::Everything) };
        assert_eq!(due(&edited, Some(&recent), "aws", now()), expected, "{field}");
        assert_eq!(
            due(&edited, None, "aws", now()),
            Due::Look(Work::Everything),
            "{field}: unseen, nothing is carried over"
        );
        let verdict = judge(&edited, &Evidence::CarriedOver, &texts(), Some(&recent), now());
        assert!(with_status(edited, verdict).is_ready());
    }
}

#[test]
fn a_changed_secret_is_proved_anew() {
    let status = proved().status;
    let changed = SecretObservation::Resolved { version: "900".into() };
    assert_eq!(Work::Role.given(&changed, status.as_ref(), None), Work::Everything);
    assert_eq!(Work::Role.given(&resolved(), status.as_ref(), None), Work::Role);
}

#[test]
fn nothing_aws_wrote_and_no_secret_reaches_the_status() {
    let mut role = sound();
    role.assumed =
        Answer::Refused(Refusal { status: 403, code: "AccessDenied".into(), ..Refusal::default() });
    role.platform = Platform::AsConfigured;
    let verdict = look(&destination(), resolved(), Some(role), now());
    let text = serde_json::to_string(&verdict.status).unwrap();
    assert!(text.contains("TRUST POLICY") && !text.contains("RequestId"), "{text}");
}

#[test]
fn an_edit_whose_refusal_could_not_be_written_is_not_carried_over() {
    let mut edited = proved();
    edited.spec.bucket = "other-recordings".into();
    edited.metadata.generation = Some(GENERATION + 1);
    let (secret, role) = bucket(BucketCall::PutObject, refused(404, "NoSuchBucket"));
    let evidence = Evidence::Validated { secret, role: role.map(Box::new) };
    // As if the look were remembered, while the status still speaks of the generation before.
    let recent = Recent::after_look(None, &edited, &evidence, now());
    assert_eq!(due(&edited, Some(&recent), "aws", now()), Due::Look(Work::Everything));
}

#[test]
fn a_bucket_that_gives_no_clear_answer_loses_its_proof_in_time_although_the_role_is_sound() {
    let (secret, role) = bucket(BucketCall::PutObject, Answer::Silent(Silence::Connection));
    let (mut seen, mut time) = (proved(), now());
    for _ in 0..5 {
        time += hours(12);
        let verdict = look(&seen, secret.clone(), role.clone(), time);
        seen = with_status(seen, verdict);
    }
    let ready = conditions::find(seen.status.as_ref().unwrap(), ConditionType::Ready).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("Unknown", "ProbeInconclusive"));
}

#[test]
fn a_wrong_value_in_the_secret_is_tried_once_and_a_mended_one_at_the_next_look() {
    let changed = |version: &str| SecretObservation::Resolved { version: version.into() };
    let tried = |version: &str| Recent {
        spec: destination().spec,
        generation: Some(GENERATION),
        secret_version: Some(version.into()),
        last_attempt: now(),
        last_change: now(),
    };
    let proved = proved().status;
    assert_eq!(Work::Secret.given(&changed("900"), proved.as_ref(), Some(&tried("812"))), Work::Everything);
    assert_eq!(Work::Secret.given(&changed("900"), proved.as_ref(), Some(&tried("900"))), Work::Secret);
    let mut denied = sound();
    (denied.assumed, denied.platform) = (refused(403, "AccessDenied"), Platform::AsConfigured);
    let never_proved = look(&destination(), changed("900"), Some(denied), now()).status;
    assert_eq!(
        Work::Secret.given(&changed("901"), Some(&never_proved), Some(&tried("900"))),
        Work::Everything
    );
}

#[test]
fn no_probe_object_is_put_where_the_role_is_open_or_the_last_one_stayed() {
    let refusing = sound().enforcement.unwrap();
    let mut open = refusing.clone();
    open.negatives[0].answer = Some(Answer::Granted(()));
    assert!(bucket_is_due(&destination(), &refusing));
    assert!(!bucket_is_due(&destination(), &open), "the bucket may be somebody else's");
    assert!(bucket_is_due(&proved(), &refusing));

    let (secret, role) = bucket(BucketCall::DeleteObject, refused(403, "AccessDenied"));
    let mut kept = with_status(destination(), look(&destination(), secret, role, now()));
    for _ in 0..3 {
        assert!(!bucket_is_due(&kept, &refusing), "one more would stay");
        let mut without_bucket = sound();
        without_bucket.bucket = None;
        kept = with_status(kept.clone(), look(&kept, resolved(), Some(without_bucket), now() + hours(24)));
        assert!(kept.is_ready());
    }
    kept.metadata.annotations = Some([(REVALIDATE_ANNOTATION.to_owned(), "1".to_owned())].into());
    assert!(bucket_is_due(&kept, &refusing), "on request");
    kept.metadata = destination().metadata;
    kept.metadata.generation = Some(GENERATION + 1);
    assert!(bucket_is_due(&kept, &refusing), "after an edit");
}

#[test]
fn a_target_changed_while_suspended_is_established_anew() {
    let before = Recent {
        spec: destination().spec,
        generation: Some(GENERATION),
        secret_version: None,
        last_attempt: now(),
        last_change: now(),
    };
    let mut edited = proved();
    edited.spec.suspend = true;
    edited.metadata.generation = Some(GENERATION + 1);
    let kept = judge(&edited, &Evidence::Suspended, &texts(), Some(&before), now());
    assert_eq!(kept.status.established_time, Some(Time(now())));
    edited.spec.bucket = "other-recordings".into();
    let cleared = judge(&edited, &Evidence::Suspended, &texts(), Some(&before), now());
    assert_eq!(cleared.status.established_time, None);
}
