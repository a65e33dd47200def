use super::super::update::apply_news;
use super::*;
use crate::api::{DeliveryReport, UploaderPhase};

fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}Z").parse().unwrap()
}

fn heard(pod: &str, time: &str, phase: UploaderPhase, pending: u64) -> PodReport {
    let report = DeliveryReport { pending_files: pending, phase, ..DeliveryReport::default() };
    let spool = "emptyDir".to_owned();
    PodReport { pod: pod.into(), uid: format!("uid-{pod}"), spool, report, at: at(time) }
}

fn running(time: &str, pending: u64) -> PodReport {
    heard("a", time, UploaderPhase::Running, pending)
}

fn note(reports: &mut LastReports, heard: &PodReport) -> Option<PodReport> {
    reports.note("tenant", "acme", heard.clone())
}

fn steps(reports: &mut LastReports, status: &RecordingDestinationStatus, time: &str) -> Steps {
    reports.steps("tenant", "acme", Some(status), at(time))
}

/// The status after news, of which the replica takes note that wrote it.
fn written(
    reports: &mut LastReports,
    status: &RecordingDestinationStatus,
    news: &[News],
) -> RecordingDestinationStatus {
    let (mut after, update) = (status.clone(), apply_news(status, news));
    if let Some(update) = update.clone() {
        (after.uploaders, after.last_losses) = (update.uploaders, update.last_losses);
    }
    reports.entered("tenant", "acme", news, update.as_ref());
    after
}

#[test]
fn a_pod_with_recordings_is_asked_about_after_15_minutes_and_a_minute() {
    let (mut reports, status) = (LastReports::default(), RecordingDestinationStatus::default());
    let last = running("12:00:00", 3);
    note(&mut reports, &last);
    assert_eq!(steps(&mut reports, &status, "12:14:59"), Steps::default());
    let Steps { news, ask } = steps(&mut reports, &status, "12:15:00");
    assert_eq!((&news[..], ask), (&[News::Silent(last)][..], vec![]));
    let status = written(&mut reports, &status, &news);
    assert_eq!(status.uploaders.as_ref().unwrap().items[0].reason, "Progressing");
    assert_eq!(steps(&mut reports, &status, "12:15:10"), Steps::default());
    assert_eq!(
        steps(&mut reports, &status, "12:16:09"),
        Steps::default(),
        "for a minute anyone may correct it"
    );
    let silent = SilentPod { pod: "a".into(), uid: "uid-a".into(), reported: at("12:00:00") };
    assert_eq!(steps(&mut reports, &status, "12:16:10"), Steps { news: vec![], ask: vec![silent.clone()] });
    assert_eq!(steps(&mut reports, &status, "12:16:20"), Steps::default());
    assert_eq!(steps(&mut reports, &status, "12:17:10").ask, [silent], "again, while it is silent");
    let corrected = RecordingDestinationStatus::default();
    assert_eq!(steps(&mut reports, &corrected, "12:40:00"), Steps::default(), "it is for others to say");
}

#[test]
fn nothing_is_asked_about_a_pod_that_had_nothing_to_deliver() {
    let (mut reports, status) = (LastReports::default(), RecordingDestinationStatus::default());
    note(&mut reports, &running("12:00:00", 0));
    note(&mut reports, &heard("b", "12:00:00", UploaderPhase::Ended, 0));
    assert_eq!(steps(&mut reports, &status, "12:19:59"), Steps::default());
    assert_eq!(reports.names().len(), 1, "what they said last is known for 20 minutes");
    assert_eq!(steps(&mut reports, &status, "12:20:00"), Steps::default());
    assert_eq!(reports.names(), []);
}

