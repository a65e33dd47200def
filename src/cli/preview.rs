//! `preview`: pods as the webhook would leave them.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::files;
use super::output::{CommandOutcome, Failure, Report, note};
use super::pods::{self, Pod};
use crate::api::INJECT_LABEL;
use crate::domain::injection::{self, Settings};

/// What to preview.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Files and directories with pods, or with what makes pods: Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs
    /// and CronJobs; - is standard input. Of a directory, the files *.json, *.yaml and *.yml are read.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read the directories within directories, too.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Image of the sidecar, as the operator was installed with.
    #[arg(long, default_value = concat!("recording-operator:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// Namespace of the operator, in which the broker is.
    #[arg(long, default_value = "recording-operator")]
    operator_namespace: String,
}

/// The pods of some files.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Previews(Vec<Preview>);

#[derive(Serialize)]
struct Preview {
    /// Kind and name of what makes the pod.
    of: String,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    /// The pod with its sidecar.
    Injected(Value),
    /// The unchanged pod, which requests no sidecar.
    Unchanged(Value),
    Refused(String),
}

pub(super) fn run(arguments: &Arguments) -> Result<Previews, Failure> {
    let settings = Settings::usual(
        arguments.image.clone(),
        format!("https://recording-operator-broker.{}.svc:8443", arguments.operator_namespace),
        "(the broker's CA certificates, as the operator knows them)".to_owned(),
    );
    let documents = files::documents(files::read(&arguments.files, arguments.recursive)?)?;
    let previews: Vec<_> = documents.iter().flat_map(pods::of).map(|pod| preview(pod, &settings)).collect();
    if previews.is_empty() {
        return Err(Failure::Undone(
            "there is no pod in it, nor anything that makes pods; name a file with a Pod, Deployment, StatefulSet, \
             DaemonSet, ReplicaSet, Job or CronJob"
                .to_owned(),
        ));
    }
    if previews.iter().any(|preview| matches!(preview.answer, Answer::Injected(_))) {
        note(
            "whether the destination exists is not checked; the operator puts its own image and CA in place of these, and \
             the resources, bounds and log level of its chart's values where they are not the chart's defaults",
        );
    }
    Ok(Previews(previews))
}

fn preview(pod: Pod, settings: &Settings) -> Preview {
    let Pod { of, value, label_is_on_maker } = pod;
    if label_is_on_maker {
        note(&format!(
            "{of} has the label {INJECT_LABEL}, its pods have not: put it into the metadata of the pod template"
        ));
    }
    let answer = match injection::inject(&value, settings) {
        Ok(injected) if injected != value => Answer::Injected(injected),
        Ok(same) => Answer::Unchanged(same),
        Err(refusal) => Answer::Refused(refusal.to_string()),
    };
    Preview { of, answer }
}

impl Report for Previews {
    fn text(&self) -> String {
        let document = |preview: &Preview| {
            let (what, pod) = match &preview.answer {
                Answer::Injected(pod) => ("with its sidecar".to_owned(), Some(pod)),
                Answer::Unchanged(pod) => (
                    format!("asks for no sidecar, as its pod is not labelled {INJECT_LABEL}=true"),
                    Some(pod),
                ),
                Answer::Refused(refusal) => (format!("refused: {refusal}"), None),
            };
            let pod = pod.map(|pod| serde_yaml::to_string(pod).expect("JSON values serialize"));
            format!("# {}: {what}\n{}", preview.of, pod.unwrap_or_default())
        };
        self.0.iter().map(document).collect::<Vec<_>>().join("---\n")
    }

    fn outcome(&self) -> CommandOutcome {
        let refused = self.0.iter().any(|preview| matches!(preview.answer, Answer::Refused(_)));
        if refused { CommandOutcome::Wrong } else { CommandOutcome::Well }
    }
}
