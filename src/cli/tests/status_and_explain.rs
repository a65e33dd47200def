//! `status` and `explain`, of destinations as the controller leaves them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use strum::IntoEnumIterator as _;

use super::{golden, words, written};
use crate::api::{
    Answer, BucketCall, ConditionType, Loss, LossKind, RecordingDestination, Refusal, Silence, Uploader,
    UploaderRefusal, Uploaders,
};
use crate::cli::explanation::Explanation;
use crate::cli::grade::Grade;
use crate::cli::output::{CommandOutcome, Format, Report};
use crate::cli::status::Overview;
use crate::cli::surroundings::Surroundings;
use crate::domain::trust::negative_probes;
use crate::domain::verdict::{
    BucketEvidence, Enforcement, Evidence, NegativeAnswer, Platform, RoleEvidence, Rules, SecretObservation,
    Texts, judge,
};
use crate::secret::ExternalID;

const PRINCIPAL: &str = "arn:aws:iam::103850359708:user/RingDNA_Web";

fn now() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().unwrap()
}

fn destination(namespace: &str) -> RecordingDestination {
    let object = json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
        "metadata": {
            "name": "acme", "namespace": namespace, "generation": 2, "creationTimestamp": "2030-01-01T11:00:00Z",
        },
        "spec": {
            "bucket": "acme-recordings", "region": "us-east-1",
            "roleARN": "arn:aws:iam::111111111111:role/revenue-call-recording-writer",
            "externalIDSecretRef": {"name": "acme-external-id"},
        },
    });
    serde_json::from_value(object).unwrap()
}

/// The destination as it is after a validation some minutes ago.
fn after(mut destination: RecordingDestination, evidence: &Evidence) -> RecordingDestination {
    let texts = Texts {
        platform_principal: PRINCIPAL.to_owned(),
        trust_policy: "{\n  \"Trust\": \"the platform's principal\"\n}".to_owned(),
        role_policy: "{\n  \"Allow\": \"the four actions\"\n}".to_owned(),
    };
    let rules = Rules { partition: "aws".to_owned(), ..Rules::default() };
    let then = now() - SignedDuration::from_mins(5);
    let verdict = judge(&destination, evidence, &texts, None, &rules, |_| Ok(()), then);
    destination.status = Some(verdict.status);
    destination
}

fn denied(code: &str) -> Answer {
    Answer::Refused(Refusal { status: 403, code: code.to_owned(), ..Refusal::default() })
}

/// All is as it must be; rows break one thing.
fn sound() -> RoleEvidence {
    let id = ExternalID::parse("c7f1e0b2-8f0a-4a52-9c1e-1f2d3c4b5a69").unwrap();
    let negatives = negative_probes(&id, 1).into_iter().map(|probe| NegativeAnswer {
        caller: probe.caller,
        answer: probe.external_id.map(|_| denied("AccessDenied")),
    });
    let enforcement = Enforcement {
        negatives: negatives.collect(),
        control: Vec::new(),
        assumed_again: Answer::Granted(()),
    };
    let calls = BucketCall::iter().filter(|call| *call != BucketCall::PutObjectWithoutACL);
    let bucket = BucketEvidence {
        calls: calls.map(|call| (call, Answer::Granted(()))).collect(),
        read_back_matches: Some(true),
        marker_left: false,
        uploaded_since: false,
    };
    RoleEvidence {
        assumed: Answer::Granted(()),
        platform: Platform::AsConfigured,
        control: None,
        enforcement: Some(enforcement),
        bucket: Some(bucket),
    }
}

fn seen(change: impl FnOnce(&mut RoleEvidence)) -> Evidence {
    let secret = SecretObservation::Resolved { version: "812".to_owned(), known: false };
    let mut role = sound();
    change(&mut role);
    Evidence::Validated { secret, role: Some(Box::new(role)) }
}

fn bucket_says(call: BucketCall, answer: Answer) -> Evidence {
    seen(|role| {
        let calls = &mut role.bucket.as_mut().unwrap().calls;
        calls.iter_mut().find(|(made, _)| *made == call).unwrap().1 = answer;
    })
}

