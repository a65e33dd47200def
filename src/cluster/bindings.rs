//! The annotations that bind namespaces to AWS accounts, updated by a watch.

use std::collections::HashMap;
use std::convert::Infallible;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::client::watch_pages;
use crate::api::ALLOWED_ACCOUNTS_ANNOTATION;

/// Namespaces in one page of a list.
const PAGE: u32 = 200;

/// The annotations as of the last event.
#[derive(Clone)]
pub struct NamespaceAccounts {
    store: Store<PartialObjectMeta<Namespace>>,
}

impl NamespaceAccounts {
    /// An empty cache, and the watch that fills it. `changed` is called whenever an annotation has changed.
    pub fn watch(
        client: Client,
        changed: impl Fn() + Send,
    ) -> (Self, impl Future<Output = Infallible> + Send) {
        let (store, writer) = reflector::store();
        let config = watch_pages(PAGE);
        let mut known = HashMap::<String, String>::new();
        let events = watcher(Api::<PartialObjectMeta<Namespace>>::all(client), config)
            .modify(|namespace| {
                let annotations = namespace.metadata.annotations.take().unwrap_or_default();
                let ours = annotations.into_iter().filter(|(name, _)| name == ALLOWED_ACCOUNTS_ANNOTATION);
                namespace.metadata.annotations = Some(ours.collect());
                (namespace.metadata.managed_fields, namespace.metadata.labels) = (None, None);
            })
            .default_backoff()
            .reflect(writer);
        let watch = async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let (name, value) = match event {
                    Ok(watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace)) => {
                        (namespace.name_any(), accounts(&namespace))
                    }
                    Ok(watcher::Event::Delete(namespace)) => (namespace.name_any(), None),
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "watching namespaces was interrupted; trying again");
                        continue;
                    }
                };
                let before = match value.clone() {
                    Some(value) => known.insert(name, value),
                    None => known.remove(&name),
                };
                if before != value {
                    changed();
                }
            }
            unreachable!("a watch begins again whenever it ends")
        };
        (NamespaceAccounts { store }, watch)
    }

    /// Waits for the first complete list.
    pub async fn filled(&self) {
        // An error means that the watch was dropped, which only happens when the process ends.
        if self.store.wait_until_ready().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The value of the annotation, if the namespace has it.
    pub fn of(&self, namespace: &str) -> Option<String> {
        accounts(&*self.store.get(&ObjectRef::new(namespace))?)
    }
}

fn accounts(namespace: &PartialObjectMeta<Namespace>) -> Option<String> {
    namespace.metadata.annotations.as_ref()?.get(ALLOWED_ACCOUNTS_ANNOTATION).cloned()
}
