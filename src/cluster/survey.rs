//! What a user may see around destinations: recorders, workloads whose pods are refused, and the operator's Deployments.
//!
//! Only the fields that are shown are read. An object that cannot be decoded is left out, so that no tenant's object spoils
//! the list of another.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::names;
use crate::api::{DESTINATION_ANNOTATION, INJECT_LABEL, UPLOADER_CONTAINER};

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// A pod that is meant to record: it has our label or our annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderPod {
    pub namespace: String,
    pub name: String,
    /// Value of the label that asks for a sidecar.
    pub label: Option<String>,
    /// Value of the annotation that names the destination.
    pub destination: Option<String>,
    pub sidecar: Sidecar,
}

/// The upload sidecar of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sidecar {
    Missing,
    Running,
    /// It does not run, for this reason of the kubelet's.
    Down(String),
}

/// A workload whose pods the API server refuses to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedWorkload {
    pub namespace: String,
    pub kind: String,
    pub name: String,
    /// The controller's own words.
    pub message: String,
    pub last: Option<Timestamp>,
    pub count: i64,
}

/// A Deployment of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorDeployment {
    pub namespace: String,
    pub name: String,
    /// `controller`, `webhook` or `broker`.
    pub component: String,
    pub wanted: i64,
    pub available: i64,
}

/// The pods that are meant to record and have not ended, of one namespace or of all.
pub async fn recorder_pods(client: &Client, namespace: Option<&str>) -> kube::Result<Vec<RecorderPod>> {
    let alive = "status.phase!=Succeeded,status.phase!=Failed";
    let labelled = ListParams::default().fields(alive).labels(INJECT_LABEL);
    let mut pods: Vec<_> = list::<Pod>(client, namespace, labelled, false).await?.iter().map(pod).collect();
    // No selector finds an annotation. Without the label there is no sidecar, so the metadata says all.
    let others = ListParams::default().fields(alive).labels(&format!("!{INJECT_LABEL}"));
    let others = list::<Pod>(client, namespace, others, true).await?;
    pods.extend(others.iter().map(pod).filter(|pod| pod.destination.is_some()));
    Ok(pods)
}

/// The workloads that lately could not create a pod, each once, as their controllers' Events tell.
pub async fn refused_workloads(
    client: &Client,
    namespace: Option<&str>,
) -> kube::Result<Vec<RefusedWorkload>> {
    let params = ListParams::default().fields("reason=FailedCreate");
    let mut all: Vec<_> =
        list::<Event>(client, namespace, params, false).await?.iter().map(refusal).collect();
    all.sort_by_key(|refused| std::cmp::Reverse(refused.last));
    let mut newest: Vec<RefusedWorkload> = Vec::new();
    for refused in all {
        let is_same = |known: &RefusedWorkload| {
            (&known.namespace, &known.kind, &known.name) == (&refused.namespace, &refused.kind, &refused.name)
        };
        if !newest.iter().any(is_same) {
            newest.push(refused);
        }
    }
    Ok(newest)
}

/// The operator's Deployments, of one namespace or of all.
pub async fn operator_deployments(
    client: &Client,
    namespace: Option<&str>,
) -> kube::Result<Vec<OperatorDeployment>> {
    let params = ListParams::default().labels("app.kubernetes.io/name=recording-operator");
    Ok(list::<Deployment>(client, namespace, params, false).await?.iter().map(deployment).collect())
}

/// All pages of a list.
async fn list<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
    params: ListParams,
    only_metadata: bool,
) -> kube::Result<Vec<Value>> {
    if let Some(namespace) = namespace {
        names::check(namespace, "any")?;
    }
    let request = Request::new(K::url_path(&(), namespace));
    let mut params = params.limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = if only_metadata { request.list_metadata(&params) } else { request.list(&params) };
        let mut page: Value = client.request(page.map_err(kube::Error::BuildRequest)?).await?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            all.extend(items);
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str) {
            Some(token) if !token.is_empty() => params = params.continue_token(token),
            _ => return Ok(all),
        }
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

fn pod(object: &Value) -> RecorderPod {
    let of_map = |map: &str, key: &str| Some(object["metadata"][map].get(key)?.as_str()?.to_owned());
    RecorderPod {
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        label: of_map("labels", INJECT_LABEL),
        destination: of_map("annotations", DESTINATION_ANNOTATION),
        sidecar: sidecar(object),
    }
}

fn sidecar(pod: &Value) -> Sidecar {
    fn ours(containers: &Value) -> Option<&Value> {
        containers.as_array()?.iter().find(|container| container["name"] == UPLOADER_CONTAINER)
    }
    if ours(&pod["spec"]["initContainers"]).is_none() {
        return Sidecar::Missing;
    }
    let Some(status) = ours(&pod["status"]["initContainerStatuses"]) else { return Sidecar::Running };
    // A container that has only just been created waits as well, for no fault of anybody's.
    let begins = ["PodInitializing", "ContainerCreating"];
    let reason = |state: &str| decoded::<String>(&status["state"][state]["reason"]);
    match reason("waiting").or_else(|| reason("terminated")) {
        Some(reason) if !begins.contains(&reason.as_str()) => Sidecar::Down(reason),
        _ => Sidecar::Running,
    }
}

fn refusal(event: &Value) -> RefusedWorkload {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    let time = |pointer: &&str| event.pointer(pointer).and_then(decoded::<Timestamp>);
    RefusedWorkload {
        namespace: text(event, "/involvedObject/namespace"),
        kind: text(event, "/involvedObject/kind"),
        name: text(event, "/involvedObject/name"),
        message: text(event, "/message"),
        last: times.iter().find_map(time),
        count: number(event, "/series/count").or(number(event, "/count")).unwrap_or(1),
    }
}

