//! How long to wait. There is no last attempt.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// First wait.
const BASE: Duration = Duration::from_secs(1);
/// Longest wait.
const CAP: Duration = Duration::from_secs(60);
/// The same when the pod ends: what is left of its grace period is all the time that there is.
const CAP_AT_THE_END: Duration = Duration::from_secs(5);
/// Renew a session this long before its end, or a quarter of its life if that is shorter.
const RENEWAL_LEAD: SignedDuration = SignedDuration::from_mins(5);

/// The wait after this number of failures in a row (at least one). `jitter` is from 0 to 1: half of the
/// wait is spread by it, so that recordings that failed together do not come back together.
pub fn backoff(failures: u32, jitter: f64) -> Duration {
    capped(CAP, failures, jitter)
}

/// The same when the pod ends.
pub fn backoff_at_the_end(failures: u32, jitter: f64) -> Duration {
    capped(CAP_AT_THE_END, failures, jitter)
}

fn capped(cap: Duration, failures: u32, jitter: f64) -> Duration {
    let doubled = BASE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(cap).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// From when on a session that was fetched just now is renewed.
pub fn renewal_time(fetched: Timestamp, expiration: Timestamp) -> Timestamp {
    let life = expiration.duration_since(fetched);
    let lead = RENEWAL_LEAD.min(life / 4).max(SignedDuration::ZERO);
    expiration.saturating_sub(lead).unwrap_or(fetched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_minute_and_half_of_it_is_jitter() {
        for (failures, jitter, expected) in [
            (1, 0.0, 0.5),
            (1, 1.0, 1.0),
            (2, 1.0, 2.0),
            (6, 1.0, 32.0),
            (7, 1.0, 60.0),
            (7, 0.0, 30.0),
            (u32::MAX, 0.5, 45.0),
        ] {
            assert_eq!(backoff(failures, jitter), Duration::from_secs_f64(expected), "{failures} {jitter}");
            let at_the_end = Duration::from_secs_f64(expected.min(5.0 * (0.5 + 0.5 * jitter)));
            assert_eq!(backoff_at_the_end(failures, jitter), at_the_end, "{failures} {jitter}");
        }
    }

    #[test]
    fn a_session_is_renewed_five_minutes_or_a_quarter_of_its_life_before_its_end() {
        let start = Timestamp::UNIX_EPOCH;
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        for (life, expected) in [(3600, 3300), (900, 675), (60, 45), (-60, -60)] {
            assert_eq!(renewal_time(start, after(life)), after(expected), "{life}");
        }
    }
}
