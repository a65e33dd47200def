//! Serving HTTPS with a certificate that is replaced while in use, health and metrics; and checking other servers.

mod ask;
mod client;
mod connections;
mod error;
mod health;
mod https;
mod tls;

pub use ask::{NoAnswer, ask};
pub use client::{connector, with_causes};
pub use error::Error;
pub use health::{Part, Readiness, health};
pub use https::https;
pub use tls::{TlsDirectory, UnusableCertificate};
