//! What is kept between validations, and the effect of a changed Secret or claim.

use super::*;
use crate::api::Objection;

fn before() -> Recent {
    Recent {
        spec: SpecDigest::of(&destination().spec),
        generation: Some(GENERATION),
        secret_version: Some("812".into()),
        last_probe: None,
        inconclusive_since: None,
        last_secret_read: now(),
        last_attempt: Some(now()),
        last_change: now(),
        doubt: None,
    }
}

fn looked(version: &str) -> Evidence {
    let secret = SecretObservation::Resolved { version: version.into(), known: false };
    Evidence::Validated { secret, role: Some(Box::new(sound())) }
}

#[test]
fn a_validation_is_remembered_and_a_mere_report_is_not() {
    let later = now() + hours(1);
    let after = after_validation(Some(&before()), &destination(), &looked("900"), later);
    assert_eq!(after.secret_version.as_deref(), Some("900"), "what was sent, proved or not");
    assert_eq!((after.last_secret_read, after.last_attempt), (later, Some(later)));

    let missing = Evidence::Validated { secret: SecretObservation::NotFound, role: None };
    let after = after_validation(Some(&before()), &destination(), &missing, later);
    assert_eq!(after.secret_version.as_deref(), Some("812"), "nothing was sent since");
    assert_eq!((after.last_secret_read, after.last_attempt), (later, Some(later)));

    let after = after_validation(Some(&before()), &destination(), &Evidence::Suspended, later);
    assert_eq!(after, before(), "nobody looked");

    let secret_alone = before().after_secret_read(later);
    assert_eq!(secret_alone, Recent { last_secret_read: later, ..before() });
}

#[test]
fn an_edit_and_a_revalidate_request_reset_the_backoff() {
    let later = now() + hours(1);
    let annotated = |mut destination: RecordingDestination, value: &str| {
        destination.metadata.annotations =
            Some([(REVALIDATE_ANNOTATION.to_owned(), value.to_owned())].into());
        destination
    };
    let mut edited = proved();
    edited.spec.bucket = "other-recordings".into();
    let asked = annotated(proved(), "1");
    let answered = with_status(asked.clone(), validate(&asked, resolved(), Some(sound()), now()));
    let withdrawn = RecordingDestination { metadata: proved().metadata, ..answered.clone() };
    for (what, seen, changed) in [
        ("nothing", proved(), false),
        ("an edit", edited, true),
        ("a request", asked, true),
        ("a request that was answered", answered.clone(), false),
        ("a request that was answered and taken back", withdrawn, false),
        ("another request", annotated(answered, "2"), true),
    ] {
        let after = after_validation(Some(&before()), &seen, &looked("812"), later);
        assert_eq!(after.last_change == later, changed, "{what}");
        assert_eq!(after.last_change == now(), !changed, "{what}");
    }
    let first = after_validation(None, &proved(), &looked("812"), later);
    assert_eq!(first.last_change, later);
}

#[test]
fn a_new_external_id_resets_the_backoff_and_a_relabelled_secret_does_not() {
    let later = now() + hours(1);
    for (what, version, known, changed) in [
        ("the same Secret", "812", false, false),
        ("an edited one", "900", false, true),
        ("a relabelled one", "900", true, false),
    ] {
        let secret = SecretObservation::Resolved { version: version.into(), known };
        let evidence = Evidence::Validated { secret, role: Some(Box::new(sound())) };
        let after = after_validation(Some(&before()), &proved(), &evidence, later);
        assert_eq!(after.last_change == later, changed, "{what}");
        assert_eq!(after.secret_version.as_deref(), Some(version), "{what}");
    }
    let never_sent = Recent { secret_version: None, ..before() };
    let first = after_validation(Some(&never_sent), &proved(), &looked("812"), later);
    assert_eq!(first.last_change, now(), "the first that is sent is no edit");
}

