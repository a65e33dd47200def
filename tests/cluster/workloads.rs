//! Pods that a controller of Kubernetes' makes: what applies to pods applies to their templates.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Tenant, wait_for};

/// A workload whose pods are recorders that run this.
fn workload(tenant: &Tenant, version: &str, kind: &str, script: &str, spec: Value) -> Value {
    let mut template = tenant.recorder("recorder");
    template["metadata"]["labels"]["app"] = json!(kind);
    template["metadata"].as_object_mut().unwrap().remove("name");
    template["spec"]["containers"][0]["command"][2] = json!(script);
    let mut object =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": "recorder"}, "spec": spec});
    object["spec"]["template"] = json!({"metadata": template["metadata"], "spec": template["spec"]});
    object
}

#[test]
fn a_job_completes_after_delivery_and_a_deployment_delivers_while_running() {
    environment_or_skip!();
    let tenant = Tenant::ready("workload");
    let record =
        |name: &str| format!("echo {name} > /recordings/part; mv /recordings/part /recordings/{name}");
    let mut job = workload(&tenant, "batch/v1", "Job", &record("job.wav"), json!({"backoffLimit": 0}));
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    let script = format!("{}; trap 'exit 0' TERM; while :; do sleep 1; done", record("deployment.wav"));
    let selector = json!({"replicas": 1, "selector": {"matchLabels": {"app": "Deployment"}}});
    let deployment = workload(&tenant, "apps/v1", "Deployment", &script, selector);
    tenant.apply(&job).expect_ok();
    tenant.apply(&deployment).expect_ok();

    tenant.kubectl(&["wait", "--for=condition=Complete", "--timeout=90s", "job/recorder"]).expect_ok();
    let delivered = tenant.object("job.wav").expect("what a completed job recorded is delivered");
    assert_eq!(delivered, b"job.wav\n");
    tenant.kubectl(&["rollout", "status", "--timeout=90s", "deployment/recorder"]).expect_ok();
    let delivered = wait_for("its recording", || tenant.describe(), || tenant.object("deployment.wav"));
    assert_eq!(delivered, b"deployment.wav\n");
}
