//! What uploaders report of themselves: when they do, and what of it the destination's status keeps.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::STATE_DIRECTORY;
use crate::api::{DeliveryReport, Reason, RecordingDestinationStatus, Transition, Uploader, Uploaders};

/// How long a recording may wait before its uploader is late.
const LATE: SignedDuration = SignedDuration::from_mins(15);
/// From where on a volume is nearly full, in percent.
pub const NEARLY_FULL: u8 = 90;
/// Between two reports in which nothing changed.
const REPORT_INTERVAL: SignedDuration = SignedDuration::from_mins(5);
/// How long a report stands when no other follows: three were missed.
const UNHEARD: SignedDuration = SignedDuration::from_mins(15);
/// How much newer an upload must be than the one that the status has.
const UPLOAD_STEP: SignedDuration = SignedDuration::from_hours(1);
/// Uploaders that a status names.
const NAMED: usize = 50;

/// What is the matter with the uploader that reports this, if anything.
pub fn trouble(report: &DeliveryReport, now: Timestamp) -> Option<Reason> {
    // The time is the pod's to choose: nothing may be added to it.
    let is_late = |oldest| now.duration_since(oldest) >= LATE;
    if report.volume_used_percent >= NEARLY_FULL {
        Some(Reason::SpoolNearlyFull)
    } else if report.pending_files > 0 && report.oldest_pending_time.is_some_and(is_late) {
        Some(Reason::UploadsLate)
    } else if report.quarantined > 0 {
        Some(Reason::RecordingsQuarantined)
    } else {
        None
    }
}

/// A report that the broker took, and when.
#[derive(Clone, Debug)]
pub struct SentReport {
    /// The report.
    pub report: DeliveryReport,
    /// What was the matter then.
    pub trouble: Option<Reason>,
    /// When.
    pub at: Timestamp,
}

/// Whether an uploader should report now: on a transition, and every five minutes.
pub fn report_is_due(last: Option<&SentReport>, report: &DeliveryReport, now: Timestamp) -> bool {
    let Some(last) = last else { return true };
    last.trouble != trouble(report, now)
        || last.report.last_upload_time.is_none() && report.last_upload_time.is_some()
        || last.at + REPORT_INTERVAL <= now
}

/// A report, and the pod that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    pub report: DeliveryReport,
    /// When.
    pub at: Timestamp,
}

/// What reports come to: the broker's part of a status, and what to announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Uploaders in trouble.
    pub uploaders: Option<Uploaders>,
    /// The newest upload.
    pub last_upload_time: Option<Time>,
    /// What changed about the destination as a whole.
    pub transitions: Vec<Transition>,
}

/// Enters reports into a status. `None`: they change nothing that it keeps.
///
/// Beyond 50 uploaders in trouble only their number is kept, by each one's word on whether it is counted already; it
/// is exact again as soon as all can be named.
pub fn enter(status: &RecordingDestinationStatus, reports: &[Heard]) -> Option<Entry> {
    let before = status.uploaders.clone().unwrap_or_default();
    let was_named = |uid: &str| before.items.iter().any(|item| item.uid == uid);
    let mut items: Vec<_> = before
        .items
        .iter()
        .filter(|item| !reports.iter().any(|heard| heard.uid == item.uid))
        .cloned()
        .collect();
    let mut count = before.count;
    for heard in reports {
        let counted = was_named(&heard.uid) || heard.report.was_in_trouble && before.items.len() == NAMED;
        let reason = trouble(&heard.report, heard.at);
        count += i64::from(reason.is_some()) - i64::from(counted);
        if let Some(reason) = reason
            && items.len() < NAMED
        {
            items.push(uploader(heard, reason));
        }
    }
    // Those that have been in trouble for long keep their place.
    items.sort_by(|a, b| a.pod.cmp(&b.pod).then_with(|| a.uid.cmp(&b.uid)));
    let after = uploaders(items, count);

    let newest = reports.iter().filter_map(|heard| Some(heard.report.last_upload_time?.min(heard.at))).max();
    let known = status.last_upload_time.as_ref().map(|Time(at)| *at);
    let is_step = |newest: &Timestamp| known.is_none_or(|known| known + UPLOAD_STEP <= *newest);
    let last_upload_time = newest.filter(is_step).map(whole_seconds).or(status.last_upload_time.clone());

    if after == status.uploaders && last_upload_time == status.last_upload_time {
        return None;
    }
    let transitions = transitions(&before.items, after.as_ref().map_or(&[], |after| &after.items));
    Some(Entry { uploaders: after, last_upload_time, transitions })
}

