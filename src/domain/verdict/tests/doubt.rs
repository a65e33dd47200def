//! Refusals that uploaders report, and the question that they raise.

use super::*;
use crate::api::{Uploader, UploaderRefusal, Uploaders};
use crate::domain::verdict::QuestionLimit;

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// The destination with uploaders that report these calls and codes as refused.
fn refused_uploaders(mut seen: RecordingDestination, refusals: &[(&str, &str)]) -> RecordingDestination {
    let item = |(call, code): &(&str, &str)| Uploader {
        refusal: Some(UploaderRefusal { call: (*call).into(), code: (*code).into(), policy: None }),
        ..uploader(Reason::PutObjectDenied)
    };
    let items: Vec<_> = refusals.iter().map(item).collect();
    let status = seen.status.as_mut().unwrap();
    status.uploaders = (!items.is_empty()).then_some(Uploaders { count: items.len() as i64, items });
    seen
}

/// As the controller has it once Delivering says what was reported.
fn told(seen: RecordingDestination, time: Timestamp) -> RecordingDestination {
    let uploaders = seen.status.as_ref().unwrap().uploaders.clone();
    let upload = seen.status.as_ref().unwrap().last_upload_time.clone();
    let verdict = judge(&seen, &Evidence::Reported, &texts(), None, time);
    let mut seen = with_status(seen, verdict);
    let status = seen.status.as_mut().unwrap();
    (status.uploaders, status.last_upload_time) = (uploaders, upload);
    seen
}

fn asked(seen: &RecordingDestination, recent: Option<&Recent>, time: Timestamp) -> Option<Work> {
    match due(seen, recent, "aws", time) {
        Due::Ask { work, .. } => Some(work),
        _ => None,
    }
}

/// The evidence of a question that goes so far.
fn evidence(work: Work, change: impl FnOnce(&mut RoleEvidence)) -> Evidence {
    let mut role = RoleEvidence { enforcement: None, ..sound() };
    if work == Work::Role {
        role.bucket = None;
    }
    change(&mut role);
    Evidence::Validated { secret: resolved(), role: Some(Box::new(role)) }
}

#[test]
fn what_is_reported_is_said_first_and_then_asked_without_wrong_callers() {
    let recent = Recent::from_status(&proved(), now()).unwrap();
    let minute = now() + seconds(60);
    for (what, refusals, expected) in [
        ("nothing", &[][..], None),
        ("a session", &[("AssumeRole", "AssumeRoleDenied")][..], Some(Work::Role)),
        ("a put", &[("PutObject", "AccessDenied")][..], Some(Work::Bucket)),
        ("a call of a later release", &[("Other", "New")][..], Some(Work::Bucket)),
        ("both", &[("AssumeRole", "AccessDenied"), ("HeadObject", "")][..], Some(Work::Bucket)),
    ] {
        let seen = refused_uploaders(proved(), refusals);
        if expected.is_some() {
            assert_eq!(due(&seen, Some(&recent), "aws", minute), Due::ReportDelivery, "{what}");
        }
        assert_eq!(asked(&told(seen, minute), Some(&recent), minute), expected, "{what}");
    }
    let mut used = refused_uploaders(proved(), &[("PutObject", "AccessDenied")]);
    used.status.as_mut().unwrap().last_upload_time = Some(Time(minute));
    assert_eq!(asked(&told(used, minute), Some(&recent), minute), Some(Work::Bucket), "a newer upload");
}

