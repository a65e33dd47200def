//! The annotations that bind namespaces to AWS accounts, updated by a watch.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, RwLock};

use futures::StreamExt as _;
use kube::{Client, ResourceExt as _};
use tokio::sync::watch::{Receiver, Sender};

use super::lenient::LenientNamespace;
use super::watch::{Change, watch};

/// Of the namespaces that have the annotation, its value.
type Accounts = HashMap<String, String>;

/// The annotations as of the last event.
#[derive(Clone)]
pub struct NamespaceAccounts {
    all: Arc<RwLock<Accounts>>,
    is_filled: Receiver<bool>,
}

impl NamespaceAccounts {
    /// An empty cache, and the watch that fills it. `changed` is called with each namespace whose annotation has changed.
    pub fn watch(
        client: Client,
        changed: impl Fn(&str) + Send,
    ) -> (Self, impl Future<Output = Infallible> + Send) {
        let filled = Sender::new(false);
        let accounts = NamespaceAccounts { all: Arc::default(), is_filled: filled.subscribe() };
        let all = accounts.all.clone();
        let watch = async move {
            let mut changes = std::pin::pin!(watch::<LenientNamespace>(client, "Namespace"));
            let mut listed = Accounts::new();
            while let Some(change) = changes.next().await {
                match change {
                    Change::Restarted => listed = Accounts::new(),
                    Change::Listed(namespace) => {
                        listed.extend(
                            namespace.accounts().map(|value| (namespace.name_any(), value.to_owned())),
                        );
                    }
                    Change::Complete => {
                        let now = std::mem::take(&mut listed);
                        let before = std::mem::replace(&mut *all.write().unwrap(), now.clone());
                        filled.send_replace(true);
                        let names = now.keys().chain(before.keys().filter(|name| !now.contains_key(*name)));
                        names
                            .filter(|name| now.get(*name) != before.get(*name))
                            .for_each(|name| changed(name));
                    }
                    Change::Applied(namespace) => {
                        let name = namespace.name_any();
                        let value = namespace.accounts().map(str::to_owned);
                        if set(&all, &name, value.clone()) != value {
                            changed(&name);
                        }
                    }
                    Change::Deleted(namespace) => {
                        let name = namespace.name_any();
                        listed.remove(&name);
                        if set(&all, &name, None).is_some() {
                            changed(&name);
                        }
                    }
                    Change::Current => {}
                }
            }
            unreachable!("a watch begins again whenever it ends")
        };
        (accounts, watch)
    }

    /// Waits for the first complete list.
    pub async fn filled(&self) {
        // An error means that the watch was dropped, which only happens when the process ends.
        if self.is_filled.clone().wait_for(|is_filled| *is_filled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The value of the annotation, if the namespace has it.
    pub fn of(&self, namespace: &str) -> Option<String> {
        self.all.read().unwrap().get(namespace).cloned()
    }
}

/// Sets the value, and returns the one before.
fn set(all: &RwLock<Accounts>, name: &str, value: Option<String>) -> Option<String> {
    let mut all = all.write().unwrap();
    match value {
        Some(value) => all.insert(name.to_owned(), value),
        None => all.remove(name),
    }
}