fn deployment(object: &Value) -> OperatorDeployment {
    OperatorDeployment {
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        component: object["metadata"]["labels"]
            .get("app.kubernetes.io/component")
            .or_else(|| object["spec"]["selector"]["matchLabels"].get("app.kubernetes.io/component"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        wanted: number(object, "/spec/replicas").unwrap_or(1),
        available: number(object, "/status/availableReplicas").unwrap_or(0),
    }
}

fn decoded<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A client of an API server that answers by the path and query of the request.
    fn answering(answer: impl Fn(&str) -> Value + Clone + Send + 'static) -> Client {
        let server = tower::service_fn(move |request: Request<Body>| {
            let body = answer(&request.uri().to_string()).to_string();
            async move { Ok::<_, Infallible>(Response::new(Body::from(body.into_bytes()))) }
        });
        Client::new(server, "default")
    }

    fn recorder(name: &str, labels: Value, annotations: Value, state: Option<Value>) -> Value {
        let containers = if state.is_some() { json!([{"name": UPLOADER_CONTAINER}]) } else { json!([]) };
        json!({
            "metadata": {"namespace": "acme", "name": name, "labels": labels, "annotations": annotations},
            "spec": {"initContainers": containers},
            "status": {"initContainerStatuses": [{"name": UPLOADER_CONTAINER, "state": state}]},
        })
    }

    #[tokio::test]
    async fn recorders_are_found_by_label_and_by_annotation() {
        let running = Some(json!({"running": {"startedAt": "2030-01-01T00:00:00Z"}}));
        let waiting = |reason: &str| Some(json!({"waiting": {"reason": reason}}));
        let label = |value: &str| json!({INJECT_LABEL: value});
        let to_acme = json!({DESTINATION_ANNOTATION: "acme"});
        let labelled = json!([
            recorder("sends", label("true"), to_acme.clone(), running),
            recorder("begins", label("true"), to_acme.clone(), waiting("PodInitializing")),
            recorder("crashes", label("true"), to_acme.clone(), waiting("CrashLoopBackOff")),
            recorder("without", label("true"), to_acme.clone(), None),
        ]);
        let second_page = json!([recorder("wrong-value", label("yes"), json!({}), None)]);
        let others = json!([
            recorder("unlabelled", json!({}), to_acme, None),
            recorder("of-others", json!({}), json!({"a": "b"}), None),
        ]);
        let client = answering(move |asked| {
            assert!(asked.contains("/namespaces/acme/pods?") && asked.contains("status.phase"), "{asked}");
            match asked {
                asked if asked.contains("continue=more") => json!({"items": second_page}),
                asked if asked.contains("labelSelector=%21") => json!({"items": others}),
                _ => json!({"items": labelled, "metadata": {"continue": "more"}}),
            }
        });
        let found = recorder_pods(&client, Some("acme")).await.unwrap();
        let seen: Vec<_> =
            found.iter().map(|pod| (&*pod.name, pod.label.as_deref(), pod.sidecar.clone())).collect();
        let down = Sidecar::Down("CrashLoopBackOff".to_owned());
        let expected = [
            ("sends", Some("true"), Sidecar::Running),
            ("begins", Some("true"), Sidecar::Running),
            ("crashes", Some("true"), down),
            ("without", Some("true"), Sidecar::Missing),
            ("wrong-value", Some("yes"), Sidecar::Missing),
            ("unlabelled", None, Sidecar::Missing),
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_workload_is_named_once_with_its_newest_refusal() {
        let event = |name: &str, message: &str, last: Value| {
            json!({
                "involvedObject": {"kind": "ReplicaSet", "namespace": "acme", "name": name},
                "message": message, "lastTimestamp": last, "count": 7,
            })
        };
        let events = json!([
            event("recorder", "older", json!("2030-01-01T00:00:00Z")),
            event("recorder", "newer", json!("2030-01-01T00:05:00Z")),
            event("odd", "of a time that no clock can hold", json!("99999-01-01T00:00:00Z")),
        ]);
        let client = answering(move |asked| {
            assert!(asked.contains("/api/v1/events?"), "{asked}");
            json!({"items": events})
        });
        let found = refused_workloads(&client, None).await.unwrap();
        let seen: Vec<_> = found.iter().map(|refused| (&*refused.message, refused.last.is_some())).collect();
        assert_eq!(seen, [("newer", true), ("of a time that no clock can hold", false)]);
    }

    #[tokio::test]
    async fn a_deployment_tells_how_many_of_its_pods_answer() {
        let client = answering(|asked| {
            assert!(asked.contains("/apis/apps/v1/deployments?"), "{asked}");
            json!({"items": [
                {
                    "metadata": {"namespace": "operator", "name": "r-broker", "labels": {}},
                    "spec": {"replicas": 2, "selector": {"matchLabels": {"app.kubernetes.io/component": "broker"}}},
                    "status": {"availableReplicas": 1},
                },
                {"metadata": {"name": "r-webhook"}, "spec": {"replicas": 0}, "status": {}},
            ]})
        });
        let found = operator_deployments(&client, None).await.unwrap();
        let seen: Vec<_> = found.iter().map(|d| (&*d.component, d.wanted, d.available)).collect();
        assert_eq!(seen, [("broker", 2, 1), ("", 0, 0)]);
    }
}
