//! The table's last column: the power of a node goes, and pods go on elsewhere, or where they were once it is back.

use super::{FIRST_NODE, Row, SECOND_NODE, Spool};
use crate::logs::aws_calls;
use crate::recording::{record, wait_delivered};
use crate::support::{dev, wait_for};
use crate::{environment_or_skip, long_run_or_skip};

/// A second node, which leaves nothing behind, also when the test fails.
struct SecondNode;

impl SecondNode {
    fn join() -> Self {
        let node = SecondNode;
        node.comes_back();
        node
    }

    /// Its power goes. The API server does not know yet.
    fn is_lost(&self) {
        dev("dev.cluster.second_node", &["lose"], "").expect_ok();
    }

    fn comes_back(&self) {
        dev("dev.cluster.second_node", &["up"], "").expect_ok();
    }
}

impl Drop for SecondNode {
    fn drop(&mut self) {
        let removed = dev("dev.cluster.second_node", &["down"], "");
        if !std::thread::panicking() {
            removed.expect_ok();
        }
    }
}

#[test]
fn each_spool_survives_the_loss_of_its_node_as_documented() {
    environment_or_skip!();
    long_run_or_skip!();
    let node = SecondNode::join();
    let spools = [Spool::EmptyDir, Spool::HostPath, Spool::LocalClaim, Spool::NetworkClaim];
    let started = spools.map(|spool| std::thread::spawn(move || Row::new(spool, SECOND_NODE)));
    let mut rows = started.map(|row| row.join().unwrap());

    let long = rows.each_ref().map(|row| is_half_sent(row, "long.wav"));
    for row in &rows {
        row.suspend(true);
        row.record("waits");
    }
    node.is_lost();
    let [empty_dir, host_path, local, network] = &mut rows;
    assert!(!network.tenant.shell("recorder", "true").ok, "nothing of the node answers");

    for row in [&mut *empty_dir, host_path, local, network] {
        row.forget_pod().expect_ok();
        row.tenant.no_fault();
        row.node = FIRST_NODE;
        row.create_pod();
    }
    for row in [&*empty_dir, host_path, network] {
        row.wait_running();
        row.resume("after");
    }
    assert!(network.has_kept("waits"));
    assert!(!empty_dir.has_kept("waits") && !empty_dir.has_kept("long.wav"));
    assert!(!host_path.has_kept("waits"), "it is on the other node's disk");
    let tied = || {
        let conditions = local.tenant.get(&["pod", "recorder"])?["status"]["conditions"].to_string();
        conditions.contains("didn't match PersistentVolume's node affinity").then_some(())
    };
    wait_for("a pod that must not run elsewhere", || local.tenant.describe(), tied);
    local.suspend(false);
    local.tenant.wait_ready("acme");

    node.comes_back();
    for row in [&mut *host_path, local] {
        row.tenant.kubectl(&["delete", "pod", "recorder", "--grace-period=1"]).expect_ok();
        row.node = SECOND_NODE;
        row.start();
    }
    for (row, sum) in rows.iter().zip(&long).skip(1) {
        assert!(row.has_kept("waits"), "{:?}: the disk is back", row.spool);
        wait_delivered(&row.tenant, "long.wav", sum);
        delivered_once(row);
    }
}

/// A long recording of which some parts are sent, and no more until the fault ends; its checksum.
fn is_half_sent(row: &Row, name: &str) -> String {
    row.tenant.fault("throttle", &["--action", "UploadPart", "--skip", "3"]);
    let sum = record(&row.tenant, "recorder", name, 40 * 1024);
    let journal =
        || row.tenant.shell("recorder", "cat /recordings/.recording-uploader/journal/*.json").text();
    wait_for("two parts", journal, || (journal().matches("\"etag\"").count() >= 2).then_some(()));
    sum
}

/// Nothing beside the two recordings, and each created by one call.
fn delivered_once(row: &Row) {
    let mut objects = row.tenant.objects();
    objects.retain(|key| key != "after");
    objects.sort();
    assert_eq!(objects, ["long.wav", "waits"], "{:?}", row.spool);
    assert_eq!(row.tenant.object("waits").unwrap(), b"waits\n");
    let calls = aws_calls(&row.tenant.account);
    let created = |action: &str, key: &str| {
        let of = |call: &&serde_json::Value| call["action"] == action && call["key"] == key;
        calls.iter().filter(of).filter(|call| call["status"] == 200).count()
    };
    assert_eq!(created("PutObject", "waits"), 1, "{:?}", row.spool);
    assert_eq!(created("CreateMultipartUpload", "long.wav"), 1, "{:?}: the same upload went on", row.spool);
    assert_eq!(created("CompleteMultipartUpload", "long.wav"), 1, "{:?}", row.spool);
}
