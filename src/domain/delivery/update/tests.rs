use super::*;
use crate::api::DeliveryReport;

fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}Z").parse().unwrap()
}

/// A report at noon: so many recordings, the oldest since then; so many files in quarantine.
fn report(pending: u64, oldest: &str, quarantined: u64) -> DeliveryReport {
    let oldest_pending_time = (pending > 0).then(|| at(oldest));
    DeliveryReport { pending_files: pending, oldest_pending_time, quarantined, ..DeliveryReport::default() }
}

fn late() -> DeliveryReport {
    report(3, "11:40:00", 0)
}

fn from(pod: &str, report: DeliveryReport) -> PodReport {
    PodReport {
        pod: pod.into(),
        uid: format!("uid-{pod}"),
        spool: "emptyDir".into(),
        report,
        at: at("12:00:00"),
    }
}

fn apply_reports(status: &RecordingDestinationStatus, reports: &[PodReport]) -> Option<StatusUpdate> {
    let news: Vec<_> = reports.iter().cloned().map(News::Report).collect();
    apply_news(status, &news)
}

/// A status after such reports.
fn after(reports: &[PodReport]) -> RecordingDestinationStatus {
    entered(&RecordingDestinationStatus::default(), reports)
}

fn entered(status: &RecordingDestinationStatus, reports: &[PodReport]) -> RecordingDestinationStatus {
    let mut status = status.clone();
    if let Some(entry) = apply_reports(&status, reports) {
        (status.uploaders, status.last_upload_time) = (entry.uploaders, entry.last_upload_time);
        status.last_losses = entry.last_losses;
    }
    status
}

fn pods(status: &RecordingDestinationStatus) -> (i64, Vec<&str>) {
    let uploaders = status.uploaders.as_ref();
    let names = uploaders.into_iter().flat_map(|all| all.items.iter().map(|item| item.pod.as_str()));
    (uploaders.map_or(0, |all| all.count), names.collect())
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
      "spool": "emptyDir",
      "oldestPendingTime": "2026-01-01T11:40:00Z",
      "quarantined": 0,
      "reportTime": "2026-01-01T12:00:00Z"
    },
    {
      "pod": "c",
      "uid": "uid-c",
      "reason": "RecordingsQuarantined",
      "pendingFiles": 0,
      "spool": "emptyDir",
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
fn a_report_of_the_first_or_last_of_times_is_entered_as_others_are() {
    for time in [Timestamp::MIN, Timestamp::MAX] {
        let report = DeliveryReport {
            oldest_pending_time: Some(time),
            last_upload_time: Some(time),
            ..report(1, "11:59:00", 1)
        };
        let status = after(&[from("a", report)]);
        assert_eq!(pods(&status), (1, vec!["a"]));
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
