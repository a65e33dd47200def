//! The destinations of each namespace by age, to tell which are beyond the limit. Of those no spec is kept: their number has
//! no bound, and a spec has up to 20 KiB.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kube::core::ObjectMeta;

use super::compact::is_proved;
use super::keyed_changes::{DestinationKey, Key};
use super::lenient::{name_of, namespace_of};
use crate::api::{Objection, RecordingDestination};
use crate::domain::ownership::{ByAge, too_many};

/// The destinations of each namespace, of which `limit` are served.
#[derive(Debug)]
pub struct NamespaceLimit {
    limit: usize,
    by_namespace: Mutex<HashMap<String, ByAge>>,
}

impl NamespaceLimit {
    pub fn new(limit: usize) -> Self {
        NamespaceLimit { limit, by_namespace: Mutex::default() }
    }

    /// Counts a destination. Returns the one that may be beyond the limit since now.
    pub(super) fn add(&self, metadata: &ObjectMeta) -> Option<Key> {
        let namespace = namespace_of(metadata);
        let (created, uid) = age(metadata);
        let mut all = self.by_namespace.lock().unwrap();
        let of_namespace = all.entry(namespace.to_owned()).or_default();
        let beyond = of_namespace.add(created, uid, name_of(metadata), self.limit)?;
        Some((namespace.to_owned(), beyond.to_owned()))
    }

    /// Forgets all, as a new list begins.
    pub(super) fn clear(&self) {
        *self.by_namespace.lock().unwrap() = HashMap::new();
    }

    /// Whether only the metadata of a counted destination is kept. One that was proved before the limit was lowered is kept
    /// whole, as it has a claim, and the controller decides how long it is Ready.
    pub(super) fn cuts(&self, destination: &RecordingDestination) -> bool {
        !is_proved(destination) && self.is_beyond(&destination.metadata)
    }

    /// Removes a destination that is gone. Returns the one that the limit admits in its place.
    pub fn remove(&self, metadata: &ObjectMeta) -> Option<DestinationKey> {
        let namespace = namespace_of(metadata);
        let mut all = self.by_namespace.lock().unwrap();
        let of_namespace = all.get_mut(namespace)?;
        let (created, uid) = age(metadata);
        let admitted = of_namespace.remove(created, uid, self.limit);
        let admitted = admitted.map(|name| Arc::new((namespace.to_owned(), name.to_owned())));
        if of_namespace.is_empty() {
            all.remove(namespace);
        }
        admitted
    }

    /// Whether the limit admits the destination.
    pub fn standing(&self, destination: &RecordingDestination) -> Result<(), Objection> {
        match self.is_beyond(&destination.metadata) {
            true => Err(too_many(namespace_of(&destination.metadata), self.limit)),
            false => Ok(()),
        }
    }

    fn is_beyond(&self, metadata: &ObjectMeta) -> bool {
        let (created, uid) = age(metadata);
        let all = self.by_namespace.lock().unwrap();
        all.get(namespace_of(metadata)).is_some_and(|all| all.is_beyond(created, uid, self.limit))
    }
}

fn age(metadata: &ObjectMeta) -> (Option<jiff::Timestamp>, &str) {
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, metadata.uid.as_deref().unwrap_or_default())
}
