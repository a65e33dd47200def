use super::*;
use crate::api::{PolicyType, RefusedCall};

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

fn from(pod: &str, report: DeliveryReport) -> PodReport {
    PodReport { pod: pod.into(), uid: format!("uid-{pod}"), report, at: at("12:00:00") }
}

/// A status after such reports.
fn after(reports: &[PodReport]) -> RecordingDestinationStatus {
    entered(&RecordingDestinationStatus::default(), reports)
}

fn entered(status: &RecordingDestinationStatus, reports: &[PodReport]) -> RecordingDestinationStatus {
    let mut status = status.clone();
    if let Some(entry) = apply_reports(&status, reports) {
        (status.uploaders, status.last_upload_time) = (entry.uploaders, entry.last_upload_time);
    }
    status
}

fn pods(status: &RecordingDestinationStatus) -> (i64, Vec<&str>) {
    let uploaders = status.uploaders.as_ref();
    let names = uploaders.into_iter().flat_map(|all| all.items.iter().map(|item| item.pod.as_str()));
    (uploaders.map_or(0, |all| all.count), names.collect())
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

#[test]
fn the_status_names_who_is_in_trouble_and_nobody_else() {
    let status =
        after(&[from("a", late()), from("b", report(5, "11:59:00", 0)), from("c", report(0, "", 2))]);
    assert_eq!(
        serde_json::to_string_pretty(&status.uploaders).unwrap(),
        r#"{
  "count": 2,
  "items": [
    {
      "pod": "a",
      "uid": "uid-a",
      "reason": "UploadsLate",
      "pendingFiles": 3,
      "oldestPendingTime": "2026-01-01T11:40:00Z",
      "quarantined": 0,
      "reportTime": "2026-01-01T12:00:00Z"
    },
    {
      "pod": "c",
      "uid": "uid-c",
      "reason": "RecordingsQuarantined",
      "pendingFiles": 0,
      "quarantined": 2,
      "reportTime": "2026-01-01T12:00:00Z"
    }
  ]
}"#
    );
    let better = entered(&status, &[from("a", report(0, "", 0))]);
    assert_eq!(pods(&better), (1, vec!["c"]));
    assert_eq!(entered(&better, &[from("c", report(0, "", 0))]).uploaders, None);
}

#[test]
fn a_report_of_the_first_or_last_of_times_is_entered_and_dropped_as_others_are() {
    for time in [Timestamp::MIN, Timestamp::MAX] {
        let report = DeliveryReport {
            oldest_pending_time: Some(time),
            last_upload_time: Some(time),
            ..report(1, "11:59:00", 1)
        };
        let status = after(&[from("a", report)]);
        assert_eq!(pods(&status), (1, vec!["a"]));
        let uploaders = status.uploaders.unwrap();
        assert_eq!(prune(&uploaders, at("12:15:00")), Some(None));
    }
}

#[test]
fn a_pod_that_took_a_name_over_is_another_uploader() {
    let status = after(&[from("a", late())]);
    let namesake = PodReport { uid: "another".into(), ..from("a", late()) };
    assert_eq!(pods(&entered(&status, &[namesake])), (2, vec!["a", "a"]));
}

#[test]
fn an_uploader_without_trouble_changes_nothing() {
    assert_eq!(
        apply_reports(&RecordingDestinationStatus::default(), &[from("a", report(7, "11:59:00", 0))]),
        None
    );
}

#[test]
fn of_more_than_fifty_in_trouble_the_number_is_kept() {
    let name = |number: usize| format!("pod-{number:02}");
    let all: Vec<_> = (0..60).map(|number| from(&name(number), late())).collect();
    let status = after(&all);
    assert_eq!(pods(&status).0, 60);
    assert_eq!(pods(&status).1.len(), 50);

    // They report again: nobody is counted twice.
    let again = |heard: &PodReport| {
        let report = DeliveryReport { was_in_trouble: true, ..heard.report.clone() };
        PodReport { report, ..heard.clone() }
    };
    let again: Vec<_> = all.iter().map(again).collect();
    let status = entered(&status, &again);
    assert_eq!(pods(&status).0, 60);

    // One that is not named gets well, then one that is: each is one fewer.
    let well = |number: usize| {
        let report = DeliveryReport { was_in_trouble: true, ..report(0, "", 0) };
        from(&name(number), report)
    };
    let status = entered(&status, &[well(59)]);
    assert_eq!(pods(&status).0, 59);
    let status = entered(&status, &[well(0), again[58].clone()]);
    assert_eq!((pods(&status).0, pods(&status).1.len()), (58, 50));
    assert_eq!(pods(&status).1.last(), Some(&"pod-58"), "it takes the place of the one that got well");
}

#[test]
fn the_newest_upload_is_kept_and_written_at_most_hourly() {
    let uploaded = |time: &str| {
        let report = DeliveryReport { last_upload_time: Some(at(time)), ..report(0, "", 0) };
        [from("a", report)]
    };
    let time = |status: &RecordingDestinationStatus| {
        status.last_upload_time.as_ref().map(|Time(time)| time.to_string())
    };
    let status = after(&uploaded("10:00:00.5"));
    assert_eq!(time(&status).as_deref(), Some("2026-01-01T10:00:00Z"));
    assert_eq!(apply_reports(&status, &uploaded("10:59:59")), None);
    let status = entered(&status, &uploaded("11:00:00"));
    assert_eq!(time(&status).as_deref(), Some("2026-01-01T11:00:00Z"));
    assert_eq!(apply_reports(&status, &uploaded("09:00:00")), None, "an older one");
    let ahead = entered(&status, &uploaded("23:00:00"));
    assert_eq!(time(&ahead).as_deref(), Some("2026-01-01T12:00:00Z"), "no later than when it was heard");
}

#[test]
fn who_is_not_heard_of_for_15_minutes_is_dropped() {
    let mut old = from("old", late());
    old.at = at("11:55:00");
    let uploaders = after(&[old, from("new", late())]).uploaders.unwrap();
    assert_eq!(prune_at(&uploaders), Some(at("12:10:00")));
    assert_eq!(prune(&uploaders, at("12:09:59")), None);
    let left = prune(&uploaders, at("12:10:00")).unwrap().unwrap();
    assert_eq!((left.count, left.items[0].pod.as_str()), (1, "new"));
    assert_eq!(prune(&left, at("12:15:00")), Some(None));
}

#[test]
fn news_is_a_new_kind_of_trouble_and_its_end() {
    let told = |status: &RecordingDestinationStatus, heard: &[PodReport]| -> Vec<(bool, String)> {
        let news = apply_reports(status, heard).map(|entry| entry.transitions).unwrap_or_default();
        news.into_iter().map(|news| (news.warning, news.reason)).collect()
    };
    let both = [from("a", late()), from("b", late())];
    let calm = RecordingDestinationStatus::default();
    assert_eq!(told(&calm, &both), [(true, "UploadsLate".to_owned())], "one for both");
    let status = after(&both);
    assert_eq!(told(&status, &[from("c", late())]), []);
    let full = DeliveryReport { volume_used_percent: 93, ..late() };
    assert_eq!(told(&status, &[from("c", full)]), [(true, "SpoolNearlyFull".to_owned())]);
    assert_eq!(told(&status, &[from("c", report(0, "", 1))]), [(true, "RecordingsQuarantined".to_owned())]);
    assert_eq!(told(&status, &[from("a", report(0, "", 0))]), []);
    let well = [from("a", report(0, "", 0)), from("b", report(0, "", 0))];
    assert_eq!(told(&status, &well), [(false, "Delivered".to_owned())]);
}
