//! Uploads through all that S3, or the way to it, does instead of answering: each recording arrives once, byte for byte.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::logs::aws_calls;
use crate::recording::{record, sha256};
use crate::support::{Tenant, wait_for};

/// What meets which calls, how many of them, and the recordings that make these calls. So few fail in a row that the next
/// wait is never long.
const FAULTS: [(&str, &str, &str, &[Recording]); 8] = [
    ("throttle", "PutObject", "2", &SMALL),
    ("error", "PutObject", "2", &SMALL),
    ("reset", "PutObject", "4", &SMALL),
    ("lost-answer", "PutObject", "4", &SMALL),
    ("expired-token", "PutObject", "2", &SMALL),
    ("lost-answer", "UploadPart", "4", &LONG),
    ("error-in-200", "CompleteMultipartUpload", "1", &LONG),
    ("lost-answer", "CompleteMultipartUpload", "2", &LONG),
];
/// Name and KiB.
type Recording = (&'static str, u32);
const SMALL: [Recording; 2] = [("a.wav", 16), ("b.wav", 16)];
/// Just over the size from which recordings go in parts.
const LONG: [Recording; 1] = [("long.wav", 33 * 1024)];

#[test]
fn each_recording_arrives_once_and_unaltered_whatever_faults_occur() {
    environment_or_skip!();
    // Every object that ever was is seen.
    let tenant = Tenant::with("faulty", None, &["--versioned"]);
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({}));
    tenant.wait_ready("acme");
    tenant.start_recorder("recorder");
    let mut recorded = BTreeMap::new();
    for (kind, action, count, recordings) in FAULTS {
        tenant.fault(kind, &["--action", action, "--count", count]);
        for (name, kib) in recordings {
            let name = format!("{kind}/{action}/{name}");
            recorded.insert(name.clone(), record(&tenant, "recorder", &name, *kib));
        }
        wait_empty(&tenant, &format!("{kind} at {action}"));
        let is_met = |call: &Value| call["rule"] == kind && call["action"] == action;
        assert!(aws_calls(&tenant.account).iter().any(is_met), "{kind} has met no {action}");
    }

    let versions = tenant.customer(&["list-versions", "--bucket", &tenant.bucket]).expect_ok().text();
    let mut keys: Vec<&str> = versions.lines().map(|line| line.split('\t').next().unwrap()).collect();
    keys.retain(|key| !key.starts_with(".recording-operator/"));
    keys.sort_unstable();
    assert_eq!(keys, recorded.keys().collect::<Vec<_>>(), "each once, and nothing beside them");
    for (key, sum) in &recorded {
        assert_eq!(sha256(&tenant.object(key).unwrap()), *sum, "{key}, byte for byte");
    }

    let logs = tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).expect_ok().text();
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let again = lines.filter(|line| line["attempts"].as_u64().is_some_and(|attempts| attempts > 1)).count();
    assert!(again > 0, "none took more than one attempt:\n{logs}");
    let sidecar = &tenant.get(&["pod", "recorder"]).unwrap()["status"]["initContainerStatuses"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartCount"]), (&json!("recording-uploader"), &json!(0)));
}

/// Waits until nothing is in the spool, no journal and nothing in quarantine either.
#[track_caller]
fn wait_empty(tenant: &Tenant, why: &str) {
    let found = || tenant.shell("recorder", "find /recordings -type f -not -name lock");
    let logs = || tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).text();
    let is_empty = || Some(found()).filter(|found| found.ok && found.stdout.is_empty());
    wait_for(&format!("an empty spool, {why}"), logs, is_empty);
}
