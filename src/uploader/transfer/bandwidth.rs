//! How fast recordings are sent.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes per second for all holders of a clone together.
#[derive(Clone, Debug)]
pub struct BandwidthLimit {
    bytes_per_second: NonZeroU64,
    /// When the bytes so far are sent at that rate; `None` once the limit is lifted.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl BandwidthLimit {
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        BandwidthLimit { bytes_per_second, free_at: Arc::new(Mutex::new(Some(Instant::now()))) }
    }

    /// How long these bytes wait from `now`: the time that the bytes before them take.
    pub fn delay(&self, bytes: usize, now: Instant) -> Duration {
        let mut free_at = self.free_at.lock().unwrap();
        let Some(free) = *free_at else { return Duration::ZERO };
        let start = now.max(free);
        *free_at = Some(start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64));
        start - now
    }

    /// From now on nothing waits, as when a recording that is left would be lost.
    pub fn lift(&self) {
        *self.free_at.lock().unwrap() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_those_before_them_and_idle_time_is_not_saved_up() {
        let limit = BandwidthLimit::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now() + Duration::from_secs(1);
        let seconds = |seconds| start + Duration::from_secs(seconds);
        for (at, bytes, wait) in [(0, 2000, 0), (0, 1000, 2), (1, 500, 2), (60, 9000, 0), (60, 1, 9)] {
            let waits = limit.clone().delay(bytes, seconds(at));
            assert_eq!(waits, Duration::from_secs(wait), "at {at}");
        }
        limit.clone().lift();
        assert_eq!(limit.delay(9000, seconds(60)), Duration::ZERO);
    }
}
