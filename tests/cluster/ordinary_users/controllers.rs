//! Pods, as the kubelet, the scheduler and the controllers of Kubernetes make and change them.

use serde_json::json;

use super::{Actor, Permitted, Request, Row};
use crate::support::{Tenant, get, wait_for};

/// Requests about pods with and without the label. `editor` evicts pods, as `kubectl drain` does.
pub fn rows(namespace: &str, editor: &Actor) -> Vec<Row> {
    let path =
        |pod: &str, subresource: &str| format!("/api/v1/namespaces/{namespace}/pods/{pod}/{subresource}");
    let node = get(&["--namespace", namespace, "pod", "labelled"]).unwrap()["spec"]["nodeName"].clone();
    let node = node.as_str().unwrap();
    let kubelet = || Actor::user(&format!("system:node:{node}")).in_group("system:nodes").with_every_right();
    let controller = |name: &str| Actor::service_account("kube-system", name);
    let condition =
        |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True", "reason": "Test"}]}});
    let status = |pod: &str, kind: &str| {
        Request::patch_subresource(&format!("pod/{pod}"), "status", "strategic", &condition(kind))
    };
    let binding = |pod: &str| {
        let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
        Request::raw("create", &path(pod, "binding"), &body)
    };
    let eviction = |pod: &str| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"dryRun": ["All"]}});
        Request::raw("create", &path(pod, "eviction"), &body)
    };
    vec![
        ("writes its status", kubelet(), status("labelled", "Ready"), Permitted),
        ("writes its status", kubelet(), status("plain", "Ready"), Permitted),
        (
            "says why it must go",
            controller("pod-garbage-collector").with_every_right(),
            status("labelled", "DisruptionTarget"),
            Permitted,
        ),
        ("binds it to a node", Actor::user("system:kube-scheduler"), binding("waiting"), Permitted),
        ("evicts it", editor.clone(), eviction("labelled"), Permitted),
        ("evicts it", editor.clone(), eviction("plain"), Permitted),
        ("deletes it", controller("namespace-controller"), Request::delete("pod/labelled"), Permitted),
        ("deletes it", controller("generic-garbage-collector"), Request::delete("pod/labelled"), Permitted),
    ]
}

/// Waits for the pods of a Deployment and of a Job, which Kubernetes' controllers create.
pub fn workloads_get_their_pods(tenant: &Tenant) {
    let mut template = tenant.recorder("recorder");
    template["metadata"]["labels"]["app"] = json!("recorder");
    template["metadata"].as_object_mut().unwrap().remove("name");
    let template = |restart: &str| {
        let mut template = template.clone();
        template["spec"]["restartPolicy"] = json!(restart);
        json!({"metadata": template["metadata"], "spec": template["spec"]})
    };
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "recorder"},
        "spec": {"selector": {"matchLabels": {"app": "recorder"}}, "template": template("Always")}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "recorder"},
        "spec": {"template": template("Never")}});
    for (workload, kind, label) in
        [(deployment, "deployment", "pod-template-hash"), (job, "job", "batch.kubernetes.io/job-name")]
    {
        tenant.apply(&workload).expect_ok();
        let pods = || {
            let pods = tenant.get(&["pods", "--selector", label])?;
            pods["items"].as_array()?.iter().find(|pod| pod["spec"]["initContainers"].is_array()).map(drop)
        };
        wait_for(&format!("a pod of the {kind}, with its sidecar"), || tenant.describe(), pods);
        tenant.kubectl(&["delete", kind, "recorder", "--cascade=foreground", "--wait=false"]).expect_ok();
    }
}
