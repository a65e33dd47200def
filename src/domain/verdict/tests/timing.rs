//! The second at which a validation is due. A destination with an empty UID has no jitter.

use super::*;
use crate::api::Objection;

/// The UID spreads what happens: by nothing, by 88.1 % of what there is.
const UIDS: [(&str, f64); 2] = [("", 0.0), ("u-1", 0.881)];

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

fn with_uid(mut destination: RecordingDestination, uid: &str) -> RecordingDestination {
    destination.metadata.uid = Some(uid.into());
    destination
}

/// What is kept after a validation at `attempt` of a failure that began at `change`.
fn looked(destination: &RecordingDestination, attempt: Timestamp, change: Timestamp) -> Recent {
    Recent {
        spec: SpecDigest::of(&destination.spec),
        generation: destination.metadata.generation,
        secret_version: None,
        last_probe: None,
        inconclusive_since: None,
        last_secret_read: attempt,
        last_attempt: Some(attempt),
        last_change: change,
        doubt: None,
    }
}

fn denied() -> RecordingDestination {
    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    with_status(destination(), validate(&destination(), secret, role, now()))
}

#[test]
fn failures_are_retried_every_30_s_for_ten_minutes_then_with_backoff() {
    let due_at = |age: SignedDuration, uid: &str| {
        let denied = with_uid(denied(), uid);
        let tried = now() + age;
        // The Secret was read later, so that it is not due before.
        let recent = Recent { last_secret_read: tried + hours(1), ..looked(&denied, tried, now()) };
        match due(&denied, Some(&recent), "aws", tried) {
            Due::NotBefore(time) => time - tried,
            other => panic!("{other:?}"),
        }
        .total(jiff::Unit::Second)
        .unwrap()
    };
    for (age, pause) in [
        (seconds(0), 30.0),
        (seconds(599), 30.0),
        (seconds(600), 150.0),
        (hours(1), 900.0),
        (hours(100), 900.0),
    ] {
        for (uid, spread) in UIDS {
            // Up to a third sooner.
            let expected: f64 = pause * (1.0 - spread / 3.0);
            let found = due_at(age, uid);
            assert!((found - expected).abs() < 0.01, "{age}, UID {uid:?}: {found}, not {expected}");
        }
    }
}

#[test]
fn a_proof_is_renewed_up_to_a_tenth_of_its_interval_sooner() {
    for (uid, spread) in UIDS {
        let proved = with_uid(proved(), uid);
        let due = match due(&proved, None, "aws", now()) {
            Due::NotBefore(time) => time,
            other => panic!("{other:?}"),
        };
        let found = (due - now()).total(jiff::Unit::Second).unwrap();
        let expected = 3600.0 * (1.0 - spread / 10.0);
        assert!((found - expected).abs() < 0.01, "UID {uid:?}: {found}, not {expected}");
    }
}

#[test]
fn when_secret_and_bucket_are_due_together_all_is_validated() {
    let denied = with_uid(denied(), "");
    let at = |secret_look: Timestamp, time: Timestamp| {
        let recent = Recent { last_secret_read: secret_look, ..looked(&denied, now(), now()) };
        due(&denied, Some(&recent), "aws", time)
    };
    let retry = now() + seconds(30);
    let before = retry - seconds(1);
    assert_eq!(at(now(), retry), Due::Validate(Work::Everything));
    assert_eq!(at(now() - seconds(1), retry), Due::Validate(Work::Everything), "the Secret was due before");
    assert_eq!(at(now() - seconds(1), before), Due::Validate(Work::Secret), "now only the Secret is");
    assert_eq!(at(now(), before), Due::NotBefore(retry));
}

