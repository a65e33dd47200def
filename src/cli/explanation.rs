//! The state of one destination in full: what fails, the side that can act, and the remedy.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::output::{BAD, CommandOutcome, DIM, DOUBTFUL, GOOD, Report, paint};
use crate::api::{
    Check, CheckName, CheckResult, ConditionType, Reason, RecordingDestination, RecordingDestinationStatus,
    Side, UPLOADER_CONTAINER, Uploaders,
};

/// Whether a destination is Ready, for the spec as it now stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Readiness {
    /// `True`, `False` or `Unknown`.
    pub ready: String,
    /// The reason of the condition.
    pub reason: String,
    /// The side that can act; absent where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The same in a sentence.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Readiness {
    pub(super) fn of(destination: &RecordingDestination) -> Self {
        let unseen = |message: &str| Readiness {
            ready: "Unknown".to_owned(),
            reason: Reason::Progressing.to_string(),
            side: Reason::Progressing.side(),
            message: message.to_owned(),
            since: destination.metadata.creation_timestamp.as_ref().map(|time| time.0),
        };
        match destination.condition(ConditionType::Ready) {
            None => unseen(
                "the operator has not looked at it yet: if that lasts, see whether its controller runs",
            ),
            Some(condition) if condition.observed_generation != destination.metadata.generation => {
                unseen("it was edited, and the operator has not looked at it since")
            }
            Some(condition) => Readiness {
                ready: condition.status.clone(),
                reason: condition.reason.clone(),
                side: side(&condition.reason),
                message: condition.message.clone(),
                since: Some(condition.last_transition_time.0),
            },
        }
    }

    pub(super) fn outcome(&self) -> CommandOutcome {
        match self.ready.as_str() {
            "True" => CommandOutcome::Well,
            "False" => CommandOutcome::Wrong,
            _ => CommandOutcome::Unclear,
        }
    }
}

/// The side that can act on a reason; `None` for a reason of a later release.
pub(super) fn side(reason: &str) -> Option<Side> {
    reason.parse::<Reason>().ok().and_then(Reason::side)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    #[serde(flatten)]
    readiness: Readiness,
    /// What failed or was inconclusive, each with its remedy.
    problems: Vec<Problem>,
    /// Every step of the last validation.
    checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivering: Option<Delivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaders: Option<Uploaders>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_validation_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_enforcement_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_upload_time: Option<Timestamp>,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
    #[serde(skip)]
    is_clear: bool,
}

#[derive(Serialize)]
struct Delivery {
    status: String,
    reason: String,
    message: String,
}

impl Explanation {
    pub(super) fn of(destination: &RecordingDestination, now: Timestamp) -> Self {
        let readiness = Readiness::of(destination);
        let status = destination.status.clone().unwrap_or_default();
        let delivering = destination.condition(ConditionType::Delivering).map(|condition| Delivery {
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        });
        Explanation {
            namespace: destination.metadata.namespace.clone().unwrap_or_default(),
            name: destination.metadata.name.clone().unwrap_or_default(),
            problems: problems(destination, &readiness, &status),
            readiness,
            checks: status.checks,
            delivering,
            uploaders: status.uploaders,
            last_validation_time: status.last_validation_time.map(|time| time.0),
            last_enforcement_time: status.last_enforcement_time.map(|time| time.0),
            last_upload_time: status.last_upload_time.map(|time| time.0),
            now,
        }
    }
}

impl Explanation {
    /// Of a destination that was only validated here and now.
    pub(super) fn of_one_validation(destination: &RecordingDestination, now: Timestamp) -> Self {
        let mut explanation = Explanation::of(destination, now);
        (explanation.readiness.since, explanation.delivering) = (None, None);
        (explanation.last_validation_time, explanation.last_enforcement_time) = (None, None);
        // Claims of other destinations cannot be seen from here.
        explanation.checks.retain(|check| check.step() != Some(CheckName::Exclusive));
        explanation
    }
}

/// The problems, that of Ready first, and each remedy once.
fn problems(
    destination: &RecordingDestination,
    readiness: &Readiness,
    status: &RecordingDestinationStatus,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let unmet = |check: &&Check| matches!(check.result, CheckResult::Failed | CheckResult::Inconclusive);
    for check in status.checks.iter().filter(unmet) {
        let known = problems.iter().any(|known| !known.remedy.is_empty() && known.remedy == check.remedy);
        if !known {
            problems.push(Problem {
                side: side(&check.reason),
                reason: check.reason.clone(),
                message: match check.message.starts_with(&check.name) {
                    true => check.message.clone(),
                    false => format!("{}: {}", check.name, check.message),
                },
                remedy: check.remedy.clone(),
                is_clear: check.result == CheckResult::Failed,
            });
        }
    }
    problems.sort_by_key(|problem| (problem.reason != readiness.reason, !problem.is_clear));
    if readiness.ready != "True" && problems.iter().all(|problem| problem.reason != readiness.reason) {
        let remedy = match readiness.reason.parse() {
            Ok(Reason::Suspended) => {
                let name = destination.metadata.name.as_deref().unwrap_or_default();
                let namespace = destination.metadata.namespace.as_deref().unwrap_or_default();
                format!(
                    "Let it go on:\nkubectl patch recordingdestination {name} --namespace {namespace} --type=merge \
                     --patch='{{\"spec\":{{\"suspend\":false}}}}'"
                )
            }
            _ => String::new(),
        };
        let problem = Problem {
            reason: readiness.reason.clone(),
            side: readiness.side,
            message: readiness.message.clone(),
            remedy,
            is_clear: readiness.ready == "False",
        };
        problems.insert(0, problem);
    }
    problems
}