/// Namespace, which says what is the matter, and the destination.
fn fleet() -> Vec<RecordingDestination> {
    let judged = |namespace: &str, evidence: Evidence| after(destination(namespace), &evidence);
    let secret = |secret| Evidence::Validated { secret, role: None };
    let only_assumed =
        |assumed: Answer| seen(|role| (role.assumed, role.enforcement, role.bucket) = (assumed, None, None));
    let mut edited = judged("edited", seen(|_| {}));
    edited.metadata.generation = Some(3);
    let mut late = judged("late", seen(|_| {}));
    let oldest = Time(now() - SignedDuration::from_mins(40));
    late.status.as_mut().unwrap().uploaders = Some(Uploaders {
        count: 1,
        items: vec![Uploader {
            pod: "recorder-0".to_owned(),
            uid: "u".to_owned(),
            reason: "UploadsLate".to_owned(),
            ending: false,
            refusal: None,
            not_removed: 0,
            volume_nearly_full: false,
            pending_files: 3,
            pending_bytes: 0,
            spool: String::new(),
            oldest_pending_time: Some(oldest),
            quarantined: 1,
            report_time: Time(now()),
        }],
    });
    let reported = late.status.as_ref().unwrap().uploaders.clone();
    let mut late = after(late, &Evidence::Reported);
    late.status.as_mut().unwrap().uploaders = reported;
    let mut suspended = judged("suspended", seen(|_| {}));
    suspended.spec.suspend = true;
    vec![
        judged("ready", seen(|_| {})),
        judged("denied", only_assumed(denied("AccessDenied"))),
        judged(
            "open",
            seen(|role| {
                role.bucket = None;
                let negatives = &mut role.enforcement.as_mut().unwrap().negatives;
                negatives[0].answer = Some(Answer::Granted(()));
                negatives[1].answer = Some(Answer::Granted(()));
            }),
        ),
        judged("no-secret", secret(SecretObservation::NotFound)),
        judged("in-doubt", only_assumed(Answer::Silent(Silence::Timeout))),
        judged("kept-objects", bucket_says(BucketCall::DeleteObject, denied("AccessDenied"))),
        judged("unreadable", bucket_says(BucketCall::GetObject, denied("AccessDenied"))),
        judged(
            "elsewhere",
            Evidence::InvalidSpec("spec.roleARN is in partition aws-cn, the platform in aws".to_owned()),
        ),
        after(suspended, &Evidence::Suspended),
        late,
        edited,
        destination("unseen"),
    ]
}

fn overview(all: &[RecordingDestination]) -> Overview {
    Overview::of(all, Surroundings::default(), None, now())
}

fn explain(destination: &RecordingDestination) -> Explanation {
    Explanation::of(destination, Surroundings::default(), now())
}

#[test]
fn status_shows_all_tenants_the_worst_first_and_whose_side_it_is_on() {
    golden("status.txt", &words(&overview(&fleet())));
}

#[test]
fn status_is_as_bad_as_the_worst_tenant() {
    for (namespaces, expected) in [
        (vec![], CommandOutcome::Well),
        (vec!["ready"], CommandOutcome::Well),
        (vec!["ready", "in-doubt"], CommandOutcome::Unclear),
        (vec!["in-doubt", "suspended"], CommandOutcome::Wrong),
        (vec!["ready", "late", "in-doubt"], CommandOutcome::Wrong),
        (vec!["denied", "ready"], CommandOutcome::Wrong),
    ] {
        let fleet =
            fleet().into_iter().filter(|d| namespaces.contains(&d.metadata.namespace.as_deref().unwrap()));
        let overview = overview(&fleet.collect::<Vec<_>>());
        assert_eq!(overview.outcome(), expected, "{namespaces:?}");
    }
}

#[test]
fn explain_tells_what_is_wrong_whose_it_is_and_the_text_to_paste() {
    let mut text = String::new();
    for destination in fleet() {
        let explanation = explain(&destination);
        text.push_str(&format!("{:=<100}\n{}exit {:?}\n", "", words(&explanation), explanation.outcome()));
    }
    golden("explain.txt", &text);
}

#[test]
fn programs_get_the_same_as_json() {
    let denied = fleet().into_iter().find(|d| d.metadata.namespace.as_deref() == Some("denied")).unwrap();
    let json = serde_json::to_string_pretty(&explain(&denied)).unwrap();
    golden("explain.json", &(json + "\n"));
    let overview = serde_json::to_string_pretty(&overview(&[denied])).unwrap();
    golden("status.json", &(overview + "\n"));
}

