//! Serving: HTTPS with a certificate that is replaced while it is in use, and health and metrics.

mod health;
mod https;
mod tls;

use std::io;
use std::net::SocketAddr;

pub use health::{Part, Readiness, health};
pub use https::https;
pub use tls::{TlsDirectory, UnusableCertificate};

/// The process cannot serve.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve on {listen}: {source}; free the address or give another with a --listen flag")]
pub struct Error {
    listen: SocketAddr,
    source: io::Error,
}
