//! Serving HTTPS with a certificate that is replaced while in use, health, metrics and probes; and checking other servers.

mod ask;
mod client;
mod connections;
mod error;
mod groups;
mod handshakes;
mod heads;
mod health;
mod https;
mod probe;
mod roster;
#[cfg(test)]
mod tests;
mod tls;

pub use ask::{NoAnswer, ask};
pub use client::{connector, with_causes};
pub use connections::{Answering, Caller};
pub use error::Error;
pub use health::{Part, Readiness, health};
pub use https::https;
pub use probe::{Probe, Unhealthy, probe, probes};
pub use tls::{TlsDirectory, UnusableCertificate};
