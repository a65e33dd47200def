//! What is due, and when.

use super::*;

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
    assert_eq!(due(&suspended, None, "aws", now()), Due::Validate(Work::Everything));
}

#[test]
fn a_role_of_another_partition_waits_for_an_edit() {
    let mut destination = destination();
    destination.spec.role_arn = "arn:aws-cn:iam::111111111111:role/writer".into();
    destination.spec.region = "cn-north-1".into();
    let Due::ReportInvalid(problem) = due(&destination, None, "aws", now()) else { panic!("not refused") };
    let verdict = judge(&destination, &Evidence::InvalidSpec(problem), &texts(), None, now());
    assert_said(&verdict, ConditionType::Ready, "False", Reason::InvalidSpec);
    assert_said(&verdict, ConditionType::Stalled, "True", Reason::InvalidSpec);
    assert!(matches!(due(&with_status(destination.clone(), verdict), None, "aws", now()), Due::NotBefore(_)));
    assert_eq!(
        due(&destination, None, "aws-cn", now()),
        Due::Validate(Work::Everything),
        "its own platform serves it"
    );
}

#[test]
fn a_region_of_another_partition_waits_for_an_edit() {
    let mut destination = destination();
    for (region, role, platform, accepted) in [
        ("eu-central-1", "aws", "aws", true),
        ("cn-north-1", "aws", "aws", false),
        ("us-gov-west-1", "aws", "aws", false),
        ("us-gov-west-1", "aws-us-gov", "aws-us-gov", true),
        ("us-east-1", "aws-us-gov", "aws-us-gov", false),
        ("eusc-de-east-1", "aws-eusc", "aws-eusc", true),
    ] {
        destination.spec.region = region.into();
        destination.spec.role_arn = format!("arn:{role}:iam::111111111111:role/writer");
        match due(&destination, None, platform, now()) {
            Due::ReportInvalid(problem) if !accepted => assert!(problem.contains(region), "{problem}"),
            due => assert_eq!((due, accepted), (Due::Validate(Work::Everything), true), "{region}"),
        }
    }
}

#[test]
fn what_is_due_when() {
    let recent = |destination: &RecordingDestination, ago: SignedDuration| Recent {
        spec: SpecDigest::of(&destination.spec),
        generation: destination.metadata.generation,
        secret_version: None,
        last_probe: None,
        inconclusive_since: None,
        last_secret_read: now() - ago,
        last_attempt: Some(now() - ago),
        last_change: now() - ago,
        doubt: None,
    };
    let minute = SignedDuration::from_mins(1);
    let ready = proved();
    let at = |d: &RecordingDestination, r: Option<&Recent>, time| match due(d, r, "aws", time) {
        Due::Validate(work) => Some(work),
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
    let answered = with_status(asked.clone(), validate(&asked, resolved(), Some(sound()), now()));
    assert_eq!(at(&answered, None, now() + minute), None, "once for each value");

    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let broken = with_status(destination(), validate(&destination(), secret, role, now()));
    let young = recent(&broken, SignedDuration::ZERO);
    assert_eq!(at(&broken, Some(&young), now() + SignedDuration::from_secs(5)), None);
    assert_eq!(
        at(&broken, Some(&young), now() + SignedDuration::from_secs(30)),
        Some(Work::Everything),
        "within 30 s"
    );
    let old = Recent { last_attempt: Some(now() + hours(4)), ..young };
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

/// Whatever a validation finds, the next one is not due at once.
#[test]
fn no_validation_is_due_at_once_after_another() {
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
            let after = after_validation(recent.as_ref(), &seen, &evidence, time);
            seen = with_status(seen, verdict);
            let next = next_validation(&seen, &after, "aws", time);
            assert!(next >= time + SignedDuration::from_secs(15), "{case}, round {round}: {}", next - time);
            (recent, time) = (Some(after), next);
        }
    }
}

#[test]
fn only_edits_that_no_proof_depends_on_carry_it_over() {
    let recent = Recent {
        spec: SpecDigest::of(&destination().spec),
        generation: Some(GENERATION),
        secret_version: None,
        last_probe: None,
        inconclusive_since: None,
        last_secret_read: now(),
        last_attempt: Some(now()),
        last_change: now(),
        doubt: None,
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
        let expected = if carried { Due::CarryOver } else { Due::Validate(Work::Everything) };
        assert_eq!(due(&edited, Some(&recent), "aws", now()), expected, "{field}");
        assert_eq!(
            due(&edited, None, "aws", now()),
            Due::Validate(Work::Everything),
            "{field}: unseen, nothing is carried over"
        );
        let verdict = judge(&edited, &Evidence::CarriedOver, &texts(), Some(&recent), now());
        assert!(with_status(edited, verdict).is_ready());
    }
}

#[test]
fn a_changed_secret_is_proved_again() {
    let before = proved();
    let changed = SecretObservation::Resolved { version: "900".into(), known: false };
    assert_eq!(Work::Role.given(&changed, &before, None), Work::Everything);
    assert_eq!(Work::Role.given(&resolved(), &before, None), Work::Role);
}

