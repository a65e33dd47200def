//! How many new External IDs a namespace may try. A conflict confirms that another destination has that External ID, so
//! without a limit a tenant could guess those of others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::claim::Claim;
use crate::api::RecordingDestination;
use crate::secret::Fingerprint;

/// New External IDs of one namespace in one hour.
const LIMIT: usize = 60;
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// The External IDs that were tried in the last hour, by namespace.
#[derive(Debug, Default)]
pub struct NewExternalIDs {
    by_namespace: HashMap<String, OfNamespace>,
    /// Namespaces above which idle ones are forgotten.
    sweep_above: usize,
    /// Destinations that an earlier process proved, by UID, each with one admission beyond the limit. A Secret that was
    /// only labelled before a restart looks as one with a new value. A destination that this process proved has none, or
    /// whoever deletes and creates it again would get one each time.
    proved_before: HashSet<Arc<str>>,
}

#[derive(Debug, Default)]
struct OfNamespace {
    tried: VecDeque<(Timestamp, Fingerprint)>,
    /// Those of claims that ended, for a destination that is created again: the namespace has proved them. Each was counted
    /// once, or was proved by an earlier process.
    ended: VecDeque<(Timestamp, Fingerprint)>,
}

impl OfNamespace {
    fn expire(&mut self, now: Timestamp) {
        for ids in [&mut self.tried, &mut self.ended] {
            while ids.front().is_some_and(|(at, _)| *at + WINDOW <= now) {
                ids.pop_front();
            }
        }
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        [&self.tried, &self.ended].iter().all(|ids| ids.back().is_none_or(|(last, _)| *last + WINDOW <= now))
    }
}

impl NewExternalIDs {
    /// Notes, when the process starts, a destination that an earlier process may have proved.
    pub fn expect(&mut self, destination: &RecordingDestination) {
        if let (Some(uid), Some(_)) = (&destination.metadata.uid, destination.proved_secret_version()) {
            self.proved_before.insert(uid.as_str().into());
        }
    }

    /// Counts an External ID that the destination is about to try and that was not proved before. One that was tried within
    /// the hour is not counted again. `Err`: not now; when the next may be tried.
    pub fn admit(
        &mut self,
        destination: &RecordingDestination,
        id: Fingerprint,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let namespace = destination.metadata.namespace.as_deref().unwrap_or_default();
        let uid = destination.metadata.uid.as_deref().unwrap_or_default();
        let of_namespace = self.of(namespace, now);
        let oldest = match of_namespace.tried.front() {
            _ if of_namespace.tried.iter().chain(&of_namespace.ended).any(|(_, known)| *known == id) => {
                return Ok(());
            }
            Some((oldest, _)) if of_namespace.tried.len() >= LIMIT => *oldest,
            _ => {
                of_namespace.tried.push_back((now, id));
                return Ok(());
            }
        };
        // Another Secret or key cannot be the proved one with a label.
        let may_be_proved = destination.proved_secret_version().is_some();
        if may_be_proved && self.proved_before.remove(uid) { Ok(()) } else { Err(oldest + WINDOW) }
    }

    /// Notes the end of a destination and of its claim.
    pub fn end(&mut self, uid: &str, claim: Option<&Claim>, now: Timestamp) {
        self.proved_before.remove(uid);
        let Some(claim) = claim.filter(|claim| claim.proved.is_some()) else { return };
        let Some(id) = claim.external_id else { return };
        let ended = &mut self.of(&claim.namespace, now).ended;
        ended.retain(|(_, known)| *known != id);
        ended.push_back((now, id));
    }

