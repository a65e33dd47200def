//! All destinations, updated by a watch.

use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::client::watch_pages;
use crate::api::RecordingDestination;

/// Destinations in one page of a list, which bounds the memory for reading it.
const PAGE: u32 = 50;

/// The destinations as of the last event. While the API server cannot be reached they stay as they were.
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
            // Tenants control the size of the rest, and every process would hold it for all tenants.
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
                        tracing::warn!(%error, "watching destinations was interrupted; trying again");
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
        // An error means that the watch was dropped, which only happens when the process ends.
        if self.store.wait_until_ready().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Notified of every change of any destination, once the cache has it.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<RecordingDestination>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }
}