#[test]
fn a_replica_corrects_what_is_older_than_what_it_has_heard() {
    let silent = {
        let mut other = LastReports::default();
        written(&mut other, &RecordingDestinationStatus::default(), &[News::Silent(running("12:00:05", 3))])
    };
    let ended = |time| heard("a", time, UploaderPhase::Ended, 0);
    for (what, last, is_corrected) in [
        ("it had delivered everything since", running("12:05:00", 0), true),
        ("it had recordings since", running("12:05:00", 2), true),
        ("it had ended", ended("12:05:00"), true),
        ("it had ended, by a clock that is a second behind", ended("12:00:04"), true),
        ("it had ended, and was started again", ended("12:00:00"), false),
        ("an older report", running("12:00:00", 0), false),
        ("the same report", running("12:00:05", 3), false),
    ] {
        let mut reports = LastReports::default();
        note(&mut reports, &last);
        let Steps { news, ask } = steps(&mut reports, &silent, "12:16:00");
        assert_eq!(ask, [], "{what}");
        assert_eq!(news.len(), usize::from(is_corrected), "{what}");
        let after = written(&mut reports, &silent, &news);
        assert_eq!(after.uploaders.is_none(), is_corrected, "{what}");
    }
}

#[test]
fn the_last_words_of_a_pod_are_said_again_until_they_are_written() {
    let (mut reports, status) = (LastReports::default(), RecordingDestinationStatus::default());
    let last = heard("a", "12:00:00", UploaderPhase::Ended, 3);
    note(&mut reports, &last);
    for time in ["12:01:00", "12:50:00"] {
        assert_eq!(steps(&mut reports, &status, time).news, [News::Report(last.clone())]);
    }
    let news = [News::Report(last)];
    let lost = written(&mut reports, &status, &news);
    assert_eq!(lost.last_losses.len(), 1);
    assert_eq!(
        steps(&mut reports, &status, "12:51:00"),
        Steps::default(),
        "though it was dropped from the status since"
    );
    assert_eq!(reports.names(), []);
}

#[test]
fn of_too_many_pods_those_that_owe_nothing_are_forgotten_first() {
    let mut reports = LastReports::with_room_for(3, 100);
    let of = |pod: &str, time, pending| heard(pod, time, UploaderPhase::Running, pending);
    for last in [of("a", "12:00:00", 1), of("b", "12:00:01", 0), of("c", "12:00:02", 1)] {
        assert_eq!(note(&mut reports, &last), None);
    }
    assert_eq!(note(&mut reports, &of("c", "12:00:03", 1)), None, "it is known");
    assert_eq!(note(&mut reports, &of("d", "12:00:04", 1)), None, "instead of b");
    assert_eq!(note(&mut reports, &of("e", "12:00:05", 1)), Some(of("a", "12:00:00", 1)));

    let mut reports = LastReports::with_room_for(100, 4);
    for number in 0..4 {
        reports.note("many", &format!("d-{number}"), of(&format!("p-{number}"), "12:00:00", 1));
    }
    let forgotten = reports.note("one", "acme", of("a", "12:00:00", 1));
    assert!(forgotten.is_some_and(|of_many| of_many.pod.starts_with("p-")), "whoever has most makes room");
    assert_eq!(reports.names().len(), 4);
}

#[test]
fn nothing_is_remembered_of_a_destination_that_is_gone() {
    let mut reports = LastReports::default();
    note(&mut reports, &running("12:00:00", 3));
    assert_eq!(reports.steps("tenant", "acme", None, at("12:15:00")), Steps::default());
    assert_eq!(reports.names(), []);
}

#[test]
fn without_a_broker_a_silent_uploader_is_called_silent_and_never_dropped() {
    let mut reports = LastReports::default();
    let news = [News::Report(heard("a", "12:00:00", UploaderPhase::Draining, 3))];
    let uploaders = written(&mut reports, &RecordingDestinationStatus::default(), &news).uploaders.unwrap();
    assert_eq!(call_silent_at(&uploaders), Some(at("12:20:00")));
    assert_eq!(call_silent(&uploaders, at("12:19:59")), None);
    let silent = call_silent(&uploaders, at("12:20:00")).unwrap();
    assert_eq!((silent.count, silent.items[0].reason.as_str()), (1, "UploaderSilent"));
    assert_eq!((call_silent(&silent, at("13:00:00")), call_silent_at(&silent)), (None, None));
}