#[test]
fn yaml_says_what_json_says() {
    fn assert_same(report: &impl Report) {
        let [json, yaml] = [Format::Json, Format::Yaml].map(|format| written(report, format, false));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_yaml::from_str::<serde_json::Value>(&yaml).unwrap(), json, "{yaml}");
        assert!(json.is_object() || json.is_array(), "{json}");
    }
    assert_same(&overview(&fleet()));
    for destination in fleet() {
        assert_same(&explain(&destination));
    }
}

#[test]
fn colours_are_for_terminals_and_for_words() {
    let overview = overview(&fleet());
    for (format, on_terminal, coloured) in [
        (Format::Text, true, true),
        (Format::Text, false, false),
        (Format::Json, true, false),
        (Format::Yaml, true, false),
    ] {
        let text = written(&overview, format, on_terminal);
        assert_eq!(text.contains('\x1b'), coloured, "{format:?}, terminal {on_terminal}: {text}");
    }
}

#[test]
fn the_policy_stands_in_a_line_of_its_own_so_that_it_can_be_pasted() {
    let denied = fleet().into_iter().find(|d| d.metadata.namespace.as_deref() == Some("denied")).unwrap();
    let text = words(&explain(&denied));
    let from = text.find("\n{\n").expect("the policy begins a line") + 1;
    let until = text[from..].find("\n}\n").expect("and ends one") + from + 2;
    let policy: serde_json::Value = serde_json::from_str(&text[from..until]).unwrap();
    assert_eq!(policy, json!({"Trust": "the platform's principal"}));
}

/// The destination of that namespace.
fn of_fleet(namespace: &str) -> RecordingDestination {
    let is_it = |it: &RecordingDestination| it.metadata.namespace.as_deref() == Some(namespace);
    fleet().into_iter().find(is_it).unwrap()
}

fn headline(destination: &RecordingDestination) -> String {
    words(&explain(destination)).lines().next().unwrap().to_owned()
}

#[test]
fn the_headline_is_the_worst_that_is_true() {
    let with_uploads_late = |mut destination: RecordingDestination, silent_for: i64| {
        let late = of_fleet("late").status.unwrap();
        let status = destination.status.as_mut().unwrap();
        status.uploaders = late.uploaders;
        let items = &mut status.uploaders.as_mut().unwrap().items;
        items[0].report_time = Time(now() - SignedDuration::from_mins(silent_for));
        destination
    };
    let late_and_denied = {
        let mut denied = with_uploads_late(of_fleet("denied"), 0);
        let delivering = of_fleet("late").condition(ConditionType::Delivering).unwrap().clone();
        let conditions = &mut denied.status.as_mut().unwrap().conditions;
        *conditions.iter_mut().find(|it| it.type_ == "Delivering").unwrap() = delivering;
        denied
    };
    let with_loss = |mut destination: RecordingDestination, kind, hours| {
        destination.status.as_mut().unwrap().last_losses = vec![Loss {
            pod: "recorder-9".to_owned(),
            uid: "v".to_owned(),
            time: Time(now() - SignedDuration::from_hours(hours)),
            files: 1,
            bytes: 1_200_000,
            spool: "emptyDir".to_owned(),
            kind,
        }];
        destination
    };
    let mut stale = of_fleet("ready");
    let long_ago = Time(now() - SignedDuration::from_hours(3));
    stale.status.as_mut().unwrap().last_validation_time = Some(long_ago);
    for (destination, grade, words) in [
        (
            with_loss(of_fleet("late"), LossKind::Lost, 2),
            Grade::Lost,
            "✗ late/acme lost 1 recording of 1 pod within a day; does not deliver: UploadsLate",
        ),
        (
            with_loss(of_fleet("denied"), LossKind::Unaccounted, 23),
            Grade::Unaccounted,
            "✗ denied/acme lost track of 1 recording of 1 pod within a day; not ready: AssumeRoleDenied",
        ),
        (
            with_loss(of_fleet("ready"), LossKind::Left, 1),
            Grade::Left,
            "? ready/acme left 1 recording of 1 pod in a volume within a day",
        ),
        (with_loss(of_fleet("ready"), LossKind::Lost, 25), Grade::Well, "✓ ready/acme is ready for 5m"),
        (of_fleet("late"), Grade::NotDelivering, "✗ late/acme does not deliver for 5m: UploadsLate"),
        (
            late_and_denied,
            Grade::NotDelivering,
            "✗ denied/acme does not deliver for 5m: UploadsLate; not ready: AssumeRoleDenied",
        ),
        (of_fleet("denied"), Grade::NotReady, "✗ denied/acme is not ready for 5m: AssumeRoleDenied"),
        (
            with_uploads_late(of_fleet("ready"), 20),
            Grade::Silent,
            "? ready/acme has 1 pod with recordings to send that no longer report",
        ),
        (
            stale,
            Grade::NotRenewed,
            "? ready/acme has a status that is 3h old: the controller does not answer",
        ),
        (of_fleet("in-doubt"), Grade::NotKnown, "? in-doubt/acme is not known to be ready for 5m"),
        (of_fleet("suspended"), Grade::Suspended, "✗ suspended/acme is not ready for 5m: Suspended"),
        (of_fleet("ready"), Grade::Well, "✓ ready/acme is ready for 5m"),
    ] {
        assert_eq!(Grade::of(&destination, now()), grade, "{words}");
        assert!(headline(&destination).starts_with(words), "{words}: {}", headline(&destination));
    }
}

