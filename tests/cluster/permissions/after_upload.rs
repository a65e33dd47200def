//! A verified upload spares the bucket the next whole probe.

use serde_json::{Value, json};

use crate::support::{Tenant, kubectl, wait_for};
use crate::{environment_or_skip, long_run_or_skip};

#[test]
fn a_bucket_with_a_newer_verified_upload_gets_no_whole_probe() {
    environment_or_skip!();
    // The shortest interval is five minutes.
    long_run_or_skip!();
    let tenant = Tenant::new("uploaded");
    tenant.apply_secret(&tenant.external_id);
    let validation = json!({"intervalSeconds": 3600, "enforcementIntervalSeconds": 300});
    for name in ["uploaded", "idle"] {
        tenant.apply_destination(name, json!({"prefix": format!("{name}/"), "validation": validation}));
        tenant.wait_ready(name);
    }
    let status = |name: &str| tenant.get(&["recordingdestination", name]).unwrap()["status"].clone();
    let proved = ["uploaded", "idle"].map(|name| status(name)["lastEnforcementTime"].clone());
    // As the broker does once an uploader has reported.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = format!("--patch={}", json!({"status": {"lastUploadTime": now}}));
    // The group lets kubectl read before it patches, which the broker may not; the name is what the policy asks for.
    let broker = [
        "--as=system:serviceaccount:recording-operator:recording-operator-broker",
        "--as-group=system:masters",
    ];
    let namespace = format!("--namespace={}", tenant.namespace);
    kubectl(&[
        "patch",
        "recdest",
        "uploaded",
        &namespace,
        broker[0],
        broker[1],
        "--subresource=status",
        "--type=merge",
        &patch,
    ])
    .expect_ok();
    let puts = |name: &str| {
        let log =
            std::fs::read_to_string(crate::support::repository().join("target/dev/run/aws/access.jsonl"))
                .unwrap();
        let calls = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mine = |call: &Value| {
            let key = call["key"].as_str().unwrap_or_default();
            call["bucket"] == tenant.bucket.as_str()
                && call["action"] == "PutObject"
                && key.starts_with(&format!("{name}/"))
        };
        calls.filter(mine).count()
    };
    let before = ["uploaded", "idle"].map(puts);
    // The wait proper begins when it can end.
    std::thread::sleep(std::time::Duration::from_secs(240));
    for (name, proved) in ["uploaded", "idle"].iter().zip(proved) {
        wait_for(
            "the enforcement proved again",
            || tenant.describe(),
            || (status(name)["lastEnforcementTime"] != proved).then_some(()),
        );
        tenant.wait_ready(name);
    }
    assert_eq!(puts("uploaded"), before[0]);
    assert!(puts("idle") > before[1], "the one without an upload was probed");
}
