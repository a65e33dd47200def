//! The wording and order of conditions, checks and Events.

use super::*;

fn refused_put(texts: &Texts) -> Transition {
    let (secret, role) = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let evidence = Evidence::Validated { secret, role: role.map(Box::new) };
    let mut transitions = judge(&destination(), &evidence, texts, None, now()).transitions;
    transitions.remove(0)
}

#[test]
fn ready_is_the_first_condition_and_its_parts_follow_in_order() {
    let status = proved().status.unwrap();
    let kinds: Vec<_> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    let order = [
        "Ready",
        "SecretResolved",
        "RoleAssumable",
        "ExternalIDEnforced",
        "BucketWritable",
        "Exclusive",
        "Delivering",
    ];
    assert_eq!(kinds, order);
}

#[test]
fn ready_claims_no_more_than_was_seen() {
    let warn = Rules { enforcement: EnforcementMode::Warn, ..rules() };
    let mut open = sound();
    open.enforcement.as_mut().unwrap().negatives[0].answer = Some(Answer::Granted(()));
    for (what, role, rules, words) in [
        ("enforced", sound(), rules(), "nobody without the External ID"),
        ("enforced, where the platform only warns", sound(), warn.clone(), "nobody without the External ID"),
        ("open, where the platform only warns", open, warn, "is not proved"),
    ] {
        let evidence = Evidence::Validated { secret: resolved(), role: Some(Box::new(role)) };
        let verdict =
            super::super::judge(&destination(), &evidence, &texts(), None, &rules, |_| Ok(()), now());
        assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
        let message = &conditions::find(&verdict.status, ConditionType::Ready).unwrap().message;
        assert!(message.contains(words), "{what}: {message}");
    }
}

#[test]
fn another_reason_is_news_although_ready_stays_false() {
    let seen = |(secret, role): (SecretObservation, Option<RoleEvidence>)| {
        validate(&destination(), secret, role, now())
    };
    let denied = bucket(BucketCall::PutObject, refused(403, "AccessDenied"));
    let before = with_status(destination(), seen(denied.clone()));
    assert_eq!(validate(&before, denied.0, denied.1, now()).transitions, []);
    let (secret, role) = bucket(BucketCall::PutObject, elsewhere("eu-west-1"));
    assert_eq!(validate(&before, secret, role, now()).transitions[0].reason, "WrongRegion");
}

#[test]
fn an_event_gives_the_remedy_of_what_it_tells_and_of_nothing_else() {
    let (secret, role) = bucket(BucketCall::DeleteObject, refused(403, "AccessDenied"));
    let evidence = Evidence::Validated { secret, role: role.map(Box::new) };
    let conflict = Err(crate::api::Objection {
        reason: Reason::DestinationConflict,
        message: "somebody was first".into(),
        remedy: "use another bucket".into(),
    });
    let verdict =
        super::super::judge(&destination(), &evidence, &texts(), None, &rules(), |_| conflict, now());
    assert_eq!(verdict.transitions[0].note, "somebody was first. use another bucket");
}

/// The API server refuses an Event with a longer note.
#[test]
fn a_long_note_is_cut_at_1024_bytes_and_says_where_the_rest_is() {
    let with_policy = |text: String| refused_put(&Texts { role_policy: text, ..texts() }).note;
    let others = with_policy(String::new()).len();
    let just_fits = with_policy("p".repeat(1024 - others));
    assert_eq!(just_fits.len(), 1024);
    assert!(just_fits.ends_with('p'), "{just_fits}");
    for (longer, least) in [("p".repeat(1025 - others), 1024), ("é".repeat(2000), 1023)] {
        let cut = with_policy(longer);
        assert!((least..=1024).contains(&cut.len()), "{}", cut.len());
        assert!(cut.ends_with("… (see status.checks)"), "{cut}");
    }
}

