//! What of a spool survives what, kind by kind of volume: the rows of the table in docs/pods.md. Recordings wait, as their destination
//! is suspended; then something ends, and the destination goes on.

mod node_loss;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::recording::kill_sidecar;
use crate::support::{Done, PATIENCE, Tenant, kubectl, repository, wait_for};

/// Volumes for spools, by their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spool {
    EmptyDir,
    HostPath,
    /// A claim on a volume of this node.
    LocalClaim,
    /// A claim on a directory that stands for network storage: any node may mount it.
    NetworkClaim,
}

/// What happens to the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    ContainerCrash,
    Deletion,
    Eviction,
}

const FIRST_NODE: &str = "recording-operator-dev";
const SECOND_NODE: &str = "recording-operator-dev-second";

/// A tenant whose recorder has a spool of that kind, and a directory for it.
struct Row {
    tenant: Tenant,
    /// FIRST_NODE, or SECOND_NODE while a test has that.
    node: &'static str,
    spool: Spool,
}

impl Row {
    fn new(spool: Spool, node: &'static str) -> Self {
        let tenant = Tenant::ready(&format!("durable-{spool:?}").to_lowercase());
        let row = Row { tenant, node, spool };
        for directory in row.directories() {
            std::fs::create_dir_all(&directory).unwrap();
            // A hostPath is not given the pod's group.
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        row.make_claim();
        row.start();
        row
    }

    /// As pods know it: a directory that all nodes share, or, below `disk`, one that each has for itself.
    fn directory(&self) -> PathBuf {
        let shared = self.spool == Spool::NetworkClaim;
        repository()
            .join("target/dev/run")
            .join(if shared { "" } else { "disk" })
            .join(&self.tenant.namespace)
    }

    /// As the machine knows them: see dev/cluster/sandbox.py.
    fn directories(&self) -> [PathBuf; 2] {
        let on_second = repository().join("target/dev/run/second/disk").join(&self.tenant.namespace);
        [self.directory(), if self.node == SECOND_NODE { on_second } else { self.directory() }]
    }

    fn make_claim(&self) {
        let name = &self.tenant.namespace;
        let source = match self.spool {
            Spool::EmptyDir | Spool::HostPath => return,
            Spool::LocalClaim => json!({
                "local": {"path": self.directory()},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{
                    "key": "kubernetes.io/hostname", "operator": "In", "values": [self.node],
                }]}]}},
            }),
            Spool::NetworkClaim => json!({"hostPath": {"path": self.directory()}}),
        };
        let mut spec = json!({
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": name,
            "persistentVolumeReclaimPolicy": "Retain",
        });
        spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        let volume =
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec});
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "spool"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": name,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        for manifest in [volume, claim] {
            self.tenant.apply(&manifest).expect_ok();
        }
    }

    fn start(&self) {
        self.create_pod();
        self.wait_running();
    }

    fn wait_running(&self) {
        self.tenant.kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", "pod/recorder"]).expect_ok();
    }

    fn create_pod(&self) {
        let mut pod = self.tenant.recorder("recorder");
        let source = match self.spool {
            Spool::EmptyDir => json!({"name": "recordings", "emptyDir": {}}),
            Spool::HostPath => json!({"name": "recordings", "hostPath": {"path": self.directory()}}),
            Spool::LocalClaim | Spool::NetworkClaim => {
                json!({"name": "recordings", "persistentVolumeClaim": {"claimName": "spool"}})
            }
        };
        pod["spec"]["volumes"] = json!([source]);
        if self.node == SECOND_NODE {
            pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": SECOND_NODE});
            pod["spec"]["tolerations"] =
                json!([{"key": "recording-operator-dev/further", "operator": "Exists"}]);
        }
        self.tenant.apply(&pod).expect_ok();
    }

    fn suspend(&self, suspend: bool) {
        let logs = || self.tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).text();
        let said = || logs().matches("is suspended").count();
        let before = said();
        self.tenant.apply_destination("acme", json!({"suspend": suspend}));
        if suspend {
            wait_for("the pause", logs, || (said() > before).then_some(()));
        }
    }

    fn record(&self, name: &str) {
        let script =
            format!("echo {name} > /recordings/{name}.part && mv /recordings/{name}.part /recordings/{name}");
        self.tenant.shell("recorder", &script).expect_ok();
    }

    /// As an operator does when the node does not answer.
    fn forget_pod(&self) -> Done {
        self.tenant.kubectl(&["delete", "pod", "recorder", "--force", "--grace-period=0"])
    }

    fn uid(&self) -> Option<Value> {
        self.tenant.get(&["pod", "recorder"]).map(|pod| pod["metadata"]["uid"].clone())
    }

    /// Makes it happen, and has the pod, or the next one, run.
    fn suffer(&self, event: Event) {
        let tenant = &self.tenant;
        let before = self.uid();
        match event {
            Event::ContainerCrash => {
                // The recorder's, and then the sidecar's own.
                tenant.shell("recorder", "kill -TERM 1").expect_ok();
                self.wait_restarted("containerStatuses");
                kill_sidecar(tenant, "recorder");
                self.wait_restarted("initContainerStatuses");
                return;
            }
            Event::Deletion => {
                // Sooner than it could drain.
                tenant.kubectl(&["delete", "pod", "recorder", "--grace-period=1"]).expect_ok();
            }
            Event::Eviction => {
                let eviction = json!({
                    "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "recorder", "namespace": tenant.namespace},
                    "deleteOptions": {"gracePeriodSeconds": 1},
                });
                let path = format!("/api/v1/namespaces/{}/pods/recorder/eviction", tenant.namespace);
                crate::support::kubectl_with(
                    &["create", "--raw", &path, "--filename=-"],
                    &eviction.to_string(),
                )
                .expect_ok();
            }
        }
        wait_for("the end of the pod", || tenant.describe(), || (self.uid() != before).then_some(()));
        self.start();
    }

    /// Waits until the one container with such a status runs again.
    fn wait_restarted(&self, statuses: &str) {
        let restarted = || {
            let pod = self.tenant.get(&["pod", "recorder"])?;
            let status = &pod["status"][statuses][0];
            (status["restartCount"].as_u64()? > 0 && status["ready"] == true).then_some(())
        };
        wait_for("the restart", || self.tenant.describe(), restarted);
    }

    fn arrives(&self, key: &str) {
        wait_for(key, || self.tenant.describe(), || self.tenant.object(key));
    }

    /// The destination goes on, and what the recorder makes now arrives.
    fn resume(&self, marker: &str) {
        self.suspend(false);
        self.tenant.wait_ready("acme");
        self.record(marker);
        self.arrives(marker);
    }

    /// Whether a recording that waited arrives after all.
    fn has_kept(&self, name: &str) -> bool {
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE {
            if self.tenant.object(name).is_some() {
                return true;
            }
            let spooled = self.tenant.shell("recorder", "ls /recordings").expect_ok().text();
            if !spooled.lines().any(|file| file == name) && self.tenant.object(name).is_none() {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        panic!("{name} is spooled and does not arrive: {}", self.tenant.describe());
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        if self.node == SECOND_NODE {
            self.forget_pod();
        }
        kubectl(&["delete", "pod", "recorder", "--namespace", &self.tenant.namespace, "--grace-period=1"]);
        kubectl(&["delete", "persistentvolume", &self.tenant.namespace, "--wait=false"]);
        for directory in self.directories() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

fn survives(row: &Row, event: Event, name: &str) -> bool {
    row.suspend(true);
    row.record(name);
    row.suffer(event);
    // Recorded after the other, and found before it is missed.
    row.resume(&format!("after-{name}"));
    row.has_kept(name)
}

fn row(spool: Spool, expected: [(Event, bool); 3]) {
    let row = Row::new(spool, FIRST_NODE);
    for (event, survived) in expected {
        let name = format!("{event:?}").to_lowercase();
        assert_eq!(survives(&row, event, &name), survived, "{spool:?}, {event:?}");
    }
}

#[test]
fn an_empty_dir_survives_a_container_and_ends_with_its_pod() {
    environment_or_skip!();
    row(Spool::EmptyDir, [(Event::ContainerCrash, true), (Event::Deletion, false), (Event::Eviction, false)]);
}

#[test]
fn a_directory_of_the_node_survives_the_pod() {
    environment_or_skip!();
    row(Spool::HostPath, [(Event::ContainerCrash, true), (Event::Deletion, true), (Event::Eviction, true)]);
}

#[test]
fn a_local_persistent_volume_survives_the_pod() {
    environment_or_skip!();
    row(Spool::LocalClaim, [(Event::ContainerCrash, true), (Event::Deletion, true), (Event::Eviction, true)]);
}

#[test]
fn network_storage_survives_the_pod() {
    environment_or_skip!();
    row(
        Spool::NetworkClaim,
        [(Event::ContainerCrash, true), (Event::Deletion, true), (Event::Eviction, true)],
    );
}

#[test]
fn a_pod_drains_within_its_grace_period_whatever_its_spool() {
    environment_or_skip!();
    let row = Row::new(Spool::EmptyDir, FIRST_NODE);
    let grace = &row.tenant.get(&["pod", "recorder"]).unwrap()["spec"]["terminationGracePeriodSeconds"];
    assert_eq!(grace, &json!(120), "the webhook made it long enough");
    let script = "for n in 1 2 3 4 5; do dd if=/dev/zero of=/recordings/$n.part bs=1024 count=2048 2>/dev/null; \
                  mv /recordings/$n.part /recordings/$n.wav; done";
    row.tenant.shell("recorder", script).expect_ok();
    row.tenant.kubectl(&["delete", "pod", "recorder", "--wait"]).expect_ok();
    let arrived = row.tenant.objects();
    for number in 1..=5 {
        assert!(arrived.contains(&format!("{number}.wav")), "{arrived:?}");
    }
}
