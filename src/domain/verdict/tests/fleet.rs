//! The platform's own loss of sts:AssumeRole, told from revocations by customers.

use super::*;
use crate::domain::verdict::Fleet;

fn of_namespace(namespace: &str, mut destination: RecordingDestination) -> RecordingDestination {
    destination.metadata.namespace = Some(namespace.to_owned());
    destination
}

fn role(assumed: Answer, platform: Platform) -> RoleEvidence {
    RoleEvidence { assumed, platform, enforcement: None, bucket: None, ..sound() }
}

#[test]
fn refusals_are_the_platforms_where_no_proved_destination_is_granted() {
    let (granted, denied) = (Answer::Granted(()), refused(403, "AccessDenied"));
    let throttled = refused(400, "Throttling");
    // The minute, the namespace, whether it was proved, the answer, and whether refusals are the platform's then.
    type Row<'a> = (i64, &'a str, bool, &'a Answer, bool);
    let tables: [(&str, &[Row]); 6] = [
        (
            "three namespaces, none granted",
            &[(0, "a", true, &denied, false), (1, "b", true, &denied, false), (2, "c", true, &denied, true)],
        ),
        (
            "one granted among them",
            &[
                (0, "a", true, &denied, false),
                (1, "b", true, &denied, false),
                (2, "d", true, &granted, false),
                (3, "c", true, &denied, false),
                (4, "a", true, &denied, false),
                (5, "b", true, &denied, true),
            ],
        ),
        (
            "one granted after them",
            &[
                (0, "a", true, &denied, false),
                (0, "b", true, &denied, false),
                (0, "c", true, &denied, true),
                (1, "d", true, &granted, false),
            ],
        ),
        (
            "many of one namespace, and invented accounts",
            &[
                (0, "a", true, &denied, false),
                (0, "a", true, &denied, false),
                (0, "a", true, &denied, false),
                (0, "x", false, &denied, false),
                (0, "y", false, &denied, false),
                (0, "z", false, &denied, false),
            ],
        ),
        (
            "a role that was never proved is granted",
            &[
                (0, "a", true, &denied, false),
                (0, "b", true, &denied, false),
                (0, "x", false, &granted, false),
                (0, "c", true, &denied, true),
            ],
        ),
        (
            "not within half an hour, and a throttle",
            &[
                (0, "a", true, &denied, false),
                (1, "b", true, &denied, false),
                (2, "d", true, &throttled, false),
                (30, "c", true, &denied, false),
            ],
        ),
    ];
    for (what, rows) in tables {
        let mut fleet = Fleet::default();
        for (index, (minute, namespace, was_proved, answer, expected)) in rows.iter().enumerate() {
            let seen = if *was_proved { proved() } else { destination() };
            let time = now() + SignedDuration::from_mins(*minute);
            fleet.note(
                &of_namespace(namespace, seen),
                &role((*answer).clone(), Platform::AsConfigured),
                time,
            );
            assert_eq!(fleet.is_refused(time), *expected, "{what}, row {index}");
        }
    }
}

#[test]
fn a_wrong_key_counts_as_no_refusal_and_a_witness_is_of_another_namespace() {
    let mut fleet = Fleet::default();
    for namespace in ["a", "b", "c"] {
        let wrong_key = role(refused(403, "AccessDenied"), Platform::Refused);
        fleet.note(&of_namespace(namespace, proved()), &wrong_key, now());
    }
    assert!(!fleet.is_refused(now()), "that has a reason of its own");
    fleet.note(
        &of_namespace("a", proved()),
        &role(refused(403, "AccessDenied"), Platform::AsConfigured),
        now(),
    );
    for (what, candidate, expected) in [
        ("refused itself", of_namespace("a", proved()), false),
        ("another that is Ready", of_namespace("d", proved()), true),
        ("one that was never proved", of_namespace("d", destination()), false),
    ] {
        assert_eq!(fleet.is_witness(&candidate), expected, "{what}");
    }
}

#[test]
fn the_platforms_refusal_is_inconclusive_and_leaves_the_proof_standing() {
    for (what, change) in [
        ("everywhere", role(refused(403, "AccessDenied"), Platform::RefusedEverywhere)),
        (
            "by the control role",
            RoleEvidence {
                control: Some(refused(403, "AccessDenied")),
                ..role(refused(403, "AccessDenied"), Platform::AsConfigured)
            },
        ),
    ] {
        let first = validate(&destination(), resolved(), Some(change.clone()), now());
        assert_said(&first, ConditionType::RoleAssumable, "Unknown", Reason::PlatformRefused);
        let stands = validate(&proved(), resolved(), Some(change), now() + hours(1));
        assert_said(&stands, ConditionType::Ready, "True", Reason::Validated);
        let check = stands.status.checks.iter().find(|check| check.name == "AssumeRole").unwrap();
        assert_eq!(check.result, CheckResult::Inconclusive, "{what}");
        assert!(check.remedy.starts_with("Platform:"), "{what}: {}", check.remedy);
    }
    let alone = validate(
        &proved(),
        resolved(),
        Some(role(refused(403, "AccessDenied"), Platform::AsConfigured)),
        now(),
    );
    assert_said(&alone, ConditionType::Ready, "False", Reason::AssumeRoleDenied);
}
