//! Who waits for a change of which object. A change wakes those who wait for its object, and nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kube::core::ObjectMeta;
use tokio::sync::watch;

use super::lenient::{name_of, namespace_of};

/// Namespace and name.
pub(super) type Key = (String, String);

/// The key of a destination, shared by all that keep it.
pub type DestinationKey = Arc<(String, String)>;

pub(super) fn key_of(metadata: &ObjectMeta) -> Key {
    (namespace_of(metadata).to_owned(), name_of(metadata).to_owned())
}

/// The waiters of all objects.
#[derive(Clone, Debug, Default)]
pub struct KeyedChanges {
    /// One entry for each object that somebody waits for.
    waiters: Arc<Mutex<HashMap<Key, watch::Sender<()>>>>,
}

/// Notified of every change of one object, for as long as it lives.
pub struct Subscription {
    key: Key,
    all: KeyedChanges,
    changes: watch::Receiver<()>,
}

impl KeyedChanges {
    pub fn subscribe(&self, namespace: &str, name: &str) -> Subscription {
        let key = (namespace.to_owned(), name.to_owned());
        let mut waiters = self.waiters.lock().unwrap();
        let changes = waiters.entry(key.clone()).or_default().subscribe();
        drop(waiters);
        Subscription { key, all: self.clone(), changes }
    }

    /// Wakes those who wait for that object.
    pub fn notify(&self, key: &(String, String)) {
        if let Some(changed) = self.waiters.lock().unwrap().get(key) {
            changed.send_replace(());
        }
    }

    /// Wakes those who wait for an object of which that is true.
    pub(super) fn notify_where(&self, has_changed: impl Fn(&Key) -> bool) {
        let waiters = self.waiters.lock().unwrap();
        waiters.iter().filter(|(key, _)| has_changed(key)).for_each(|(_, changed)| changed.send_replace(()));
    }
}

impl Subscription {
    /// Waits for the next change, or returns at once where one has happened since the last call.
    pub async fn changed(&mut self) {
        self.changes.changed().await.expect("the sender lives as long as its subscriptions");
    }

    /// Forgets changes up to now.
    pub fn mark_unchanged(&mut self) {
        self.changes.mark_unchanged();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiters = self.all.waiters.lock().unwrap();
        // This one still counts.
        if waiters.get(&self.key).is_some_and(|changed| changed.receiver_count() == 1) {
            waiters.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_change_of_one_of_10_000_objects_wakes_its_one_waiter() {
        let changes = KeyedChanges::default();
        let name = |number| format!("destination-{number}");
        let mut waiters: Vec<_> =
            (0..10_000).map(|number| changes.subscribe("tenant", &name(number))).collect();
        changes.notify(&("tenant".to_owned(), name(4711)));
        changes.notify(&("another".to_owned(), name(12)));
        let woken = |waiters: &mut Vec<Subscription>| -> Vec<usize> {
            let all = waiters.iter_mut().enumerate();
            all.filter_map(|(number, waiter)| waiter.changed().now_or_never().map(|()| number)).collect()
        };
        assert_eq!(woken(&mut waiters), [4711]);
        assert_eq!(woken(&mut waiters), [0; 0], "woken once");
    }

    #[test]
    fn an_object_that_nobody_waits_for_costs_nothing() {
        let changes = KeyedChanges::default();
        let (first, second) = (changes.subscribe("tenant", "acme"), changes.subscribe("tenant", "acme"));
        drop(first);
        assert_eq!(changes.waiters.lock().unwrap().len(), 1);
        drop(second);
        assert!(changes.waiters.lock().unwrap().is_empty());
    }
}
