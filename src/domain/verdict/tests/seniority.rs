//! Which edits keep the date of the first proof, in this process and after a restart.

use super::*;

type Edit = fn(&mut RecordingDestination);

/// What an edit changes, and whether the claim is as old as before.
const EDITS: [(&str, Edit, bool); 9] = [
    ("nothing", |_| (), true),
    ("validation", |d| d.spec.validation.interval_seconds = 600, true),
    ("session duration", |d| d.spec.session_duration_seconds = 900, true),
    ("suspend", |d| d.spec.suspend = true, true),
    ("a prefix that was empty, and is", |d| d.spec.prefix = Some(String::new()), true),
    ("the Secret's name", |d| d.spec.external_id_secret_ref.name = "another".into(), true),
    ("bucket", |d| d.spec.bucket = "other-recordings".into(), false),
    ("prefix", |d| d.spec.prefix = Some("calls/".into()), false),
    ("role", |d| d.spec.role_arn = "arn:aws:iam::111111111111:role/other".into(), false),
];

fn edited(edit: Edit) -> RecordingDestination {
    let mut edited = proved();
    edit(&mut edited);
    edited.metadata.generation = Some(GENERATION + 1);
    edited
}

#[test]
fn an_edit_of_bucket_prefix_or_role_alone_makes_a_claim_young() {
    let before = Recent::from_status(&proved(), now()).unwrap();
    let same_id = SecretObservation::Resolved { version: "900".into(), known: true };
    for (what, edit, kept) in EDITS {
        let edited = edited(edit);
        for (process, recent) in [("the same process", Some(&before)), ("after a restart", None)] {
            assert_eq!(has_same_target(&edited, recent), kept, "{what}, {process}");
            for evidence in [
                Evidence::Suspended,
                Evidence::Validated { secret: same_id.clone(), role: Some(Box::new(sound())) },
            ] {
                let later = now() + hours(1);
                let verdict = judge(&edited, &evidence, &texts(), recent, later);
                let since = verdict.status.established_time;
                let expected = match evidence {
                    _ if kept => Some(Time(now())),
                    Evidence::Suspended => None,
                    _ => Some(Time(later)),
                };
                assert_eq!(since, expected, "{what}, {process}, {evidence:?}");
            }
        }
    }
}

#[test]
fn an_edit_of_another_target_and_back_is_two_edits() {
    let away = edited(|d| d.spec.bucket = "other-recordings".into());
    let mut back = with_status(away.clone(), judge(&away, &Evidence::Suspended, &texts(), None, now()));
    back.spec.bucket = proved().spec.bucket;
    back.metadata.generation = Some(GENERATION + 2);
    let verdict = judge(&back, &Evidence::Suspended, &texts(), None, now());
    assert_eq!(verdict.status.established_time, None);
}

/// Its status has no digest of the target.
#[test]
fn a_status_of_an_earlier_release_keeps_its_claim_while_the_spec_is_known() {
    let before = Recent::from_status(&proved(), now()).unwrap();
    for (what, edit, kept) in EDITS {
        let mut edited = edited(edit);
        edited.status.as_mut().unwrap().established_target = None;
        assert_eq!(has_same_target(&edited, Some(&before)), kept, "{what}");
        assert!(!has_same_target(&edited, None), "{what}, after a restart");
        edited.metadata.generation = Some(GENERATION);
        assert!(has_same_target(&edited, None), "{what}, seen before the restart");
    }
}
