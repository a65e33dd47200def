//! `status` and `explain`, of destinations as the controller leaves them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use strum::IntoEnumIterator as _;

use super::{golden, words, written};
use crate::api::{Answer, BucketCall, RecordingDestination, Refusal, Silence, Uploader, Uploaders};
use crate::cli::explanation::{Explanation, age};
use crate::cli::output::{CommandOutcome, Format, Report};
use crate::cli::status::Overview;
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

#[test]
fn status_shows_all_tenants_the_worst_first_and_whose_side_it_is_on() {
    golden("status.txt", &words(&Overview::of(&fleet(), now())));
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
        let overview = Overview::of(&fleet.collect::<Vec<_>>(), now());
        assert_eq!(overview.outcome(), expected, "{namespaces:?}");
    }
}

#[test]
fn explain_tells_what_is_wrong_whose_it_is_and_the_text_to_paste() {
    let mut text = String::new();
    for destination in fleet() {
        let explanation = Explanation::of(&destination, now());
        text.push_str(&format!("{:=<100}\n{}exit {:?}\n", "", words(&explanation), explanation.outcome()));
    }
    golden("explain.txt", &text);
}

#[test]
fn programs_get_the_same_as_json() {
    let denied = fleet().into_iter().find(|d| d.metadata.namespace.as_deref() == Some("denied")).unwrap();
    let json = serde_json::to_string_pretty(&Explanation::of(&denied, now())).unwrap();
    golden("explain.json", &(json + "\n"));
    let overview = serde_json::to_string_pretty(&Overview::of(&[denied], now())).unwrap();
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
    assert_same(&Overview::of(&fleet(), now()));
    for destination in fleet() {
        assert_same(&Explanation::of(&destination, now()));
    }
}

#[test]
fn colours_are_for_terminals_and_for_words() {
    let overview = Overview::of(&fleet(), now());
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
    let text = words(&Explanation::of(&denied, now()));
    let from = text.find("\n{\n").expect("the policy begins a line") + 1;
    let until = text[from..].find("\n}\n").expect("and ends one") + from + 2;
    let policy: serde_json::Value = serde_json::from_str(&text[from..until]).unwrap();
    assert_eq!(policy, json!({"Trust": "the platform's principal"}));
}

#[test]
fn ages_are_short() {
    for (seconds, expected) in
        [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")]
    {
        assert_eq!(age(SignedDuration::from_secs(seconds)), expected);
    }
}