#[test]
fn an_inconclusive_check_is_as_old_as_its_first_occurrence() {
    let inconclusive_role = || {
        let mut role = sound();
        role.enforcement.as_mut().unwrap().negatives[0].answer = Some(Answer::Silent(Silence::Timeout));
        Evidence::Validated { secret: resolved(), role: Some(Box::new(role)) }
    };
    let first = after_validation(Some(&before()), &proved(), &inconclusive_role(), now() + hours(1));
    assert_eq!(first.inconclusive_since, Some(now() + hours(1)));
    let second = after_validation(Some(&first), &proved(), &inconclusive_role(), now() + hours(2));
    assert_eq!(second.inconclusive_since, Some(now() + hours(1)));
    let clear = after_validation(Some(&second), &proved(), &looked("812"), now() + hours(3));
    assert_eq!(clear.inconclusive_since, None);
}

#[test]
fn a_restarted_process_sends_an_external_id_that_it_has_not_sent_yet() {
    let (mut denied, mut refused_at) = (sound(), destination());
    (denied.assumed, denied.platform) = (refused(403, "AccessDenied"), Platform::AsConfigured);
    refused_at.status = Some(validate(&destination(), resolved(), Some(denied), now()).status);
    let restarted = Recent::from_status(&refused_at, now());
    let work = Work::Secret.given(&resolved(), &refused_at, restarted.as_ref());
    assert_eq!(work, Work::Everything, "nobody knows whether it is the one that was refused");
}

#[test]
fn a_recreated_secret_is_validated_completely() {
    let lost = validate(&proved(), SecretObservation::NotFound, None, now());
    let lost = with_status(proved(), lost);
    assert_eq!(Work::Secret.given(&resolved(), &lost, Some(&before())), Work::Everything);
    assert_eq!(Work::Secret.given(&SecretObservation::NotFound, &lost, None), Work::Secret);
    assert_eq!(Work::Secret.given(&resolved(), &proved(), Some(&before())), Work::Secret);
}

/// `Exclusive` in the status, the standing of the claim now → whether it has to be reported.
#[test]
fn a_claim_whose_standing_changed_is_reported() {
    let conflict = |message: &str| Objection {
        reason: Reason::DestinationConflict,
        message: message.into(),
        remedy: "use another bucket".into(),
    };
    let status = |standing: Result<(), Objection>| {
        let evidence = looked("812");
        let verdict =
            super::super::judge(&destination(), &evidence, &texts(), None, &rules(), |_| standing, now());
        with_status(destination(), verdict)
    };
    let (secret, role) = (resolved(), RoleEvidence { assumed: Answer::Silent(Silence::Timeout), ..sound() });
    let unproved = with_status(destination(), validate(&destination(), secret, Some(role), now()));
    for (what, seen, standing, moved) in [
        ("first, and still first", status(Ok(())), Ok(()), false),
        ("first, and overtaken", status(Ok(())), Err(conflict("bucket")), true),
        ("second, and still second", status(Err(conflict("bucket"))), Err(conflict("bucket")), false),
        ("second, for another reason", status(Err(conflict("bucket"))), Err(conflict("role")), true),
        ("second, and now first", status(Err(conflict("bucket"))), Ok(()), true),
        ("not proved, and nobody has it", unproved.clone(), Ok(()), false),
        ("not proved, and somebody has it", unproved, Err(conflict("bucket")), false),
    ] {
        let due = super::super::due(&seen, Some(&before()), &rules(), &standing, now());
        assert_eq!(due == Due::Reconsider, moved, "{what}: {due:?}");
    }
}

