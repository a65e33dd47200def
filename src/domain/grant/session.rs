//! When a session is issued, served and renewed.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::denial::Denial;
use crate::api::{Answer, ConditionType, RecordingDestination};
use crate::secret::SessionCredentials;

/// Earliest renewal, as a fraction of a session's life: early enough for a session of an hour to outlive a long outage of
/// STS, and never in the last minutes, when SDKs request a new one.
const RENEWAL_STARTS: f64 = 0.6;
/// How far renewals are spread after the earliest, so that replicas and destinations do not renew together.
const RENEWAL_SPREAD: f64 = 0.1;
/// Least remaining life of a session that is served: time for the request that needs it.
const LEAST_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// What a session depends on: what AssumeRole is called with, and since when the destination has been Ready, because before
/// a recovery the customer may have revoked older sessions. An edit of anything else, such as of `validation`, keeps the
/// session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    uid: Option<String>,
    /// Digest of the role, the duration, where the External ID is read from and what the session policy is made of.
    call: [u8; 32],
    /// The Secret that was proved stands for its External ID, which is not kept.
    external_id_secret_version: Option<String>,
    ready_since: Option<Timestamp>,
}

impl From<&RecordingDestination> for SessionKey {
    fn from(destination: &RecordingDestination) -> Self {
        let status = destination.status.as_ref();
        let ready = destination.condition(ConditionType::Ready);
        let spec = &destination.spec;
        let policy = (&spec.bucket, spec.prefix(), &spec.region, &spec.object_acl, &spec.encryption);
        let secret = &spec.external_id_secret_ref;
        let call = serde_json::to_vec(&(&spec.role_arn, spec.session_duration_seconds, secret, policy));
        SessionKey {
            uid: destination.metadata.uid.clone(),
            call: Sha256::digest(call.expect("texts and numbers serialize")).into(),
            external_id_secret_version: status.and_then(|status| status.external_id_secret_version.clone()),
            ready_since: ready.map(|ready| ready.last_transition_time.0),
        }
    }
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, strum::Display)]
pub enum NotIssued {
    /// The tenant's side refuses one.
    #[strum(to_string = "{0}")]
    Denied(Denial),
    /// The call failed on the operator's side or had no answer, and can be retried. The text is for the log.
    #[strum(to_string = "{0}")]
    Unavailable(String),
}

/// Whether the External ID that the spec names may be sent, by the version of its Secret: only the one that was proved. An
/// edited one may be wrong, or not be required by the role.
pub fn may_send(version: &str, destination: &RecordingDestination) -> Result<(), NotIssued> {
    if !version.is_empty() && destination.proved_secret_version() == Some(version) {
        return Ok(());
    }
    Err(NotIssued::Denied(Denial::ExternalIDNotProved))
}

/// What the answer to AssumeRole means for the request that waits for the session.
pub fn issued(answer: Answer<SessionCredentials>) -> Result<SessionCredentials, NotIssued> {
    match answer {
        Answer::Granted(session) => Ok(session),
        Answer::Refused(refusal) if refusal.code == "AccessDenied" => {
            Err(NotIssued::Denied(Denial::AssumeRoleDenied))
        }
        Answer::Refused(refusal) if refusal.code == "RegionDisabledException" => {
            Err(NotIssued::Denied(Denial::STSRegionDisabled))
        }
        // A throttle, a fault of AWS, or a platform key that AWS does not accept.
        Answer::Refused(refusal) => {
            Err(NotIssued::Unavailable(format!("STS answered {} {}", refusal.status, refusal.code)))
        }
        Answer::Silent(silence) => Err(NotIssued::Unavailable(format!("STS: {silence}"))),
    }
}

/// When a session is to be renewed. `jitter` is from 0 to 1. A fixed time before the end would have a short session
/// renewed from the start.
pub fn renewal_time(issued: Timestamp, expiration: Timestamp, jitter: f64) -> Timestamp {
    let life = expiration.duration_since(issued).as_secs_f64().max(0.0);
    let fraction = RENEWAL_STARTS + RENEWAL_SPREAD * jitter.clamp(0.0, 1.0);
    issued.saturating_add(SignedDuration::from_secs_f64(life * fraction)).unwrap_or(issued)
}

pub fn is_servable(expiration: Timestamp, now: Timestamp) -> bool {
    expiration.duration_since(now) >= LEAST_LIFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Refusal, Silence};

    #[test]
    fn a_session_is_renewed_in_its_last_third_but_never_at_its_end() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        for (life, jitter, expected) in [
            (3600, 0.0, 2160),
            (3600, 1.0, 2520),
            (3600, 0.5, 2340),
            (900, 0.0, 540),
            (900, 1.0, 630),
            (900, 7.0, 630),
            (0, 0.5, 0),
            (-5, 0.5, 0),
        ] {
            assert_eq!(renewal_time(at(0), at(life), jitter), at(expected), "{life} s, jitter {jitter}");
        }
        // Also the latest renewal of the shortest session leaves time to try again.
        assert!(is_servable(at(900), renewal_time(at(0), at(900), 1.0)));
        assert!(is_servable(at(900), at(840)));
        assert!(!is_servable(at(900), at(841)));
        assert!(!is_servable(at(900), at(1000)));
    }

    #[test]
    fn only_a_clear_refusal_by_aws_is_the_tenants() {
        let refused = |status, code: &str| {
            let refusal = Refusal { status, code: code.into(), ..Refusal::default() };
            issued(Answer::Refused(refusal)).unwrap_err()
        };
        assert_eq!(refused(403, "AccessDenied"), NotIssued::Denied(Denial::AssumeRoleDenied));
        assert_eq!(refused(403, "RegionDisabledException"), NotIssued::Denied(Denial::STSRegionDisabled));
        for (status, code) in
            [(400, "Throttling"), (503, "ServiceUnavailable"), (403, "InvalidClientTokenId")]
        {
            assert!(matches!(refused(status, code), NotIssued::Unavailable(_)), "{code}");
        }
        assert!(matches!(issued(Answer::Silent(Silence::Timeout)), Err(NotIssued::Unavailable(_))));

        let session = SessionCredentials {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expiration: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(issued(Answer::Granted(session)).unwrap().access_key_id, "ASIAEXAMPLE");
    }
}
