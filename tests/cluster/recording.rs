//! The way of a recording, from a container's rename to the customer's bucket.

use serde_json::json;

use crate::environment_or_skip;
use crate::support::{Tenant, kubectl, wait_for};

/// Writes so many KiB under a temporary name, renames it into place, and tells the bytes' SHA-256.
pub fn record(tenant: &Tenant, pod: &str, name: &str, kib: u32) -> String {
    let script = format!(
        "set -e; file='/recordings/{name}'; mkdir -p \"$(dirname \"$file\")\"; \
         dd if=/dev/urandom of=\"$file.part\" bs=1024 count={kib} 2>/dev/null; \
         sha256sum \"$file.part\" | cut -d' ' -f1; mv \"$file.part\" \"$file\""
    );
    tenant.shell(pod, &script).expect_ok().text().trim().to_owned()
}

fn spooled(tenant: &Tenant, pod: &str) -> String {
    tenant.shell(pod, "find /recordings -type f -not -path '*/.recording-uploader/*'").text()
}

pub fn sha256(bytes: &[u8]) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
}

#[track_caller]
pub fn wait_delivered(tenant: &Tenant, key: &str, sum: &str) {
    let bytes = wait_for(key, || tenant.describe(), || tenant.object(key));
    assert_eq!(sha256(&bytes), sum, "{key}, byte for byte");
}

#[test]
fn a_recording_lands_in_the_bucket_byte_for_byte_and_leaves_the_spool() {
    environment_or_skip!();
    let tenant = Tenant::new("delivered");
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({"prefix": "calls/"}));
    tenant.wait_ready("acme");
    tenant.start_recorder("recorder");
    let wav = record(&tenant, "recorder", "2026/call-1.wav", 3000);
    let companion = record(&tenant, "recorder", "2026/call-1.json", 1);
    let small = record(&tenant, "recorder", "with space.wav", 1);
    wait_delivered(&tenant, "calls/2026/call-1.wav", &wav);
    wait_delivered(&tenant, "calls/2026/call-1.json", &companion);
    wait_delivered(&tenant, "calls/with space.wav", &small);
    wait_for(
        "an empty spool",
        || spooled(&tenant, "recorder"),
        || spooled(&tenant, "recorder").trim().is_empty().then_some(()),
    );
}

#[test]
fn recordings_wait_in_the_spool_until_the_destination_is_ready() {
    environment_or_skip!();
    let tenant = Tenant::ready("paused");
    tenant.start_recorder("recorder");
    let first = record(&tenant, "recorder", "first.wav", 64);
    wait_delivered(&tenant, "first.wav", &first);

    tenant.customer(&["trust-open"]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
    wait_said(&tenant, "paused; every recording", 1);
    let second = record(&tenant, "recorder", "second.wav", 64);
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert_eq!(tenant.object("second.wav"), None, "nothing is sent while paused");
    assert!(spooled(&tenant, "recorder").contains("second.wav"));

    tenant.customer(&["trust-closed", "--external-id", &tenant.external_id]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_ready("acme");
    wait_delivered(&tenant, "second.wav", &second);
}

/// How often the sidecar has said so.
fn said(tenant: &Tenant, words: &str) -> usize {
    let logs = tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).expect_ok();
    logs.text().matches(words).count()
}

#[track_caller]
fn wait_said(tenant: &Tenant, words: &str, times: usize) {
    let logs = || tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).text();
    wait_for(words, logs, || (said(tenant, words) >= times).then_some(()));
}

