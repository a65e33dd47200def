//! The watch of all destinations, without those that cannot be decoded.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use kube::core::ObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource as _};

use super::compact::{beyond_limit, empty_spec};
use super::keyed_changes::{Key, key_of};
use super::lenient::LenientDestination;
use super::namespace_limit::NamespaceLimit;
use super::undecodable::UndecodableObjects;
use super::watch::{Change, watch};
use crate::api::RecordingDestination;

/// What has become of a destination.
pub(super) enum DestinationChange {
    /// A new list begins. What it does not contain is gone.
    Restarted,
    Listed(RecordingDestination),
    /// The list is complete.
    Complete,
    Applied(RecordingDestination),
    /// Deleted, or no longer to be decoded.
    Gone(ObjectMeta),
    /// Nothing else has changed so far.
    Current,
}

/// All changes of destinations, for ever, each cut down by `keep`.
pub(super) fn changes(
    client: Client,
    keep: fn(&mut RecordingDestination),
    undecodable: UndecodableObjects,
) -> impl Stream<Item = DestinationChange> + Send {
    watch(client, "RecordingDestination")
        .filter_map(move |change| std::future::ready(read(change, keep, &undecodable)))
}

fn read(
    change: Change<LenientDestination>,
    keep: fn(&mut RecordingDestination),
    undecodable: &UndecodableObjects,
) -> Option<DestinationChange> {
    let kept = |mut destination: RecordingDestination| {
        undecodable.remove(&destination.metadata);
        keep(&mut destination);
        destination
    };
    Some(match change {
        Change::Restarted => {
            undecodable.restart();
            DestinationChange::Restarted
        }
        Change::Complete => {
            undecodable.complete();
            DestinationChange::Complete
        }
        Change::Current => DestinationChange::Current,
        Change::Listed(LenientDestination(Ok(destination))) => DestinationChange::Listed(kept(destination)),
        Change::Applied(LenientDestination(Ok(destination))) => DestinationChange::Applied(kept(destination)),
        Change::Listed(LenientDestination(Err(skipped))) => {
            undecodable.add(&skipped);
            return None;
        }
        // The process must not go on with what the destination was before.
        Change::Applied(LenientDestination(Err(skipped))) => {
            undecodable.add(&skipped);
            DestinationChange::Gone(*skipped.metadata)
        }
        Change::Deleted(mut deleted) => {
            let metadata = std::mem::take(deleted.meta_mut());
            undecodable.remove(&metadata);
            DestinationChange::Gone(metadata)
        }
    })
}

/// The destinations for a [`Controller`](kube::runtime::Controller): its store, and what triggers it, to be polled for as
/// long as the store is read. What triggers is in the store by then, and of a list only what has changed does. `gone` is called
/// with each destination that is deleted or no longer to be decoded, once the store is without it.
pub fn reflect(
    client: Client,
    keep: fn(&mut RecordingDestination),
    limit: Arc<NamespaceLimit>,
    undecodable: UndecodableObjects,
    gone: impl Fn(&ObjectMeta) + Send + 'static,
) -> (
    Store<RecordingDestination>,
    impl Stream<Item = Result<RecordingDestination, watcher::Error>> + Send + 'static,
) {
    let (store, writer) = reflector::store();
    let mut mirror = Mirror { writer, store: store.clone(), limit, listed: None, gone };
    let triggers = changes(client, keep, undecodable).flat_map(move |change| {
        let triggers = mirror.take(change).into_iter();
        stream::iter(
            triggers.map(|metadata| Ok(RecordingDestination { metadata, spec: empty_spec(), status: None })),
        )
    });
    (store, triggers)
}

/// Writes changes into a store.
struct Mirror<G> {
    writer: Writer<RecordingDestination>,
    store: Store<RecordingDestination>,
    limit: Arc<NamespaceLimit>,
    /// What the list that is under way has brought so far.
    listed: Option<HashMap<Key, RecordingDestination>>,
    gone: G,
}

impl<G: Fn(&ObjectMeta)> Mirror<G> {
    /// Takes a change, and returns what it triggers.
    fn take(&mut self, change: DestinationChange) -> Vec<ObjectMeta> {
        match change {
            DestinationChange::Restarted => self.listed = Some(HashMap::new()),
            DestinationChange::Listed(destination) | DestinationChange::Applied(destination) => {
                return self.put(destination).into_iter().collect();
            }
            DestinationChange::Complete => return self.complete(),
            DestinationChange::Gone(metadata) => {
                let key = key_of(&metadata);
                self.listed.iter_mut().for_each(|listed| _ = listed.remove(&key));
                let deleted = RecordingDestination { metadata, spec: empty_spec(), status: None };
                self.writer.apply_watcher_event(&Event::Delete(deleted.clone()));
                (self.gone)(&deleted.metadata);
            }
            DestinationChange::Current => {}
        }
        Vec::new()
    }

    fn put(&mut self, mut destination: RecordingDestination) -> Option<ObjectMeta> {
        let other = self.limit.add(&destination.metadata);
        if self.limit.cuts(&destination) {
            beyond_limit(&mut destination);
        }
        let metadata = destination.metadata.clone();
        let Some(listed) = &mut self.listed else {
            self.writer.apply_watcher_event(&Event::Apply(destination));
            let other =
                other.and_then(|(namespace, name)| self.store.get(&ObjectRef::new(&name).within(&namespace)));
            if let Some(other) = other.filter(|other| self.limit.cuts(other)) {
                let mut other = RecordingDestination::clone(&other);
                beyond_limit(&mut other);
                self.writer.apply_watcher_event(&Event::Apply(other));
            }
            return Some(metadata);
        };
        listed.insert(key_of(&metadata), destination);
        let other = other.and_then(|key| listed.get_mut(&key));
        other.filter(|other| self.limit.cuts(other)).into_iter().for_each(beyond_limit);
        None
    }

    fn complete(&mut self) -> Vec<ObjectMeta> {
        let before = self.store.state();
        let mut triggers = Vec::new();
        self.writer.apply_watcher_event(&Event::Init);
        for destination in self.listed.take().unwrap_or_default().into_values() {
            let old = self.store.get(&ObjectRef::from_obj(&destination));
            if old.is_none_or(|old| !is_same(&old, &destination)) {
                triggers.push(destination.metadata.clone());
            }
            self.writer.apply_watcher_event(&Event::InitApply(destination));
        }
        self.writer.apply_watcher_event(&Event::InitDone);
        // Deletions that the watch missed show in the list.
        for old in before {
            let now = self.store.get(&ObjectRef::from_obj(&*old));
            if now.is_none_or(|now| now.metadata.uid != old.metadata.uid) {
                (self.gone)(&old.metadata);
            }
        }
        triggers
    }
}

pub(super) fn is_same(one: &RecordingDestination, other: &RecordingDestination) -> bool {
    let (one, other) = (&one.metadata, &other.metadata);
    one.uid == other.uid && one.resource_version.is_some() && one.resource_version == other.resource_version
}
