//! How often AWS is called: so often a second at most, and no tenant's calls stand in another's way.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Calls of one tenant that wait for their turn or for an answer. The others of his queue wait where
/// nobody else does.
const SEATS: usize = 8;

/// A budget of calls. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held by the first in line until its turn: those who give up waiting leave no gap.
    pace: tokio::sync::Mutex<Pace>,
    /// By tenant; only of those who have calls under way.
    seats: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Leave to make one call. The seat is kept until the call has ended.
pub(super) struct Leave(#[expect(dead_code, reason = "held, not used")] OwnedSemaphorePermit);

impl Budget {
    /// So many calls in a second; after a quiet second as many at once.
    pub(super) fn new(calls_per_second: NonZeroU32) -> Self {
        let pace = Pace::new(calls_per_second, Instant::now());
        Budget(Arc::new(Shared { pace: pace.into(), seats: Mutex::default() }))
    }

    /// Waits for the tenant's turn.
    pub(super) async fn leave(&self, tenant: &str) -> Leave {
        let seat = self.seats_of(tenant).acquire_owned().await.expect("it is never closed");
        // First come, first served.
        let mut pace = self.0.pace.lock().await;
        let turn = pace.turn(Instant::now());
        sleep_until(turn).await;
        pace.took(turn);
        Leave(seat)
    }

    fn seats_of(&self, tenant: &str) -> Arc<Semaphore> {
        let mut seats = self.0.seats.lock().unwrap();
        // Whoever sits or waits holds a clone.
        seats.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        seats.entry(tenant.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(SEATS))).clone()
    }
}

/// A token bucket with room for one second, as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: Duration,
    full_at: Instant,
}

impl Pace {
    fn new(calls_per_second: NonZeroU32, now: Instant) -> Self {
        Pace { interval: Duration::from_secs(1) / calls_per_second.get(), full_at: now }
    }

    /// When the next call may be made, `now` at the earliest.
    fn turn(&self, now: Instant) -> Instant {
        let room = Duration::from_secs(1) - self.interval;
        now.max(self.full_at.checked_sub(room).unwrap_or(now))
    }

    /// A call was made at its turn.
    fn took(&mut self, turn: Instant) {
        self.full_at = self.full_at.max(turn) + self.interval;
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
    fn after_a_quiet_second_as_many_as_a_second_holds_go_at_once_and_then_one_by_one() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for (what, calls, asked, turns) in [
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
            let mut pace = Pace::new(per_second(calls), start);
            let turns_had = asked.into_iter().map(|asked| {
                let turn = pace.turn(at(asked));
                pace.took(turn);
                turn
            });
            assert_eq!(
                turns_had.collect::<Vec<_>>(),
                turns.into_iter().map(at).collect::<Vec<_>>(),
                "{what}"
            );
        }
    }

    /// When each of so many calls of a tenant, that take no time, had its turn.
    async fn turns(budget: &Budget, tenant: &str, calls: usize) -> Vec<Duration> {
        let start = Instant::now();
        let calls = (0..calls).map(async |_| {
            drop(budget.leave(tenant).await);
            start.elapsed()
        });
        join_all(calls).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_five_hundred_calls_does_not_delay_another_by_a_second() {
        let budget = Budget::new(per_second(50));
        let (many, one) = futures::join!(turns(&budget, "many", 500), turns(&budget, "one", 1));
        assert!(one[0] < Duration::from_secs(1), "{one:?}");
        let last = many.into_iter().max().unwrap();
        assert!(
            last > Duration::from_secs(8) && last < Duration::from_secs(10),
            "they do get the rest: {last:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_rate_is_called_however_many_tenants_ask() {
        let budget = Budget::new(per_second(10));
        let tenants: Vec<_> = (0..40).map(|number| format!("tenant-{number}")).collect();
        let turns = join_all(tenants.iter().map(|tenant| turns(&budget, tenant, 1))).await.concat();
        for second in 0..3 {
            let within = turns.iter().filter(|turn| turn.as_secs() == second).count();
            assert!(within <= if second == 0 { 20 } else { 10 }, "{within} in second {second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_hang_hold_up_their_tenant_alone() {
        let budget = Budget::new(per_second(50));
        let hanging = join_all((0..SEATS).map(|_| budget.leave("hanging"))).await;
        let next = tokio::time::timeout(Duration::from_secs(60), budget.leave("hanging")).await;
        assert!(next.is_err(), "all its seats are taken");
        assert_eq!(turns(&budget, "other", 1).await, [Duration::ZERO]);
        drop(hanging);
        assert_eq!(turns(&budget, "hanging", 1).await, [Duration::ZERO]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_leaves_no_gap() {
        let budget = Budget::new(per_second(1));
        drop(budget.leave("a").await);
        for _ in 0..5 {
            let gave_up = tokio::time::timeout(Duration::from_millis(10), budget.leave("a")).await;
            assert!(gave_up.is_err());
        }
        assert_eq!(turns(&budget, "b", 1).await, [Duration::from_millis(950)]);
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_that_are_gone_are_forgotten() {
        let budget = Budget::new(per_second(50));
        for number in 0..100 {
            drop(budget.leave(&format!("tenant-{number}")).await);
        }
        assert_eq!(budget.0.seats.lock().unwrap().len(), 1);
    }
}
