//! How often AWS is called: at most so many calls a second, which tenants that wait take by turns.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::concurrency::{ConcurrencyLimiter, Permit};

/// Calls of one tenant that may be under way at a time.
const CALLS_PER_TENANT: usize = 8;

/// Limits the rate of calls, and the calls of each tenant that are under way. Clones share the limits.
#[derive(Clone, Debug)]
pub(super) struct RateLimiter(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    /// Held by the first in line until its call is due: a call that is given up leaves no gap.
    rate: tokio::sync::Mutex<TokenBucket>,
    /// Held by a tenant's call until it has ended.
    calls: ConcurrencyLimiter,
    /// Held by the one call of a tenant that is in the common line. The tenant's next call joins that line at its end, so
    /// that tenants take turns, however many calls each has.
    turns: ConcurrencyLimiter,
}

impl RateLimiter {
    /// Allows so many calls a second; after a quiet second as many at once.
    pub(super) fn new(calls_per_second: NonZeroU32) -> Self {
        let rate = TokenBucket::new(calls_per_second, Instant::now());
        RateLimiter(Arc::new(Limits {
            rate: rate.into(),
            calls: ConcurrencyLimiter::per_key(CALLS_PER_TENANT),
            turns: ConcurrencyLimiter::per_key(1),
        }))
    }

    /// Waits until the tenant may make a call. The permit is held until the call has ended.
    pub(super) async fn acquire(&self, tenant: &str) -> Permit {
        let permit = self.0.calls.acquire(tenant).await;
        let _turn = self.0.turns.acquire(tenant).await;
        // First come, first served.
        let mut rate = self.0.rate.lock().await;
        let due = rate.next_call(Instant::now());
        sleep_until(due).await;
        rate.take(due);
        permit
    }
}

/// A token bucket with room for one second, as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    interval: Duration,
    full_at: Instant,
}

impl TokenBucket {
    fn new(calls_per_second: NonZeroU32, now: Instant) -> Self {
        TokenBucket { interval: Duration::from_secs(1) / calls_per_second.get(), full_at: now }
    }

    /// When the next call may be made, `now` at the earliest.
    fn next_call(&self, now: Instant) -> Instant {
        let room = Duration::from_secs(1) - self.interval;
        now.max(self.full_at.checked_sub(room).unwrap_or(now))
    }

    /// Takes the token of a call that is made at that time.
    fn take(&mut self, at: Instant) {
        self.full_at = self.full_at.max(at) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    const fn per_second(calls: u32) -> NonZeroU32 {
        NonZeroU32::new(calls).unwrap()
    }

    #[test]
    fn after_a_quiet_second_a_burst_of_one_second_is_allowed() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for (what, calls, asked, expected) in [
            ("at first", 4, vec![0; 7], vec![0, 0, 0, 0, 250, 500, 750]),
            ("no faster than they are asked for", 4, vec![0, 300, 600, 900], vec![0, 300, 600, 900]),
            (
                "half a second is half a burst",
                4,
                vec![0, 0, 0, 0, 500, 500, 500],
                vec![0, 0, 0, 0, 500, 500, 750],
            ),
            (
                "a long rest saves no more than a second's",
                2,
                vec![0, 0, 9000, 9000, 9000],
                vec![0, 0, 9000, 9000, 9500],
            ),
            ("one a second", 1, vec![0, 0, 0], vec![0, 1000, 2000]),
        ] {
            let mut bucket = TokenBucket::new(per_second(calls), start);
            let made = asked.into_iter().map(|asked| {
                let due = bucket.next_call(at(asked));
                bucket.take(due);
                due
            });
            assert_eq!(made.collect::<Vec<_>>(), expected.into_iter().map(at).collect::<Vec<_>>(), "{what}");
        }
    }

    /// When each of so many calls of a tenant, which take no time, was made.
    async fn calls(limiter: &RateLimiter, tenant: &str, count: usize) -> Vec<Duration> {
        let start = Instant::now();
        let calls = (0..count).map(async |_| {
            drop(limiter.acquire(tenant).await);
            start.elapsed()
        });
        join_all(calls).await
    }

