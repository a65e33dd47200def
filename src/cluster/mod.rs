//! The only callers of the Kubernetes API.

mod bindings;
pub mod certificates;
mod client;
pub mod compact;
mod connect;
mod destination_cache;
mod destination_store;
mod destination_watch;
pub mod destinations;
mod error;
mod events;
mod keyed_changes;
mod lenient;
mod names;
mod namespace_limit;
mod packed;
mod pods;
pub mod secrets;
#[cfg(test)]
mod store_tests;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod tokens;
mod undecodable;
mod watch;
pub mod webhook_paths;

pub use bindings::NamespaceAccounts;
pub use client::client;
pub use connect::{ClusterAccess, ConnectError, connect};
pub use destination_cache::{CopyAge, DestinationCache};
pub use destination_store::DestinationStore;
pub use error::{CallError, Result};
pub use events::Events;
pub use keyed_changes::{DestinationKey, KeyedChanges, Subscription};
pub use namespace_limit::NamespaceLimit;
pub use pods::Pods;
pub use undecodable::UndecodableObjects;
