//! Pods that end, and pods that are not heard of any more: two replicas of the broker and one status.

use std::collections::HashMap;
use std::sync::Mutex;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::ports::Cluster;
use super::super::reports::Reports;
use super::bench::{acme, now};
use super::*;
use crate::api::{DeliveryReport, Loss, LossKind, RecordingDestination, Transition, UploaderPhase};
use crate::cluster::{self, CopyAge, KeyedChanges, Subscription};
use crate::domain::delivery::{PodReport, StatusUpdate};
use crate::domain::grant::BoundPod;

/// An API server with one destination and some pods.
#[derive(Clone)]
struct Server(Arc<Objects>);

struct Objects {
    destination: Mutex<Arc<RecordingDestination>>,
    /// Phases of the pods that there are, by name. The UID is the name.
    pods: Mutex<HashMap<String, &'static str>>,
    changed: KeyedChanges,
    announced: Mutex<Vec<String>>,
}

impl Server {
    fn new() -> Self {
        let destination = json!({
            "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
            "metadata": {"namespace": "tenant-acme", "name": "acme", "resourceVersion": "0"},
            "spec": {
                "bucket": "acme-recordings", "region": "us-east-1",
                "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "a"},
            },
            "status": {"observedGeneration": 1, "conditions": []},
        });
        Server(Arc::new(Objects {
            destination: Mutex::new(Arc::new(serde_json::from_value(destination).unwrap())),
            pods: Mutex::default(),
            changed: KeyedChanges::default(),
            announced: Mutex::default(),
        }))
    }

    /// Reasons of the uploaders that the status names, by pod.
    fn uploaders(&self) -> Vec<(String, String)> {
        let destination = self.0.destination.lock().unwrap().clone();
        let uploaders = destination.status.as_ref().unwrap().uploaders.clone().unwrap_or_default();
        uploaders.items.into_iter().map(|item| (item.pod, item.reason)).collect()
    }

    fn losses(&self) -> Vec<Loss> {
        self.0.destination.lock().unwrap().status.as_ref().unwrap().last_losses.clone()
    }

    fn announced(&self) -> Vec<String> {
        self.0.announced.lock().unwrap().clone()
    }
}

impl Cluster for Server {
    async fn review(&self, _: &SecretString) -> cluster::Result<TokenReviewStatus> {
        unreachable!("reports come from known pods")
    }

    async fn pod(&self, _: &str, name: &str) -> cluster::Result<Option<BoundPod>> {
        sleep(Duration::from_millis(20)).await;
        let phase = self.0.pods.lock().unwrap().get(name).copied();
        let pod = |phase| json!({"metadata": {"uid": name}, "status": {"phase": phase}}).to_string();
        Ok(phase.map(|phase| BoundPod::from_json(pod(phase).as_bytes()).unwrap()))
    }

    fn destination(&self, _: &str, name: &str) -> Option<Arc<RecordingDestination>> {
        (name == "acme").then(|| self.0.destination.lock().unwrap().clone())
    }

    fn with_uploaders(&self) -> Vec<(String, String)> {
        if self.uploaders().is_empty() { Vec::new() } else { vec![acme()] }
    }

    fn changes(&self, namespace: &str, name: &str) -> Subscription {
        self.0.changed.subscribe(namespace, name)
    }

    fn age(&self) -> CopyAge {
        CopyAge::default()
    }

    async fn write_delivery(
        &self,
        seen: &RecordingDestination,
        update: &StatusUpdate,
    ) -> cluster::Result<bool> {
        sleep(Duration::from_millis(30)).await;
        let mut destination = self.0.destination.lock().unwrap();
        if destination.metadata.resource_version != seen.metadata.resource_version {
            return Ok(false);
        }
        let mut written = seen.clone();
        let version: u64 = seen.metadata.resource_version.as_ref().unwrap().parse().unwrap();
        written.metadata.resource_version = Some((version + 1).to_string());
        let status = written.status.as_mut().unwrap();
        status.uploaders.clone_from(&update.uploaders);
        status.last_losses.clone_from(&update.last_losses);
        *destination = Arc::new(written);
        drop(destination);
        self.0.changed.notify(&acme());
        Ok(true)
    }

