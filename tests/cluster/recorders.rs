//! Recorders of several users and umasks, and what the sidecar beside them can do with what they write.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Tenant, wait_for};

/// A recorder's container: who runs it, with which umask, and the directory that it makes.
struct Writer {
    user: u32,
    umask: &'static str,
    directory: &'static str,
}

/// A pod of these writers, each of which writes `call.wav` into its directory, and waits.
fn pod(tenant: &Tenant, name: &str, group: u32, writers: &[Writer]) -> Value {
    let mut pod = tenant.recorder(name);
    pod["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "fsGroup": group, "seccompProfile": {"type": "RuntimeDefault"}});
    let template = pod["spec"]["containers"][0].clone();
    let containers = writers.iter().map(|Writer { user, umask, directory }| {
        let mut container = template.clone();
        container["name"] = json!(if *directory == writers[0].directory { "recorder" } else { directory });
        container["securityContext"]["runAsUser"] = json!(user);
        container["securityContext"]["runAsGroup"] = json!(user);
        // A rename in a directory that is watched already is certain; what came together with its directory must be quiet
        // first, for ten minutes where it is another user's.
        container["command"][2] = json!(format!(
            "umask {umask}; cd /recordings; mkdir -p {directory}; sleep 3; echo sound > {directory}/call.part; \
             mv {directory}/call.part {directory}/call.wav; trap 'exit 0' TERM; while :; do sleep 1; done"
        ));
        container
    });
    pod["spec"]["containers"] = containers.collect();
    pod
}

#[test]
fn recordings_of_any_user_and_umask_are_delivered_if_removable() {
    environment_or_skip!();
    let tenant = Tenant::ready("writers");
    let writer = |user, umask, directory| Writer { user, umask, directory };
    // The sidecar is the user of the first writer.
    let table = [
        ("own", 1000, vec![writer(1000, "022", "own")]),
        ("private", 4321, vec![writer(4321, "077", "private")]),
        ("other-group", 3000, vec![writer(70000, "027", "other-group")]),
        ("shared", 3000, vec![writer(1000, "022", "first"), writer(2000, "002", "second")]),
    ];
    for (name, group, writers) in &table {
        tenant.apply(&pod(&tenant, name, *group, writers)).expect_ok();
    }
    for (name, _, writers) in &table {
        for Writer { directory, .. } in writers {
            let key = format!("{directory}/call.wav");
            let delivered = wait_for(&key, || tenant.describe(), || tenant.object(&key));
            assert_eq!(delivered, b"sound\n");
            let find = format!("find /recordings/{directory} -type f");
            let left = || tenant.shell(name, &find).expect_ok().text();
            wait_for("an empty directory", left, || left().trim().is_empty().then_some(()));
        }
    }
}

#[test]
fn a_recording_that_cannot_be_unlinked_is_uploaded_once_and_reported() {
    environment_or_skip!();
    let tenant = Tenant::ready("stuck");
    let writer = |user, umask, directory| Writer { user, umask, directory };
    let writers = [writer(1000, "022", "lets-go"), writer(2000, "022", "holds-on")];
    tenant.apply(&pod(&tenant, "recorder", 3000, &writers)).expect_ok();
    for key in ["lets-go/call.wav", "holds-on/call.wav"] {
        wait_for(key, || tenant.describe(), || tenant.object(key));
    }
    let log = || tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).text();
    wait_for("a word about it", log, || log().contains("SpoolNotWritable").then_some(()));
    // It is tried again after a second or so, and ever more rarely; others go on.
    let late = "sleep 5; cd /recordings/lets-go; echo more > late.part; mv late.part late.wav";
    tenant.shell("recorder", late).expect_ok();
    wait_for("lets-go/late.wav", || tenant.describe(), || tenant.object("lets-go/late.wav"));
    assert!(tenant.shell("recorder", "test -e /recordings/holds-on/call.wav").ok);
    let log = log();
    let uploads = log
        .lines()
        .filter(|line| line.contains("uploaded and verified") && line.contains("holds-on/call.wav"));
    assert!(uploads.count() <= 1, "{log}");
    let calls = crate::logs::aws_calls(&tenant.account);
    let puts =
        calls.iter().filter(|call| call["key"] == "holds-on/call.wav" && call["action"] == "PutObject");
    assert_eq!(puts.count(), 1);
}
