//! The controller's copy of all destinations. It is whole but for the service accounts, so that a status can be written
//! without reading the destination again.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, RwLock};

use futures::{Stream, StreamExt as _, stream};
use kube::Client;
use kube::core::ObjectMeta;
use tokio::sync::watch;

use super::compact::{beyond_limit, is_cut};
use super::destination_watch::{DestinationChange, changes};
use super::keyed_changes::{DestinationKey, Key, key_of};
use super::namespace_limit::NamespaceLimit;
use super::packed::{Packed, Packer};
use super::undecodable::UndecodableObjects;
use crate::api::RecordingDestination;

/// The destinations as of the last event.
#[derive(Clone, Default)]
pub struct DestinationStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    all: RwLock<Entries>,
    is_filled: watch::Sender<bool>,
    names: RandomState,
}

type Entries = HashMap<DestinationKey, Entry>;

/// A destination, with what is compared without unpacking it: digests of its UID and of its version.
#[derive(Clone)]
struct Entry {
    uid: u64,
    version: Option<u64>,
    packed: Packed,
}

impl DestinationStore {
    /// An empty store, and the destinations to reconcile, to be polled for as long as the store is read. Each is cut down by
    /// `keep`. What is to be reconciled is in the store by then, and of a list only what has changed is. `gone` is called
    /// with each destination that is deleted or no longer to be decoded, once the store is without it.
    pub fn watch(
        client: Client,
        keep: fn(&mut RecordingDestination),
        limit: Arc<NamespaceLimit>,
        undecodable: UndecodableObjects,
        gone: impl Fn(&ObjectMeta) + Send + 'static,
    ) -> (Self, impl Stream<Item = DestinationKey> + Send + 'static) {
        let store = DestinationStore::default();
        let mut mirror =
            Mirror { store: store.clone(), packer: Packer::default(), limit, listed: None, gone };
        let triggers =
            changes(client, keep, undecodable).flat_map(move |change| stream::iter(mirror.take(change)));
        (store, triggers)
    }

    /// Waits for the first complete list.
    pub async fn filled(&self) {
        let mut is_filled = self.shared.is_filled.subscribe();
        is_filled.wait_for(|is_filled| *is_filled).await.expect("the store has the sender");
    }

    pub fn get(&self, key: &(String, String)) -> Option<RecordingDestination> {
        // Unpacking takes longer than a writer should wait.
        let packed = self.shared.all.read().unwrap().get(key)?.packed.clone();
        Some(packed.unpack())
    }

    /// Whether there is a destination of that name and UID.
    pub fn has(&self, key: &(String, String), uid: &str) -> bool {
        let digest = self.shared.names.hash_one(uid);
        self.shared.all.read().unwrap().get(key).is_some_and(|found| found.uid == digest)
    }

    pub fn keys(&self) -> Vec<DestinationKey> {
        self.shared.all.read().unwrap().keys().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.shared.all.read().unwrap().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A store that holds these.
    #[cfg(test)]
    pub fn of(all: impl IntoIterator<Item = RecordingDestination>) -> Self {
        let store = DestinationStore::default();
        let limit = Arc::new(NamespaceLimit::new(usize::MAX));
        let mut mirror = Mirror {
            store: store.clone(),
            packer: Packer::default(),
            limit,
            listed: None,
            gone: |_: &ObjectMeta| {},
        };
        let listed = all.into_iter().map(DestinationChange::Listed);
        let changes =
            [DestinationChange::Restarted].into_iter().chain(listed).chain([DestinationChange::Complete]);
        changes.for_each(|change| _ = mirror.take(change));
        store
    }
}

/// Writes changes into a store.
struct Mirror<G> {
    store: DestinationStore,
    packer: Packer,
    limit: Arc<NamespaceLimit>,
    /// What the list that is under way has brought so far.
    listed: Option<Entries>,
    gone: G,
}

impl<G: Fn(&ObjectMeta)> Mirror<G> {
    /// Takes a change, and returns what it triggers.
    fn take(&mut self, change: DestinationChange) -> Vec<DestinationKey> {
        match change {
            DestinationChange::Restarted => self.listed = Some(HashMap::new()),
            DestinationChange::Listed(destination) | DestinationChange::Applied(destination) => {
                return self.put(destination).into_iter().collect();
            }
            DestinationChange::Complete => return self.complete(),
            DestinationChange::Gone(metadata) => {
                let key = key_of(&metadata);
                self.listed.iter_mut().for_each(|listed| _ = listed.remove(&key));
                self.store.shared.all.write().unwrap().remove(&key);
                (self.gone)(&metadata);
            }
            DestinationChange::Current => {}
        }
        Vec::new()
    }

