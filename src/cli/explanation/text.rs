//! The explanation in words: the headline, each problem with its remedy, the steps, the deliveries and the times.

use jiff::Timestamp;

use super::super::grade::{Grade, is_news, is_silent};
use super::super::output::{BAD, CommandOutcome, DIM, DOUBTFUL, GOOD, Report, paint};
use super::super::words::{age, for_a_time};
use super::{Delivery, Explanation, Readiness};
use crate::api::{CheckResult, Loss, LossKind, Side, UPLOADER_CONTAINER, Uploader, UploaderRefusal, counted};

impl Explanation {
    /// The worst that is true.
    fn headline(&self) -> String {
        let whole = if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        };
        let Readiness { reason, since, .. } = &self.readiness;
        let for_a = |since: Option<Timestamp>| {
            since.map(|since| for_a_time(self.now.duration_since(since))).unwrap_or_default()
        };
        let since = for_a(*since);
        let (mark, text) = match (self.grade, &self.delivering) {
            (Grade::Lost, _) => ("✗", format!("{whole} lost {} within a day", self.losses(LossKind::Lost))),
            (Grade::Unaccounted, _) => {
                let losses = self.losses(LossKind::Unaccounted);
                ("✗", format!("{whole} lost track of {losses} within a day"))
            }
            (Grade::Left, _) => {
                ("?", format!("{whole} left {} in a volume within a day", self.losses(LossKind::Left)))
            }
            (Grade::NotDelivering, Some(delivering)) => {
                let lasts = for_a(Some(delivering.since));
                ("✗", format!("{whole} does not deliver{lasts}: {}", delivering.reason))
            }
            (Grade::NotReady | Grade::NotDelivering | Grade::Suspended, _) => {
                ("✗", format!("{whole} is not ready{since}: {reason}"))
            }
            (Grade::Silent, _) => {
                let uploaders = self.uploaders.iter().flat_map(|uploaders| &uploaders.items);
                let silent = uploaders.filter(|uploader| is_silent(uploader, self.now)).count();
                (
                    "?",
                    format!(
                        "{whole} has {} with recordings to send that no longer report",
                        counted(silent, "pod")
                    ),
                )
            }
            (Grade::NotRenewed, _) => {
                let old = self.not_renewed_since.map(|since| age(self.now.duration_since(since)));
                let old = old.unwrap_or_default();
                ("?", format!("{whole} has a status that is {old} old: the controller does not answer"))
            }
            (Grade::NotKnown, _) => ("?", format!("{whole} is not known to be ready{since}: {reason}")),
            (Grade::NotEnforced | Grade::Well, _) => match self.surroundings.worst() {
                Some(worst) => ("✗", format!("{whole} is ready{since}, but {worst}")),
                None => ("✓", format!("{whole} is ready{since}")),
            },
        };
        let style = match mark {
            "✓" => GOOD,
            "✗" => BAD,
            _ => DOUBTFUL,
        };
        paint(style.bold(), &format!("{mark} {text}{}", self.and_also()))
    }
}

impl Explanation {
    /// What is true as well and keeps recordings waiting.
    fn and_also(&self) -> String {
        let mut also = String::new();
        let undelivered = self.delivering.as_ref().filter(|delivering| delivering.status == "False");
        if let Some(delivering) = undelivered.filter(|_| self.grade < Grade::NotDelivering) {
            also.push_str(&format!("; does not deliver: {}", delivering.reason));
        }
        if self.grade < Grade::NotReady && self.readiness.ready != "True" {
            also.push_str(&format!("; not ready: {}", self.readiness.reason));
        }
        also
    }

    /// The new losses of a kind, in sum.
    fn losses(&self, kind: LossKind) -> String {
        let new = self.last_losses.iter().filter(|loss| loss.kind == kind && is_news(loss, self.now));
        let files: i64 = new.clone().map(|loss| loss.files).sum();
        format!("{} of {}", counted(files, "recording"), counted(new.count() as u64, "pod"))
    }
}