#[test]
fn an_edit_whose_refusal_could_not_be_written_is_not_carried_over() {
    let mut edited = proved();
    edited.spec.bucket = "other-recordings".into();
    edited.metadata.generation = Some(GENERATION + 1);
    let (secret, role) = bucket(BucketCall::PutObject, refused(404, "NoSuchBucket"));
    let evidence = Evidence::Validated { secret, role: role.map(Box::new) };
    // As if the validation were kept while the status still shows the previous generation.
    let recent = after_validation(None, &edited, &evidence, now());
    assert_eq!(due(&edited, Some(&recent), "aws", now()), Due::Validate(Work::Everything));
}

#[test]
fn a_wrong_external_id_is_tried_once_and_a_corrected_one_at_the_next_read() {
    let changed = |version: &str| SecretObservation::Resolved { version: version.into(), known: false };
    let tried = |version: &str| Recent {
        spec: SpecDigest::of(&destination().spec),
        generation: Some(GENERATION),
        secret_version: Some(version.into()),
        last_probe: None,
        inconclusive_since: None,
        last_secret_read: now(),
        last_attempt: Some(now()),
        last_change: now(),
        doubt: None,
    };
    let proved = proved();
    assert_eq!(Work::Secret.given(&changed("900"), &proved, Some(&tried("812"))), Work::Everything);
    assert_eq!(Work::Secret.given(&changed("900"), &proved, Some(&tried("900"))), Work::Secret);
    let mut denied = sound();
    (denied.assumed, denied.platform) = (refused(403, "AccessDenied"), Platform::AsConfigured);
    let never_proved = validate(&destination(), changed("900"), Some(denied), now());
    let never_proved = with_status(destination(), never_proved);
    assert_eq!(Work::Secret.given(&changed("901"), &never_proved, Some(&tried("900"))), Work::Everything);
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
    let mut kept = with_status(destination(), validate(&destination(), secret, role, now()));
    for _ in 0..3 {
        assert!(!bucket_is_due(&kept, &refusing), "one more would stay");
        let mut without_bucket = sound();
        without_bucket.bucket = None;
        kept =
            with_status(kept.clone(), validate(&kept, resolved(), Some(without_bucket), now() + hours(24)));
        assert!(kept.is_ready());
    }
    kept.metadata.annotations = Some([(REVALIDATE_ANNOTATION.to_owned(), "1".to_owned())].into());
    assert!(bucket_is_due(&kept, &refusing), "on request");
    kept.metadata = destination().metadata;
    kept.metadata.generation = Some(GENERATION + 1);
    assert!(bucket_is_due(&kept, &refusing), "after an edit");
}

/// It may have been a small one, which says nothing about recordings that go in parts.
#[test]
fn an_upload_stands_for_all_calls_but_those_of_a_recording_in_parts() {
    let refusing = sound().enforcement.unwrap();
    let due = |seen: &RecordingDestination, secret: &SecretObservation| {
        probe_due(seen, secret, &refusing, None, &rules(), now())
    };
    let mut used = proved();
    used.status.as_mut().unwrap().last_upload_time = Some(Time(now() + hours(1)));
    assert_eq!(due(&used, &resolved()), Some(Probe::Parts));
    let mut parts = sound();
    let bucket = parts.bucket.as_mut().unwrap();
    bucket.uploaded_since = true;
    bucket.read_back_matches = None;
    bucket.calls.retain(|(call, _)| CALLS[3..].contains(call));
    let verdict = validate(&used, resolved(), Some(parts.clone()), now() + hours(24));
    assert_said(&verdict, ConditionType::BucketWritable, "True", Reason::Validated);
    let put = verdict.status.checks.iter().find(|check| check.name == "PutObject").unwrap();
    assert_eq!(put.result, CheckResult::Passed, "{put:?}");
    assert_eq!(verdict.status.last_upload_time, None, "the broker's field is not written");
    let mut later = with_status(used.clone(), verdict);
    assert!(later.is_ready());
    later.status.as_mut().unwrap().last_upload_time = Some(Time(now() + hours(1)));
    assert_eq!(due(&later, &resolved()), Some(Probe::Whole), "no upload since that proof");

    parts.bucket.as_mut().unwrap().calls =
        vec![(BucketCall::CreateMultipartUpload, refused(403, "AccessDenied"))];
    let verdict = validate(&used, resolved(), Some(parts), now() + hours(24));
    assert_said(&verdict, ConditionType::Ready, "False", Reason::MultipartUploadDenied);

    let rotated = SecretObservation::Resolved { version: "900".into(), known: false };
    assert_eq!(due(&used, &rotated), Some(Probe::Whole), "a new External ID is as an edit");
    let relabelled = SecretObservation::Resolved { version: "900".into(), known: true };
    assert_eq!(due(&used, &relabelled), Some(Probe::Parts));
}