#[test]
fn what_an_answer_confirms_ends_ready_with_the_causes_own_reason() {
    type Break = fn(&mut RoleEvidence);
    let role_deleted: Break = |role| {
        (role.assumed, role.platform, role.bucket) =
            (refused(403, "AccessDenied"), Platform::AsConfigured, None)
    };
    fn end(role: &mut RoleEvidence, at: BucketCall, answer: Answer) {
        let calls = &mut role.bucket.as_mut().unwrap().calls;
        calls.truncate(calls.iter().position(|(call, _)| *call == at).unwrap());
        calls.push((at, answer));
    }
    let bucket_deleted: Break = |role| end(role, BucketCall::PutObject, refused(404, "NoSuchBucket"));
    let no_acl: Break = |role| end(role, BucketCall::PutObject, denied("s3:PutObjectAcl"));
    let no_read: Break = |role| {
        for (call, answer) in &mut role.bucket.as_mut().unwrap().calls {
            if matches!(call, BucketCall::HeadObject | BucketCall::GetObject) {
                *answer = refused(403, "AccessDenied");
            }
        }
    };
    let (role, bucket) = (ConditionType::RoleAssumable, ConditionType::BucketWritable);
    for (what, reported, work, broken, condition, reason) in [
        (
            "role deleted",
            ("AssumeRole", "AccessDenied"),
            Work::Role,
            role_deleted,
            role,
            Reason::AssumeRoleDenied,
        ),
        (
            "role deleted, seen by S3",
            ("PutObject", "AccessDenied"),
            Work::Bucket,
            role_deleted,
            role,
            Reason::AssumeRoleDenied,
        ),
        (
            "bucket deleted",
            ("PutObject", "NoSuchBucket"),
            Work::Bucket,
            bucket_deleted,
            bucket,
            Reason::BucketNotFound,
        ),
        (
            "PutObjectAcl removed",
            ("PutObject", "AccessDenied"),
            Work::Bucket,
            no_acl,
            bucket,
            Reason::ACLDenied,
        ),
        ("GetObject removed", ("HeadObject", ""), Work::Bucket, no_read, bucket, Reason::GetObjectDenied),
    ] {
        let (before, time) = (Recent::from_status(&proved(), now()).unwrap(), now() + seconds(90));
        let seen = told(refused_uploaders(proved(), &[reported]), time);
        assert_eq!(asked(&seen, Some(&before), time), Some(work), "{what}");
        let evidence = evidence(work, broken);
        let verdict = judge(&seen, &evidence, &texts(), Some(&before), time);
        assert_said(&verdict, ConditionType::Ready, "False", reason);
        assert_said(&verdict, condition, "False", reason);
        // Nothing was asked of wrong callers; of a role that lets nobody in, nothing is claimed.
        let enforced =
            if condition == role { ("Unknown", Reason::NotEvaluated) } else { ("True", Reason::Validated) };
        assert_said(&verdict, ConditionType::ExternalIDEnforced, enforced.0, enforced.1);
        assert_said(&verdict, ConditionType::Delivering, "False", reason);
        assert_eq!(verdict.transitions.len(), 1, "{what}: Ready's; the broker has raised the uploader's");

        // It is mended: the next retry, within 30 s, proves it.
        let recent = Recent::after_validation(Some(&before), &seen, &evidence, &verdict.status, time);
        let broken = with_status(seen, verdict);
        let later = time + seconds(30);
        assert_eq!(due(&broken, Some(&recent), "aws", later), Due::Validate(Work::Everything), "{what}");
        let mended = judge(
            &broken,
            &Evidence::Validated { secret: resolved(), role: Some(Box::new(sound())) },
            &texts(),
            Some(&recent),
            later,
        );
        assert_said(&mended, ConditionType::Ready, "True", Reason::Validated);
    }
}

