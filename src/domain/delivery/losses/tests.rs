use super::super::update::{News, StatusUpdate, apply_news};
use super::*;
use crate::api::{DeliveryReport, RecordingDestinationStatus, SpoolFault, UploaderPhase};

fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}Z").parse().unwrap()
}

/// What a pod with that spool reports at that time: its phase, and so many recordings of 1 MB that wait.
fn heard(pod: &str, spool: &str, time: &str, phase: UploaderPhase, pending: u64) -> PodReport {
    let report = DeliveryReport {
        pending_files: pending,
        pending_bytes: pending * 1_000_000,
        phase,
        ..DeliveryReport::default()
    };
    PodReport { pod: pod.into(), uid: format!("uid-{pod}"), spool: spool.into(), report, at: at(time) }
}

fn update(status: &RecordingDestinationStatus, heard: &PodReport) -> Option<StatusUpdate> {
    apply_news(status, &[News::Report(heard.clone())])
}

/// The status after a report.
fn entered(status: &RecordingDestinationStatus, heard: &PodReport) -> RecordingDestinationStatus {
    let mut status = status.clone();
    if let Some(update) = update(&status, heard) {
        (status.uploaders, status.last_losses) = (update.uploaders, update.last_losses);
    }
    status
}

fn after(reports: &[PodReport]) -> RecordingDestinationStatus {
    reports.iter().fold(RecordingDestinationStatus::default(), |status, heard| entered(&status, heard))
}

/// Reasons of the uploaders that a status names, and the kinds and files of what pods left behind.
fn shown(status: &RecordingDestinationStatus) -> (Vec<String>, Vec<(LossKind, i64)>) {
    let items = status.uploaders.iter().flat_map(|all| &all.items).map(|item| item.reason.clone());
    (items.collect(), status.last_losses.iter().map(|loss| (loss.kind, loss.files)).collect())
}

const CLAIM: &str = "persistentVolumeClaim/recordings-recorder-0";

#[test]
fn what_a_pod_leaves_behind_is_lost_or_left_by_its_kind_of_volume() {
    use LossKind::{Left, Lost, Unaccounted};
    for (spool, kind) in [
        ("emptyDir", Lost),
        ("ephemeral", Lost),
        ("container", Lost),
        (CLAIM, Left),
        ("hostPath", Left),
        ("nfs", Left),
        // One that a pod describes itself; a claim names its own.
        ("csi", Lost),
        ("", Unaccounted),
    ] {
        let of = |change: fn(&mut DeliveryReport)| {
            let mut ended = heard("a", spool, "12:00:00", UploaderPhase::Ended, 0);
            change(&mut ended.report);
            shown(&after(&[heard("a", spool, "11:59:00", UploaderPhase::Draining, 3), ended])).1
        };
        assert_eq!(of(|_| {}), [], "{spool}: everything is delivered");
        assert_eq!(of(|report| report.pending_files = 3), [(kind, 3)], "{spool}: three wait");
        assert_eq!(of(|report| report.quarantined = 2), [(kind, 2)], "{spool}: two in quarantine");
        assert_eq!(of(|report| report.spool = Some(SpoolFault::Unusable)), [(kind, 0)], "{spool}: unusable");
        assert_eq!(
            of(|report| report.spool = Some(SpoolFault::InUse)),
            [],
            "{spool}: another uploader has it"
        );
        // What is delivered and stays on a volume is sent again, or sought there; with its volume nothing is lost.
        let kept = if kind == Lost { vec![] } else { vec![(kind, 4)] };
        assert_eq!(of(|report| report.not_removed = 4), kept, "{spool}: four could not be removed");
    }
}

#[test]
fn an_uploader_that_drains_is_named_until_it_ends() {
    use UploaderPhase::{Draining, Ended, Running};
    let running = heard("a", "emptyDir", "12:00:00", Running, 3);
    assert_eq!(update(&RecordingDestinationStatus::default(), &running), None, "nothing keeps them waiting");
    let draining = heard("a", "emptyDir", "12:00:10", Draining, 3);
    let update = update(&RecordingDestinationStatus::default(), &draining).unwrap();
    assert_eq!(update.transitions, [], "a pod that ends is no news");
    let status = after(&[running, draining]);
    assert_eq!(shown(&status), (vec!["PodEnding".to_owned()], vec![]));
    let drained = entered(&status, &heard("a", "emptyDir", "12:00:20", Draining, 0));
    assert_eq!(shown(&drained), (vec![], vec![]));
    let ended = entered(&status, &heard("a", "emptyDir", "12:00:20", Ended, 0));
    assert_eq!(shown(&ended), (vec![], vec![]));
    let left = entered(&status, &heard("a", "emptyDir", "12:00:20", Ended, 2));
    assert_eq!(shown(&left), (vec![], vec![(LossKind::Lost, 2)]));
}

#[test]
fn a_container_that_is_started_again_has_lost_nothing() {
    use UploaderPhase::{Ended, Running};
    let status = after(&[heard("a", "emptyDir", "12:00:00", Ended, 2)]);
    assert_eq!(shown(&status).1, [(LossKind::Lost, 2)]);
    let earlier = entered(&status, &heard("a", "emptyDir", "11:59:59", Running, 2));
    assert_eq!(shown(&earlier).1, [(LossKind::Lost, 2)], "a report that was overtaken");
    let again = entered(&status, &heard("a", "emptyDir", "12:00:05", Running, 2));
    assert_eq!(shown(&again).1, []);
}

