//! From a recording to AWS's own records: by one ID, which every log has.

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
fn the_access_key_id_leads_from_the_sidecar_by_the_broker_to_awss_own_records() {
    environment_or_skip!();
    let tenant = Tenant::ready("traced");
    tenant.start_recorder("recorder");
    tenant.shell("recorder", "echo a > /recordings/a.wav").expect_ok();
    wait_for("the recording", || tenant.describe(), || tenant.object("a.wav"));
    let uid = tenant.get(&["pod", "recorder"]).unwrap()["metadata"]["uid"].clone();

    let namespace = format!("--namespace={}", tenant.namespace);
    let sidecar = || log_lines(&[&namespace, "recorder", "--container=recording-uploader"]);
    let uploaded = || sidecar().into_iter().find(|line| line["message"] == "Uploaded and verified");
    let uploaded = wait_for("the sidecar's word", String::new, uploaded);
    assert_eq!(uploaded["key"], "a.wav");
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
    assert_eq!((&served["namespace"], &served["destination"]), (&json!(tenant.namespace), &json!("acme")));
    assert_eq!(of("session issued")["role"], json!(tenant.role_arn()));

    let put = aws_calls(&tenant.account).into_iter().find(|call| call["key"] == "a.wav").expect("a call");
    assert_eq!((&put["action"], &put["accessKeyID"]), (&json!("PutObject"), &id));
}
