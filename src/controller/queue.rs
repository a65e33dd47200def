//! The work queue: which destination is reconciled when. Each is in it once, and never reconciled twice at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};

use crate::cluster::DestinationKey;

/// Longest pause: the clock of the runtime ends some years ahead.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// Reconciles each destination that `triggers` names, and again after the pause that its reconciliation asked for, until
/// `shutdown` ends and what is under way is done.
pub(super) async fn work<F: Future<Output = Option<Duration>>>(
    triggers: impl Stream<Item = DestinationKey>,
    shutdown: impl Future<Output = ()>,
    reconcile: impl Fn(DestinationKey) -> F,
) {
    let (mut triggers, mut shutdown) = (std::pin::pin!(triggers), std::pin::pin!(shutdown));
    let mut schedule = Schedule::default();
    let mut running = FuturesUnordered::new();
    // What is under way, and whether it was triggered meanwhile.
    let mut under_way = HashMap::<DestinationKey, bool>::new();
    loop {
        // Thousands may be due and done at once; what shares this task has its turn.
        consume_budget().await;
        while let Some(key) = schedule.take(Instant::now()) {
            under_way.insert(key.clone(), false);
            let reconciled = reconcile(key.clone());
            running.push(async { (key, reconciled.await) });
        }
        let first = schedule.first();
        let wait = async {
            match first {
                Some(time) => sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some((key, pause)) = running.next() => {
                let is_triggered = under_way.remove(&key).unwrap_or_default();
                let pause = if is_triggered { Some(Duration::ZERO) } else { pause };
                if let Some(pause) = pause {
                    schedule.add(key, Instant::now() + pause.min(LONGEST));
                }
            }
            Some(key) = triggers.next() => match under_way.get_mut(&key) {
                Some(is_triggered) => *is_triggered = true,
                None => schedule.add(key, Instant::now()),
            },
            () = wait => {}
        }
    }
    while running.next().await.is_some() {}
}

/// When each destination is to be reconciled.
#[derive(Default)]
pub(super) struct Schedule {
    by_key: HashMap<DestinationKey, Instant>,
    by_time: BTreeSet<(Instant, DestinationKey)>,
}

impl Schedule {
    /// Adds a time, unless the destination is to be reconciled sooner.
    pub(super) fn add(&mut self, key: DestinationKey, time: Instant) {
        // The key that is kept already, so that it is kept once.
        let known = self.by_key.get_key_value(&key).map(|(key, time)| (*time, key.clone()));
        let key = match known {
            Some((sooner, _)) if sooner <= time => return,
            Some(later) => {
                self.by_time.remove(&later);
                later.1
            }
            None => key,
        };
        self.by_key.insert(key.clone(), time);
        self.by_time.insert((time, key));
    }

    fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Takes the first one, if its time has come.
    fn take(&mut self, now: Instant) -> Option<DestinationKey> {
        self.first().filter(|time| *time <= now)?;
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::channel::mpsc;
    use tokio::time::sleep;

    use super::*;

    fn key(name: &str) -> DestinationKey {
        Arc::new(("tenant-acme".to_owned(), name.to_owned()))
    }

    /// The names that are reconciled within an hour, each with the second in which it is. `asked` are triggers with their
    /// seconds. A reconciliation takes a second and asks for a pause of `pause`.
    async fn reconciled(asked: &[(u64, &'static str)], pause: Option<Duration>) -> Vec<(u64, String)> {
        let (began, seen) = (Instant::now(), Mutex::new(Vec::new()));
        let (trigger, triggers) = mpsc::unbounded();
        for (second, name) in asked {
            let (trigger, second, name) = (trigger.clone(), *second, *name);
            tokio::spawn(async move {
                sleep(Duration::from_secs(second)).await;
                trigger.unbounded_send(key(name))
            });
        }
        let seen_at = &seen;
        work(triggers, sleep(Duration::from_secs(3600)), |key| async move {
            seen_at.lock().unwrap().push((began.elapsed().as_secs(), key.1.clone()));
            sleep(Duration::from_secs(1)).await;
            pause
        })
        .await;
        seen.into_inner().unwrap()
    }

    fn names(seen: &[(u64, String)]) -> Vec<(u64, &str)> {
        seen.iter().map(|(second, name)| (*second, name.as_str())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_is_reconciled_when_triggered_and_when_it_asked_to_be() {
        let seen = reconciled(&[(1, "a"), (1000, "a")], Some(Duration::from_secs(1800))).await;
        assert_eq!(
            names(&seen),
            [(1, "a"), (1000, "a"), (2801, "a")],
            "a trigger comes before the pause ends"
        );
        let seen = reconciled(&[(1, "a"), (1000, "b")], None).await;
        assert_eq!(names(&seen), [(1, "a"), (1000, "b")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_during_a_reconciliation_is_followed_by_another_one_afterwards() {
        let long = Some(Duration::from_secs(3599));
        let asked: Vec<_> = [10, 10, 11, 11].into_iter().map(|second| (second, "a")).collect();
        let seen = reconciled(&asked, long).await;
        assert!(seen.windows(2).all(|pair| pair[1].0 > pair[0].0), "one at a time: {seen:?}");
        assert!((2..=3).contains(&seen.len()), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_at_the_end_is_completed() {
        let done = Mutex::new(0);
        let triggers = futures::stream::iter(["a", "b"].map(key)).chain(futures::stream::pending());
        work(triggers, sleep(Duration::from_secs(5)), |_| async {
            sleep(Duration::from_secs(60)).await;
            *done.lock().unwrap() += 1;
            Some(Duration::ZERO)
        })
        .await;
        assert_eq!(*done.lock().unwrap(), 2);
    }

    /// The runner of kube's Controller polls all that wait whenever one can go on, which is the square of thousands.
    #[tokio::test]
    async fn thousands_that_wait_cost_nothing_while_others_are_reconciled() {
        let limiter = tokio::sync::Semaphore::new(1);
        let polls = std::cell::Cell::new(0);
        let all = (0..3000).map(|number| key(&format!("destination-{number}")));
        let done = std::cell::Cell::new(0);
        let end = tokio::sync::Notify::new();
        work(futures::stream::iter(all).chain(futures::stream::pending()), end.notified(), |_| {
            let mut waiting = Box::pin(async {
                let _permit = limiter.acquire().await;
                tokio::task::yield_now().await;
                done.set(done.get() + 1);
                if done.get() == 3000 {
                    end.notify_one();
                }
                None
            });
            let polls = &polls;
            std::future::poll_fn(move |context| {
                polls.set(polls.get() + 1);
                waiting.as_mut().poll(context)
            })
        })
        .await;
        assert!(polls.get() < 10 * 3000, "{} polls", polls.get());
    }
}
