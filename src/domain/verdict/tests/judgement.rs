//! Evidence → status.

use super::*;

#[test]
fn a_sound_destination_is_ready() {
    let verdict = validate(&destination(), resolved(), Some(sound()), now());
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

#[test]
fn each_call_of_an_uploader_has_its_own_line() {
    let verdict = validate(&destination(), resolved(), Some(sound()), now());
    let line = |verdict: &Verdict, name: &str| {
        verdict.status.checks.iter().find(|c| c.name == name).map(|c| (c.result, c.reason.clone()))
    };
    for call in CALLS {
        let name: &str = call.into();
        assert_eq!(line(&verdict, name), Some((CheckResult::Passed, "Validated".into())), "{name}");
    }
    assert_eq!(line(&verdict, "PutObjectWithoutACL"), None, "only made to tell two causes apart");
    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let stopped = validate(&destination(), secret, role, now());
    for call in &CALLS[1..] {
        let name: &str = call.into();
        assert_eq!(line(&stopped, name), Some((CheckResult::Skipped, "NotEvaluated".into())), "{name}");
    }
    let mut versioned = sound();
    versioned.bucket.as_mut().unwrap().marker_left = true;
    let kept = validate(&destination(), resolved(), Some(versioned), now());
    assert_eq!(line(&kept, "DeleteObject"), Some((CheckResult::Passed, "DeleteMarkerLeft".into())));
}

/// An answer to HEAD has no body to say why.
#[test]
fn a_refused_head_is_explained_by_the_get_that_is_refused_too() {
    for (get, reason) in [
        (refused(403, "AccessDenied"), Reason::GetObjectDenied),
        (denied("kms:Decrypt"), Reason::KMSAccessDenied),
    ] {
        let mut role = sound();
        let calls = &mut role.bucket.as_mut().unwrap().calls;
        (calls[1].1, calls[2].1) = (refused(403, ""), get);
        let verdict = validate(&destination(), resolved(), Some(role), now());
        for name in ["HeadObject", "GetObject"] {
            let check = verdict.status.checks.iter().find(|check| check.name == name).unwrap();
            assert_eq!((check.result, &check.reason), (CheckResult::Failed, &reason.to_string()), "{name}");
        }
    }
}

#[test]
fn the_wrong_region_is_answered_with_the_right_one() {
    let (secret, role) = bucket(BucketCall::PutObject, elsewhere("eu-west-1"));
    let verdict = validate(&destination(), secret, role, now());
    let check = verdict.status.checks.iter().find(|c| c.name == "PutObject").unwrap();
    assert!(check.remedy.starts_with("Set spec.region to eu-west-1. "), "{}", check.remedy);
    assert!(check.remedy.contains("have to be in us-east-1, the customer"), "{}", check.remedy);
    assert_eq!(Reason::WrongRegion.side(), Some(crate::api::Side::Tenant));
    assert_eq!(verdict.status.bucket_region.as_deref(), Some("eu-west-1"));
}

#[test]
fn a_role_that_lets_anybody_in_stays_assumable_and_is_not_ready() {
    let mut role = sound();
    role.enforcement.as_mut().unwrap().negatives[0].answer = Some(Answer::Granted(()));
    let verdict = validate(&destination(), resolved(), Some(role), now());
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
    let verdict = validate(&destination(), SecretObservation::NotFound, None, now());
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
        let verdict = validate(&proved(), resolved(), Some(silent.clone()), now() + age);
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
    let verdict = validate(&proved(), resolved(), Some(refused_key.clone()), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    let verdict = validate(&destination(), resolved(), Some(refused_key), now());
    assert_said(&verdict, ConditionType::Ready, "Unknown", Reason::PlatformCredentialsInvalid);
}

#[test]
fn a_proof_does_not_stand_for_another_secret_or_generation() {
    let mut silent = sound();
    silent.assumed = Answer::Silent(Silence::Timeout);
    let other_secret = SecretObservation::Resolved { version: "900".into(), known: false };
    let verdict = validate(&proved(), other_secret, Some(silent.clone()), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "Unknown", Reason::ProbeInconclusive);

    let mut edited = proved();
    edited.metadata.generation = Some(GENERATION + 1);
    let verdict = validate(&edited, resolved(), Some(silent), now() + hours(1));
    assert_said(&verdict, ConditionType::Ready, "Unknown", Reason::ProbeInconclusive);
}

#[test]
fn a_validation_of_the_role_alone_leaves_the_rest_as_it_was() {
    let mut role_only = sound();
    (role_only.enforcement, role_only.bucket) = (None, None);
    let before = proved();
    let verdict = validate(&before, resolved(), Some(role_only), now() + hours(1));
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
    let again = validate(&proved(), resolved(), Some(sound()), now() + hours(1));
    assert_eq!(since(&again), now());
    let lost = validate(&proved(), SecretObservation::NotFound, None, now() + hours(1));
    assert_eq!(since(&lost), now() + hours(1));
}

#[test]
fn events_tell_of_transitions_only() {
    let first = validate(&destination(), resolved(), Some(sound()), now());
    assert_eq!(first.transitions.len(), 1);
    assert!(!first.transitions[0].warning);
    let again = validate(&proved(), resolved(), Some(sound()), now() + hours(1));
    assert_eq!(again.transitions, []);
    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let lost = validate(&proved(), secret, role, now() + hours(1));
    assert_eq!(lost.transitions.len(), 1);
    let event = &lost.transitions[0];
    assert!(event.warning && event.reason == "PutObjectDenied", "{event:?}");
    assert!(event.note.contains("ROLE POLICY") && event.note.len() <= 1024, "{}", event.note);
}

#[test]
fn nothing_aws_wrote_and_no_secret_reaches_the_status() {
    let mut role = sound();
    role.assumed =
        Answer::Refused(Refusal { status: 403, code: "AccessDenied".into(), ..Refusal::default() });
    role.platform = Platform::AsConfigured;
    let verdict = validate(&destination(), resolved(), Some(role), now());
    let text = serde_json::to_string(&verdict.status).unwrap();
    assert!(text.contains("TRUST POLICY") && !text.contains("RequestId"), "{text}");
}

#[test]
fn an_inconclusive_bucket_loses_its_proof_though_the_role_is_proved() {
    let (secret, role) = bucket(BucketCall::PutObject, Answer::Silent(Silence::Connection));
    let (mut seen, mut time) = (proved(), now());
    for _ in 0..5 {
        time += hours(12);
        let verdict = validate(&seen, secret.clone(), role.clone(), time);
        seen = with_status(seen, verdict);
    }
    let ready = conditions::find(seen.status.as_ref().unwrap(), ConditionType::Ready).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("Unknown", "ProbeInconclusive"));
}
