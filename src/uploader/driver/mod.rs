//! The loop of the sidecar.

mod outcome;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::watch::{self, Receiver};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::uploader::transfer::deliver::{Outcome, Works};
use crate::uploader::queue::circuit_breaker::{Gate, Word};
use crate::uploader::transfer::concurrency::Lanes;
use crate::uploader::queue::{Job, Ledger};
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::storage::{Broker, Storage};
use crate::uploader::broker::report::Standing;
use crate::uploader::spool::syscalls::leave_message;
use crate::uploader::spool::disk_usage::Space;
use crate::uploader::spool::watcher::{Found, Notice, Sighted, Watcher};
use crate::uploader::blocking;
use crate::uploader::spool::journal;
use crate::api::DeliveryReport;
use crate::domain::delivery::{Leftover, NEARLY_FULL, Sighting, farewell, remedy_to_watch};

/// Time between two looks at the clock: for the metrics, and for the termination message while draining.
const TICK: Duration = Duration::from_secs(1);
/// Time between two walks of the spool. Other nodes' writes to a network volume raise no events here.
const WALK_INTERVAL: Duration = Duration::from_secs(60);
/// The same where inotify does not serve.
const BLIND_WALK_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two looks at how full the volume is.
const VOLUME_INTERVAL: Duration = Duration::from_secs(5);
/// Walks that may fail after the process was asked to end, before it goes without what they did not find.
const LAST_WALKS: u32 = 3;
/// Names in the termination message.
const EXAMPLES: usize = 10;

/// A recording that was worked on, how that ended, and how long it took.
type Done = (Job, Outcome, Duration);

/// What the loop remembers.
pub struct Driver<B, S: Storage> {
    works: Rc<Works<B, S>>,
    pub metrics: UploaderMetrics,
    termination_log: PathBuf,
    standing: watch::Sender<Option<DeliveryReport>>,
    /// When a recording was last uploaded and verified.
    pub last_upload: Option<Timestamp>,
    /// Files in quarantine; `None` before the first walk.
    pub quarantined: Option<u64>,
    watcher: Watcher,
    pub ledger: Ledger,
    pub gate: Gate,
    pub lanes: Lanes,
    in_flight: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    walks: JoinSet<Found>,
    volume: JoinSet<io::Result<Space>>,
    next_volume: Instant,
    next_walk: Instant,
    in_progress: usize,
    /// A directory that could not be read at the end.
    unread: Option<PathBuf>,
    /// How full the volume is, in percent, and whether it has been said that it is nearly full.
    volume_used: u8,
    said_full: bool,
    /// Whether it has been said that a directory cannot be written, or cannot be watched.
    pub not_writable: bool,
    not_watched: bool,
    drain: Drain,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// Not asked for.
    No,
    /// The spool is being walked once more, or again, as so many walks failed.
    Looking(u32),
    /// What was found is being sent.
    Sending,
}

impl<B: Broker + 'static, S: Storage + 'static> Driver<B, S> {
    /// Nothing noticed yet.
    pub fn new(works: Works<B, S>, metrics: UploaderMetrics, termination_log: PathBuf) -> Self {
        let watcher = Watcher::new(&works.spool).unwrap_or_else(|error| {
            let remedy = "raise fs.inotify.max_user_instances on the node";
            tracing::warn!(%error, remedy, "No inotify: the spool is walked every few seconds");
            Watcher::blind(&works.spool)
        });
        Driver {
            watcher,
            works: Rc::new(works),
            metrics,
            termination_log,
            standing: watch::Sender::new(None),
            last_upload: None,
            quarantined: None,
            ledger: Ledger::default(),
            gate: Gate::new(Word::Unheard),
            lanes: Lanes::default(),
            in_flight: FuturesUnordered::new(),
            walks: JoinSet::new(),
            volume: JoinSet::new(),
            next_volume: Instant::now(),
            next_walk: Instant::now(),
            in_progress: 0,
            unread: None,
            volume_used: 0,
            said_full: false,
            not_writable: false,
            not_watched: false,
            drain: Drain::No,
        }
    }

