//! Serving: HTTPS with a certificate that is replaced while it is in use, and health and metrics; and asking whether others serve.

mod ask;
mod client;
mod connections;
mod health;
mod https;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use ask::{NoAnswer, ask};
pub use client::{connector, with_causes};
pub use health::{Part, Readiness, health};
pub use https::https;
pub use tls::{TlsDirectory, UnusableCertificate};

/// How often a certificate is looked at. The kubelet itself takes a minute or so to bring a new one.
const POLL: Duration = Duration::from_secs(2);

/// Bytes that a connection may make us hold before a request is understood. Tokens and their headers
/// take a few thousand; hyper's own limit, 400 KiB, lets few callers fill a small process.
const LARGEST_BUFFER: usize = 32 * 1024;

/// The process cannot serve.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve on {listen}: {source}; free the address or give another with a --listen flag")]
pub struct Error {
    listen: SocketAddr,
    source: io::Error,
}
