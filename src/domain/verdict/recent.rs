//! What a process keeps about a destination between two validations.

use jiff::{SignedDuration, Timestamp};

use super::conditions::is_inconclusive;
use super::digest::{self, SpecDigest};
use super::doubt::{self, Doubt};
use super::evidence::{EnforcementMode, Evidence, SecretObservation};
use crate::api::{
    LONGEST_REVALIDATE, REVALIDATE_ANNOTATION, RecordingDestination, RecordingDestinationSpec,
    RecordingDestinationStatus,
};

/// What this process knows from its last validation of a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    /// The spec to which the written status belongs.
    pub spec: SpecDigest,
    pub generation: Option<i64>,
    /// `resourceVersion` of the Secret whose External ID was last sent, proved or not. It is of the Secret and key that
    /// `spec` names: one Secret may hold others under other keys.
    pub secret_version: Option<String>,
    /// When its bucket was last probed.
    pub last_probe: Option<Timestamp>,
    /// Since when checks have been inconclusive; absent when the last validation was conclusive.
    pub inconclusive_since: Option<Timestamp>,
    /// When its Secret was last read.
    pub last_secret_read: Timestamp,
    /// When it was last validated to the end; absent when this process has not done so yet.
    pub last_attempt: Option<Timestamp>,
    /// Last change of the spec or External ID, or request to revalidate, that was handled.
    pub last_change: Timestamp,
    /// What uploaders' reports have brought into doubt.
    pub(super) doubt: Option<Box<Doubt>>,
}

impl Recent {
    /// What the status shows of a destination that an earlier process validated; `None` where the spec was edited since.
    pub fn from_status(seen: &RecordingDestination, now: Timestamp) -> Option<Recent> {
        seen.status.as_ref().filter(|s| Some(s.observed_generation) == seen.metadata.generation)?;
        Some(Recent {
            spec: SpecDigest::of(&seen.spec),
            generation: seen.metadata.generation,
            secret_version: seen.proved_secret_version().map(str::to_owned),
            last_probe: None,
            inconclusive_since: None,
            last_secret_read: now,
            last_attempt: None,
            last_change: Timestamp::UNIX_EPOCH,
            doubt: None,
        })
    }

    /// The state after a verdict at `now` that came to `status`. Evidence without calls leaves the times of the last
    /// validation as they were.
    pub fn after_validation(
        before: Option<&Recent>,
        validated: &RecordingDestination,
        evidence: &Evidence,
        status: &RecordingDestinationStatus,
        now: Timestamp,
    ) -> Recent {
        let requested = requested_revalidation(validated);
        let handled = validated.status.as_ref().and_then(|s| s.last_handled_revalidate.as_deref());
        let is_requested = requested.is_some() && requested != handled;
        let spec = SpecDigest::of(&validated.spec);
        let mut recent = Recent {
            spec,
            generation: validated.metadata.generation,
            secret_version: before.and_then(|before| before.sent_version(&validated.spec)).map(str::to_owned),
            last_probe: before.and_then(|before| before.last_probe),
            inconclusive_since: before.and_then(|before| before.inconclusive_since),
            last_secret_read: before.map_or(now, |before| before.last_secret_read),
            last_attempt: before.and_then(|before| before.last_attempt),
            last_change: before
                .filter(|before| before.spec == spec && !is_requested)
                .map_or(now, |before| before.last_change),
            doubt: before.and_then(|before| before.doubt.clone()),
        };
        let Evidence::Validated { secret, role } = evidence else { return recent };
        recent.last_secret_read = now;
        recent.last_attempt = Some(now);
        recent.inconclusive_since = is_inconclusive(status, EnforcementMode::Require)
            .then(|| recent.inconclusive_since.unwrap_or(now));
        if role.as_ref().is_some_and(|role| role.bucket.is_some()) {
            recent.last_probe = Some(now);
        }
        let shown = validated.status.clone().unwrap_or_default();
        let found = (secret, role.as_deref());
        let interval = SignedDuration::from_secs(validated.spec.validation.interval_seconds.into());
        let doubt = doubt::after_validation(recent.doubt.as_deref(), &shown, status, found, interval, now);
        recent.doubt = doubt.map(Box::new);
        // What broke while recordings were sent may be mended soon.
        if doubt::is_confirmed(&shown, status) {
            recent.last_change = now;
        }
        if let SecretObservation::Resolved { version, known } = secret {
            let edited = recent.secret_version.replace(version.clone()).is_some_and(|sent| sent != *version);
            if edited && !known {
                recent.last_change = now;
            }
        }
        recent
    }

    pub(super) fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_deref()
    }

    /// The version of the Secret that was last sent, if the spec still names that Secret and key.
    pub(super) fn sent_version(&self, spec: &RecordingDestinationSpec) -> Option<&str> {
        self.secret_version.as_deref().filter(|_| self.spec.secret == digest::secret(spec))
    }

    /// The state after only the Secret was read and had not changed.
    pub fn after_secret_read(&self, now: Timestamp) -> Recent {
        Recent { last_secret_read: now, ..self.clone() }
    }
}

/// Whether the External ID was neither proved nor sent by this process before, so that sending it may be a guess.
pub fn is_new_external_id(
    secret: &SecretObservation,
    destination: &RecordingDestination,
    recent: Option<&Recent>,
) -> bool {
    let SecretObservation::Resolved { version, known: false } = secret else { return false };
    let sent = recent.and_then(|recent| recent.sent_version(&destination.spec));
    ![destination.proved_secret_version(), sent].contains(&Some(version.as_str()))
}

/// The value of the `revalidate` annotation, unless it is too long.
pub(super) fn requested_revalidation(destination: &RecordingDestination) -> Option<&str> {
    let value = destination.metadata.annotations.as_ref()?.get(REVALIDATE_ANNOTATION)?;
    Some(value.as_str()).filter(|value| value.len() <= LONGEST_REVALIDATE)
}
