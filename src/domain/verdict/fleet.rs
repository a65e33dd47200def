//! Whether refusals of AssumeRole are the platform's own: when no role that was proved before grants it any more.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::evidence::{Platform, RoleEvidence};
use crate::api::{Answer, ConditionType, RecordingDestination};

/// Namespaces whose proved destinations are refused, at least: customers revoke on their own, and seldom three together.
const NAMESPACES: usize = 3;
/// How long a refusal counts. What is refused is retried within 15 minutes.
const WINDOW: SignedDuration = SignedDuration::from_mins(30);

/// The refusals of proved destinations since the last of them was granted, by namespace. Destinations that were never proved
/// do not count, or whoever invents accounts could pass everybody's revocation off as the platform's fault.
#[derive(Debug, Default)]
pub struct Fleet {
    refused: HashMap<String, Timestamp>,
}

impl Fleet {
    /// Notes the answer to AssumeRole with the right External ID.
    pub fn note(&mut self, destination: &RecordingDestination, role: &RoleEvidence, now: Timestamp) {
        if !was_proved(destination) {
            return;
        }
        match &role.assumed {
            Answer::Granted(()) => self.refused.clear(),
            Answer::Refused(refusal)
                if refusal.code == "AccessDenied" && role.platform == Platform::AsConfigured =>
            {
                self.refused.insert(namespace_of(destination).to_owned(), now);
            }
            // A throttle, a fault of AWS or of the platform's key says nothing about roles.
            _ => {}
        }
    }

    /// Whether proved destinations of enough namespaces are refused, and none was granted since the first of these refusals.
    pub fn is_refused(&mut self, now: Timestamp) -> bool {
        self.refused.retain(|_, at| now < *at + WINDOW);
        self.refused.len() >= NAMESPACES
    }

    /// Whether an answer of the destination can show that the platform is granted roles: one that is Ready, of a namespace
    /// that is not refused.
    pub fn is_witness(&self, destination: &RecordingDestination) -> bool {
        let is_ready = destination.condition(ConditionType::Ready).is_some_and(|c| c.status == "True");
        is_ready && was_proved(destination) && !self.refused.contains_key(namespace_of(destination))
    }
}

fn was_proved(destination: &RecordingDestination) -> bool {
    destination.status.as_ref().is_some_and(|status| status.established_time.is_some())
}

fn namespace_of(destination: &RecordingDestination) -> &str {
    destination.metadata.namespace.as_deref().unwrap_or_default()
}
