//! What a destination's status cannot tell: pods without a sidecar, workloads whose pods are refused, and whether the operator
//! answers. It is read with the user's own rights, and what they do not cover is named.

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde::Serialize;

use super::output::{BAD, DIM, paint};
use super::words::age;
use crate::api::{DESTINATION_ANNOTATION, INJECT_LABEL, UPLOADER_CONTAINER, agreeing, counted};
use crate::cluster::survey::{self, OperatorDeployment, RecorderPod, RefusedWorkload, Sidecar};

/// The namespace in which the documents install the chart.
const USUAL_NAMESPACE: &str = "recording-operator";
/// A workload repeats a refused pod at least this often: the longest pause of the ReplicaSet controller is 1,000 seconds.
const REPEATED_WITHIN: SignedDuration = SignedDuration::from_mins(20);
/// Most lines of each list that people read.
const LINES: usize = 20;

/// What the user may see.
pub(super) struct Seen {
    pub pods: Result<Vec<RecorderPod>, String>,
    pub refused: Result<Vec<RefusedWorkload>, String>,
    pub operator: Result<Vec<OperatorDeployment>, String>,
}

/// What is wrong around destinations.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Surroundings {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pods_without_sidecar: Vec<PodInTrouble>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pods_with_sidecar_down: Vec<PodInTrouble>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused_workloads: Vec<Refused>,
    /// What of the operator does not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operator: Vec<String>,
    /// What the user may not see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cannot_tell: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodInTrouble {
    namespace: String,
    pod: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    message: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    namespace: String,
    kind: String,
    name: String,
    count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_time: Option<Timestamp>,
    message: String,
}

impl Seen {
    /// Asks for everything at once. A refusal is an answer.
    pub(super) async fn by(client: &Client, namespace: Option<&str>) -> Self {
        let (pods, refused, operator) = tokio::join!(
            survey::recorder_pods(client, namespace),
            survey::refused_workloads(client, namespace),
            operator(client),
        );
        Seen {
            pods: pods.map_err(|error| cause(&error)),
            refused: refused.map_err(|error| cause(&error)),
            operator,
        }
    }
}

/// The Deployments of the cluster, or those of the usual namespace where the user may not see all.
async fn operator(client: &Client) -> Result<Vec<OperatorDeployment>, String> {
    let refused = match survey::operator_deployments(client, None).await {
        Ok(found) => return Ok(found),
        Err(error) => cause(&error),
    };
    match survey::operator_deployments(client, Some(USUAL_NAMESPACE)).await {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(refused),
    }
}

fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(refusal) => refusal.message.clone(),
        error => error.to_string(),
    }
}

impl Surroundings {
    /// `concerns` chooses the pods, by namespace and destination.
    pub(super) fn of(seen: Seen, concerns: impl Fn(&RecorderPod) -> bool, now: Timestamp) -> Self {
        let mut all = Surroundings::default();
        match seen.pods {
            Ok(pods) => {
                for pod in pods.into_iter().filter(concerns) {
                    all.pod(pod);
                }
            }
            Err(refused) => all.cannot_tell.push(format!("which pods have no sidecar: {refused}")),
        }
        match seen.refused {
            Ok(refused) => all.refused_workloads = refusals(refused, now),
            Err(refused) => {
                all.cannot_tell.push(format!("which workloads have their pods refused: {refused}"))
            }
        }
        match seen.operator {
            Ok(deployments) => all.operator = silent_components(&deployments),
            Err(refused) => all.cannot_tell.push(format!(
                "whether controller, webhook and broker run: {refused}; kubectl recordings validate NAME tells within a minute \
                 whether the controller answers"
            )),
        }
        all
    }

    fn pod(&mut self, pod: RecorderPod) {
        let down = match &pod.sidecar {
            Sidecar::Missing => None,
            Sidecar::Running => return,
            Sidecar::Down(reason) => Some(format!(
                "the container {UPLOADER_CONTAINER} does not run ({reason}): kubectl logs {} --namespace {} --container \
                 {UPLOADER_CONTAINER} --previous",
                pod.name, pod.namespace
            )),
        };
        let Some(message) = down.clone().or_else(|| why_no_sidecar(&pod)) else { return };
        let list =
            if down.is_some() { &mut self.pods_with_sidecar_down } else { &mut self.pods_without_sidecar };
        let RecorderPod { namespace, name, destination, .. } = pod;
        list.push(PodInTrouble { namespace, pod: name, destination, message });
    }

    pub(super) fn is_in_order(&self) -> bool {
        self.pods_without_sidecar.is_empty()
            && self.pods_with_sidecar_down.is_empty()
            && self.refused_workloads.is_empty()
            && self.operator.is_empty()
    }