    /// How it stands, second by second.
    pub fn standing(&self) -> Standing {
        self.standing.subscribe()
    }

    /// Sends what appears in the spool until `shutdown`, and then until nothing is left.
    pub async fn drive(&mut self, mut word: Receiver<Word>, shutdown: impl Future<Output = ()>) {
        self.note_journals().await;
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        while !self.is_drained() {
            self.send_what_is_due();
            let due = self.next_due();
            tokio::select! {
                notice = self.watcher.next() => self.notice(notice),
                Some(found) = self.walks.join_next() => self.found(found.expect("a walk does not panic")),
                Some(used) = self.volume.join_next() => self.note_volume(used.expect("asking does not panic")),
                Some((job, outcome, took)) = self.in_flight.next() => self.settle(job, outcome, took),
                Ok(()) = word.changed() => self.hear(word.borrow_and_update().clone()),
                () = tokio::time::sleep_until(due) => {}
                _ = tick.tick() => self.tick(),
                () = &mut shutdown, if self.drain == Drain::No => self.begin_to_drain(),
            }
        }
        self.note_standing();
        self.say_what_is_left();
    }

    /// Recordings whose uploads an earlier process has not ended: they go on, or are ended if the recordings are gone.
    async fn note_journals(&mut self) {
        let spool = self.works.spool.clone();
        let journals = blocking(move || journal::recordings(&spool)).await;
        let journals = journals.inspect_err(|error| tracing::warn!(%error, "The journals could not be read"));
        let (now, since) = (Instant::now(), SystemTime::now());
        for path in journals.unwrap_or_default() {
            self.ledger.note(Sighted { path, sighting: Sighting::Found, size: 0, since }, now);
        }
    }

