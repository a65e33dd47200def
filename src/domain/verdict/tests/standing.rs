//! Which results of an earlier validation stand, and which do not.

use super::*;

fn role_only() -> RoleEvidence {
    RoleEvidence { enforcement: None, bucket: None, ..sound() }
}

fn denied_role() -> RoleEvidence {
    RoleEvidence { assumed: refused(403, "AccessDenied"), platform: Platform::AsConfigured, ..role_only() }
}

#[test]
fn what_a_refusing_role_hides_is_unknown_and_its_checks_are_removed() {
    let silent = RoleEvidence { assumed: Answer::Silent(Silence::Timeout), ..role_only() };
    for (what, before, role, reason) in [
        ("refused, never proved", destination(), denied_role(), Reason::NotEvaluated),
        ("refused, proved before", proved(), denied_role(), Reason::NotEvaluated),
        ("silent, never proved", destination(), silent, Reason::ProbeInconclusive),
    ] {
        let verdict = validate(&before, resolved(), Some(role), now() + hours(1));
        for kind in [ConditionType::ExternalIDEnforced, ConditionType::BucketWritable] {
            assert_eq!(shown(&verdict, kind), ("Unknown".into(), reason.to_string()), "{what}: {kind}");
        }
        let lines: Vec<_> = verdict.status.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(lines, ["AssumeRole", "ExternalIDSecret"], "{what}: what failed comes first");
    }
}

#[test]
fn a_proof_of_the_role_ages_from_the_last_time_that_it_was_assumed() {
    let later = validate(&proved(), resolved(), Some(role_only()), now() + hours(1));
    let later = with_status(proved(), later);
    let silent = RoleEvidence { assumed: Answer::Silent(Silence::Timeout), ..role_only() };
    for (age, status) in [(hours(3) - SignedDuration::from_secs(1), "True"), (hours(3), "Unknown")] {
        let verdict = validate(&later, resolved(), Some(silent.clone()), now() + age);
        assert_eq!(shown(&verdict, ConditionType::RoleAssumable).0, status, "{age}");
    }
}

#[test]
fn a_verified_upload_proves_the_bucket_as_well_as_a_probe_does() {
    let (secret, role) = bucket(BucketCall::PutObject, Answer::Silent(Silence::Timeout));
    for (upload, age, status) in [
        (None, hours(48), "Unknown"),
        (Some(hours(10)), hours(48), "True"),
        (Some(hours(10)), hours(58) - SignedDuration::from_secs(1), "True"),
        (Some(hours(10)), hours(58), "Unknown"),
    ] {
        let mut used = proved();
        used.status.as_mut().unwrap().last_upload_time = upload.map(|upload| Time(now() + upload));
        let verdict = validate(&used, secret.clone(), role.clone(), now() + age);
        assert_eq!(shown(&verdict, ConditionType::BucketWritable).0, status, "upload {upload:?}, {age}");
    }
}

#[test]
fn what_kstatus_reads_as_work_in_progress_goes_when_the_work_is_done() {
    let is_said = |destination: &RecordingDestination, kind| {
        conditions::find(destination.status.as_ref().unwrap(), kind).is_some()
    };
    let broken = with_status(destination(), validate(&destination(), resolved(), Some(denied_role()), now()));
    assert!(is_said(&broken, ConditionType::Reconciling));
    let mended = with_status(broken.clone(), validate(&broken, resolved(), Some(sound()), now()));
    assert!(!is_said(&mended, ConditionType::Reconciling));

    let invalid = judge(&broken, &Evidence::InvalidSpec("wrong".into()), &texts(), None, now());
    let stalled = with_status(broken, invalid);
    assert!(is_said(&stalled, ConditionType::Stalled) && !is_said(&stalled, ConditionType::Reconciling));
    let edited = with_status(stalled.clone(), validate(&stalled, resolved(), Some(sound()), now()));
    assert!(!is_said(&edited, ConditionType::Stalled));
}

#[test]
fn an_unreadable_secret_keeps_the_proof_until_twice_its_interval() {
    for (age, status) in [(hours(1), "True"), (hours(2), "Unknown")] {
        let verdict = validate(&proved(), SecretObservation::Unreadable(500), None, now() + age);
        assert_eq!(shown(&verdict, ConditionType::Ready).0, status, "{age}");
        assert_eq!(verdict.status.established_time, Some(Time(now())), "{age}: the claim is kept");
    }
}

#[test]
fn a_claim_outlives_its_secret_and_ends_with_another_external_id() {
    let gone =
        with_status(proved(), validate(&proved(), SecretObservation::NotFound, None, now() + hours(1)));
    let version = |known| SecretObservation::Resolved { version: "900".into(), known };
    for (what, before, secret, kept) in [
        ("back with the same value", gone.clone(), version(true), true),
        ("back with another value", gone, version(false), false),
        ("edited", proved(), version(false), false),
        ("replaced by one of another type", proved(), SecretObservation::TypeMismatch, true),
    ] {
        let role = matches!(secret, SecretObservation::Resolved { .. }).then(sound);
        let verdict = validate(&before, secret, role, now() + hours(2));
        assert_eq!(verdict.status.established_time == Some(Time(now())), kept, "{what}");
    }
}

#[test]
fn a_revalidate_request_is_handled_only_by_a_validation() {
    let mut asked = proved();
    asked.metadata.annotations = Some([(REVALIDATE_ANNOTATION.to_owned(), "1".to_owned())].into());
    for (what, evidence, answered) in [
        ("carried over", Evidence::CarriedOver, false),
        ("reconsidered", Evidence::Reconsidered, false),
        ("looked at", Evidence::Validated { secret: resolved(), role: Some(Box::new(sound())) }, true),
    ] {
        let verdict = judge(&asked, &evidence, &texts(), None, now());
        assert_eq!(verdict.status.last_handled_revalidate.is_some(), answered, "{what}");
        let next = due(&with_status(asked.clone(), verdict), None, "aws", now());
        assert_eq!(next == Due::Validate(Work::Everything), !answered, "{what}");
    }
}