#[test]
fn a_status_counts_as_renewed_until_twice_its_interval() {
    for (minutes, expected) in [(5, Grade::Well), (119, Grade::Well), (121, Grade::NotRenewed)] {
        let mut destination = of_fleet("ready");
        let last = Time(now() - SignedDuration::from_mins(minutes));
        destination.status.as_mut().unwrap().last_validation_time = Some(last);
        assert_eq!(Grade::of(&destination, now()), expected, "after {minutes} minutes");
        // No role is asked for this one, so its status is as old as it may be.
        let mut suspended = of_fleet("suspended");
        suspended.status.as_mut().unwrap().last_validation_time =
            destination.status.unwrap().last_validation_time;
        assert_eq!(Grade::of(&suspended, now()), Grade::Suspended);
    }
}

#[test]
fn what_is_noted_once_an_hour_is_not_said_as_if_it_were_now() {
    let mut destination = of_fleet("ready");
    destination.status.as_mut().unwrap().last_upload_time = Some(Time(now() - SignedDuration::from_mins(8)));
    let text = words(&explain(&destination));
    assert!(text.contains("an upload noted 8m ago (noted once an hour at most)"), "{text}");
    assert!(!text.contains("last upload"), "{text}");
}

#[test]
fn what_has_just_become_ready_is_ready_for_no_time() {
    let mut destination = of_fleet("ready");
    for condition in &mut destination.status.as_mut().unwrap().conditions {
        condition.last_transition_time = Time(now());
    }
    assert_eq!(headline(&destination), "✓ ready/acme is ready");
}

#[test]
fn explain_shows_what_the_status_knows_of_each_pod() {
    let mut destination = of_fleet("late");
    let status = destination.status.as_mut().unwrap();
    let item = &mut status.uploaders.as_mut().unwrap().items[0];
    item.reason = "PutObjectDenied".to_owned();
    item.refusal = Some(UploaderRefusal {
        call: "PutObject".to_owned(),
        code: "AccessDenied".to_owned(),
        policy: Some("ResourcePolicy".to_owned()),
    });
    (item.not_removed, item.volume_nearly_full) = (2, true);
    item.report_time = Time(now() - SignedDuration::from_mins(12));
    let kinds = [LossKind::Lost, LossKind::Left, LossKind::Unaccounted];
    let losses = kinds.iter().zip(1..).map(|(kind, number)| Loss {
        pod: format!("recorder-{number}"),
        uid: "v".to_owned(),
        time: Time(now() - SignedDuration::from_hours(30 * number)),
        files: number,
        bytes: 7_000 * number,
        spool: "persistentVolumeClaim/calls".to_owned(),
        kind: *kind,
    });
    status.last_losses = losses.collect();
    let explanation = explain(&destination);
    golden("pods.txt", &words(&explanation));
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["lastLosses"][2]["kind"], "Unaccounted", "{json}");
    assert_eq!(json["uploaders"]["items"][0]["refusal"]["policy"], "ResourcePolicy", "{json}");
}