#[test]
fn what_is_not_confirmed_doubles_the_pause_up_to_the_interval() {
    let reported = || refused_uploaders(proved(), &[("PutObject", "AccessDenied")]);
    let mut recent = Recent::from_status(&proved(), now()).unwrap();
    let (mut seen, mut time, mut pauses) = (told(reported(), now()), now(), Vec::new());
    let mut last = None;
    while pauses.len() < 10 {
        time += seconds(1);
        if asked(&seen, Some(&recent), time).is_none() {
            if let Due::Validate(work) = due(&seen, Some(&recent), "aws", time) {
                // What is due by the clock comes between.
                let scheduled = match work {
                    Work::Secret => {
                        recent = recent.after_secret_read(time);
                        continue;
                    }
                    Work::Everything => Evidence::Validated {
                        secret: resolved(),
                        role: Some(Box::new(RoleEvidence { bucket: None, ..sound() })),
                    },
                    work => evidence(work, |_| ()),
                };
                let verdict = judge(&seen, &scheduled, &texts(), Some(&recent), time);
                recent = Recent::after_validation(Some(&recent), &seen, &scheduled, &verdict.status, time);
                seen = told(
                    refused_uploaders(with_status(seen, verdict), &[("PutObject", "AccessDenied")]),
                    time,
                );
            }
            continue;
        }
        pauses.extend(last.map(|last: Timestamp| time.duration_since(last).as_secs()));
        last = Some(time);
        let passes = evidence(Work::Bucket, |_| ());
        let verdict = judge(&seen, &passes, &texts(), Some(&recent), time);
        assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
        assert_said(&verdict, ConditionType::Delivering, "False", Reason::PutObjectDenied);
        recent = Recent::after_validation(Some(&recent), &seen, &passes, &verdict.status, time);
        seen = told(refused_uploaders(with_status(seen, verdict), &[("PutObject", "AccessDenied")]), time);
    }
    assert_eq!(pauses[..7], [30, 60, 120, 240, 480, 960, 1920]);
    assert_eq!(pauses[7..], [3600, 3600, 3600], "the interval");
}

#[test]
fn another_refusal_is_asked_about_soon_and_silence_lengthens_no_pause() {
    let time = now() + seconds(60);
    let seen = told(refused_uploaders(proved(), &[("PutObject", "AccessDenied")]), time);
    let before = Recent::from_status(&proved(), now()).unwrap();
    let passes = evidence(Work::Bucket, |_| ());
    let verdict = judge(&seen, &passes, &texts(), Some(&before), time);
    let recent = Recent::after_validation(Some(&before), &seen, &passes, &verdict.status, time);
    let same = seen;
    let other = told(refused_uploaders(proved(), &[("PutObject", "NoSuchBucket")]), time);
    for (what, seen, after, expected) in [
        ("the same", &same, 29, None),
        ("the same, after the first pause", &same, 30, Some(Work::Bucket)),
        ("another", &other, 9, None),
        ("another, ten seconds later", &other, 10, Some(Work::Bucket)),
    ] {
        assert_eq!(asked(seen, Some(&recent), time + seconds(after)), expected, "{what}");
    }
    // A validation of the role alone has not answered it, and one without an answer leaves the pause as it is.
    for (what, found) in [
        ("role alone", evidence(Work::Role, |_| ())),
        (
            "silence",
            evidence(Work::Bucket, |role| {
                (role.assumed, role.bucket) = (Answer::Silent(Silence::Timeout), None);
            }),
        ),
    ] {
        let verdict = judge(&same, &found, &texts(), Some(&recent), time + seconds(30));
        let status = verdict.status;
        let after = Recent::after_validation(Some(&recent), &same, &found, &status, time + seconds(30));
        let doubt = after.doubt.unwrap();
        let asked_at = if what == "silence" { time + seconds(30) } else { time };
        assert_eq!((doubt.asked, doubt.pause), (asked_at, seconds(30)), "{what}");
    }
}

#[test]
fn a_second_break_is_asked_about_at_once() {
    let reported = [("PutObject", "AccessDenied")];
    let broken = evidence(Work::Bucket, |role| {
        let calls = &mut role.bucket.as_mut().unwrap().calls;
        calls.truncate(1);
        calls[0].1 = refused(403, "AccessDenied");
    });
    let whole = Evidence::Validated { secret: resolved(), role: Some(Box::new(sound())) };
    let mut time = now() + seconds(60);
    let mut recent = Recent::from_status(&proved(), now()).unwrap();
    let mut seen = told(refused_uploaders(proved(), &reported), time);
    // Refused, ten retries that find the same, and then the one that finds it mended while the report still stands.
    for evidence in std::iter::repeat_n(&broken, 11).chain([&whole]) {
        let verdict = judge(&seen, evidence, &texts(), Some(&recent), time);
        recent = Recent::after_validation(Some(&recent), &seen, evidence, &verdict.status, time);
        seen = told(refused_uploaders(with_status(seen, verdict), &reported), time);
        time += seconds(30);
    }
    assert!(seen.is_ready());
    let again = time + seconds(60);
    assert_eq!(asked(&seen, Some(&recent), again), Some(Work::Bucket));
}