#[test]
fn a_status_that_waits_for_an_edit_is_reconsidered_after_15_minutes() {
    let objection = |message: &str| Objection {
        reason: Reason::AccountNotAllowed,
        message: message.into(),
        remedy: "bind it".into(),
    };
    let judged = |destination: &RecordingDestination, evidence| {
        with_status(destination.clone(), judge(destination, &evidence, &texts(), None, now()))
    };
    let later = Due::NotBefore(now() + seconds(900));

    let mut suspended = destination();
    suspended.spec.suspend = true;
    assert_eq!(due(&judged(&suspended, Evidence::Suspended), None, "aws", now()), later);

    let mut elsewhere = destination();
    elsewhere.spec.role_arn = "arn:aws-cn:iam::111111111111:role/writer".into();
    let Due::ReportInvalid(problem) = due(&elsewhere, None, "aws", now()) else { panic!("served") };
    assert_eq!(due(&judged(&elsewhere, Evidence::InvalidSpec(problem)), None, "aws", now()), later);

    let refused = judged(&destination(), Evidence::NotAllowed(objection("not bound")));
    let due = |standing| super::super::due(&refused, None, &rules(), &Err(standing), now());
    assert_eq!(due(objection("not bound")), later);
    let other = objection("bound elsewhere");
    assert_eq!(due(other.clone()), Due::ReportNotAllowed(other), "another binding, other words");
}

#[test]
fn what_is_still_due_after_a_validation_follows_after_a_second() {
    let mut asked = proved();
    asked.metadata.annotations = Some([(REVALIDATE_ANNOTATION.to_owned(), "1".to_owned())].into());
    let recent = looked(&asked, now() - hours(1), now());
    assert_eq!(next_validation(&asked, &recent, "aws", now()), now() + seconds(1));
}

/// Without a clear answer its time does not move, so it is the pause that keeps it from being due for ever.
#[test]
fn inconclusive_checks_are_retried_after_30_s_if_they_count() {
    let silent = || Answer::Silent(Silence::Timeout);
    let mut caller = sound();
    caller.enforcement.as_mut().unwrap().negatives[0].answer = Some(silent());
    let (_, put) = bucket(BucketCall::PutObject, silent());
    let warn = Rules { enforcement: EnforcementMode::Warn, ..rules() };
    for (what, role, rules, again) in [
        ("nothing", sound(), rules(), false),
        ("a wrong caller", caller.clone(), rules(), true),
        ("a wrong caller, where the platform only warns", caller, warn.clone(), false),
        ("the bucket", put.clone().unwrap(), rules(), true),
        ("the bucket, where the platform only warns", put.unwrap(), warn, true),
    ] {
        let evidence = Evidence::Validated { secret: resolved(), role: Some(Box::new(role)) };
        let first = with_uid(proved(), "");
        let time = now() + hours(1);
        let verdict = super::super::judge(&first, &evidence, &texts(), None, &rules, |_| Ok(()), time);
        let seen = with_status(first, verdict);
        assert!(seen.is_ready(), "{what}: the proof stands");
        let recent = looked(&seen, time, time);
        let soon = super::super::due(&seen, Some(&recent), &rules, &Ok(()), time + seconds(30));
        assert_eq!(soon == Due::Validate(Work::Everything), again, "{what}: {soon:?}");
        let sooner = super::super::due(&seen, Some(&recent), &rules, &Ok(()), time + seconds(29));
        assert!(matches!(sooner, Due::NotBefore(_)), "{what}: {sooner:?}");
    }
}

#[test]
fn a_lasting_inconclusive_check_is_retried_with_backoff() {
    let mut caller = sound();
    caller.enforcement.as_mut().unwrap().negatives[0].answer = Some(Answer::Silent(Silence::Timeout));
    let seen = with_uid(proved(), "");
    let seen = with_status(seen.clone(), validate(&seen, resolved(), Some(caller), now() + hours(1)));
    for (age, pause) in [(0, 30), (599, 30), (600, 150), (7200, 900)] {
        let tried = now() + hours(1) + seconds(age);
        let recent = Recent { inconclusive_since: Some(now() + hours(1)), ..looked(&seen, tried, now()) };
        assert_eq!(due(&seen, Some(&recent), "aws", tried), Due::NotBefore(tried + seconds(pause)), "{age}");
    }
}
