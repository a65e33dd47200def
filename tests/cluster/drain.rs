//! A pod that takes long to end.

use std::time::Duration;

use serde_json::json;

use crate::support::{Tenant, wait_for};
use crate::{environment_or_skip, long_run_or_skip};

/// Longer than the hour that Kubernetes gives a token by default, and than any session.
const HELD_UP: Duration = Duration::from_secs(3700);

#[test]
fn a_pod_that_ends_for_longer_than_an_hour_still_delivers() {
    environment_or_skip!();
    long_run_or_skip!();
    let tenant = Tenant::ready("drained");
    let mut pod = tenant.recorder("recorder");
    pod["spec"]["terminationGracePeriodSeconds"] = json!(2 * HELD_UP.as_secs());
    tenant.start(&pod);
    tenant.apply_destination("acme", json!({"suspend": true}));
    let log = || tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).text();
    wait_for("a sidecar that has heard of it", log, || {
        log().contains("paused; every recording").then_some(())
    });
    tenant
        .shell("recorder", "echo last > /recordings/a.part; mv /recordings/a.part /recordings/a.wav")
        .expect_ok();
    tenant.kubectl(&["delete", "pod", "recorder", "--wait=false"]).expect_ok();

    std::thread::sleep(HELD_UP);
    assert!(tenant.get(&["pod", "recorder"]).is_some(), "it waits for its recording");
    tenant.apply_destination("acme", json!({}));
    wait_for("the recording", || tenant.describe(), || tenant.object("a.wav"));
    wait_for(
        "the pod's end",
        || tenant.describe(),
        || tenant.get(&["pod", "recorder"]).is_none().then_some(()),
    );
}
