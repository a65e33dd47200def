//! The upload sidecar: what appears in the spool goes to the tenant's bucket, and leaves the spool
//! when S3 has said that it is there.
//!
//! | file | step |
//! |---|---|
//! | `claim` | waits for the spool, which one uploader has at a time |
//! | `follow` | hears from the broker where recordings go, and whether to send them now |
//! | `watch`, `ledger` | notice recordings, and know when each is worked on next |
//! | `gate` | lets through as many as S3 takes |
//! | `lanes`, `pace` | say how much goes at a time, and how fast |
//! | `deliver` | takes one as far as it goes: `examine`, `upload` as a whole or `multipart` with its `journal`, let go |
//! | `volume` | sees how full the volume is |
//! | `report` | tells the broker how the sidecar stands |
//! | `credentials` | hands the pod's session to AWS SDKs in its other containers, where the pod asks for that |
//! | `by_hand` | a directory instead of a pod's spool, a file instead of the broker |
//! | `driver` | the loop around these, until it has drained; `settle` draws the consequences of each delivery |
//!
//! One thread runs all of it, and files are read on a few others. `place` and `syscalls` are all that touches the spool.

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

pub use once::{ByHand, CannotBegin, EXIT_CODES, Ended, run_by_hand};
pub use sidecar::{Config, Error, run};

/// Runs file work away from the thread that drives everything.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
