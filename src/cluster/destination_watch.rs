//! The watch of all destinations, without those that cannot be decoded.

use futures::{Stream, StreamExt as _};
use kube::core::ObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource as _};

use super::compact::empty_spec;
use super::lenient::LenientDestination;
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
/// long as the store is read. `gone` is called with each destination that is deleted or no longer to be decoded, once the
/// store is without it.
pub fn reflect(
    client: Client,
    keep: fn(&mut RecordingDestination),
    undecodable: UndecodableObjects,
    gone: impl Fn(&ObjectMeta) + Send + 'static,
) -> (
    Store<RecordingDestination>,
    impl Stream<Item = Result<RecordingDestination, watcher::Error>> + Send + 'static,
) {
    let (store, mut writer) = reflector::store();
    let reader = store.clone();
    let triggers = changes(client, keep, undecodable).filter_map(move |change| {
        let event = match change {
            DestinationChange::Restarted => Event::Init,
            DestinationChange::Listed(destination) => Event::InitApply(destination),
            DestinationChange::Complete => Event::InitDone,
            DestinationChange::Applied(destination) => Event::Apply(destination),
            DestinationChange::Gone(metadata) => {
                Event::Delete(RecordingDestination { metadata, spec: empty_spec(), status: None })
            }
            DestinationChange::Current => return std::future::ready(None),
        };
        // Deletions that the watch missed show in the next list.
        let before = if matches!(event, Event::InitDone) { reader.state() } else { Vec::new() };
        writer.apply_watcher_event(&event);
        for old in before {
            let now = reader.get(&ObjectRef::from_obj(&*old));
            if now.is_none_or(|now| now.metadata.uid != old.metadata.uid) {
                gone(&old.metadata);
            }
        }
        std::future::ready(match event {
            Event::Apply(destination) | Event::InitApply(destination) => Some(Ok(destination)),
            Event::Delete(destination) => {
                gone(&destination.metadata);
                None
            }
            Event::Init | Event::InitDone => None,
        })
    });
    (store, triggers)
}
