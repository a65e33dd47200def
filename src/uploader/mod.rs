//! The upload sidecar: what appears in the spool goes to the tenant's bucket, and leaves the spool once S3 has said
//! that it holds it.
//!
//! | room | holds | may use |
//! |---|---|---|
//! | `spool` | the recordings on disk: how they are found, read and removed, and the journals | – |
//! | `storage` | the bucket they go to | – |
//! | `broker` | the operator's broker: the destination, sessions, reports | `spool`, `storage` |
//! | `transfer` | one recording's way into the bucket | `spool`, `storage`, `broker` |
//! | `queue` | all recordings, when each is due, and whether S3 takes them | `spool`, `broker`, `transfer` |
//! | `metrics` | what Prometheus scrapes | `spool`, `queue` |
//! | `driver` | the loop: sees files, sends what is due, concludes each attempt, drains | all of these |
//! | `sidecar`, `once` | the parts put together, for a pod and for `--once` | all of these |
//!
//! A recording's way: `spool::watcher` sees it, `queue` holds it, `transfer::deliver` sends it and lets `spool` remove
//! it, `driver::outcome` draws the consequences. One thread runs all of this; files are read on a few others.

mod broker;
mod driver;
mod metrics;
mod once;
mod queue;
mod sidecar;
mod spool;
mod storage;
mod transfer;

#[cfg(test)]
mod tests;

pub use once::{CannotStart, EXIT_CODES, Ended, Once, run_once};
pub use sidecar::{Config, Error, probe, run};