#[test]
fn a_refusal_that_ends_while_not_ready_is_followed_up_once() {
    let time = now() + seconds(60);
    let seen = told(refused_uploaders(proved(), &[("PutObject", "AccessDenied")]), time);
    let before = Recent::from_status(&proved(), now()).unwrap();
    let broken = evidence(Work::Bucket, |role| {
        let calls = &mut role.bucket.as_mut().unwrap().calls;
        calls.truncate(1);
        calls[0].1 = refused(403, "AccessDenied");
    });
    let verdict = judge(&seen, &broken, &texts(), Some(&before), time);
    let recent = Recent::after_validation(Some(&before), &seen, &broken, &verdict.status, time);
    assert_eq!(recent.last_change, time, "it is retried as after a change");
    let stands = told(
        refused_uploaders(with_status(seen.clone(), verdict.clone()), &[("PutObject", "AccessDenied")]),
        time,
    );
    let ended = told(with_status(seen, verdict), time);
    assert_eq!(asked(&stands, Some(&recent), time + seconds(10)), None, "it stands: the retries find it");
    assert_eq!(asked(&ended, Some(&recent), time + seconds(9)), None);
    assert_eq!(asked(&ended, Some(&recent), time + seconds(10)), Some(Work::Everything));
    let verdict = judge(&ended, &broken, &texts(), Some(&recent), time + seconds(10));
    let after = Recent::after_validation(Some(&recent), &ended, &broken, &verdict.status, time + seconds(10));
    assert_eq!(asked(&ended, Some(&after), time + seconds(20)), None, "once");
}

#[test]
fn a_namespace_asks_five_times_a_minute_and_no_question_is_lost() {
    let mut limit = QuestionLimit::new(50);
    let at = |n| now() + seconds(n);
    for number in 0..5 {
        assert_eq!(limit.admit("liar", &format!("u-{number}"), at(number)), Ok(()), "number {number}");
    }
    for (what, namespace, uid, time, expected) in [
        ("one more", "liar", "u-5", 5, Err(at(60))),
        ("and another", "liar", "u-6", 5, Err(at(61))),
        ("a neighbour", "honest", "u-7", 5, Ok(())),
        ("the first of them, too early", "liar", "u-5", 59, Err(at(60))),
        ("the first of them, at its turn", "liar", "u-5", 60, Ok(())),
        ("the second, long after its turn", "liar", "u-6", 100, Ok(())),
    ] {
        assert_eq!(limit.admit(namespace, uid, at(time)), expected, "{what}");
    }
}

#[test]
fn all_questions_take_a_tenth_of_the_calls_and_wait_in_line() {
    let mut limit = QuestionLimit::new(50);
    // A thousand namespaces are refused at once: each comes at its own turn, and none in vain.
    let mut turns: Vec<_> = (0..1000)
        .map(|number| {
            let (namespace, uid) = (format!("tenant-{number}"), format!("u-{number}"));
            let turn = limit.admit(&namespace, &uid, now()).err().unwrap_or(now());
            (turn, namespace, uid)
        })
        .collect();
    turns.sort();
    for (turn, namespace, uid) in &turns {
        if *turn > now() {
            assert_eq!(limit.admit(namespace, uid, *turn), Ok(()), "{uid}");
        }
    }
    let last = turns.last().unwrap().0.duration_since(now()).as_secs();
    assert!((198..=200).contains(&last), "five a second: {last} s");
    limit.charge(10, turns.last().unwrap().0);
    let after = limit.admit("later", "u", turns.last().unwrap().0 + seconds(1)).unwrap_err();
    assert!(after > turns.last().unwrap().0 + seconds(1), "the calls of refused questions count");
}
