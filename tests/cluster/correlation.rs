//! From a recording to AWS's own records: by one ID, which every log has.

use recording_operator::api::Crc64Nvme;
use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::logs::aws_calls;
use crate::support::{Tenant, kubectl, wait_for};

/// A container's log, which is JSON line by line.
fn log_lines(arguments: &[&str]) -> Vec<Value> {
    let log = kubectl(&[&["logs"], arguments].concat()).expect_ok().text();
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

#[test]
fn an_access_key_id_links_the_logs_of_sidecar_broker_and_aws() {
    environment_or_skip!();
    let tenant = Tenant::ready("traced");
    tenant.start_recorder("recorder");
    tenant.shell("recorder", "mkdir /recordings/2026 && echo a > /recordings/2026/a.wav").expect_ok();
    wait_for("the recording", || tenant.describe(), || tenant.object("2026/a.wav"));
    let uid = tenant.get(&["pod", "recorder"]).unwrap()["metadata"]["uid"].clone();

    let namespace = format!("--namespace={}", tenant.namespace);
    let sidecar = || log_lines(&[&namespace, "recorder", "--container=recording-uploader"]);
    let uploaded = || sidecar().into_iter().find(|line| line["message"] == "Uploaded and verified");
    let uploaded = wait_for("the sidecar's word", String::new, uploaded);
    for (field, value) in [
        ("name", json!("2026/a.wav")),
        ("bytes", json!(2)),
        ("checksum", json!(Crc64Nvme::of(b"a\n").to_string())),
        ("key", json!("2026/a.wav")),
        ("attempts", json!(1)),
    ] {
        assert_eq!(uploaded[field], value, "{field}: {uploaded}");
    }
    assert!(uploaded["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{uploaded}");
    let sessions: Vec<_> =
        sidecar().into_iter().filter(|line| line["message"] == "The broker gave a session").collect();
    let id = sessions.last().expect("it has one")["access_key_id"].clone();

    let broker = log_lines(&[
        "--namespace=recording-operator",
        "--selector=app.kubernetes.io/component=broker",
        "--tail=-1",
    ]);
    let of = |message: &str| {
        let about = |line: &&Value| line["message"] == message && line["access_key_id"] == id;
        broker.iter().find(about).unwrap_or_else(|| panic!("the broker does not say: {message}")).clone()
    };
    let served = of("credentials served");
    assert_eq!((&served["pod"], &served["uid"]), (&json!("recorder"), &uid));
    assert_eq!((&served["namespace"], &served["name"]), (&json!(tenant.namespace), &json!("acme")));
    assert_eq!(of("session issued")["role"], json!(tenant.role_arn()));

    let calls = aws_calls(&tenant.account);
    let put = calls.iter().find(|call| call["key"] == "2026/a.wav").expect("a call");
    assert_eq!((&put["action"], &put["accessKeyID"]), (&json!("PutObject"), &id));

    // What the controller did in the bucket before, likewise.
    let controller = log_lines(&[
        "--namespace=recording-operator",
        "--selector=app.kubernetes.io/component=controller",
        "--tail=-1",
    ]);
    let assumed = controller
        .iter()
        .find(|line| line["message"] == "role assumed" && line["namespace"] == tenant.namespace.as_str())
        .expect("the controller says so");
    assert_eq!(assumed["name"], "acme");
    let is_probe = |call: &&Value| call["key"].as_str().is_some_and(|key| key.ends_with(".probe"));
    let probe = calls.iter().find(is_probe).expect("a probe");
    assert_eq!(probe["accessKeyID"], assumed["access_key_id"]);
}