    async fn announce(&self, _: &RecordingDestination, transition: &Transition) -> cluster::Result<()> {
        self.0.announced.lock().unwrap().push(transition.reason.clone());
        Ok(())
    }
}

/// One replica of the broker, until it is stopped.
struct Replica {
    reports: Arc<Reports>,
    work: JoinHandle<()>,
}

impl Replica {
    fn start(api: &Server) -> Self {
        let reports = Arc::new(Reports::default());
        let (writing, api) = (reports.clone(), api.clone());
        let work = tokio::spawn(async move { match writing.write(&api, now).await {} });
        Replica { reports, work }
    }

    fn hear(&self, pod: &str, phase: UploaderPhase, pending: u64) {
        let report = DeliveryReport { pending_files: pending, phase, ..DeliveryReport::default() };
        let (pod, spool) = (pod.to_owned(), "emptyDir".to_owned());
        self.reports.add(
            "tenant-acme",
            "acme",
            PodReport { uid: pod.clone(), pod, spool, report, at: now() },
        );
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn minutes(count: u64) {
    sleep(Duration::from_secs(60 * count)).await;
}

use UploaderPhase::{Draining, Ended, Running};

#[tokio::test(start_paused = true)]
async fn what_a_pod_says_at_its_end_is_in_the_status_within_ten_seconds() {
    let api = Server::new();
    let broker = Replica::start(&api);
    broker.hear("a", Draining, 3);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(api.uploaders(), [("a".to_owned(), "PodEnding".to_owned())]);
    assert_eq!(api.announced(), [""; 0]);
    broker.hear("a", Ended, 2);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(api.uploaders(), []);
    let Loss { pod, uid, files, kind, spool, .. } = &api.losses()[0];
    assert_eq!((pod.as_str(), uid.as_str(), *files, *kind), ("a", "a", 2, LossKind::Lost));
    assert_eq!(spool, "emptyDir");
    assert_eq!(api.announced(), ["RecordingsLost"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_pod_is_unaccounted_once_it_is_gone_and_silent_while_it_is_there() {
    for (phase, reasons, losses) in [
        (None, &["RecordingsUnaccounted"][..], 1),
        (Some("Succeeded"), &["RecordingsUnaccounted"][..], 1),
        (Some("Failed"), &["RecordingsUnaccounted"][..], 1),
        (Some("Running"), &["UploaderSilent"][..], 0),
    ] {
        let api = Server::new();
        let brokers = [Replica::start(&api), Replica::start(&api)];
        brokers[0].hear("a", Running, 3);
        phase.into_iter().for_each(|phase| _ = api.0.pods.lock().unwrap().insert("a".to_owned(), phase));
        minutes(14).await;
        assert_eq!((api.uploaders(), api.losses()), (vec![], vec![]), "{phase:?}");
        minutes(4).await;
        assert_eq!(
            (api.announced(), api.losses().len()),
            (reasons.iter().map(|r| r.to_string()).collect(), losses)
        );
        if phase == Some("Running") {
            assert_eq!(api.uploaders()[0].1, "UploaderSilent");
            api.0.pods.lock().unwrap().clear();
            minutes(2).await;
            assert_eq!((api.uploaders(), api.losses().len()), (vec![], 1), "it is gone since");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_reports_to_another_replica_is_not_silent() {
    let api = Server::new();
    let brokers = [Replica::start(&api), Replica::start(&api)];
    brokers[0].hear("a", Running, 3);
    for _ in 0..8 {
        minutes(5).await;
        brokers[1].hear("a", Running, 2);
    }
    assert_eq!((api.uploaders(), api.losses(), api.announced()), (vec![], vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_broker_settles_what_the_status_names() {
    let api = Server::new();
    let broker = Replica::start(&api);
    broker.hear("a", Draining, 3);
    minutes(1).await;
    drop(broker);
    let _another = Replica::start(&api);
    minutes(17).await;
    assert_eq!((api.uploaders(), api.losses()[0].kind), (vec![], LossKind::Lost));
}

/// Small numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % (most + 1)
    }
}

/// A report: after how many seconds, from which pod, to which replica.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: u64,
    pod: u64,
    replica: usize,
    phase: UploaderPhase,
    pending: u64,
}

/// A life of a pod: reports every few minutes, some containers that end and start again, and an end with last words or
/// without.
fn life(dice: &mut Dice, pod: u64, sent: &mut Vec<Sent>) {
    let mut at = dice.up_to(300);
    let mut say = |dice: &mut Dice, after: u64, phase, pending| {
        at += after;
        let replica = dice.up_to(1) as usize;
        sent.push(Sent { at, pod, replica, phase, pending });
    };
    say(dice, 0, Running, 0);
    for _ in 0..dice.up_to(6) {
        let (after, pending) = (5 + dice.up_to(295), dice.up_to(2));
        say(dice, after, Running, pending);
        if dice.up_to(5) == 0 {
            let pending = dice.up_to(1);
            say(dice, 5, Ended, pending);
            say(dice, 5, Running, pending);
        }
    }
    if dice.up_to(2) > 0 {
        let (first, last) = (dice.up_to(3), dice.up_to(2));
        say(dice, 5, Draining, first);
        let after = 3 + dice.up_to(60);
        say(dice, after, Ended, last);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_hears_what_of_pods_only_those_that_left_something_are_entered() {
    let mut dice = Dice(4711);
    let (mut lost, mut drained) = (0, 0);
    for round in 0..150 {
        let mut sent = Vec::new();
        (0..4).for_each(|pod| life(&mut dice, pod, &mut sent));
        sent.sort_by_key(|sent| sent.at);
        // In every third round one replica ends in between.
        let death = (round % 3 == 0).then(|| (dice.up_to(1200), dice.up_to(1) as usize));
        let api = Server::new();
        // Their rounds fall between each other's.
        let first = Replica::start(&api);
        sleep(Duration::from_millis(700 + 1200 * (round % 4))).await;
        let mut replicas = [Some(first), Some(Replica::start(&api))];
        let began = Instant::now();
        let last_of = |pod| sent.iter().rev().find(|sent| sent.pod == pod).copied().unwrap();
        (0..4).for_each(|pod| _ = api.0.pods.lock().unwrap().insert(format!("p{pod}"), "Running"));
        let mut last_heard = HashMap::new();
        for one in &sent {
            if let Some((at, replica)) = death.filter(|(at, _)| *at <= one.at) {
                sleep_until(began + Duration::from_secs(at)).await;
                replicas[replica] = None;
            }
            sleep_until(began + Duration::from_secs(one.at)).await;
            let replica = if replicas[one.replica].is_some() { one.replica } else { 1 - one.replica };
            replicas[replica].as_ref().unwrap().hear(&format!("p{}", one.pod), one.phase, one.pending);
            last_heard.insert(one.pod, replica);
            if last_of(one.pod).at == one.at {
                api.0.pods.lock().unwrap().remove(&format!("p{}", one.pod));
            }
        }
        minutes(25).await;
        let entered: Vec<_> = api.losses().into_iter().map(|loss| (loss.pod, loss.kind)).collect();
        for pod in 0..4 {
            let last = last_of(pod);
            let found = entered.iter().find(|(name, _)| *name == format!("p{pod}"));
            let all_live = death.is_none() || replicas.iter().all(Option::is_some);
            if last.pending == 0 {
                drained += 1;
                assert!(!all_live || found.is_none(), "round {round}: {entered:?} of {sent:#?}");
            } else if replicas[last_heard[&pod]].is_some() {
                lost += 1;
                let kind = if last.phase == Ended { LossKind::Lost } else { LossKind::Unaccounted };
                assert_eq!(found.map(|(_, kind)| *kind), Some(kind), "round {round}: p{pod} of {sent:#?}");
            }
        }
        assert_eq!(api.uploaders(), [], "round {round}");
    }
    assert!(lost > 100 && drained > 100, "{lost} {drained}");
}