    /// The worst of it in a clause, of one destination.
    pub(super) fn worst(&self) -> Option<String> {
        if let without @ 1.. = self.pods_without_sidecar.len() {
            let verbs = agreeing(without, ("names", "has"), ("name", "have"));
            return Some(format!("{} that {} it {} no sidecar", counted(without, "pod"), verbs.0, verbs.1));
        }
        if let down @ 1.. = self.pods_with_sidecar_down.len() {
            return Some(format!("the sidecar of {} does not run", counted(down, "pod")));
        }
        if let Some(silent) = self.operator.first() {
            return Some(silent.split([';', ':', '(']).next().unwrap_or_default().trim_end().to_owned());
        }
        let refused = self.refused_workloads.len();
        (refused > 0).then(|| format!("{} in its namespace cannot create pods", counted(refused, "workload")))
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        let pods = |pods: &[PodInTrouble]| -> Vec<String> {
            pods.iter().map(|pod| format!("{}/{}: {}", pod.namespace, pod.pod, pod.message)).collect()
        };
        let refused = self.refused_workloads.iter().map(|refused| {
            let Refused { namespace, kind, name, message, .. } = refused;
            let last = refused.last_time.map(|last| format!(", last {} ago", age(now.duration_since(last))));
            let times = counted(refused.count, "time");
            format!("{namespace}/{name} ({kind}), {times}{}: {message}", last.unwrap_or_default())
        });
        let mut text = String::new();
        for (title, lines) in [
            ("Pods without a sidecar: their recordings are not uploaded", pods(&self.pods_without_sidecar)),
            ("Pods whose sidecar does not run", pods(&self.pods_with_sidecar_down)),
            ("Workloads whose pods are refused", refused.collect()),
            ("The operator", self.operator.clone()),
        ] {
            if lines.is_empty() {
                continue;
            }
            text.push_str(&format!("\n{}\n", paint(BAD.bold(), title)));
            for line in lines.iter().take(LINES) {
                text.push_str(&format!("  {} {line}\n", paint(BAD, "✗")));
            }
            if lines.len() > LINES {
                let more = lines.len() - LINES;
                text.push_str(&paint(DIM, &format!("    and {more} more: -o json lists them\n")));
            }
        }
        for what in &self.cannot_tell {
            text.push_str(&format!("\n{}\n", paint(DIM, &format!("cannot tell {what}"))));
        }
        text
    }
}

/// Why the pod has no sidecar; `None` where it plainly is to have none.
fn why_no_sidecar(pod: &RecorderPod) -> Option<String> {
    match pod.label.as_deref() {
        Some("false") => None,
        Some("true") => Some(
            "it was created while the webhook was away, or in a namespace that the webhook leaves out: delete the pod, and its \
             workload creates it again with a sidecar"
                .to_owned(),
        ),
        Some(other) => Some(format!(
            "its label {INJECT_LABEL} is {other:?}: set it to \"true\" in the pod template, and the pods are replaced"
        )),
        None => Some(format!(
            "it has the annotation {DESTINATION_ANNOTATION} and not the label: add {INJECT_LABEL}: \"true\" to the labels of \
             the pod template"
        )),
    }
}

/// The refusals that have to do with us and are still repeated.
fn refusals(all: Vec<RefusedWorkload>, now: Timestamp) -> Vec<Refused> {
    let is_ours = |refused: &RefusedWorkload| {
        ["recordings.revenue.io", "recording-operator", UPLOADER_CONTAINER]
            .iter()
            .any(|word| refused.message.contains(word))
    };
    let is_recent = |refused: &RefusedWorkload| {
        refused.last.is_none_or(|last| now.duration_since(last) <= REPEATED_WITHIN)
    };
    let ours = all.into_iter().filter(|refused| is_ours(refused) && is_recent(refused));
    let refused = ours.map(|refused| {
        let RefusedWorkload { namespace, kind, name, message, last, count } = refused;
        let why = message.split_once("denied the request: ").map(|(_, why)| why.to_owned());
        Refused { namespace, kind, name, count, last_time: last, message: why.unwrap_or(message) }
    });
    refused.collect()
}

/// What of the operator does not answer, and what that means.
fn silent_components(deployments: &[OperatorDeployment]) -> Vec<String> {
    if deployments.is_empty() {
        return vec![
            "no Deployment of the operator is in this cluster: install the chart; until then no status is renewed and no \
             sidecar gets new credentials"
                .to_owned(),
        ];
    }
    let components = [
        ("controller", "destinations are not validated, and their statuses are not renewed"),
        ("webhook", "pods with the label are refused"),
        ("broker", "sidecars get no new credentials, and what they report is not in the statuses"),
    ];
    let mut silent = Vec::new();
    for (component, meaning) in components {
        let of_it: Vec<_> = deployments.iter().filter(|it| it.component == component).collect();
        if of_it.iter().any(|it| it.available > 0) {
            continue;
        }
        let what = match of_it.first() {
            None => format!("the {component} has no Deployment"),
            Some(it) if it.wanted == 0 => {
                format!(
                    "the {component} is scaled to 0 (Deployment {} in namespace {})",
                    it.name, it.namespace
                )
            }
            Some(it) => format!(
                "the {component} does not answer: no pod of Deployment {} in namespace {} is available",
                it.name, it.namespace
            ),
        };
        silent.push(format!("{what}; {meaning}"));
    }
    silent
}
