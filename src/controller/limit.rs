//! The destinations of each namespace by age, to tell which are beyond the limit.

use std::collections::HashMap;
use std::sync::Mutex;

use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use kube::runtime::reflector::ObjectRef;

use crate::api::{Objection, RecordingDestination};
use crate::domain::ownership::{ByAge, too_many};

pub(super) struct NamespaceLimit {
    limit: usize,
    by_namespace: Mutex<HashMap<String, ByAge>>,
}

impl NamespaceLimit {
    pub(super) fn new(limit: usize) -> Self {
        NamespaceLimit { limit, by_namespace: Mutex::default() }
    }

    pub(super) fn add(&self, destination: &RecordingDestination) {
        let metadata = &destination.metadata;
        let mut all = self.by_namespace.lock().unwrap();
        let of_namespace = all.entry(destination.namespace().unwrap_or_default()).or_default();
        let (created, uid) = age(metadata);
        of_namespace.add(created, uid, metadata.name.as_deref().unwrap_or_default());
    }

    /// Removes a destination that is gone. Returns the one that the limit admits in its place.
    pub(super) fn remove(&self, metadata: &ObjectMeta) -> Option<ObjectRef<RecordingDestination>> {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let mut all = self.by_namespace.lock().unwrap();
        let of_namespace = all.get_mut(namespace)?;
        let (created, uid) = age(metadata);
        let admitted = of_namespace.remove(created, uid, self.limit);
        let admitted = admitted.map(|name| ObjectRef::new(name).within(namespace));
        if of_namespace.is_empty() {
            all.remove(namespace);
        }
        admitted
    }

    /// Whether the limit admits the destination.
    pub(super) fn standing(&self, destination: &RecordingDestination) -> Result<(), Objection> {
        let namespace = destination.namespace().unwrap_or_default();
        let (created, uid) = age(&destination.metadata);
        let all = self.by_namespace.lock().unwrap();
        match all.get(&namespace).is_some_and(|all| all.is_beyond(created, uid, self.limit)) {
            true => Err(too_many(&namespace, self.limit)),
            false => Ok(()),
        }
    }
}

fn age(metadata: &ObjectMeta) -> (Option<jiff::Timestamp>, &str) {
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, metadata.uid.as_deref().unwrap_or_default())
}
