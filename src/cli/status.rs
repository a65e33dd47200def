//! `status`: all tenants at a glance, failing ones first.

use jiff::Timestamp;
use serde::Serialize;

use super::explanation::{Readiness, age, side};
use super::kubernetes::{Kubernetes, failure};
use super::output::{BAD, CommandOutcome, DIM, DOUBTFUL, Failure, GOOD, Report, paint};
use crate::api::{ConditionType, RecordingDestination};
use crate::cluster::destinations;

/// Whose status to show.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Namespace; all when absent.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

/// The destinations, worst first.
#[derive(Serialize)]
pub(super) struct Overview {
    destinations: Vec<Row>,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Serialize)]
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
}

/// From worst to best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Failing,
    Stuck,
    Unknown,
    Suspended,
    Open,
    Well,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Overview, Failure> {
    let (client, _) = arguments.kubernetes.connect().await?;
    let all =
        destinations::list(&client, arguments.namespace.as_deref()).await.map_err(|error| failure(&error))?;
    Ok(Overview::of(&all, Timestamp::now()))
}

impl Overview {
    pub(super) fn of(all: &[RecordingDestination], now: Timestamp) -> Self {
        let mut destinations: Vec<_> = all.iter().map(Row::of).collect();
        let place = |row: &Row| (row.grade(), row.namespace.clone(), row.name.clone());
        destinations.sort_by_key(place);
        Overview { destinations, now }
    }
}

impl Row {
    fn of(destination: &RecordingDestination) -> Self {
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
        };
        let concern = match row.grade() {
            Grade::Stuck => destination.condition(ConditionType::Delivering),
            Grade::Open => destination.condition(ConditionType::ExternalIDEnforced),
            _ => None,
        };
        if let Some(condition) = concern {
            row.readiness.reason = condition.reason.clone();
            row.readiness.side = side(&condition.reason);
            row.readiness.message = condition.message.clone();
        }
        row
    }

    fn grade(&self) -> Grade {
        match self.readiness.ready.as_str() {
            "False" if self.readiness.reason == "Suspended" => Grade::Suspended,
            "False" => Grade::Failing,
            "True" if self.delivering == "False" => Grade::Stuck,
            "True" if self.enforced != "True" => Grade::Open,
            "True" => Grade::Well,
            _ => Grade::Unknown,
        }
    }

    fn cells(&self, now: Timestamp) -> [String; 9] {
        let ago = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| age(now.duration_since(time)));
        let Readiness { ready, reason, side, since, .. } = &self.readiness;
        let side = side.map_or("-".to_owned(), |side| side.to_string());
        let cells = [&self.namespace, &self.name, ready, reason, &side].map(String::as_str);
        let [namespace, name, ready, reason, side] = cells.map(str::to_owned);
        [
            namespace,
            name,
            ready,
            reason,
            side,
            ago(*since),
            self.enforced.clone(),
            self.delivering.clone(),
            ago(self.last_validation_time),
        ]
    }
}

const HEADER: [&str; 9] =
    ["NAMESPACE", "NAME", "READY", "REASON", "WHOSE", "FOR", "ENFORCED", "DELIVERING", "VALIDATED"];

impl Report for Overview {
    fn text(&self) -> String {
        if self.destinations.is_empty() {
            return "there is no RecordingDestination yet: kubectl recordings init begins one\n".to_owned();
        }
        let rows: Vec<_> = self.destinations.iter().map(|row| (row.grade(), row.cells(self.now))).collect();
        let mut widths = HEADER.map(str::len);
        for (_, cells) in &rows {
            cells.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.len().max(*width));
        }
        let line = |cells: &[String; 9]| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut text = line(&HEADER.map(str::to_owned)) + "\n";
        for (grade, cells) in &rows {
            let style = match grade {
                Grade::Failing | Grade::Stuck => BAD,
                Grade::Unknown | Grade::Suspended | Grade::Open => DOUBTFUL,
                Grade::Well => GOOD,
            };
            text.push_str(&format!("{}\n", paint(style, &line(cells))));
        }
        let count = |grades: &[Grade]| rows.iter().filter(|(grade, _)| grades.contains(grade)).count();
        let parts = [
            (count(&[Grade::Well]), "well"),
            (count(&[Grade::Failing]), "not ready"),
            (count(&[Grade::Stuck]), "ready with recordings that wait"),
            (count(&[Grade::Unknown]), "not known"),
            (count(&[Grade::Suspended]), "suspended"),
            (count(&[Grade::Open]), "ready with a role that is not proved to refuse others"),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        text.push_str(&format!("\n{} in all: {}\n", rows.len(), parts.join(", ")));
        let first = &self.destinations[0];
        if first.grade() != Grade::Well {
            let explain = format!("kubectl recordings explain {} -n {}", first.name, first.namespace);
            text.push_str(&paint(DIM, &format!("{explain} says what to do about the first\n")));
        }
        text
    }

    /// The worst of all.
    fn outcome(&self) -> CommandOutcome {
        let outcomes = self.destinations.iter().map(|row| match row.grade() {
            Grade::Failing | Grade::Stuck | Grade::Suspended => CommandOutcome::Wrong,
            Grade::Unknown => CommandOutcome::Unclear,
            Grade::Open | Grade::Well => CommandOutcome::Well,
        });
        outcomes.max().unwrap_or(CommandOutcome::Well)
    }
}
