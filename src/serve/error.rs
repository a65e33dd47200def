//! Why a process cannot serve.

use std::io;
use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
#[error("cannot serve on {listen}: {source}; free the address or give another with a --listen flag")]
pub struct Error {
    pub(super) listen: SocketAddr,
    pub(super) source: io::Error,
}
