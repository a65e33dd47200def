//! `status`: tenants at a glance, failing ones first, and what around them no status tells.

mod table;
mod watch;

use jiff::Timestamp;
use serde::Serialize;

use super::grade::{Grade, not_renewed_since, silent};
use super::kubernetes::{Kubernetes, failure};
use super::output::{CommandOutcome, Failure};
use super::readiness::{Readiness, side};
use super::surroundings::{Seen, Surroundings};
use crate::api::{ConditionType, RecordingDestination};
use crate::cluster::destinations;
pub(super) use watch::watch;

/// Whose status to show.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Show the destinations of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Show the destinations with these labels, such as team=voice,tier!=test.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Then show each destination again when it changes.
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

/// The destinations, worst first.
#[derive(Serialize)]
pub(super) struct Overview {
    destinations: Vec<Row>,
    #[serde(flatten)]
    surroundings: Surroundings,
    /// The namespace that is shown; all when absent.
    #[serde(skip)]
    namespace: Option<String>,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    /// Of one that is ready, the reason is that of its deliveries or of its role, where these are not in order.
    #[serde(flatten)]
    readiness: Readiness,
    /// Of the condition ExternalIDEnforced: under `enforcement: warn` one may be ready without.
    enforced: String,
    /// Of the condition Delivering.
    delivering: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_validation_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_upload_time: Option<Timestamp>,
    /// Since when the status has not been renewed, where it should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_renewed_since: Option<Timestamp>,
    /// Pods that were in trouble and have sent no report since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    silent_pods: Vec<String>,
    #[serde(skip)]
    grade: Grade,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Overview, Failure> {
    let (client, current) = arguments.kubernetes.connect().await?;
    let namespace = Some(current).filter(|_| !arguments.all_namespaces);
    let (namespace, selector) = (namespace.as_deref(), arguments.selector.as_deref());
    let all = destinations::list(&client, namespace, selector);
    let (all, seen) = tokio::join!(all, Seen::by(&client, namespace));
    let all = all.map_err(|error| failure(&error))?;
    let now = Timestamp::now();
    let is_chosen = |namespace: &str, destination: Option<&str>| {
        selector.is_none()
            || all.iter().any(|it| {
                (it.metadata.namespace.as_deref(), it.metadata.name.as_deref())
                    == (Some(namespace), destination)
            })
    };
    let surroundings =
        Surroundings::of(seen, |pod| is_chosen(&pod.namespace, pod.destination.as_deref()), now);
    Ok(Overview::of(&all, surroundings, namespace, now))
}

impl Overview {
    pub(super) fn of(
        all: &[RecordingDestination],
        surroundings: Surroundings,
        namespace: Option<&str>,
        now: Timestamp,
    ) -> Self {
        let mut destinations: Vec<_> = all.iter().map(|destination| Row::of(destination, now)).collect();
        let place = |row: &Row| (row.grade, row.namespace.clone(), row.name.clone());
        destinations.sort_by_key(place);
        Overview { destinations, surroundings, namespace: namespace.map(str::to_owned), now }
    }

    /// The worst of all.
    fn worst(&self) -> CommandOutcome {
        let outcomes = self.destinations.iter().map(|row| row.grade.outcome());
        let around =
            if self.surroundings.is_in_order() { CommandOutcome::Well } else { CommandOutcome::Wrong };
        outcomes.chain([around]).max().unwrap_or(CommandOutcome::Well)
    }
}

impl Row {
    fn of(destination: &RecordingDestination, now: Timestamp) -> Self {
        let value = |kind| destination.condition(kind).map_or("Unknown".to_owned(), |c| c.status.clone());
        let status = destination.status.as_ref();
        let mut row = Row {
            namespace: destination.metadata.namespace.clone().unwrap_or_default(),
            name: destination.metadata.name.clone().unwrap_or_default(),
            readiness: Readiness::of(destination),
            enforced: value(ConditionType::ExternalIDEnforced),
            delivering: value(ConditionType::Delivering),
            last_validation_time: status.and_then(|s| Some(s.last_validation_time.as_ref()?.0)),
            last_upload_time: status.and_then(|s| Some(s.last_upload_time.as_ref()?.0)),
            not_renewed_since: not_renewed_since(destination, now),
            silent_pods: silent(destination, now).map(|uploader| uploader.pod.clone()).collect(),
            grade: Grade::of(destination, now),
        };
        if let Some((reason, newest)) = row.grade.loss(destination) {
            row.readiness.reason = reason.to_string();
            row.readiness.side = reason.side();
            row.readiness.since = Some(newest);
        }
        // Of a destination that is not Ready, that is why its recordings wait.
        let concern = match row.grade {
            Grade::NotDelivering if row.readiness.ready == "True" => {
                destination.condition(ConditionType::Delivering)
            }
            Grade::NotEnforced => destination.condition(ConditionType::ExternalIDEnforced),
            _ => None,
        };
        if let Some(condition) = concern {
            row.readiness.reason = condition.reason.clone();
            row.readiness.side = side(&condition.reason);
            row.readiness.message = condition.message.clone();
            row.readiness.since = Some(condition.last_transition_time.0);
        }
        row
    }
}
