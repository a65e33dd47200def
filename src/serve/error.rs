//! Why a process cannot serve.

use std::io;

#[derive(Debug, thiserror::Error)]
#[error("cannot serve on {listen}: {source}; free the address or give another with a --listen flag")]
pub struct Error {
    pub(super) listen: String,
    pub(super) source: io::Error,
}
