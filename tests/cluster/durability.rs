//! What of a spool survives what, kind by kind of volume: the rows of the table in docs/pods.md. Recordings wait, as their destination
//! is suspended; then something ends, and the destination goes on.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{PATIENCE, Tenant, kubectl, repository, wait_for};

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

/// A tenant whose recorder has a spool of that kind, and a directory of the node for it.
struct Row {
    tenant: Tenant,
    directory: std::path::PathBuf,
    spool: Spool,
}

impl Row {
    fn new(spool: Spool) -> Self {
        let tenant = Tenant::ready(&format!("durable-{spool:?}").to_lowercase());
        let directory = repository().join("target/dev/run").join(&tenant.namespace);
        std::fs::create_dir_all(&directory).unwrap();
        // A hostPath is not given the pod's group.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        let row = Row { tenant, directory, spool };
        row.make_claim();
        row.start();
        row
    }

    fn make_claim(&self) {
        let name = &self.tenant.namespace;
        let source = match self.spool {
            Spool::EmptyDir | Spool::HostPath => return,
            Spool::LocalClaim => json!({
                "local": {"path": self.directory},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{
                    "key": "kubernetes.io/os", "operator": "In", "values": ["linux"],
                }]}]}},
            }),
            Spool::NetworkClaim => json!({"hostPath": {"path": self.directory}}),
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
        let mut pod = self.tenant.recorder("recorder");
        let source = match self.spool {
            Spool::EmptyDir => json!({"name": "recordings", "emptyDir": {}}),
            Spool::HostPath => json!({"name": "recordings", "hostPath": {"path": self.directory}}),
            Spool::LocalClaim | Spool::NetworkClaim => {
                json!({"name": "recordings", "persistentVolumeClaim": {"claimName": "spool"}})
            }
        };
        pod["spec"]["volumes"] = json!([source]);
        self.tenant.apply(&pod).expect_ok();
        self.tenant.kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", "pod/recorder"]).expect_ok();
    }

    fn suspend(&self, suspend: bool) {
        self.tenant.apply_destination("acme", json!({"suspend": suspend}));
        let logs = || self.tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).text();
        if suspend {
            wait_for("the pause", logs, || logs().contains("is suspended").then_some(()));
        }
    }

    fn record(&self, name: &str) {
        let script =
            format!("echo {name} > /recordings/{name}.part && mv /recordings/{name}.part /recordings/{name}");
        self.tenant.shell("recorder", &script).expect_ok();
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
                tenant.shell("recorder", "kill -TERM 1").expect_ok();
                let restarted = || {
                    let pod = tenant.get(&["pod", "recorder"])?;
                    let status = &pod["status"]["containerStatuses"][0];
                    (status["restartCount"].as_u64()? > 0 && status["ready"] == true).then_some(())
                };
                wait_for("the restart", || tenant.describe(), restarted);
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

    fn arrives(&self, key: &str) {
        wait_for(key, || self.tenant.describe(), || self.tenant.object(key));
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        kubectl(&["delete", "pod", "recorder", "--namespace", &self.tenant.namespace, "--grace-period=1"]);
        kubectl(&["delete", "persistentvolume", &self.tenant.namespace, "--wait=false"]);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether a recording that waited arrives after all.
fn survives(row: &Row, event: Event, name: &str) -> bool {
    row.suspend(true);
    row.record(name);
    row.suffer(event);
    row.suspend(false);
    row.tenant.wait_ready("acme");
    let marker = format!("after-{name}");
    // Recorded after the other, and found before it is missed.
    row.record(&marker);
    row.arrives(&marker);
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        if row.tenant.object(name).is_some() {
            return true;
        }
        let spooled = row.tenant.shell("recorder", "ls /recordings").text();
        if !spooled.lines().any(|file| file == name) && row.tenant.object(name).is_none() {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("{name} is spooled and does not arrive: {}", row.tenant.describe());
}

fn row(spool: Spool, expected: [(Event, bool); 3]) {
    let row = Row::new(spool);
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
fn a_claim_on_a_volume_of_the_node_survives_the_pod() {
    environment_or_skip!();
    row(Spool::LocalClaim, [(Event::ContainerCrash, true), (Event::Deletion, true), (Event::Eviction, true)]);
}

#[test]
fn a_claim_on_network_storage_survives_the_pod() {
    environment_or_skip!();
    row(
        Spool::NetworkClaim,
        [(Event::ContainerCrash, true), (Event::Deletion, true), (Event::Eviction, true)],
    );
}

#[test]
fn a_pod_that_is_given_its_grace_period_drains_whatever_its_spool() {
    environment_or_skip!();
    let row = Row::new(Spool::EmptyDir);
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
