//! How long to wait. There is no last attempt.

use std::time::Duration;

use jiff::Timestamp;

/// First wait.
const BASE: Duration = Duration::from_secs(1);
/// Longest wait.
const CAP: Duration = Duration::from_secs(60);
/// The same when the pod ends: what is left of its grace period is all the time that there is.
const CAP_AT_THE_END: Duration = Duration::from_secs(5);
/// First and longest pause after the broker refused to say where recordings go.
const REFUSED: Duration = Duration::from_secs(3);
const REFUSED_CAP: Duration = Duration::from_secs(30);
/// Renew a session this long before its end, or a quarter of its life if that is shorter.
const RENEWAL_LEAD: Duration = Duration::from_secs(300);
/// The longest life of a session.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
/// That of a session which is over by our clock, so that is wrong.
const LIFE_IF_UNKNOWN: Duration = Duration::from_secs(300);

/// The wait after this number of failures in a row (at least one). `jitter` is from 0 to 1: half of the
/// wait is spread by it, so that recordings that failed together do not come back together.
pub fn backoff(failures: u32, jitter: f64) -> Duration {
    capped(CAP, failures, jitter)
}

/// The same when the pod ends.
pub fn backoff_at_the_end(failures: u32, jitter: f64) -> Duration {
    capped(CAP_AT_THE_END, failures, jitter)
}

/// How long to leave the broker alone after so many refusals in a row (at least one). A pod that it knows is refused for as
/// long as its destination is away; a copy that `kubectl debug --copy-to` made without the label, for ever. Jitter adds up to
/// half as much.
pub fn pause_after_refusals(refusals: u32, jitter: f64) -> Duration {
    let doubled = REFUSED.saturating_mul(2_u32.saturating_pow(refusals.saturating_sub(1)));
    doubled.min(REFUSED_CAP).mul_f64(1.0 + 0.5 * jitter.clamp(0.0, 1.0))
}

fn capped(cap: Duration, failures: u32, jitter: f64) -> Duration {
    let doubled = BASE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(cap).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// For how long a session lasts that the broker gave just now, by a clock that may be wrong. The broker gives out none
/// that is over, and AWS none that lasts longer than an hour. Where it ends before, S3 says so.
pub fn session_life(now: Timestamp, expiration: Timestamp) -> Duration {
    let left = Duration::try_from(expiration.duration_since(now)).unwrap_or_default();
    if left.is_zero() { LIFE_IF_UNKNOWN } else { left.min(LONGEST_LIFE) }
}

/// After how much of its life a session is renewed.
pub fn renewal(life: Duration) -> Duration {
    life - RENEWAL_LEAD.min(life / 4)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

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
    fn whom_the_broker_refuses_asks_ever_more_rarely_and_never_gives_up() {
        for (refusals, jitter, expected) in [
            (1, 0.0, 3.0),
            (1, 1.0, 4.5),
            (2, 0.0, 6.0),
            (4, 0.0, 24.0),
            (5, 0.0, 30.0),
            (u32::MAX, 1.0, 45.0),
        ] {
            let pause = pause_after_refusals(refusals, jitter);
            assert_eq!(pause, Duration::from_secs_f64(expected), "{refusals} {jitter}");
        }
    }

    #[test]
    fn a_session_lasts_as_long_as_it_says_whatever_our_clock_says() {
        let expiration = Timestamp::UNIX_EPOCH;
        for (left, expected) in
            [(3600, 3600), (900, 900), (1, 1), (0, 300), (-7200, 300), (7200 + 3600, 3600)]
        {
            let life = session_life(expiration - SignedDuration::from_secs(left), expiration);
            assert_eq!(life, Duration::from_secs(expected), "{left}");
        }
    }

    #[test]
    fn a_session_is_renewed_five_minutes_or_a_quarter_of_its_life_before_its_end() {
        for (life, expected) in [(3600, 3300), (900, 675), (60, 45), (0, 0)] {
            assert_eq!(renewal(Duration::from_secs(life)), Duration::from_secs(expected), "{life}");
        }
    }
}
