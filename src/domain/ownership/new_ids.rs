//! How many new External IDs a namespace may try. A conflict confirms that another destination has that External ID, so
//! without a limit a tenant could guess those of others.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::secret::Fingerprint;

/// New External IDs of one namespace in one hour.
const LIMIT: usize = 60;
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// The External IDs that were tried in the last hour, by namespace.
#[derive(Debug, Default)]
pub struct NewExternalIDs {
    by_namespace: HashMap<String, VecDeque<(Timestamp, Fingerprint)>>,
    /// Namespaces above which idle ones are forgotten.
    sweep_above: usize,
}

impl NewExternalIDs {
    /// Counts an External ID that is about to be tried and was not proved before. One that was tried within the hour is not
    /// counted again. `Err`: not now; when the next may be tried.
    pub fn admit(&mut self, namespace: &str, id: Fingerprint, now: Timestamp) -> Result<(), Timestamp> {
        if self.by_namespace.len() > self.sweep_above {
            self.by_namespace.retain(|_, tried| tried.back().is_some_and(|(last, _)| *last + WINDOW > now));
            self.sweep_above = 2 * self.by_namespace.len() + 64;
        }
        let tried = self.by_namespace.entry(namespace.to_owned()).or_default();
        while tried.front().is_some_and(|(at, _)| *at + WINDOW <= now) {
            tried.pop_front();
        }
        match tried.front() {
            _ if tried.iter().any(|(_, known)| *known == id) => Ok(()),
            Some((oldest, _)) if tried.len() >= LIMIT => Err(*oldest + WINDOW),
            _ => {
                tried.push_back((now, id));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{ExternalID, Fingerprints};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn a_namespace_tries_sixty_new_external_ids_an_hour() {
        let fingerprints = Fingerprints::default();
        let id = |number: usize| fingerprints.of(&ExternalID::parse(&format!("id-{number}")).unwrap());
        let mut new = NewExternalIDs::default();
        for number in 0..LIMIT {
            let minute = i64::try_from(number).unwrap() / 2;
            assert_eq!(new.admit("guesser", id(number), at(minute)), Ok(()), "number {number}");
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
            assert_eq!(new.admit(namespace, id(number), at(minute)), expected, "{what}");
        }
    }

    #[test]
    fn namespaces_that_try_nothing_are_forgotten() {
        let fingerprint = Fingerprints::default().of(&ExternalID::parse("acme").unwrap());
        let mut new = NewExternalIDs::default();
        for number in 0..10_000 {
            _ = new.admit(&format!("tenant-{number}"), fingerprint, at(number));
        }
        assert!(new.by_namespace.len() < 300, "{}", new.by_namespace.len());
    }
}
