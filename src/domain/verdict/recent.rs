//! What a process remembers of a destination between looks.

use jiff::Timestamp;

use super::evidence::{Evidence, SecretObservation};
use super::schedule::requested_revalidation;
use crate::api::{RecordingDestination, RecordingDestinationSpec};

/// What this process remembers of a destination since it last looked.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    /// The spec then, of the status that was written.
    pub spec: RecordingDestinationSpec,
    /// Its generation.
    pub generation: Option<i64>,
    /// `resourceVersion` of the Secret whose External ID was last sent, proved or not.
    pub secret_version: Option<String>,
    /// When its Secret was last read.
    pub last_secret_look: Timestamp,
    /// When it was last looked at to an end; absent when this process has not yet.
    pub last_attempt: Option<Timestamp>,
    /// Last change of the spec, or request to revalidate, that was acted on.
    pub last_change: Timestamp,
}

impl Recent {
    /// What can be known of a destination that an earlier process has looked at: its status speaks of this spec.
    pub fn at_first_sight(seen: &RecordingDestination, now: Timestamp) -> Option<Recent> {
        let status =
            seen.status.as_ref().filter(|s| Some(s.observed_generation) == seen.metadata.generation)?;
        Some(Recent {
            spec: seen.spec.clone(),
            generation: seen.metadata.generation,
            secret_version: status.external_id_secret_version.clone(),
            last_secret_look: now,
            last_attempt: None,
            last_change: Timestamp::UNIX_EPOCH,
        })
    }

    /// What to remember after a look that ended at `now`. A destination that was only reported on
    /// is remembered as it was last asked about.
    pub fn after_look(
        before: Option<&Recent>,
        looked_at: &RecordingDestination,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Recent {
        let requested = requested_revalidation(looked_at);
        let handled = looked_at.status.as_ref().and_then(|s| s.last_handled_revalidate.as_deref());
        let asked = requested.is_some() && requested != handled;
        let unchanged = before.filter(|before| before.spec == looked_at.spec && !asked);
        let looked = matches!(evidence, Evidence::Validated { .. });
        let secret_version = match evidence {
            Evidence::Validated { secret: SecretObservation::Resolved { version, .. }, .. } => {
                Some(version.clone())
            }
            _ => before.and_then(|before| before.secret_version.clone()),
        };
        Recent {
            spec: looked_at.spec.clone(),
            generation: looked_at.metadata.generation,
            secret_version,
            last_secret_look: before.map(|before| before.last_secret_look).filter(|_| !looked).unwrap_or(now),
            last_attempt: if looked { Some(now) } else { before.and_then(|before| before.last_attempt) },
            last_change: unchanged.map_or(now, |before| before.last_change),
        }
    }

    /// The same after the Secret alone was read, and had not changed.
    pub fn after_secret_look(&self, now: Timestamp) -> Recent {
        Recent { last_secret_look: now, ..self.clone() }
    }

    /// Whether bucket, prefix, role and External ID reference are the same as then.
    pub(super) fn has_same_target(&self, spec: &RecordingDestinationSpec) -> bool {
        self.spec.bucket == spec.bucket
            && self.spec.prefix() == spec.prefix()
            && self.spec.role_arn == spec.role_arn
            && self.spec.external_id_secret_ref == spec.external_id_secret_ref
    }

    /// Whether only fields that no proof depends on differ.
    pub(super) fn proof_holds_for(&self, spec: &RecordingDestinationSpec) -> bool {
        let mut then = self.spec.clone();
        then.validation = spec.validation.clone();
        then.service_account_names = spec.service_account_names.clone();
        then == *spec
    }
}
