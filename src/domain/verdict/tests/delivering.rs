//! What uploaders report, in the conditions.

use super::*;
use crate::api::{Loss, LossKind, UploaderRefusal, Uploaders};

/// A proved destination with such uploaders in trouble, and an upload or none.
fn reported(reasons: &[Reason], uploaded: bool) -> RecordingDestination {
    let mut destination = proved();
    let status = destination.status.as_mut().unwrap();
    let items: Vec<_> = reasons.iter().copied().map(uploader).collect();
    status.uploaders = (!items.is_empty()).then_some(Uploaders { count: items.len() as i64, items });
    status.last_upload_time = uploaded.then(|| Time(now()));
    destination
}

#[test]
fn delivering_follows_the_reports_and_ready_does_not_depend_on_it() {
    let (late, quarantines) = (Reason::UploadsLate, Reason::RecordingsQuarantined);
    let full = Reason::SpoolNearlyFull;
    let (unusable, kept, denied) = (Reason::SpoolUnusable, Reason::SpoolNotWritable, Reason::PutObjectDenied);
    let (ending, asked, silent) = (Reason::PodEnding, Reason::Progressing, Reason::UploaderSilent);
    let table: [(&str, &[Reason], bool, &str, Reason); 16] = [
        ("never heard of", &[], false, "Unknown", Reason::NotYetReported),
        ("uploaded", &[], true, "True", Reason::Delivered),
        ("one late, never uploaded", &[late], false, "False", late),
        ("one late", &[late], true, "False", late),
        ("one quarantines", &[quarantines], true, "False", quarantines),
        ("one nearly full", &[full], true, "False", full),
        ("one late, another nearly full", &[late, full], true, "False", full),
        ("one late, another quarantines", &[quarantines, late], true, "False", late),
        ("one cannot remove, another is full", &[full, kept], true, "False", kept),
        ("one refused, others late or full", &[late, full, denied], true, "False", denied),
        ("one cannot use its spool", &[denied, unusable, late], true, "False", unusable),
        ("one cannot use its spool, never uploaded", &[unusable], false, "False", unusable),
        ("one is ending", &[ending], true, "True", Reason::Delivered),
        ("one is asked about", &[asked], true, "True", Reason::Delivered),
        ("one is silent, another is ending", &[silent, ending], true, "Unknown", silent),
        ("one is silent, another quarantines", &[silent, quarantines], true, "False", quarantines),
    ];
    for (what, reasons, uploaded, value, reason) in table {
        let verdict = judge(&reported(reasons, uploaded), &Evidence::Reported, &texts(), None, now());
        assert_said(&verdict, ConditionType::Delivering, value, reason);
        assert_said(&verdict, ConditionType::Ready, "True", Reason::Validated);
        assert_eq!(verdict.transitions, [], "{what}: the broker tells of it");
        assert_eq!(verdict.status.uploaders, None, "{what}: the broker's field is not written");
    }
}

#[test]
fn a_report_is_published_once_and_costs_no_validation() {
    for reasons in [&[Reason::UploadsLate][..], &[]] {
        let transitions = reported(reasons, true);
        assert_eq!(due(&transitions, None, "aws", now()), Due::ReportDelivery);
        let verdict = judge(&transitions, &Evidence::Reported, &texts(), None, now());
        let mut reported = transitions.clone();
        let (uploaders, upload) = {
            let status = transitions.status.as_ref().unwrap();
            (status.uploaders.clone(), status.last_upload_time.clone())
        };
        reported.status = Some(verdict.status);
        let status = reported.status.as_mut().unwrap();
        (status.uploaders, status.last_upload_time) = (uploaders, upload);
        assert!(matches!(due(&reported, None, "aws", now()), Due::NotBefore(_)));
        // As in the controller's copy of it.
        let conditions = &mut reported.status.as_mut().unwrap().conditions;
        conditions.iter_mut().filter(|c| c.status == "True").for_each(|c| c.message.clear());
        assert!(matches!(due(&reported, None, "aws", now()), Due::NotBefore(_)), "{reasons:?}");
    }
}

#[test]
fn while_suspended_recordings_wait_for_that_and_a_broken_spool_for_its_own_cause() {
    for (what, reasons, value, reason) in [
        ("nothing waits", &[][..], "True", Reason::Delivered),
        ("one late", &[Reason::UploadsLate][..], "False", Reason::Suspended),
        ("one cannot use its spool", &[Reason::SpoolUnusable][..], "False", Reason::SpoolUnusable),
    ] {
        let mut suspended = reported(reasons, true);
        suspended.spec.suspend = true;
        let verdict = judge(&suspended, &Evidence::Suspended, &texts(), None, now());
        assert_eq!(shown(&verdict, ConditionType::Delivering), (value.into(), reason.to_string()), "{what}");
        assert_said(&verdict, ConditionType::Ready, "False", Reason::Suspended);
    }
}