/// Drops uploaders that no longer report: their pods are gone, or cannot reach the broker. `None`: there are none.
pub fn prune(uploaders: &Uploaders, now: Timestamp) -> Option<Option<Uploaders>> {
    let heard = |item: &&Uploader| now < item.report_time.0 + UNHEARD;
    let items: Vec<_> = uploaders.items.iter().filter(heard).cloned().collect();
    let dropped = uploaders.items.len() - items.len();
    let count = uploaders.count.saturating_sub_unsigned(dropped as u64);
    (dropped > 0).then(|| self::uploaders(items, count))
}

/// When the next of them is dropped unless it reports.
pub fn prune_at(uploaders: &Uploaders) -> Option<Timestamp> {
    uploaders.items.iter().map(|item| item.report_time.0 + UNHEARD).min()
}

fn uploaders(items: Vec<Uploader>, count: i64) -> Option<Uploaders> {
    let named = items.len() as i64;
    let count = if items.len() < NAMED { named } else { count.max(named) };
    (count > 0).then_some(Uploaders { count, items })
}

fn uploader(heard: &Heard, reason: Reason) -> Uploader {
    let number = |count: u64| count.try_into().unwrap_or(i64::MAX);
    Uploader {
        pod: heard.pod.clone(),
        uid: heard.uid.clone(),
        reason: reason.to_string(),
        pending_files: number(heard.report.pending_files),
        oldest_pending_time: heard.report.oldest_pending_time.map(whole_seconds),
        quarantined: number(heard.report.quarantined),
        report_time: whole_seconds(heard.at),
    }
}

/// A status keeps whole seconds.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).expect("within the range that it came from"))
}

/// One for each kind of trouble that is new, naming a pod; and one when the last has ended. A hundred pods that are
/// late for one cause are one piece of news.
fn transitions(before: &[Uploader], after: &[Uploader]) -> Vec<Transition> {
    let mut news: Vec<Transition> = Vec::new();
    let known = |news: &[Transition], reason: &str| {
        before.iter().any(|item| item.reason == reason) || news.iter().any(|told| told.reason == reason)
    };
    for item in after {
        if !known(&news, &item.reason) {
            news.push(Transition { warning: true, reason: item.reason.clone(), note: note(item) });
        }
    }
    if after.is_empty() && !before.is_empty() {
        let note = "No uploader is late or has files in quarantine any more".to_owned();
        news.push(Transition { warning: false, reason: Reason::Delivered.to_string(), note });
    }
    news
}