#[test]
fn a_versioned_bucket_gets_no_more_versions_than_it_must() {
    let mut versioned = sound();
    versioned.bucket.as_mut().unwrap().marker_left = true;
    let kept = with_status(destination(), validate(&destination(), resolved(), Some(versioned), now()));
    let refusing = sound().enforcement.unwrap();
    assert!(kept.is_ready() && !bucket_is_due(&kept, &refusing));
    let mut without_bucket = sound();
    without_bucket.bucket = None;
    // Long past every interval, as after an outage of the operator: what was not due does not expire.
    let later = validate(&kept, resolved(), Some(without_bucket), now() + hours(24 * 30));
    assert_said(&later, ConditionType::Ready, "True", Reason::Validated);
}

#[test]
fn a_bucket_that_refuses_reading_and_deleting_is_not_filled_with_probes() {
    let mut refusing = sound();
    let calls = &mut refusing.bucket.as_mut().unwrap().calls;
    for (call, answer) in calls.iter_mut() {
        if matches!(call, BucketCall::HeadObject | BucketCall::GetObject | BucketCall::DeleteObject) {
            *answer = refused(403, "AccessDenied");
        }
    }
    let verdict = validate(&destination(), resolved(), Some(refusing), now());
    assert_said(&verdict, ConditionType::Ready, "False", Reason::GetObjectDenied);
    let message = conditions::find(&verdict.status, ConditionType::Ready).unwrap().message.clone();
    assert!(message.contains("kubectl annotate"), "the message names the side that can act: {message}");
    assert!(conditions::find(&verdict.status, ConditionType::Reconciling).is_none(), "it waits for that");
    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let unfilled = validate(&destination(), secret, role, now());
    let message = conditions::find(&unfilled.status, ConditionType::Ready).unwrap().message.clone();
    assert!(!message.contains("kubectl annotate"), "where nothing stays, it is tried again: {message}");

    let mut kept = with_status(destination(), verdict);
    let enforcement = sound().enforcement.unwrap();
    assert!(!bucket_is_due(&kept, &enforcement), "two more would stay");
    let without_bucket = RoleEvidence { bucket: None, ..sound() };
    let later = validate(&kept, resolved(), Some(without_bucket), now() + hours(1));
    assert_said(&later, ConditionType::BucketWritable, "False", Reason::GetObjectDenied);
    assert_eq!(later.transitions, []);

    kept.metadata.annotations = Some([(REVALIDATE_ANNOTATION.to_owned(), "1".to_owned())].into());
    assert!(bucket_is_due(&kept, &enforcement), "on request");
    let mended = validate(&kept, resolved(), Some(sound()), now() + hours(1));
    assert_said(&mended, ConditionType::Ready, "True", Reason::Validated);
}

/// Both External IDs are accepted, the Secret is edited, the old one is dropped.
#[test]
fn a_rotation_leaves_no_gap() {
    let edited = SecretObservation::Resolved { version: "900".into(), known: false };
    let before = proved();
    let recent = Recent::from_status(&before, now()).unwrap();
    let quarter = SignedDuration::from_secs(900);
    let looked = due(&before, Some(&recent), "aws", now() + quarter);
    assert_eq!(looked, Due::Validate(Work::Secret), "within a quarter of a session's life");
    assert_eq!(Work::Secret.given(&edited, &before, Some(&recent)), Work::Everything);
    let verdict = validate(&before, edited, Some(sound()), now() + quarter);
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(verdict.transitions, [], "nothing happened to Ready");
    assert_eq!(verdict.status.external_id_secret_version.as_deref(), Some("900"));
    assert_eq!(
        verdict.status.established_time,
        Some(Time(now() + quarter)),
        "another External ID, another claim"
    );
}

#[test]
fn a_secret_that_was_only_relabelled_keeps_claim_and_proof() {
    let relabelled = SecretObservation::Resolved { version: "900".into(), known: true };
    let before = proved();
    let recent = Recent::from_status(&before, now()).unwrap();
    assert_eq!(Work::Secret.given(&relabelled, &before, Some(&recent)), Work::Role);
    let mut role_only = sound();
    (role_only.enforcement, role_only.bucket) = (None, None);
    let verdict = validate(&before, relabelled.clone(), Some(role_only.clone()), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(
        verdict.status.external_id_secret_version.as_deref(),
        Some("900"),
        "which the broker waits for"
    );
    assert_eq!(verdict.status.established_time, Some(Time(now())));
    role_only.assumed = Answer::Silent(Silence::Timeout);
    let silent = validate(&before, relabelled, Some(role_only), now() + hours(1));
    assert_said(&silent, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(silent.status.external_id_secret_version.as_deref(), Some("812"), "not proved yet");
}

#[test]
fn after_a_restart_only_what_is_due_is_validated() {
    let seen = proved();
    let recent = Recent::from_status(&seen, now() + hours(0));
    assert!(matches!(due(&seen, recent.as_ref(), "aws", now()), Due::NotBefore(_)));
    let mut edited = seen.clone();
    edited.spec.validation.interval_seconds = 600;
    edited.metadata.generation = Some(GENERATION + 1);
    assert_eq!(due(&edited, recent.as_ref(), "aws", now()), Due::CarryOver);
    assert_eq!(Recent::from_status(&edited, now()), None, "of an unseen edit nothing is known");
    assert_eq!(Recent::from_status(&destination(), now()), None);
}
