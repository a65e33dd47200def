//! The paths at which the API server calls: that of the configuration, and for a while the one before, as each API server
//! notices a change in its own time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::cluster::webhook_paths::{PathHash, hash};

/// How long a path is accepted after the configuration has another.
const FORMER: Duration = Duration::from_secs(300);
/// How long a call at an unknown path waits for the configuration: the API server can know of a change before we do.
const LAG: Duration = Duration::from_secs(2);

pub(super) struct AcceptedPaths {
    present: watch::Receiver<BTreeSet<PathHash>>,
    former: Mutex<Former>,
    /// Notified of a call at an unknown path, for which the configuration is read again.
    unknown: Arc<Notify>,
}

#[derive(Default)]
struct Former {
    present: BTreeSet<PathHash>,
    until: Vec<(PathHash, Instant)>,
}

impl AcceptedPaths {
    pub(super) fn new(present: watch::Receiver<BTreeSet<PathHash>>, unknown: Arc<Notify>) -> Self {
        AcceptedPaths { present, former: Mutex::default(), unknown }
    }

    /// Whether it is the API server that calls at this path.
    pub(super) async fn accepts(&self, path: &str) -> bool {
        let path_hash = hash(path);
        let is_present = |present: &BTreeSet<PathHash>| present.contains(&path_hash);
        if is_present(&self.present.borrow()) || self.lock().accepts(&path_hash, Instant::now()) {
            return true;
        }
        let could_be_next = path == "/" || path.starts_with("/inject");
        if !could_be_next {
            return false;
        }
        // Any number of calls costs one read a second, and each waits for one that began after it came.
        self.unknown.notify_one();
        timeout(LAG, self.present.clone().wait_for(is_present)).await.is_ok_and(|it| it.is_ok())
    }

    /// Remembers former paths for as long as it is polled.
    pub(super) async fn follow(&self) -> Infallible {
        let mut present = self.present.clone();
        loop {
            let now = present.borrow_and_update().clone();
            self.lock().replace(now, Instant::now());
            if present.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the configuration was read.
    pub(super) async fn known(&self) {
        _ = self.present.clone().wait_for(|present| !present.is_empty()).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Former> {
        self.former.lock().expect("no thread panics while holding the lock")
    }
}

impl Former {
    fn replace(&mut self, present: BTreeSet<PathHash>, now: Instant) {
        let before = std::mem::replace(&mut self.present, present);
        self.until.retain(|(path, until)| *until > now && !self.present.contains(path));
        self.until.extend(before.difference(&self.present).map(|path| (*path, now + FORMER)));
    }

    fn accepts(&self, path: &PathHash, now: Instant) -> bool {
        self.until.iter().any(|(former, until)| former == path && *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_path_of_the_configuration_is_accepted_as_soon_as_it_is_known() {
        let (sender, present) = watch::channel(BTreeSet::from([hash("/inject/a")]));
        let unknown = Arc::new(Notify::new());
        let paths = AcceptedPaths::new(present, unknown.clone());
        assert!(paths.accepts("/inject/a").await);
        let began = tokio::time::Instant::now();
        assert!(!paths.accepts("/metrics").await && !paths.accepts("/v1/credentials").await);
        assert_eq!(began.elapsed(), Duration::ZERO, "refused at once");
        assert!(futures::FutureExt::now_or_never(unknown.notified()).is_none(), "nobody is asked");
        assert!(!paths.accepts("/inject/b").await);
        assert_eq!(began.elapsed(), LAG);
        assert!(
            futures::FutureExt::now_or_never(unknown.notified()).is_some(),
            "the configuration is read again"
        );

        let called_early = async { (paths.accepts("/inject/b").await, began.elapsed()) };
        let changed = async {
            tokio::time::sleep(LAG / 2).await;
            sender.send(BTreeSet::from([hash("/inject/b")])).unwrap();
        };
        let (called_early, ()) = tokio::join!(called_early, changed);
        assert_eq!(called_early, (true, LAG + LAG / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_at_unknown_paths_keep_no_new_path_from_being_known() {
        let (sender, present) = watch::channel(BTreeSet::from([hash("/inject/a")]));
        let paths = AcceptedPaths::new(present, Arc::default());
        let strangers = futures::future::join_all((0..500).map(|_| paths.accepts("/inject/x")));
        let changed = async {
            tokio::time::sleep(LAG / 2).await;
            sender.send(BTreeSet::from([hash("/inject/b")])).unwrap();
        };
        let (strangers, accepted, ()) = tokio::join!(strangers, paths.accepts("/inject/b"), changed);
        assert!(accepted && !strangers.contains(&true));
    }

    #[test]
    fn a_former_path_is_accepted_for_a_while() {
        let (a, b) = (hash("/inject/a"), hash("/inject/b"));
        let (mut former, now) = (Former::default(), Instant::now());
        former.replace([a].into(), now);
        assert!(!former.accepts(&a, now), "it is the present one");
        former.replace([b].into(), now);
        assert!(former.accepts(&a, now + FORMER / 2) && !former.accepts(&b, now));
        assert!(!former.accepts(&a, now + FORMER));
        former.replace([a].into(), now + FORMER / 2);
        assert!(
            former.accepts(&b, now + FORMER) && !former.accepts(&a, now + FORMER / 2),
            "as after a rollback"
        );
    }
}
