//! Sessions that AWS refuses before their end, as after the customer revoked older ones: whether one is renewed now.
//!
//! Pods say so, and a pod may lie. Its destination gets one renewal a minute, its namespace five, and all namespaces a
//! tenth of the calls to STS. A renewal that is not made now is asked for again by the sidecar.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::RecordingDestination;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// Renewals of one namespace in a minute.
const OF_A_NAMESPACE: usize = 5;
/// The part of the calls to STS that such renewals may make.
const SHARE: u32 = 10;
/// Renewals at once after a quiet time.
const BURST: i32 = 5;

/// The renewals of the last minute.
#[derive(Debug)]
pub struct RefusedSessions {
    interval: SignedDuration,
    /// When as many renewals as a burst has may be made at once again.
    full_at: Timestamp,
    /// By namespace: UIDs of destinations, and when each was renewed.
    renewed: HashMap<String, HashMap<String, Timestamp>>,
}

impl RefusedSessions {
    /// For a process that makes so many calls to STS in a second.
    pub fn new(calls_per_second: u32) -> Self {
        let calls = i32::try_from(calls_per_second.max(1)).unwrap_or(i32::MAX);
        RefusedSessions {
            interval: SignedDuration::from_secs(SHARE.into()) / calls,
            full_at: Timestamp::UNIX_EPOCH,
            renewed: HashMap::new(),
        }
    }

    /// Whether the session of the destination is renewed now, and if so, counts it.
    pub fn may_renew(&mut self, destination: &RecordingDestination, now: Timestamp) -> bool {
        self.renewed.retain(|_, renewed| {
            renewed.retain(|_, at| now < *at + MINUTE);
            !renewed.is_empty()
        });
        let metadata = &destination.metadata;
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let of_namespace = self.renewed.get(namespace);
        let is_spent =
            of_namespace.is_some_and(|renewed| renewed.len() >= OF_A_NAMESPACE || renewed.contains_key(uid));
        if is_spent || now < self.full_at - self.interval * (BURST - 1) {
            return false;
        }
        self.full_at = self.full_at.max(now) + self.interval;
        self.renewed.entry(namespace.to_owned()).or_default().insert(uid.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn destination(namespace: &str, uid: &str) -> RecordingDestination {
        serde_json::from_value(json!({
            "apiVersion": "recordings.revenue.io/v1alpha1",
            "kind": "RecordingDestination",
            "metadata": {"name": "acme", "namespace": namespace, "uid": uid, "generation": 1},
            "spec": {
                "bucket": "acme-recordings",
                "region": "us-east-1",
                "roleARN": "arn:aws:iam::111111111111:role/writer",
                "externalIDSecretRef": {"name": "acme"},
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_destination_is_renewed_once_a_minute_and_a_namespace_five_times() {
        let mut sessions = RefusedSessions::new(50);
        for (what, second, namespace, uid, expected) in [
            ("the first", 0, "acme", "u-1", true),
            ("again at once", 1, "acme", "u-1", false),
            ("again, just before a minute has passed", 59, "acme", "u-1", false),
            ("another destination", 59, "acme", "u-2", true),
            ("again after a minute", 60, "acme", "u-1", true),
            ("a third", 61, "acme", "u-3", true),
            ("a fourth", 62, "acme", "u-4", true),
            ("a fifth", 63, "acme", "u-5", true),
            ("a sixth", 64, "acme", "u-6", false),
            ("one of another namespace", 64, "initech", "u-7", true),
            ("the sixth, once the second is a minute old", 119, "acme", "u-6", true),
        ] {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
            assert_eq!(sessions.may_renew(&destination(namespace, uid), now), expected, "{what}");
        }
    }

    #[test]
    fn all_namespaces_take_a_tenth_of_the_calls_and_a_burst() {
        let mut sessions = RefusedSessions::new(50);
        let mut renewed = 0;
        for milliseconds in (0..10_000).step_by(10) {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds);
            let asking = destination(&format!("tenant-{milliseconds}"), "u");
            renewed += usize::from(sessions.may_renew(&asking, now));
        }
        // Five a second for ten seconds, of fifty.
        assert!((50..=55).contains(&renewed), "{renewed}");
    }
}
