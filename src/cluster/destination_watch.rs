//! The watch of all destinations, without those that cannot be decoded.

use futures::{Stream, StreamExt as _};
use kube::core::ObjectMeta;
use kube::{Client, Resource as _};

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

pub(super) fn is_same(one: &RecordingDestination, other: &RecordingDestination) -> bool {
    let (one, other) = (&one.metadata, &other.metadata);
    one.uid == other.uid && one.resource_version.is_some() && one.resource_version == other.resource_version
}