    fn of(&mut self, namespace: &str, now: Timestamp) -> &mut OfNamespace {
        if self.by_namespace.len() > self.sweep_above {
            self.by_namespace.retain(|_, of_namespace| !of_namespace.is_idle(now));
            self.sweep_above = 2 * self.by_namespace.len() + 64;
        }
        let of_namespace = self.by_namespace.entry(namespace.to_owned()).or_default();
        of_namespace.expire(now);
        of_namespace
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::{ExternalID, Fingerprints};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn destination(namespace: &str, uid: &str, key: &str, proved_key: Option<&str>) -> RecordingDestination {
        let status = proved_key.map(|key| {
            json!({
                "observedGeneration": 1,
                "establishedTime": "1970-01-01T00:00:00Z",
                "externalIDSecretVersion": "812",
                "externalIDSecretRef": {"name": "acme", "key": key},
            })
        });
        serde_json::from_value(json!({
            "apiVersion": "recordings.revenue.io/v1alpha1",
            "kind": "RecordingDestination",
            "metadata": {"name": "acme", "namespace": namespace, "uid": uid, "generation": 1},
            "spec": {
                "bucket": "acme-recordings",
                "region": "us-east-1",
                "roleARN": "arn:aws:iam::111111111111:role/writer",
                "externalIDSecretRef": {"name": "acme", "key": key},
            },
            "status": status,
        }))
        .unwrap()
    }

    /// Of a namespace that has tried as many as it may.
    fn exhausted(id: impl Fn(usize) -> Fingerprint) -> NewExternalIDs {
        let mut new = NewExternalIDs::default();
        for number in 0..LIMIT {
            new.admit(&destination("acme", "other", "a", None), id(number), at(0)).unwrap();
        }
        new
    }

    #[test]
    fn a_namespace_tries_sixty_new_external_ids_an_hour() {
        let fingerprints = Fingerprints::default();
        let id = |number: usize| fingerprints.of(&ExternalID::parse(&format!("id-{number}")).unwrap());
        let mut new = NewExternalIDs::default();
        let guesser = |number: usize| destination("guesser", &format!("u-{number}"), "a", None);
        for number in 0..LIMIT {
            let minute = i64::try_from(number).unwrap() / 2;
            assert_eq!(new.admit(&guesser(number), id(number), at(minute)), Ok(()), "number {number}");
        }
        for (what, namespace, number, minute, expected) in [
            ("one more", "guesser", 60, 31, Err(at(60))),
            ("and again", "guesser", 60, 59, Err(at(60))),
            ("one that was tried within the hour", "guesser", 59, 59, Ok(())),
            ("another namespace", "neighbour", 60, 59, Ok(())),
            ("once the oldest is an hour old", "guesser", 60, 60, Ok(())),
            ("a second one with it", "guesser", 61, 60, Ok(())),
            ("a third", "guesser", 62, 60, Err(at(61))),
            ("after a quiet hour", "guesser", 63, 200, Ok(())),
        ] {
            let trier = destination(namespace, "u", "a", None);
            assert_eq!(new.admit(&trier, id(number), at(minute)), expected, "{what}");
        }
    }

    #[test]
    fn a_destination_that_an_earlier_process_proved_is_admitted_once_more() {
        let fingerprints = Fingerprints::default();
        let id = |number: usize| fingerprints.of(&ExternalID::parse(&format!("id-{number}")).unwrap());
        let proved = |uid: &str| destination("acme", uid, "a", Some("a"));
        let other_key = destination("acme", "u-2", "b", Some("a"));
        let unproved = destination("acme", "u-3", "a", None);
        let mut new = exhausted(id);
        for destination in [&proved("u-1"), &proved("u-2"), &unproved] {
            new.expect(destination);
        }
        for (what, destination, number, expected) in [
            ("proved by this process", &proved("u-4"), 60, Err(at(60))),
            ("not proved at the start", &proved("u-3"), 61, Err(at(60))),
            ("of another key", &other_key, 62, Err(at(60))),
            ("of the proved key", &proved("u-2"), 63, Ok(())),
            ("a second time", &proved("u-2"), 64, Err(at(60))),
            ("another destination", &proved("u-1"), 65, Ok(())),
            ("it leaves the limit as it was", &unproved, 66, Err(at(60))),
        ] {
            assert_eq!(new.admit(destination, id(number), at(30)), expected, "{what}");
        }
        assert_eq!(new.admit(&unproved, id(66), at(60)), Ok(()), "an hour later");
    }

    #[test]
    fn a_whole_namespace_is_admitted_after_a_restart() {
        let fingerprints = Fingerprints::default();
        let id = |number: usize| fingerprints.of(&ExternalID::parse(&format!("id-{number}")).unwrap());
        let all: Vec<_> =
            (0..500).map(|number| destination("acme", &format!("u-{number}"), "a", Some("a"))).collect();
        let mut new = NewExternalIDs::default();
        all.iter().for_each(|destination| new.expect(destination));
        for (number, destination) in all.iter().enumerate() {
            assert_eq!(new.admit(destination, id(number), at(1)), Ok(()), "number {number}");
        }
        let limited = all.iter().enumerate().filter(|(n, d)| new.admit(d, id(1000 + n), at(2)).is_err());
        assert_eq!(limited.count(), 500 - LIMIT, "each of the first sixty has its admission left");
    }

    #[test]
    fn a_destination_that_is_created_again_is_not_counted_again() {
        let fingerprints = Fingerprints::default();
        let id = |number: usize| fingerprints.of(&ExternalID::parse(&format!("id-{number}")).unwrap());
        let mut new = exhausted(id);
        for number in [100, 101] {
            let ended = destination("acme", &format!("u-{number}"), "a", Some("a"));
            new.expect(&ended);
            let mut status = ended.status.clone().unwrap();
            if number == 101 {
                status.established_time = None;
            }
            let claim = Claim::of(&ended, &status, Some(id(number)));
            new.end(&claim.uid, Some(&claim), at(30));
            assert_eq!(new.admit(&ended, id(200), at(31)), Err(at(60)), "it is gone");
        }
        let again = |namespace| destination(namespace, "u-again", "a", None);
        for (what, namespace, number, minute, expected) in [
            ("proved until it ended", "acme", 100, 31, Ok(())),
            ("not proved when it ended", "acme", 101, 31, Err(at(60))),
            ("another", "acme", 102, 31, Err(at(60))),
        ] {
            assert_eq!(new.admit(&again(namespace), id(number), at(minute)), expected, "{what}");
        }
        let tried = |new: &NewExternalIDs| new.by_namespace["acme"].tried.len();
        new.admit(&again("acme"), id(100), at(60)).unwrap();
        assert_eq!(tried(&new), 0, "within an hour of the end");
        new.admit(&again("acme"), id(100), at(90)).unwrap();
        assert_eq!(tried(&new), 1, "later");
    }

    #[test]
    fn namespaces_that_try_nothing_are_forgotten() {
        let fingerprint = Fingerprints::default().of(&ExternalID::parse("acme").unwrap());
        let mut new = NewExternalIDs::default();
        for number in 0..10_000 {
            _ = new.admit(&destination(&format!("tenant-{number}"), "u", "a", None), fingerprint, at(number));
        }
        assert!(new.by_namespace.len() < 300, "{}", new.by_namespace.len());
    }
}
