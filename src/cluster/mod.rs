//! The only callers of the Kubernetes API.

mod bindings;
pub mod certificates;
mod client;
mod connect;
mod destination_cache;
pub mod destinations;
mod error;
mod events;
mod names;
pub mod pods;
pub mod secrets;
pub mod tokens;
pub mod webhook_paths;

pub use bindings::NamespaceAccounts;
pub use client::{client, watch_pages};
pub use connect::{ConnectError, connect};
pub use destination_cache::DestinationCache;
pub use error::{CallError, Result};
pub use events::Events;
