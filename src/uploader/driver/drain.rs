//! When a drain ends although recordings are left.

use super::Driver;
use crate::uploader::broker::Broker;
use crate::uploader::storage::Storage;

impl<B: Broker + 'static, S: Storage + 'static> Driver<B, S> {
    /// Whether to wait is in vain: nothing may be sent now, and what is left stays in a volume that outlives the pod. From one
    /// that does not, everything would be lost, so that the whole grace period is waited for the destination to come back.
    pub(super) fn leaves_the_rest(&self) -> bool {
        self.deliveries.breaker.is_paused() && self.context.spool.volume().outlives_pod()
    }
}
