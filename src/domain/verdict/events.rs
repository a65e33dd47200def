//! Status before and after → what to announce. Transitions only: a validation that ends as the
//! last one did says nothing.

use super::conditions::find;
use crate::api::{CheckResult, ConditionType, Reason, RecordingDestinationStatus};

/// A change worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// `Warning`, else `Normal`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: String,
    /// What happened and what to do.
    pub note: String,
}

/// What changed about readiness.
pub(super) fn transitions(
    before: &RecordingDestinationStatus,
    after: &RecordingDestinationStatus,
) -> Vec<Transition> {
    let Some(ready) = find(after, ConditionType::Ready) else { return Vec::new() };
    let unchanged = find(before, ConditionType::Ready)
        .is_some_and(|b| b.status == ready.status && b.reason == ready.reason);
    if unchanged {
        return Vec::new();
    }
    let remedy = after.checks.iter().find(|c| c.result == CheckResult::Failed && c.reason == ready.reason);
    let note = match remedy {
        Some(check) if !check.remedy.is_empty() => format!("{}. {}", ready.message, check.remedy),
        _ => ready.message.clone(),
    };
    let calm = ready.status == "True" || ready.reason == Reason::Suspended.to_string();
    vec![Transition { warning: !calm, reason: ready.reason.clone(), note: shortened(note) }]
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
