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
    let sent = |report: &DeliveryReport| {
        Some(SentReport {
            report: report.clone(),
            trouble: trouble(report, at("12:00:00")),
            at: at("12:00:00"),
        })
    };
    let table = [
        ("the first", None, &calm, "12:00:00", true),
        ("nothing new", sent(&calm), &calm, "12:04:59", false),
        ("five minutes later", sent(&calm), &calm, "12:05:00", true),
        ("it has become late", sent(&calm), &late(), "12:00:01", true),
        ("it is late no more", sent(&late()), &calm, "12:00:01", true),
        ("the first upload", sent(&calm), &uploaded, "12:00:01", true),
        ("another upload", sent(&uploaded), &uploaded, "12:00:01", false),
    ];
    for (what, last, report, now, expected) in table {
        assert_eq!(report_is_due(last.as_ref(), report, at(now)), expected, "{what}");
    }
}