    fn send_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(destination) = self.gate.lets_through(self.in_flight.len(), now) {
            let Some(mut job) = self.ledger.take_due(&self.lanes, now) else { return };
            self.lanes.enter(job.lane);
            let works = self.works.clone();
            self.in_flight.push(Box::pin(async move {
                let outcome = works.deliver(&destination, &mut job).await;
                (job, outcome, now.elapsed())
            }));
        }
    }

    fn next_due(&self) -> Instant {
        let now = Instant::now();
        match (self.gate.lets_through(self.in_flight.len(), now), self.gate.opens_at()) {
            (Some(_), _) => self.ledger.next_due(&self.lanes).unwrap_or(now + TICK),
            (None, Some(opens_at)) if opens_at > now => opens_at,
            _ => now + TICK,
        }
    }

    fn hear(&mut self, word: Word) {
        self.works.sessions.freshen();
        self.works.send_to(match &word {
            Word::Active(destination) => Some(destination.clone()),
            Word::Unheard | Word::Paused(_) => None,
        });
        self.gate = Gate::new(word);
    }

    fn notice(&mut self, notice: io::Result<Notice>) {
        match notice {
            Ok(Notice::File(sighted)) => self.ledger.note(sighted, Instant::now()),
            Ok(Notice::Gone(path)) => self.ledger.forget(&path, Instant::now()),
            Ok(Notice::Walk(under)) => self.walk(under),
            Ok(Notice::Nothing) => {}
            Err(error) => {
                tracing::warn!(%error, "inotify ended: the spool is walked every few seconds");
                self.watcher = Watcher::blind(&self.works.spool);
            }
        }
    }

    fn walk(&mut self, under: PathBuf) {
        self.walks.spawn_blocking(self.watcher.walk(under));
    }

    fn found(&mut self, found: Found) {
        let now = Instant::now();
        for sighted in found.files {
            self.ledger.note(sighted, now);
        }
        let failed = found.unwatched.as_ref().or(found.error.as_ref());
        if let Some((path, error)) = failed
            && !self.not_watched
        {
            let path = path.display();
            let remedy = remedy_to_watch(error.kind());
            tracing::warn!(%path, %error, remedy, "A directory of the spool is not watched, and walked every few seconds");
            self.not_watched = true;
            self.next_walk = self.next_walk.min(now + BLIND_WALK_INTERVAL);
        }
        if found.under.as_os_str().is_empty() {
            self.not_watched = failed.is_some();
            self.in_progress = found.in_progress;
            self.quarantined = Some(found.quarantined);
            let blind = self.watcher.is_blind() || self.not_watched;
            self.next_walk = now + if blind { BLIND_WALK_INTERVAL } else { WALK_INTERVAL };
            self.unread = found.error.map(|(path, _)| path);
        }
        if let Drain::Looking(failed) = self.drain
            && self.walks.is_empty()
        {
            if self.unread.is_some() && failed < LAST_WALKS {
                self.drain = Drain::Looking(failed + 1);
                self.next_walk = now;
            } else {
                self.drain = Drain::Sending;
            }
        }
    }

    fn tick(&mut self) {
        self.note_standing();
        if Instant::now() >= self.next_volume && self.volume.is_empty() {
            self.next_volume = Instant::now() + VOLUME_INTERVAL;
            let spool = self.works.spool.clone();
            self.volume.spawn_blocking(move || Space::of(&spool));
        }
        if Instant::now() >= self.next_walk && self.walks.is_empty() {
            self.walk(PathBuf::new());
        }
        if self.drain != Drain::No {
            self.say_what_is_left();
        }
    }

    fn note_standing(&self) {
        let pending = self.ledger.pending();
        self.metrics.set_pending(&pending, SystemTime::now());
        self.metrics.set_left_open(self.works.left_open.get());
        let Some(quarantined) = self.quarantined else { return };
        self.metrics.set_quarantined_files(quarantined);
        self.standing.send_replace(Some(DeliveryReport {
            pending_files: pending.files as u64,
            oldest_pending_time: pending.oldest.and_then(|oldest| oldest.try_into().ok()),
            quarantined,
            volume_used_percent: self.volume_used,
            last_upload_time: self.last_upload,
            was_in_trouble: false,
        }));
    }

    fn note_volume(&mut self, space: io::Result<Space>) {
        let Ok(space) = space else { return };
        self.metrics.volume.note(space);
        let percent = space.used_percent();
        self.volume_used = percent;
        let is_full = percent >= NEARLY_FULL;
        if is_full && !self.said_full {
            let reason = "SpoolNearlyFull";
            let remedy =
                "see to what keeps recordings from leaving, make the volume larger, or empty the quarantine";
            tracing::error!(
                reason,
                percent,
                remedy,
                "The spool's volume is nearly full. Nothing is dropped from it"
            );
        }
        self.said_full = is_full;
    }

    fn begin_to_drain(&mut self) {
        tracing::info!("Asked to end. Sending what is left");
        self.drain = Drain::Looking(0);
        self.works.sessions.freshen();
        if let Some(pace) = &self.works.pace {
            pace.lift();
        }
        self.works.pod_ends.set(true);
        self.ledger.hurry(Instant::now());
        self.walk(PathBuf::new());
    }

    fn is_drained(&self) -> bool {
        self.drain == Drain::Sending
            && self.in_flight.is_empty()
            && self.walks.is_empty()
            && self.ledger.unverified().next().is_none()
    }

    /// Written again and again: nobody says when the grace period ends.
    fn say_what_is_left(&self) {
        leave_message(&self.termination_log, &farewell(&self.leftover()));
    }

    /// What is still in the spool.
    pub fn leftover(&self) -> Leftover {
        let pending = self.ledger.pending();
        let examples = self.ledger.unverified().take(EXAMPLES).map(|path| path.display().to_string());
        Leftover {
            pending: pending.files,
            pending_bytes: pending.bytes,
            examples: examples.collect(),
            cause: self.gate.why_closed().map(str::to_owned),
            not_unlinked: pending.not_unlinked,
            in_progress: self.in_progress,
            // Before the first walk has ended, nothing is known of any of it.
            unread: match (&self.unread, self.quarantined) {
                (None, None) => Some(String::new()),
                (unread, _) => unread.as_ref().map(|path| path.display().to_string()),
            },
            quarantined: self.metrics.quarantined_so_far(),
            left_open: self.works.left_open.get(),
        }
    }
}
