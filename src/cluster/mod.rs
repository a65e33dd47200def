//! The only callers of the Kubernetes API.

pub mod destinations;
mod events;
pub mod secrets;

pub use events::Events;
