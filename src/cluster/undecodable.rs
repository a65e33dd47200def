//! What cannot be decoded: counted, and said once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kube::core::ObjectMeta;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::keyed_changes::{Key, key_of};
use super::lenient::{Undecodable, name_of, namespace_of};
use crate::printable::printable;

/// The objects of one kind that cannot be decoded.
#[derive(Clone)]
pub struct UndecodableObjects {
    kind: &'static str,
    count: Gauge,
    known: Arc<Mutex<Known>>,
}

/// The error of each object. During a list, `before` has those from before it.
#[derive(Default)]
struct Known {
    now: HashMap<Key, String>,
    before: HashMap<Key, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
}

impl UndecodableObjects {
    /// Registers `recording_operator_undecodable_objects`.
    pub fn register(registry: &mut Registry, kind: &'static str) -> Self {
        let counts = Family::<Labels, Gauge>::default();
        registry.register(
            "recording_operator_undecodable_objects",
            "Objects that this process cannot decode and treats as absent",
            counts.clone(),
        );
        let count = counts.get_or_create_owned(&Labels { kind });
        UndecodableObjects { kind, count, known: Arc::default() }
    }

    /// A list begins.
    pub(super) fn restart(&self) {
        let mut known = self.known.lock().unwrap();
        known.before = std::mem::take(&mut known.now);
    }

    /// The list is complete.
    pub(super) fn complete(&self) {
        let mut known = self.known.lock().unwrap();
        known.before = HashMap::new();
        self.count.set(known.now.len() as i64);
    }

    /// Logs the first time that an object is met with that error.
    pub(super) fn add(&self, undecodable: &Undecodable) {
        let Undecodable { metadata, error } = undecodable;
        let (namespace, name) = (namespace_of(metadata), name_of(metadata));
        let key = key_of(metadata);
        let mut known = self.known.lock().unwrap();
        let is_known = [&known.now, &known.before].iter().any(|known| known.get(&key) == Some(error));
        known.now.insert(key, error.clone());
        self.count.set(known.now.len() as i64);
        drop(known);
        if !is_known {
            let (kind, namespace, name) = (self.kind, printable(namespace), printable(name));
            tracing::warn!(kind, %namespace, %name, error, "an object cannot be decoded and counts as absent");
        }
    }

    /// The object can be decoded, or is gone.
    pub(super) fn remove(&self, metadata: &ObjectMeta) {
        let mut known = self.known.lock().unwrap();
        if !known.now.is_empty() {
            known.now.remove(&key_of(metadata));
            self.count.set(known.now.len() as i64);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> i64 {
        self.count.get()
    }
}
