//! What a process remembers of a destination between looks.

use jiff::Timestamp;

use super::conditions::is_doubtful;
use super::evidence::{EnforcementMode, Evidence, SecretObservation};
use crate::api::{
    REVALIDATE_ANNOTATION, RecordingDestination, RecordingDestinationSpec, RecordingDestinationStatus,
};

/// What this process remembers of a destination since it last looked.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    /// The spec then, of the status that was written.
    pub spec: RecordingDestinationSpec,
    /// Its generation.
    pub generation: Option<i64>,
    /// `resourceVersion` of the Secret whose External ID was last sent, proved or not.
    pub secret_version: Option<String>,
    /// When its bucket was last probed.
    pub last_probe: Option<Timestamp>,
    /// Since when a look has had no clear answer; absent when the last one was clear.
    pub doubtful_since: Option<Timestamp>,
    /// When its Secret was last read.
    pub last_secret_look: Timestamp,
    /// When it was last looked at to an end; absent when this process has not yet.
    pub last_attempt: Option<Timestamp>,
    /// Last change of the spec or External ID, or request to revalidate, that was acted on.
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
            last_probe: None,
            doubtful_since: None,
            last_secret_look: now,
            last_attempt: None,
            last_change: Timestamp::UNIX_EPOCH,
        })
    }

    /// What to remember after a look that ended at `now` and came to `status`. A destination that was only reported on
    /// is remembered as it was last asked about.
    pub fn after_look(
        before: Option<&Recent>,
        looked_at: &RecordingDestination,
        evidence: &Evidence,
        status: &RecordingDestinationStatus,
        now: Timestamp,
    ) -> Recent {
        let requested = requested_revalidation(looked_at);
        let handled = looked_at.status.as_ref().and_then(|s| s.last_handled_revalidate.as_deref());
        let asked = requested.is_some() && requested != handled;
        let mut recent = Recent {
            spec: looked_at.spec.clone(),
            generation: looked_at.metadata.generation,
            secret_version: before.and_then(|before| before.secret_version.clone()),
            last_probe: before.and_then(|before| before.last_probe),
            doubtful_since: before.and_then(|before| before.doubtful_since),
            last_secret_look: before.map_or(now, |before| before.last_secret_look),
            last_attempt: before.and_then(|before| before.last_attempt),
            last_change: before
                .filter(|before| before.spec == looked_at.spec && !asked)
                .map_or(now, |before| before.last_change),
        };
        let Evidence::Validated { secret, role } = evidence else { return recent };
        recent.last_secret_look = now;
        recent.last_attempt = Some(now);
        recent.doubtful_since =
            is_doubtful(status, EnforcementMode::Require).then(|| recent.doubtful_since.unwrap_or(now));
        if role.as_ref().is_some_and(|role| role.bucket.is_some()) {
            recent.last_probe = Some(now);
        }
        if let SecretObservation::Resolved { version, known } = secret {
            let edited = recent.secret_version.replace(version.clone()).is_some_and(|sent| sent != *version);
            if edited && !known {
                recent.last_change = now;
            }
        }
        recent
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

/// The value of the `revalidate` annotation. It is repeated in the status, so a long one is not heard.
pub(super) fn requested_revalidation(destination: &RecordingDestination) -> Option<&str> {
    const LONGEST: usize = 253;
    let value = destination.metadata.annotations.as_ref()?.get(REVALIDATE_ANNOTATION)?;
    Some(value.as_str()).filter(|value| value.len() <= LONGEST)
}