#[test]
fn the_failed_check_is_the_first() {
    let (secret, role) = bucket(BucketCall::GetObject, refused(403, "AccessDenied"));
    let checks = validate(&destination(), secret, role, now()).status.checks;
    let failed: Vec<_> = checks.iter().map(|check| check.result == crate::api::CheckResult::Failed).collect();
    assert!(failed[0] && !failed[failed.len() - 1] && failed.is_sorted_by(|a, b| a >= b), "{checks:?}");
    let mut passed = checks.iter().filter(|check| check.result == crate::api::CheckResult::Passed);
    assert!(passed.all(|check| check.message.len() <= 120), "what passed is said shortly: {checks:?}");
}

#[test]
fn a_secret_without_the_key_is_told_which_keys_it_has() {
    let many: Vec<String> = (10..23).map(|number| format!("key-{number}")).collect();
    for (keys, words) in [
        (vec![], "no key externalID; it has none"),
        (vec!["id".to_owned(), "external-id".to_owned()], "no key externalID; it has external-id, id"),
        (many, "key-19 and 3 more"),
    ] {
        let status = validate(&destination(), SecretObservation::KeyMissing(keys), None, now()).status;
        assert!(status.checks[0].message.ends_with(words), "{}", status.checks[0].message);
    }
}

#[test]
fn no_remedy_puts_an_external_id_into_the_shells_history() {
    for missing in [SecretObservation::NotFound, SecretObservation::TypeMismatch, SecretObservation::TooLarge]
    {
        let status = validate(&destination(), missing, None, now()).status;
        let remedy = &status.checks[0].remedy;
        assert!(!remedy.contains("--from-literal") && remedy.contains("/dev/stdin"), "{remedy}");
    }
}

#[test]
fn a_denial_after_an_edit_of_the_secret_names_the_secret() {
    let denied = |before: &RecordingDestination, version: &str, known| {
        let mut role = sound();
        role.assumed = refused(403, "AccessDenied");
        role.platform = Platform::AsConfigured;
        (role.enforcement, role.bucket) = (None, None);
        let secret = SecretObservation::Resolved { version: version.to_owned(), known };
        let status = validate(before, secret, Some(role), now()).status;
        status.checks.into_iter().find(|check| check.name == "AssumeRole").unwrap()
    };
    let proved = proved();
    let version = proved.status.as_ref().unwrap().external_id_secret_version.clone().unwrap();
    let mut of_another_secret = proved.clone();
    of_another_secret.spec.external_id_secret_ref.name = "renewed".to_owned();
    for (what, before, version, known, words) in [
        ("edited", &proved, "edited", false, Some("has changed since the role was last assumed")),
        ("labelled", &proved, "labelled", true, None),
        ("as it was", &proved, version.as_str(), true, None),
        (
            "another Secret",
            &of_another_secret,
            "1",
            false,
            Some("now names key externalID of Secret renewed"),
        ),
        ("never proved", &destination(), "1", false, None),
    ] {
        let check = denied(before, version, known);
        assert_eq!(check.reason, Reason::AssumeRoleDenied.to_string(), "{what}");
        let suspects = check.message.contains("is probably not the one");
        assert_eq!(suspects, words.is_some(), "{what}: {}", check.message);
        assert!(words.is_none_or(|words| check.message.contains(words)), "{what}: {}", check.message);
        assert_eq!(check.remedy.starts_with("Put the External ID that the customer"), suspects, "{what}");
    }
}

#[test]
fn a_region_that_nobody_knows_is_named_when_s3_cannot_be_reached() {
    let mut seen = destination();
    let silent = |region: &str, seen: &mut RecordingDestination| {
        seen.spec.region = region.into();
        let (secret, role) = bucket(BucketCall::PutObject, Answer::Silent(Silence::Connection));
        validate(seen, secret, role, now())
    };
    let unknown = silent("us-east-9", &mut seen);
    assert_said(&unknown, ConditionType::Ready, "Unknown", Reason::WrongRegion);
    let check = unknown.status.checks.iter().find(|check| check.name == "PutObject").unwrap();
    assert!(check.remedy.starts_with("Set spec.region"), "{check:?}");
    let known = silent("us-east-2", &mut seen);
    assert_said(&known, ConditionType::Ready, "Unknown", Reason::ProbeInconclusive);
}
