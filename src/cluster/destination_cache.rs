//! All destinations, updated by a watch.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::ListParams;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::destination_watch::{DestinationChange, changes};
use super::keyed_changes::{Key, KeyedChanges, Subscription};
use super::lenient::{name_of, namespace_of};
use super::undecodable::UndecodableObjects;
use crate::api::RecordingDestination;

/// Age of the copy from which the API server is asked whether it answers at all.
const DOUBTFUL: Duration = Duration::from_secs(40);
/// Pause between two such questions, and the time for an answer.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The destinations as of the last event. While the API server cannot be reached they stay as they were.
#[derive(Clone)]
pub struct DestinationCache {
    shared: Arc<Shared>,
}

struct Shared {
    all: RwLock<HashMap<Key, Arc<RecordingDestination>>>,
    changes: KeyedChanges,
    is_filled: watch::Sender<bool>,
    seen: Mutex<Seen>,
}

/// When the copy was last known to be current, and when the API server last answered.
#[derive(Clone, Copy)]
struct Seen {
    current: Instant,
    answered: Option<Instant>,
}

/// How old the copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyAge {
    /// Time since the copy was known to be current.
    pub confirmed: Duration,
    /// Time since the API server answered a question that was asked because of the copy's age; `None`: never.
    pub answered: Option<Duration>,
}

impl DestinationCache {
    /// An empty cache, and the watch that fills it, to be polled for as long as the cache is read. Each destination is cut
    /// down by `keep`.
    pub fn watch(
        client: Client,
        keep: fn(&mut RecordingDestination),
        undecodable: UndecodableObjects,
    ) -> (Self, impl Future<Output = Infallible> + Send) {
        let shared = Arc::new(Shared {
            all: RwLock::default(),
            changes: KeyedChanges::default(),
            is_filled: watch::Sender::new(false),
            seen: Mutex::new(Seen { current: Instant::now(), answered: None }),
        });
        let cache = DestinationCache { shared: shared.clone() };
        let feed = {
            let shared = shared.clone();
            let mut listed = HashMap::new();
            changes(client.clone(), keep, undecodable).for_each(move |change| {
                shared.take(change, &mut listed);
                std::future::ready(())
            })
        };
        let watch = async move {
            tokio::select! {
                () = feed => unreachable!("a watch begins again whenever it ends"),
                never = ask_while_doubtful(client, &shared) => never,
            }
        };
        (cache, watch)
    }

    /// Waits for the first complete list.
    pub async fn filled(&self) {
        let mut is_filled = self.shared.is_filled.subscribe();
        is_filled.wait_for(|is_filled| *is_filled).await.expect("the cache has the sender");
    }

    /// Notified of every change of that destination, once the cache has it.
    pub fn changes(&self, namespace: &str, name: &str) -> Subscription {
        self.shared.changes.subscribe(namespace, name)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<RecordingDestination>> {
        self.shared.all.read().unwrap().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn age(&self) -> CopyAge {
        let seen = *self.shared.seen.lock().unwrap();
        CopyAge { confirmed: seen.current.elapsed(), answered: seen.answered.map(|at| at.elapsed()) }
    }
}

impl Shared {
    fn take(&self, change: DestinationChange, listed: &mut HashMap<Key, Arc<RecordingDestination>>) {
        match change {
            DestinationChange::Restarted => *listed = HashMap::new(),
            DestinationChange::Listed(destination) => {
                let (key, new) = (key_of(&destination.metadata), Arc::new(destination));
                // What has not changed is not held twice.
                let old = self.all.read().unwrap().get(&key).filter(|old| is_same(old, &new)).cloned();
                listed.insert(key, old.unwrap_or(new));
            }
            DestinationChange::Complete => {
                let before = std::mem::replace(&mut *self.all.write().unwrap(), std::mem::take(listed));
                let now = self.all.read().unwrap();
                self.changes.notify_where(|key| match (before.get(key), now.get(key)) {
                    (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
                    (before, now) => before.is_some() || now.is_some(),
                });
                drop(now);
                self.is_filled.send_replace(true);
                self.seen.lock().unwrap().current = Instant::now();
            }
            DestinationChange::Applied(destination) => {
                let key = key_of(&destination.metadata);
                self.all.write().unwrap().insert(key.clone(), Arc::new(destination));
                self.changes.notify(&key);
            }
            DestinationChange::Gone(metadata) => {
                let key = key_of(&metadata);
                self.all.write().unwrap().remove(&key);
                self.changes.notify(&key);
            }
            DestinationChange::Current => self.seen.lock().unwrap().current = Instant::now(),
        }
    }
}

fn key_of(metadata: &ObjectMeta) -> Key {
    (namespace_of(metadata).to_owned(), name_of(metadata).to_owned())
}

fn is_same(one: &RecordingDestination, other: &RecordingDestination) -> bool {
    let version = |of: &RecordingDestination| of.metadata.resource_version.clone();
    one.metadata.uid == other.metadata.uid && version(one).is_some() && version(one) == version(other)
}

/// While the copy is old, finds out whether the API server answers. Any answer counts that it could have given to the watch
/// as well.
async fn ask_while_doubtful(client: Client, shared: &Shared) -> Infallible {
    let api = Api::<PartialObjectMeta<RecordingDestination>>::all(client);
    let one = ListParams::default().limit(1);
    loop {
        sleep(ASK_EVERY).await;
        if shared.seen.lock().unwrap().current.elapsed() < DOUBTFUL {
            continue;
        }
        let answers = match timeout(ASK_EVERY, api.list(&one)).await {
            Ok(Ok(_) | Err(kube::Error::SerdeError(_))) => true,
            Ok(Err(kube::Error::Api(status))) => status.code < 500 && status.code != 429,
            Ok(Err(_)) | Err(_) => false,
        };
        if answers {
            shared.seen.lock().unwrap().answered = Some(Instant::now());
        }
    }
}
