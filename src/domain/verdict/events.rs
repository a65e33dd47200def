//! Status before and after → the Events to publish, on transitions only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::find;
use crate::api::{Check, CheckResult, ConditionType, Reason, RecordingDestinationStatus, Transition};

/// The transitions of Ready, and of ExternalIDEnforced where Ready does not depend on it.
pub(super) fn transitions(
    before: &RecordingDestinationStatus,
    after: &RecordingDestinationStatus,
) -> Vec<Transition> {
    let Some(ready) = find(after, ConditionType::Ready) else { return Vec::new() };
    let same = |now: &Condition| {
        let kind = now.type_.parse().expect("one of ours");
        find(before, kind).is_some_and(|then| then.status == now.status && then.reason == now.reason)
    };
    let mut transitions = Vec::new();
    if !same(ready) {
        let is_normal = ready.status == "True" || ready.reason == Reason::Suspended.to_string();
        transitions.push(transition(after, ready, !is_normal));
    }
    let enforced = find(after, ConditionType::ExternalIDEnforced);
    let open = enforced.filter(|now| ready.status == "True" && now.status == "False");
    transitions.extend(open.filter(|now| !same(now) || !same(ready)).map(|now| transition(after, now, true)));
    transitions
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
