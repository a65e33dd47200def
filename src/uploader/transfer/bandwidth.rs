//! A limit on how fast recordings are sent.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// So many bytes in a second, for all who hold a clone.
#[derive(Clone, Debug)]
pub struct Pace {
    bytes_per_second: NonZeroU64,
    /// When what was sent so far should have been sent; nothing once the limit is lifted.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    /// A limit of so many bytes in a second.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Pace { bytes_per_second, free_at: Arc::new(Mutex::new(Some(Instant::now()))) }
    }

    /// How long to wait from `now` before so many bytes are sent: the time that those before them take.
    pub fn wait(&self, bytes: usize, now: Instant) -> Duration {
        let mut free_at = self.free_at.lock().unwrap();
        let Some(free) = *free_at else { return Duration::ZERO };
        let start = now.max(free);
        *free_at = Some(start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64));
        start - now
    }

    /// From now on nobody waits, as when what is left would be lost.
    pub fn lift(&self) {
        *self.free_at.lock().unwrap() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_waits_for_those_before_and_quiet_time_is_not_saved_up() {
        let pace = Pace::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now() + Duration::from_secs(1);
        let seconds = |seconds| start + Duration::from_secs(seconds);
        for (at, bytes, wait) in [(0, 2000, 0), (0, 1000, 2), (1, 500, 2), (60, 9000, 0), (60, 1, 9)] {
            let waits = pace.clone().wait(bytes, seconds(at));
            assert_eq!(waits, Duration::from_secs(wait), "at {at}");
        }
        pace.clone().lift();
        assert_eq!(pace.wait(9000, seconds(60)), Duration::ZERO);
    }
}
