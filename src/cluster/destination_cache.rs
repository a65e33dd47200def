//! All destinations, kept up to date by a watch.

use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::client::watch_pages;
use crate::api::RecordingDestination;

/// Destinations in one answer of a list: bounds what must be held while it is read.
const PAGE: u32 = 50;

/// The destinations as the last event said. While the API server is away, they stay as they were.
#[derive(Clone)]
pub struct DestinationCache {
    store: Store<RecordingDestination>,
    changes: watch::Receiver<()>,
}

impl DestinationCache {
    /// An empty cache, and the watch that fills it, to be polled for as long as the cache is read.
    pub fn watch(client: Client) -> (Self, impl Future<Output = Infallible> + Send) {
        let (store, writer) = reflector::store();
        let (changed, changes) = watch::channel(());
        let config = watch_pages(PAGE);
        let watch = watcher(Api::<RecordingDestination>::all(client), config)
            // Tenants decide how much the rest holds, and every process would hold it for all of them.
            .modify(|destination| {
                let metadata = &mut destination.metadata;
                (metadata.managed_fields, metadata.labels, metadata.annotations) = (None, None, None);
                (metadata.owner_references, metadata.finalizers) = (None, None);
                if let Some(status) = &mut destination.status {
                    status.checks.clear();
                }
            })
            .default_backoff()
            .reflect(writer)
            .for_each(move |event| {
                match event {
                    Ok(_) => changed.send_replace(()),
                    Err(error) => {
                        tracing::warn!(%error, "the watch of destinations was interrupted; trying again");
                    }
                }
                std::future::ready(())
            });
        let watch = async {
            watch.await;
            unreachable!("a watch begins again whenever it ends")
        };
        (DestinationCache { store, changes }, watch)
    }

    /// Waits for the first complete list.
    pub async fn filled(&self) {
        // An error means that the watch was dropped, with which whoever waits ends as well.
        if self.store.wait_until_ready().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Hears of every change of any destination, once the cache has it.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    /// The destination of that name, if the cache has it.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<RecordingDestination>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }
}
