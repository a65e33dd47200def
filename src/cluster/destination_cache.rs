//! All destinations, updated by a watch.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::destination_watch::{DestinationChange, changes, is_same};
use super::keyed_changes::{Key, KeyedChanges, Subscription, key_of};
use super::namespace_limit::NamespaceLimit;
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

type Destinations = HashMap<Key, Arc<RecordingDestination>>;

struct Shared {
    all: RwLock<Destinations>,
    limit: Option<NamespaceLimit>,
    changes: KeyedChanges,
    is_filled: watch::Sender<bool>,
    seen: Mutex<Seen>,
}

/// A list that is under way.
struct Listed {
    began: Instant,
    all: Destinations,
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
    /// down by `keep`; those beyond `limit` are left out.
    pub fn watch(
        client: Client,
        keep: fn(&mut RecordingDestination),
        limit: Option<NamespaceLimit>,
        undecodable: UndecodableObjects,
    ) -> (Self, impl Future<Output = Infallible> + Send) {
        let shared = Arc::new(Shared {
            all: RwLock::default(),
            limit,
            changes: KeyedChanges::default(),
            is_filled: watch::Sender::new(false),
            seen: Mutex::new(Seen { current: Instant::now(), answered: None }),
        });
        let cache = DestinationCache { shared: shared.clone() };
        let feed = {
            let shared = shared.clone();
            let mut listed = None;
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

    /// Namespace and name of the destinations of which the status names uploaders.
    pub fn with_uploaders(&self) -> Vec<(String, String)> {
        let has_uploaders = |destination: &RecordingDestination| {
            destination.status.as_ref().is_some_and(|status| status.uploaders.is_some())
        };
        let all = self.shared.all.read().unwrap();
        all.iter().filter(|(_, destination)| has_uploaders(destination)).map(|(key, _)| key.clone()).collect()
    }

    pub fn age(&self) -> CopyAge {
        let seen = *self.shared.seen.lock().unwrap();
        CopyAge { confirmed: seen.current.elapsed(), answered: seen.answered.map(|at| at.elapsed()) }
    }
}

impl Shared {
    /// Takes a change. `listed` is what the list that is under way has brought so far.
    fn take(&self, change: DestinationChange, listed: &mut Option<Listed>) {
        match change {
            DestinationChange::Restarted => {
                *listed = Some(Listed { began: Instant::now(), all: HashMap::new() });
                self.limit.iter().for_each(NamespaceLimit::clear);
            }
            DestinationChange::Listed(destination) => {
                let Some(Listed { all, .. }) = listed else { return };
                let (key, new) = (key_of(&destination.metadata), Arc::new(destination));
                let other = self.limit.as_ref().and_then(|limit| limit.add(&new.metadata));
                // What has not changed is not held twice.
                let old = self.all.read().unwrap().get(&key).filter(|old| is_same(old, &new)).cloned();
                all.insert(key.clone(), old.unwrap_or(new));
                [Some(key), other].iter().flatten().for_each(|key| _ = self.drop_beyond_limit(all, key));
            }
            DestinationChange::Complete => {
                let Some(Listed { began, all }) = listed.take() else { return };
                let before = std::mem::replace(&mut *self.all.write().unwrap(), all);
                let now = self.all.read().unwrap();
                self.changes.notify_where(|key| match (before.get(key), now.get(key)) {
                    (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
                    (before, now) => before.is_some() || now.is_some(),
                });
                drop(now);
                self.is_filled.send_replace(true);
                // The list is as of its beginning at the earliest, however long it took.
                self.seen.lock().unwrap().current = began;
            }
            DestinationChange::Applied(destination) => {
                let key = key_of(&destination.metadata);
                let other = self.limit.as_ref().and_then(|limit| limit.add(&destination.metadata));
                let mut all = self.all.write().unwrap();
                all.insert(key.clone(), Arc::new(destination));
                self.drop_beyond_limit(&mut all, &key);
                let other = other.filter(|other| self.drop_beyond_limit(&mut all, other));
                drop(all);
                [Some(key), other].iter().flatten().for_each(|key| self.changes.notify(key));
            }
            DestinationChange::Gone(metadata) => {
                let key = key_of(&metadata);
                listed.iter_mut().for_each(|listed| _ = listed.all.remove(&key));
                self.limit.iter().for_each(|limit| _ = limit.remove(&metadata));
                self.all.write().unwrap().remove(&key);
                self.changes.notify(&key);
            }
            DestinationChange::Current => self.seen.lock().unwrap().current = Instant::now(),
        }
    }

    /// Drops a destination beyond the limit of its namespace. When it comes to be within, the controller writes its status, and
    /// with that it is back before it can be Ready.
    fn drop_beyond_limit(&self, all: &mut Destinations, key: &Key) -> bool {
        let found = all.get(key).zip(self.limit.as_ref());
        found.is_some_and(|(found, limit)| limit.cuts(found)) && all.remove(key).is_some()
    }
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
