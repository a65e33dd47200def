//! What is seen of the spool: events, walks, and how full the volume is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::api::NEARLY_FULL;
use crate::domain::delivery::{FailureLog, LogLine, remedy_to_watch};
use crate::uploader::spool::Spool;
use crate::uploader::spool::disk_usage::DiskUsage;
use crate::uploader::spool::watcher::{SpoolEvent, SpooledFile, WalkResult, Watcher};

/// Time between two walks of the spool. Other nodes' writes to a network volume raise no events here.
const WALK_INTERVAL: Duration = Duration::from_secs(60);
/// The same where inotify does not serve.
const BLIND_WALK_INTERVAL: Duration = Duration::from_secs(5);
const DISK_USAGE_INTERVAL: Duration = Duration::from_secs(5);

/// Finds the files of the spool.
pub struct Scan {
    spool: Spool,
    watcher: Watcher,
    walks: JoinSet<WalkResult>,
    next_walk: Instant,
    /// Files under names of recordings in progress.
    pub in_progress: usize,
    /// A directory that the last walk could not read, and why not.
    pub unread: Option<(PathBuf, io::Error)>,
    /// Whether it has been logged that a directory cannot be watched.
    logged_unwatched: bool,
}

/// What was seen of the spool.
pub enum Seen {
    File(SpooledFile),
    /// A file, relative to the spool, is there under a name in progress.
    InProgress(PathBuf),
    /// A path, relative to the spool, is gone.
    Gone(PathBuf),
    /// A walk has ended.
    Walk {
        files: Vec<SpooledFile>,
        in_progress: Vec<PathBuf>,
        /// Files in quarantine, counted in a walk of the whole spool.
        quarantined: Option<u64>,
    },
}

impl Scan {
    pub fn new(spool: &Spool) -> Self {
        let watcher = Watcher::new(spool).unwrap_or_else(|error| {
            let remedy = "raise fs.inotify.max_user_instances on the node";
            tracing::warn!(%error, remedy, "no inotify; walking the spool every few seconds");
            Watcher::blind(spool)
        });
        Scan {
            spool: spool.clone(),
            watcher,
            walks: JoinSet::new(),
            next_walk: Instant::now(),
            in_progress: 0,
            unread: None,
            logged_unwatched: false,
        }
    }

    /// The next thing seen, by an event or a walk.
    pub async fn next(&mut self) -> Seen {
        loop {
            tokio::select! {
                event = self.watcher.next() => match event {
                    Ok(SpoolEvent::File(file)) => return Seen::File(file),
                    Ok(SpoolEvent::InProgress(path)) => return Seen::InProgress(path),
                    Ok(SpoolEvent::Gone(path)) => return Seen::Gone(path),
                    Ok(SpoolEvent::Walk(under)) => self.walk(under),
                    Ok(SpoolEvent::Nothing) => {}
                    Err(error) => {
                        tracing::warn!(%error, "inotify ended; walking the spool every few seconds");
                        self.watcher = Watcher::blind(&self.spool);
                    }
                },
                Some(walk) = self.walks.join_next() => {
                    return self.note_walk(walk.expect("a walk does not panic"), Instant::now());
                }
            }
        }
    }

    /// Walks the spool below `under` in the background.
    pub fn walk(&mut self, under: PathBuf) {
        self.walks.spawn_blocking(self.watcher.walk(under));
    }

    /// Walks the whole spool once it is time.
    pub fn walk_if_due(&mut self, now: Instant) {
        if now >= self.next_walk && self.walks.is_empty() {
            self.walk(PathBuf::new());
        }
    }

    pub fn walk_again_at(&mut self, now: Instant) {
        self.next_walk = now;
    }

    pub fn is_walking(&self) -> bool {
        !self.walks.is_empty()
    }

    fn note_walk(&mut self, walk: WalkResult, now: Instant) -> Seen {
        if let Some((directory, error)) = &walk.unwatched
            && !self.logged_unwatched
        {
            let directory = directory.display();
            let remedy = remedy_to_watch(error.kind());
            tracing::warn!(%directory, %error, remedy, "cannot watch a directory of the spool; walking it every few seconds");
            self.logged_unwatched = true;
        }
        let is_blind = walk.unwatched.is_some() || walk.error.is_some();
        if is_blind {
            self.next_walk = self.next_walk.min(now + BLIND_WALK_INTERVAL);
        }
        let is_whole = walk.under.as_os_str().is_empty();
        if is_whole {
            self.logged_unwatched = walk.unwatched.is_some();
            self.in_progress = walk.in_progress.len();
            let is_blind = self.watcher.is_blind() || is_blind;
            self.next_walk = now + if is_blind { BLIND_WALK_INTERVAL } else { WALK_INTERVAL };
        }
        // Only a walk of the whole spool shows that all of it can be read.
        if is_whole || walk.error.is_some() {
            self.unread = walk.error;
        }
        let WalkResult { files, in_progress, .. } = walk;
        Seen::Walk { files, in_progress, quarantined: is_whole.then_some(walk.quarantined) }
    }
}

/// How full the volume is.
pub struct Disk {
    spool: Spool,
    checks: JoinSet<io::Result<DiskUsage>>,
    next_check: Instant,
    pub used_percent: u8,
    nearly_full: FailureLog,
}

impl Disk {
    pub fn new(spool: &Spool) -> Self {
        let (checks, next_check) = (JoinSet::new(), Instant::now());
        Disk { spool: spool.clone(), checks, next_check, used_percent: 0, nearly_full: FailureLog::default() }
    }

    pub fn check_if_due(&mut self, now: Instant) {
        if now >= self.next_check && self.checks.is_empty() {
            self.next_check = now + DISK_USAGE_INTERVAL;
            let spool = self.spool.clone();
            self.checks.spawn_blocking(move || DiskUsage::of(&spool));
        }
    }

    /// The next usage that was read; pending for ever while no check is under way.
    pub async fn check_end(&mut self) -> io::Result<DiskUsage> {
        match self.checks.join_next().await {
            Some(checked) => checked.expect("statvfs does not panic"),
            None => std::future::pending().await,
        }
    }

    pub fn note(&mut self, usage: &DiskUsage) {
        let percent = usage.used_percent();
        self.used_percent = percent;
        let reason = "SpoolNearlyFull";
        match self.nearly_full.line(percent >= NEARLY_FULL, Instant::now().into_std()) {
            None => {}
            Some(LogLine::Ends(_)) => tracing::info!(percent, "the spool's volume has room again"),
            Some(line) => {
                let seconds = line.seconds();
                let remedy = "remove what keeps recordings from leaving, make the volume larger, or empty the quarantine";
                tracing::error!(
                    reason,
                    percent,
                    seconds,
                    remedy,
                    "the spool's volume is nearly full; nothing is dropped"
                );
            }
        }
    }
}
