//! Serving: HTTPS with a certificate that is replaced while it is in use, and health and metrics; and asking whether others serve.

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
