//! How many destinations a namespace may have.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{Objection, Reason};

/// The destinations of one namespace, the oldest first: by creation, then by UID.
#[derive(Clone, Debug, Default)]
pub struct ByAge {
    /// The names.
    all: BTreeMap<(Option<Timestamp>, String), String>,
}

impl ByAge {
    /// Adds a destination. If it is new, returns the oldest one beyond the limit: no other can be beyond only since now.
    pub fn add(&mut self, created: Option<Timestamp>, uid: &str, name: &str, limit: usize) -> Option<&str> {
        let known = self.all.insert((created, uid.to_owned()), name.to_owned());
        if known.is_some() || self.all.len() <= limit {
            return None;
        }
        self.all.values().nth(limit).map(String::as_str)
    }

    /// Removes a destination. Returns the one that is within the limit now and was not before, if there is one.
    pub fn remove(&mut self, created: Option<Timestamp>, uid: &str, limit: usize) -> Option<&str> {
        let key = (created, uid.to_owned());
        let was_beyond = self.is_beyond(created, uid, limit);
        if self.all.remove(&key).is_none() || was_beyond {
            return None;
        }
        self.all.values().nth(limit.checked_sub(1)?).map(String::as_str)
    }

    /// Whether `limit` destinations or more are older than this one.
    pub fn is_beyond(&self, created: Option<Timestamp>, uid: &str, limit: usize) -> bool {
        // Most namespaces have few, and then their order does not matter.
        self.all.len() > limit
            && self.all.keys().nth(limit).is_some_and(|first| (created, uid) >= (first.0, &first.1))
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// What a destination beyond the limit is told.
pub fn too_many(namespace: &str, limit: usize) -> Objection {
    Objection {
        reason: Reason::TooManyDestinations,
        message: format!(
            "namespace {namespace} has more than {limit} destinations, the most that this platform serves in a namespace; \
             the newest are not validated and get no credentials"
        ),
        remedy: format!(
            "Delete destinations of namespace {namespace} that are not needed, or create this one in another namespace. \
             Whoever administers the platform can raise the chart's value destinations.maxPerNamespace"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_age(count: i64) -> ByAge {
        let mut all = ByAge::default();
        for number in (0..count).rev() {
            all.add(Some(at(number / 2)), &format!("uid-{number}"), &format!("name-{number}"), 6);
        }
        all
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_newest_destinations_of_a_namespace_are_beyond_its_limit() {
        let all = by_age(6);
        let beyond = |limit| -> Vec<i64> {
            (0..6).filter(|n| all.is_beyond(Some(at(n / 2)), &format!("uid-{n}"), limit)).collect()
        };
        assert_eq!(beyond(0), [0, 1, 2, 3, 4, 5]);
        // Two are created in each second, and then the UID decides.
        assert_eq!(beyond(3), [3, 4, 5]);
        assert_eq!(beyond(5), [5]);
        assert_eq!(beyond(6), [0; 0]);
        assert_eq!(beyond(500), [0; 0]);
    }

    #[test]
    fn an_older_destination_puts_the_newest_within_the_limit_beyond_it() {
        let mut all = by_age(3);
        assert_eq!(all.add(Some(at(0)), "uid-0", "name-0", 3), None, "it is known");
        assert_eq!(all.add(Some(at(-1)), "older", "older", 4), None, "there is room");
        assert_eq!(all.add(Some(at(-2)), "oldest", "oldest", 4), Some("name-2"));
        assert_eq!(all.add(Some(at(9)), "newest", "newest", 5), Some("newest"));
    }

    #[test]
    fn a_deletion_admits_the_oldest_that_was_beyond_the_limit() {
        for (deleted, admitted) in [(0, Some("name-3")), (2, Some("name-3")), (3, None), (5, None)] {
            let mut all = by_age(6);
            assert_eq!(
                all.remove(Some(at(deleted / 2)), &format!("uid-{deleted}"), 3),
                admitted,
                "{deleted}"
            );
        }
        assert_eq!(by_age(3).remove(Some(at(0)), "uid-0", 3), None, "there was room");
        assert_eq!(by_age(6).remove(Some(at(0)), "another", 3), None);
        assert_eq!(by_age(6).remove(Some(at(0)), "uid-0", 0), None);
    }
}