fn note(item: &Uploader) -> String {
    let Uploader { pod, pending_files, quarantined, .. } = item;
    match &item.oldest_pending_time {
        Some(Time(oldest)) if item.reason == Reason::UploadsLate.to_string() => format!(
            "Pod {pod}: {pending_files} recordings wait in its spool, the oldest since {oldest}. They are kept and \
             tried again; the condition Ready, or else the log of its container recording-uploader, says what is in \
             the way. status.uploaders names the other pods, if any"
        ),
        _ if item.reason == Reason::SpoolNearlyFull.to_string() => format!(
            "Pod {pod}: the volume of its spool is {NEARLY_FULL} % full or more; {pending_files} recordings wait in it, \
             and {quarantined} files are in its quarantine. Nothing is dropped: a full volume keeps the recorder from \
             writing. Make it larger, empty {STATE_DIRECTORY}/quarantine, or see to what keeps recordings from \
             leaving: the condition Ready, or else the log of its container recording-uploader, says that"
        ),
        _ => format!(
            "Pod {pod}: {quarantined} files that could not be sent as they are were moved to \
             {STATE_DIRECTORY}/quarantine in its spool; the log of its container recording-uploader says why. Move \
             what is worth it back, and remove the rest"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-01-01T{time}Z").parse().unwrap()
    }

    /// A report at noon: so many recordings, the oldest since then; so many files in quarantine.
    fn report(pending: u64, oldest: &str, quarantined: u64) -> DeliveryReport {
        let oldest_pending_time = (pending > 0).then(|| at(oldest));
        DeliveryReport {
            pending_files: pending,
            oldest_pending_time,
            quarantined,
            ..DeliveryReport::default()
        }
    }

    fn late() -> DeliveryReport {
        report(3, "11:40:00", 0)
    }

    fn from(pod: &str, report: DeliveryReport) -> Heard {
        Heard { pod: pod.into(), uid: format!("uid-{pod}"), report, at: at("12:00:00") }
    }

    /// A status after such reports.
    fn after(reports: &[Heard]) -> RecordingDestinationStatus {
        entered(&RecordingDestinationStatus::default(), reports)
    }

    fn entered(status: &RecordingDestinationStatus, reports: &[Heard]) -> RecordingDestinationStatus {
        let mut status = status.clone();
        if let Some(entry) = enter(&status, reports) {
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
    fn an_uploader_is_in_trouble_when_a_recording_waits_for_15_minutes_or_is_in_quarantine_or_the_volume_is_nearly_full()
     {
        let filled = |volume_used_percent| DeliveryReport { volume_used_percent, ..report(0, "", 0) };
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
        let namesake = Heard { uid: "another".into(), ..from("a", late()) };
        assert_eq!(pods(&entered(&status, &[namesake])), (2, vec!["a", "a"]));
    }

    #[test]
    fn an_uploader_without_trouble_changes_nothing() {
        assert_eq!(
            enter(&RecordingDestinationStatus::default(), &[from("a", report(7, "11:59:00", 0))]),
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
        let again = |heard: &Heard| {
            let report = DeliveryReport { was_in_trouble: true, ..heard.report.clone() };
            Heard { report, ..heard.clone() }
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
        assert_eq!(enter(&status, &uploaded("10:59:59")), None);
        let status = entered(&status, &uploaded("11:00:00"));
        assert_eq!(time(&status).as_deref(), Some("2026-01-01T11:00:00Z"));
        assert_eq!(enter(&status, &uploaded("09:00:00")), None, "an older one");
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
        let told = |status: &RecordingDestinationStatus, heard: &[Heard]| -> Vec<(bool, String)> {
            let news = enter(status, heard).map(|entry| entry.transitions).unwrap_or_default();
            news.into_iter().map(|news| (news.warning, news.reason)).collect()
        };
        let both = [from("a", late()), from("b", late())];
        let calm = RecordingDestinationStatus::default();
        assert_eq!(told(&calm, &both), [(true, "UploadsLate".to_owned())], "one for both");
        let status = after(&both);
        assert_eq!(told(&status, &[from("c", late())]), []);
        let full = DeliveryReport { volume_used_percent: 93, ..late() };
        assert_eq!(told(&status, &[from("c", full)]), [(true, "SpoolNearlyFull".to_owned())]);
        assert_eq!(
            told(&status, &[from("c", report(0, "", 1))]),
            [(true, "RecordingsQuarantined".to_owned())]
        );
        assert_eq!(told(&status, &[from("a", report(0, "", 0))]), []);
        let well = [from("a", report(0, "", 0)), from("b", report(0, "", 0))];
        assert_eq!(told(&status, &well), [(false, "Delivered".to_owned())]);
    }
}
