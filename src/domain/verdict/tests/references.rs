//! One Secret may hold many External IDs under many keys, all with one `resourceVersion`.

use super::*;

type Edit = fn(&mut RecordingDestination);

fn resolved_as(version: &str, known: bool) -> SecretObservation {
    SecretObservation::Resolved { version: version.into(), known }
}

fn edited(edit: Edit) -> RecordingDestination {
    let mut edited = proved();
    edit(&mut edited);
    edited.metadata.generation = Some(GENERATION + 1);
    edited
}

/// What is edited, the version that is read then, whether this process knows its External ID, whether that is the same.
const EDITS: [(&str, Edit, &str, bool, bool); 8] = [
    ("nothing", |_| (), "812", false, true),
    ("the value", |_| (), "900", false, false),
    ("a label of the Secret", |_| (), "900", true, true),
    ("the key", |d| d.spec.external_id_secret_ref.key = "b".into(), "812", false, false),
    ("the key, of the same value", |d| d.spec.external_id_secret_ref.key = "b".into(), "812", true, true),
    ("the Secret", |d| d.spec.external_id_secret_ref.name = "b".into(), "900", false, false),
    (
        "the Secret, with the same version",
        |d| d.spec.external_id_secret_ref.name = "b".into(),
        "812",
        false,
        false,
    ),
    (
        "the Secret, with the same value",
        |d| d.spec.external_id_secret_ref.name = "b".into(),
        "900",
        true,
        true,
    ),
];

#[test]
fn an_external_id_under_another_key_or_secret_is_new_unless_it_is_known() {
    let process = Recent::from_status(&proved(), now());
    for (what, edit, version, known, same) in EDITS {
        let edited = edited(edit);
        let secret = resolved_as(version, known);
        for (recent, when) in [(process.as_ref(), "in the same process"), (None, "after a restart")] {
            assert_eq!(is_new_external_id(&secret, &edited, recent), !same, "{what}, {when}");
            let later = now() + hours(1);
            let evidence = Evidence::Validated { secret: secret.clone(), role: Some(Box::new(sound())) };
            let status = judge(&edited, &evidence, &texts(), recent, later).status;
            let expected = if same { now() } else { later };
            assert_eq!(status.established_time, Some(Time(expected)), "{what}, {when}");
            assert_eq!(status.external_id_secret_version.as_deref(), Some(version), "{what}, {when}");
            let reference = edited.spec.external_id_secret_ref.clone();
            assert_eq!(status.external_id_secret_ref, Some(reference), "{what}, {when}");
        }
    }
}

/// A status that is written in between must not pass the old version off as one of the new key.
#[test]
fn an_edit_of_the_key_counts_although_another_report_comes_first() {
    for (what, evidence) in [
        ("suspended", Evidence::Suspended),
        ("not found", Evidence::Validated { secret: SecretObservation::NotFound, role: None }),
        ("limited", Evidence::Validated { secret: SecretObservation::Limited(now()), role: None }),
    ] {
        for (key, same) in [("externalID", true), ("b", false)] {
            let mut edited = proved();
            let before = Recent::from_status(&edited, now()).unwrap();
            edited.spec.external_id_secret_ref.key = key.into();
            edited.metadata.generation = Some(GENERATION + 1);
            let verdict = judge(&edited, &evidence, &texts(), Some(&before), now());
            let recent = Recent::after_validation(Some(&before), &edited, &evidence, &verdict.status, now());
            let reported = with_status(edited, verdict);
            for recent in [Some(recent), Recent::from_status(&reported, now())] {
                assert_eq!(
                    is_new_external_id(&resolved(), &reported, recent.as_ref()),
                    !same,
                    "{what}, {key}"
                );
                let later = now() + hours(1);
                let sound = Evidence::Validated { secret: resolved(), role: Some(Box::new(sound())) };
                let status = judge(&reported, &sound, &texts(), recent.as_ref(), later).status;
                let expected = if same { now() } else { later };
                assert_eq!(status.established_time, Some(Time(expected)), "{what}, {key}");
            }
        }
    }
}

#[test]
fn an_external_id_that_this_process_sent_is_not_new_again() {
    let mut denied = sound();
    (denied.assumed, denied.platform) = (refused(403, "AccessDenied"), Platform::AsConfigured);
    let sent = Evidence::Validated { secret: resolved_as("900", false), role: Some(Box::new(denied)) };
    let before = Recent::from_status(&proved(), now()).unwrap();
    let recent = after_validation(Some(&before), &proved(), &sent, now());
    let mut other_key = proved();
    other_key.spec.external_id_secret_ref.key = "b".into();
    for (what, destination, version, new) in [
        ("the one that was sent", &proved(), "900", false),
        ("the one that was proved", &proved(), "812", false),
        ("a third", &proved(), "901", true),
        ("that of another key", &other_key, "900", true),
    ] {
        let secret = resolved_as(version, false);
        assert_eq!(is_new_external_id(&secret, destination, Some(&recent)), new, "{what}");
    }
}

#[test]
fn a_limited_external_id_decides_nothing() {
    let limited = || Evidence::Validated { secret: SecretObservation::Limited(now()), role: None };
    let recent = Recent::from_status(&proved(), now()).unwrap();
    let later = now() + SignedDuration::from_mins(30);
    let verdict = judge(&proved(), &limited(), &texts(), Some(&recent), later);
    let before = proved().status.unwrap();
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(verdict.status.established_time, before.established_time);
    assert_eq!(verdict.status.external_id_secret_version, before.external_id_secret_version);
    assert_eq!(verdict.status.last_validation_time, before.last_validation_time);
    assert!(
        verdict.status.checks.iter().any(|check| check.reason == Reason::ExternalIDsLimited.to_string()),
        "the check says so"
    );
    let expired = judge(&proved(), &limited(), &texts(), Some(&recent), now() + hours(50));
    assert_said(&expired, ConditionType::Ready, "Unknown", Reason::ExternalIDsLimited);
    let first = judge(&destination(), &limited(), &texts(), None, now());
    assert_said(&first, ConditionType::Ready, "Unknown", Reason::ExternalIDsLimited);
}

#[test]
fn a_version_of_an_earlier_release_is_of_the_spec_that_its_status_describes() {
    let old = |generation: i64, edit: Edit| {
        let mut old = proved();
        old.status.as_mut().unwrap().external_id_secret_ref = None;
        edit(&mut old);
        old.metadata.generation = Some(generation);
        old
    };
    let other_key: Edit = |d| d.spec.external_id_secret_ref.key = "b".into();
    let validation: Edit = |d| d.spec.validation.interval_seconds = 600;
    for (what, destination, evidence, kept) in [
        ("as it was validated", old(GENERATION, |_| ()), Evidence::Reported, true),
        ("carried over", old(GENERATION + 1, validation), Evidence::CarriedOver, true),
        ("edited", old(GENERATION + 1, other_key), Evidence::Suspended, false),
    ] {
        let recent = Recent::from_status(&proved(), now()).unwrap();
        let status = judge(&destination, &evidence, &texts(), Some(&recent), now()).status;
        let reference = kept.then(|| destination.spec.external_id_secret_ref.clone());
        assert_eq!(status.external_id_secret_ref, reference, "{what}");
        assert_eq!(status.external_id_secret_version.is_some(), kept, "{what}");
    }
}