impl Report for Explanation {
    fn text(&self) -> String {
        let Readiness { ready, message, .. } = &self.readiness;
        let mut text = format!("{}\n", self.headline());
        let deliveries = self.deliveries();
        let is_about_deliveries = self.grade <= Grade::NotDelivering;
        if is_about_deliveries {
            text.push_str(&deliveries);
        } else if ready == "True" {
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
        if !is_about_deliveries {
            text.push_str(&deliveries);
        }
        text + &self.surroundings.text(self.now) + &self.times()
    }

    fn outcome(&self) -> CommandOutcome {
        let around =
            if self.surroundings.is_in_order() { CommandOutcome::Well } else { CommandOutcome::Wrong };
        self.grade.outcome().max(around)
    }
}

impl Explanation {
    fn deliveries(&self) -> String {
        let Some(Delivery { status, message, side, .. }) = &self.delivering else { return String::new() };
        let mark = match status.as_str() {
            "True" => paint(GOOD, "✓"),
            "False" => paint(BAD, "✗"),
            _ => paint(DIM, "-"),
        };
        let side =
            side.filter(|_| status == "False").map(|side| format!(" ({})", at(side))).unwrap_or_default();
        let mut text = format!("\n{}\n  {mark} {message}{side}\n", paint(BOLD, "Deliveries"));
        for pod in self.uploaders.iter().flat_map(|uploaders| &uploaders.items) {
            text.push_str(&format!("    {}\n", self.uploader(pod)));
        }
        for loss in &self.last_losses {
            text.push_str(&format!("    {}\n", self.loss(loss)));
        }
        text
    }

    fn loss(&self, loss: &Loss) -> String {
        let Loss { pod, files, bytes, spool, .. } = loss;
        let became = match loss.kind {
            LossKind::Lost => format!("lost with its {spool}"),
            LossKind::Left => {
                format!("left in its {spool}: the next pod that mounts it delivers what is there")
            }
            LossKind::Unaccounted => {
                format!("unaccounted for: the pod is gone without a last report (spool: {spool})")
            }
        };
        format!(
            "{pod}, {} ago: {} ({}) {became}",
            age(self.now.duration_since(loss.time.0)),
            counted(*files, "recording"),
            counted(*bytes, "byte")
        )
    }

    fn uploader(&self, uploader: &Uploader) -> String {
        let Uploader { pod, reason, pending_files, quarantined, .. } = uploader;
        let ago = |time: Timestamp| age(self.now.duration_since(time));
        let oldest = uploader.oldest_pending_time.as_ref().map(|oldest| ago(oldest.0));
        let oldest = oldest.map(|oldest| format!(", the oldest for {oldest}")).unwrap_or_default();
        let silent = match is_silent(uploader, self.now) {
            true => format!(", silent for {}", ago(uploader.report_time.0)),
            false => String::new(),
        };
        let refused = uploader.refusal.as_ref().map(refusal).unwrap_or_default();
        let kept = match uploader.not_removed {
            0 => String::new(),
            files => format!(", {files} delivered and not removed"),
        };
        let full = if uploader.volume_nearly_full { ", its volume is nearly full" } else { "" };
        format!(
            "{pod}: {reason}{refused}, {pending_files} waiting{oldest}, {quarantined} in quarantine{kept}{full}{silent}; why: \
             kubectl logs {pod} --namespace {} --container {UPLOADER_CONTAINER}",
            self.namespace
        )
    }

    fn times(&self) -> String {
        let ago = |what: &str, time: Option<Timestamp>| {
            time.map(|time| format!("{what} {} ago", age(self.now.duration_since(time))))
        };
        // The status has the time of an upload and is not written again for each upload of the hour after it.
        let upload = ago("an upload noted", self.last_upload_time);
        let times = [
            ago("role last asked", self.last_validation_time),
            ago("wrong callers last tried", self.last_enforcement_time),
            upload.map(|upload| format!("{upload} (noted once an hour at most)")),
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

/// The side in a few words.
fn at(side: Side) -> &'static str {
    match side {
        Side::Customer => "the customer can act, in its AWS account",
        Side::Tenant => "to do in the tenant's YAML",
        Side::Platform => "whoever runs the platform can act",
        Side::Pod => "the owner of the pod can act",
        Side::Nobody => "it is tried again",
    }
}

/// What AWS refuses a pod.
fn refusal(refusal: &UploaderRefusal) -> String {
    let UploaderRefusal { call, code, policy } = refusal;
    let code = if code.is_empty() { String::new() } else { format!(" with {code}") };
    let by = policy.as_ref().map(|policy| format!(" by a policy of type {policy}")).unwrap_or_default();
    format!(" ({call} is refused{code}{by})")
}
