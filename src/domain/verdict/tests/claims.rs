//! The order of claims, and open roles under enforcement `warn`.

use super::*;
use crate::api::Objection;

fn conflict() -> Result<(), Objection> {
    Err(Objection {
        reason: Reason::DestinationConflict,
        message: "somebody was first".into(),
        remedy: "use another bucket".into(),
    })
}

fn not_allowed() -> Result<(), Objection> {
    Err(Objection {
        reason: Reason::AccountNotAllowed,
        message: "not bound".into(),
        remedy: "bind it".into(),
    })
}

fn evidence(role: RoleEvidence) -> Evidence {
    Evidence::Validated { secret: resolved(), role: Some(Box::new(role)) }
}

fn judged(
    destination: &RecordingDestination,
    evidence: &Evidence,
    rules: &Rules,
    standing: Result<(), Objection>,
) -> Verdict {
    super::super::judge(destination, evidence, &texts(), None, rules, |_| standing, now())
}

fn due_with(destination: &RecordingDestination, standing: &Result<(), Objection>, time: Timestamp) -> Due {
    let recent = Recent::from_status(destination, now());
    super::super::due(destination, recent.as_ref(), &rules(), standing, time)
}

fn open() -> RoleEvidence {
    let mut open = sound();
    open.enforcement.as_mut().unwrap().negatives[0].answer = Some(Answer::Granted(()));
    open
}

#[test]
fn a_later_claim_is_refused_and_keeps_its_proof() {
    let verdict = judged(&destination(), &evidence(sound()), &rules(), conflict());
    assert_said(&verdict, ConditionType::Exclusive, "False", Reason::DestinationConflict);
    assert_said(&verdict, ConditionType::Ready, "False", Reason::DestinationConflict);
    assert_said(&verdict, ConditionType::BucketWritable, "True", Reason::Validated);
    assert!(verdict.status.established_time.is_some(), "a claim too, a later one");
    assert!(conditions::find(&verdict.status, ConditionType::Reconciling).is_none(), "nothing is retried");
    let event = &verdict.transitions[0];
    assert!(event.warning && event.note.contains("use another bucket"), "{}", event.note);

    let second = with_status(destination(), verdict);
    let polled = now() + SignedDuration::from_secs(10);
    assert_eq!(due_with(&second, &conflict(), now()), Due::NotBefore(polled), "no call is made meanwhile");
    assert_eq!(due_with(&second, &Ok(()), now()), Due::Reconsider, "the other claim has ended");
    let verdict = judged(&second, &Evidence::Reconsidered, &rules(), Ok(()));
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(verdict.status.last_validation_time, second.status.unwrap().last_validation_time);
}

#[test]
fn an_overtaken_claim_is_reported_without_a_validation() {
    assert!(matches!(due_with(&proved(), &Ok(()), now()), Due::NotBefore(_)));
    assert_eq!(due_with(&proved(), &conflict(), now()), Due::Reconsider);
    let verdict = judged(&proved(), &Evidence::Reconsidered, &rules(), conflict());
    assert_said(&verdict, ConditionType::Ready, "False", Reason::DestinationConflict);
}

#[test]
fn a_status_that_knows_of_no_claims_yet_is_completed() {
    let mut old = proved();
    old.status.as_mut().unwrap().conditions.retain(|c| c.type_ != "Exclusive");
    assert_eq!(due_with(&old, &Ok(()), now()), Due::Reconsider);
    let completed = with_status(old.clone(), judged(&old, &Evidence::Reconsidered, &rules(), Ok(())));
    assert!(matches!(due_with(&completed, &Ok(()), now()), Due::NotBefore(_)));
}