    #[tokio::test(start_paused = true)]
    async fn five_hundred_calls_of_one_tenant_delay_another_by_less_than_a_second() {
        let limiter = RateLimiter::new(per_second(50));
        let (many, one) = futures::join!(calls(&limiter, "many", 500), calls(&limiter, "one", 1));
        assert!(one[0] < Duration::from_secs(1), "{one:?}");
        let last = many.into_iter().max().unwrap();
        assert!(
            last > Duration::from_secs(8) && last < Duration::from_secs(10),
            "they do get the rest: {last:?}"
        );
    }

    /// When each tenant's last call was made. The few come after the many, and are served as if alone with one of them.
    #[tokio::test(start_paused = true)]
    async fn tenants_that_wait_take_turns_whatever_each_has_waiting() {
        let limiter = RateLimiter::new(per_second(50));
        calls(&limiter, "warm", 50).await;
        let few: Vec<_> = (0..20).map(|number| format!("few-{number}")).collect();
        let (many, few) = futures::join!(
            calls(&limiter, "many", 500),
            join_all(few.iter().map(|tenant| calls(&limiter, tenant, 5)))
        );
        let last_of_few = few.concat().into_iter().max().unwrap();
        // Five rounds of twenty-one tenants at fifty calls a second.
        assert!(last_of_few <= Duration::from_millis(2200), "{last_of_few:?}");
        let by_then = many.iter().filter(|made| **made <= last_of_few).count();
        assert!((4..=7).contains(&by_then), "one in each round, also of the many: {by_then}");
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_calls_of_a_thousand_tenants_are_made_at_the_full_rate() {
        let limiter = RateLimiter::new(per_second(50));
        let tenants: Vec<_> = (0..1000).map(|number| format!("tenant-{number}")).collect();
        let made = join_all(tenants.iter().map(|tenant| calls(&limiter, tenant, 10))).await;
        let last = made.concat().into_iter().max().unwrap().as_secs_f64();
        assert!((198.0..=200.0).contains(&last), "{last} s for 10,000 calls at 50 a second");
        let first_of_last = made.iter().map(|calls| calls.iter().min().unwrap()).max().unwrap();
        assert!(
            *first_of_last <= Duration::from_secs(20),
            "each is served once before any twice: {first_of_last:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_however_many_tenants_call() {
        let limiter = RateLimiter::new(per_second(10));
        let tenants: Vec<_> = (0..40).map(|number| format!("tenant-{number}")).collect();
        let made = join_all(tenants.iter().map(|tenant| calls(&limiter, tenant, 1))).await.concat();
        for second in 0..3 {
            let within = made.iter().filter(|made| made.as_secs() == second).count();
            assert!(within <= if second == 0 { 20 } else { 10 }, "{within} in second {second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_calls_delay_their_own_tenant_alone() {
        let limiter = RateLimiter::new(per_second(50));
        let hanging = join_all((0..CALLS_PER_TENANT).map(|_| limiter.acquire("hanging"))).await;
        let next = tokio::time::timeout(Duration::from_secs(60), limiter.acquire("hanging")).await;
        assert!(next.is_err(), "all its permits are held");
        assert_eq!(calls(&limiter, "other", 1).await, [Duration::ZERO]);
        drop(hanging);
        assert_eq!(calls(&limiter, "hanging", 1).await, [Duration::ZERO]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_leaves_no_gap() {
        let limiter = RateLimiter::new(per_second(1));
        drop(limiter.acquire("a").await);
        for _ in 0..5 {
            let gave_up = tokio::time::timeout(Duration::from_millis(10), limiter.acquire("a")).await;
            assert!(gave_up.is_err());
        }
        assert_eq!(calls(&limiter, "b", 1).await, [Duration::from_millis(950)]);
    }
}