impl Report for Explanation {
    fn text(&self) -> String {
        let whole = if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        };
        let Readiness { ready, reason, since, message, .. } = &self.readiness;
        let since =
            since.map(|since| format!(" for {}", age(self.now.duration_since(since)))).unwrap_or_default();
        let headline = match ready.as_str() {
            "True" => paint(GOOD.bold(), &format!("✓ {whole} is ready{since}")),
            "False" => paint(BAD.bold(), &format!("✗ {whole} is not ready{since}: {reason}")),
            _ => paint(DOUBTFUL.bold(), &format!("? {whole} is not known to be ready{since}: {reason}")),
        };
        let mut text = format!("{headline}\n");
        if ready == "True" {
            text.push_str(&format!("{message}\n"));
        }
        for problem in &self.problems {
            text.push_str(&format!("\n{}\n", problem.message));
            if !problem.remedy.is_empty() {
                text.push_str(&format!("{}:\n\n{}\n", paint(BOLD, whose(problem.side)), problem.remedy));
            }
        }
        if !self.checks.is_empty() {
            text.push_str(&format!("\n{}\n", paint(BOLD, "Steps of the last validation")));
        }
        for check in &self.checks {
            let line = match check.result {
                CheckResult::Passed => format!("{} {}", paint(GOOD, "✓"), check.name),
                CheckResult::Failed => format!("{} {}  {}", paint(BAD, "✗"), check.name, check.reason),
                CheckResult::Inconclusive => {
                    format!("{} {}  {}", paint(DOUBTFUL, "?"), check.name, check.reason)
                }
                CheckResult::Skipped => paint(DIM, &format!("- {}  {}", check.name, check.message)),
            };
            text.push_str(&format!("  {line}\n"));
        }
        text + &self.deliveries() + &self.times()
    }

    fn outcome(&self) -> CommandOutcome {
        let waits = self.delivering.as_ref().is_some_and(|delivering| delivering.status == "False");
        if waits { CommandOutcome::Wrong } else { self.readiness.outcome() }
    }
}

impl Explanation {
    fn deliveries(&self) -> String {
        let Some(Delivery { status, message, .. }) = &self.delivering else { return String::new() };
        let mark = match status.as_str() {
            "True" => paint(GOOD, "✓"),
            "False" => paint(BAD, "✗"),
            _ => paint(DIM, "-"),
        };
        let mut text = format!("\n{}\n  {mark} {message}\n", paint(BOLD, "Deliveries"));
        for pod in self.uploaders.iter().flat_map(|uploaders| &uploaders.items) {
            let waits = pod.oldest_pending_time.as_ref().map(|oldest| age(self.now.duration_since(oldest.0)));
            let waits = waits.map(|waits| format!(", the oldest for {waits}")).unwrap_or_default();
            text.push_str(&format!(
                "    {}, {} waiting{waits}, {} in quarantine; why: kubectl logs {} --namespace {} --container {}\n",
                pod.reason, pod.pending_files, pod.quarantined, pod.pod, self.namespace, UPLOADER_CONTAINER
            ));
        }
        text
    }

    fn times(&self) -> String {
        let ago = |what: &str, time: Option<Timestamp>| {
            time.map(|time| format!("{what} {} ago", age(self.now.duration_since(time))))
        };
        let times = [
            ago("role last asked", self.last_validation_time),
            ago("wrong callers last tried", self.last_enforcement_time),
            ago("last upload", self.last_upload_time),
        ];
        let times: Vec<_> = times.into_iter().flatten().collect();
        if times.is_empty() { String::new() } else { format!("\n{}\n", paint(DIM, &times.join(", "))) }
    }
}

const BOLD: anstyle::Style = anstyle::Style::new().bold();

/// The heading of a remedy.
fn whose(side: Option<Side>) -> &'static str {
    match side {
        Some(Side::Customer) => "For the customer to do, in its AWS account",
        Some(Side::Tenant) => "To do in the tenant's YAML",
        Some(Side::Platform) => "For whoever runs the platform to do",
        Some(Side::Pod) => "To do in the pod that records",
        Some(Side::Nobody) | None => "What to do",
    }
}

/// A time span as kubectl shows it: one unit.
pub(super) fn age(span: SignedDuration) -> String {
    match span.as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