#[test]
fn the_unproved_sees_only_its_own_failure() {
    let mut denied = sound();
    denied.assumed = refused(403, "AccessDenied");
    denied.platform = Platform::AsConfigured;
    let unclear_refusal = |role: &mut RoleEvidence| {
        role.enforcement.as_mut().unwrap().negatives[0].answer = Some(refused(503, ""))
    };
    let mut inconclusive_role = sound();
    unclear_refusal(&mut inconclusive_role);
    for (what, role, status, reason) in [
        ("refused", denied, "False", Reason::AssumeRoleDenied),
        ("open", open(), "False", Reason::ExternalIDNotEnforced),
        ("without a clear answer", inconclusive_role, "Unknown", Reason::ProbeInconclusive),
    ] {
        let verdict = super::super::judge(
            &destination(),
            &evidence(role),
            &texts(),
            None,
            &rules(),
            |_| panic!("{what}: nobody may ask"),
            now(),
        );
        assert_said(&verdict, ConditionType::Exclusive, "Unknown", Reason::NotEvaluated);
        assert_said(&verdict, ConditionType::Ready, status, reason);
        assert!(verdict.status.established_time.is_none(), "{what}: no claim");
    }
}

#[test]
fn no_aws_call_is_made_for_a_namespace_that_may_not_use_the_account() {
    let Due::ReportNotAllowed(objection) = due_with(&destination(), &not_allowed(), now()) else { panic!() };
    let verdict = judged(&destination(), &Evidence::NotAllowed(objection), &rules(), not_allowed());
    assert_said(&verdict, ConditionType::Ready, "False", Reason::AccountNotAllowed);
    assert_said(&verdict, ConditionType::Exclusive, "False", Reason::AccountNotAllowed);
    assert_said(&verdict, ConditionType::RoleAssumable, "Unknown", Reason::NotEvaluated);
    assert!(
        conditions::find(&verdict.status, ConditionType::Stalled).is_none(),
        "no edit of the spec is needed"
    );
    let refused = with_status(destination(), verdict);
    assert!(matches!(due_with(&refused, &not_allowed(), now()), Due::NotBefore(_)), "published once");
    assert_eq!(due_with(&refused, &Ok(()), now()), Due::Validate(Work::Everything), "allowed since");

    let lost = judged(&proved(), &Evidence::NotAllowed(not_allowed().unwrap_err()), &rules(), not_allowed());
    assert_said(&lost, ConditionType::Ready, "False", Reason::AccountNotAllowed);
    assert_said(&lost, ConditionType::RoleAssumable, "True", Reason::Validated);
}