    fn put(&mut self, mut destination: RecordingDestination) -> Option<DestinationKey> {
        let other = self.limit.add(&destination.metadata);
        if self.limit.cuts(&destination) {
            beyond_limit(&mut destination);
        }
        let (key, entry) = self.entry(&destination);
        let is_listing = self.listed.is_some();
        self.insert(key.clone(), entry);
        if let Some(mut other) = other.and_then(|other| self.held(&other))
            && self.limit.cuts(&other)
        {
            beyond_limit(&mut other);
            let (key, entry) = self.entry(&other);
            self.insert(key, entry);
        }
        (!is_listing).then_some(key)
    }

    /// The one of the list that is under way, or else of the store.
    fn held(&self, key: &Key) -> Option<RecordingDestination> {
        match &self.listed {
            Some(listed) => Some(listed.get(key)?.packed.unpack()),
            None => self.store.get(key),
        }
    }

    fn insert(&mut self, key: DestinationKey, entry: Entry) {
        match &mut self.listed {
            Some(listed) => _ = listed.insert(key, entry),
            None => _ = self.store.shared.all.write().unwrap().insert(key, entry),
        }
    }

    /// What has not changed is not held twice.
    fn entry(&mut self, destination: &RecordingDestination) -> (DestinationKey, Entry) {
        let (key, names) = (key_of(&destination.metadata), &self.store.shared.names);
        let ObjectMeta { uid, resource_version, .. } = &destination.metadata;
        let uid = uid.as_deref().unwrap_or_default();
        let version = resource_version.as_deref();
        let version = version.map(|version| names.hash_one((uid, version, is_cut(destination))));
        let all = self.store.shared.all.read().unwrap();
        let known = all.get_key_value(&key);
        match known {
            Some((key, entry)) if entry.version == version && version.is_some() => {
                (key.clone(), entry.clone())
            }
            _ => {
                let key = known.map_or_else(|| Arc::new(key), |(key, _)| key.clone());
                (key, Entry { uid: names.hash_one(uid), version, packed: self.packer.pack(destination) })
            }
        }
    }

    fn complete(&mut self) -> Vec<DestinationKey> {
        let mut listed = self.listed.take().unwrap_or_default();
        listed.shrink_to_fit();
        let mut all = self.store.shared.all.write().unwrap();
        let before = std::mem::take(&mut *all);
        let has_changed = |key: &DestinationKey, new: &Entry| {
            before.get(key).is_none_or(|old| old.version != new.version || old.version.is_none())
        };
        let triggers = listed.iter().filter(|(key, new)| has_changed(key, new));
        let triggers = triggers.map(|(key, _)| key.clone()).collect();
        // Deletions that the watch missed show in the list.
        let is_gone =
            |(key, old): &(&DestinationKey, &Entry)| listed.get(*key).is_none_or(|new| new.uid != old.uid);
        let ended: Vec<_> = before.iter().filter(is_gone).map(|(_, old)| old.packed.clone()).collect();
        *all = listed;
        drop(all);
        ended.iter().for_each(|ended| (self.gone)(&ended.unpack().metadata));
        self.store.shared.is_filled.send_replace(true);
        triggers
    }
}