/// What a validation has found is the cause, whatever uploaders make of it, and on whose side it is follows from it.
#[test]
fn what_ended_ready_is_the_cause_of_what_uploaders_report() {
    let denied = bucket(BucketCall::PutObject, denied("s3:PutObjectAcl"));
    let mut silent = sound();
    silent.assumed = Answer::Silent(Silence::Timeout);
    let silent = (resolved(), Some(silent));
    let missing = (SecretObservation::NotFound, None);
    for (what, reasons, uploaded, (secret, role), value, reason) in [
        ("a put is refused", &[Reason::PutObjectDenied][..], true, &denied, "False", Reason::ACLDenied),
        ("one is late", &[Reason::UploadsLate][..], true, &denied, "False", Reason::ACLDenied),
        ("nothing is reported yet", &[][..], true, &denied, "False", Reason::ACLDenied),
        ("never used", &[][..], false, &denied, "Unknown", Reason::NotYetReported),
        ("a broken spool", &[Reason::SpoolInUse][..], true, &denied, "False", Reason::SpoolInUse),
        ("the Secret is gone", &[][..], true, &missing, "False", Reason::SecretNotFound),
        ("no answer, with a proof that stands", &[][..], true, &silent, "True", Reason::Delivered),
    ] {
        let seen = reported(reasons, uploaded);
        let verdict = validate(&seen, secret.clone(), role.clone(), now() + hours(1));
        assert_eq!(shown(&verdict, ConditionType::Delivering), (value.into(), reason.to_string()), "{what}");
    }
    let mut silent_role = sound();
    silent_role.assumed = Answer::Silent(Silence::Timeout);
    let unknown = validate(&reported(&[], true), resolved(), Some(silent_role), now() + hours(24 * 30));
    assert_said(&unknown, ConditionType::Delivering, "Unknown", Reason::ProbeInconclusive);
}

#[test]
fn another_reason_is_published_though_delivering_stays_false() {
    let late = reported(&[Reason::UploadsLate], true);
    let verdict = judge(&late, &Evidence::Reported, &texts(), None, now());
    let mut quarantines = reported(&[Reason::RecordingsQuarantined], true);
    quarantines.status.as_mut().unwrap().conditions = verdict.status.conditions;
    assert_eq!(due(&quarantines, None, "aws", now()), Due::ReportDelivery);
}

#[test]
fn the_message_names_the_call_the_code_and_the_policy_that_denied() {
    let mut destination = reported(&[Reason::PutObjectDenied], true);
    let item = &mut destination.status.as_mut().unwrap().uploaders.as_mut().unwrap().items[0];
    item.refusal = Some(UploaderRefusal {
        call: "PutObject".into(),
        code: "AccessDenied".into(),
        policy: Some("VPCEndpointPolicy".into()),
    });
    item.volume_nearly_full = true;
    let verdict = judge(&destination, &Evidence::Reported, &texts(), None, now());
    let said = verdict.status.conditions.iter().find(|c| c.type_ == "Delivering").unwrap();
    assert_eq!(
        said.message,
        "AWS refuses PutObject with AccessDenied, denied by a policy of type VPCEndpointPolicy; recordings are kept and \
         tried again; the volume of a spool is 90 % full or more; status.uploaders names the pods"
    );
}

#[test]
fn recordings_left_in_a_claim_wait_until_a_later_pod_sends_them() {
    const CLAIM: &str = "persistentVolumeClaim/recordings";
    let (left, unaccounted) = (Reason::RecordingsLeft, Reason::RecordingsUnaccounted);
    let (late, silent, delivered) = (Reason::UploadsLate, Reason::UploaderSilent, Reason::Delivered);
    type Losses = &'static [(LossKind, &'static str)];
    let table: [(&str, Losses, &[Reason], &str, Reason); 7] = [
        ("left in a claim", &[(LossKind::Left, CLAIM)], &[], "False", left),
        ("left in a claim, perhaps", &[(LossKind::Unaccounted, CLAIM)], &[], "False", unaccounted),
        ("lost", &[(LossKind::Lost, "emptyDir")], &[], "True", delivered),
        ("left where nobody can tell", &[(LossKind::Left, "hostPath")], &[], "True", delivered),
        ("left, and another pod is late", &[(LossKind::Left, CLAIM)], &[late], "False", late),
        ("left, and another pod is silent", &[(LossKind::Left, CLAIM)], &[silent], "False", left),
        ("both", &[(LossKind::Unaccounted, CLAIM), (LossKind::Left, CLAIM)], &[], "False", left),
    ];
    for (what, losses, reasons, value, reason) in table {
        let mut destination = reported(reasons, true);
        let loss = |(kind, spool): &(LossKind, &str)| Loss {
            pod: "recorder-0".into(),
            uid: "u".into(),
            time: Time(now()),
            files: 1,
            bytes: 2,
            spool: (*spool).to_owned(),
            kind: *kind,
        };
        destination.status.as_mut().unwrap().last_losses = losses.iter().map(loss).collect();
        let verdict = judge(&destination, &Evidence::Reported, &texts(), None, now());
        let delivering = verdict.status.conditions.iter().find(|c| c.type_ == "Delivering").unwrap();
        assert_eq!(
            (delivering.status.as_str(), delivering.reason.as_str()),
            (value, reason.into()),
            "{what}"
        );
    }
}