/// With a bucket that keeps nothing: which calls are made again.
#[test]
fn a_bucket_is_probed_whole_unless_an_upload_is_newer_than_the_last_probe() {
    let refusing = sound().enforcement.unwrap();
    let due = |seen: &RecordingDestination| probe_due(seen, &resolved(), &refusing, None, &rules(), now());
    for (what, upload, expected) in [
        ("no upload", None, Probe::Whole),
        ("an upload before", Some(-hours(1)), Probe::Whole),
        ("an upload in that second", Some(hours(0)), Probe::Whole),
        ("an upload since", Some(hours(1)), Probe::Parts),
    ] {
        let mut used = proved();
        used.status.as_mut().unwrap().last_upload_time = upload.map(|age| Time(now() + age));
        assert_eq!(due(&used), Some(expected), "{what}");
        used.status.as_mut().unwrap().last_handled_revalidate = Some("1".into());
        assert_eq!(due(&used), Some(expected), "{what}, a request was taken back");
    }
}

/// A destination whose bucket was probed at noon, and what is due after that.
#[test]
fn doubts_about_something_else_put_no_more_probes_into_a_bucket() {
    let refusing = sound().enforcement.unwrap();
    let probed = Recent { last_probe: Some(now()), ..before() };
    let mut asked = proved();
    asked.metadata.annotations = Some([(REVALIDATE_ANNOTATION.to_owned(), "1".to_owned())].into());
    let mut unclear_refusal = proved();
    let checks = &mut unclear_refusal.status.as_mut().unwrap().checks;
    checks.iter_mut().find(|check| check.name == "GetObject").unwrap().result = CheckResult::Inconclusive;
    for (what, seen, recent, after, due) in [
        ("a minute later", proved(), Some(&probed), SignedDuration::from_mins(1), false),
        (
            "just before half an interval",
            proved(),
            Some(&probed),
            hours(12) - SignedDuration::from_secs(1),
            false,
        ),
        ("after half an interval", proved(), Some(&probed), hours(12), true),
        ("at its interval, a tenth sooner", proved(), Some(&probed), hours(22), true),
        ("a minute later, on request", asked, Some(&probed), SignedDuration::from_mins(1), true),
        ("the doubt is about the bucket", unclear_refusal, Some(&probed), SignedDuration::from_mins(1), true),
        ("after a restart, nobody knows", proved(), None, SignedDuration::from_mins(1), true),
    ] {
        let now = now() + after;
        let found = probe_is_due(&seen, &resolved(), &refusing, recent, &rules(), now);
        assert_eq!(found, due, "{what}");
    }
}

/// Permissions that were just given take a while to be seen everywhere.
#[test]
fn a_bucket_that_keeps_probe_objects_is_probed_six_times_after_a_change() {
    let mut refusing = sound();
    for (call, answer) in refusing.bucket.as_mut().unwrap().calls.iter_mut() {
        if matches!(call, BucketCall::HeadObject | BucketCall::GetObject | BucketCall::DeleteObject) {
            *answer = refused(403, "AccessDenied");
        }
    }
    let evidence = Evidence::Validated { secret: resolved(), role: Some(Box::new(refusing)) };
    let verdict = judge(&destination(), &evidence, &texts(), None, now());
    let mut recent = after_validation(None, &destination(), &evidence, now());
    let kept = with_status(destination(), verdict);
    let enforcement = sound().enforcement.unwrap();
    let mut tries = vec![0];
    for seconds in (30..7200).step_by(30) {
        let time = now() + SignedDuration::from_secs(seconds);
        if probe_is_due(&kept, &resolved(), &enforcement, Some(&recent), &rules(), time) {
            tries.push(seconds);
            recent.last_probe = Some(time);
        }
    }
    assert_eq!(tries, [0, 30, 60, 120, 240, 480]);

    let probed_at_once = Recent { last_probe: Some(now()), ..recent };
    for (seconds, due) in [(599, true), (600, false)] {
        let time = now() + SignedDuration::from_secs(seconds);
        let found = probe_is_due(&kept, &resolved(), &enforcement, Some(&probed_at_once), &rules(), time);
        assert_eq!(found, due, "{seconds} s after the change");
    }
}
