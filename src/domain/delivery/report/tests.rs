use super::*;
use crate::api::{PolicyType, RefusedCall, UploadRefusal};

fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}Z").parse().unwrap()
}

/// A report at noon: so many recordings, the oldest since then; so many files in quarantine.
fn report(pending: u64, oldest: &str, quarantined: u64) -> DeliveryReport {
    let oldest_pending_time = (pending > 0).then(|| at(oldest));
    DeliveryReport { pending_files: pending, oldest_pending_time, quarantined, ..DeliveryReport::default() }
}

fn denied() -> UploadRefusal {
    UploadRefusal {
        call: RefusedCall::PutObject,
        status: 403,
        code: "AccessDenied".into(),
        policy: Some(PolicyType::ResourcePolicy),
        files: 3,
    }
}

fn late() -> DeliveryReport {
    report(3, "11:40:00", 0)
}

#[test]
fn what_keeps_an_uploader_from_delivering_is_its_cause_if_known() {
    let filled = |volume_used_percent| DeliveryReport { volume_used_percent, ..report(0, "", 0) };
    let kept = |report| DeliveryReport { not_removed: 2, ..report };
    let unanswered = |report| DeliveryReport { unanswered: Some(Unanswered::S3), ..report };
    let refused = |report| DeliveryReport { refusal: Some(denied()), ..report };
    let fault = |fault| DeliveryReport { spool: Some(fault), ..refused(filled(95)) };
    let (late, quarantined) = (Some(Reason::UploadsLate), Some(Reason::RecordingsQuarantined));
    let since = |time| DeliveryReport { oldest_pending_time: Some(time), ..report(1, "11:59:59", 0) };
    let table = [
        ("nothing waits", report(0, "", 0), None),
        ("one waits for 14 min 59 s", report(1, "11:45:01", 0), None),
        ("one waits for 15 min", report(1, "11:45:00", 0), late),
        ("a clock that is ahead", report(1, "13:00:00", 0), None),
        ("the end of time", since(Timestamp::MAX), None),
        ("its beginning", since(Timestamp::MIN), late),
        ("one is in quarantine", report(0, "", 1), quarantined),
        ("both", report(1, "11:45:00", 1), late),
        ("a volume 89 % full", filled(89), None),
        ("a volume 90 % full", filled(90), Some(Reason::SpoolNearlyFull)),
        ("two cannot be removed, and the volume fills", kept(filled(95)), Some(Reason::SpoolNotWritable)),
        ("S3 does not answer, and the volume fills", unanswered(filled(95)), Some(Reason::S3Unavailable)),
        ("S3 does not answer, and refuses", refused(unanswered(filled(95))), Some(Reason::PutObjectDenied)),
        ("S3 refuses, and the volume fills", refused(kept(filled(95))), Some(Reason::PutObjectDenied)),
        ("another uploader has the spool", fault(SpoolFault::InUse), Some(Reason::SpoolInUse)),
        ("a spool that cannot be read", fault(SpoolFault::Unusable), Some(Reason::SpoolUnusable)),
    ];
    for (what, report, expected) in table {
        assert_eq!(trouble(&report, at("12:00:00")), expected, "{what}");
    }
}

#[test]
fn a_report_is_due_at_a_transition_and_after_five_minutes() {
    let calm = report(1, "11:50:00", 0);
    let uploaded = DeliveryReport { last_upload_time: Some(at("11:59:00")), ..calm.clone() };
    let calm = &calm;
    let sent = |report: &DeliveryReport| {
        Some(SentReport { report: report.clone(), trouble: trouble(report, at("12:00:00")) })
    };
    let with = |change: &dyn Fn(&mut DeliveryReport)| {
        let mut report = calm.clone();
        change(&mut report);
        report
    };
    let refused = with(&|report| report.refusal = Some(denied()));
    let more_refused = with(&|report| report.refusal = Some(UploadRefusal { files: 9, ..denied() }));
    let other = UploadRefusal { code: "NoSuchBucket".into(), ..denied() };
    let refused_otherwise = with(&|report| report.refusal = Some(other.clone()));
    let unusable = with(&|report| report.spool = Some(SpoolFault::Unusable));
    let kept = with(&|report| report.not_removed = 1);
    let more_kept = with(&|report| report.not_removed = 2);
    let idle = with(&|report| report.pending_files = 0);
    let draining = with(&|report| report.phase = UploaderPhase::Draining);
    let drained_some = with(&|report| {
        (report.phase, report.pending_files) = (UploaderPhase::Draining, 9);
    });
    let ended = with(&|report| report.phase = UploaderPhase::Ended);
    let refused_and_kept = DeliveryReport { not_removed: 1, ..refused.clone() };
    let table = [
        ("the first", None, calm, 0, true),
        ("nothing new", sent(calm), calm, 299, false),
        ("five minutes later", sent(calm), calm, 300, true),
        ("it has become late", sent(calm), &late(), 10, true),
        ("it has become late, and the broker cannot write yet", sent(calm), &late(), 9, false),
        ("it is late no more", sent(&late()), calm, 10, true),
        ("the first upload", sent(calm), &uploaded, 10, true),
        ("another upload", sent(&uploaded), &uploaded, 10, false),
        ("a refusal", sent(calm), &refused, 10, true),
        ("of more recordings", sent(&refused), &more_refused, 10, false),
        ("with another code", sent(&refused), &refused_otherwise, 10, true),
        ("and files that stay", sent(&refused), &refused_and_kept, 10, true),
        ("more files that stay", sent(&kept), &more_kept, 10, false),
        ("no refusal any more", sent(&refused), calm, 10, true),
        ("a spool that cannot be used", sent(calm), &unusable, 10, true),
        ("one that can be used", sent(&unusable), calm, 10, true),
        ("nothing is pending any more", sent(calm), &idle, 10, true),
        ("something is pending", sent(&idle), calm, 10, false),
        ("the end begins", sent(calm), &draining, 0, true),
        ("some of it is sent", sent(&draining), &drained_some, 10, true),
        ("the end", sent(&draining), &ended, 0, true),
    ];
    for (what, last, report, since, expected) in table {
        let is_due = report_is_due(last.as_ref(), Duration::from_secs(since), report, at("12:00:01"));
        assert_eq!(is_due, expected, "{what}");
    }
}
