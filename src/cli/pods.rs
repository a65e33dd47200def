//! Pods in manifests, and those that other objects would make.

use serde_json::{Value, json};

use super::yaml::Node;
use crate::api::INJECT_LABEL;
use crate::domain::injection::{self, Refusal, Settings};

/// A pod, as it would come before the webhook.
pub(super) struct Pod {
    /// Kind and name of what makes it, or of itself.
    pub of: String,
    pub value: Value,
    /// Whether the label for a sidecar is on the workload, where it has no effect.
    pub label_is_on_maker: bool,
}

/// The pod that an object is or makes; a List has those of all its items.
pub(super) fn of(object: &Node) -> Vec<Pod> {
    let kind = object.text(&["kind"]).unwrap_or_default();
    if kind == "List" {
        let items = object.at(&["items"]).map(Node::items).unwrap_or_default();
        return items.iter().flat_map(of).collect();
    }
    let name = object.text(&["metadata", "name"]).unwrap_or_default();
    let Some(pod) = template(kind, object) else { return Vec::new() };
    let mut value = pod.value();
    if let Some(fields) = value.as_object_mut() {
        fields.extend([("apiVersion".to_owned(), json!("v1")), ("kind".to_owned(), json!("Pod"))]);
    }
    let is_labelled = |node: &Node| node.at(&["metadata", "labels", INJECT_LABEL]).is_some();
    let label_is_on_maker = kind != "Pod" && is_labelled(object) && !is_labelled(pod);
    vec![Pod { of: format!("{kind} {name}").trim().to_owned(), value, label_is_on_maker }]
}

/// Where an object describes its pods.
pub(super) fn template<'a>(kind: &str, object: &'a Node) -> Option<&'a Node> {
    match kind {
        "Pod" => Some(object),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            object.at(&["spec", "template"])
        }
        "CronJob" => object.at(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

impl Pod {
    /// Why the webhook would refuse it, whatever its settings.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let [image, broker_url, broker_ca] = Default::default();
        let settings = Settings::usual(image, broker_url, broker_ca);
        injection::inject(&self.value, &settings).err()
    }
}