#[test]
fn what_was_left_in_a_claim_is_forgotten_once_a_later_pod_has_sent_it() {
    use UploaderPhase::{Ended, Running};
    let status = after(&[heard("a", CLAIM, "12:00:00", Ended, 2)]);
    let other = "persistentVolumeClaim/another";
    for (what, heard, is_sent) in [
        ("it still sends", heard("b", CLAIM, "12:01:00", Running, 1), false),
        ("another claim", heard("b", other, "12:01:00", Running, 0), false),
        ("a report of before", heard("b", CLAIM, "11:59:00", Running, 0), false),
        ("nothing waits any more", heard("b", CLAIM, "12:01:00", Running, 0), true),
        ("it has ended since", heard("b", CLAIM, "12:01:00", Ended, 0), true),
    ] {
        assert_eq!(shown(&entered(&status, &heard)).1.is_empty(), is_sent, "{what}");
    }
    let mut unusable = heard("b", CLAIM, "12:01:00", Running, 0);
    unusable.report.spool = Some(SpoolFault::Unusable);
    assert_eq!(shown(&entered(&status, &unusable)).1.len(), 1, "it cannot see what is there");
    let host = after(&[heard("a", "hostPath", "12:00:00", Ended, 2)]);
    let next = entered(&host, &heard("b", "hostPath", "12:01:00", Running, 0));
    assert_eq!(shown(&next).1.len(), 1, "it may be on another node");
}

#[test]
fn the_ten_newest_losses_are_kept_one_of_each_pod() {
    let ended = |number: usize| {
        heard(&format!("pod-{number:02}"), "emptyDir", &format!("12:00:{number:02}"), UploaderPhase::Ended, 1)
    };
    let status = after(&(0..12).rev().map(ended).collect::<Vec<_>>());
    let pods: Vec<_> = status.last_losses.iter().map(|loss| loss.pod.as_str()).collect();
    assert_eq!(pods, (2..12).rev().map(|number| format!("pod-{number:02}")).collect::<Vec<_>>());
    let again = entered(&status, &heard("pod-05", "emptyDir", "12:01:00", UploaderPhase::Ended, 7));
    assert_eq!((again.last_losses.len(), again.last_losses[0].files), (10, 7));
}

#[test]
fn a_loss_is_an_event_with_the_pod_the_volume_and_what_to_do() {
    let notes = |reports: &[PodReport]| {
        let news: Vec<_> = reports.iter().cloned().map(News::Report).collect();
        let update = apply_news(&RecordingDestinationStatus::default(), &news).unwrap();
        update.transitions.into_iter().map(|told| (told.warning, told.reason, told.note)).collect::<Vec<_>>()
    };
    let ended =
        |pod: &str, spool: &str, pending| heard(pod, spool, "12:00:00", UploaderPhase::Ended, pending);
    assert_eq!(
        notes(&[ended("a", "emptyDir", 3), ended("b", "emptyDir", 1), ended("c", CLAIM, 1)]),
        [
            (
                true,
                "RecordingsLost".to_owned(),
                "Pod a ended with 3 recordings (3.0 MB) not delivered, and they are lost: its spool (emptyDir) was deleted \
                 with it. For the next: keep the spool on a volume that outlives the pod, such as a claim, and see that \
                 terminationGracePeriodSeconds is long enough to deliver what waits. Another pod did likewise. \
                 status.lastLosses has the last ten"
                    .to_owned()
            ),
            (
                true,
                "RecordingsLeft".to_owned(),
                "Pod c ended and left 1 recording (1.0 MB) in its spool (persistentVolumeClaim/recordings-recorder-0). They \
                 are kept there: start a pod with the same volume and the same destination, and its sidecar sends them. \
                 status.lastLosses has the last ten"
                    .to_owned()
            ),
        ]
    );
}

#[test]
fn a_pod_that_is_gone_is_unaccounted_if_it_had_anything_to_deliver() {
    let mut late = heard("a", CLAIM, "12:00:00", UploaderPhase::Running, 3);
    late.report.oldest_pending_time = Some(at("11:00:00"));
    let mut full = heard("b", "emptyDir", "12:00:00", UploaderPhase::Running, 0);
    full.report.volume_used_percent = 95;
    let status = after(&[late, full]);
    assert_eq!(shown(&status).0, ["UploadsLate", "SpoolNearlyFull"]);
    let found = |uid: &str, reported, is_gone| {
        let news = News::Found { uid: uid.into(), reported, is_gone, at: at("12:20:00") };
        apply_news(&status, &[news])
    };
    assert_eq!(found("uid-a", at("11:55:00"), true), None, "it has reported since");
    let silent = found("uid-a", at("12:00:00"), false).unwrap();
    assert_eq!(silent.uploaders.unwrap().items[0].reason, "UploaderSilent");
    assert_eq!(silent.last_losses, []);
    assert_eq!(silent.transitions[0].reason, "UploaderSilent");
    let gone = found("uid-a", at("12:00:00"), true).unwrap();
    assert_eq!(gone.uploaders.unwrap().count, 1);
    let Loss { files, bytes, spool, kind, time, .. } = &gone.last_losses[0];
    assert_eq!((*files, *bytes, spool.as_str(), *kind), (3, 3_000_000, CLAIM, LossKind::Unaccounted));
    assert_eq!(time.0, at("12:20:00"));
    assert_eq!(gone.transitions.len(), 1, "and nothing says that all is well");
    assert_eq!(gone.transitions[0].reason, "RecordingsUnaccounted");
    assert_eq!(found("uid-b", at("12:00:00"), true).unwrap().last_losses, [], "it had nothing to deliver");
}