#[test]
fn where_the_platform_only_warns_an_open_role_is_ready_and_claims_nothing() {
    let warn = Rules { enforcement: EnforcementMode::Warn, ..rules() };
    let verdict = judged(&proved(), &evidence(open()), &warn, Ok(()));
    assert_said(&verdict, ConditionType::ExternalIDEnforced, "False", Reason::ExternalIDNotEnforced);
    assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
    let event = &verdict.transitions[0];
    assert!(event.warning && event.reason == "ExternalIDNotEnforced", "{event:?}");
    let warned = with_status(proved(), verdict);
    assert_eq!(judged(&warned, &evidence(open()), &warn, Ok(())).transitions, [], "published once");

    let first = judged(&destination(), &evidence(open()), &warn, Ok(()));
    assert_said(&first, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(first.status.established_time, None, "no claim");
    assert_eq!(first.status.external_id_secret_version.as_deref(), Some("812"), "the broker may send it");
    assert!(probe_is_due(
        &destination(),
        &resolved(),
        open().enforcement.as_ref().unwrap(),
        None,
        &warn,
        now()
    ));

    let second = judged(&destination(), &evidence(open()), &warn, conflict());
    assert_said(&second, ConditionType::Ready, "False", Reason::DestinationConflict);
    assert_said(
        &judged(&destination(), &evidence(open()), &rules(), Ok(())),
        ConditionType::Ready,
        "False",
        Reason::ExternalIDNotEnforced,
    );
}

#[test]
fn where_the_platform_only_warns_a_role_that_was_opened_loses_its_claim() {
    let warn = Rules { enforcement: EnforcementMode::Warn, ..rules() };
    let opened = judged(&proved(), &evidence(open()), &warn, Ok(()));
    assert_said(&opened, ConditionType::Ready, "True", Reason::Validated);
    assert_eq!(opened.status.established_time, None);
    let required = judged(&proved(), &evidence(open()), &rules(), Ok(()));
    assert!(required.status.established_time.is_some(), "elsewhere it is not Ready, and mends");
}

#[test]
fn switching_to_enforcement_require_is_reported_without_a_validation() {
    let warn = Rules { enforcement: EnforcementMode::Warn, ..rules() };
    let warned = with_status(destination(), judged(&destination(), &evidence(open()), &warn, Ok(())));
    assert!(warned.is_ready());
    assert!(matches!(super::super::due(&warned, None, &warn, &Ok(()), now()), Due::NotBefore(_)));
    assert_eq!(due_with(&warned, &Ok(()), now()), Due::Reconsider);
    let required = judged(&warned, &Evidence::Reconsidered, &rules(), Ok(()));
    assert_said(&required, ConditionType::Ready, "False", Reason::ExternalIDNotEnforced);
    assert_said(&required, ConditionType::Exclusive, "Unknown", Reason::NotEvaluated);
    assert!(matches!(due_with(&with_status(warned, required), &Ok(()), now()), Due::NotBefore(_)));
}

#[test]
fn refusals_prove_nothing_while_the_control_role_refuses_too() {
    for (what, control, status, reason) in [
        ("no control role", vec![], "True", Reason::Validated),
        ("it accepts", vec![Answer::Granted(()); 2], "True", Reason::Validated),
        (
            "it refuses",
            vec![Answer::Granted(()), refused(403, "AccessDenied")],
            "Unknown",
            Reason::ProbeInconclusive,
        ),
        ("it is throttled", vec![refused(400, "Throttling")], "Unknown", Reason::Throttled),
        ("it is silent", vec![Answer::Silent(Silence::Timeout)], "Unknown", Reason::ProbeInconclusive),
    ] {
        let mut role = sound();
        role.enforcement.as_mut().unwrap().control = control.clone();
        let verdict = judged(&destination(), &evidence(role), &rules(), Ok(()));
        assert_said(&verdict, ConditionType::ExternalIDEnforced, status, reason);
        let message = &conditions::find(&verdict.status, ConditionType::ExternalIDEnforced).unwrap().message;
        assert_eq!(message.contains("control role"), what == "it refuses", "{what}: {message}");
        let mut role = open();
        role.enforcement.as_mut().unwrap().control = control;
        let verdict = judged(&destination(), &evidence(role), &rules(), Ok(()));
        assert_eq!(
            shown(&verdict, ConditionType::ExternalIDEnforced).0,
            "False",
            "an open door is one: {what}"
        );
    }
}

#[test]
fn an_open_role_raises_a_warning_event_under_enforcement_warn() {
    let warn = Rules { enforcement: EnforcementMode::Warn, ..rules() };
    let reported = |before: &RecordingDestination| -> Vec<(bool, String)> {
        let transitions = judged(before, &evidence(open()), &warn, Ok(())).transitions;
        transitions.into_iter().map(|transitions| (transitions.warning, transitions.reason)).collect()
    };
    let expected = [(false, "Validated".to_owned()), (true, "ExternalIDNotEnforced".to_owned())];
    assert_eq!(reported(&destination()), expected);
    // Known to be open since before, while the bucket was in the way.
    let mut blocked = open();
    blocked.bucket = Some(BucketEvidence {
        calls: vec![(BucketCall::PutObject, refused(404, "NoSuchBucket"))],
        ..BucketEvidence::default()
    });
    let blocked = with_status(destination(), judged(&destination(), &evidence(blocked), &warn, Ok(())));
    assert_eq!(reported(&blocked), expected);
}

#[test]
fn a_destination_beyond_the_limit_of_its_namespace_is_told_once_and_not_validated() {
    let too_many = Objection {
        reason: Reason::TooManyDestinations,
        message: "too many".into(),
        remedy: "delete some".into(),
    };
    let standing = Err(too_many.clone());
    assert_eq!(due_with(&destination(), &standing, now()), Due::ReportNotAllowed(too_many.clone()));
    let verdict = judged(&destination(), &Evidence::NotAllowed(too_many), &rules(), standing.clone());
    assert_said(&verdict, ConditionType::Ready, "False", Reason::TooManyDestinations);
    assert_said(&verdict, ConditionType::RoleAssumable, "Unknown", Reason::NotEvaluated);
    let told = with_status(destination(), verdict);
    assert!(matches!(due_with(&told, &standing, now()), Due::NotBefore(_)), "told once");
    assert_eq!(due_with(&told, &Ok(()), now()), Due::Validate(Work::Everything), "there is room since");
}