#[test]
fn a_running_sidecar_follows_edits_suspension_and_deletion() {
    environment_or_skip!();
    let tenant = Tenant::ready("followed");
    tenant.start_recorder("recorder");
    let first = record(&tenant, "recorder", "first.wav", 8);
    wait_delivered(&tenant, "first.wav", &first);

    tenant.apply_destination("acme", json!({"prefix": "moved/"}));
    wait_said(&tenant, "moved/", 1);
    let second = record(&tenant, "recorder", "second.wav", 8);
    wait_delivered(&tenant, "moved/second.wav", &second);

    let paused = said(&tenant, "paused; every recording");
    tenant.apply_destination("acme", json!({"prefix": "moved/", "suspend": true}));
    wait_said(&tenant, "paused; every recording", paused + 1);
    let third = record(&tenant, "recorder", "third.wav", 8);
    tenant.apply_destination("acme", json!({"prefix": "moved/", "suspend": false}));
    wait_delivered(&tenant, "moved/third.wav", &third);

    let paused = said(&tenant, "paused; every recording");
    tenant.kubectl(&["delete", "recordingdestination", "acme"]).expect_ok();
    wait_said(&tenant, "paused; every recording", paused + 1);
    let fourth = record(&tenant, "recorder", "fourth.wav", 8);
    tenant.apply_destination("acme", json!({"prefix": "again/"}));
    wait_delivered(&tenant, "again/fourth.wav", &fourth);

    let sidecar = &tenant.get(&["pod", "recorder"]).unwrap()["status"]["initContainerStatuses"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartCount"]), (&json!("recording-uploader"), &json!(0)));
}

#[test]
fn a_pod_that_ends_delivers_what_it_has_spooled() {
    environment_or_skip!();
    let tenant = Tenant::ready("drained");
    tenant.start_recorder("recorder");
    tenant.apply_destination("acme", json!({"suspend": true}));
    wait_said(&tenant, "paused; every recording", 1);
    let last = record(&tenant, "recorder", "last.wav", 20_000);
    // The pod is told to end while nothing may be sent; it must go on until that changes.
    tenant.kubectl(&["delete", "pod", "recorder", "--wait=false"]).expect_ok();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(tenant.object("last.wav"), None);
    tenant.apply_destination("acme", json!({"suspend": false}));
    wait_delivered(&tenant, "last.wav", &last);
}

#[test]
fn an_injected_pod_delivers_under_pod_security_restricted() {
    environment_or_skip!();
    let tenant = Tenant::ready("restricted");
    let enforced = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", &tenant.namespace, enforced]).expect_ok();
    let mut escalating = tenant.recorder("escalating");
    escalating["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refused = tenant.apply(&escalating);
    assert!(!refused.ok && refused.stderr.contains("violates PodSecurity"), "{}", refused.stderr);
    tenant.start_recorder("recorder");
    let wav = record(&tenant, "recorder", "call.wav", 8);
    wait_delivered(&tenant, "call.wav", &wav);
}

#[test]
fn a_pod_whose_time_runs_out_says_what_it_leaves_behind() {
    environment_or_skip!();
    let tenant = Tenant::ready("termination-message");
    let held = tenant.start_held(tenant.recorder("recorder"));
    tenant.apply_destination("acme", json!({"suspend": true}));
    wait_said(&tenant, "paused; every recording", 1);
    record(&tenant, "recorder", "2026/last.wav", 64);

    tenant.kubectl(&["delete", "pod", "recorder", "--grace-period=5", "--wait=false"]).expect_ok();
    let ended = || {
        let pod = tenant.get(&["pod", "recorder"])?;
        let ended = pod["status"]["initContainerStatuses"][0]["state"]["terminated"].clone();
        ended.is_object().then_some(ended)
    };
    let ended = wait_for("its end", || tenant.describe(), ended);
    held.release().expect_ok();
    let message = ended["message"].as_str().unwrap_or_else(|| panic!("no message: {ended}"));
    for words in ["1 recording (65536 bytes) is not uploaded", "is suspended", "2026/last.wav"] {
        assert!(message.contains(words), "{words} is not in: {message}");
    }
}

#[test]
fn an_object_that_is_there_already_is_never_overwritten() {
    environment_or_skip!();
    let tenant = Tenant::ready("kept");
    tenant.start_recorder("recorder");
    let first = record(&tenant, "recorder", "call.wav", 8);
    wait_delivered(&tenant, "call.wav", &first);
    let second = record(&tenant, "recorder", "call.wav", 8);
    let key = wait_for(
        "the second recording beside the first",
        || format!("{:?}", tenant.objects()),
        || tenant.objects().into_iter().find(|key| key.starts_with("call~") && key.ends_with(".wav")),
    );
    wait_delivered(&tenant, &key, &second);
    wait_delivered(&tenant, "call.wav", &first);
}

#[test]
fn no_external_id_and_no_key_of_the_platform_is_in_the_pod() {
    environment_or_skip!();
    let tenant = Tenant::ready("clean");
    tenant.start_recorder("recorder");
    let pod = tenant.get(&["pod", "recorder"]).unwrap();
    let seen = pod.to_string()
        + &tenant
            .shell("recorder", "env; find / -xdev -type f -not -path '/proc/*' -exec cat {} + 2>/dev/null")
            .text();
    assert!(!seen.contains(&tenant.external_id), "the External ID is in the pod");
    let secret =
        crate::support::get(&["--namespace=recording-operator", "secret", "recording-operator-aws"]).unwrap();
    let keys = secret["data"].as_object().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys.values() {
        assert!(!seen.contains(key.as_str().unwrap()), "a key of the platform is in the pod");
    }
}

/// Ends the sidecar's process as nothing in the pod can.
pub fn kill_sidecar(tenant: &Tenant, pod: &str) {
    let uid = tenant.get(&["pod", pod]).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let is_sidecar = |process: &std::path::Path| {
        let read = |name: &str| std::fs::read_to_string(process.join(name)).unwrap_or_default();
        read("cmdline").starts_with("/recording-uploader") && read("cgroup").contains(&uid)
    };
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = processes.filter(|process| is_sidecar(process)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let pid = found[0].file_name().unwrap();
    assert!(std::process::Command::new("kill").arg("-9").arg(pid).status().unwrap().success());
}

#[test]
fn a_killed_sidecar_resumes_the_same_multipart_upload() {
    environment_or_skip!();
    let tenant = Tenant::ready("resumed");
    tenant.start_recorder("recorder");
    // It gets no further than this before it is killed.
    tenant.fault("throttle", &["--action", "UploadPart", "--skip", "3"]);
    let sum = record(&tenant, "recorder", "long.wav", 40 * 1024);
    let journal = || tenant.shell("recorder", "cat /recordings/.recording-uploader/journal/*.json").text();
    wait_for("two parts", journal, || (journal().matches("\"etag\"").count() >= 2).then_some(()));
    kill_sidecar(&tenant, "recorder");
    tenant.no_fault();
    wait_delivered(&tenant, "long.wav", &sum);
    wait_said(&tenant, "resuming an upload in parts", 1);
    let sidecar = &tenant.get(&["pod", "recorder"]).unwrap()["status"]["initContainerStatuses"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartCount"]), (&json!("recording-uploader"), &json!(1)));
    wait_for("no journal", journal, || journal().trim().is_empty().then_some(()));
}
