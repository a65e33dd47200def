//! Status before and after → what to announce. Transitions only: a validation that ends as the
//! last one did says nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::find;
use crate::api::{Check, CheckResult, ConditionType, Reason, RecordingDestinationStatus, Transition};

/// What changed about readiness, and about enforcement where Ready does not depend on it.
pub(super) fn transitions(
    before: &RecordingDestinationStatus,
    after: &RecordingDestinationStatus,
) -> Vec<Transition> {
    let Some(ready) = find(after, ConditionType::Ready) else { return Vec::new() };
    let same = |now: &Condition| {
        let kind = now.type_.parse().expect("one of ours");
        find(before, kind).is_some_and(|then| then.status == now.status && then.reason == now.reason)
    };
    let mut news = Vec::new();
    if !same(ready) {
        let calm = ready.status == "True" || ready.reason == Reason::Suspended.to_string();
        news.push(transition(after, ready, !calm));
    }
    let enforced = find(after, ConditionType::ExternalIDEnforced);
    let open = enforced.filter(|now| ready.status == "True" && now.status == "False");
    news.extend(open.filter(|now| !same(now) || !same(ready)).map(|now| transition(after, now, true)));
    news
}

fn transition(after: &RecordingDestinationStatus, condition: &Condition, warning: bool) -> Transition {
    let failed = |check: &&Check| check.result == CheckResult::Failed && check.reason == condition.reason;
    let note = match after.checks.iter().find(failed) {
        Some(check) => format!("{}. {}", condition.message, check.remedy),
        None => condition.message.clone(),
    };
    Transition { warning, reason: condition.reason.clone(), note: shortened(note) }
}

/// The API server takes notes of at most 1,024 bytes; the status has the whole text.
fn shortened(mut note: String) -> String {
    const LONGEST: usize = 1024;
    const MORE: &str = " … (see status.checks)";
    if note.len() > LONGEST {
        let cut = note.floor_char_boundary(LONGEST - MORE.len());
        note.truncate(cut);
        note.push_str(MORE);
    }
    note
}
